import { NexusError } from '../contracts/failure.ts'
import { type DataPaths, dataPaths } from './data-folder.ts'
import type { Disk } from './disk.ts'
import { GENESIS } from './line.ts'
import { durableReason, Lineage } from './lineage.ts'
import { scanChain } from './scan.ts'
import {
  type Anchor,
  anchorsIn,
  checkBeginning,
  damagedAt,
  foundation,
  gapBefore,
  listSegments,
  readSegment,
  type Segment,
} from './segments.ts'

export interface VerifyReport {
  readonly ok: boolean
  /** Those that are there: what was compacted is gone. */
  readonly records: number
  /** Files read, the active one included. */
  readonly segments: number
  readonly first: number
  readonly last: number
  readonly lastH: string
  /** The first thing wrong: `JOURNAL_DAMAGED`, `JOURNAL_ROLLED_BACK` or `JOURNAL_NEWER`. */
  readonly damage?: NexusError
  /** Bytes of a last line without its end: being written now, or torn; a start would cut them. */
  readonly tailOpen?: { readonly offset: number; readonly bytes: number }
}

/** A running daemon may rotate while the files are read; it does not do so often. */
const TRIES_MAX = 4

/** Reads the whole journal from its first record on and changes nothing. Works while a daemon runs. */
export async function verifyJournal(
  disk: Disk,
  dataDir: string,
  signal?: AbortSignal,
): Promise<VerifyReport> {
  const paths = dataPaths(dataDir)
  for (let tries = 1; ; tries += 1) {
    const before = await snapshotOf(disk, paths)
    const report = await verifyOnce(disk, paths, signal)
    if (report.ok || tries >= TRIES_MAX || before === (await snapshotOf(disk, paths))) return report
  }
}

async function verifyOnce(disk: Disk, paths: DataPaths, signal?: AbortSignal): Promise<VerifyReport> {
  let link = GENESIS
  let before = 0
  const anchors: Anchor[] = []
  let segments = 0
  let tailOpen: VerifyReport['tailOpen']
  let damage: NexusError | undefined
  try {
    const lineage = await Lineage.read(disk, paths)
    const files = await listSegments(disk, paths)
    const base = await foundation(disk, files)
    link = base?.link ?? GENESIS
    before = link.seq
    lineage.see(link)
    for (const segment of files) {
      segments += 1
      const first = link.seq + 1
      if (segment.first !== undefined && segment.first !== first) throw gapBefore(segment, first)
      const end = await readSegment(disk, segment, (file) =>
        scanChain(file, { link, offset: 0 }, segment.sizeBytes, (fact) => {
          signal?.throwIfAborted()
          link = fact
          anchors.push(...anchorsIn(fact))
          lineage.see(fact)
        }),
      )
      if (end.bad?.newer !== undefined) {
        throw new NexusError('JOURNAL_NEWER', { file: segment.name, found: end.bad.newer, known: 1 })
      }
      const knower = end.bad && (await lineage.knower(end.link.seq + 1))
      if (end.bad !== undefined && knower !== undefined) {
        throw damagedAt(
          segment.name,
          end.offset,
          end.link.seq + 1,
          first,
          durableReason(end.bad.reason, knower),
        )
      }
      if (end.bad?.open === true && segment.first === undefined && !end.bad.edited) {
        tailOpen = { offset: end.offset, bytes: segment.sizeBytes - end.offset }
      } else if (end.bad !== undefined) {
        throw damagedAt(segment.name, end.offset, link.seq + 1, first, end.bad.reason)
      } else if (segment.first !== undefined && segment.sizeBytes === 0) {
        throw damagedAt(segment.name, 0, first, first, 'a sealed segment is empty')
      }
    }
    checkBeginning(base, anchors)
    await lineage.check(link.seq, files.at(-1)?.first === undefined && files.length > 0)
  } catch (error) {
    if (!(error instanceof NexusError)) throw error
    damage = error
  }
  return {
    ok: damage === undefined,
    records: link.seq - before,
    segments,
    first: link.seq === before ? 0 : before + 1,
    last: link.seq,
    lastH: link.h,
    ...(damage && { damage }),
    ...(tailOpen && { tailOpen }),
  }
}

/** What is where: changes with a rotation. */
async function snapshotOf(disk: Disk, paths: DataPaths): Promise<string> {
  const segments = await listSegments(disk, paths).catch((): Segment[] => [])
  return segments.map((segment) => `${segment.name}=${segment.identity}`).join()
}
