import { NexusError } from '../contracts/failure.ts'
import type { PlanStep } from '../contracts/mission.ts'
import type { ArtifactRef } from '../contracts/module.ts'
import { type Clock, sleep } from '../kit/clock.ts'
import { DAEMON } from './facts.ts'
import { decided, StaleAttempt } from './ledger.ts'
import { actionOf, type Mission, moduleOf } from './mission.ts'
import { type Failure, failure, judgeError, neverBegan } from './outcome.ts'
import type { ActionAnswer, Decided, MissionPorts } from './port.ts'
import { resolve } from './reference.ts'
import type { Running } from './running.ts'

export type StepEnd =
  | { readonly kind: 'completed' }
  | ({ readonly kind: 'failed' } & Failure)
  /** Nobody knows whether it did its work. */
  | { readonly kind: 'unknown'; readonly cause: string }
  /** The attempt was asked to end, and calling this step again does no harm. */
  | { readonly kind: 'halted' }

export interface StepWorld {
  readonly ports: Pick<MissionPorts, 'calls' | 'blobs' | 'clock' | 'log'>
  /** Durable when it resolves. */
  write(record: Decided): Promise<Mission>
  /** Tries again while the disk is full or slow. */
  patiently<T>(work: () => Promise<T>): Promise<T>
  /** An answer came after the attempt had given up on it. */
  refuseLate(): void
  /** Execution time that is left, in milliseconds. */
  leftMs(): number
}

/** Runs one step: its start is durable before the call, its end before the next step. */
export async function runStep(
  mission: Mission,
  step: PlanStep,
  running: Running,
  world: StepWorld,
): Promise<StepEnd> {
  for (let tries = 0; ; tries += 1) {
    const end = await tryStep(mission, step, tries, running, world)
    if (end.kind !== 'failed' || !end.retry || tries >= (step.retries ?? 0) || running.halt) return end
    const finished = { step: step.id, status: 'failed', artifacts: [], duration_ms: 0, cpu_ms: 0 } as const
    await world.write(decided('mission.step_finished', DAEMON, { ...finished, error: end.error }))
  }
}

async function tryStep(
  mission: Mission,
  step: PlanStep,
  repeated: number,
  running: Running,
  world: StepWorld,
): Promise<StepEnd> {
  const { calls, blobs } = world.ports
  const spec = calls.action(moduleOf(step.uses), actionOf(step.uses))
  const idempotent = spec?.idempotent ?? false
  try {
    const input = await resolve(step.with ?? {}, mission.order.input, (id) => outputOf(mission, id, blobs))
    const before = mission.steps.find(({ id }) => id === step.id)?.tries ?? 0
    const started = { step: step.id, uses: step.uses, try: before + repeated + 1, idempotent }
    await world.write(decided('mission.step_started', DAEMON, started))
    if (running.halt) return await notCalled(step, world)
    const timeoutMs = Math.min(
      step.timeout_ms ?? Number.POSITIVE_INFINITY,
      spec?.timeout_ms ?? STEP_TIMEOUT_MS,
    )
    const answer = await callStep(step, input, timeoutMs, running, world)
    if (answer === 'not called') return await notCalled(step, world)
    if (answer === 'silent')
      return idempotent ? { kind: 'halted' } : unknown('it did not answer when stopped')
    return await finish(step, answer, world)
  } catch (error) {
    const known = expected(error, running, world)
    if (running.halt && neverBegan(known)) return await notCalled(step, world)
    if (running.halt && idempotent) return { kind: 'halted' }
    const judged = judgeError(known, step.id, idempotent)
    return judged === 'unknown' ? unknown(known.message) : { kind: 'failed', ...judged }
  }
}

