/** Goals less alike than this say nothing about each other. */
const SIMILARITY_MIN = 0.3

/**
 * The goals seen so far, by fingerprint: how rare each token is, and which goals are like a given one.
 *
 * Holds at most `goalsMax` goals, the least recently met leave first.
 */
export class Goals {
  readonly #goalsMax: number
  readonly #onForgotten: (fingerprint: string) => void
  /** In the order in which they were last met, oldest first. */
  readonly #goals = new Map<string, Goal>()
  readonly #words = new Map<string, Word>()
  /** Answers stay true until a goal comes or goes. */
  readonly #answers = new Map<string, ReadonlyMap<string, number>>()
  /** Marks what was seen while answering one question. */
  #question = 0

  constructor(goalsMax: number, onForgotten: (fingerprint: string) => void = () => {}) {
    this.#goalsMax = goalsMax
    this.#onForgotten = onForgotten
  }

  get count(): number {
    return this.#goals.size
  }

  /** Remembers that this goal was met. */
  meet(fingerprint: string, tokens: readonly string[]): void {
    const known = this.#goals.get(fingerprint)
    if (known !== undefined) {
      this.#goals.delete(fingerprint)
      this.#goals.set(fingerprint, known)
      return
    }
    this.#answers.clear()
    const words = [...new Set(tokens)].map((token) => this.#word(token))
    const goal = { fingerprint, tokens, words, question: 0 }
    this.#goals.set(fingerprint, goal)
    for (const word of words) {
      word.goals.add(goal)
      word.logCount = Math.log(word.goals.size + 1)
    }
    const oldest = this.#goals.values().next().value
    if (this.#goals.size > this.#goalsMax && oldest !== undefined) this.#forget(oldest)
  }

  /** How telling a token is: 1 for one that every goal has, more for a rare one (smoothed inverse document frequency). */
  idf(token: string): number {
    return Math.log(this.#goals.size + 1) - (this.#words.get(token)?.logCount ?? 0) + 1
  }

  /** Every known goal at least `SIMILARITY_MIN` like this one: 1 for the same fingerprint. */
  like(fingerprint: string, tokens: readonly string[]): ReadonlyMap<string, number> {
    const known = this.#answers.get(fingerprint)
    if (known !== undefined) return known
    const alike = this.#compare(tokens)
    if (this.#goals.has(fingerprint)) alike.set(fingerprint, 1)
    // A batch asks about the same few goals again and again; a stream of new ones must not fill the memory.
    if (this.#answers.size >= ANSWERS_MAX) this.#answers.clear()
    this.#answers.set(fingerprint, alike)
    return alike
  }

  /** For the snapshot, oldest first: meeting them again in this order restores everything. */
  save(): [string, readonly string[]][] {
    return [...this.#goals.values()].map(({ fingerprint, tokens }) => [fingerprint, tokens])
  }

  /**
   * The weighted Jaccard of `similarity`, over goals that share a token: marks instead of sets, since a goal that was
   * never met is compared with hundreds.
   */
  #compare(tokens: readonly string[]): Map<string, number> {
    this.#question += 1
    const asked = new Set(tokens)
    const all = Math.log(this.#goals.size + 1) + 1
    let own = 0
    const words: Word[] = []
    for (const token of asked) {
      const word = this.#words.get(token)
      own += all - (word?.logCount ?? 0)
      if (word === undefined) continue
      word.question = this.#question
      words.push(word)
    }
    const alike = new Map<string, number>()
    for (const goal of this.#candidates(words)) {
      let [shared, theirs] = [0, 0]
      for (const word of goal.words) {
        const weight = all - word.logCount
        theirs += weight
        if (word.question === this.#question) shared += weight
      }
      const likeness = shared / (own + theirs - shared)
      if (likeness >= SIMILARITY_MIN) alike.set(goal.fingerprint, likeness)
    }
    return alike
  }

  /** Goals that share a token, those with a rare one first: what they share weighs most. */
  #candidates(words: Word[]): Goal[] {
    const found: Goal[] = []
    for (const { goals } of words.sort((one, other) => one.goals.size - other.goals.size))
      for (const goal of goals) {
        if (found.length >= CANDIDATES_MAX) return found
        if (goal.question === this.#question) continue
        goal.question = this.#question
        found.push(goal)
      }
    return found
  }

  #word(token: string): Word {
    const known = this.#words.get(token)
    if (known !== undefined) return known
    const word = { token, goals: new Set<Goal>(), logCount: 0, question: 0 }
    this.#words.set(token, word)
    return word
  }

  #forget(goal: Goal): void {
    for (const word of goal.words) {
      word.goals.delete(goal)
      word.logCount = Math.log(word.goals.size + 1)
      if (word.goals.size === 0) this.#words.delete(word.token)
    }
    this.#goals.delete(goal.fingerprint)
    this.#onForgotten(goal.fingerprint)
  }
}

interface Goal {
  readonly fingerprint: string
  readonly tokens: readonly string[]
  /** Each token once. */
  readonly words: readonly Word[]
  /** The question in which it was last found. */
  question: number
}

interface Word {
  readonly token: string
  readonly goals: Set<Goal>
  /** ln of its goals and one. */
  logCount: number
  /** The question in which it was last asked for. */
  question: number
}

/** Weighted Jaccard: what two token sets share, over what they have together, each token as telling as `idf` says. */
export function similarity(
  one: readonly string[],
  other: readonly string[],
  idf: (token: string) => number,
): number {
  const theirs = new Set(other)
  let shared = 0
  let together = 0
  for (const token of new Set(one)) {
    const weight = idf(token)
    together += weight
    if (theirs.delete(token)) shared += weight
  }
  for (const token of theirs) together += idf(token)
  return together === 0 ? 0 : shared / together
}

const ANSWERS_MAX = 256
/** Comparing takes about a tenth of a microsecond each, and a judgement should cost less than writing it down. */
const CANDIDATES_MAX = 500
