import { createHash } from 'node:crypto'
import { join } from 'node:path'
import type { NexusError } from '../contracts/failure.ts'
import type { Clock } from '../kit/clock.ts'
import { JOURNAL_ACTOR } from './chain-writer.ts'
import { type DataPaths, dataPaths } from './data-folder.ts'
import { type Disk, type DiskFile, writeAll } from './disk.ts'
import { Journal } from './journal.ts'
import { GENESIS } from './line.ts'
import { type Position, START } from './recovery.ts'
import { latestBatch, scanChain } from './scan.ts'
import {
  ACTIVE_NAME,
  type Anchor,
  foundation,
  lastFact,
  listSegments,
  readSegment,
  type Segment,
} from './segments.ts'
import { readSnapshot, type Snapshot } from './snapshot.ts'
import { verifyJournal } from './verify.ts'
import { CHUNK_BYTES } from './walk.ts'
import { readWatermark } from './watermark.ts'

/** What a repair would do about a damaged journal. */
export interface RepairPlan {
  /** The first thing wrong. */
  readonly damage: NexusError
  /**
   * - `cut`: the journal ends before the damage; what comes after is set aside, and with it what it told.
   * - `begin`: the journal begins after the damage, because a snapshot tells what came before; nothing is forgotten, but
   *   those records can no longer be shown.
   */
  readonly how: 'cut' | 'begin'
  readonly lost: { readonly from_seq: number; readonly to_seq: number; readonly bytes: number }
  /** Files that go to `quarantine/`, whole or from the damage on. */
  readonly files: readonly string[]
}

interface Work extends RepairPlan {
  readonly whole: readonly Segment[]
  readonly part: { readonly segment: Segment; readonly offset: number } | undefined
  /** Where the journal begins then, and the snapshot that makes that possible. */
  readonly anchor: Anchor | undefined
  readonly anchors: readonly Anchor[]
  readonly from: Position
}

/**
 * Says what a repair would do, and changes nothing. Undefined when there is no damage.
 *
 * @throws NexusError `JOURNAL_NEWER`, and `JOURNAL_DAMAGED` where nothing that is left could go on.
 */
export async function planRepair(disk: Disk, dataDir: string): Promise<RepairPlan | undefined> {
  const work = await examineDamage(disk, dataPaths(dataDir))
  if (work === undefined) return undefined
  const { damage, how, lost, files } = work
  return { damage, how, lost, files }
}

/**
 * Does what `planRepair` says: first the copies in quarantine are durable, then the journal is changed, and its next
 * record tells of it. The folder must be held. A crash in between leaves a journal that can be repaired again.
 */
export async function repairJournal(
  disk: Disk,
  clock: Clock,
  dataDir: string,
  segmentBytesMax: number,
): Promise<RepairPlan | undefined> {
  const paths = dataPaths(dataDir)
  const work = await examineDamage(disk, paths)
  if (work === undefined) return undefined
  const { damage, how, lost, files, whole, part, anchor, anchors, from } = work
  // The last file first, when the end goes; the first one first, when the beginning does: what is left hangs together.
  const order = how === 'cut' ? whole.toReversed() : whole
  for (const segment of order) await setAside(disk, paths, segment)
  if (part !== undefined) await cutOff(disk, paths, part.segment, part.offset)
  // It knows of records that are gone, and would refuse the start.
  await disk.unlink(paths.watermark)
  await disk.syncDir(paths.run)
  const { journal } = await Journal.open({
    ...{ disk, clock, dataDir, segmentBytesMax, from },
    anchors,
    onReplay: () => undefined,
  })
  const segments = anchor === undefined ? [] : [{ last_seq: anchor.seq, last_h: anchor.h }]
  const d = { how, because: damage.message, lost: { ...lost }, files: [...files], segments }
  await journal.append({ type: 'journal.repaired', actor: JOURNAL_ACTOR, d })
  await journal.close()
  return { damage, how, lost, files }
}

async function examineDamage(disk: Disk, paths: DataPaths): Promise<Work | undefined> {
  const { damage, last } = await verifyJournal(disk, paths.root)
  if (damage === undefined) return undefined
  if (damage.code !== 'JOURNAL_DAMAGED') throw damage
  const segments = await listSegments(disk, paths)
  const at = segments.findIndex(({ name }) => name === damage.facts['file'])
  const begin = await beginAfter(disk, paths, segments, at, damage)
  if (begin !== undefined) {
    const whole = segments.slice(0, at + 1)
    const from_seq = whole[0]?.first ?? 1
    const lost = { from_seq, to_seq: begin.anchor.seq, bytes: sizeOf(whole) }
    const files = whole.map(({ name }) => name)
    return { damage, how: 'begin', lost, files, whole, part: undefined, ...begin }
  }
  // What a compacted journal told is known from a snapshot alone: a cut before it would leave nothing to go on from.
  const snapshot = await usableSnapshot(disk, paths, last)
  if (snapshot === undefined && (await foundation(disk, segments)) !== undefined) throw damage
  const from = snapshot?.position ?? START
  const known = { damage, how: 'cut', anchor: undefined, from, anchors: snapshot?.anchors ?? [] } as const
  const bad = segments[at]
  const offset = bad === undefined ? 0 : await goodBytes(disk, segments, at)
  if (bad === undefined || (offset === bad.sizeBytes && at === segments.length - 1)) {
    // Nothing is wrong with what is there; more of it was known to be durable, or something else.
    const to_seq = Math.max(last + 1, (await readWatermark(disk, paths.watermark))?.seq ?? 0)
    const lost = { from_seq: last + 1, to_seq, bytes: 0 }
    return { ...known, lost, files: [], whole: [], part: undefined }
  }
  const whole = segments.slice(offset === 0 ? at : at + 1)
  const part = offset === 0 ? undefined : { segment: bad, offset }
  const to_seq = Math.max(last + 1, await lastIn(disk, segments.slice(at)))
  const bytes = sizeOf(whole) + (part === undefined ? 0 : bad.sizeBytes - offset)
  const files = segments.slice(at).map(({ name }) => name)
  return { ...known, lost: { from_seq: last + 1, to_seq, bytes }, files, whole, part }
}

