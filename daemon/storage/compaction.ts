import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { DataPaths } from './data-folder.ts'
import { type Disk, type DiskFile, writeAll } from './disk.ts'
import { GENESIS, type Link } from './line.ts'
import { scanChain } from './scan.ts'
import { damagedAt, foundation, lastFact, listSegments, readSegment, type Segment } from './segments.ts'

/** What may stay of the journal. */
export interface Retention {
  /** Older segments go. */
  readonly keepMs: number
  /** Of more than this the oldest segments go. */
  readonly keepBytes: number
  /** Whether what goes is kept compressed below `audit/archive/`. */
  readonly archive: boolean
}

/** A segment that goes, as `journal.compacted` tells of it. */
export interface Compacted {
  readonly file: string
  readonly bytes: number
  readonly sha256: string
  readonly first_seq: number
  readonly last_seq: number
  readonly last_h: string
  /** Name of the compressed copy, below the data folder. */
  readonly archived?: string
}

export interface Candidate {
  readonly first: number
  readonly last: number
  readonly sizeBytes: number
  /** When its last record was written. */
  readonly endedMs: number
}

/** All of them are named in one record of at most 64 KiB. */
const SEGMENTS_MAX = 100
/** A member of the compressed file: what follows one another is one file to every program. */
const MEMBER_BYTES = 1_048_576

/** How many of the oldest sealed segments go. Pure. */
export function dueForCompaction(
  candidates: readonly Candidate[],
  activeBytes: number,
  neededFrom: number,
  { keepMs, keepBytes }: Retention,
  nowMs: number,
): number {
  let total = candidates.reduce((sum, { sizeBytes }) => sum + sizeBytes, activeBytes)
  let count = 0
  for (const { last, sizeBytes, endedMs } of candidates) {
    const isNeeded = last > neededFrom
    const isDue = nowMs - endedMs > keepMs || total > keepBytes
    if (isNeeded || !isDue || count >= SEGMENTS_MAX) break
    total -= sizeBytes
    count += 1
  }
  return count
}

/** The sealed segments in order, with what a decision about them needs; a look at the end of each. */
export async function candidatesIn(disk: Disk, segments: readonly Segment[]): Promise<readonly Candidate[]> {
  const sealed = segments.filter(({ first }) => first !== undefined)
  const found: Candidate[] = []
  for (const segment of sealed) {
    const line = await readSegment(disk, segment, (file) => lastFact(file, segment.sizeBytes))
    if (line === undefined)
      throw damagedAt(segment.name, 0, segment.first ?? 1, segment.first ?? 1, 'it does not end')
    const { first = 1, sizeBytes } = segment
    found.push({ first, last: line.seq, sizeBytes, endedMs: Date.parse(line.ts) })
  }
  return found
}

/**
 * Reads segments that are to go, checks their chain, and keeps a compressed copy where that is wished. They are still
 * there afterwards: first the journal must tell that they go.
 *
 * @throws NexusError `JOURNAL_DAMAGED`; what is damaged is not removed.
 */
export async function prepareCompaction(
  disk: Disk,
  paths: DataPaths,
  count: number,
  archive: boolean,
  signal: AbortSignal,
): Promise<readonly Compacted[]> {
  const segments = await listSegments(disk, paths)
  let link: Link = (await foundation(disk, segments))?.link ?? GENESIS
  const going: Compacted[] = []
  for (const segment of segments.slice(0, count)) {
    signal.throwIfAborted()
    const first = segment.first ?? 1
    const from = link
    const checked = await readSegment(disk, segment, async (file) => {
      const end = await scanChain(file, { link: from, offset: 0 }, segment.sizeBytes, () =>
        signal.throwIfAborted(),
      )
      if (end.bad !== undefined)
        throw damagedAt(segment.name, end.offset, end.link.seq + 1, first, end.bad.reason)
      const sha256 = await sumOf(file, segment.sizeBytes, signal)
      const archived = archive ? await compress(disk, paths, segment, file, signal) : undefined
      return { link: end.link, sha256, archived }
    })
    link = checked.link
    going.push({
      file: segment.name,
      bytes: segment.sizeBytes,
      sha256: checked.sha256,
      first_seq: first,
      last_seq: link.seq,
      last_h: link.h,
      ...(checked.archived === undefined ? {} : { archived: checked.archived }),
    })
  }
  return going
}

/** Removes the segments that end at or before this record, oldest first, once the journal tells of it. */
export async function removeSegments(disk: Disk, paths: DataPaths, throughSeq: number): Promise<number> {
  const segments = (await listSegments(disk, paths)).filter(({ first }) => first !== undefined)
  let removed = 0
  for (const [index, segment] of segments.entries()) {
    const next = segments[index + 1]?.first
    const last =
      next === undefined
        ? (await readSegment(disk, segment, (file) => lastFact(file, segment.sizeBytes)))?.seq
        : next - 1
    if (last === undefined || last > throughSeq) break
    await disk.unlink(segment.path)
    // One name after the other: what a crash leaves is always the younger part.
    await disk.syncDir(paths.segments)
    removed += 1
  }
  return removed
}

async function sumOf(file: DiskFile, sizeBytes: number, signal: AbortSignal): Promise<string> {
  const sum = createHash('sha256')
  for (let at = 0; at < sizeBytes; at += MEMBER_BYTES) {
    signal.throwIfAborted()
    sum.update(await file.read(at, Math.min(MEMBER_BYTES, sizeBytes - at)))
  }
  return sum.digest('hex')
}

async function compress(
  disk: Disk,
  paths: DataPaths,
  { name, sizeBytes }: Segment,
  file: DiskFile,
  signal: AbortSignal,
): Promise<string> {
  const dir = join(paths.segments, 'archive')
  await disk.makeDir(dir)
  const archived = `${name.replace('audit/', 'audit/archive/')}.gz`
  const path = join(paths.root, archived)
  const draft = `${path}.tmp`
  await disk.unlink(draft)
  const copy = await disk.open(draft, 'create')
  try {
    for (let at = 0; at < sizeBytes; at += MEMBER_BYTES) {
      signal.throwIfAborted()
      await writeAll(copy, await promisify(gzip)(await file.read(at, Math.min(MEMBER_BYTES, sizeBytes - at))))
    }
    await copy.datasync()
  } finally {
    await copy.close()
  }
  await disk.rename(draft, path)
  await disk.syncDir(dir)
  await disk.syncDir(paths.segments)
  return archived
}
