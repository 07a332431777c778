import { join } from 'node:path'
import type { Fact } from '../contracts/fact.ts'
import { NexusError } from '../contracts/failure.ts'
import type { DataPaths } from './data-folder.ts'
import { codeOf, type Disk, type DiskEntry, type DiskFile } from './disk.ts'
import { checkLine, GENESIS, LINE_BYTES_MAX, type Link, readPrefix } from './line.ts'

/** One file of the journal. */
export interface Segment {
  readonly path: string
  /** As people read it: `audit.jsonl` or `audit/000000000001.jsonl`. */
  readonly name: string
  /** The seq its name states; undefined for the active one, whose name states none. */
  readonly first: number | undefined
  readonly sizeBytes: number
  readonly identity: string
}

/** The active segment's name. */
export const ACTIVE_NAME = 'audit.jsonl'

/** The name of the sealed segment that begins with this record. */
export function sealedName(first: number): string {
  return `audit/${String(first).padStart(12, '0')}.jsonl`
}

/**
 * The files of the journal in order, sealed ones first; other names are left alone.
 *
 * @throws NexusError `JOURNAL_DAMAGED` when something stands there that is no file.
 */
export async function listSegments(disk: Disk, paths: DataPaths): Promise<Segment[]> {
  const firsts = (await disk.list(paths.segments))
    .filter((name) => /^\d{12,16}\.jsonl$/.test(name))
    .map((name) => Number.parseInt(name, 10))
    .sort((a, b) => a - b)
  const found: Segment[] = []
  for (const first of firsts) {
    const name = sealedName(first)
    const entry = await disk.stat(join(paths.root, name))
    if (entry !== undefined) found.push(segmentOf(paths, name, first, entry))
  }
  const active = await disk.stat(paths.journal)
  if (active !== undefined) found.push(segmentOf(paths, ACTIVE_NAME, undefined, active))
  return found
}

function segmentOf(paths: DataPaths, name: string, first: number | undefined, entry: DiskEntry): Segment {
  if (entry.kind !== 'file') {
    const kind = { directory: 'a folder', fifo: 'a pipe', other: 'a device or socket' }[entry.kind]
    throw damagedAt(name, 0, first ?? 1, first ?? 1, `it is ${kind}, not a file`)
  }
  return { path: join(paths.root, name), name, first, sizeBytes: entry.sizeBytes, identity: entry.identity }
}

/** The finding that a journal cannot be trusted; `first` is the seq with which its file begins. */
export function damagedAt(
  file: string,
  offset: number,
  seq: number,
  first: number,
  reason: string,
): NexusError {
  return new NexusError('JOURNAL_DAMAGED', { file, line: Math.max(1, seq - first + 1), offset, seq, reason })
}

/** The finding that a segment does not begin with the record that is due. */
export function gapBefore(segment: Segment, due: number): NexusError {
  const before = (segment.first ?? due) - 1
  const reason =
    before < due ? 'its name is not the number it begins with' : `the records ${due} to ${before} are missing`
  return damagedAt(segment.name, 0, due, due, reason)
}

/**
 * Checks a sealed segment without reading it whole: it begins as its name says, follows the one before, and ends with
 * a record; whether that is the right one, the opening record of the next segment tells.
 *
 * @throws NexusError `JOURNAL_DAMAGED`.
 */
export async function checkEnds(disk: Disk, segment: Segment, before: Sealed | undefined): Promise<Sealed> {
  const due = before === undefined ? 1 : before.link.seq + 1
  if (segment.first !== undefined && segment.first !== due) throw gapBefore(segment, due)
  return readSegment(disk, segment, async (file) => {
    await checkOpening(file, segment, before)
    const tailAt = Math.max(0, segment.sizeBytes - LINE_BYTES_MAX)
    const link = lastLink(await file.read(tailAt, segment.sizeBytes - tailAt))
    if (link === undefined) throw damagedAt(segment.name, tailAt, due, due, 'it does not end with a record')
    return { name: segment.name, sizeBytes: segment.sizeBytes, link }
  })
}

/**
 * Checks the first record of a segment, which vouches for the whole segment before it.
 *
 * @throws NexusError `JOURNAL_DAMAGED`.
 */
export async function checkOpening(
  file: DiskFile,
  segment: Segment,
  before: Sealed | undefined,
): Promise<void> {
  const head = await file.read(0, LINE_BYTES_MAX)
  const opening = checkLine(head.subarray(0, head.indexOf(0x0a) + 1), before?.link ?? GENESIS)
  const due = before === undefined ? 1 : before.link.seq + 1
  if (!opening.ok) throw damagedAt(segment.name, 0, due, due, opening.reason)
  if (before !== undefined && !opens(opening.fact, before)) {
    throw damagedAt(segment.name, 0, due, due, `${before.name} is not as it was when it was sealed`)
  }
}

