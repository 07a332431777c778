import { join } from 'node:path'
import type { Fact, FactDraft } from './contracts/fact.ts'
import type { NexusError } from './contracts/failure.ts'
import type { Clock } from './kit/clock.ts'
import { ArtifactStore } from './storage/artifacts.ts'
import { writeAtomically } from './storage/atomic-file.ts'
import type { DataPaths } from './storage/data-folder.ts'
import { DerivedLog } from './storage/derived-log.ts'
import type { Disk } from './storage/disk.ts'
import { type BatchMeasure, Journal, type Recovery } from './storage/journal.ts'
import { loadSnapshot, saveSnapshot } from './storage/snapshot.ts'
import { verifyJournal } from './storage/verify.ts'

/** A room whose state is folded from facts. */
interface Projection {
  fold(fact: Fact): void
  save(): unknown
  /** False when what was saved cannot be used: then every fact is folded from the first on. */
  load(saved: unknown): boolean
}

export interface MemoryParts {
  readonly disk: Disk
  readonly clock: Clock
  readonly paths: DataPaths
  readonly segmentBytesMax: number
  readonly snapshotEvery: number
  /** By the name of their section in the snapshot, in the order in which they are told of a fact. */
  readonly projections: Readonly<Record<string, Projection>>
  /** The line of `missions.jsonl` for a fact, if it changed a mission. Called when the fact has been folded. */
  missionLine(fact: Fact): Readonly<Record<string, unknown>> | undefined
  /** Everything `missions.jsonl` holds when it is made anew: the newest fact of each mission, rising. */
  missionLines(): Iterable<{ readonly seq: number; readonly body: Readonly<Record<string, unknown>> }>
  /** The content of `runes.json`. */
  runes(): object
  /** Told of each fact once it is durable and folded; not of those of the past. */
  announced(fact: Fact): void
  batched(measure: BatchMeasure): void
  warn(message: string, fields?: object): void
  onBug(error: unknown): void
}

/** What keeps the records in order. Each answers what it did as plain data: bytes, files, records, sequence numbers. */
export interface Upkeep {
  /** Removes or archives sealed segments of the journal that a snapshot has made needless, as the settings say. */
  compact(signal: AbortSignal): Promise<object>
  /** Reads every record of the journal. @throws NexusError of the first damage. */
  verify(signal: AbortSignal): Promise<object>
  /** Writes a snapshot of this moment, so that the next start replays little. */
  snapshot(): Promise<object>
  /** Lets go of missions at rest that are too old or too many, as the settings say, and of what only they needed. */
  prune(signal: AbortSignal): Promise<object>
  /** Seals the active segment of the journal. */
  rotate(): Promise<object>
}

/** Everything the daemon remembers: the journal, what is folded from it, and the files derived from that. */
export class Memory {
  readonly #parts: MemoryParts
  readonly #journal: Journal
  readonly #missions: DerivedLog
  readonly artifacts: ArtifactStore
  readonly recovery: Recovery
  readonly upkeep: Pick<Upkeep, 'verify' | 'snapshot' | 'rotate'> = {
    verify: (signal) => this.#verify(signal),
    snapshot: async () => {
      await this.snapshot()
      return { seq: this.head }
    },
    rotate: async () => {
      const sealed = await this.#journal.rotate()
      return {
        sealed: sealed?.name ?? null,
        bytes: sealed?.sizeBytes ?? 0,
        last_seq: sealed?.link.seq ?? null,
      }
    },
  }
  #factsSinceSnapshot = 0
  #snapshot: Promise<void> | undefined
  #runesText = ''

  /**
   * Restores the state from the snapshot and the journal.
   *
   * @throws NexusError `JOURNAL_DAMAGED` and the other failures of opening a journal.
   */
  static async open(parts: MemoryParts): Promise<Memory> {
    const { disk, clock, paths, segmentBytesMax } = parts
    const artifacts = await ArtifactStore.open(disk, paths.artifacts)
    const missions = await DerivedLog.open({
      disk,
      path: paths.missions,
      onTrouble: (error) => parts.warn(`missions.jsonl cannot be written: ${String(error)}`),
    })
    const position = await restore(parts)
    const { journal, recovery } = await Journal.open({
      disk,
      clock,
      dataDir: paths.root,
      segmentBytesMax,
      ...(position === undefined ? {} : { from: position }),
      onReplay: (fact) => take(parts, missions, fact),
      onBug: parts.onBug,
      onBatch: parts.batched,
    })
    const memory = new Memory(parts, journal, missions, artifacts, recovery)
    await memory.#mendMissions()
    return memory
  }

