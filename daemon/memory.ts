import { createHash } from 'node:crypto'
import { join } from 'node:path'
import type { Fact, FactDraft } from './contracts/fact.ts'
import type { NexusError } from './contracts/failure.ts'
import type { Clock } from './kit/clock.ts'
import { jsonPieces } from './kit/json-pieces.ts'
import { recordUpkeep, type Upkeep } from './record-upkeep.ts'
import { type HistoryRoom, type Projection, restore } from './restore.ts'
import { ArtifactStore } from './storage/artifacts.ts'
import { writeAtomically } from './storage/atomic-file.ts'
import { ChunkFiles } from './storage/chunk-files.ts'
import type { Retention } from './storage/compaction.ts'
import type { DataPaths } from './storage/data-folder.ts'
import { type Disk, failureOf } from './storage/disk.ts'
import { type BatchMeasure, Journal, type Recovery } from './storage/journal.ts'
import type { RecordLog } from './storage/record-log.ts'
import type { Position } from './storage/recovery.ts'
import { type Anchor, anchorsIn } from './storage/segments.ts'
import { type Snapshot, saveSnapshot } from './storage/snapshot.ts'

export interface MemoryParts {
  readonly disk: Disk
  readonly clock: Clock
  readonly paths: DataPaths
  readonly segmentBytesMax: number
  readonly recordFileBytesMax?: number
  readonly afresh?: boolean
  /** A snapshot is taken after so many facts, or so many bytes of them, whichever comes first. */
  readonly snapshotEvery: number
  readonly snapshotBytes: number
  readonly retention: Retention
  /** By the name of their section in the snapshot, in the order in which they are told of a fact. */
  readonly projections: Readonly<Record<string, Projection>>
  /** The missions, whose history is on the disk; they are told last. */
  readonly history: HistoryRoom
  /** Where missions at rest are kept, before anything is taken over or folded. */
  recordsOpened(records: RecordLog): void
  /** The content of `runes.json`. */
  runes(): object
  /** Told of each fact once it is durable and folded; not of those of the past. */
  announced(fact: Fact): void
  batched(measure: BatchMeasure): void
  warn(message: string, fields?: object): void
  onBug(error: unknown): void
}

/** What a snapshot on the disk needs of other files. */
export type Manifest = Pick<Snapshot, 'position' | 'chunks' | 'records'>

/** Everything the daemon remembers: the journal, what is folded from it, and the files derived from that. */
export class Memory {
  readonly #parts: MemoryParts
  readonly #journal: Journal
  readonly #records: RecordLog
  readonly #chunks: ChunkFiles
  readonly artifacts: ArtifactStore
  readonly recovery: Recovery
  readonly upkeep: Upkeep
  #anchors: readonly Anchor[]
  /** After the last fact that was folded: the journal itself may be a moment ahead. */
  #folded: Position
  #current: Manifest | undefined
  #former: Manifest | undefined
  #factsSinceSnapshot = 0
  #bytesSinceSnapshot = 0
  #snapshot: Promise<SnapshotReport> | undefined
  #runesText = ''

  /**
   * Restores the state from a snapshot and the journal.
   *
   * @throws NexusError `JOURNAL_DAMAGED` and the other failures of opening a journal; `JOURNAL_FULL` also when one of the
   * files beside it lacks the room.
   */
  static async open(parts: MemoryParts): Promise<Memory> {
    try {
      return await Memory.#open(parts)
    } catch (error) {
      throw failureOf(error)
    }
  }

