import { CATEGORIES, type Category, DECISIONS, type Decision, type MissionId } from '../contracts/ids.ts'
import { MISSION_STATUSES, type MissionFilter, type MissionStatus } from '../contracts/mission.ts'
import { CHUNK_ROWS, Chunk, type IdNumbers, idNumbers } from './chunk.ts'
import type { RecordPlace } from './port.ts'

/** What is known of a mission without reading its record. */
export interface Row {
  readonly id: MissionId
  readonly status: MissionStatus
  readonly category: Category
  readonly decision: Decision
  readonly updatedMs: number
  /** Its last fact. */
  readonly seq: number
  /** Number of the set of modules that its plan names. */
  readonly modules: number
  /** Of the idempotency key within its principal; zeros when there is none. */
  readonly key: readonly [number, number]
  /** Its record names files by their contents. */
  readonly hasArtifacts: boolean
  /** Where its record stands; undefined while it is kept in memory. */
  readonly place: RecordPlace | undefined
}

/**
 * One row for each mission, in the order of their ids, in columns of numbers: 70 bytes where an object has thousands.
 *
 * A number names a row until the next one is added or removed.
 */
export class Rows {
  /** Each ends before the next begins; none is empty. */
  #chunks: Chunk[] = []
  readonly #counts = new Uint32Array(MISSION_STATUSES.length * KINDS)

  get size(): number {
    return this.#chunks.reduce((sum, { count }) => sum + count, 0)
  }

  /** How many there are of a status, of a category, of a decision, or of all that is given together. */
  count({ status, category, decision }: Pick<MissionFilter, 'status' | 'category' | 'decision'>): number {
    let sum = 0
    for (const [code, name] of MISSION_STATUSES.entries()) {
      if (status !== undefined && status !== name) continue
      for (let kind = 0; kind < KINDS; kind += 1) {
        if (category !== undefined && CATEGORIES[kind % 4] !== category) continue
        if (decision !== undefined && DECISIONS[kind >> 2] !== decision) continue
        sum += this.#counts[code * KINDS + kind] ?? 0
      }
    }
    return sum
  }

  get newest(): MissionId | undefined {
    const last = this.#chunks.at(-1)
    return last?.idAt(last.count - 1)
  }

  get(id: MissionId): Row | undefined {
    const numbers = idNumbers(id)
    const chunk = this.#chunks[this.#chunkOf(numbers)]
    const at = chunk?.find(numbers) ?? -1
    const row = chunk === undefined || at < 0 ? undefined : rowAt(chunk, at)
    return row?.id === id ? row : undefined
  }

  /** Adds the row, or replaces the one of this id. */
  put(row: Row): void {
    const id = idNumbers(row.id)
    const index = this.#chunkOf(id)
    let chunk = this.#chunks[index]
    let at = chunk === undefined ? -1 : chunk.find(id)
    if (chunk !== undefined && at >= 0) {
      chunk = this.#own(index)
      this.#tally(chunk, at, -1)
    } else [chunk, at] = this.#room(id, index)
    write(chunk, at, row)
    this.#tally(chunk, at, 1)
  }

  /** Newest first, from below `after`: the ids that fit, up to `limit` of them. */
  list(fits: RowFilter, after: MissionId | undefined, limit: number): MissionId[] {
    const found: MissionId[] = []
    const from = after === undefined ? undefined : idNumbers(after)
    let index = from === undefined ? this.#chunks.length - 1 : this.#chunkOf(from)
    for (; index >= 0 && found.length < limit; index -= 1) {
      const chunk = this.#chunks[index]
      if (chunk === undefined) continue
      scan(chunk, from === undefined ? chunk.count : chunk.lowerBound(from), fits, limit, found)
    }
    return found
  }

  /** Ids of missions whose keys have this hash; nearly always one or none. */
  byKey(low: number, high: number): MissionId[] {
    return this.#chunks.flatMap((chunk) => chunk.byKey(low, high).map((at) => chunk.idAt(at)))
  }

  /** Oldest first, from above `after`. */
  page(after: MissionId | undefined, limit: number): Row[] {
    const found: Row[] = []
    const above = after === undefined ? undefined : idNumbers(after)
    for (let index = this.#from(above); found.length < limit; index += 1) {
      const chunk = this.#chunks[index]
      if (chunk === undefined) break
      let at = firstAbove(chunk, above)
      for (; at < chunk.count && found.length < limit; at += 1) found.push(rowAt(chunk, at))
    }
    return found
  }

  /** Removes the rows from above `after` up to `through` for which `goes` says so. Returns their ids, oldest first. */
  remove(after: MissionId | undefined, through: MissionId, goes: (row: Row) => boolean): MissionId[] {
    const gone: MissionId[] = []
    const above = after === undefined ? undefined : idNumbers(after)
    const last = idNumbers(through)
    for (let index = this.#from(above); ; index += 1) {
      const chunk = this.#chunks[index]
      if (chunk === undefined || chunk.compare(0, last) > 0) break
      const going = new Set<number>()
      for (let at = firstAbove(chunk, above); at < chunk.count && chunk.compare(at, last) <= 0; at += 1) {
        const row = rowAt(chunk, at)
        if (!goes(row)) continue
        going.add(at)
        gone.push(row.id)
        this.#tally(chunk, at, -1)
      }
      if (going.size > 0) this.#own(index).drop(going)
    }
    this.#chunks = this.#chunks.filter(({ count }) => count > 0)
    return gone
  }

