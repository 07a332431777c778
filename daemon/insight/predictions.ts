import type { ModuleId } from '../contracts/ids.ts'
import { betaQuantile, gammaQuantile } from './beta.ts'
import { betaBinomialAtLeast, binomialAtLeast } from './binomial.ts'
import { type Rise, riseOf } from './change-point.ts'
import { estimate } from './estimate.ts'
import type { Evidence, Kind } from './evidence.ts'
import { rounded } from './numbers.ts'
import { type Found, stated } from './prediction.ts'
import { outlasting, timeForAllBut } from './survival.ts'
import type { Exposure } from './uptime.ts'

/** That the next mission of a category by a module fails: 1 − p̂, with the interval of its Beta. */
export function missionFailure(evidence: Evidence, { category, moduleId }: Kind, nowMs: number): Found {
  const found = estimate(evidence, { category, modules: [{ module_id: moduleId }] }, nowMs)
  return stated(nowMs, {
    kind: 'mission_failure',
    subject: { module_id: moduleId, category },
    statement: `the next ${category} mission of ${moduleId} fails`,
    probability: found.b / (found.a + found.b),
    interval: [betaQuantile(0.1, found.b, found.a), betaQuantile(0.9, found.b, found.a)],
    n: found.n,
    n_eff: found.nEff,
    horizon: 'next mission',
    evidence: found.missions,
    lastsMs: DAY_MS,
  })
}

/**
 * That the next mission of a category by a module needs more than the limit that the last one had: Kaplan–Meier of the
 * durations, where those that ran out of time count as longer.
 */
export function deadlineMiss(kind: Kind, limitSeconds: number, nowMs: number): Found {
  const { category, moduleId, recent } = kind
  const durations = recent.outcomes.map(({ durationMs, timedOut }) => ({
    ms: durationMs,
    censored: timedOut === true,
  }))
  const found = outlasting(durations, limitSeconds * 1_000)
  const p95Ms = timeForAllBut(0.05, durations)
  return stated(nowMs, {
    kind: 'deadline_miss',
    subject: { module_id: moduleId, category },
    statement: `the next ${category} mission of ${moduleId} needs more than ${limitSeconds} s`,
    probability: found.probability,
    interval: found.interval,
    n: found.n,
    n_eff: found.nEff,
    horizon: 'next mission',
    evidence: newest(kind),
    ...(p95Ms !== undefined && {
      recommended: { max_time_seconds: Math.max(1, Math.ceil((p95Ms * 1.25) / 1_000)) },
    }),
    lastsMs: DAY_MS,
    about: { limit_ms: limitSeconds * 1_000 },
  })
}

/**
 * That a module crashes within a day: Gamma–Poisson with shape 1 and the mean gap of all modules as rate, so
 * `P = 1 − ((b+T)/(b+T+h))^(1+k)` after k crashes in the time T.
 *
 * Its effective number is the crashes seen plus the horizons lived through: both tell about the rate.
 */
export function crashes(exposures: readonly Exposure[], nowMs: number, only?: ModuleId): Found[] {
  const upMs = exposures.reduce((sum, exposure) => sum + exposure.upMs, 0)
  const all = exposures.reduce((sum, exposure) => sum + exposure.crashes, 0)
  // Without a single crash there is no gap to start from, and any number would be invented.
  if (all === 0 || upMs === 0) return []
  const gapMs = upMs / all
  const asked = only === undefined ? exposures : exposures.filter(({ moduleId }) => moduleId === only)
  return asked.map(({ moduleId, upMs: ownMs, crashes: own, crashesEver, evidence }) => {
    const [shape, rate] = [1 + own, gapMs + ownMs]
    const within = (perMs: number): number => -Math.expm1(-perMs * DAY_MS)
    return stated(nowMs, {
      kind: 'module_crash',
      subject: { module_id: moduleId },
      statement: `${moduleId} crashes within 24 hours`,
      probability: -Math.expm1(shape * Math.log(rate / (rate + DAY_MS))),
      interval: [within(gammaQuantile(0.1, shape, rate)), within(gammaQuantile(0.9, shape, rate))],
      n: crashesEver,
      n_eff: own + ownMs / DAY_MS,
      horizon: '24 h',
      evidence,
      lastsMs: DAY_MS,
    })
  })
}

/**
 * That a module's failure rate, having risen, stays above the middle between then and now over the next missions.
 * Nothing when it has not risen. Beta–binomial, from what came after the change.
 */
export function degradation(kind: Kind, nowMs: number): Found | undefined {
  const { category, moduleId, recent } = kind
  const seen = recent.outcomes.slice(-TRIALS_MAX)
  const rise = riseOf(seen.map(({ success }) => !success))
  if (rise === undefined) return undefined
  const { before, after } = rise
  const failures = Math.max(1, Math.ceil((NEXT_MISSIONS * (before.rate + after.rate)) / 2))
  const [a, b] = [1 + after.failures, 1 + after.n - after.failures]
  const atRate = (rate: number): number => binomialAtLeast(failures, NEXT_MISSIONS, rate)
  return stated(nowMs, {
    kind: 'degradation',
    subject: { module_id: moduleId, category },
    statement: `${riseText(kind, rise, seen[rise.at]?.mid)}: at least ${failures} of the next ${NEXT_MISSIONS} fail`,
    probability: betaBinomialAtLeast(failures, NEXT_MISSIONS, a, b),
    interval: [atRate(betaQuantile(0.1, a, b)), atRate(betaQuantile(0.9, a, b))],
    n: seen.length,
    n_eff: after.n,
    horizon: `${NEXT_MISSIONS} missions`,
    evidence: newest(kind),
    lastsMs: 7 * DAY_MS,
    about: { missions: NEXT_MISSIONS, failures },
  })
}

function riseText({ category, moduleId }: Kind, { before, after }: Rise, since: string | undefined): string {
  const rate = (share: number): string => `${rounded(share * 100, 0)} %`
  return `the failure rate of ${moduleId} on ${category} rose from ${rate(before.rate)} to ${rate(after.rate)} with ${since}`
}

function newest({ recent }: { readonly recent: Kind['recent'] }): string[] {
  return recent.outcomes
    .slice(-EXAMPLES_MAX)
    .map(({ mid }) => mid)
    .reverse()
}

const DAY_MS = 24 * 3_600_000
/** A change further back is no news. */
const TRIALS_MAX = 100
/** Enough to tell two rates apart, few enough to be resolved within days. */
const NEXT_MISSIONS = 20
const EXAMPLES_MAX = 5
