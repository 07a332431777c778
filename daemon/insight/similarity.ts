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
  readonly #tokensOf = new Map<string, readonly string[]>()
  readonly #goalsWith = new Map<string, Set<string>>()
  /** Answers stay true until a goal comes or goes. */
  readonly #answers = new Map<string, ReadonlyMap<string, number>>()

  constructor(goalsMax: number, onForgotten: (fingerprint: string) => void = () => {}) {
    this.#goalsMax = goalsMax
    this.#onForgotten = onForgotten
  }

  get count(): number {
    return this.#tokensOf.size
  }

  /** Remembers that this goal was met. */
  meet(fingerprint: string, tokens: readonly string[]): void {
    const known = this.#tokensOf.get(fingerprint)
    if (known !== undefined) {
      this.#tokensOf.delete(fingerprint)
      this.#tokensOf.set(fingerprint, known)
      return
    }
    this.#answers.clear()
    this.#tokensOf.set(fingerprint, tokens)
    for (const token of tokens) {
      const goals = this.#goalsWith.get(token)
      if (goals === undefined) this.#goalsWith.set(token, new Set([fingerprint]))
      else goals.add(fingerprint)
    }
    const oldest = this.#tokensOf.keys().next().value
    if (this.#tokensOf.size > this.#goalsMax && oldest !== undefined) this.#forget(oldest)
  }

  /** How telling a token is: 1 for one that every goal has, more for a rare one (smoothed inverse document frequency). */
  idf(token: string): number {
    return Math.log((this.#tokensOf.size + 1) / ((this.#goalsWith.get(token)?.size ?? 0) + 1)) + 1
  }

  /** Every known goal at least `SIMILARITY_MIN` like this one: 1 for the same fingerprint. */
  like(fingerprint: string, tokens: readonly string[]): ReadonlyMap<string, number> {
    const known = this.#answers.get(fingerprint)
    if (known !== undefined) return known
    const alike = new Map<string, number>()
    const idf = (token: string): number => this.idf(token)
    for (const candidate of this.#candidates(tokens)) {
      const likeness = similarity(tokens, this.#tokensOf.get(candidate) ?? [], idf)
      if (likeness >= SIMILARITY_MIN) alike.set(candidate, likeness)
    }
    if (this.#tokensOf.has(fingerprint)) alike.set(fingerprint, 1)
    // A batch asks about the same few goals again and again; a stream of new ones must not fill the memory.
    if (this.#answers.size >= ANSWERS_MAX) this.#answers.clear()
    this.#answers.set(fingerprint, alike)
    return alike
  }

  /** For the snapshot, oldest first: meeting them again in this order restores everything. */
  save(): [string, readonly string[]][] {
    return [...this.#tokensOf]
  }

  /** Goals that share a token, those with a rare one first: what they share weighs most. */
  #candidates(tokens: readonly string[]): Set<string> {
    const found = new Set<string>()
    const holders = tokens.flatMap((token) => this.#goalsWith.get(token) ?? [])
    for (const goals of holders.sort((one, other) => one.size - other.size))
      for (const goal of goals) {
        if (found.size >= CANDIDATES_MAX) return found
        found.add(goal)
      }
    return found
  }

  #forget(fingerprint: string): void {
    for (const token of this.#tokensOf.get(fingerprint) ?? []) {
      const goals = this.#goalsWith.get(token)
      goals?.delete(fingerprint)
      if (goals?.size === 0) this.#goalsWith.delete(token)
    }
    this.#tokensOf.delete(fingerprint)
    this.#onForgotten(fingerprint)
  }
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
/** Comparing takes about a microsecond each, and a judgement should cost less than writing it down. */
const CANDIDATES_MAX = 500
