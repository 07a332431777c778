import type { ModuleId } from '../contracts/ids.ts'
import type { Explanation } from '../contracts/status.ts'
import { counterfactualOf } from './decisions.ts'
import { type Mission, unfinishedSteps } from './mission.ts'
import type { Running } from './running.ts'

/** What only the engine knows about a mission right now. */
export interface Moment {
  /** The module it waits for, because an omen limits how many missions use it. */
  readonly limitedBy?: { readonly moduleId: ModuleId; readonly max: number } | undefined
  /** Until it expires or may start, whichever it waits for. */
  readonly waitMs: number | undefined
  readonly running: Running | undefined
}

/** Why a mission stands where it stands, since when, what happens next, and what to do. */
export function explain(mission: Mission, moment: Moment): Explanation {
  return {
    state: mission.status,
    since: mission.since,
    because: mission.trail,
    ...outlook(mission, moment),
  }
}

function outlook(
  mission: Mission,
  { waitMs, running, limitedBy }: Moment,
): Pick<Explanation, 'blocked_on' | 'next' | 'remedy'> {
  const { id } = mission
  const inTime = waitMs === undefined ? undefined : `${Math.ceil(waitMs / 1_000)} s`
  switch (mission.status) {
    case 'suggestion':
      return {
        blocked_on: 'its score',
        next: null,
        remedy: `${counterfactualOf(mission.validation)}; or run it with the operator key, \`override\` and a reason`,
      }
    case 'awaiting_approval':
      return {
        blocked_on: 'an operator',
        next: inTime === undefined ? null : `it expires in ${inTime}`,
        remedy: `\`nexus missions approve ${id}\`, or \`nexus missions reject ${id}\``,
      }
    case 'queued':
      if (limitedBy !== undefined) return limited(limitedBy)
      return inTime === undefined
        ? { blocked_on: `a free place in the lane ${mission.order.category}`, next: 'it runs', remedy: null }
        : { blocked_on: 'its time', next: `it may start in ${inTime}`, remedy: null }
    case 'running':
      return { blocked_on: atStep(mission, running), next: 'it ends, or its time does', remedy: null }
    case 'interrupted':
      return {
        blocked_on: `an operator who knows whether it did its work: ${unknownSteps(mission)}`,
        next: null,
        remedy: 'run it with the operator key and `resume` `retry` or `skip`, or cancel it',
      }
    case 'failed':
    case 'expired':
      return {
        blocked_on: null,
        next: null,
        remedy: `correct the cause, then \`nexus missions retry ${id}\``,
      }
    case 'completed':
    case 'cancelled':
    case 'rejected':
      return { blocked_on: null, next: null, remedy: null }
  }
}

function limited({ moduleId, max }: NonNullable<Moment['limitedBy']>) {
  const remedy = `see \`nexus explain ${moduleId}\``
  if (max > 0) {
    const blocked_on = `${moduleId}: an omen lets ${max} of its missions run at a time`
    return { blocked_on, next: 'it runs when the one before it has ended', remedy }
  }
  const next = 'nothing, until an operator unlocks the module; then it is judged again'
  return { blocked_on: `${moduleId}, which an omen locked`, next, remedy }
}

function unknownSteps({ steps }: Mission): string {
  return steps
    .flatMap(({ id, uses, status }) => (status === 'unknown' ? [`${uses} (step ${id})`] : []))
    .join(', ')
}

function atStep(mission: Mission, running: Running | undefined): string | null {
  const steps = unfinishedSteps(mission).map(({ id, uses }) => {
    const progress = running?.progress?.step === id ? running.progress : undefined
    const done = progress === undefined ? '' : `, ${Math.round(progress.fraction * 100)} % done`
    return `${uses} (step ${id}${done}${progress?.note === undefined ? '' : `: ${progress.note}`})`
  })
  return steps.length === 0 ? null : steps.join(', ')
}
