import type { Actor } from './contracts/fact.ts'
import type { Clock } from './kit/clock.ts'
import type { HistoryRoom } from './restore.ts'
import type { ArtifactStore } from './storage/artifacts.ts'
import {
  candidatesIn,
  dueForCompaction,
  prepareCompaction,
  type Retention,
  removeSegments,
} from './storage/compaction.ts'
import type { DataPaths } from './storage/data-folder.ts'
import type { Disk } from './storage/disk.ts'
import type { Journal } from './storage/journal.ts'
import type { RecordLog } from './storage/record-log.ts'
import { type Anchor, foundation, listSegments } from './storage/segments.ts'
import { verifyJournal } from './storage/verify.ts'

/** What keeps the records in order. Each answers what it did as plain data: bytes, files, records, sequence numbers. */
export interface Upkeep {
  /** Removes or archives sealed segments of the journal that a snapshot has made needless, as the settings say. */
  compact(signal: AbortSignal): Promise<object>
  /** Reads every record of the journal and of the missions. @throws NexusError of the first damage. */
  verify(signal: AbortSignal): Promise<object>
  /** Writes a snapshot of this moment, so that the next start replays little. */
  snapshot(): Promise<object>
  /** Lets go of missions at rest that are too old or too many, as the settings say, and of what only they needed. */
  prune(signal: AbortSignal): Promise<object>
  /** Seals the active segment of the journal. */
  rotate(): Promise<object>
}

export interface UpkeepParts {
  readonly disk: Disk
  readonly clock: Clock
  readonly paths: DataPaths
  readonly retention: Retention
  readonly history: HistoryRoom
}

export interface UpkeepStores {
  readonly journal: Journal
  readonly records: RecordLog
  readonly artifacts: ArtifactStore
  anchors(): readonly Anchor[]
  snapshot(): Promise<object | undefined>
  /** The oldest snapshot that is kept needs the records after this one. */
  neededFrom(): number
}

export function recordUpkeep(parts: UpkeepParts, stores: UpkeepStores): Upkeep {
  return {
    compact: (signal) => compact(parts, stores, signal),
    verify: (signal) => verify(parts, signal),
    snapshot: () => snapshot(stores),
    prune: (signal) => prune(parts, stores, signal),
    rotate: () => rotate(stores),
  }
}

const ACTOR: Actor = { kind: 'daemon', name: 'upkeep' }

async function compact(
  { disk, clock, paths, retention }: UpkeepParts,
  stores: UpkeepStores,
  signal: AbortSignal,
): Promise<object> {
  // Two, so that what goes is behind the one that is read when the newest cannot be.
  await snapshot(stores)
  await snapshot(stores)
  const segments = await listSegments(disk, paths)
  const base = (await foundation(disk, segments))?.link.seq ?? 0
  // What a crash has left of a compaction that is on record.
  const recorded = Math.max(0, ...stores.anchors().map(({ seq }) => seq))
  const leftovers = recorded > base ? await removeSegments(disk, paths, recorded) : 0
  const sealed = await candidatesIn(disk, await listSegments(disk, paths))
  const activeBytes = (await disk.stat(paths.journal))?.sizeBytes ?? 0
  const count = dueForCompaction(sealed, activeBytes, stores.neededFrom(), retention, clock.now())
  const going = await prepareCompaction(disk, paths, count, retention.archive, signal)
  const last = going.at(-1)
  if (last === undefined) return { files: leftovers, bytes: 0, records: 0 }
  const from_seq = going[0]?.first_seq ?? 0
  const d = { from_seq, to_seq: last.last_seq, h: last.last_h, segments: going }
  await stores.journal.append({ type: 'journal.compacted', actor: ACTOR, d })
  const files = await removeSegments(disk, paths, last.last_seq)
  const bytes = going.reduce((sum, segment) => sum + segment.bytes, 0)
  return {
    files: files + leftovers,
    bytes,
    records: last.last_seq - from_seq + 1,
    from_seq,
    to_seq: last.last_seq,
  }
}

async function verify({ disk, paths, history }: UpkeepParts, signal: AbortSignal): Promise<object> {
  const { damage, records, segments, first, last } = await verifyJournal(disk, paths.root, signal)
  if (damage !== undefined) throw damage
  const { missions, damaged } = await history.check(signal)
  const told = { records, files: segments, from_seq: first, to_seq: last, missions }
  return damaged.length === 0 ? told : { ...told, damaged: damaged.length, first_damaged: damaged[0] }
}

async function snapshot({ snapshot }: UpkeepStores): Promise<object> {
  const report = await snapshot()
  if (report === undefined) throw new Error('no snapshot could be written; the log says why')
  return report
}

async function prune(
  { clock, history }: UpkeepParts,
  stores: UpkeepStores,
  signal: AbortSignal,
): Promise<object> {
  const { missions, artifacts } = await history.prune(ACTOR, clock.now(), signal)
  const removed = await stores.artifacts.remove(artifacts)
  const before = await stores.records.files()
  const moved = await history.tidy(before.slice(0, -1), signal)
  // A file of records goes when neither of the two snapshots names it.
  await snapshot(stores)
  await snapshot(stores)
  const after = await stores.records.files()
  const sum = (files: typeof before): number => files.reduce((bytes, { sizeBytes }) => bytes + sizeBytes, 0)
  return {
    missions,
    artifacts: removed,
    moved: moved.records,
    files: before.length - after.length,
    bytes: Math.max(0, sum(before) - sum(after)),
  }
}

async function rotate({ journal }: UpkeepStores): Promise<object> {
  const sealed = await journal.rotate()
  return { sealed: sealed?.name ?? null, bytes: sealed?.sizeBytes ?? 0, last_seq: sealed?.link.seq ?? null }
}
