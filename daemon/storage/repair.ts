import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { NexusError } from '../contracts/failure.ts'
import { type Clock, timestamp } from '../kit/clock.ts'
import type { Outcome } from './active-segment.ts'
import { ChainWriter } from './chain-writer.ts'
import { readChunk } from './chunk-files.ts'
import { type DataPaths, dataPaths } from './data-folder.ts'
import { type Disk, type DiskFile, writeAll } from './disk.ts'
import { Journal } from './journal.ts'
import { encodeDraft, GENESIS, type Link } from './line.ts'
import { Lineage, snapshotsOf, type Witness } from './lineage.ts'
import { type Position, START } from './recovery.ts'
import { announceRepair, forgetRepair, type RepairFact, repairedDraft } from './repair-intent.ts'
import { latestBatch, scanChain } from './scan.ts'
import {
  ACTIVE_NAME,
  type Anchor,
  foundation,
  lastFact,
  listSegments,
  readSegment,
  type Segment,
  sealedName,
} from './segments.ts'
import { readSnapshot, type Snapshot } from './snapshot.ts'
import { verifyJournal } from './verify.ts'
import { CHUNK_BYTES } from './walk.ts'

/** What a repair would do about a damaged journal. */
export interface RepairPlan {
  /** The first thing wrong. */
  readonly damage: NexusError
  /**
   * - `cut`: the journal ends before the damage; what comes after is set aside, and with it what it told.
   * - `begin`: the journal begins after the damage, because a snapshot tells what came before; nothing is forgotten, but
   *   those records can no longer be shown.
   * - `snapshot`: a snapshot knows more than the good records tell. The journal begins anew after it: only what came
   *   later is forgotten, and no record that there was can be shown any more.
   */
  readonly how: 'cut' | 'begin' | 'snapshot'
  /** Records that can no longer be shown, or are gone. */
  readonly lost: { readonly from_seq: number; readonly to_seq: number; readonly bytes: number }
  /** What this record and those before it told is still known afterwards. */
  readonly known: number
  /** Files that go to `quarantine/`, whole or from the damage on. */
  readonly files: readonly string[]
}

interface Work extends RepairPlan {
  readonly whole: readonly Segment[]
  readonly part: { readonly segment: Segment; readonly offset: number } | undefined
  /** Snapshots that tell of a journal which is not there. */
  readonly strange: readonly Witness[]
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
  const { damage, how, lost, known, files } = work
  return { damage, how, lost, known, files }
}

/**
 * Does what `planRepair` says: first what it will tell and the copies in quarantine are durable, then the journal is
 * changed, and its next record tells of it. The folder must be held. A crash in between leaves a journal that can be
 * repaired again, or one whose next start tells of the repair.
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
  const { damage, how, lost, known, files, whole, part, strange, anchor, anchors, from } = work
  const segments = anchor === undefined ? [] : [{ last_seq: anchor.seq, last_h: anchor.h }]
  const intent = await announceRepair(disk, paths, {
    ...{ how, because: damage.message, lost: { ...lost }, known, segments },
    files: [...files, ...strange.map(({ name }) => name)],
  })
  // The last file first, when the end goes; the first one first, when the beginning does: what is left hangs together.
  const order = how === 'begin' ? whole : whole.toReversed()
  for (const segment of order) await setAside(disk, paths, segment)
  if (part !== undefined) await cutOff(disk, paths, part.segment, part.offset)
  const readable = new Map(snapshotsOf(paths))
  for (const { name } of strange) {
    const path = readable.get(name)
    const identity = path === undefined ? undefined : (await disk.stat(path))?.identity
    if (path !== undefined && identity !== undefined) await setAside(disk, paths, { name, path, identity })
  }
  // It knows of records that are gone, and would refuse the start.
  await disk.unlink(paths.watermark)
  await disk.syncDir(paths.run)
  if (how === 'snapshot') await beginAnew(disk, clock, paths, segmentBytesMax, from, intent)
  else {
    const { journal } = await Journal.open({
      ...{ disk, clock, dataDir, segmentBytesMax, from },
      anchors,
      onReplay: () => undefined,
    })
    // An end that was cut is told of by the opening itself, as it would be by the next start.
    if (how === 'begin') await journal.append(repairedDraft(intent))
    await journal.close()
  }
  await forgetRepair(disk, paths)
  return { damage, how, lost, known, files }
}

/** The journal begins with the record after the snapshot, as if the file that the snapshot counts in had ended there. */
async function beginAnew(
  disk: Disk,
  clock: Clock,
  paths: DataPaths,
  segmentBytesMax: number,
  position: Position,
  intent: RepairFact,
): Promise<void> {
  const { seq, h, segment, offset } = position
  const link = { seq, b: seq, h }
  const sealed = { name: sealedName(segment), sizeBytes: offset, link }
  const found = { end: position, link, sealed, activeBytes: undefined, torn: undefined }
  const writer = new ChainWriter(disk, paths, segmentBytesMax, found)
  const at = timestamp(clock)
  try {
    let outcome: Outcome = await writer.open(undefined)
    if (outcome.how === 'done') outcome = await writer.write([encodeDraft(repairedDraft(intent), at)], at)
    if (outcome.how === 'full') throw new NexusError('JOURNAL_FULL', { reason: outcome.reason })
    if (outcome.how === 'broken') throw new NexusError('JOURNAL_UNAVAILABLE', { reason: outcome.reason })
  } finally {
    await writer.close()
  }
}

