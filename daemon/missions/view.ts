import type { MissionDetail, MissionStep, MissionView, Validation } from '../contracts/mission.ts'
import type { ArtifactRef } from '../contracts/module.ts'
import { APPROVAL_COVERS, digestOfMission } from './digest.ts'
import type { Mission, StepRecord } from './mission.ts'

/** A mission as lists show it. */
export function viewOf(mission: Mission, approvalDays?: number): MissionView {
  const { order, outcome } = mission
  const expires_at = approvalDays === undefined ? undefined : expiryOf(mission, approvalDays)
  return {
    mission_id: mission.id,
    goal: order.goal,
    category: order.category,
    status: mission.status,
    decision: mission.decision,
    score: mission.validation.score,
    constraints: order.constraints,
    priority: order.priority,
    created_at: mission.createdAt,
    updated_at: mission.updatedAt,
    principal: order.principal,
    epoch: mission.epoch,
    modules: mission.modules,
    because: becauseOf(mission),
    ...(expires_at === undefined ? {} : { expires_at }),
    ...(outcome?.result === undefined ? {} : { result: outcome.result }),
    ...(outcome?.error === undefined ? {} : { error: outcome.error }),
    duration_ms: mission.epoch === 0 ? null : Math.round(mission.spentMs),
    artifacts: artifactsOf(mission),
  }
}

/** A mission with all that is known of it. */
export function detailOf(mission: Mission, approvalDays?: number): MissionDetail {
  const { order, clearance } = mission
  const expires_at = approvalDays === undefined ? undefined : expiryOf(mission, approvalDays)
  return {
    ...viewOf(mission, approvalDays),
    ...(order.input === undefined ? {} : { input: order.input }),
    plan: order.plan,
    plan_source: order.plan_source,
    validation: mission.validation,
    steps: mission.steps.map(stepOf),
    attempts: mission.attempts,
    approval: clearance,
    ...(expires_at === undefined
      ? {}
      : {
          awaiting: {
            since: mission.since,
            expires_at,
            digest: digestOfMission(mission),
            covers: APPROVAL_COVERS,
          },
        }),
    ...(order.retry_of === undefined ? {} : { retry_of: order.retry_of }),
  }
}

/** When it stops to wait for an operator, as the wall clock stands; undefined when it does not wait for one. */
function expiryOf({ status, since }: Mission, approvalDays: number): string | undefined {
  if (status !== 'awaiting_approval') return undefined
  return new Date(Date.parse(since) + approvalDays * DAY_MS).toISOString()
}

const DAY_MS = 86_400_000

/** What `create` answers. */
export interface CreatedView
  extends Pick<MissionView, 'mission_id' | 'status' | 'decision' | 'score'>,
    Pick<Validation, 'reasons' | 'counterfactual'> {
  readonly validation: Validation
}

export function answerOf(mission: Mission): CreatedView {
  const { reasons, counterfactual, score } = mission.validation
  const { id: mission_id, status, decision, validation } = mission
  return { mission_id, status, decision, score, validation, reasons, counterfactual }
}

/** Everything that can be fetched by name; of two with one name the later step's. */
export function artifactsOf(mission: Mission): readonly ArtifactRef[] {
  const refs = mission.steps.flatMap((step) => (step.kept ? [...step.artifacts, step.kept] : step.artifacts))
  return [...new Map(refs.map((ref) => [ref.name, ref])).values()]
}

/** Why it stands where it stands, in one sentence. */
function becauseOf(mission: Mission): string {
  const { order, validation, clearance, outcome, note, failedAttempts } = mission
  const judged = `judged ${mission.decision} with a score of ${validation.score}`
  const reasons = validation.reasons.length > 0 ? `: ${validation.reasons.join('; ')}` : ''
  switch (mission.status) {
    case 'suggestion':
      return `${judged}${reasons}`
    case 'awaiting_approval':
      return `${judged}, so it waits for an operator${reasons}`
    case 'queued': {
      const last = mission.attempts.at(-1)
      if (last?.outcome === 'failed') {
        return `attempt ${failedAttempts} of ${order.max_attempts} failed: ${last.error?.message ?? ''}`
      }
      if (last?.outcome === 'cut' && clearance?.kind !== 'resumed')
        return 'its last attempt was cut; it resumes'
      return clearance === null ? `${judged}, so it was queued` : `${clearance.kind} by ${clearance.by}`
    }
    case 'running':
      return `attempt ${mission.epoch} is under way`
    case 'completed':
      return mission.steps.length === 1 ? 'its step is done' : `all ${mission.steps.length} steps are done`
    case 'failed':
      return outcome?.error?.message ?? 'it failed'
    case 'interrupted':
      return `a step may or may not have done its work: ${note ?? ''}`
    case 'cancelled':
    case 'rejected':
      return note === null ? `it was ${mission.status}` : `it was ${mission.status}: ${note}`
    case 'expired':
      return 'nobody approved it in time'
  }
}

function stepOf(step: StepRecord): MissionStep {
  return {
    id: step.id,
    uses: step.uses,
    status: step.status,
    started_at: step.startedAt,
    duration_ms: step.durationMs,
    ...(step.kept ? { output: { artifact: step.kept } } : {}),
    ...(step.kept === undefined && 'output' in step ? { output: step.output } : {}),
    ...(step.error === undefined ? {} : { error: step.error }),
  }
}
