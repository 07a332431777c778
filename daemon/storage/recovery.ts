import type { Fact } from '../contracts/fact.ts'
import { NexusError } from '../contracts/failure.ts'
import type { DataPaths } from './data-folder.ts'
import type { Disk, DiskFile } from './disk.ts'
import { GENESIS, LINE_BYTES_MAX, type Link } from './line.ts'
import { durableReason, Lineage } from './lineage.ts'
import { latestBatch, type ScanEnd, scanChain } from './scan.ts'
import {
  ACTIVE_NAME,
  type Anchor,
  anchorsIn,
  checkBeginning,
  checkEnds,
  checkOpening,
  damagedAt,
  foundation,
  gapBefore,
  lastLink,
  listSegments,
  readSegment,
  type Sealed,
  type Segment,
} from './segments.ts'

/** A place in the journal: after record `seq`, at byte `offset` of the segment that begins with record `segment`. */
export interface Position {
  readonly seq: number
  readonly h: string
  readonly segment: number
  readonly offset: number
}

/** Before the first record. */
export const START: Position = { seq: 0, h: GENESIS.h, segment: 1, offset: 0 }

/** What a start found. Nothing was changed yet. */
export interface Findings {
  /** After the last good record. */
  readonly end: Position
  readonly link: Link
  /** The last sealed segment, which the next opening record must name. */
  readonly sealed: Sealed | undefined
  /** Good bytes in the active segment; undefined when there is no such file. */
  readonly activeBytes: number | undefined
  /** Bytes after the good ones that belong to a torn last batch. */
  readonly torn: Torn | undefined
}

export interface Torn {
  readonly offset: number
  readonly sizeBytes: number
  readonly reason: string
}

/**
 * Reads the journal from `from` on, hands every fact over in order, and judges what it met.
 *
 * @throws NexusError `JOURNAL_DAMAGED`, `JOURNAL_ROLLED_BACK`, `JOURNAL_NEWER`.
 */
export async function examine(
  disk: Disk,
  paths: DataPaths,
  from: Position,
  onFact: (fact: Fact) => void,
  anchors: readonly Anchor[] = [],
): Promise<Findings> {
  const lineage = await Lineage.read(disk, paths)
  const segments = await listSegments(disk, paths)
  const located = await locate(disk, segments, from)
  if ('missing' in located) throw damagedAt(ACTIVE_NAME, from.offset, from.seq, from.segment, located.missing)
  const known = [...anchors]

  let { link, sealed, segment: at, offset } = located
  let torn: Torn | undefined
  let activeBytes: number | undefined
  const pass = (fact: Fact): void => {
    lineage.see(fact)
    known.push(...anchorsIn(fact))
    onFact(fact)
  }
  lineage.see(link)

  for (const segment of segments.slice(located.index)) {
    if (segment !== segments[located.index]) {
      at = link.seq + 1
      offset = 0
    }
    if (segment.first !== undefined && segment.first !== at) throw gapBefore(segment, at)
    const end = await readSegment(disk, segment, async (file) => {
      const end = await scanChain(file, { link, offset }, segment.sizeBytes, pass)
      torn = await judge(file, segment, end, at, lineage)
      return end
    })
    if (segment.first !== undefined) {
      if (segment.sizeBytes === 0) throw damagedAt(segment.name, 0, at, at, 'a sealed segment is empty')
      sealed = { name: segment.name, sizeBytes: segment.sizeBytes, link: end.link }
    } else activeBytes = end.offset
    link = end.link
    offset = end.offset
  }

  checkBeginning(located.before, known)
  const position = { seq: link.seq, h: link.h, segment: at, offset }
  await lineage.check(link.seq, activeBytes !== undefined)
  return { end: position, link, sealed, activeBytes, torn }
}

/** Finds a position in the files that are there, and checks what lies before it by its ends alone. */
export async function locate(
  disk: Disk,
  segments: readonly Segment[],
  from: Position,
): Promise<Located | { missing: string }> {
  const before = await foundation(disk, segments)
  let sealed = before
  if (from.seq === 0) {
    if (before === undefined) return { index: 0, link: GENESIS, segment: 1, offset: 0, sealed, before }
    return {
      missing: `the records 1 to ${before.link.seq} are missing, and no snapshot tells what they made`,
    }
  }
  // The file that the position counts in may be gone: what ends with this record was compacted, or set aside.
  if (before !== undefined && before.link.seq === from.seq && before.link.h === from.h) {
    return { index: 0, link: before.link, segment: from.seq + 1, offset: 0, sealed, before }
  }
  for (const [index, segment] of segments.entries()) {
    const former: Sealed | undefined = sealed
    const first = former === undefined ? 1 : former.link.seq + 1
    if (first === from.segment) {
      const link = await readSegment(disk, segment, async (file) => {
        if (from.offset > 0) await checkOpening(file, segment, former)
        const startAt = Math.max(0, from.offset - LINE_BYTES_MAX)
        return lastLink(await file.read(startAt, from.offset - startAt))
      })
      const there = link?.seq === from.seq && link.h === from.h && from.offset <= segment.sizeBytes
      return there
        ? { index, link, segment: from.segment, offset: from.offset, sealed: former, before }
        : { missing: 'the snapshot names a record that is not there' }
    }
    sealed = await checkEnds(disk, segment, former)
  }
  return { missing: 'the snapshot names a segment that is not there' }
}

interface Located {
  readonly index: number
  readonly link: Link
  /** Where to read on: the segment that begins with this record, from this byte. */
  readonly segment: number
  readonly offset: number
  /** The segment before the one of the position. */
  readonly sealed: Sealed | undefined
  /** The segment that was compacted last, as the first one that is there names it. */
  readonly before: Sealed | undefined
}

/** Decides about the end of one file: clean, torn (a verdict to act on), or damaged (thrown). */
async function judge(
  file: DiskFile,
  segment: Segment,
  end: ScanEnd,
  first: number,
  lineage: Lineage,
): Promise<Torn | undefined> {
  if (end.bad === undefined) return undefined
  const next = end.link.seq + 1
  const refuse = (reason: string): NexusError => damagedAt(segment.name, end.offset, next, first, reason)
  if (end.bad.newer !== undefined) {
    throw new NexusError('JOURNAL_NEWER', { file: segment.name, found: end.bad.newer, known: 1 })
  }
  if (end.bad.edited) throw refuse(end.bad.reason)
  if (segment.first !== undefined) throw refuse(`${end.bad.reason}, in a sealed segment`)
  const knower = await lineage.knower(next)
  if (knower !== undefined) {
    throw refuse(durableReason(end.bad.reason, knower))
  }
  const latest = await latestBatch(file, end.offset, segment.sizeBytes)
  if (latest > next) throw refuse(`${end.bad.reason}, and later batches follow (${latest})`)
  return { offset: end.offset, sizeBytes: segment.sizeBytes - end.offset, reason: end.bad.reason }
}
