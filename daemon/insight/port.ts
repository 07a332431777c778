import type { Category, Decision, MissionId, ModuleId } from '../contracts/ids.ts'
import type { Axis, SCORER_VERSION } from './axes.ts'
import type { GateName } from './gates.ts'

/** A mission that wants to be judged. */
export interface Question {
  readonly goal: string
  readonly category: Category
  readonly constraints: { readonly max_time_seconds: number; readonly max_steps: number }
  /** In order; empty when nobody could plan it. */
  readonly plan: readonly { readonly id: string; readonly module_id: ModuleId; readonly action: string }[]
  /** What is known of each module the plan names; one that is not listed counts as missing. */
  readonly modules: readonly ModuleStanding[]
  readonly expected_value?: number
  /** The rune the plan came from. */
  readonly rune?: string
  /** Why there is no plan, or why it cannot run, when somebody found out already. */
  readonly obstacle?: string
}

interface ModuleStanding {
  readonly module_id: ModuleId
  /** On disk, valid, and with the action the plan asks for. */
  readonly known: boolean
  readonly locked: boolean
  /** Whose self-tests count. */
  readonly generation?: string
}

/** The whole judgement, as it is stored with the mission and shown: under 4 KiB of JSON. */
export interface Verdict {
  readonly decision: Decision
  /** 0..100, after the gates. */
  readonly score: number
  /** Before the gates: 100 minus the points lost on the axes. */
  readonly ungated_score: number
  readonly axes: Readonly<Record<Axis, AxisView>>
  readonly gates: readonly GateView[]
  readonly reasons: readonly string[]
  readonly counterfactual: Counterfactual | null
  /** The probability of success, 0..1; scored against the outcome later. */
  readonly predicted: number
  readonly scorer_version: typeof SCORER_VERSION
  /** The last record it knows of, and when it was: the journal up to there gives the same judgement again. */
  readonly as_of: { readonly seq: number; readonly at: string }
}

export interface AxisView {
  /** 0..100, higher is better. */
  readonly value: number
  readonly weight: number
  readonly points_lost: number
  /** Outcomes behind it, and how many equally heavy ones they are worth. */
  readonly n: number
  readonly n_eff: number
  /** The 80 % interval of what `measure` names; null where nothing was measured. */
  readonly interval: readonly [number, number] | null
  readonly measure: string
  readonly source: 'history' | 'prior' | 'declared'
  /** Up to five missions; `self_test:<module>` where self-tests are part of it. */
  readonly evidence: readonly (MissionId | string)[]
}

interface GateView {
  readonly gate: GateName
  readonly because: string
  readonly cap: number
}

/** The cheapest change found that would help. */
export interface Counterfactual {
  readonly gate: GateName | null
  readonly axis: Axis | null
  readonly current: number | null
  readonly needed: number | null
  readonly sentence: string
}

/** One look at something that may run out. */
export interface Reading {
  /** The daemon's own where absent. */
  readonly moduleId?: ModuleId
  readonly resource: Resource
  readonly used: number
  readonly limit: number
}

/** What is measured and may run out. */
export type Resource = 'memory' | 'disk' | 'descriptors' | 'queue'
