import type { Category, ModuleId } from '../contracts/ids.ts'
import { betaQuantile, gammaQuantile } from './beta.ts'
import type { Skill } from './calibration.ts'
import { estimate } from './estimate.ts'
import type { Evidence } from './evidence.ts'
import { rounded } from './numbers.ts'
import type { Exposure } from './uptime.ts'

/** A probability with what it stands on. `probability` and `interval` are null where the data is not enough. */
interface Prediction {
  readonly kind: 'mission_failure' | 'module_crash'
  readonly subject: { readonly module_id: ModuleId; readonly category?: Category }
  readonly status: 'stated' | 'insufficient_data'
  readonly statement: string
  readonly probability: number | null
  /** 80 %. */
  readonly interval: readonly [number, number] | null
  readonly n: number
  readonly n_eff: number
  readonly horizon: string
  readonly evidence: readonly string[]
  readonly expires_at: string
}

/** The answer of `GET /v1/system/predictions`. */
export interface PredictionList {
  readonly predictions: readonly Prediction[]
  readonly skill: readonly Skill[]
  readonly note: string
}

/** Everything that can be predicted now, likeliest first. */
export function predict(
  evidence: Evidence,
  exposures: readonly Exposure[],
  skill: Skill,
  nowMs: number,
): PredictionList {
  const predictions = [...missionFailures(evidence, nowMs), ...crashes(exposures, nowMs)].sort(
    (one, other) => (other.probability ?? -1) - (one.probability ?? -1),
  )
  return { predictions: predictions.slice(0, LISTED_MAX), skill: [skill], note: noteFor(predictions) }
}

/** That the next mission of a category by a module fails: 1 − p̂, with the interval of its Beta. */
function missionFailures(evidence: Evidence, nowMs: number): Prediction[] {
  return [...evidence.kinds.values()].map(({ category, moduleId }) => {
    const modules = [{ module_id: moduleId }]
    const found = estimate(evidence, { category, goal: ANY_GOAL, modules }, nowMs)
    const fails = found.b / (found.a + found.b)
    return stated(nowMs, {
      kind: 'mission_failure',
      subject: { module_id: moduleId, category },
      statement: `the next ${category} mission of ${moduleId} fails`,
      probability: fails,
      interval: [betaQuantile(0.1, found.b, found.a), betaQuantile(0.9, found.b, found.a)],
      n: found.n,
      n_eff: found.nEff,
      horizon: 'next mission',
      evidence: found.missions,
    })
  })
}

/**
 * That a module crashes within a day: Gamma–Poisson with shape 1 and the mean gap of all modules as rate, so
 * `P = 1 − ((b+T)/(b+T+h))^(1+k)` after k crashes in the time T.
 *
 * Its effective number is the crashes seen plus the horizons lived through: both tell about the rate.
 */
function crashes(exposures: readonly Exposure[], nowMs: number): Prediction[] {
  const upMs = exposures.reduce((sum, exposure) => sum + exposure.upMs, 0)
  const all = exposures.reduce((sum, exposure) => sum + exposure.crashes, 0)
  // Without a single crash there is no gap to start from, and any number would be invented.
  if (all === 0 || upMs === 0) return []
  const gapMs = upMs / all
  return exposures.map(({ moduleId, upMs: ownMs, crashes: own, crashesEver, evidence }) => {
    const [shape, rate] = [1 + own, gapMs + ownMs]
    const within = (perMs: number): number => -Math.expm1(-perMs * HORIZON_MS)
    return stated(nowMs, {
      kind: 'module_crash',
      subject: { module_id: moduleId },
      statement: `${moduleId} crashes within 24 hours`,
      probability: -Math.expm1(shape * Math.log(rate / (rate + HORIZON_MS))),
      interval: [within(gammaQuantile(0.1, shape, rate)), within(gammaQuantile(0.9, shape, rate))],
      n: crashesEver,
      n_eff: own + ownMs / HORIZON_MS,
      horizon: '24 h',
      evidence,
    })
  })
}

function stated(
  nowMs: number,
  found: Omit<Prediction, 'status' | 'expires_at'> & { probability: number; interval: [number, number] },
): Prediction {
  const enough = found.n_eff >= N_EFF_MIN
  const [low, high] = found.interval
  return {
    ...found,
    status: enough ? 'stated' : 'insufficient_data',
    probability: enough ? rounded(found.probability, 4) : null,
    interval: enough ? [rounded(low, 4), rounded(high, 4)] : null,
    n_eff: rounded(found.n_eff, 1),
    expires_at: new Date(nowMs + HORIZON_MS).toISOString(),
  }
}

function noteFor(predictions: readonly Prediction[]): string {
  if (predictions.length === 0)
    return 'nothing is recorded yet: predictions begin with the first missions and crashes'
  const lacking = predictions.filter(({ status }) => status === 'insufficient_data').length
  const more = predictions.length > LISTED_MAX ? `; the first ${LISTED_MAX} are listed` : ''
  return `${predictions.length} subjects, ${lacking} of them with too little data to state a number${more}`
}

/** No goal in particular: what is estimated is the kind. */
const ANY_GOAL = { fingerprint: '', tokens: [] }
/** Fewer effective outcomes than this would only repeat the prior. */
const N_EFF_MIN = 5
const HORIZON_MS = 24 * 3_600_000
/** What a page can show; more are asked for by nobody. */
const LISTED_MAX = 200
