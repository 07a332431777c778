import { hash } from 'node:crypto'
import { NexusError } from '../contracts/failure.ts'
import { type Clock, timestamp } from '../kit/clock.ts'
import { writeAtomically } from './atomic-file.ts'
import { dataPaths } from './data-folder.ts'
import { type Disk, readWhole } from './disk.ts'
import { locate, type Position } from './recovery.ts'
import { listSegments } from './segments.ts'

/** What was known after one record, so that a start replays only the later ones. */
export interface Snapshot {
  readonly position: Position
  /** When it was taken. */
  readonly at: string
  /** One entry for each room that remembers something. */
  readonly sections: Readonly<Record<string, unknown>>
}

/** A state of this size would stop the loop for seconds when it is read; it would need another form. */
const SIZE_BYTES_MAX = 512 * 1_048_576
/** `,"sum":"<64 hex>"}` and the newline. */
const SEAL_BYTES = 75

/** Replaces `system_state.json`; durable when it resolves. `position` and `sections` must be of the same moment. */
export async function saveSnapshot(
  disk: Disk,
  clock: Clock,
  dataDir: string,
  { position, sections }: Omit<Snapshot, 'at'>,
): Promise<void> {
  const { seq, h, segment, offset } = position
  const head = { v: 1, applied_seq: seq, applied_h: h, segment, offset, at: timestamp(clock), sections }
  const content = JSON.stringify(head).slice(0, -1)
  const text = `${content},"sum":"${hash('sha256', content)}"}\n`
  await writeAtomically(disk, dataPaths(dataDir).systemState, Buffer.from(text))
}

/**
 * Reads the snapshot and looks its position up in the journal. It only ever saves time: one that cannot be believed
 * is left out with a warning, and the journal tells everything.
 */
export async function loadSnapshot(
  disk: Disk,
  dataDir: string,
): Promise<{ readonly snapshot?: Snapshot; readonly warning?: string }> {
  const paths = dataPaths(dataDir)
  try {
    const bytes = await readWhole(disk, paths.systemState, SIZE_BYTES_MAX)
    if (bytes === undefined) {
      const there = await disk.stat(paths.systemState)
      return there === undefined ? {} : { warning: 'system_state.json is not a file of a sensible size' }
    }
    const snapshot = parse(bytes)
    if (typeof snapshot === 'string') return { warning: snapshot }
    const located = await locate(disk, await listSegments(disk, paths), snapshot.position)
    return 'missing' in located ? { warning: `system_state.json: ${located.missing}` } : { snapshot }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    // A damaged journal is reported by those who open it.
    const what = error instanceof NexusError ? 'the journal' : 'system_state.json'
    return { warning: `${what} cannot be read: ${reason}` }
  }
}

function parse(bytes: Buffer): Snapshot | string {
  const content = bytes.subarray(0, Math.max(0, bytes.length - SEAL_BYTES))
  const seal = /^,"sum":"([0-9a-f]{64})"\}\n$/.exec(bytes.toString('latin1', content.length))
  if (seal === null || seal[1] !== hash('sha256', content)) return 'system_state.json has another checksum'
  const { v, applied_seq, applied_h, segment, offset, at, sections } = JSON.parse(bytes.toString())
  if (v !== 1) return `system_state.json has format ${v}, this daemon reads format 1`
  return { position: { seq: applied_seq, h: applied_h, segment, offset }, at, sections }
}