  private constructor(
    parts: MemoryParts,
    journal: Journal,
    missions: DerivedLog,
    artifacts: ArtifactStore,
    recovery: Recovery,
  ) {
    this.#parts = parts
    this.#journal = journal
    this.#missions = missions
    this.artifacts = artifacts
    this.recovery = recovery
    this.#factsSinceSnapshot = recovery.replayed
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

  /** Writes a snapshot of this moment, so that the next start replays little. */
  async snapshot(): Promise<void> {
    this.#snapshot ??= this.#writeSnapshot().finally(() => {
      this.#snapshot = undefined
    })
    await this.#snapshot
  }

  /** A last snapshot, then nothing more is taken. */
  async close(): Promise<void> {
    await this.#snapshot
    if (this.#journal.failure === undefined && this.#factsSinceSnapshot > 0) await this.snapshot()
    await this.#journal.close()
    await this.#missions.close()
  }

  async #verify(signal: AbortSignal): Promise<object> {
    const { disk, paths } = this.#parts
    const { damage, records, segments, first, last } = await verifyJournal(disk, paths.root, signal)
    if (damage !== undefined) throw damage
    return { records, files: segments, from_seq: first, to_seq: last }
  }

  #fold(facts: readonly Fact[]): void {
    for (const fact of facts) take(this.#parts, this.#missions, fact)
    for (const fact of facts) this.#parts.announced(fact)
    this.#factsSinceSnapshot += facts.length
    if (this.#factsSinceSnapshot >= this.#parts.snapshotEvery) void this.snapshot()
  }

  /** The file was removed, lost its end, or knows of facts that a cut took away: it is made anew. */
  async #mendMissions(): Promise<void> {
    const { lastSeq, isBehind } = this.#missions
    const lines = [...this.#parts.missionLines()]
    const newest = lines.at(-1)?.seq ?? 0
    if (isBehind || lastSeq < newest || lastSeq > this.head) await this.#missions.rewrite(lines)
  }

  async #writeSnapshot(): Promise<void> {
    const { disk, clock, paths, projections, warn } = this.#parts
    this.#factsSinceSnapshot = 0
    try {
      const sections = Object.fromEntries(
        Object.entries(projections).map(([name, room]) => [name, room.save()]),
      )
      // The sections are turned into text before the first await: position and content are of one moment.
      await saveSnapshot(disk, clock, paths.root, { position: this.#journal.position, sections })
      if (!(await this.#missions.sync())) await this.#missions.rewrite(this.#parts.missionLines())
      await this.#writeRunes()
    } catch (error) {
      warn(`no snapshot was written, the next start replays more: ${String(error)}`)
    }
  }

  async #writeRunes(): Promise<void> {
    const { disk, paths, runes } = this.#parts
    const text = `${JSON.stringify(runes(), null, 2)}\n`
    if (text === this.#runesText) return
    await writeAtomically(disk, join(paths.runes), Buffer.from(text))
    this.#runesText = text
  }
}

function take(parts: MemoryParts, missions: DerivedLog, fact: Fact): void {
  for (const room of Object.values(parts.projections)) room.fold(fact)
  const line = parts.missionLine(fact)
  if (line !== undefined) missions.push({ seq: fact.seq, body: line })
}

/** Loads every section, or none: a state of two moments is worse than a slow start. */
async function restore(parts: MemoryParts) {
  const { disk, paths, projections, warn } = parts
  const { snapshot, warning } = await loadSnapshot(disk, paths.root)
  if (warning !== undefined) warn(`the snapshot is left out: ${warning}`)
  if (snapshot === undefined) return undefined
  const sections = Object.entries(projections)
  const unknown = sections.filter(([name]) => snapshot.sections[name] === undefined)
  if (unknown.length > 0) return undefined
  for (const [name, room] of sections) {
    if (room.load(snapshot.sections[name])) continue
    warn(`the section ${name} of the snapshot is of another version: everything is read from the journal`)
    return undefined
  }
  return snapshot.position
}
