import type { Fact, MissionOutcome } from '../contracts/fact.ts'
import type { Category, MissionId } from '../contracts/ids.ts'
import type { PlanStep } from '../contracts/mission.ts'
import { boundOf, type Candidate, count, fresh, type RuneView, usable, viewOf } from './candidate.ts'
import { outcomeOf } from './facts.ts'
import { readGoal } from './fingerprint.ts'
import { rounded } from './numbers.ts'
import { goalDigest, type Order, Orders } from './orders.ts'
import { inputShape } from './plan-template.ts'
import { similarity } from './similarity.ts'

/** What was asked: a goal with the input it is to work on. */
export interface RuneRequest {
  readonly goal: string
  readonly category: Category
  readonly input?: unknown
}

/**
 * Plans learned from successes: the same kind of goal and the same shape of plan, often enough to trust it.
 *
 * Counted are all missions with that goal and shape, and those that used the rune for a similar goal.
 */
export class Runes {
  readonly #orders = new Orders()
  /** Least recently met first. */
  readonly #candidates = new Map<string, Candidate>()

  fold(fact: Fact): void {
    if (fact.type === 'mission.created')
      this.#orders.note(fact, (order) => this.#candidateOf(order)?.plan === undefined)
    if (fact.type !== 'mission.ended') {
      this.#orders.forget(fact)
      return
    }
    const order = this.#orders.take(fact)
    const outcome = outcomeOf(fact)
    if (order === undefined || outcome === undefined || fact.mid === undefined) return
    this.#learn(fact.mid, order, outcome, Date.parse(fact.ts))
  }

  /** The rune with the highest bound among those that fit: category, input fields, similarity of at least 0.6. */
  best(
    { goal, category, input }: RuneRequest,
    idf: (token: string) => number,
  ): { readonly rune: string; readonly plan: readonly PlanStep[]; readonly similarity: number } | undefined {
    const { fingerprint, tokens } = readGoal(goal)
    const shape = inputShape(input)
    const fitting = [...this.#candidates.values()].flatMap((candidate) => {
      if (candidate.category !== category || candidate.inputShape !== shape || !usable(candidate)) return []
      if (candidate.boundToGoal && candidate.goal !== goalDigest(goal)) return []
      const likeness = candidate.fingerprint === fingerprint ? 1 : similarity(tokens, candidate.tokens, idf)
      return likeness >= SIMILARITY_WANTED ? [{ candidate, likeness }] : []
    })
    const [best] = fitting.sort(
      (one, other) => boundOf(other.candidate) - boundOf(one.candidate) || other.likeness - one.likeness,
    )
    if (best?.candidate.plan === undefined) return undefined
    return { rune: best.candidate.rune, plan: best.candidate.plan, similarity: rounded(best.likeness, 3) }
  }

  /** All runes, the best first. Candidates that were never promoted are only counted. */
  list(): { readonly runes: readonly RuneView[]; readonly candidates: number; readonly note: string } {
    const all = [...this.#candidates.values()]
    const runes = all.flatMap(viewOf).sort((one, other) => other.bound - one.bound)
    const candidates = all.length - runes.length
    const note =
      runes.length > 0
        ? `${runes.length} learned from successes`
        : `none yet: a plan becomes a rune after ${SUCCESSES_MIN} successes with the same goal and shape`
    return { runes, candidates, note }
  }

  save(): SavedRunes {
    return { candidates: [...this.#candidates], orders: this.#orders.save() }
  }

  load(saved: SavedRunes): void {
    for (const [key, candidate] of saved.candidates) this.#candidates.set(key, { ...candidate })
    this.#orders.load(saved.orders)
  }

  #learn(mid: MissionId, order: Order, outcome: MissionOutcome, atMs: number): void {
    const candidate = this.#candidateOf(order) ?? fresh(order, outcome)
    count(candidate, mid, order, outcome)
    this.#promote(candidate, atMs)
    this.#candidates.delete(candidate.key)
    this.#candidates.set(candidate.key, candidate)
    if (this.#candidates.size > CANDIDATES_MAX) this.#dropOne()
  }

  /** The rune that was used, else the candidate for this goal, shape and input. */
  #candidateOf(order: Order): Candidate | undefined {
    if (order.rune !== undefined)
      for (const candidate of this.#candidates.values()) if (candidate.rune === order.rune) return candidate
    return this.#candidates.get(order.key)
  }

  #promote(candidate: Candidate, atMs: number): void {
    if (candidate.promotedMs !== null || candidate.plan === undefined) return
    if (candidate.successes < SUCCESSES_MIN || boundOf(candidate) < BOUND_MIN) return
    const runes = [...this.#candidates.values()].filter(({ promotedMs }) => promotedMs !== null)
    if (runes.length >= RUNES_MAX) return
    const earlier = runes.filter(
      ({ category, fingerprint }) => category === candidate.category && fingerprint === candidate.fingerprint,
    )
    candidate.version = earlier.length + 1
    candidate.promotedMs = atMs
  }

  /** Runes are never deleted; the candidate least recently met is. */
  #dropOne(): void {
    for (const [key, { promotedMs }] of this.#candidates)
      if (promotedMs === null) {
        this.#candidates.delete(key)
        return
      }
  }
}

export interface SavedRunes {
  readonly candidates: readonly (readonly [string, Candidate])[]
  readonly orders: ReturnType<Orders['save']>
}

const SUCCESSES_MIN = 3
const BOUND_MIN = 0.5
const SIMILARITY_WANTED = 0.6
/** Plans have up to 16 KiB: some 80 MB at the very worst, a few in practice. */
const CANDIDATES_MAX = 5_000
const RUNES_MAX = 1_000