  static async #open(parts: MemoryParts): Promise<Memory> {
    const { disk, clock, paths, segmentBytesMax } = parts
    const artifacts = await ArtifactStore.open(disk, paths.artifacts)
    const chunks = await ChunkFiles.open(disk, paths.index)
    let opened: Memory | undefined
    const restored = await restore(parts, chunks)
    let anchors = restored.anchors
    const { journal, recovery } = await Journal.open({
      disk,
      clock,
      dataDir: paths.root,
      segmentBytesMax,
      ...(restored.current === undefined ? {} : { from: restored.current.position }),
      anchors,
      onReplay: (fact) => {
        anchors = anchorsAfter(fact, anchors)
        take(parts, fact)
      },
      onBug: parts.onBug,
      onBatch: (measure) => {
        if (opened !== undefined) opened.#bytesSinceSnapshot += measure.sizeBytes
        parts.batched(measure)
      },
    })
    await parts.history.settled()
    opened = new Memory(parts, journal, restored, chunks, artifacts, recovery, anchors)
    return opened
  }

  private constructor(
    parts: MemoryParts,
    journal: Journal,
    restored: { readonly records: RecordLog; readonly current?: Manifest; readonly former?: Manifest },
    chunks: ChunkFiles,
    artifacts: ArtifactStore,
    recovery: Recovery,
    anchors: readonly Anchor[],
  ) {
    this.#parts = parts
    this.#journal = journal
    this.#records = restored.records
    this.#current = restored.current
    this.#former = restored.former
    this.#chunks = chunks
    this.artifacts = artifacts
    this.recovery = recovery
    this.#anchors = anchors
    this.#folded = journal.position
    this.#factsSinceSnapshot = recovery.replayed
    this.upkeep = recordUpkeep(parts, {
      journal,
      records: this.#records,
      artifacts,
      anchors: () => this.#anchors,
      snapshot: () => this.snapshot(),
      neededFrom: () => Math.min(this.#current?.position.seq ?? 0, this.#former?.position.seq ?? 0),
    })
    journal.subscribe((facts) => this.#fold(facts))
  }

  append(draft: FactDraft): Promise<Fact> {
    return this.#journal.append(draft)
  }

  appendAll(drafts: readonly FactDraft[]): Promise<readonly Fact[]> {
    return this.#journal.appendAll(drafts)
  }

  read(after: number, limit: number): Promise<readonly Fact[]> {
    return this.#journal.read(after, limit)
  }

  get head(): number {
    return this.#journal.head.seq
  }

  /** Why changes are refused now, if they are: the journal is broken, or the disk has been silent for `waitMsMax`. */
  trouble(waitMsMax: number): string | undefined {
    const { failure, waitingMs } = this.#journal
    if (failure !== undefined) return failure.message
    return waitingMs > waitMsMax ? `the disk has not answered for ${Math.round(waitingMs)} ms` : undefined
  }

  onFailed(listener: (error: NexusError) => void): void {
    this.#journal.onFailed(listener)
  }

  /** Writes a snapshot of this moment, so that the next start replays little. Undefined when it could not. */
  async snapshot(): Promise<SnapshotReport | undefined> {
    // One that is under way is of an earlier moment.
    await this.#snapshot?.catch(() => undefined)
    this.#snapshot ??= this.#writeSnapshot().finally(() => {
      this.#snapshot = undefined
    })
    try {
      return await this.#snapshot
    } catch (error) {
      this.#parts.warn(`no snapshot was written, the next start replays more: ${String(error)}`)
      return undefined
    }
  }

  /** One hash over everything that is remembered: equal for equal states, however they came about. */
  async digest(signal: AbortSignal): Promise<string> {
    const { projections, history } = this.#parts
    const sum = createHash('sha256')
    for (const [name, room] of Object.entries(projections)) sum.update(`${name} ${canonical(room.save())}\n`)
    return sum.update(await history.digest(signal)).digest('hex')
  }

  /** A last snapshot, then nothing more is taken. */
  async close(): Promise<void> {
    await this.#snapshot?.catch(() => undefined)
    const isBehind = this.#current?.position.seq !== this.#folded.seq
    if (this.#journal.failure === undefined && isBehind) await this.snapshot()
    await this.#journal.close()
    await this.#records.close()
  }

  #fold(facts: readonly Fact[]): void {
    const { snapshotEvery, snapshotBytes, announced } = this.#parts
    for (const fact of facts) {
      this.#anchors = anchorsAfter(fact, this.#anchors)
      take(this.#parts, fact)
    }
    this.#folded = this.#journal.position
    for (const fact of facts) announced(fact)
    this.#factsSinceSnapshot += facts.length
    const isDue = this.#factsSinceSnapshot >= snapshotEvery || this.#bytesSinceSnapshot >= snapshotBytes
    if (isDue && this.#snapshot === undefined) void this.snapshot() // Never rejects; a failure is told in the log.
  }

  async #writeSnapshot(): Promise<SnapshotReport> {
    const { disk, clock, paths, projections, history } = this.#parts
    const facts = this.#factsSinceSnapshot
    this.#factsSinceSnapshot = 0
    this.#bytesSinceSnapshot = 0
    // All of one moment, before the first await. What changes later is turned into text now, the rest in pieces.
    const position = this.#folded
    const anchors = this.#anchors
    const end = this.#records.end
    const rooms = Object.entries(projections).map(([name, room]) => {
      const saved = room.save()
      return [name, room.savesCopy === true ? inTurns(saved) : [JSON.stringify(saved)]] as const
    })
    const frozen = history.freeze()

    const { names: chunks, written } = await this.#chunks.save(frozen.chunks)
    await this.#records.sync()
    const files = frozen.files()
    const sealed = (await this.#records.files()).map(({ file }) => file).filter((file) => file < end.file)
    const records = { end, files: sealed.filter((file) => files.has(file)) }
    const sections = [...rooms, ['missions', frozen.text()] as const]
    const keepsFormer = this.#current !== undefined
    await saveSnapshot(disk, clock, paths, { position, anchors, records, chunks, sections }, keepsFormer)
    this.#former = keepsFormer ? this.#current : this.#former
    this.#current = { position, chunks, records }
    await this.#writeRunes()
    await this.#removeNeedless(sealed)
    return { seq: position.seq, facts, chunks: chunks.length, written }
  }

  /** What neither of the two snapshots refers to. */
  async #removeNeedless(sealed: readonly number[]): Promise<void> {
    const kept = [this.#current, this.#former].flatMap((manifest) => manifest ?? [])
    await this.#chunks.keepOnly(kept.flatMap(({ chunks }) => chunks.map(({ name }) => name)))
    const needed = new Set(kept.flatMap(({ records }) => records.files))
    const oldestEnd = Math.min(...kept.map(({ records }) => records.end.file))
    await this.#records.removeFiles(sealed.filter((file) => file < oldestEnd && !needed.has(file)))
  }

  async #writeRunes(): Promise<void> {
    const { disk, paths, runes } = this.#parts
    const text = `${JSON.stringify(runes(), null, 2)}\n`
    if (text === this.#runesText) return
    await writeAtomically(disk, join(paths.runes), Buffer.from(text))
    this.#runesText = text
  }
}

export interface SnapshotReport {
  readonly seq: number
  /** Since the snapshot before. */
  readonly facts: number
  /** Files of the index, and how many of them had to be written. */
  readonly chunks: number
  readonly written: number
}

/** Its text in pieces, between which others have their turn. */
async function* inTurns(saved: unknown): AsyncGenerator<string> {
  for (const piece of jsonPieces(saved)) {
    yield piece
    // The many short ones between the long ones are no work.
    if (piece.length > TURN_CHARS) await new Promise((resolve) => setImmediate(resolve))
  }
}

const TURN_CHARS = 4_096

/** The order of fields is how an object came about, and says nothing. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, part) =>
    part !== null && typeof part === 'object' && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  )
}

function take({ projections, history }: MemoryParts, fact: Fact): void {
  for (const room of Object.values(projections)) room.fold(fact)
  history.fold(fact)
}

function anchorsAfter(fact: Fact, anchors: readonly Anchor[]): readonly Anchor[] {
  const found = anchorsIn(fact)
  return found.length === 0 ? anchors : found
}
