import { hash } from 'node:crypto'
import type { Fact } from '../contracts/fact.ts'
import { NexusError } from '../contracts/failure.ts'
import type { MissionId, ModuleId } from '../contracts/ids.ts'
import type { MissionFilter, MissionStatus } from '../contracts/mission.ts'
import type { Chunk } from './chunk.ts'
import { fold } from './fold.ts'
import type { Mission } from './mission.ts'
import { MISSION_TABLE } from './mission-table.ts'
import type { RecordPlace, Records } from './port.ts'
import { type MissionRecord, missionOf, recordOf } from './record.ts'
import { type Row, Rows, rowFilter } from './rows.ts'
import { artifactsOf } from './view.ts'

/**
 * All missions, as the facts tell them. Those that wait or run are objects in memory, and admission bounds their
 * number; of those at rest there is a row of numbers, and their record is read from the disk.
 */
export class Shelf {
  readonly #records: Records
  readonly #changed: (mission: Mission) => void
  readonly #rows = new Rows()
  readonly #hot = new Map<MissionId, Mission>()
  /** Came to rest just now: who waited for that asks for it next. */
  readonly #recent = new Map<MissionId, Mission>()
  /** Sets of modules by number, and the other way round. */
  readonly #sets: (readonly ModuleId[])[] = []
  readonly #setNumbers = new Map<string, number>()
  /** Facts about missions at rest whose records are being read. */
  readonly #late = new Map<MissionId, Late>()
  #seq = 0

  /** @param changed - Told of a mission whose facts had to wait for its record. */
  constructor(records: Records, changed: (mission: Mission) => void = () => {}) {
    this.#records = records
    this.#changed = changed
  }

  /** One that waits or runs, or did a moment ago. */
  get(id: MissionId): Mission | undefined {
    return this.#hot.get(id) ?? this.#recent.get(id)
  }

  /** In full, wherever it is kept. @throws NexusError `MISSION_DAMAGED`. */
  async find(id: MissionId): Promise<Mission | undefined> {
    await this.#late.get(id)?.settled
    return this.get(id) ?? this.#read(id)
  }

  count(status: MissionStatus): number {
    return this.#rows.count({ status })
  }

  /** The greatest id there is. */
  get newest(): MissionId | undefined {
    return this.#rows.newest
  }

  /** Those that wait or run. */
  all(): Iterable<Mission> {
    return this.#hot.values()
  }

  /** The mission that was created under this key by this principal; undefined at once when there can be none. */
  byIdempotencyKey(principal: string, key: string): Promise<Mission | undefined> | undefined {
    const ids = this.#rows.byKey(...keyHash(principal, key))
    return ids.length === 0 ? undefined : this.#ofKey(ids, principal, key)
  }

  /** Takes in one fact, and returns the mission it changed; undefined when it changed none, or will in a moment. */
  fold(fact: Fact): Mission | undefined {
    this.#seq = fact.seq
    if (fact.type === 'missions.pruned') this.#prune(fact)
    if (fact.mid === undefined) return undefined
    const late = this.#late.get(fact.mid)
    if (late !== undefined) {
      late.facts.push(fact)
      return undefined
    }
    const before = this.get(fact.mid)
    const row = before === undefined ? this.#rows.get(fact.mid) : undefined
    if (row !== undefined) {
      if (!isFinal(row.status)) this.#defer(fact.mid, [fact])
      return undefined
    }
    const mission = fold(before, fact)
    if (mission === undefined || mission === before) return undefined
    this.#put(mission, fact.seq)
    return mission
  }

