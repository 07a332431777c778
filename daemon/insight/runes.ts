import type { Fact, MissionOutcome } from '../contracts/fact.ts'
import type { Category, MissionId } from '../contracts/ids.ts'
import type { PlanStep } from '../contracts/mission.ts'
import { CALM, type Cusum, stepCusum, usualRate } from './cusum.ts'
import { outcomeOf } from './facts.ts'
import { readGoal } from './fingerprint.ts'
import { rounded, weightedQuantile, wilsonLower } from './numbers.ts'
import { goalDigest, type Order, Orders } from './orders.ts'
import { inputShape } from './plan-template.ts'
import { similarity } from './similarity.ts'

/** A rune as surfaces show it. */
export interface RuneView {
  readonly rune: string
  readonly version: number
  readonly state: 'active' | 'stale'
  readonly category: Category
  readonly fingerprint: string
  readonly tokens: readonly string[]
  readonly plan_shape: string
  readonly plan: readonly PlanStep[]
  /** Names of the input fields that the plan refers to or was learned with. */
  readonly parameters: readonly string[]
  /** False where its successes differed in more than their input, so that it cannot be used by itself. */
  readonly reusable: boolean
  readonly recommended: { readonly max_time_seconds: number; readonly max_steps: number }
  readonly evidence: readonly MissionId[]
  readonly successes: number
  readonly n: number
  /** Lower end of Wilson's interval, one-sided 90 %. */
  readonly bound: number
  readonly p50_ms: number
  readonly p90_ms: number
  readonly promoted_at: string
}

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
    const failures = candidate.n - candidate.successes
    candidate.cusum = stepCusum(candidate.cusum, !outcome.success, usualRate(failures, candidate.n))
    candidate.n += 1
    if (outcome.success) {
      candidate.successes += 1
      candidate.evidence = [mid, ...candidate.evidence].slice(0, EXAMPLES_MAX)
      candidate.durationsMs = [...candidate.durationsMs, outcome.duration_ms].slice(-DURATIONS_MAX)
      compare(candidate, order)
    }
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

interface Candidate {
  readonly key: string
  readonly rune: string
  readonly category: Category
  readonly fingerprint: string
  readonly tokens: readonly string[]
  readonly planShape: string
  readonly inputShape: string
  version: number
  n: number
  successes: number
  plan: readonly PlanStep[] | undefined
  /** Of the plan's template, and of the goal in full; undefined before a success, null once two differed in it. */
  planDigest: string | null | undefined
  goal: string | null | undefined
  boundToGoal: boolean
  evidence: MissionId[]
  durationsMs: number[]
  cusum: Cusum
  promotedMs: number | null
}

export interface SavedRunes {
  readonly candidates: readonly (readonly [string, Candidate])[]
  readonly orders: ReturnType<Orders['save']>
}

function fresh(order: Order, outcome: MissionOutcome): Candidate {
  return {
    key: order.key,
    rune: order.ownRune,
    category: outcome.category,
    fingerprint: outcome.fingerprint,
    tokens: outcome.tokens,
    planShape: outcome.plan_shape,
    inputShape: order.inputShape,
    version: 0,
    n: 0,
    successes: 0,
    plan: undefined,
    planDigest: undefined,
    goal: undefined,
    boundToGoal: false,
    evidence: [],
    durationsMs: [],
    cusum: CALM,
    promotedMs: null,
  }
}

/** What the successes have in common is the rune; where they differ it cannot be used by itself. */
function compare(candidate: Candidate, order: Order): void {
  candidate.plan ??= order.plan
  candidate.boundToGoal ||= order.boundToGoal
  // One that used the rune for a similar goal has its plan by definition, and its own words.
  if (order.rune === candidate.rune) return
  if (candidate.planDigest === undefined) candidate.planDigest = order.digest
  if (candidate.goal === undefined) candidate.goal = order.goal
  if (candidate.planDigest !== order.digest) candidate.planDigest = null
  if (candidate.goal !== order.goal) candidate.goal = null
}

function usable(candidate: Candidate): boolean {
  return candidate.promotedMs !== null && typeof candidate.planDigest === 'string' && !isStale(candidate)
}

function isStale(candidate: Candidate): boolean {
  return boundOf(candidate) < BOUND_STALE || candidate.cusum.score >= CUSUM_STALE
}

function boundOf({ successes, n }: Candidate): number {
  return wilsonLower(successes, n)
}

function viewOf(candidate: Candidate): RuneView[] {
  const { plan, promotedMs, durationsMs } = candidate
  if (promotedMs === null || plan === undefined) return []
  const times = durationsMs.map((value) => ({ value, weight: 1 }))
  const [p50, p90, p95] = [0.5, 0.9, 0.95].map((share) => weightedQuantile(times, share) ?? 0)
  return [
    {
      rune: candidate.rune,
      version: candidate.version,
      state: isStale(candidate) ? 'stale' : 'active',
      category: candidate.category,
      fingerprint: candidate.fingerprint,
      tokens: candidate.tokens,
      plan_shape: candidate.planShape,
      plan,
      parameters: candidate.inputShape.split(' ').filter((name) => name !== ''),
      reusable: typeof candidate.planDigest === 'string',
      recommended: {
        max_time_seconds: Math.max(1, Math.ceil(((p95 ?? 0) * 1.25) / 1_000)),
        max_steps: plan.length,
      },
      evidence: candidate.evidence,
      successes: candidate.successes,
      n: candidate.n,
      bound: rounded(boundOf(candidate), 3),
      p50_ms: rounded(p50 ?? 0, 1),
      p90_ms: rounded(p90 ?? 0, 1),
      promoted_at: new Date(promotedMs).toISOString(),
    },
  ]
}

const SUCCESSES_MIN = 3
const BOUND_MIN = 0.5
const BOUND_STALE = 0.35
const CUSUM_STALE = 4
const SIMILARITY_WANTED = 0.6
const EXAMPLES_MAX = 5
/** A P90 of fifty is within eight ranks in a hundred; constraints need no better one. */
const DURATIONS_MAX = 50
/** Plans have up to 16 KiB: some 80 MB at the very worst, a few in practice. */
const CANDIDATES_MAX = 5_000
const RUNES_MAX = 1_000
