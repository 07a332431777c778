import { strict as assert } from 'node:assert'
import type { MissionId } from '../contracts/ids.ts'
import type { ChunkName } from '../storage/snapshot.ts'

/** 1.1 MiB of columns: copied in a fraction of a millisecond, and written whole when one row of it has changed. */
export const CHUNK_ROWS = 16_384

/** The columns of a run of rows. `name` is that of the file that holds it as it is. */
export class Chunk {
  count = 0
  /** A snapshot is being written from it: who wants to change it takes a copy. */
  frozen = false
  name: ChunkName | undefined
  /** Ids as numbers of 9, 9 and 8 digits to the base 36: they sort as the text does. */
  readonly #id: readonly [Float64Array, Float64Array, Float64Array]
  readonly updatedMs: Float64Array
  readonly seq: Float64Array
  readonly file: Uint32Array
  readonly offset: Uint32Array
  readonly length: Uint32Array
  readonly crc: Uint32Array
  readonly modules: Uint32Array
  readonly keyLow: Uint32Array
  readonly keyHigh: Uint32Array
  readonly status: Uint8Array
  readonly kind: Uint8Array
  readonly #columns: readonly Column[]
  /** Places of rows with a key, open addressing; built when it is first asked, dropped when rows move. */
  #keys: Uint16Array | undefined
  #keyCount = 0

