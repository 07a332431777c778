import { NexusError } from '../contracts/failure.ts'
import type { MissionError, PlanStep } from '../contracts/mission.ts'
import { DAEMON } from './facts.ts'
import { decided, StaleAttempt } from './ledger.ts'
import { actionOf, type Mission, moduleOf, stepOf } from './mission.ts'
import { type Failure, judgeError, neverBegan } from './outcome.ts'
import { fullJitter } from './patience.ts'
import type { Pen } from './pen.ts'
import type { Decided, MissionPorts, ModuleCalls } from './port.ts'
import { resolve } from './reference.ts'
import type { Running } from './running.ts'
import { type CallWorld, callStep } from './step-call.ts'
import { finishedStep, outputOf } from './step-output.ts'

export type StepEnd =
  | { readonly kind: 'completed'; readonly record: Decided }
  | ({ readonly kind: 'failed'; readonly durationMs: number } & Failure)
  /** Nobody knows whether it did its work. */
  | { readonly kind: 'unknown'; readonly cause: string }
  /** It was asked to end, and calling it again does no harm. */
  | { readonly kind: 'halted' }

export interface StepWorld extends CallWorld {
  readonly ports: Pick<MissionPorts, 'calls' | 'blobs' | 'clock' | 'chance' | 'log'>
  readonly pen: Pen
  /** Execution time of this attempt up to now, in milliseconds. */
  attemptMs(): number
  /** Tries again while the disk is full or slow. */
  patiently<T>(work: () => Promise<T>): Promise<T>
  /** Waits out a backoff, which is no execution time; rejects when the signal aborts. */
  backOff(waitMs: number, signal: AbortSignal): Promise<void>
}

/** The record that a step begins; it says whether the action may be called twice, which decides what a crash means. */
export function startOf(
  { id, uses }: PlanStep,
  mission: Pick<Mission, 'steps'>,
  calls: Pick<ModuleCalls, 'action'>,
): Decided {
  const tries = mission.steps.find((step) => step.id === id)?.tries ?? 0
  const idempotent = calls.action(moduleOf(uses), actionOf(uses))?.idempotent ?? false
  return decided('mission.step_started', DAEMON, { step: id, uses, try: tries + 1, idempotent })
}

/** The record that a step ended badly while its attempt goes on, or ended by something else. */
export function failedStep(
  step: string,
  error: MissionError,
  durationMs: number,
  { attemptMs }: Pick<StepWorld, 'attemptMs'>,
): Decided {
  const spent = { duration_ms: Math.round(durationMs), attempt_ms: Math.round(attemptMs()), cpu_ms: 0 }
  const finished = { step, status: 'failed', artifacts: [], ...spent, error } as const
  return decided('mission.step_finished', DAEMON, finished)
}

/**
 * Runs one step whose start was put down: the start is durable before the call. Its end is left to the caller to
 * record, who may have more to say in the same batch.
 *
 * @throws StaleAttempt, NexusError `JOURNAL_…`.
 */
export async function runStep(step: PlanStep, signal: AbortSignal, world: StepWorld): Promise<StepEnd> {
  const { pen, ports } = world
  for (let tries = 0; ; tries += 1) {
    const end = await tryStep(step, tries, signal, world)
    const isLast = tries >= (step.retries ?? 0) || signal.aborted
    if (end.kind !== 'failed' || !end.retry || isLast) return end
    pen.put(failedStep(step.id, end.error, end.durationMs, world))
    const isOnRecord = pen.flush()
    try {
      await world.backOff(fullJitter(tries, RETRY_MS, RETRY_MS_MAX, ports.chance), signal)
    } catch {
      return { kind: 'halted' }
    }
    await isOnRecord
    pen.put(startOf(step, pen.mission, ports.calls))
  }
}

async function tryStep(
  step: PlanStep,
  tries: number,
  signal: AbortSignal,
  world: StepWorld,
): Promise<StepEnd> {
  const { ports, pen } = world
  const startedMs = ports.clock.elapsed()
  const idempotent = stepOf(pen.mission, step.id)?.idempotent ?? false
  try {
    const isDurable = pen.flush()
    // The first try also waits for the ends of the steps before it.
    if (tries === 0 || !idempotent) await isDurable
    const outputs = (id: string): Promise<unknown> => outputOf(pen.mission, id, ports.blobs)
    const input = await resolve(step.with ?? {}, pen.mission.order.input, outputs)
    const spec = ports.calls.action(moduleOf(step.uses), actionOf(step.uses))
    const timeoutMs = Math.min(step.timeout_ms ?? Infinity, spec?.timeout_ms ?? STEP_TIMEOUT_MS)
    const answer = await callStep(step, input, timeoutMs, signal, world)
    if (answer === 'not called') return notCalled(step, world)
    if (answer === 'silent')
      return idempotent ? { kind: 'halted' } : unknown('it did not answer when stopped')
    return { kind: 'completed', record: await finishedStep(step, answer, world) }
  } catch (error) {
    const known = expected(error, world.running, world)
    if (signal.aborted && neverBegan(known)) return notCalled(step, world)
    if (signal.aborted && idempotent) return { kind: 'halted' }
    const judged = judgeError(known, step.id, idempotent)
    if (judged === 'unknown') return unknown(known.message)
    return { kind: 'failed', durationMs: ports.clock.elapsed() - startedMs, ...judged }
  }
}

/** Its start is on record, so the record must say that nothing came of it. */
function notCalled(step: PlanStep, world: StepWorld): StepEnd {
  const message = 'it was not called: the attempt had to end'
  world.pen.put(failedStep(step.id, { code: 'CALL_ABORTED', message, step: step.id }, 0, world))
  return { kind: 'halted' }
}

/** An error that says something about the step; a mistake of ours ends the step, not the daemon. */
function expected(error: unknown, { missionId, epoch }: Running, { ports }: StepWorld): NexusError {
  if (error instanceof StaleAttempt) throw error
  if (error instanceof NexusError && !error.code.startsWith('JOURNAL_')) return error
  if (error instanceof NexusError) throw error
  const reference = `${missionId}/${epoch}`
  ports.log('error', 'a step failed by a mistake of the daemon', { reference, error })
  return new NexusError('INTERNAL', { reference }, { cause: error })
}

function unknown(cause: string): StepEnd {
  return { kind: 'unknown', cause: cause.slice(0, CAUSE_LENGTH_MAX) }
}

/** What the manifest would say, should the action be gone; the call is refused then anyway. */
const STEP_TIMEOUT_MS = 30_000
/** A step that is tried again within its attempt waits for a hiccup to pass; what lasts is for the mission's retry. */
const RETRY_MS = 200
const RETRY_MS_MAX = 5_000
const CAUSE_LENGTH_MAX = 500
