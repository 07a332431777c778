import type { Fact } from '../contracts/fact.ts'
import type { DiskFile } from './disk.ts'
import { checkLine, type Link, PREFIX_BYTES_MAX, PREFIX_START, readPrefix } from './line.ts'
import { CHUNK_BYTES, walkLines } from './walk.ts'

/** Where a scan stopped: after the record `link`, at byte `offset`. */
export interface ScanEnd {
  readonly link: Link
  readonly offset: number
  /** What is wrong with the bytes at `offset`; undefined at a clean end. */
  readonly bad?: BadLine
}

interface BadLine {
  readonly reason: string
  /** The version of a newer format. */
  readonly newer?: number
  /** No torn write looks like this, an editor's work does. Never cut. */
  readonly edited: boolean
  /** The file ends within the line. */
  readonly open: boolean
}

/** Follows the chain through one file, from a known link to the first line that does not fit. */
export async function scanChain(
  file: DiskFile,
  from: { readonly link: Link; readonly offset: number },
  sizeBytes: number,
  onFact: (fact: Fact) => void,
): Promise<ScanEnd> {
  let { link, offset } = from
  let bad: BadLine | undefined
  await walkLines(file, offset, sizeBytes, (line, at) => {
    const verdict = checkLine(line, link)
    if (!verdict.ok) {
      bad = describe(line, at, at + line.length === sizeBytes, verdict.reason)
      return false
    }
    const { seq, b, h } = verdict.fact
    link = { seq, b, h }
    offset = at + line.length
    onFact(verdict.fact)
    return true
  })
  return bad === undefined ? { link, offset } : { link, offset, bad }
}

/**
 * The highest batch that any bytes from `from` on name, readable or not.
 *
 * A batch is only begun when the one before is durable. So a trace of a later batch, even inside a damaged line,
 * proves that damage before it hit something durable and is not a torn write.
 */
export async function latestBatch(file: DiskFile, from: number, sizeBytes: number): Promise<number> {
  let latest = 0
  for (let at = from; at < sizeBytes; at += CHUNK_BYTES) {
    // Chunks overlap, so that no trace is cut in two.
    const bytes = await file.read(at, Math.min(CHUNK_BYTES + PREFIX_BYTES_MAX, sizeBytes - at))
    for (let hit = bytes.indexOf(PREFIX_START); hit !== -1; hit = bytes.indexOf(PREFIX_START, hit + 1)) {
      const prefix = readPrefix(bytes, hit)
      if (prefix !== undefined && prefix.b <= prefix.seq) latest = Math.max(latest, prefix.b)
    }
  }
  return latest
}

function describe(line: Buffer, at: number, isLast: boolean, reason: string): BadLine {
  const hint = editorHint(line, at)
  const bad = { reason: hint ?? reason, edited: hint !== undefined, open: isLast && line.at(-1) !== 0x0a }
  const version = readPrefix(line)?.v ?? 1
  return version > 1 ? { ...bad, newer: version } : bad
}

function editorHint(line: Buffer, at: number): string | undefined {
  if (at === 0 && line.subarray(0, 3).equals(BYTE_ORDER_MARK)) {
    return 'it begins with a byte order mark: an editor has saved it; remove the first 3 bytes'
  }
  const end = line.toString('latin1', Math.max(0, line.length - 16))
  if (end.endsWith('"}\r\n')) return 'its lines end with CR LF: an editor has saved it; turn them into LF'
  if (/"\}[ \t]+\n$/.test(end)) return 'white space follows the record: an editor has saved it; remove it'
  return undefined
}

const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf])