/** What the first record of a segment says about the one before. */
export interface Sealed {
  readonly name: string
  readonly sizeBytes: number
  readonly link: Link
}

/** Whether this is the opening record that belongs after `before`, whose end its hash has vouched for. */
function opens({ type, d }: Fact, before: Sealed): boolean {
  return type === 'journal.segment_opened' && d['sealed'] === before.name && d['bytes'] === before.sizeBytes
}

/** The link in the last line of these bytes, which must end with a newline. Its own chain is not checked. */
export function lastLink(bytes: Buffer): Link | undefined {
  if (bytes.at(-1) !== 0x0a) return undefined
  const line = bytes.subarray(bytes.lastIndexOf(0x0a, bytes.length - 2) + 1)
  const prefix = readPrefix(line)
  const h = /^,"h":"([0-9a-f]{64})"\}\n$/.exec(line.toString('latin1', Math.max(0, line.length - 73)))?.[1]
  if (prefix === undefined || h === undefined) return undefined
  return { seq: prefix.seq, b: prefix.b, h }
}

/** The last record of a file, when it is one; its chain is not checked. */
export async function lastFact(file: DiskFile, sizeBytes: number): Promise<Fact | undefined> {
  const startAt = Math.max(0, sizeBytes - LINE_BYTES_MAX)
  const bytes = await file.read(startAt, sizeBytes - startAt)
  if (lastLink(bytes) === undefined) return undefined
  return JSON.parse(bytes.toString('utf8', bytes.lastIndexOf(0x0a, bytes.length - 2) + 1))
}

/**
 * Lends a segment for reading.
 *
 * @throws NexusError `JOURNAL_DAMAGED` when the disk cannot read it.
 */
export async function readSegment<T>(
  disk: Disk,
  segment: Pick<Segment, 'path' | 'name'>,
  use: (file: DiskFile) => Promise<T>,
): Promise<T> {
  try {
    const file = await disk.open(segment.path, 'read')
    try {
      return await use(file)
    } finally {
      await file.close()
    }
  } catch (cause) {
    if (codeOf(cause) === '' || cause instanceof NexusError) throw cause
    const reason = `it cannot be read (${codeOf(cause)})`
    throw new NexusError(
      'JOURNAL_DAMAGED',
      { file: segment.name, line: 1, offset: 0, seq: 1, reason },
      { cause },
    )
  }
}

/** A record behind which the journal may begin, because what it ends was compacted. */
export interface Anchor {
  readonly seq: number
  readonly h: string
}

/**
 * What the first segment says of the one before it, when the journal does not begin with record 1.
 *
 * Nobody vouches for it yet: `checkBeginning` asks whether that segment was compacted.
 */
export async function foundation(disk: Disk, segments: readonly Segment[]): Promise<Sealed | undefined> {
  const [segment] = segments
  if (segment === undefined || segment.first === 1 || segment.sizeBytes === 0) return undefined
  return readSegment(disk, segment, async (file) => {
    const head = await file.read(0, LINE_BYTES_MAX)
    const line = head.subarray(0, head.indexOf(0x0a) + 1)
    const prefix = readPrefix(line)
    if (prefix === undefined || prefix.seq === 1) return undefined
    const opening = parseOpening(line)
    if (opening === undefined || opening.link.seq !== prefix.seq - 1) return undefined
    return opening
  })
}

function parseOpening(line: Buffer): Sealed | undefined {
  try {
    const { d } = JSON.parse(line.toString()) as Fact
    const { sealed: name, bytes: sizeBytes, last_seq: seq, last_h: h } = d
    if (typeof name !== 'string' || typeof sizeBytes !== 'number') return undefined
    if (typeof seq !== 'number' || typeof h !== 'string') return undefined
    return { name, sizeBytes, link: { seq, b: seq, h } }
  } catch {
    return undefined
  }
}

/** Where the journal may begin after what this fact tells. */
export function anchorsIn({ type, d }: Fact): readonly Anchor[] {
  if (type !== 'journal.compacted' && type !== 'journal.repaired') return []
  if (!Array.isArray(d['segments'])) return []
  return (d['segments'] as { last_seq: number; last_h: string }[]).map(({ last_seq: seq, last_h: h }) => {
    return { seq, h }
  })
}

/**
 * A journal that begins late must have been compacted there.
 *
 * @throws NexusError `JOURNAL_DAMAGED`.
 */
export function checkBeginning(before: Sealed | undefined, anchors: readonly Anchor[]): void {
  if (before === undefined) return
  const { seq, h } = before.link
  if (anchors.some((anchor) => anchor.seq === seq && anchor.h === h)) return
  const reason = `the records 1 to ${seq} are missing, and no record says that they were compacted`
  throw damagedAt(before.name, 0, 1, 1, reason)
}
