import type { Actor, FactDraft, MissionOutcome } from '../contracts/fact.ts'
import type { Category, GenerationId, InstanceId, MissionId } from '../contracts/ids.ts'
import type { Constraints, MissionError, PlanStep, Validation } from '../contracts/mission.ts'
import type { ArtifactRef } from '../contracts/module.ts'
import type { Authority } from './port.ts'

/** The body of `mission.created`: the whole order, so that a mission can be rebuilt from facts alone. */
export interface MissionOrder {
  readonly goal: string
  readonly category: Category
  readonly constraints: Constraints
  readonly plan: readonly PlanStep[]
  readonly plan_source: 'given' | 'rune' | 'module' | 'none'
  readonly rune?: string
  readonly obstacle?: string
  readonly input?: unknown
  readonly priority: number
  readonly not_before?: string
  readonly expected_value?: number
  readonly max_attempts: number
  readonly principal: string
  /** Asked with the published key (`--dev`). */
  readonly published?: true
  readonly idempotency?: {
    readonly key: string
    readonly principal: string
    readonly body_sha256: string
  }
  readonly validation: Validation
  readonly fingerprint: string
  readonly tokens: readonly string[]
  readonly plan_shape: string
  readonly retry_of?: MissionId
}

/** Who decided, and why they said they did. */
interface Decided {
  readonly by: string
  readonly reason?: string
  readonly published?: true
}

interface Steps {
  readonly steps: readonly string[]
}

/** The steps a record names; before steps could run side by side it named one. */
export function stepsOf(body: Steps | { readonly step?: string }): readonly string[] {
  if ('steps' in body) return body.steps
  return body.step === undefined ? [] : [body.step]
}

/** Bodies of the facts that missions write. Those with an epoch also close its attempt where they leave `running`. */
export interface MissionFacts {
  'mission.created': MissionOrder
  /** `digest`: of goal, constraints, plan and score as they were when it was approved. */
  'mission.approved': Decided & { readonly digest: string }
  'mission.rejected': Decided
  'mission.expired': { readonly after_days: number }
  'mission.overridden': Decided & { readonly digest: string }
  'mission.rejudged': { readonly validation: Validation }
  'mission.claimed': { readonly queue_wait_ms: number }
  'mission.step_started': {
    readonly step: string
    readonly uses: string
    readonly try: number
    /** As the manifest said when it was called: decides what a crash means. */
    readonly idempotent: boolean
  }
  /** A step that ended while its attempt goes on; the failure that ends an attempt stands in its own record. */
  'mission.step_finished': {
    readonly step: string
    readonly status: 'completed' | 'failed'
    readonly output?: unknown
    /** The output, where it is too large for a record. */
    readonly kept?: ArtifactRef
    readonly artifacts: readonly ArtifactRef[]
    readonly duration_ms: number
    /** Execution time of the attempt when the step had ended. Steps side by side take less than their sum. */
    readonly attempt_ms?: number
    readonly cpu_ms: number
    readonly instance?: InstanceId
    readonly generation?: GenerationId
    readonly error?: MissionError
  }
  'mission.attempt_ended': {
    readonly outcome: 'failed' | 'cut'
    readonly duration_ms: number
    readonly error?: MissionError
    readonly retry_in_ms: number
  }
  /** `steps`: of which nobody knows whether they did their work. */
  'mission.interrupted': Steps & { readonly cause: string; readonly duration_ms: number }
  'mission.resumed': Decided & Steps & { readonly mode: 'retry' | 'skip'; readonly digest: string }
  'mission.cancelled': Decided & { readonly duration_ms?: number }
  'mission.ended': EndedBody
}

export type EndedBody = MissionOutcome & {
  /** What the last step gave; `{artifact}` where it is too large for a record. */
  readonly result?: unknown
  readonly error?: MissionError
}

export type MissionFactType = keyof MissionFacts

/** Drafts a fact of one mission. */
export function draft<Type extends MissionFactType>(
  type: Type,
  missionId: MissionId,
  actor: Actor,
  body: MissionFacts[Type],
  epoch?: number,
): FactDraft {
  const d = body as unknown as FactDraft['d']
  return { type, mid: missionId, ...(epoch === undefined ? {} : { ep: epoch }), actor, d }
}

export const DAEMON: Actor = { kind: 'daemon', name: 'missions' }

/** Who stands in the record. */
export function actorOf({ principal, operatorKey, keyId }: Authority): Actor {
  return operatorKey
    ? { kind: 'key', name: keyId ?? principal.name }
    : { kind: principal.kind, name: principal.name }
}

export function decidedBy({ principal }: Authority, reason?: string): Decided {
  return {
    by: principal.name,
    ...(reason === undefined ? {} : { reason }),
    ...(principal.published === true ? { published: true as const } : {}),
  }
}
