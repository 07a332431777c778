import { NexusError } from '../contracts/failure.ts'
import { type CourseEnd, runCourse } from './course.ts'
import { wasOverridden } from './decisions.ts'
import { DAEMON } from './facts.ts'
import { decided, type Ledger } from './ledger.ts'
import { type Mission, unfinishedSteps } from './mission.ts'
import { endedBody, type Failure, failure } from './outcome.ts'
import { fullJitter, patience } from './patience.ts'
import { Pen } from './pen.ts'
import type { Decided, MissionPorts } from './port.ts'
import type { Running } from './running.ts'
import { WorkTime } from './work-time.ts'

/**
 * One try at a mission, from its claim to the record that ends it: the steps that are not done, as far as their needs
 * let them.
 *
 * Execution time is measured on the monotonic clock, over all attempts; when it is used up, the running actions are
 * told, then killed.
 *
 * @throws StaleAttempt when the mission went on without this attempt; NexusError `JOURNAL_…` when nothing can be
 *   written any more. Both leave the mission as its last record has it.
 */
export async function runAttempt(
  claimed: Mission,
  running: Running,
  ledger: Pick<Ledger, 'write' | 'refuseStale'>,
  ports: MissionPorts,
): Promise<void> {
  const { missionId, epoch } = running
  const patiently = <T>(work: () => Promise<T>): Promise<T> => patience(running, work, ports)
  const pen = new Pen(claimed, (records) => patiently(() => ledger.write(missionId, epoch, records)))
  const maxMs = claimed.order.constraints.max_time_seconds * 1_000
  const time = new WorkTime(ports.clock, claimed.spentMs, maxMs, () => running.stop({ kind: 'max_time' }))
  const refuseLate = (): void => ledger.refuseStale(missionId, epoch)
  try {
    const end = await runCourse({ ports, pen, running, time, patiently, refuseLate })
    const used = { totalMs: time.usedMs, attemptMs: Math.round(time.usedMs - claimed.spentMs) }
    pen.put(lastRecord(pen.mission, end, running, used, ports))
    await pen.flush()
  } finally {
    time.rest()
  }
}

/** The one record by which this attempt leaves the mission. */
function lastRecord(
  mission: Mission,
  { failure: failed, unknown, halted }: CourseEnd,
  running: Running,
  { totalMs, attemptMs }: { totalMs: number; attemptMs: number },
  ports: MissionPorts,
): Decided {
  const { halt } = running
  if (halt?.kind === 'cancelled') {
    return decided('mission.cancelled', halt.actor, { ...halt.body, duration_ms: attemptMs })
  }
  if (halt?.kind === 'max_time') return ended(mission, totalMs, timeUp(mission))
  if (unknown.length > 0) {
    const steps = unknown.map(({ step }) => step)
    return interrupted(steps, attemptMs, unknown.map(({ cause }) => cause).join('; '))
  }
  if (failed !== undefined) return afterFailure(mission, failed, totalMs, attemptMs, ports)
  // A stop that came too late to save any work is not obeyed.
  if (!halted) return ended(mission, totalMs)
  return cut(
    mission,
    attemptMs,
    halt === undefined ? 'an omen locked a module it needs' : 'the daemon stopped',
  )
}

function afterFailure(
  mission: Mission,
  { error, retry }: Failure,
  totalMs: number,
  attemptMs: number,
  { chance }: Pick<MissionPorts, 'chance'>,
): Decided {
  const triesMax = wasOverridden(mission) ? 1 : mission.order.max_attempts
  const tries = mission.failedAttempts + 1
  if (!retry || tries >= triesMax) return ended(mission, totalMs, error)
  const retry_in_ms = fullJitter(tries - 1, RETRY_MS, RETRY_MS_MAX, chance)
  const body = { outcome: 'failed', error, duration_ms: attemptMs, retry_in_ms } as const
  return decided('mission.attempt_ended', DAEMON, body)
}

function ended(mission: Mission, totalMs: number, error?: Failure['error']): Decided {
  return decided('mission.ended', DAEMON, endedBody(mission, totalMs, error))
}

function timeUp(mission: Mission): Failure['error'] {
  const { max_time_seconds } = mission.order.constraints
  const step = unfinishedSteps(mission)[0]?.id
  return failure(new NexusError('MAX_TIME_EXCEEDED', { max_time_seconds }), false, step).error
}

/**
 * Ends an attempt that could not finish its work: the next claim resumes at the steps that are not done, unless one of
 * them may have done its work already and must not do it twice.
 */
export function cut(mission: Mission, durationMs: number, cause: string): Decided {
  const unknown = unfinishedSteps(mission).filter(({ idempotent }) => !idempotent)
  if (unknown.length > 0) {
    const steps = unknown.map(({ id }) => id)
    return interrupted(steps, durationMs, cause)
  }
  const body = { outcome: 'cut', duration_ms: durationMs, retry_in_ms: 0 } as const
  return decided('mission.attempt_ended', DAEMON, body)
}

function interrupted(steps: readonly string[], durationMs: number, cause: string): Decided {
  const body = { steps, cause: cause.slice(0, CAUSE_LENGTH_MAX), duration_ms: durationMs }
  return decided('mission.interrupted', DAEMON, body)
}

/** A cause that passes by itself often does so within seconds; a minute is as long as anybody should wait for it. */
const RETRY_MS = 1_000
const RETRY_MS_MAX = 60_000
const CAUSE_LENGTH_MAX = 1_000
