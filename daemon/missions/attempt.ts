import { NexusError } from '../contracts/failure.ts'
import { DAEMON } from './facts.ts'
import { decided, type Ledger } from './ledger.ts'
import { type Mission, unfinishedStep } from './mission.ts'
import { endedBody, type Failure, failure } from './outcome.ts'
import { patience } from './patience.ts'
import type { Decided, MissionPorts } from './port.ts'
import type { Running } from './running.ts'
import { runStep, type StepEnd, type StepWorld } from './step.ts'

/**
 * One try at a mission, from its claim to the record that ends it: steps in order, from the first that is not done.
 *
 * Execution time is measured on the monotonic clock, over all attempts; when it is used up, the running action is
 * told, then killed.
 *
 * @throws StaleAttempt when the mission went on without this attempt; NexusError `JOURNAL_…` when nothing can be
 *   written any more. Both leave the mission as its last record has it.
 */
export async function runAttempt(
  claimed: Mission,
  running: Running,
  ledger: Ledger,
  ports: MissionPorts,
): Promise<void> {
  const { clock } = ports
  const startedMs = clock.elapsed()
  const maxMs = claimed.order.constraints.max_time_seconds * 1_000
  const spentMs = (): number => claimed.spentMs + (clock.elapsed() - startedMs)
  const leftMs = (): number => maxMs - spentMs()
  const patiently: StepWorld['patiently'] = (work) => patience(running, work, ports)
  const world: StepWorld = {
    ports,
    patiently,
    write: (record) => patiently(() => ledger.write(running.missionId, running.epoch, record)),
    refuseLate: () => ledger.refuseStale(),
    leftMs,
  }
  const timer = clock.after(Math.max(0, leftMs()), () => running.stop({ kind: 'max_time' }))
  try {
    const end = await runSteps(claimed, running, world)
    // Read again: what the steps recorded is part of the outcome.
    const mission = ledger.get(claimed.id)
    const used = { totalMs: spentMs(), attemptMs: Math.round(clock.elapsed() - startedMs) }
    await world.write(lastRecord(mission, end, running, used, ports))
  } finally {
    timer.cancel()
  }
}

async function runSteps(claimed: Mission, running: Running, world: StepWorld): Promise<StepEnd> {
  const { plan, constraints } = claimed.order
  let mission = claimed
  const write = async (record: Decided): Promise<Mission> => {
    mission = await world.write(record)
    return mission
  }
  if (plan.length > constraints.max_steps) {
    const facts = { steps: plan.length, max_steps: constraints.max_steps }
    return { kind: 'failed', ...failure(new NexusError('MAX_STEPS_EXCEEDED', facts), false) }
  }
  if (world.leftMs() <= 0) running.stop({ kind: 'max_time' })
  for (const [index, step] of plan.entries()) {
    const status = mission.steps[index]?.status
    if (status === 'completed' || status === 'skipped') continue
    if (running.halt) return { kind: 'halted' }
    const end = await runStep(mission, step, running, { ...world, write })
    if (end.kind !== 'completed') return end
  }
  // All work is done: a stop that came too late to save any is not obeyed, a limit or a cancel is.
  return running.halt && running.halt.kind !== 'drain' ? { kind: 'halted' } : { kind: 'completed' }
}

/** The one record by which this attempt leaves the mission. */
function lastRecord(
  mission: Mission,
  end: StepEnd,
  running: Running,
  { totalMs, attemptMs }: { totalMs: number; attemptMs: number },
  ports: MissionPorts,
): Decided {
  const { halt } = running
  if (halt?.kind === 'cancelled') {
    return decided('mission.cancelled', halt.actor, { ...halt.body, duration_ms: attemptMs })
  }
  if (halt?.kind === 'max_time') return ended(mission, totalMs, timeUp(mission))
  if (end.kind === 'completed') return ended(mission, totalMs)
  if (end.kind === 'failed') return afterFailure(mission, end, totalMs, attemptMs, ports)
  if (end.kind === 'halted') return cut(mission, attemptMs, 'the daemon stopped')
  return interrupted(mission, attemptMs, end.cause)
}

function afterFailure(
  mission: Mission,
  { error, retry }: Failure,
  totalMs: number,
  attemptMs: number,
  { chance }: Pick<MissionPorts, 'chance'>,
): Decided {
  const triesMax = mission.clearance?.kind === 'overridden' ? 1 : mission.order.max_attempts
  const tries = mission.failedAttempts + 1
  if (!retry || tries >= triesMax) return ended(mission, totalMs, error)
  // Full jitter: missions that failed together do not come back together.
  const ceilingMs = Math.min(RETRY_MS_MAX, RETRY_MS * 2 ** (tries - 1))
  const retry_in_ms = Math.round(ceilingMs * chance.next())
  const body = { outcome: 'failed', error, duration_ms: attemptMs, retry_in_ms } as const
  return decided('mission.attempt_ended', DAEMON, body)
}

function ended(mission: Mission, totalMs: number, error?: Failure['error']): Decided {
  return decided('mission.ended', DAEMON, endedBody(mission, totalMs, error))
}

function timeUp(mission: Mission): Failure['error'] {
  const { max_time_seconds } = mission.order.constraints
  const step = unfinishedStep(mission)?.id
  return failure(new NexusError('MAX_TIME_EXCEEDED', { max_time_seconds }), false, step).error
}

/**
 * Ends an attempt that could not finish its work: the next claim resumes at the first unfinished step, unless that
 * step may have done its work already and must not do it twice.
 */
export function cut(mission: Mission, durationMs: number, cause: string): Decided {
  const step = unfinishedStep(mission)
  if (step !== undefined && !step.idempotent) return interrupted(mission, durationMs, cause)
  const body = { outcome: 'cut', duration_ms: durationMs, retry_in_ms: 0 } as const
  return decided('mission.attempt_ended', DAEMON, body)
}

function interrupted(mission: Mission, durationMs: number, cause: string): Decided {
  const step = unfinishedStep(mission)?.id ?? ''
  return decided('mission.interrupted', DAEMON, { step, cause, duration_ms: durationMs })
}

/** A cause that passes by itself often does so within seconds; a minute is as long as anybody should wait for it. */
const RETRY_MS = 1_000
const RETRY_MS_MAX = 60_000