async function examineDamage(disk: Disk, paths: DataPaths): Promise<Work | undefined> {
  const { damage, last } = await verifyJournal(disk, paths.root)
  if (damage === undefined) return undefined
  if (damage.code !== 'JOURNAL_DAMAGED' && damage.code !== 'JOURNAL_ROLLED_BACK') throw damage
  const segments = await listSegments(disk, paths)
  const at = segments.findIndex(({ name }) => name === damage.facts['file'])
  const begin = await beginAfter(disk, paths, segments, at, damage)
  if (begin !== undefined) {
    const whole = segments.slice(0, at + 1)
    const from_seq = whole[0]?.first ?? 1
    const lost = { from_seq, to_seq: begin.anchor.seq, bytes: sizeOf(whole) }
    const files = whole.map(({ name }) => name)
    const known = Math.max(lost.to_seq, await lastIn(disk, segments))
    return { damage, how: 'begin', lost, known, files, whole, part: undefined, strange: [], ...begin }
  }
  const lineage = await lineageOf(disk, paths, segments)
  const ahead = await believedSnapshot(disk, paths, (seq) => seq > last)
  const to_seq = Math.max(
    last + 1,
    (await lineage.knower(last + 1))?.seq ?? 0,
    at < 0 ? 0 : await lastIn(disk, segments.slice(at)),
  )
  if (ahead !== undefined) {
    const { position: from, anchors } = ahead
    const { seq, h } = from
    const anchor = { seq, h }
    const lost = { from_seq: (await firstIn(disk, segments)) ?? 1, to_seq, bytes: sizeOf(segments) }
    const files = segments.map(({ name }) => name)
    const strange = (await strangeSnapshots(paths, lineage, last)).filter((other) => other.seq > seq)
    const work = { damage, how: 'snapshot', lost, known: seq, files, whole: segments, strange } as const
    return { ...work, part: undefined, anchor, anchors, from }
  }
  // What a compacted journal told is known from a snapshot alone: a cut before it would leave nothing to go on from.
  const snapshot = await believedSnapshot(disk, paths, (seq) => seq <= last)
  if (snapshot === undefined && (await foundation(disk, segments)) !== undefined) throw damage
  const from = snapshot?.position ?? START
  const strange = await strangeSnapshots(paths, lineage, last)
  const rest = { damage, how: 'cut', known: last, strange, anchor: undefined, from } as const
  const base = { ...rest, anchors: snapshot?.anchors ?? [] }
  const bad = segments[at]
  const offset = bad === undefined ? 0 : await goodBytes(disk, segments, at)
  const isGood = bad === undefined || (offset === bad.sizeBytes && at === segments.length - 1)
  if (isGood || damage.code === 'JOURNAL_ROLLED_BACK') {
    // Nothing is wrong with what is there; more of it was known to be durable, or something else.
    const lost = { from_seq: last + 1, to_seq, bytes: 0 }
    return { ...base, lost, files: [], whole: [], part: undefined }
  }
  const whole = segments.slice(offset === 0 ? at : at + 1)
  const part = offset === 0 ? undefined : { segment: bad, offset }
  const bytes = sizeOf(whole) + (part === undefined ? 0 : bad.sizeBytes - offset)
  const files = segments.slice(at).map(({ name }) => name)
  return { ...base, lost: { from_seq: last + 1, to_seq, bytes }, files, whole, part }
}

/** What the other files know, once they were shown every good record. */
async function lineageOf(disk: Disk, paths: DataPaths, segments: readonly Segment[]): Promise<Lineage> {
  const lineage = await Lineage.read(disk, paths)
  let link: Link = (await foundation(disk, segments))?.link ?? GENESIS
  lineage.see(link)
  for (const segment of segments) {
    const from = link
    const end = await readSegment(disk, segment, (file) =>
      scanChain(file, { link: from, offset: 0 }, segment.sizeBytes, (fact) => lineage.see(fact)),
    )
    link = end.link
    if (end.bad !== undefined) break
  }
  return lineage
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

/** Snapshots of another journal than the one which ends with this record. */
async function strangeSnapshots(paths: DataPaths, lineage: Lineage, last: number): Promise<Witness[]> {
  const names = new Set(snapshotsOf(paths).map(([name]) => name))
  return (await lineage.strangers(last)).filter(({ name }) => names.has(name))
}

/** The newest snapshot whose last record is such a one, if it can be read with all that belongs to it. */
async function believedSnapshot(
  disk: Disk,
  paths: DataPaths,
  fits: (seq: number) => boolean,
): Promise<Snapshot | undefined> {
  for (const [name, path] of snapshotsOf(paths)) {
    const { snapshot } = await readSnapshot(disk, path, name)
    if (snapshot === undefined || !fits(snapshot.position.seq)) continue
    const chunks = await Promise.all(snapshot.chunks.map((chunk) => readChunk(disk, paths.index, chunk)))
    if (!chunks.includes(undefined)) return snapshot
  }
  return undefined
}

/** The number of the first record that is there. */
async function firstIn(disk: Disk, segments: readonly Segment[]): Promise<number | undefined> {
  return segments[0]?.first ?? ((await foundation(disk, segments))?.link.seq ?? 0) + 1
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
async function setAside(
  disk: Disk,
  paths: DataPaths,
  { name, path, identity }: Pick<Segment, 'name' | 'path' | 'identity'>,
): Promise<void> {
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
