import type { Fact, FactDraft, MissionOutcome } from '../contracts/fact.ts'
import type { Category, MissionId } from '../contracts/ids.ts'
import type { PlanStep } from '../contracts/mission.ts'
import {
  boundOf,
  type Candidate,
  count,
  fresh,
  type RuneState,
  type RuneView,
  stateOf,
  usable,
  viewOf,
  without,
} from './candidate.ts'
import { outcomeOf, textOf, timeOf } from './facts.ts'
import type { GoalReading } from './fingerprint.ts'
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
  /** Those that were promoted: by name, and by what a request must have in common with them. */
  readonly #runes = new Map<string, Candidate>()
  readonly #fitting = new Map<string, Candidate[]>()
  readonly #propose: (draft: FactDraft) => void
  /** What was handed over to be recorded and is not yet. */
  readonly #proposed = new Map<string, RuneState>()
  /** Off while old facts are folded again. */
  #live = false

  constructor(propose: (draft: FactDraft) => void = () => {}) {
    this.#propose = propose
  }

  fold(fact: Fact): void {
    if (fact.type === 'mission.created')
      this.#orders.note(fact, (order) => this.#candidateOf(order)?.plan === undefined)
    if (fact.type === 'rune.promoted' || fact.type === 'rune.staled') this.#told(fact)
    if (fact.type !== 'mission.ended') {
      this.#orders.forget(fact)
      return
    }
    const order = this.#orders.take(fact)
    const outcome = outcomeOf(fact)
    if (order === undefined || outcome === undefined || fact.mid === undefined) return
    this.#learn(fact.mid, order, outcome, timeOf(fact))
  }

  /** From now on changes are proposed; first of all those that a crash of the daemon kept from the journal. */
  begin(): void {
    this.#live = true
    for (const rune of this.#runes.values()) this.#report(rune)
  }

  /** The rune with the highest bound among those that fit: category, input fields, similarity of at least 0.6. */
  best(
    { goal, category, input }: RuneRequest,
    { fingerprint, tokens }: GoalReading,
    idf: (token: string) => number,
  ): { readonly rune: string; readonly plan: readonly PlanStep[]; readonly similarity: number } | undefined {
    const fitting = this.#fitting.get(placeOf(category, inputShape(input)))
    if (fitting === undefined) return undefined
    let best: { candidate: Candidate; likeness: number } | undefined
    for (const candidate of fitting) {
      // The dear part last: most of them are no better than one that was found already.
      if (best !== undefined && boundOf(candidate) < boundOf(best.candidate)) continue
      if (!usable(candidate) || (candidate.boundToGoal && candidate.goal !== goalDigest(goal))) continue
      const likeness = candidate.fingerprint === fingerprint ? 1 : similarity(tokens, candidate.tokens, idf)
      if (likeness >= SIMILARITY_WANTED && beats({ candidate, likeness }, best))
        best = { candidate, likeness }
    }
    if (best?.candidate.plan === undefined) return undefined
    return { rune: best.candidate.rune, plan: best.candidate.plan, similarity: rounded(best.likeness, 3) }
  }

  /** All runes, the best first. Candidates that were never promoted are only counted. */
  list(): { readonly runes: readonly RuneView[]; readonly candidates: number; readonly note: string } {
    const alike = Map.groupBy(this.#candidates.values(), goalKeyOf)
    const runes = [...this.#runes.values()]
      .flatMap((rune) => viewOf(rune, without(alike.get(goalKeyOf(rune)) ?? [])))
      .sort((one, other) => other.bound - one.bound || (one.rune < other.rune ? -1 : 1))
    const candidates = this.#candidates.size - runes.length
    const note =
      runes.length > 0
        ? `${runes.length} learned from successes`
        : `none yet: a plan becomes a rune after ${SUCCESSES_MIN} successes with the same goal and shape`
    return { runes, candidates, note }
  }

  save(): SavedRunes {
    const copies = [...this.#candidates].map(
      ([key, candidate]) => [key, { ...candidate, used: { ...candidate.used } }] as const,
    )
    return { candidates: copies, orders: this.#orders.save() }
  }

  load(saved: SavedRunes): void {
    for (const [key, candidate] of saved.candidates) {
      const loaded = { ...candidate, used: { ...candidate.used } }
      this.#candidates.set(key, loaded)
      if (loaded.promotedMs !== null) this.#index(loaded)
    }
    this.#orders.load(saved.orders)
  }

  #learn(mid: MissionId, order: Order, outcome: MissionOutcome, atMs: number): void {
    const candidate = this.#candidateOf(order) ?? fresh(order, outcome)
    count(candidate, mid, order, outcome)
    this.#promote(candidate, atMs)
    this.#report(candidate)
    this.#candidates.delete(candidate.key)
    this.#candidates.set(candidate.key, candidate)
    if (this.#candidates.size > CANDIDATES_MAX) this.#dropOne()
  }

  /** The rune that was used, else the candidate for this goal, shape and input. */
  #candidateOf(order: Order): Candidate | undefined {
    const used = order.rune === undefined ? undefined : this.#runes.get(order.rune)
    return used ?? this.#candidates.get(order.key)
  }

  #promote(candidate: Candidate, atMs: number): void {
    if (candidate.promotedMs !== null || candidate.plan === undefined) return
    if (candidate.successes < SUCCESSES_MIN || boundOf(candidate) < BOUND_MIN) return
    if (this.#runes.size >= RUNES_MAX) return
    const earlier = [...this.#runes.values()].filter(
      ({ category, fingerprint }) => category === candidate.category && fingerprint === candidate.fingerprint,
    )
    candidate.version = earlier.length + 1
    candidate.promotedMs = atMs
    this.#index(candidate)
  }

  #index(rune: Candidate): void {
    this.#runes.set(rune.rune, rune)
    const place = placeOf(rune.category, rune.inputShape)
    const others = this.#fitting.get(place)
    if (others === undefined) this.#fitting.set(place, [rune])
    else others.push(rune)
  }

  /** Says what it has become, unless that stands in the journal or is on its way there. */
  #report(candidate: Candidate): void {
    const state = stateOf(candidate)
    if (!this.#live || state === null || state === (this.#proposed.get(candidate.rune) ?? candidate.told))
      return
    this.#proposed.set(candidate.rune, state)
    const { rune, version, category, fingerprint, successes, n, evidence, cusum, told } = candidate
    const d = {
      rune,
      version,
      category,
      fingerprint,
      plan_shape: candidate.planShape,
      successes,
      n,
      bound: rounded(boundOf(candidate), 3),
      cusum: rounded(cusum.score, 2),
      evidence,
      // One that had gone stale and works again.
      ...(state === 'active' && told === 'stale' && { again: true }),
    }
    const type = state === 'active' ? 'rune.promoted' : 'rune.staled'
    this.#propose({ type, actor: { kind: 'daemon', name: 'insight' }, d })
  }

  #told({ type, d }: Fact): void {
    const rune = this.#runes.get(textOf(d, 'rune') ?? '')
    if (rune === undefined) return
    rune.told = type === 'rune.promoted' ? 'active' : 'stale'
    if (this.#proposed.get(rune.rune) === rune.told) this.#proposed.delete(rune.rune)
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

function goalKeyOf({ category, fingerprint }: Candidate): string {
  return `${category}|${fingerprint}`
}

/** Where the runes for one kind of request stand. */
function placeOf(category: Category, input: string): string {
  return `${category}|${input}`
}

/** The higher bound wins; between equals the more similar, then the name, so that it is the same one each time. */
function beats(
  one: { readonly candidate: Candidate; readonly likeness: number },
  other: { readonly candidate: Candidate; readonly likeness: number } | undefined,
): boolean {
  if (other === undefined) return true
  const ahead = boundOf(one.candidate) - boundOf(other.candidate) || one.likeness - other.likeness
  return ahead > 0 || (ahead === 0 && one.candidate.rune < other.candidate.rune)
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
