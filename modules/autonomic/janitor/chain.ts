import { createHash } from 'node:crypto'

/** The record that the next one is chained to. */
export interface Link {
  readonly seq: number
  /** The batch it was written in, named by the seq of its first record. */
  readonly b: number
  readonly h: string
}

/** Before the first record. */
export const GENESIS: Link = { seq: 0, b: 0, h: '0'.repeat(64) }

/** A line, newline included. */
export const LINE_BYTES_MAX = 65_536

/** `,"h":"<64 hex>"}` and the newline. */
const SEAL_BYTES = 73

export interface JournalRecord {
  readonly seq: number
  readonly b: number
  readonly h: string
  readonly type: string
  readonly d: Readonly<Record<string, unknown>>
}

/**
 * Judges one line, newline included, by what the format promises: its number follows, its batch is the one before's or
 * its own number, and its hash is SHA-256 over the hash before it and its own bytes up to its seal.
 *
 * Written from the description of the format, not from the daemon's code: a mistake there is not repeated here.
 */
export function judgeLine(line: Buffer, before: Link): JournalRecord | { readonly bad: string } {
  if (line.length > LINE_BYTES_MAX) return { bad: `the line is longer than ${LINE_BYTES_MAX} bytes` }
  if (line.at(-1) !== 0x0a) return { bad: 'the line has no end' }
  const seal = /^,"h":"([0-9a-f]{64})"\}\n$/.exec(
    line.toString('latin1', Math.max(0, line.length - SEAL_BYTES)),
  )
  if (seal === null) return { bad: 'the line does not end with a hash' }
  let record: Record<string, unknown>
  try {
    record = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(line))
  } catch {
    return { bad: 'the line is not JSON' }
  }
  const { v, seq, b, h, type, d } = record
  if (v !== 1) return { bad: `its format is version ${String(v)}, not 1` }
  if (seq !== before.seq + 1) return { bad: `number ${String(seq)} follows ${before.seq}` }
  if (b !== seq && (b !== before.b || before.seq === 0))
    return { bad: `batch ${String(b)} follows batch ${before.b}` }
  const sum = createHash('sha256').update(before.h).update(line.subarray(0, -SEAL_BYTES)).digest('hex')
  if (sum !== seal[1] || h !== sum) return { bad: 'its hash does not fit the line and the record before it' }
  if (typeof type !== 'string' || typeof d !== 'object' || d === null)
    return { bad: 'it has no type or no body' }
  return { seq, b: b as number, h: sum, type, d: d as Record<string, unknown> }
}

/** Cuts bytes into lines, in chunks; the bytes of a line are borrowed. */
export class Lines {
  #rest: Buffer = Buffer.alloc(0)

  /** Each whole line of what is known now, newline included. */
  push(chunk: Buffer): Buffer[] {
    const found: Buffer[] = []
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    let start = 0
    for (let end = bytes.indexOf(0x0a); end !== -1; end = bytes.indexOf(0x0a, start)) {
      found.push(bytes.subarray(start, end + 1))
      start = end + 1
    }
    this.#rest = Buffer.from(bytes.subarray(start))
    return found
  }

  /** What came after the last newline. */
  get rest(): Buffer {
    return this.#rest
  }
}
