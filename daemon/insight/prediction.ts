import type { Category, ModuleId } from '../contracts/ids.ts'
import { rounded } from './numbers.ts'
import type { Resource } from './port.ts'
import type { PredictionKind, Skill } from './scores.ts'

/** Who a prediction is about: a module, or the daemon itself. */
export interface PredictionSubject {
  readonly module_id?: ModuleId
  readonly category?: Category
  readonly resource?: Resource
}

/** A probability with what it stands on. `probability` and `interval` are null where none is stated. */
export interface Prediction {
  readonly kind: PredictionKind
  readonly subject: PredictionSubject
  /** `muted`: there is a number, but those before it were no better than the base rate. */
  readonly status: 'stated' | 'insufficient_data' | 'muted'
  readonly statement: string
  readonly probability: number | null
  /** 80 %. */
  readonly interval: readonly [number, number] | null
  readonly n: number
  readonly n_eff: number
  readonly horizon: string
  readonly evidence: readonly string[]
  readonly expires_at: string
  /** How long until it comes, 80 %: of what runs out. */
  readonly eta_hours?: { readonly low: number; readonly likely: number; readonly high: number }
  /** What would make it unlikely. */
  readonly recommended?: { readonly max_time_seconds: number }
}

/** What decides later whether a prediction came true. */
export type About = Readonly<Record<string, number>>

/** A prediction as it is found, with what will decide it. */
export interface Found extends Prediction {
  readonly about: About
}

/** The answer of `GET /v1/system/predictions`. */
export interface PredictionList {
  readonly predictions: readonly Prediction[]
  /** Those that were made, stand on record, and wait for what happens. */
  readonly open: readonly OpenView[]
  readonly skill: readonly Skill[]
  readonly note: string
}

export interface OpenView {
  readonly kind: PredictionKind
  readonly subject: PredictionSubject
  readonly statement: string
  readonly probability: number
  /** The `seq` of its `prediction.made`. */
  readonly made: number
  readonly made_at: string
  readonly expires_at: string
}

/** A prediction with its numbers, or without them where too little is behind them. */
export function stated(
  nowMs: number,
  found: Omit<Prediction, 'status' | 'expires_at' | 'probability' | 'interval'> & {
    readonly probability: number
    readonly interval: readonly [number, number]
    readonly lastsMs: number
    readonly about?: About
  },
): Found {
  const { lastsMs, about = {}, ...rest } = found
  const enough = found.n_eff >= N_EFF_MIN
  const [low, high] = found.interval
  return {
    ...rest,
    status: enough ? 'stated' : 'insufficient_data',
    probability: enough ? rounded(found.probability, 4) : null,
    interval: enough ? [rounded(low, 4), rounded(high, 4)] : null,
    n_eff: rounded(found.n_eff, 1),
    expires_at: new Date(nowMs + lastsMs).toISOString(),
    about,
  }
}

/** Names what a prediction is about: there is at most one open for each. */
export function keyOf(kind: PredictionKind, { module_id, category, resource }: PredictionSubject): string {
  return [kind, module_id ?? 'daemon', category ?? resource ?? ''].join('|')
}

/** Fewer effective outcomes than this would only repeat the prior. */
const N_EFF_MIN = 5
