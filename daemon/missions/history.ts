import { createHash } from 'node:crypto'
import type { Actor } from '../contracts/fact.ts'
import type { MissionId, ModuleId } from '../contracts/ids.ts'
import type { SavedChunk } from '../storage/chunk-files.ts'
import { Chunk } from './chunk.ts'
import type { Mission } from './mission.ts'
import type { Recorder, RecordPlace, Records } from './port.ts'
import { type MissionRecord, missionOf, recordOf } from './record.ts'
import type { Row } from './rows.ts'
import { type FrozenShelf, mayGo, type PruneRule, type Shelf } from './shelf.ts'
import { artifactsOf } from './view.ts'

/** The care for everything that missions have left: how it is saved, checked, and let go of. */
export class History {
  readonly #shelf: Shelf
  readonly #records: Records
  readonly #recorder: Recorder

  constructor(shelf: Shelf, records: Records, recorder: Recorder) {
    this.#shelf = shelf
    this.#records = records
    this.#recorder = recorder
  }

  /** All missions as they are now; what changes later is not in it. */
  freeze(): FrozenHistory {
    const frozen = this.#shelf.freeze()
    return {
      chunks: frozen.chunks,
      text: () => textOf(frozen),
      files: () => new Set(frozen.chunks.flatMap((chunk) => [...chunk.files()])),
    }
  }

  /** What `freeze` gave, read back: a function that takes it over, or undefined when it has another form. */
  prepare(section: unknown, saved: readonly SavedChunk[]): (() => void) | undefined {
    const { version, sets, hot, late } = (section ?? {}) as Partial<SavedSection>
    const chunks = saved.map(({ bytes, name }) => Chunk.read(bytes, name))
    const whole = chunks.filter((chunk) => chunk !== undefined)
    if (version !== SECTION_VERSION || whole.length < chunks.length) return undefined
    if (sets === undefined || hot === undefined || late === undefined) return undefined
    return () => this.#shelf.thaw({ chunks: whole, sets, hot, late })
  }

  settled(): Promise<void> {
    return this.#shelf.settled()
  }

  /**
   * Lets go of missions at rest that are too old, and of the oldest of too many. Each batch is one record of the
   * journal, which says what went.
   */
  async prune(
    retention: MissionRetention,
    actor: Actor,
    nowMs: number,
    signal: AbortSignal,
  ): Promise<Pruned> {
    await this.#shelf.settled()
    const artifacts = new Set<string>()
    const beforeMs = nowMs - retention.keepMs
    const isOld = (row: Row): boolean => row.updatedMs < beforeMs
    const aged = await this.#pruneThose(isOld, new Date(beforeMs).toISOString(), actor, artifacts, signal)
    let excess = this.#shelf.size - retention.keepMax
    const isTooMany = (): boolean => {
      excess -= 1
      return excess >= 0
    }
    const crowded = await this.#pruneThose(isTooMany, null, actor, artifacts, signal)
    if (artifacts.size > 0) await this.#keepReferred(artifacts, signal)
    return { missions: aged + crowded, artifacts: [...artifacts] }
  }

