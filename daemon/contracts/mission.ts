import { type Static, Type } from 'typebox'
import { CATEGORIES, DECISIONS, MISSION_ID_PATTERN, SEGMENT_PATTERN } from './ids.ts'
import type { ArtifactRef } from './module.ts'

const closed = { additionalProperties: false }
const Key = Type.String({ minLength: 1, maxLength: 256, description: 'the operator key' })
const Reason = Type.String({ minLength: 1, maxLength: 500 })
const MissionRef = Type.String({ pattern: MISSION_ID_PATTERN })

export const MISSION_STATUSES = [
  'suggestion',
  'awaiting_approval',
  'queued',
  'running',
  'completed',
  'failed',
  'cancelled',
  'rejected',
  'expired',
  'interrupted',
] as const
export type MissionStatus = (typeof MISSION_STATUSES)[number]

export const PlanStepSchema = Type.Object(
  {
    id: Type.String({ pattern: `^${SEGMENT_PATTERN}$` }),
    uses: Type.String({
      pattern: `^${SEGMENT_PATTERN}/${SEGMENT_PATTERN}/${SEGMENT_PATTERN}$`,
      description: '<group>/<name>/<action>',
    }),
    with: Type.Optional(
      Type.Unknown({
        description: 'input; {"$from": "steps.<id>.output.<path>"} or {"$from": "input.<path>"}',
      }),
    ),
    needs: Type.Optional(Type.Array(Type.String(), { maxItems: 64 })),
    timeout_ms: Type.Optional(Type.Integer({ minimum: 1, maximum: 3_600_000 })),
    retries: Type.Optional(Type.Integer({ minimum: 0, maximum: 10 })),
  },
  { ...closed, $id: 'PlanStep' },
)
export type PlanStep = Static<typeof PlanStepSchema>

const ConstraintsSchema = Type.Object(
  {
    max_time_seconds: Type.Optional(Type.Number({ exclusiveMinimum: 0, maximum: 86_400 })),
    max_steps: Type.Optional(Type.Integer({ minimum: 1, maximum: 100 })),
  },
  { ...closed, $id: 'Constraints' },
)

/** Absent constraints: five minutes and ten steps fit what one operator waits for. */
export const CONSTRAINTS_DEFAULT = { max_time_seconds: 300, max_steps: 10 } as const
export interface Constraints {
  readonly max_time_seconds: number
  readonly max_steps: number
}

/** `POST /v1/missions/create`. Input is bounded to 32 KiB of JSON by the recorder. */
export const CreateSchema = Type.Object(
  {
    goal: Type.String({ minLength: 1, maxLength: 2_000, examples: ['Optimize lead conversion process'] }),
    category: Type.Enum([...CATEGORIES]),
    constraints: Type.Optional(ConstraintsSchema),
    plan: Type.Optional(Type.Array(PlanStepSchema, { minItems: 1, maxItems: 100 })),
    input: Type.Optional(Type.Unknown()),
    priority: Type.Optional(Type.Integer({ minimum: 0, maximum: 9 })),
    not_before: Type.Optional(Type.String({ format: 'date-time' })),
    expected_value: Type.Optional(Type.Number({ minimum: 0, maximum: 1e12 })),
    max_attempts: Type.Optional(Type.Integer({ minimum: 1, maximum: 10 })),
  },
  { ...closed, $id: 'MissionCreate' },
)
export type MissionCreate = Static<typeof CreateSchema>

/** So many missions in one request: what one sync carries, and an answer that is still read. */
export const BATCH_MAX = 1_000

/**
 * `POST /v1/missions/batch`. Each entry is a body of create with, perhaps, an `idempotency_key`; each is checked by
 * itself, so that one that is wrong spoils no other.
 */
export const BatchSchema = Type.Object(
  { missions: Type.Array(Type.Unknown(), { minItems: 1, maxItems: BATCH_MAX }) },
  { ...closed, $id: 'MissionBatch' },
)

/** What may name a create, as a header or in an entry of a batch. */
export const IDEMPOTENCY_KEY_PATTERN = /^[\x21-\x7e](?:[\x20-\x7e]{0,254}[\x21-\x7e])?$/

/** `POST /v1/missions/retry`, of a mission that failed or expired. */
export const RetrySchema = Type.Object(
  { mission_id: MissionRef, operator_key: Type.Optional(Key) },
  { ...closed, $id: 'MissionRetry' },
)

export const RunSchema = Type.Object(
  {
    mission_id: MissionRef,
    operator_key: Type.Optional(Key),
    wait_ms: Type.Optional(Type.Integer({ minimum: 0, maximum: 30_000 })),
    override: Type.Optional(Type.Boolean()),
    reason: Type.Optional(Reason),
    resume: Type.Optional(Type.Enum(['retry', 'skip'])),
  },
  { ...closed, $id: 'MissionRun' },
)
export type MissionRun = Static<typeof RunSchema>