  constructor() {
    const buffer = new ArrayBuffer(CHUNK_ROWS * ROW_BYTES)
    let at = 0
    const place = (bytes: number): number => {
      const start = at
      at += bytes * CHUNK_ROWS
      return start
    }
    const float = (): Float64Array => new Float64Array(buffer, place(8), CHUNK_ROWS)
    const word = (): Uint32Array => new Uint32Array(buffer, place(4), CHUNK_ROWS)
    const byte = (): Uint8Array => new Uint8Array(buffer, place(1), CHUNK_ROWS)
    this.#id = [float(), float(), float()]
    this.updatedMs = float()
    this.seq = float()
    this.file = word()
    this.offset = word()
    this.length = word()
    this.crc = word()
    this.modules = word()
    this.keyLow = word()
    this.keyHigh = word()
    this.status = byte()
    this.kind = byte()
    this.#columns = [
      ...this.#id,
      ...[this.updatedMs, this.seq, this.file, this.offset, this.length, this.crc, this.modules],
      ...[this.keyLow, this.keyHigh, this.status, this.kind],
    ]
  }

  /** What `bytes` gave; undefined when it has another form. */
  static read(bytes: Uint8Array, name?: ChunkName): Chunk | undefined {
    const count = bytes.length / ROW_BYTES
    if (!Number.isInteger(count) || count < 1 || count > CHUNK_ROWS) return undefined
    const chunk = new Chunk()
    chunk.count = count
    chunk.name = name
    chunk.frozen = name !== undefined
    let at = 0
    for (const column of chunk.#columns) {
      const size = count * column.BYTES_PER_ELEMENT
      bytesOf(column, count).set(bytes.subarray(at, at + size))
      at += size
    }
    return chunk
  }

  /** The rows that are there, column after column; little endian, as every machine that this runs on. */
  bytes(): Uint8Array[] {
    return this.#columns.map((column) => bytesOf(column, this.count))
  }

  copy(): Chunk {
    const copy = new Chunk()
    copy.count = this.count
    for (const [place, column] of this.#columns.entries()) copy.#columns[place]?.set(column as never)
    // Nobody looks for a key in what is only being written.
    copy.#keys = this.#keys
    copy.#keyCount = this.#keyCount
    this.#keys = undefined
    return copy
  }

  idAt(at: number): MissionId {
    const [a, b, c] = this.#id
    return `m-${digits(a[at] ?? 0, 9)}${digits(b[at] ?? 0, 9)}${digits(c[at] ?? 0, 8)}`
  }

  /** The files that records of these rows stand in. */
  files(): Set<number> {
    const files = new Set<number>()
    for (let at = 0; at < this.count; at += 1) if (this.length[at] !== 0) files.add(this.file[at] ?? 0)
    return files
  }

  /** Where the row of this id is; -1 when there is none. */
  find(id: IdNumbers): number {
    const at = this.lowerBound(id)
    return at < this.count && this.compare(at, id) === 0 ? at : -1
  }

  /** The first row whose id is not below this one. */
  lowerBound(wanted: IdNumbers): number {
    let low = 0
    let high = this.count
    if (high > 0 && this.compare(high - 1, wanted) < 0) return high
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.compare(middle, wanted) < 0) low = middle + 1
      else high = middle
    }
    return low
  }

  /** Makes room for a new id in its place, and returns where. */
  open(id: IdNumbers): number {
    assert(this.count < CHUNK_ROWS && !this.frozen, 'a chunk that takes no row')
    const at = this.lowerBound(id)
    if (at < this.count) {
      for (const column of this.#columns) column.copyWithin(at + 1, at, this.count)
      this.#keys = undefined
    }
    for (const column of this.#columns) column[at] = 0
    this.#id[0][at] = id[0]
    this.#id[1][at] = id[1]
    this.#id[2][at] = id[2]
    this.count += 1
    return at
  }

  /** Keeps the first half of the rows, and returns the others. */
  split(): Chunk {
    const next = new Chunk()
    const half = this.count >> 1
    for (const [place, column] of this.#columns.entries()) {
      next.#columns[place]?.set(column.subarray(half, this.count) as never)
    }
    next.count = this.count - half
    this.count = half
    this.#keys = undefined
    return next
  }

  /** Removes the rows at these places. */
  drop(going: ReadonlySet<number>): void {
    let to = 0
    for (let at = 0; at < this.count; at += 1) {
      if (going.has(at)) continue
      if (to !== at) for (const column of this.#columns) column[to] = column[at] ?? 0
      to += 1
    }
    this.count = to
    this.#keys = undefined
  }

  setKey(at: number, low: number, high: number): void {
    const isNew = this.keyLow[at] !== low || this.keyHigh[at] !== high
    this.keyLow[at] = low
    this.keyHigh[at] = high
    if (!isNew || this.#keys === undefined) return
    this.#insertKey(this.#keys, at)
  }

  /** Rows whose keys have this hash. */
  byKey(low: number, high: number): number[] {
    if (this.#keys === undefined) this.indexKeys()
    const found: number[] = []
    if (this.#keyCount === 0) return found
    for (let slot = low & SLOT_MASK; ; slot = (slot + 1) & SLOT_MASK) {
      const entry: number = this.#keys?.[slot] ?? 0
      if (entry === 0) return found
      const at = entry - 1
      if (this.keyLow[at] === low && this.keyHigh[at] === high && !found.includes(at)) found.push(at)
    }
  }

  /** So that the first question need not wait for it. */
  indexKeys(): void {
    const keys = new Uint16Array(SLOTS)
    this.#keyCount = 0
    for (let at = 0; at < this.count; at += 1) this.#insertKey(keys, at)
    this.#keys = keys
  }

  #insertKey(keys: Uint16Array, at: number): void {
    const low = this.keyLow[at] ?? 0
    if (low === 0 && this.keyHigh[at] === 0) return
    let slot = low & SLOT_MASK
    while (keys[slot] !== 0) slot = (slot + 1) & SLOT_MASK
    keys[slot] = at + 1
    this.#keyCount += 1
  }

  /** Below zero when the id at this place is below the other one; not a number when that is no id. */
  compare(at: number, [a, b, c]: IdNumbers): number {
    return (this.#id[0][at] ?? 0) - a || (this.#id[1][at] ?? 0) - b || (this.#id[2][at] ?? 0) - c
  }
}

type Column = Float64Array | Uint32Array | Uint8Array
export type IdNumbers = readonly [number, number, number]

const ROW_BYTES = 5 * 8 + 7 * 4 + 2
/** Twice the rows: half of the slots are free even when every mission has a key. */
const SLOTS = 2 * CHUNK_ROWS
const SLOT_MASK = SLOTS - 1

function bytesOf(column: Column, count: number): Uint8Array {
  return new Uint8Array(column.buffer, column.byteOffset, count * column.BYTES_PER_ELEMENT)
}

/** For comparisons; what is no id has parts that are not numbers, and is found nowhere. */
export function idNumbers(id: MissionId): IdNumbers {
  return [
    Number.parseInt(id.slice(2, 11), 36),
    Number.parseInt(id.slice(11, 20), 36),
    Number.parseInt(id.slice(20), 36),
  ]
}

function digits(value: number, length: number): string {
  return value.toString(36).padStart(length, '0')
}
