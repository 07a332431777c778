import { NexusError } from '../contracts/failure.ts'
import type { PlanStep } from '../contracts/mission.ts'
import type { ArtifactRef } from '../contracts/module.ts'
import { DAEMON } from './facts.ts'
import { decided } from './ledger.ts'
import { mediaTypeOf } from './media-type.ts'
import { type Mission, stepOf } from './mission.ts'
import type { Pen } from './pen.ts'
import type { ActionAnswer, Decided, MissionPorts } from './port.ts'

interface OutputWorld {
  readonly ports: Pick<MissionPorts, 'blobs'>
  readonly pen: Pick<Pen, 'mission'>
  attemptMs(): number
  patiently<T>(work: () => Promise<T>): Promise<T>
}

/**
 * The record that a step is done. What it names is durable before.
 *
 * @throws NexusError `ARTIFACTS_EXCEEDED`, `RECORD_TOO_LARGE`.
 */
export async function finishedStep(
  step: PlanStep,
  answer: ActionAnswer,
  { ports, pen, attemptMs, patiently }: OutputWorld,
): Promise<Decided> {
  const { instance, generation } = answer
  const artifacts = answer.artifacts.map((ref) => ({ ...ref, media_type: mediaTypeOf(ref) }))
  checkArtifacts(pen.mission, artifacts)
  return decided('mission.step_finished', DAEMON, {
    step: step.id,
    status: 'completed',
    ...(await patiently(() => keep(step, answer.output, ports.blobs))),
    artifacts,
    duration_ms: Math.round(answer.durationMs),
    attempt_ms: Math.round(attemptMs()),
    cpu_ms: Math.round(answer.cpuMs),
    instance,
    generation,
  })
}

/** What a step gave; read from its file where it was too large for a record. */
export async function outputOf(mission: Mission, id: string, blobs: MissionPorts['blobs']): Promise<unknown> {
  const record = stepOf(mission, id)
  if (record?.kept === undefined) return record?.output
  const bytes = await blobs.get(record.kept.sha256)
  if (bytes !== undefined) return JSON.parse(Buffer.from(bytes).toString())
  const facts = { reference: `steps.${id}.output`, detail: `its file ${record.kept.sha256} is gone` }
  throw new NexusError('STEP_INPUT_MISSING', facts)
}

/** What a mission may still keep, for the call of its next step. */
export function artifactsLeft({ steps }: Mission): { readonly count: number; readonly bytes: number } {
  const kept = steps.flatMap(({ artifacts }) => artifacts)
  return { count: ARTIFACTS_MAX - kept.length, bytes: ARTIFACT_BYTES_MAX - sizeOf(kept) }
}

function checkArtifacts(mission: Mission, added: readonly ArtifactRef[]): void {
  if (added.length === 0) return
  const left = artifactsLeft(mission)
  if (added.length > left.count || sizeOf(added) > left.bytes) {
    throw new NexusError('ARTIFACTS_EXCEEDED', {
      count: ARTIFACTS_MAX - left.count + added.length,
      bytes: ARTIFACT_BYTES_MAX - left.bytes + sizeOf(added),
      count_max: ARTIFACTS_MAX,
      bytes_max: ARTIFACT_BYTES_MAX,
    })
  }
  const bytes = JSON.stringify(added).length
  if (bytes > REFS_BYTES_MAX) throw new NexusError('RECORD_TOO_LARGE', { bytes, limit: REFS_BYTES_MAX })
}

function sizeOf(artifacts: readonly ArtifactRef[]): number {
  return artifacts.reduce((sum, { bytes }) => sum + bytes, 0)
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

const OUTPUT_BYTES_MAX = 8 * 1024
/** One step's names and hashes are one line of the journal. */
const REFS_BYTES_MAX = 32 * 1024
/** As many files as somebody would still look through, */
const ARTIFACTS_MAX = 100
/** and a hundred of the largest, 640 KiB, which is what a mission may do to the disk. */
const ARTIFACT_BYTES_MAX = 64 * 1024 * 1024
