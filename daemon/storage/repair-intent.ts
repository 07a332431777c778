import { dirname } from 'node:path'
import type { Fact, FactDraft } from '../contracts/fact.ts'
import { writeAtomically } from './atomic-file.ts'
import { JOURNAL_ACTOR } from './chain-writer.ts'
import type { DataPaths } from './data-folder.ts'
import { type Disk, readWhole } from './disk.ts'

/** What `journal.repaired` tells. */
export interface RepairFact {
  readonly how: 'cut' | 'begin' | 'snapshot'
  readonly because: string
  readonly lost: { readonly from_seq: number; readonly to_seq: number; readonly bytes: number }
  /** What this record and those before it told is still known. */
  readonly known: number
  readonly files: readonly string[]
  readonly segments: readonly { readonly last_seq: number; readonly last_h: string }[]
}

const SIZE_BYTES_MAX = 65_536

export function repairedDraft(intent: RepairFact): FactDraft {
  return { type: 'journal.repaired', actor: JOURNAL_ACTOR, d: { ...intent } }
}

/**
 * Makes durable what a repair is about to do, before it does it. What one before it has begun and not told is told with
 * it.
 */
export async function announceRepair(disk: Disk, paths: DataPaths, intent: RepairFact): Promise<RepairFact> {
  const former = await readRepair(disk, paths)
  const whole = former === undefined ? intent : joined(former, intent)
  await writeAtomically(disk, paths.repair, Buffer.from(JSON.stringify(whole)))
  return whole
}

export async function forgetRepair(disk: Disk, paths: DataPaths): Promise<void> {
  await disk.unlink(paths.repair)
  await disk.syncDir(dirname(paths.repair))
}

/** Watches a replay that begins after `fromSeq` for whether the announced repair was made, and told. */
export async function repairWatch(
  disk: Disk,
  paths: DataPaths,
  fromSeq: number,
): Promise<RepairWatch | undefined> {
  const intent = await readRepair(disk, paths)
  if (intent === undefined) return undefined
  let goesOn = fromSeq > intent.known
  return {
    see: ({ seq, type }) => {
      if (seq > intent.known && !BY_THE_OPENING.has(type)) goesOn = true
    },
    // A journal that goes on behind the cut has told of it already, or it was put back whole.
    untold: (endSeq) => (intent.how === 'cut' && endSeq >= intent.known && !goesOn ? intent : undefined),
  }
}

export interface RepairWatch {
  see(fact: Fact): void
  /** What is still to be told by a journal that was read up to this record. */
  untold(endSeq: number): RepairFact | undefined
}

/** What an opening may write before a repair is told. */
const BY_THE_OPENING = new Set(['journal.segment_opened', 'journal.tail_cut'])

async function readRepair(disk: Disk, paths: DataPaths): Promise<RepairFact | undefined> {
  const bytes = await readWhole(disk, paths.repair, SIZE_BYTES_MAX)
  try {
    return bytes === undefined ? undefined : JSON.parse(bytes.toString())
  } catch {
    return undefined
  }
}

function joined(former: RepairFact, intent: RepairFact): RepairFact {
  const lost = {
    from_seq: Math.min(former.lost.from_seq, intent.lost.from_seq),
    to_seq: Math.max(former.lost.to_seq, intent.lost.to_seq),
    bytes: former.lost.bytes + intent.lost.bytes,
  }
  return { ...intent, lost, files: [...new Set([...former.files, ...intent.files])] }
}
