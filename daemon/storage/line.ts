import { isUtf8 } from 'node:buffer'
import { hash } from 'node:crypto'
import type { Fact, FactDraft } from '../contracts/fact.ts'
import { NexusError } from '../contracts/failure.ts'

/** What the next record is chained to. */
export interface Link {
  readonly seq: number
  /** The batch of that record. */
  readonly b: number
  readonly h: string
}

/** Before the first record. */
export const GENESIS: Link = { seq: 0, b: 0, h: '0'.repeat(64) }

/** A line, newline included. Larger results go to `artifacts/`; a reader never needs more memory than this. */
export const LINE_BYTES_MAX = 65_536

/** `,"h":"<64 hex>"}` and the newline. */
const SEAL_BYTES = 73
/** What framing can cost at most, so that a draft can be judged before it has its number. */
const FRAME_BYTES_MAX =
  `{"v":1,"seq":${Number.MAX_SAFE_INTEGER},"b":${Number.MAX_SAFE_INTEGER},`.length + SEAL_BYTES

/** A draft as text, frozen at the moment it was handed in; it lacks its place in the chain. */
export interface EncodedDraft {
  readonly text: string
  readonly sizeBytesMax: number
  /** What was handed in, where that is what a replay would see. */
  readonly plain?: { readonly ts: string; readonly draft: FactDraft }
}

/** @throws NexusError `RECORD_TOO_LARGE`. */
export function encodeDraft(draft: FactDraft, ts: string): EncodedDraft {
  const { type, mid, ep, actor, d } = draft
  const text = JSON.stringify({ ts, type, mid, ep, actor: { kind: actor.kind, name: actor.name }, d }).slice(
    1,
    -1,
  )
  const sizeBytesMax = Buffer.byteLength(text) + FRAME_BYTES_MAX
  if (sizeBytesMax > LINE_BYTES_MAX) {
    throw new NexusError('RECORD_TOO_LARGE', { bytes: sizeBytesMax, limit: LINE_BYTES_MAX })
  }
  // The bodies of missions are plain data that nobody changes, and by far the most: they need not be read back.
  return mid === undefined ? { text, sizeBytesMax } : { text, sizeBytesMax, plain: { ts, draft } }
}

/** Puts drafts into the chain as one batch: its bytes, what a replay of them would see, and what comes next. */
export function sealBatch(
  drafts: readonly EncodedDraft[],
  previous: Link,
): { readonly bytes: Buffer; readonly facts: readonly Fact[]; readonly link: Link } {
  const b = previous.seq + 1
  const bytes = Buffer.allocUnsafe(drafts.reduce((sum, { sizeBytesMax }) => sum + sizeBytesMax, 0))
  const facts: Fact[] = []
  let link = previous
  let end = 0
  for (const draft of drafts) {
    const seq = link.seq + 1
    const content = `{"v":1,"seq":${seq},"b":${b},${draft.text}`
    // Written once: hashed where it stands behind the hash before it, and copied from there.
    const length = scratch.write(content, HASH_CHARS)
    const h = hashOfScratch(link.h, length)
    const seal = `,"h":"${h}"}\n`
    end += scratch.copy(bytes, end, HASH_CHARS, HASH_CHARS + length)
    end += bytes.write(seal, end, 'latin1')
    facts.push(factOf(draft, content + seal, { seq, b, h }))
    link = { seq, b, h }
  }
  return { bytes: bytes.subarray(0, end), facts, link }
}

/** Read back from the line, unless it is plain. */
function factOf({ plain }: EncodedDraft, line: string, { seq, b, h }: Link): Fact {
  if (plain === undefined) return JSON.parse(line)
  const { type, mid, ep, actor, d } = plain.draft
  const epoch = ep === undefined ? {} : { ep }
  const subject = mid === undefined ? {} : { mid }
  return { v: 1, seq, b, ts: plain.ts, type, ...subject, ...epoch, actor, d, h }
}

export type LineVerdict =
  | { readonly ok: true; readonly fact: Fact }
  | { readonly ok: false; readonly reason: string }

/** Decides whether these bytes, newline included, are the record that follows `previous`. */
export function checkLine(bytes: Buffer, previous: Link): LineVerdict {
  const bad = (reason: string): LineVerdict => ({ ok: false, reason })
  if (bytes.length > LINE_BYTES_MAX) return bad(`the line has more than ${LINE_BYTES_MAX} bytes`)
  if (bytes.at(-1) !== 0x0a) return bad('the line does not end')
  const prefix = readPrefix(bytes)
  if (prefix === undefined) return bad('the line is not a record')
  if (prefix.v !== 1) return bad(`the record has format version ${prefix.v}, this daemon reads version 1`)
  if (prefix.seq !== previous.seq + 1) return bad(`sequence number ${prefix.seq} follows ${previous.seq}`)
  if (prefix.b !== prefix.seq && prefix.b !== previous.b)
    return bad(`batch ${prefix.b} follows ${previous.b}`)

  const seal = SEAL.exec(bytes.toString('latin1', bytes.length - SEAL_BYTES))
  if (seal === null) return bad('the line does not end with its hash')
  if (hashOf(bytes, previous.h) !== seal[1])
    return bad('the hash does not fit the line and the record before it')
  const fact = parse(bytes)
  if (fact === undefined) return bad('the line is not a record')
  return { ok: true, fact }
}

/** The first fields of a record, which are enough to place it. */
export interface Prefix {
  readonly v: number
  readonly seq: number
  readonly b: number
}

/** What every record starts with, up to the seq. */
export const PREFIX_START = '{"v":'
/** No prefix is longer. */
export const PREFIX_BYTES_MAX = 80

/** Reads the numbers at the start of a line, also of one that is damaged further on. */
export function readPrefix(bytes: Buffer, at = 0): Prefix | undefined {
  const found = PREFIX.exec(bytes.toString('latin1', at, Math.min(bytes.length, at + PREFIX_BYTES_MAX)))
  if (found === null) return undefined
  return { v: Number(found[1]), seq: Number(found[2]), b: Number(found[3]) }
}

const PREFIX = /^\{"v":(\d{1,9}),"seq":(\d{1,16}),"b":(\d{1,16}),"/
const SEAL = /^,"h":"([0-9a-f]{64})"\}\n$/
const KEYS = new Set([
  'v,seq,b,ts,type,actor,d,h',
  'v,seq,b,ts,type,mid,actor,d,h',
  'v,seq,b,ts,type,ep,actor,d,h',
  'v,seq,b,ts,type,mid,ep,actor,d,h',
])

const HASH_CHARS = 64
/** One buffer for all: hashing is synchronous, and replaying a million lines should not make a million copies. */
const scratch = Buffer.alloc(HASH_CHARS + LINE_BYTES_MAX)

function hashOf(line: Buffer, previousH: string): string {
  return hashOfScratch(previousH, line.copy(scratch, HASH_CHARS, 0, line.length - SEAL_BYTES))
}

/** Of the hash before, and of what stands in the buffer behind its place. */
function hashOfScratch(previousH: string, length: number): string {
  scratch.write(previousH, 0, HASH_CHARS, 'latin1')
  return hash('sha256', scratch.subarray(0, HASH_CHARS + length))
}

function parse(line: Buffer): Fact | undefined {
  if (!isUtf8(line)) return undefined
  try {
    const fact = JSON.parse(line.toString())
    return KEYS.has(Object.keys(fact).join()) ? fact : undefined
  } catch {
    return undefined
  }
}