/** Its start is on record, so the record must say that nothing came of it. */
async function notCalled(step: PlanStep, { write }: StepWorld): Promise<StepEnd> {
  const error = { code: 'CALL_ABORTED', message: 'it was not called: the attempt had to end', step: step.id }
  const finished = {
    step: step.id,
    status: 'failed',
    artifacts: [],
    duration_ms: 0,
    cpu_ms: 0,
    error,
  } as const
  await write(decided('mission.step_finished', DAEMON, finished))
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

/** Calls, and gives up on an action that neither answers nor dies once the attempt was asked to end. */
async function callStep(
  step: PlanStep,
  input: unknown,
  timeoutMs: number,
  running: Running,
  { ports, refuseLate, leftMs }: StepWorld,
): Promise<ActionAnswer | 'silent' | 'not called'> {
  const { missionId: mission_id, epoch, signal } = running
  const context = { mission_id, epoch, step: step.id, idempotency_token: `${mission_id}/${step.id}` }
  const endMs = ports.clock.elapsed() + timeoutMs
  const ask = (): Promise<ActionAnswer> =>
    ports.calls.call({
      moduleId: moduleOf(step.uses),
      action: actionOf(step.uses),
      input,
      // Never zero: what is left of the mission is watched by the attempt's own timer.
      timeoutMs: Math.max(1, Math.ceil(Math.min(endMs - ports.clock.elapsed(), leftMs() + HALT_GRACE_MS))),
      signal,
      mission: context,
      killWhenStuck: true,
      progress: (fraction, note) => {
        running.progress = { step: step.id, fraction, note }
      },
    })
  const call = untilTaken(ask, endMs, signal, ports.clock)
  const silence = Promise.withResolvers<'silent'>()
  let timer = { cancel: () => {} }
  const onAbort = (): void => {
    timer = ports.clock.after(HALT_GRACE_MS, () => silence.resolve('silent'))
  }
  if (signal.aborted) onAbort()
  else signal.addEventListener('abort', onAbort, { once: true })
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

async function finish(
  step: PlanStep,
  answer: ActionAnswer,
  { ports, write, patiently }: StepWorld,
): Promise<StepEnd> {
  const { instance, generation, artifacts } = answer
  if (JSON.stringify(artifacts).length > ARTIFACTS_BYTES_MAX) {
    const facts = { bytes: JSON.stringify(artifacts).length, limit: ARTIFACTS_BYTES_MAX }
    return { kind: 'failed', ...failure(new NexusError('RECORD_TOO_LARGE', facts), false, step.id) }
  }
  const record = {
    step: step.id,
    status: 'completed' as const,
    ...(await patiently(() => keep(step, answer.output, ports.blobs))),
    artifacts,
    duration_ms: Math.round(answer.durationMs),
    cpu_ms: Math.round(answer.cpuMs),
    instance,
    generation,
  }
  await write(decided('mission.step_finished', DAEMON, record))
  return { kind: 'completed' }
}

/** Small outputs stand in the record, large ones in a file that is durable before the record names it. */
async function keep(
  step: PlanStep,
  output: unknown,
  blobs: MissionPorts['blobs'],
): Promise<{ output?: unknown; kept?: ArtifactRef }> {
  const text = output === undefined ? undefined : JSON.stringify(output)
  if (text === undefined) return {}
  if (Buffer.byteLength(text) <= OUTPUT_BYTES_MAX) return { output }
  const { sha256, bytes } = await blobs.put(Buffer.from(text))
  return { kept: { name: `${step.id}.output.json`, sha256, bytes, media_type: 'application/json' } }
}

async function outputOf(mission: Mission, id: string, blobs: MissionPorts['blobs']): Promise<unknown> {
  const record = mission.steps.find((step) => step.id === id)
  if (record?.kept === undefined) return record?.output
  const bytes = await blobs.get(record.kept.sha256)
  if (bytes !== undefined) return JSON.parse(Buffer.from(bytes).toString())
  const facts = { reference: `steps.${id}.output`, detail: `its file ${record.kept.sha256} is gone` }
  throw new NexusError('STEP_INPUT_MISSING', facts)
}

function unknown(cause: string): StepEnd {
  return { kind: 'unknown', cause: cause.slice(0, CAUSE_LENGTH_MAX) }
}

const OUTPUT_BYTES_MAX = 8 * 1024
/** The record of a step is one line of the journal. */
const ARTIFACTS_BYTES_MAX = 32 * 1024
/** What the manifest would say, should the action be gone; the call is refused then anyway. */
const STEP_TIMEOUT_MS = 30_000
/** What `Retry-After` tells everybody else who finds a module full. */
const BUSY_MS = 1_000
/** The host gives an aborted action one second, and the kill takes another. */
const HALT_GRACE_MS = 3_000
const CAUSE_LENGTH_MAX = 500