  /** The chunks as they are now; a later change of one of them is made to a copy. */
  freeze(): readonly Chunk[] {
    for (const chunk of this.#chunks) chunk.frozen = true
    return [...this.#chunks]
  }

  /** Replaces everything by what was frozen. */
  thaw(chunks: readonly Chunk[]): void {
    this.#chunks = chunks.filter(({ count }) => count > 0)
    this.#counts.fill(0)
    for (const chunk of this.#chunks) {
      for (let at = 0; at < chunk.count; at += 1) this.#tally(chunk, at, 1)
      chunk.indexKeys()
    }
  }

  #tally(chunk: Chunk, at: number, by: 1 | -1): void {
    const cell = (chunk.status[at] ?? 0) * KINDS + ((chunk.kind[at] ?? 0) & KIND_MASK)
    this.#counts[cell] = (this.#counts[cell] ?? 0) + by
  }

  /** The chunk that may be written to. */
  #own(index: number): Chunk {
    const chunk = this.#chunks[index]
    if (chunk === undefined) throw new RangeError(`there is no chunk ${index}`)
    if (!chunk.frozen) return chunk
    const copy = chunk.copy()
    this.#chunks[index] = copy
    return copy
  }

  /** The last chunk that begins at or before this id; -1 before the first. */
  #chunkOf(id: IdNumbers): number {
    let low = 0
    let high = this.#chunks.length
    const last = this.#chunks[high - 1]
    if (last !== undefined && last.compare(0, id) <= 0) return high - 1
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#chunks[middle]?.compare(0, id) ?? 0) <= 0) low = middle + 1
      else high = middle
    }
    return low - 1
  }

  #from(after: IdNumbers | undefined): number {
    return after === undefined ? 0 : Math.max(0, this.#chunkOf(after))
  }

  /** A free place for a new id; nearly always at the very end. */
  #room(id: IdNumbers, index: number): [Chunk, number] {
    if (this.#chunks.length === 0) this.#chunks.push(new Chunk())
    const there = Math.max(0, index)
    const full = this.#chunks[there]
    if (full !== undefined && full.count === CHUNK_ROWS) {
      const isLast = there === this.#chunks.length - 1 && full.compare(full.count - 1, id) < 0
      const next = isLast ? new Chunk() : this.#own(there).split()
      this.#chunks.splice(there + 1, 0, next)
      if (isLast || next.compare(0, id) <= 0) return [next, next.open(id)]
    }
    const chunk = this.#own(there)
    return [chunk, chunk.open(id)]
  }
}

/** What a scan compares: numbers only. */
export interface RowFilter {
  readonly status: number
  readonly category: number
  readonly decision: number
  /** By number of the set: whether it has the module. */
  readonly modules: Uint8Array | undefined
}

/** -1 fits all. */
export function rowFilter(filter: MissionFilter, modules: Uint8Array | undefined): RowFilter {
  const { status, category, decision } = filter
  return {
    status: status === undefined ? -1 : MISSION_STATUSES.indexOf(status),
    category: category === undefined ? -1 : CATEGORIES.indexOf(category),
    decision: decision === undefined ? -1 : DECISIONS.indexOf(decision),
    modules,
  }
}

const KINDS = 12
const KIND_MASK = 0x0f
const ARTIFACTS_BIT = 0x80

function firstAbove(chunk: Chunk, above: IdNumbers | undefined): number {
  if (above === undefined) return 0
  const at = chunk.lowerBound(above)
  return at < chunk.count && chunk.compare(at, above) === 0 ? at + 1 : at
}

function scan(chunk: Chunk, from: number, fits: RowFilter, limit: number, found: MissionId[]): void {
  const { status, kind, modules } = chunk
  const { status: wanted, category, decision, modules: sets } = fits
  for (let at = from - 1; at >= 0 && found.length < limit; at -= 1) {
    if (wanted >= 0 && status[at] !== wanted) continue
    const kinds = (kind[at] ?? 0) & KIND_MASK
    if (category >= 0 && (kinds & 3) !== category) continue
    if (decision >= 0 && kinds >> 2 !== decision) continue
    if (sets !== undefined && sets[modules[at] ?? 0] !== 1) continue
    found.push(chunk.idAt(at))
  }
}

function rowAt(chunk: Chunk, at: number): Row {
  const kind = chunk.kind[at] ?? 0
  const length = chunk.length[at] ?? 0
  return {
    id: chunk.idAt(at),
    status: MISSION_STATUSES[chunk.status[at] ?? 0] ?? 'completed',
    category: CATEGORIES[kind & 3] ?? 'coin',
    decision: DECISIONS[(kind & KIND_MASK) >> 2] ?? 'FAILING',
    updatedMs: chunk.updatedMs[at] ?? 0,
    seq: chunk.seq[at] ?? 0,
    modules: chunk.modules[at] ?? 0,
    key: [chunk.keyLow[at] ?? 0, chunk.keyHigh[at] ?? 0],
    hasArtifacts: (kind & ARTIFACTS_BIT) !== 0,
    place:
      length === 0
        ? undefined
        : { file: chunk.file[at] ?? 0, offset: chunk.offset[at] ?? 0, length, crc: chunk.crc[at] ?? 0 },
  }
}

function write(chunk: Chunk, at: number, row: Row): void {
  const { place, key } = row
  const kinds = CATEGORIES.indexOf(row.category) + 4 * DECISIONS.indexOf(row.decision)
  chunk.status[at] = MISSION_STATUSES.indexOf(row.status)
  chunk.kind[at] = kinds | (row.hasArtifacts ? ARTIFACTS_BIT : 0)
  chunk.updatedMs[at] = row.updatedMs
  chunk.seq[at] = row.seq
  chunk.modules[at] = row.modules
  chunk.file[at] = place?.file ?? 0
  chunk.offset[at] = place?.offset ?? 0
  chunk.length[at] = place?.length ?? 0
  chunk.crc[at] = place?.crc ?? 0
  chunk.setKey(at, key[0], key[1])
}
