import { createHash, hash } from 'node:crypto'
import { dirname } from 'node:path'
import { type Clock, timestamp } from '../kit/clock.ts'
import { writeDraft } from './atomic-file.ts'
import type { DataPaths } from './data-folder.ts'
import { type Disk, readWhole } from './disk.ts'
import type { RecordEnd } from './record-log.ts'
import type { Position } from './recovery.ts'
import type { Anchor } from './segments.ts'

/** What was known after one record, so that a start replays only the later ones. */
export interface Snapshot {
  readonly position: Position
  /** Where the journal may begin: what lies before was compacted. */
  readonly anchors: readonly Anchor[]
  /** When it was taken. */
  readonly at: string
  readonly records: RecordFrame
  /** The files below `index/`, in order. */
  readonly chunks: readonly ChunkName[]
  /** One entry for each room that remembers something. */
  readonly sections: Readonly<Record<string, unknown>>
}

interface RecordFrame {
  readonly end: RecordEnd
  /** Sealed files that some row refers to. */
  readonly files: readonly number[]
}

export interface ChunkName {
  readonly name: string
  readonly sha256: string
}

/** A snapshot on its way to the disk: its sections come as text, in pieces. */
export interface SnapshotDraft extends Omit<Snapshot, 'at' | 'sections'> {
  readonly sections: readonly (readonly [name: string, text: AsyncIterable<string> | Iterable<string>])[]
}

/** A state of this size would stop the loop for seconds when it is read; it would need another form. */
const SIZE_BYTES_MAX = 512 * 1_048_576
/** `,"sum":"<64 hex>"}` and the newline. */
const SEAL_BYTES = 75
const FORMAT = 2
/** A millisecond to encode and to hash. */
const WRITE_CHARS = 262_144

/**
 * Replaces `system_state.json`; durable when it resolves. The one before becomes the former snapshot, for the day when
 * this one cannot be read.
 *
 * @param keepsFormer - Whether the present one is worth keeping.
 */
export async function saveSnapshot(
  disk: Disk,
  clock: Clock,
  paths: DataPaths,
  draft: SnapshotDraft,
  keepsFormer: boolean,
): Promise<void> {
  const text = await textOf(draft, timestamp(clock))
  const name = await writeDraft(disk, paths.systemState, text)
  try {
    // A crash in between leaves the former one alone, which tells the same with more of the journal.
    if (keepsFormer && (await disk.stat(paths.systemState)) !== undefined) {
      await disk.rename(paths.systemState, paths.formerState)
    }
    await disk.rename(name, paths.systemState)
  } catch (error) {
    // The next start removes it when this does not.
    await disk.unlink(name).catch(() => undefined)
    throw error
  }
  await disk.syncDir(dirname(paths.systemState))
}

/**
 * Reads one of the two snapshots. It only ever saves time: one that cannot be believed is left out with a warning.
 * Whether its position is in the journal is for others to see.
 */
export async function readSnapshot(
  disk: Disk,
  path: string,
  name: string,
): Promise<{ readonly snapshot?: Snapshot; readonly warning?: string }> {
  try {
    const bytes = await readWhole(disk, path, SIZE_BYTES_MAX)
    if (bytes === undefined) {
      const there = await disk.stat(path)
      return there === undefined ? {} : { warning: `${name} is not a file of a sensible size` }
    }
    const snapshot = parse(bytes, name)
    return typeof snapshot === 'string' ? { warning: snapshot } : { snapshot }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    return { warning: `${name} cannot be read: ${reason}` }
  }
}

/** The record that a snapshot was taken after, by its first bytes alone: nobody vouches for them yet. */
export async function claimOf(disk: Disk, path: string): Promise<Claim | undefined> {
  try {
    return claimIn(await readPart(disk, path, 0, CLAIM_BYTES_MAX))
  } catch {
    return undefined
  }
}

/** Whether the snapshot that claims this is as it was written. */
export async function isWhole(disk: Disk, path: string, claim: Claim): Promise<boolean> {
  try {
    const bytes = await readWhole(disk, path, SIZE_BYTES_MAX)
    const found = bytes && claimIn(bytes.subarray(0, CLAIM_BYTES_MAX))
    return bytes !== undefined && found?.seq === claim.seq && found.h === claim.h && isSealed(bytes)
  } catch {
    return false
  }
}

export type Claim = Pick<Position, 'seq' | 'h'>

const CLAIM_BYTES_MAX = 160

function claimIn(bytes: Buffer): Claim | undefined {
  const found = /^\{"v":\d+,"applied_seq":(\d{1,16}),"applied_h":"([0-9a-f]{64})"/.exec(
    bytes.toString('latin1'),
  )
  return found?.[2] === undefined ? undefined : { seq: Number(found[1]), h: found[2] }
}

async function readPart(disk: Disk, path: string, at: number, length: number): Promise<Buffer> {
  const file = await disk.open(path, 'read')
  try {
    return await file.read(at, length)
  } finally {
    await file.close()
  }
}

/** In buffers of a size that is worth a write, and never one large copy of all of it. */
async function textOf(draft: SnapshotDraft, at: string): Promise<readonly Buffer[]> {
  const { position, anchors, records, chunks, sections } = draft
  const { seq, h, segment, offset } = position
  const head = { v: FORMAT, applied_seq: seq, applied_h: h, segment, offset, at, anchors, records, chunks }
  const sum = createHash('sha256')
  const buffers: Buffer[] = []
  let waiting = ''
  const flush = (): void => {
    const bytes = Buffer.from(waiting)
    sum.update(bytes)
    buffers.push(bytes)
    waiting = ''
  }
  const add = (text: string): void => {
    waiting += text
    if (waiting.length >= WRITE_CHARS) flush()
  }
  add(`${JSON.stringify(head).slice(0, -1)},"sections":{`)
  for (const [place, [name, text]] of sections.entries()) {
    add(`${place === 0 ? '' : ','}${JSON.stringify(name)}:`)
    for await (const piece of text) add(piece)
  }
  add('}')
  flush()
  buffers.push(Buffer.from(`,"sum":"${sum.digest('hex')}"}\n`))
  return buffers
}

function parse(bytes: Buffer, name: string): Snapshot | string {
  if (!isSealed(bytes)) return `${name} has another checksum`
  const snapshot = JSON.parse(bytes.toString())
  const { v, applied_seq, applied_h, segment, offset, at, anchors, records, chunks, sections } = snapshot
  if (v !== FORMAT) return `${name} has format ${v}, this daemon reads format ${FORMAT}`
  const position = { seq: applied_seq, h: applied_h, segment, offset }
  return { position, at, anchors, records, chunks, sections }
}

function isSealed(bytes: Buffer): boolean {
  const content = bytes.subarray(0, Math.max(0, bytes.length - SEAL_BYTES))
  const seal = /^,"sum":"([0-9a-f]{64})"\}\n$/.exec(bytes.toString('latin1', content.length))
  return seal !== null && seal[1] === hash('sha256', content)
}
