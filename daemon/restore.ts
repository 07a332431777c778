import type { Actor, Fact } from './contracts/fact.ts'
import type { ChunkFiles, FrozenChunk, SavedChunk } from './storage/chunk-files.ts'
import type { DataPaths } from './storage/data-folder.ts'
import type { Disk } from './storage/disk.ts'
import { RecordLog, type RecordLogOptions } from './storage/record-log.ts'
import { locate } from './storage/recovery.ts'
import { type Anchor, damagedAt, foundation, listSegments } from './storage/segments.ts'
import { readSnapshot, type Snapshot } from './storage/snapshot.ts'
import { verifyJournal } from './storage/verify.ts'

/** A room whose state is folded from facts. */
export interface Projection {
  fold(fact: Fact): void
  /** Plain data. */
  save(): unknown
  /** Whether that stays as it is while later facts are folded: then it is made into text bit by bit. */
  readonly savesCopy?: boolean
  /** False when what was saved cannot be used: then every fact is folded from the first on. */
  load(saved: unknown): boolean
}

/** The room of the missions, whose state is too large for one text. */
export interface HistoryRoom {
  fold(fact: Fact): void
  freeze(): {
    readonly chunks: readonly FrozenChunk[]
    /** Its section, in pieces. */
    text(): AsyncIterable<string>
    /** The files of records it refers to. */
    files(): ReadonlySet<number>
  }
  /** What was saved: a function that takes it over; undefined when it has another form. */
  prepare(section: unknown, chunks: readonly SavedChunk[]): (() => void) | undefined
  /** Resolves when every fact that was folded has had its effect. */
  settled(): Promise<void>
  /** Lets go of missions at rest, as its settings say. */
  prune(
    actor: Actor,
    nowMs: number,
    signal: AbortSignal,
  ): Promise<{ readonly missions: number; readonly artifacts: readonly string[] }>
  /** Copies what is left in sealed files that are mostly of missions gone by. */
  tidy(
    files: readonly { readonly file: number; readonly sizeBytes: number }[],
    signal: AbortSignal,
  ): Promise<{ readonly records: number; readonly bytes: number }>
  /** One hash over every mission in full. */
  digest(signal: AbortSignal): Promise<string>
  /** Reads every record, and names the missions whose record is damaged. */
  check(signal: AbortSignal): Promise<{ readonly missions: number; readonly damaged: readonly string[] }>
}

export interface RestoreParts {
  readonly disk: Disk
  readonly paths: DataPaths
  /** A snapshot is used only where the journal does not reach back to its first record. */
  readonly afresh?: boolean
  /** A file of records is sealed before it would grow beyond this. */
  readonly recordFileBytesMax?: number
  readonly projections: Readonly<Record<string, Projection>>
  readonly history: HistoryRoom
  /** Where missions at rest are kept, before anything is taken over or folded. */
  recordsOpened(records: RecordLog): void
  warn(message: string, fields?: object): void
  onBug(error: unknown): void
}

/** Where the replay of the journal begins. */
export interface Restored {
  readonly records: RecordLog
  readonly anchors: readonly Anchor[]
  /** The snapshot that was loaded; without one everything is read from the journal. */
  readonly current?: Snapshot
  /** The one before, if it is there as well. */
  readonly former?: Snapshot
}

/**
 * Loads the newest snapshot that can be believed, every section of it or none: a state of two moments is worse than a
 * slow start.
 *
 * @throws NexusError `JOURNAL_DAMAGED` when there is none, and the journal does not reach back to its first record;
 * `JOURNAL_ROLLED_BACK` when the journal does not reach one of them.
 */