  /** Newest first; `after` is the last id of the page before. */
  async list(
    filter: MissionFilter,
  ): Promise<{ readonly missions: readonly Mission[]; readonly next: MissionId | null }> {
    const limit = filter.limit ?? LIMIT
    const { module } = filter
    const sets =
      module === undefined ? undefined : Uint8Array.from(this.#sets, (set) => (set.includes(module) ? 1 : 0))
    const ids = this.#rows.list(rowFilter(filter, sets), filter.after, limit + 1)
    const page = ids.slice(0, limit)
    return { missions: await this.#readAll(page), next: ids.length > limit ? (page.at(-1) ?? null) : null }
  }

  /** Resolves when every fact that was folded is in the mission it is about. */
  async settled(): Promise<void> {
    while (this.#late.size > 0) await Promise.all([...this.#late.values()].map(({ settled }) => settled))
  }

  /** Everything that `fold` has built. The rows come as chunks; the rest is plain data that never changes. */
  freeze(): FrozenShelf {
    return {
      chunks: this.#rows.freeze(),
      sets: [...this.#sets],
      hot: [...this.#hot.values()],
      late: [...this.#late].map(([id, { facts }]) => [id, [...facts]]),
    }
  }

  /** What `freeze` gave, before any fact is folded. */
  thaw({ chunks, sets, hot, late }: FrozenShelf): void {
    this.#rows.thaw(chunks)
    for (const set of sets) this.#numberOf(set)
    for (const mission of hot) this.#hot.set(mission.id, mission)
    for (const [id, facts] of late) this.#defer(id, [...facts])
  }

  /** Rows oldest first, from above `after`: for those who look after what is kept. */
  rows(after: MissionId | undefined, limit: number): readonly Row[] {
    return this.#rows.page(after, limit)
  }

  get size(): number {
    return this.#rows.size
  }

  /** Where its record stands now. */
  place(id: MissionId): RecordPlace | undefined {
    return this.#rows.get(id)?.place
  }

  /** The last fact that was folded. */
  get seq(): number {
    return this.#seq
  }

  /** The record of a mission at rest was copied to another place. */
  moved(id: MissionId, from: RecordPlace, to: RecordPlace): void {
    const row = this.#rows.get(id)
    const isStill = row?.place?.file === from.file && row.place.offset === from.offset
    if (row !== undefined && isStill) this.#rows.put({ ...row, place: to })
  }

  #put(mission: Mission, seq: number): void {
    const isAtRest = AT_REST.has(mission.status)
    const before = this.#hot.get(mission.id)
    if (before?.status === mission.status && before.decision === mission.decision) {
      // A step, or its end: nothing that the row knows.
      this.#hot.set(mission.id, mission)
      return
    }
    const { idempotency } = mission.order
    const place = isAtRest ? this.#records.append(JSON.stringify(recordOf(mission, seq))) : undefined
    this.#rows.put({
      id: mission.id,
      status: mission.status,
      category: mission.order.category,
      decision: mission.decision,
      updatedMs: Date.parse(mission.updatedAt),
      seq,
      modules: this.#numberOf(mission.modules),
      key: idempotency === undefined ? NO_KEY : keyHash(idempotency.principal, idempotency.key),
      hasArtifacts: isAtRest && (artifactsOf(mission).length > 0 || mission.steps.some(({ kept }) => kept)),
      place,
    })
    if (!isAtRest) {
      this.#recent.delete(mission.id)
      this.#hot.set(mission.id, mission)
      return
    }
    this.#hot.delete(mission.id)
    this.#recent.set(mission.id, mission)
    if (this.#recent.size <= RECENT_MAX) return
    for (const oldest of this.#recent.keys()) {
      this.#recent.delete(oldest)
      return
    }
  }

  /** Folds once the record is there. Until then `find` waits, and further facts of this mission stand in line. */
  #defer(id: MissionId, facts: Fact[]): void {
    const settle = async (): Promise<void> => {
      try {
        let mission = await this.#read(id)
        // From here on nothing is awaited, so no fact comes in between.
        for (const fact of facts) {
          if (fact.type === 'missions.pruned') this.#prune(fact, id)
          if (this.#rows.get(id) === undefined) return
          const after = fold(mission, fact)
          if (after === undefined || after === mission) continue
          this.#put(after, fact.seq)
          this.#changed(after)
          mission = after
        }
      } finally {
        this.#late.delete(id)
      }
    }
    // Who asks for the mission next meets the same damage, and is told.
    const settled = settle().catch((error: unknown) => this.#records.trouble(error))
    this.#late.set(id, { facts, settled })
  }

  /** The rule stands in the fact, so a replay lets go of the same ones. */
  #prune(fact: Fact, only?: MissionId): void {
    const { after, through, updated_before, seq } = fact.d as unknown as PruneRule
    const beforeMs = updated_before === null ? Number.POSITIVE_INFINITY : Date.parse(updated_before)
    const goes = (row: Row): boolean => {
      const late = this.#late.get(row.id)
      if (only === undefined && late !== undefined) {
        late.facts.push(fact)
        return false
      }
      if (only !== undefined && row.id !== only) return false
      return mayGo(row) && row.updatedMs < beforeMs && row.seq <= seq
    }
    for (const id of this.#rows.remove(after ?? undefined, through, goes)) this.#recent.delete(id)
  }

  async #ofKey(ids: readonly MissionId[], principal: string, key: string): Promise<Mission | undefined> {
    for (const id of ids) {
      const mission = await this.find(id)
      const { idempotency } = mission?.order ?? {}
      if (idempotency?.principal === principal && idempotency.key === key) return mission
    }
    return undefined
  }

  async #read(id: MissionId): Promise<Mission | undefined> {
    const place = this.#rows.get(id)?.place
    if (place === undefined) return this.get(id)
    const [bytes] = await this.#records.read([place])
    if (bytes === undefined) throw damaged(id, place)
    return parse(bytes)
  }

  /** In this order; one whose record is damaged is left out, and the trouble told. */
  async #readAll(ids: readonly MissionId[]): Promise<readonly Mission[]> {
    const known = ids.map((id) => ({ id, mission: this.get(id), place: this.#rows.get(id)?.place }))
    const wanted = known.flatMap(({ mission, place }) => (mission || !place ? [] : [place]))
    const read = new Map(
      (await this.#records.read(wanted)).map((bytes, index) => [wanted[index], bytes] as const),
    )
    return known.flatMap(({ id, mission, place }) => {
      if (mission !== undefined || place === undefined) return mission ?? []
      const bytes = read.get(place)
      if (bytes === undefined) this.#records.trouble(damaged(id, place))
      return bytes === undefined ? [] : parse(bytes)
    })
  }

  #numberOf(modules: readonly ModuleId[]): number {
    const name = modules.join(' ')
    const known = this.#setNumbers.get(name)
    if (known !== undefined) return known
    this.#sets.push(modules)
    this.#setNumbers.set(name, this.#sets.length - 1)
    return this.#sets.length - 1
  }
}

export interface FrozenShelf {
  readonly chunks: readonly Chunk[]
  readonly sets: readonly (readonly ModuleId[])[]
  readonly hot: readonly Mission[]
  readonly late: readonly (readonly [MissionId, readonly Fact[]])[]
}

/**
 * The body of `missions.pruned`: which rows go, and what an auditor asks about them. A suggestion that was overridden after
 * the decision and before its record stays, here and in every replay; the count is that of the decision.
 */
export interface PruneRule {
  /** From above this id. */
  readonly after: MissionId | null
  readonly through: MissionId
  /** Null: whatever its age. */
  readonly updated_before: string | null
  /** Whose last fact is none later. */
  readonly seq: number
}

interface Late {
  readonly facts: Fact[]
  readonly settled: Promise<void>
}

/** Whether a mission may be let go of: nothing waits for it, and nothing runs. */
export function mayGo({ status }: Pick<Row, 'status'>): boolean {
  return AT_REST.has(status)
}

/** A page that a terminal shows. */
const LIMIT = 50
/** More than end within one batch of the journal's. */
const RECENT_MAX = 512
const AT_REST: ReadonlySet<MissionStatus> = new Set([
  'completed',
  'failed',
  'cancelled',
  'rejected',
  'expired',
  'suggestion',
])
const NO_KEY = [0, 0] as const

function isFinal(status: MissionStatus): boolean {
  return Object.keys(MISSION_TABLE[status]).length === 0
}

function keyHash(principal: string, key: string): readonly [number, number] {
  const bytes = Buffer.from(hash('sha256', JSON.stringify([principal, key]), 'buffer'))
  return [bytes.readUInt32LE(0), bytes.readUInt32LE(4) || 1]
}

function parse(bytes: Uint8Array): Mission {
  return missionOf(JSON.parse(bytes.toString()) as MissionRecord)
}

function damaged(id: MissionId, { file, offset }: RecordPlace): NexusError {
  return new NexusError('MISSION_DAMAGED', { mission: id, file, offset })
}
