import type { MissionOutcome } from '../contracts/fact.ts'
import type { Category, MissionId } from '../contracts/ids.ts'
import type { PlanStep } from '../contracts/mission.ts'
import { CALM, type Cusum, stepCusum, usualRate } from './cusum.ts'
import { rateDifference, rounded, type Tally, wilsonLower } from './numbers.ts'
import type { Order } from './orders.ts'

/** A kind of goal with a shape of plan, on its way to become a rune, or one already. */
export interface Candidate {
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
  /** Of these, the missions whose plan the rune was. */
  used: { n: number; successes: number }
  plan: readonly PlanStep[] | undefined
  /** Of the plan's template, and of the goal in full; undefined before a success, null once two differed in it. */
  planDigest: string | null | undefined
  goal: string | null | undefined
  boundToGoal: boolean
  evidence: MissionId[]
  durationsMs: number[]
  cusum: Cusum
  promotedMs: number | null
  /** What the journal says of it. */
  told: RuneState | null
}

export type RuneState = 'active' | 'stale'

/** A rune as surfaces show it. */
export interface RuneView {
  readonly rune: string
  readonly version: number
  readonly state: RuneState
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
  readonly lift: LiftView
  readonly promoted_at: string
}

/** Success of missions with the rune minus that of missions with the same goal without it. */
interface LiftView {
  readonly with: Tally
  readonly without: Tally
  readonly difference: number | null
  /** Newcombe's, 90 %. */
  readonly interval: readonly [number, number] | null
  readonly verdict: 'helps' | 'not proven'
}

/** A candidate that has not been counted yet. */
export function fresh(order: Order, outcome: MissionOutcome): Candidate {
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
    used: { n: 0, successes: 0 },
    plan: undefined,
    planDigest: undefined,
    goal: undefined,
    boundToGoal: false,
    evidence: [],
    durationsMs: [],
    cusum: CALM,
    promotedMs: null,
    told: null,
  }
}

/** Counts the outcome of one mission. */
export function count(candidate: Candidate, mid: MissionId, order: Order, outcome: MissionOutcome): void {
  const failures = candidate.n - candidate.successes
  candidate.cusum = stepCusum(candidate.cusum, !outcome.success, usualRate(failures, candidate.n))
  candidate.n += 1
  if (order.rune === candidate.rune) {
    candidate.used.n += 1
    if (outcome.success) candidate.used.successes += 1
  }
  if (outcome.success) {
    candidate.successes += 1
    candidate.evidence = [mid, ...candidate.evidence].slice(0, EXAMPLES_MAX)
    candidate.durationsMs = [...candidate.durationsMs, outcome.duration_ms].slice(-DURATIONS_MAX)
    compare(candidate, order)
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

/** Whether it may be chosen by itself. */
export function usable(candidate: Candidate): boolean {
  return candidate.promotedMs !== null && typeof candidate.planDigest === 'string' && !isStale(candidate)
}

/** Null before it is a rune at all. */
export function stateOf(candidate: Candidate): RuneState | null {
  if (candidate.promotedMs === null) return null
  return isStale(candidate) ? 'stale' : 'active'
}

function isStale(candidate: Candidate): boolean {
  return boundOf(candidate) < BOUND_STALE || candidate.cusum.score >= CUSUM_STALE
}

/** Lower end of Wilson's interval of its successes. */
export function boundOf({ successes, n }: Candidate): number {
  return wilsonLower(successes, n)
}

/** What missions with one goal came to without any rune, from all candidates for it. */
export function without(candidates: Iterable<Candidate>): Tally {
  let [n, successes] = [0, 0]
  for (const other of candidates) {
    n += other.n - other.used.n
    successes += other.successes - other.used.successes
  }
  return { n, successes }
}

function liftOf({ used }: Candidate, others: Tally): LiftView {
  const found = rateDifference(used, others)
  const [low, high] = found?.interval ?? [0, 0]
  return {
    with: { ...used },
    without: others,
    difference: found === undefined ? null : rounded(found.difference, 3),
    interval: found === undefined ? null : [rounded(low, 3), rounded(high, 3)],
    verdict: low > 0 ? 'helps' : 'not proven',
  }
}

/** As surfaces show it; nothing for one that was never promoted. */
export function viewOf(candidate: Candidate, others: Tally): RuneView[] {
  const { plan, promotedMs, durationsMs } = candidate
  if (promotedMs === null || plan === undefined) return []
  const times = durationsMs.toSorted((one, other) => one - other)
  const [p50, p90, p95] = [0.5, 0.9, 0.95].map((share) => times[Math.ceil(share * times.length) - 1] ?? 0)
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
      lift: liftOf(candidate, others),
      promoted_at: new Date(promotedMs).toISOString(),
    },
  ]
}

const BOUND_STALE = 0.35
const CUSUM_STALE = 4
const EXAMPLES_MAX = 5
/** A P90 of fifty is within eight ranks in a hundred; constraints need no better one. */
const DURATIONS_MAX = 50
