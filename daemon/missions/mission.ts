import type { Fact } from '../contracts/fact.ts'
import type { Decision, MissionId, ModuleId } from '../contracts/ids.ts'
import type {
  MissionAttempt,
  MissionError,
  MissionStatus,
  StepStatus,
  Validation,
} from '../contracts/mission.ts'
import type { ArtifactRef } from '../contracts/module.ts'
import type { EndedBody, MissionOrder } from './facts.ts'

/** One mission as its facts tell it; plain data, replaced and never changed. */
export interface Mission {
  readonly id: MissionId
  readonly order: MissionOrder
  readonly modules: readonly ModuleId[]
  readonly status: MissionStatus
  readonly decision: Decision
  /** The latest judgement; the first one stays in `order`. */
  readonly validation: Validation
  readonly createdAt: string
  readonly updatedAt: string
  /** When the present status began. */
  readonly since: string
  /** Counts claims. Every write of an attempt must present it. */
  readonly epoch: number
  readonly steps: readonly StepRecord[]
  /** The last `ATTEMPTS_KEPT`. */
  readonly attempts: readonly MissionAttempt[]
  readonly failedAttempts: number
  /** Execution time of all attempts that ended. */
  readonly spentMs: number
  /** Work of the steps in the open attempt. */
  readonly openMs: number
  readonly cpuMs: number
  /** How often an operator had to act. */
  readonly touches: number
  /** What lets it run although it is not SAFE, or although it was interrupted. */
  readonly clearance: Clearance | null
  /** Counts from `since`. */
  readonly retryInMs: number
  readonly note: string | null
  readonly outcome: EndedBody | null
  /** The first fact and the last ones, for `explain`. */
  readonly trail: readonly TrailEntry[]
}

export interface StepRecord {
  readonly id: string
  readonly uses: string
  readonly status: StepStatus
  readonly tries: number
  readonly idempotent: boolean
  readonly startedAt: string | null
  readonly durationMs: number | null
  readonly output?: unknown
  readonly kept?: ArtifactRef
  readonly artifacts: readonly ArtifactRef[]
  readonly error?: MissionError
}

export interface Clearance {
  readonly kind: 'approved' | 'overridden' | 'resumed'
  readonly by: string
  readonly at: string
  readonly reason?: string
  /** What it was given for. */
  readonly digest: string
}

interface TrailEntry {
  readonly at: string
  readonly seq: number
  readonly type: string
  readonly say: string
}

/** Cuts and resumes are not limited in number; the journal has all of them. */
export const ATTEMPTS_KEPT = 50
export const TRAIL_KEPT = 24

/** A mission as it is created. */
export function born(fact: Fact, order: MissionOrder, status: MissionStatus): Mission {
  const { decision } = order.validation
  return {
    id: fact.mid ?? '',
    order,
    modules: [...new Set(order.plan.map(({ uses }) => moduleOf(uses)))],
    status,
    decision,
    validation: order.validation,
    createdAt: fact.ts,
    updatedAt: fact.ts,
    since: fact.ts,
    epoch: 0,
    steps: order.plan.map(({ id, uses }) => ({ id, uses, ...UNTOUCHED })),
    attempts: [],
    failedAttempts: 0,
    spentMs: 0,
    openMs: 0,
    cpuMs: 0,
    touches: 0,
    clearance: null,
    retryInMs: 0,
    note: null,
    outcome: null,
    trail: [{ at: fact.ts, seq: fact.seq, type: fact.type, say: judged(order.validation) }],
  }
}

function judged({ decision, score, reasons }: Validation): string {
  return [`judged ${decision} with a score of ${score}`, ...reasons].join('; ').slice(0, SAY_LENGTH_MAX)
}

/** The trail stays in memory; the whole text is in the journal. */
export const SAY_LENGTH_MAX = 200

export const UNTOUCHED = {
  status: 'pending',
  tries: 0,
  idempotent: false,
  startedAt: null,
  durationMs: null,
  artifacts: [],
} as const satisfies Omit<StepRecord, 'id' | 'uses'>

/** `<group>/<name>` of `<group>/<name>/<action>`. */
export function moduleOf(uses: string): ModuleId {
  return uses.slice(0, uses.lastIndexOf('/'))
}

/** `<action>` of `<group>/<name>/<action>`. */
export function actionOf(uses: string): string {
  return uses.slice(uses.lastIndexOf('/') + 1)
}

/** The steps whose start is recorded and whose end is not. */
export function unfinishedSteps({ steps }: Mission): readonly StepRecord[] {
  return steps.filter(({ status }) => status === 'running')
}

/** What is known of one step. */
export function stepOf({ steps }: Mission, id: string): StepRecord | undefined {
  return steps.find((step) => step.id === id)
}

/** Nothing waits for it any more. */
export function isDone({ status }: StepRecord): boolean {
  return status === 'completed' || status === 'skipped'
}