export async function restore(parts: RestoreParts, chunks: ChunkFiles): Promise<Restored> {
  const { disk, paths, warn } = parts
  const segments = await listSegments(disk, paths)
  // A journal that cannot be read is reported by those who open it.
  const base = await foundation(disk, segments).catch(() => undefined)
  const log = {
    disk,
    paths,
    ...(parts.recordFileBytesMax === undefined ? {} : { fileBytesMax: parts.recordFileBytesMax }),
    onTrouble: (error: unknown) => warn(`missions.jsonl cannot be written: ${String(error)}`),
    onFailed: parts.onBug,
  }
  const found = parts.afresh === true && base === undefined ? [] : await readBoth(parts)
  for (const [place, snapshot] of found.entries()) {
    const name = place === 0 ? 'system_state.json' : 'system_state.former.json'
    const leftOut = (why: string): void => warn(`the snapshot is left out: ${name}: ${why}`)
    const located = await locate(disk, segments, snapshot.position).catch((error: unknown) => ({
      missing: `the journal cannot be read: ${String(error)}`,
    }))
    if ('missing' in located) {
      // Before any file is touched that a better journal, or a repair, could still go on from.
      const { damage } = await verifyJournal(disk, paths.root)
      if (damage !== undefined) throw damage
      leftOut(located.missing)
      continue
    }
    const saved = await readChunks(chunks, snapshot)
    const thaw = saved && parts.history.prepare(snapshot.sections['missions'], saved)
    if (thaw === undefined) {
      leftOut(saved === undefined ? 'a file of index/ is damaged' : 'it is of another version')
      continue
    }
    const records = await openRecords(log, snapshot, base !== undefined, warn)
    if (records === undefined) {
      leftOut('missions.jsonl, or a file below missions/, is not what it was')
      continue
    }
    // Only the first of the rooms may refuse, and it is asked first.
    if (!load(parts, snapshot, base !== undefined)) {
      await records.close()
      break
    }
    parts.recordsOpened(records)
    thaw()
    const former = found[place + 1]
    return { records, anchors: snapshot.anchors, current: snapshot, ...(former && { former }) }
  }
  if (base !== undefined) {
    const { seq } = base.link
    const reason = `the records 1 to ${seq} were compacted, and no snapshot tells what they made`
    throw damagedAt(base.name, 0, seq, seq, reason)
  }
  const records = await RecordLog.open(log)
  if (records === undefined) throw new Error('a record log that begins anew reaches as far as it must')
  parts.recordsOpened(records)
  return { records, anchors: [] }
}

async function readBoth({ disk, paths, warn }: RestoreParts): Promise<Snapshot[]> {
  const both = [
    await readSnapshot(disk, paths.systemState, 'system_state.json'),
    await readSnapshot(disk, paths.formerState, 'system_state.former.json'),
  ]
  return both.flatMap(({ snapshot, warning }) => {
    if (warning !== undefined) warn(`the snapshot is left out: ${warning}`)
    return snapshot ?? []
  })
}

/** Undefined when one of them is not what was written. */
async function readChunks(files: ChunkFiles, { chunks }: Snapshot): Promise<SavedChunk[] | undefined> {
  const saved: SavedChunk[] = []
  for (const name of chunks) {
    const bytes = await files.read(name)
    if (bytes === undefined) return undefined
    saved.push({ name, bytes })
  }
  return saved
}

/**
 * The records as the snapshot has left them. When the journal cannot tell them again, what is missing of them is
 * missing: each mission whose record is lost says so when it is asked for.
 */
async function openRecords(
  log: RecordLogOptions,
  { records: { end, files } }: Snapshot,
  isLast: boolean,
  warn: RestoreParts['warn'],
): Promise<RecordLog | undefined> {
  const records = await RecordLog.open(log, end)
  const there = new Set((await records?.files())?.map(({ file }) => file))
  const missing = files.filter((file) => !there.has(file))
  if (records !== undefined && missing.length === 0) return records
  await records?.close()
  if (!isLast) return undefined
  warn('records of missions are missing, and the journal that could tell them again was compacted', {
    missing,
  })
  return RecordLog.open({ ...log, isLenient: true }, end)
}

function load({ projections, warn }: RestoreParts, { sections }: Snapshot, isLast: boolean): boolean {
  for (const [name, room] of Object.entries(projections)) {
    if (sections[name] !== undefined && room.load(sections[name])) continue
    if (!isLast) {
      warn(`the section ${name} of the snapshot is of another version: everything is read from the journal`)
      return false
    }
    warn(
      `the section ${name} of the snapshot is of another version, and the journal was compacted: it begins anew`,
    )
  }
  return true
}
