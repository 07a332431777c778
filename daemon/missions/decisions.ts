import { NexusError } from '../contracts/failure.ts'
import type { MissionCreate, Validation } from '../contracts/mission.ts'
import { badRequest } from './admit.ts'
import { firstStarts } from './course.ts'
import { digestOfMission as digest } from './digest.ts'
import { actorOf, DAEMON, decidedBy } from './facts.ts'
import { decided, wrongState } from './ledger.ts'
import type { Mission } from './mission.ts'
import type { Authority, ClaimVerdict, Decided, MissionPorts } from './port.ts'
import { losesSafety, questionOf } from './question.ts'

/** What somebody who wants a mission to run may say with it. */
export interface RunWish {
  readonly override?: boolean
  readonly reason?: string
  readonly resume?: 'retry' | 'skip'
}

/** An approval is given for one digest; a second one finds another state and is refused by the table. */
export function approved(
  mission: Mission,
  authority: Authority,
  { reason, digest: seen }: { readonly reason?: string; readonly digest?: string },
): Decided {
  if (!authority.operatorKey) throw new NexusError('APPROVAL_REQUIRED', { mission: mission.id })
  if (mission.status !== 'awaiting_approval') throw wrongState(mission, 'approved')
  if (seen !== undefined && seen !== digest(mission)) {
    throw new NexusError('APPROVAL_STALE', { mission: mission.id })
  }
  const body = { ...decidedBy(authority, reason), digest: digest(mission) }
  return decided('mission.approved', actorOf(authority), body)
}

/**
 * What asking a mission to run makes of it; undefined when it is on its way, or has ended and has an outcome to tell.
 *
 * @throws NexusError `APPROVAL_REQUIRED`, `MISSION_BLOCKED`, `MISSION_WRONG_STATE`, `OVERRIDE_USED`, `BAD_REQUEST`.
 */
export function askedToRun(mission: Mission, authority: Authority, wish: RunWish): Decided | undefined {
  if (wish.override === true && wasOverridden(mission)) throw overrideUsed(mission)
  switch (mission.status) {
    case 'queued':
    case 'running':
    case 'completed':
    case 'failed':
      return undefined
    case 'awaiting_approval':
      return approved(mission, authority, wish)
    case 'suggestion':
      return overridden(mission, authority, wish)
    case 'interrupted':
      return resumed(mission, authority, wish)
    case 'cancelled':
    case 'rejected':
    case 'expired':
      throw wrongState(mission, 'run')
  }
}

/**
 * The body by which a mission is ordered once more. What was found for it, its plan above all, is found again; its
 * `not_before` has had its effect.
 *
 * @throws NexusError `MISSION_WRONG_STATE` unless it failed or expired; `OVERRIDE_USED` when it ran by an override.
 */
export function orderedAgain(mission: Mission): MissionCreate {
  if (wasOverridden(mission)) throw overrideUsed(mission)
  if (mission.status !== 'failed' && mission.status !== 'expired') throw wrongState(mission, 'retried')
  const { goal, category, constraints, plan, plan_source, input, priority, ...rest } = mission.order
  return {
    goal,
    category,
    constraints,
    ...(plan_source === 'given' ? { plan: [...plan] } : {}),
    ...(input === undefined ? {} : { input }),
    priority,
    ...(rest.expected_value === undefined ? {} : { expected_value: rest.expected_value }),
    max_attempts: rest.max_attempts,
  }
}

/** Whether a queued mission may be claimed now; SAFE is judged again, since much may have happened while it waited. */
export function claimVerdict(
  mission: Mission,
  queueWaitMs: number,
  { judge, calls }: Pick<MissionPorts, 'judge' | 'calls'>,
): ClaimVerdict {
  if (mission.clearance !== null) {
    // Nothing edits a mission, so this holds; if ever something does, the approval is void and not carried over.
    if (mission.clearance.digest === digest(mission)) return claimed(mission, queueWaitMs, calls)
    return { claim: false, instead: decided('mission.rejudged', DAEMON, { validation: mission.validation }) }
  }
  const validation = judge.judge(questionOf(mission.order, calls))
  return losesSafety(validation)
    ? { claim: false, instead: decided('mission.rejudged', DAEMON, { validation }) }
    : claimed(mission, queueWaitMs, calls)
}

function claimed(mission: Mission, queueWaitMs: number, calls: MissionPorts['calls']): ClaimVerdict {
  return { claim: true, queueWaitMs, starts: firstStarts(mission, calls) }
}

/** FAILING, and yet let go: only an override does that. Who resumes it later does not make it anything else. */
export function wasOverridden({ decision, clearance }: Mission): boolean {
  return decision === 'FAILING' && clearance !== null
}

function overrideUsed({ id, clearance }: Mission): NexusError {
  return new NexusError('OVERRIDE_USED', { mission: id, by: clearance?.by ?? '' })
}

/** The cheapest change that would help, as a sentence. */
export function counterfactualOf({ counterfactual }: Validation): string {
  const sentence = (counterfactual as { readonly sentence?: unknown } | null)?.sentence
  return typeof sentence === 'string' ? sentence : 'change the goal, the plan or the constraints'
}

function overridden(mission: Mission, authority: Authority, { override, reason }: RunWish): Decided {
  // Without a plan there is nothing that an override could execute.
  if (!authority.operatorKey || override !== true || mission.order.plan.length === 0) {
    const reasons = mission.validation.reasons.join('; ') || `score ${mission.validation.score}`
    const facts = { mission: mission.id, reasons, counterfactual: counterfactualOf(mission.validation) }
    throw new NexusError('MISSION_BLOCKED', facts)
  }
  if (reason === undefined) throw badRequest('/reason', 'is missing: an override is recorded with its reason')
  const body = { ...decidedBy(authority, reason), digest: digest(mission) }
  return decided('mission.overridden', actorOf(authority), body)
}

function resumed(mission: Mission, authority: Authority, { resume, reason }: RunWish): Decided {
  if (!authority.operatorKey) throw wrongState(mission, 'run without the operator key')
  if (resume === undefined) throw wrongState(mission, 'run without `resume`: `retry` or `skip`')
  const steps = mission.steps.filter(({ status }) => status === 'unknown').map(({ id }) => id)
  const body = { ...decidedBy(authority, reason), mode: resume, steps, digest: digest(mission) }
  return decided('mission.resumed', actorOf(authority), body)
}