export const ApproveSchema = Type.Object(
  {
    mission_id: MissionRef,
    operator_key: Key,
    reason: Type.Optional(Reason),
    digest: Type.Optional(
      Type.String({
        pattern: '^[0-9a-f]{64}$',
        description: 'refuses when it is no longer what was looked at',
      }),
    ),
  },
  { ...closed, $id: 'MissionApprove' },
)

/** Also for reject. */
export const CancelSchema = Type.Object(
  { mission_id: MissionRef, operator_key: Type.Optional(Key), reason: Type.Optional(Reason) },
  { ...closed, $id: 'MissionCancel' },
)

export const ListSchema = Type.Object(
  {
    status: Type.Optional(Type.Enum([...MISSION_STATUSES])),
    category: Type.Optional(Type.Enum([...CATEGORIES])),
    decision: Type.Optional(Type.Enum([...DECISIONS])),
    module: Type.Optional(Type.String({ maxLength: 127 })),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 500 })),
    after: Type.Optional(Type.String({ pattern: MISSION_ID_PATTERN })),
  },
  closed,
)
export type MissionFilter = Static<typeof ListSchema>

/** How a mission was judged: INSIGHT's validation as it is stored with the mission and shown. */
export interface Validation {
  readonly decision: (typeof DECISIONS)[number]
  readonly score: number
  readonly axes: Readonly<Record<string, object>>
  readonly gates: readonly { readonly gate: string; readonly because: string }[]
  readonly reasons: readonly string[]
  readonly counterfactual: object | null
  /** Probability of success that was predicted, 0..1. */
  readonly predicted: number
  readonly scorer_version: number
  /** The last record that was known, and when: the journal up to there gives the same judgement again. */
  readonly as_of?: { readonly seq: number; readonly at: string }
}

export type StepStatus = 'pending' | 'running' | 'completed' | 'failed' | 'skipped' | 'unknown'

export interface MissionStep {
  readonly id: string
  readonly uses: string
  readonly status: StepStatus
  readonly started_at: string | null
  readonly duration_ms: number | null
  /** Absent while not completed; large outputs stand as `{artifact}`. */
  readonly output?: unknown
  readonly error?: MissionError
}

export interface MissionAttempt {
  readonly epoch: number
  readonly started_at: string
  readonly ended_at: string | null
  readonly outcome: 'completed' | 'failed' | 'cut' | 'cancelled' | null
  readonly error?: MissionError
}

export interface MissionError {
  readonly code: string
  readonly message: string
  readonly step?: string
}

/** A mission as every surface shows it. */
export interface MissionView {
  readonly mission_id: string
  readonly goal: string
  readonly category: (typeof CATEGORIES)[number]
  readonly status: MissionStatus
  readonly decision: (typeof DECISIONS)[number]
  readonly score: number
  readonly constraints: Constraints
  readonly priority: number
  readonly created_at: string
  readonly updated_at: string
  readonly principal: string
  readonly epoch: number
  readonly modules: readonly string[]
  /** Why it stands where it stands, in one sentence. */
  readonly because: string
  /** While it waits for an operator: when it stops waiting. */
  readonly expires_at?: string
  readonly result?: unknown
  readonly error?: MissionError
  readonly duration_ms: number | null
  readonly artifacts: readonly ArtifactRef[]
}

/** What an approval would be given for. */
interface ApprovalSubject {
  /** RFC 3339. */
  readonly since: string
  readonly expires_at: string
  /** Of what it covers; an approval that names it is taken for this and nothing else. */
  readonly digest: string
  readonly covers: readonly string[]
}

/** What let a mission run that is not SAFE, or that was interrupted. */
interface ApprovalView {
  readonly kind: 'approved' | 'overridden' | 'resumed'
  readonly by: string
  readonly at: string
  readonly reason?: string
  readonly digest: string
}

/** How far an action says it has come; not on record. */
export interface MissionProgress {
  readonly step: string
  /** 0..1. */
  readonly fraction: number
  readonly note: string | null
  readonly at: string
}

/** `GET /v1/missions/:mission_id`. */
export interface MissionDetail extends MissionView {
  readonly input?: unknown
  readonly plan: readonly PlanStep[]
  readonly plan_source: 'given' | 'rune' | 'module' | 'none'
  readonly validation: Validation
  readonly steps: readonly MissionStep[]
  readonly attempts: readonly MissionAttempt[]
  readonly approval: ApprovalView | null
  /** While it waits for an operator. */
  readonly awaiting?: ApprovalSubject
  readonly retry_of?: string
  /** While it runs. */
  readonly progress?: MissionProgress
  /** Answers that came after their attempt was over, since the daemon started; the epoch is that of the last. */
  readonly late_answers?: { readonly refused: number; readonly epoch: number }
}
