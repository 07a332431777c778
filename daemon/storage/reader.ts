import { strict as assert } from 'node:assert'
import type { Fact } from '../contracts/fact.ts'
import type { DataPaths } from './data-folder.ts'
import type { Disk, DiskFile } from './disk.ts'
import { checkLine, GENESIS, LINE_BYTES_MAX, type Link, PREFIX_BYTES_MAX, readPrefix } from './line.ts'
import {
  ACTIVE_NAME,
  damagedAt,
  foundation,
  lastLink,
  listSegments,
  readSegment,
  type Segment,
} from './segments.ts'
import { walkLines } from './walk.ts'

export interface ReadOrder {
  readonly afterSeq: number
  /** The last durable record: later bytes may still be taken back. */
  readonly lastSeq: number
  readonly limit: number
}

/** No answer holds more than this in memory; the reader asks again for the rest. */
const ANSWER_BYTES_MAX = 8 * 1_048_576
/** A rotation moves a file between listing and opening it; twice in a row would take two rotations. */
const TRIES_MAX = 4

/** Reads a range of facts from the files, checking their chain; stops at the end of a segment. */
export async function readFacts(disk: Disk, paths: DataPaths, order: ReadOrder): Promise<Fact[]> {
  assert(Number.isSafeInteger(order.afterSeq) && order.afterSeq >= 0, 'afterSeq counts from 0')
  if (order.afterSeq >= order.lastSeq || order.limit < 1) return []
  for (let tries = 1; ; tries += 1) {
    const segments = await listSegments(disk, paths)
    // What was compacted is not there to be read: the first record that is comes first.
    const before = (await foundation(disk, segments))?.link.seq ?? 0
    const due = { ...order, afterSeq: Math.max(order.afterSeq, before) }
    for (const segment of candidates(segments, due.afterSeq + 1)) {
      const facts = await readSegment(disk, segment, (file) => readFrom(file, segment, due))
      if (facts !== undefined) return facts
    }
    if (tries >= TRIES_MAX) throw damagedAt(ACTIVE_NAME, 0, order.afterSeq + 1, 1, 'the record is missing')
  }
}

/** The active segment's name does not tell where it begins, so it is asked first when none of the others must be it. */
function candidates(segments: readonly Segment[], seq: number): Segment[] {
  const sealed = segments.filter((segment) => segment.first !== undefined && segment.first <= seq)
  const last = sealed.at(-1)
  const isInside = segments.some((segment) => segment.first !== undefined && segment.first > seq)
  const active = isInside ? [] : segments.filter((segment) => segment.first === undefined)
  return last === undefined ? active : [...active, last]
}

/** Undefined when the record is not in this file. */
async function readFrom(file: DiskFile, segment: Segment, order: ReadOrder): Promise<Fact[] | undefined> {
  const { afterSeq, lastSeq, limit } = order
  const first = readPrefix(await file.read(0, PREFIX_BYTES_MAX))?.seq ?? 1
  const at = await seek(file, segment.sizeBytes, afterSeq)
  const facts: Fact[] = []
  let link: Link | undefined
  let isElsewhere = false
  let sizeBytes = 0
  await walkLines(file, at, segment.sizeBytes, (line, lineAt) => {
    if (link === undefined) {
      // The record before the first one asked for, in this segment or as its opening record tells.
      const seq = readPrefix(line)?.seq ?? 0
      if (seq < afterSeq) return true
      if (seq === afterSeq) {
        link = lastLink(line)
        return link !== undefined
      }
      link = linkBefore(line, afterSeq)
    }
    const verdict = link && checkLine(line, link)
    if (verdict === undefined) {
      isElsewhere = true
      return false
    }
    const seq = afterSeq + facts.length + 1
    if (!verdict.ok) throw damagedAt(segment.name, lineAt, seq, first, verdict.reason)
    facts.push(verdict.fact)
    link = verdict.fact
    sizeBytes += line.length
    return verdict.fact.seq < lastSeq && facts.length < limit && sizeBytes < ANSWER_BYTES_MAX
  })
  return isElsewhere || facts.length === 0 ? undefined : facts
}

/** Where a line begins that has at most this seq, near it: halves the file, because every line carries its number. */
async function seek(file: DiskFile, sizeBytes: number, seq: number): Promise<number> {
  let low = 0
  let high = sizeBytes
  while (high - low > 2 * LINE_BYTES_MAX) {
    const middle = Math.floor((low + high) / 2)
    const bytes = await file.read(middle, LINE_BYTES_MAX + PREFIX_BYTES_MAX)
    const start = bytes.indexOf(0x0a) + 1
    const prefix = start === 0 ? undefined : readPrefix(bytes, start)
    if (prefix === undefined || prefix.seq > seq) high = middle
    else low = middle + start
  }
  return low
}

/** The link before the first record of a segment. */
function linkBefore(line: Buffer, afterSeq: number): Link | undefined {
  if (readPrefix(line)?.seq !== afterSeq + 1) return undefined
  if (afterSeq === 0) return GENESIS
  try {
    const fact: Fact = JSON.parse(line.toString())
    const h = fact.d['last_h']
    return typeof h === 'string' ? { seq: afterSeq, b: 0, h } : undefined
  } catch {
    return undefined
  }
}