  /** Copies what is left in files that are mostly of missions gone by, so that the files can go. */
  async tidy(
    files: readonly { readonly file: number; readonly sizeBytes: number }[],
    signal: AbortSignal,
  ): Promise<{ readonly records: number; readonly bytes: number }> {
    const left = new Map<number, number>()
    await this.#each(signal, ({ place }) => {
      if (place !== undefined) left.set(place.file, (left.get(place.file) ?? 0) + place.length + 1)
    })
    const sparse = new Set(
      files.filter(({ file, sizeBytes }) => (left.get(file) ?? 0) < sizeBytes / 2).map(({ file }) => file),
    )
    const moving: { id: MissionId; place: RecordPlace }[] = []
    await this.#each(signal, ({ id, place }) => {
      if (place !== undefined && sparse.has(place.file)) moving.push({ id, place })
    })
    let bytes = 0
    for (let at = 0; at < moving.length; at += PAGE) {
      signal.throwIfAborted()
      const page = moving.slice(at, at + PAGE)
      const lines = await this.#records.read(page.map(({ place }) => place))
      for (const [index, { id, place }] of page.entries()) {
        const line = lines[index]
        if (line === undefined) continue
        this.#shelf.moved(id, place, this.#records.append(line.toString()))
        bytes += line.length
      }
    }
    return { records: moving.length, bytes }
  }

  /** Reads every record. @returns The ids of those whose bytes are not those that were written. */
  async check(signal: AbortSignal): Promise<{ readonly missions: number; readonly damaged: MissionId[] }> {
    const damaged: MissionId[] = []
    let missions = 0
    await this.#eachRead(
      signal,
      () => true,
      (id, bytes) => {
        missions += 1
        if (bytes === undefined) damaged.push(id)
      },
    )
    return { missions, damaged }
  }

  /** One hash over every mission in full, wherever it is kept: equal for equal histories. */
  async digest(signal: AbortSignal): Promise<string> {
    await this.#shelf.settled()
    const sum = createHash('sha256')
    for (let after: MissionId | undefined; ; ) {
      const rows = this.#shelf.rows(after, PAGE)
      if (rows.length === 0) return sum.digest('hex')
      const places = rows.flatMap(({ place }) => place ?? [])
      const lines = (await this.#records.read(places))[Symbol.iterator]()
      for (const row of rows) {
        const bytes = row.place === undefined ? undefined : lines.next().value
        const mission =
          bytes === undefined ? this.#shelf.get(row.id) : missionOf(JSON.parse(bytes.toString()))
        sum.update(`${row.id} ${mission === undefined ? 'lost' : textOfMission(mission)}\n`)
      }
      after = rows.at(-1)?.id
      await turn(signal)
    }
  }

  async #pruneThose(
    goes: (row: Row) => boolean,
    updatedBefore: string | null,
    actor: Actor,
    artifacts: Set<string>,
    signal: AbortSignal,
  ): Promise<number> {
    let count = 0
    for (let after: MissionId | null = null; ; ) {
      const page = this.#shelf.rows(after ?? undefined, PRUNE_PAGE)
      const last = page.at(-1)
      if (last === undefined) return count
      const going = page.filter((row) => mayGo(row) && goes(row))
      const newest = going.at(-1)
      if (newest !== undefined) {
        const places = going.flatMap(({ hasArtifacts, place }) => (hasArtifacts && place ? [place] : []))
        for (const sha256 of await this.#artifactsAt(places)) artifacts.add(sha256)
        const ids = going.map(({ id }) => id)
        const rule: PruneRule = {
          after,
          through: newest.id,
          updated_before: updatedBefore,
          seq: this.#shelf.seq,
        }
        const told = { count: ids.length, oldest: ids[0], newest: newest.id, ids_sha256: sumOf(ids) }
        await this.#recorder.append({ type: 'missions.pruned', actor, d: { ...rule, ...told } })
        count += ids.length
      }
      after = last.id
      await turn(signal)
    }
  }

  /** Takes out of the set what a mission that is left names as well. */
  async #keepReferred(artifacts: Set<string>, signal: AbortSignal): Promise<void> {
    await this.#eachRead(
      signal,
      ({ hasArtifacts }) => hasArtifacts,
      (_, bytes) => {
        if (bytes === undefined) return
        for (const sha256 of namesIn(missionOf(JSON.parse(bytes.toString()) as MissionRecord))) {
          artifacts.delete(sha256)
        }
      },
    )
    for (const mission of this.#shelf.all()) for (const sha256 of namesIn(mission)) artifacts.delete(sha256)
  }

  async #artifactsAt(places: readonly RecordPlace[]): Promise<string[]> {
    const names: string[] = []
    for (let at = 0; at < places.length; at += PAGE) {
      for (const bytes of await this.#records.read(places.slice(at, at + PAGE))) {
        if (bytes !== undefined) names.push(...namesIn(missionOf(JSON.parse(bytes.toString()))))
      }
    }
    return names
  }

  async #eachRead(
    signal: AbortSignal,
    wanted: (row: Row) => boolean,
    see: (id: MissionId, bytes: Uint8Array | undefined) => void,
  ): Promise<void> {
    for (let after: MissionId | undefined; ; ) {
      const page = this.#shelf.rows(after, PAGE)
      if (page.length === 0) return
      const rows = page.filter((row) => row.place !== undefined && wanted(row))
      const lines = await this.#records.read(rows.flatMap(({ place }) => place ?? []))
      for (const [index, { id, place }] of rows.entries()) {
        // It may have been pruned, or have moved, while it was read.
        const now = lines[index] === undefined ? this.#shelf.place(id) : place
        if (now?.offset === place?.offset && now?.file === place?.file) see(id, lines[index])
      }
      after = page.at(-1)?.id
      await turn(signal)
    }
  }

  async #each(signal: AbortSignal, see: (row: Row) => void): Promise<void> {
    for (let after: MissionId | undefined; ; ) {
      const page = this.#shelf.rows(after, PRUNE_PAGE)
      if (page.length === 0) return
      for (const row of page) see(row)
      after = page.at(-1)?.id
      await turn(signal)
    }
  }
}

export interface FrozenHistory {
  readonly chunks: readonly Chunk[]
  /** Its part of the snapshot, in pieces between which others have their turn. */
  text(): AsyncIterable<string>
  /** The files that hold a record of some mission. */
  files(): ReadonlySet<number>
}

export interface MissionRetention {
  readonly keepMs: number
  readonly keepMax: number
}

export interface Pruned {
  readonly missions: number
  /** Hashes of files that no mission names any more. */
  readonly artifacts: readonly string[]
}

interface SavedSection extends Omit<FrozenShelf, 'chunks'> {
  readonly version: number
  readonly sets: readonly (readonly ModuleId[])[]
}

/** Raised when the shape of what is saved changes. */
const SECTION_VERSION = 1
/** Half a millisecond of JSON, or of reading. */
const PAGE = 64
/** One record of the journal, and a few milliseconds for all that fold it. */
const PRUNE_PAGE = 8_192

async function* textOf({ sets, late, hot }: FrozenShelf): AsyncGenerator<string> {
  const head = JSON.stringify({ version: SECTION_VERSION, sets, late })
  yield `${head.slice(0, -1)},"hot":[`
  for (let at = 0; at < hot.length; at += PAGE) {
    const texts = hot.slice(at, at + PAGE).map((mission) => JSON.stringify(mission))
    yield `${at === 0 ? '' : ','}${texts.join(',')}`
    await turn()
  }
  yield ']}'
}

/** Equal missions have equal texts: the record puts their fields into one order. */
function textOfMission(mission: Mission): string {
  return JSON.stringify(recordOf(mission, 0))
}

function namesIn(mission: Mission): string[] {
  return [...artifactsOf(mission), ...mission.steps.flatMap(({ kept }) => kept ?? [])].map(
    ({ sha256 }) => sha256,
  )
}

function sumOf(ids: readonly MissionId[]): string {
  return createHash('sha256').update(ids.join('\n')).digest('hex')
}

async function turn(signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted()
  await new Promise((resolve) => setImmediate(resolve))
}
