import { open } from 'node:fs/promises'
import { basename } from 'node:path'
import type { RecordPaths } from 'aeon-nexus/module'
import { GENESIS, type JournalRecord, judgeLine, LINE_BYTES_MAX, Lines, type Link } from './chain.ts'
import { absent, fileAt, type JournalFile, sealedSegments } from './segments.ts'

/** A running daemon may seal a segment while we read; it does so seldom. */
const TRIES_MAX = 4
const CHUNK_BYTES = 262_144

/** The first thing that is wrong. */
interface Bad {
  readonly seq: number
  readonly file: string
  /** Counted from 1 within the file. */
  readonly line: number
  readonly offset: number
  readonly reason: string
}

export interface Chain {
  readonly ok: boolean
  readonly records: number
  readonly first_seq: number | null
  readonly last_seq: number | null
  readonly last_h: string | null
  readonly files: number
  readonly bytes: number
  readonly open_bytes: number
  readonly first_bad: Bad | null
}

export interface ChainReader {
  readonly signal: AbortSignal
  /** 0..1 */
  progress?(fraction: number): void
  /** Each record as it proves sound; the bytes are borrowed. Starts anew when a file was sealed meanwhile. */
  record?(line: Buffer, record: JournalRecord): void
  restart?(): void
}

/** Follows the chain through all files of the journal: sealed segments in order, then the active one. */
export async function readJournal(
  records: Pick<RecordPaths, 'journal' | 'segments'>,
  reader: ChainReader,
): Promise<Chain> {
  for (let tries = 1; ; tries += 1) {
    const files = await filesOf(records)
    const chain = await follow(files, reader)
    const now = await filesOf(records)
    const same = now.map(({ id }) => id).join() === files.map(({ id }) => id).join()
    if (chain.ok || same || tries === TRIES_MAX) return chain
    reader.restart?.()
  }
}

/** The same for lines that somebody gives. */
export function readText(text: string): Chain {
  const walk = new Walk()
  walk.enter({ name: 'the given text', first: undefined })
  walk.take(Buffer.from(text))
  walk.leave(true)
  return walk.chain(1)
}

async function filesOf({
  journal,
  segments,
}: Pick<RecordPaths, 'journal' | 'segments'>): Promise<JournalFile[]> {
  const active = await fileAt(journal, basename(journal), undefined)
  return [...(await sealedSegments(segments)), ...(active === undefined ? [] : [active])]
}

async function follow(files: readonly JournalFile[], reader: ChainReader): Promise<Chain> {
  const walk = new Walk(reader.record)
  const totalBytes = files.reduce((sum, { bytes }) => sum + bytes, 0)
  let doneBytes = 0
  const buffer = Buffer.alloc(CHUNK_BYTES)
  for (const entry of files) {
    walk.enter(entry)
    const file = await open(entry.path, 'r').catch(absent)
    try {
      // Only what was there when it was listed: a busy daemon must not keep us reading for ever.
      for (let at = 0; file !== undefined && at < entry.bytes && !walk.ended; ) {
        reader.signal.throwIfAborted()
        const { bytesRead } = await file.read(buffer, 0, Math.min(CHUNK_BYTES, entry.bytes - at), at)
        if (bytesRead === 0) break
        walk.take(buffer.subarray(0, bytesRead))
        at += bytesRead
        doneBytes += bytesRead
        reader.progress?.(doneBytes / totalBytes)
      }
    } finally {
      await file?.close()
    }
    walk.leave(entry.first === undefined)
    if (walk.ended) break
  }
  return walk.chain(files.length)
}

/** Where a walk along the chain stands. */
class Walk {
  readonly #record: ChainReader['record']
  #link: Link = GENESIS
  /** What the first record follows. */
  #base: Link = GENESIS
  readonly #ends: End[] = []
  #file: Pick<JournalFile, 'name' | 'first'> = { name: '', first: undefined }
  #before: { name: string; bytes: number } | undefined
  #lines = new Lines()
  #line = 0
  #offset = 0
  #bytes = 0
  #openBytes = 0
  #bad: Bad | null = null

  constructor(record?: ChainReader['record']) {
    this.#record = record
  }

  get ended(): boolean {
    return this.#bad !== null
  }

  enter(file: Pick<JournalFile, 'name' | 'first'>): void {
    this.#before = this.#file.name === '' ? undefined : { name: this.#file.name, bytes: this.#offset }
    this.#file = file
    this.#lines = new Lines()
    this.#line = 0
    this.#offset = 0
  }

