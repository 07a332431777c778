import { NexusError } from '../contracts/failure.ts'
import type { PlanStep } from '../contracts/mission.ts'
import { type Clock, sleep } from '../kit/clock.ts'
import { actionOf, moduleOf } from './mission.ts'
import type { Pen } from './pen.ts'
import type { ActionAnswer, MissionPorts } from './port.ts'
import type { Running } from './running.ts'
import { artifactsLeft } from './step-output.ts'
import type { WorkTime } from './work-time.ts'

export interface CallWorld {
  readonly ports: Pick<MissionPorts, 'calls' | 'clock'>
  readonly pen: Pick<Pen, 'mission'>
  readonly running: Running
  readonly time: Pick<WorkTime, 'leftMs'>
  /** An answer came after the attempt had given up on it. */
  refuseLate(): void
}

/** Calls, and gives up on an action that neither answers nor dies once it was asked to end. */
export async function callStep(
  step: PlanStep,
  input: unknown,
  timeoutMs: number,
  signal: AbortSignal,
  { ports, pen, running, time, refuseLate }: CallWorld,
): Promise<ActionAnswer | 'silent' | 'not called'> {
  if (signal.aborted) return 'not called'
  const { missionId: mission_id, epoch } = running
  const context = { mission_id, epoch, step: step.id, idempotency_token: `${mission_id}/${step.id}` }
  const endMs = ports.clock.elapsed() + timeoutMs
  const ask = (): Promise<ActionAnswer> =>
    ports.calls.call({
      moduleId: moduleOf(step.uses),
      action: actionOf(step.uses),
      input,
      // Never zero: what is left of the mission is watched by the attempt's own timer.
      timeoutMs: Math.max(1, Math.ceil(Math.min(endMs - ports.clock.elapsed(), time.leftMs + HALT_GRACE_MS))),
      signal,
      mission: context,
      killWhenStuck: true,
      artifactsMax: artifactsLeft(pen.mission),
      progress: (fraction, note) => running.heard(step.id, fraction, note),
    })
  const call = untilTaken(ask, endMs, signal, ports.clock)
  const silence = Promise.withResolvers<'silent'>()
  let timer = { cancel: () => {} }
  const onAbort = (): void => {
    timer = ports.clock.after(HALT_GRACE_MS, () => silence.resolve('silent'))
  }
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    const answer = await Promise.race([call, silence.promise])
    if (answer === 'silent') call.then(refuseLate, refuseLate)
    return answer
  } finally {
    signal.removeEventListener('abort', onAbort)
    timer.cancel()
  }
}

/** A module whose line of callers is full has not been called: the step stands in the queue until there is room. */
async function untilTaken<T>(
  ask: () => Promise<T>,
  endMs: number,
  signal: AbortSignal,
  clock: Clock,
): Promise<T | 'not called'> {
  for (;;) {
    try {
      return await ask()
    } catch (error) {
      const isFull = error instanceof NexusError && error.code === 'MODULE_BUSY'
      if (!isFull || clock.elapsed() + BUSY_MS >= endMs) throw error
    }
    const isOver = await sleep(clock, BUSY_MS, signal).then(
      () => false,
      () => true,
    )
    if (isOver) return 'not called'
  }
}

/** What `Retry-After` tells everybody else who finds a module full. */
const BUSY_MS = 1_000
/** The host gives an aborted action one second, and the kill takes another. */
const HALT_GRACE_MS = 3_000