/** How far the chain holds in this file. */
async function goodBytes(disk: Disk, segments: readonly Segment[], at: number): Promise<number> {
  const before = segments[at - 1]
  const segment = segments[at]
  if (segment === undefined) return 0
  const link =
    before === undefined
      ? (await foundation(disk, segments))?.link
      : await readSegment(disk, before, (file) => lastFact(file, before.sizeBytes))
  const end = await readSegment(disk, segment, (file) =>
    scanChain(file, { link: link ?? GENESIS, offset: 0 }, segment.sizeBytes, () => undefined),
  )
  return end.offset
}

/** A snapshot of a later segment makes everything up to the damaged one needless, if the rest is whole. */
async function beginAfter(
  disk: Disk,
  paths: DataPaths,
  segments: readonly Segment[],
  at: number,
  damage: NexusError,
): Promise<(Pick<Work, 'anchors' | 'from'> & { readonly anchor: Anchor }) | undefined> {
  // Not a file of ours: what is missing is the beginning, or the end.
  if (at < 0 && damage.facts['seq'] !== 1) return undefined
  const rest = segments.slice(at + 1)
  const anchor = (await foundation(disk, rest))?.link
  const { snapshot } = await readSnapshot(disk, paths.systemState, 'system_state.json')
  if (anchor === undefined || snapshot === undefined || snapshot.position.seq < anchor.seq) return undefined
  const { seq, h } = anchor
  return { anchor: { seq, h }, anchors: [{ seq, h }], from: snapshot.position }
}

/** The newest snapshot at or before this record. */
async function usableSnapshot(disk: Disk, paths: DataPaths, seq: number): Promise<Snapshot | undefined> {
  for (const path of [paths.systemState, paths.formerState]) {
    const { snapshot } = await readSnapshot(disk, path, path)
    if (snapshot !== undefined && snapshot.position.seq <= seq) return snapshot
  }
  return undefined
}

/** The last record that these files name, as far as they can be read. */
async function lastIn(disk: Disk, segments: readonly Segment[]): Promise<number> {
  let last = 0
  for (const segment of segments) {
    const [fact, batch] = await readSegment(disk, segment, async (file) => [
      await lastFact(file, segment.sizeBytes).catch(() => undefined),
      await latestBatch(file, 0, segment.sizeBytes),
    ])
    last = Math.max(last, fact?.seq ?? 0, batch)
  }
  return last
}

/** Moves a whole file to quarantine. */
async function setAside(disk: Disk, paths: DataPaths, { name, path, identity }: Segment): Promise<void> {
  const target = `repaired-${name.replaceAll('/', '-')}-${identity.replace(/\D/g, '')}`
  await disk.rename(path, join(paths.quarantine, target))
  await disk.syncDir(paths.quarantine)
  await disk.syncDir(paths.segments)
  await disk.syncDir(paths.root)
}

/** Copies the end of a file to quarantine, cuts it off, and makes the rest the active segment. */
async function cutOff(disk: Disk, paths: DataPaths, segment: Segment, offset: number): Promise<void> {
  const file = await disk.open(segment.path, 'append')
  try {
    const sum = createHash('sha256')
    await eachChunk(file, offset, segment.sizeBytes, async (bytes) => void sum.update(bytes))
    const name = `repaired-${segment.name.replaceAll('/', '-')}-${offset}-${sum.digest('hex').slice(0, 12)}`
    const copy = await disk.open(join(paths.quarantine, name), 'overwrite')
    try {
      await eachChunk(file, offset, segment.sizeBytes, (bytes, at) => writeAll(copy, bytes, at))
      await copy.datasync()
    } finally {
      await copy.close()
    }
    await disk.syncDir(paths.quarantine)
    await file.truncate(offset)
    await file.datasync()
  } finally {
    await file.close()
  }
  if (segment.name === ACTIVE_NAME) return
  await disk.rename(segment.path, paths.journal)
  await disk.syncDir(paths.segments)
  await disk.syncDir(paths.root)
}

/** `at` counts from the first of these bytes. */
async function eachChunk(
  file: DiskFile,
  from: number,
  to: number,
  use: (bytes: Buffer, at: number) => Promise<void>,
): Promise<void> {
  for (let at = from; at < to; at += CHUNK_BYTES) {
    await use(await file.read(at, Math.min(CHUNK_BYTES, to - at)), at - from)
  }
}

function sizeOf(segments: readonly Segment[]): number {
  return segments.reduce((bytes, { sizeBytes }) => bytes + sizeBytes, 0)
}