  take(chunk: Buffer): void {
    if (this.ended) return
    for (const line of this.#lines.push(chunk)) {
      const reason = this.#judge(line)
      if (reason !== undefined) this.#damage(reason)
      if (this.ended) return
    }
    if (this.#lines.rest.length > LINE_BYTES_MAX) {
      this.#damage(`the line is longer than ${LINE_BYTES_MAX} bytes`)
    }
  }

  /** @param active - A line without its end is being written there, or was torn by a crash: no damage. */
  leave(active: boolean): void {
    if (this.ended) return
    const open = this.#lines.rest.length
    if (active) this.#openBytes = open
    else if (open > 0) this.#damage('the line has no end')
    else if (this.#line === 0) this.#damage('a sealed segment is empty')
  }

  chain(files: number): Chain {
    const { seq, h } = this.#link
    const before = this.#base.seq
    const some = seq > before
    const bad = this.#bad ?? this.#lateness()
    return {
      ok: bad === null,
      records: seq - before,
      first_seq: some ? before + 1 : null,
      last_seq: some ? seq : null,
      last_h: some ? h : null,
      files,
      bytes: this.#bytes,
      open_bytes: this.#openBytes,
      first_bad: bad,
    }
  }

  /** Takes the line into the chain, or says why it does not belong there. */
  #judge(line: Buffer): string | undefined {
    if (this.#line === 0 && this.#before === undefined && this.#link === GENESIS) this.#beginLate(line)
    const { first } = this.#file
    const due = this.#link.seq + 1
    if (this.#line === 0 && first !== undefined && first !== due)
      return `the records ${due} to ${first - 1} are missing`
    const judged = judgeLine(line, this.#link)
    if ('bad' in judged) return judged.bad
    if (this.#line === 0 && this.#before !== undefined && !opens(judged, this.#before, this.#link)) {
      return `${this.#before.name} is not as it was when it was sealed`
    }
    if (ENDS.has(judged.type)) this.#ends.push(...endsIn(judged.d))
    this.#link = judged
    this.#line += 1
    this.#offset += line.length
    this.#bytes += line.length
    this.#record?.(line, judged)
    return undefined
  }

  /** What came before the first file may have been compacted: its first record says what it follows. */
  #beginLate(line: Buffer): void {
    const base = baseIn(line)
    if (base === undefined) return
    this.#link = base.link
    this.#base = base.link
    this.#before = { name: base.name, bytes: base.bytes }
  }

  /** The beginning is missing, and no record says that it was compacted. */
  #lateness(): Bad | null {
    const { seq, h } = this.#base
    if (seq === 0 || this.#ends.some((end) => end.last_seq === seq && end.last_h === h)) return null
    const reason = `the records 1 to ${seq} are missing, and no record says that they were compacted`
    return { seq: 1, file: this.#before?.name ?? '', line: 1, offset: 0, reason }
  }

  #damage(reason: string): void {
    const { name: file } = this.#file
    this.#bad = { seq: this.#link.seq + 1, file, line: this.#line + 1, offset: this.#offset, reason }
  }
}

/** A record behind which the journal may begin. */
interface End {
  readonly last_seq: number
  readonly last_h: string
}

const ENDS = new Set(['journal.compacted', 'journal.repaired'])

function endsIn({ segments }: JournalRecord['d']): readonly End[] {
  return Array.isArray(segments) ? segments : []
}

/** What the opening record of a segment says of the one before; undefined when it is the first one, or no such record. */
function baseIn(line: Buffer): { link: Link; name: string; bytes: number } | undefined {
  try {
    const { seq, type, d } = JSON.parse(line.toString())
    const { sealed: name, bytes, last_seq: last, last_h: h } = d
    if (type !== 'journal.segment_opened' || last !== seq - 1 || last < 1) return undefined
    if (typeof name !== 'string' || typeof bytes !== 'number' || typeof h !== 'string') return undefined
    return { link: { seq: last, b: last, h }, name, bytes }
  } catch {
    return undefined
  }
}

/** The first record of a segment vouches for the whole one before. */
function opens({ type, d }: JournalRecord, before: { name: string; bytes: number }, link: Link): boolean {
  return (
    type === 'journal.segment_opened' &&
    d['sealed'] === before.name &&
    d['bytes'] === before.bytes &&
    d['last_seq'] === link.seq &&
    d['last_h'] === link.h
  )
}
