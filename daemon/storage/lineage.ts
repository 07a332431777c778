import { NexusError } from '../contracts/failure.ts'
import type { DataPaths } from './data-folder.ts'
import type { Disk } from './disk.ts'
import { ACTIVE_NAME } from './segments.ts'
import { claimOf, isWhole } from './snapshot.ts'
import { readWatermark } from './watermark.ts'

/** A file beside the journal that names a record which was durable. */
export interface Witness {
  readonly name: string
  readonly seq: number
  readonly h: string
  /** Asked only when it disagrees with the journal: the answer may cost a read of the whole file. */
  isBelieved(): Promise<boolean>
}

/**
 * What the rest of the data folder knows of the journal: the watermark and both snapshots. Each may lag and none ever
 * leads, so a journal that does not reach them was rolled back or cut, however well its own chain holds.
 */
export class Lineage {
  readonly #witnesses: readonly Witness[]
  readonly #disagreeing = new Set<Witness>()

  /** Before the journal is listed: a daemon that writes meanwhile only makes the journal longer. */
  static async read(disk: Disk, paths: DataPaths): Promise<Lineage> {
    const watermark = await readWatermark(disk, paths.watermark)
    const found: Witness[] = []
    if (watermark !== undefined) {
      const { seq, h } = watermark
      found.push({ name: 'run/journal.wm', seq, h, isBelieved: async () => true })
    }
    for (const [name, path] of snapshotsOf(paths)) {
      const claim = await claimOf(disk, path)
      if (claim !== undefined) found.push({ name, ...claim, isBelieved: () => isWhole(disk, path, claim) })
    }
    return new Lineage(found)
  }

  private constructor(witnesses: readonly Witness[]) {
    this.#witnesses = witnesses
  }

  /** A record of the journal. */
  see(record: { readonly seq: number; readonly h: string }): void {
    for (const witness of this.#witnesses) {
      if (witness.seq === record.seq && witness.h !== record.h) this.#disagreeing.add(witness)
    }
  }

  /** Who knows this record or a later one. */
  async knower(seq: number): Promise<Witness | undefined> {
    return firstBelieved(this.#witnesses.filter((witness) => witness.seq >= seq))
  }

  /** Those that do not fit a journal whose records were all seen, and which ends with this one. */
  async strangers(endSeq: number): Promise<readonly Witness[]> {
    const doubtful = this.#witnesses.filter(
      (witness) => witness.seq > endSeq || this.#disagreeing.has(witness),
    )
    const believed: Witness[] = []
    for (const witness of doubtful) if (await witness.isBelieved()) believed.push(witness)
    return believed
  }

  /**
   * The records that there are were seen, and the last one is this.
   *
   * @throws NexusError `JOURNAL_ROLLED_BACK`.
   */
  async check(endSeq: number, isActiveThere: boolean): Promise<void> {
    const other = await firstBelieved([...this.#disagreeing])
    if (other !== undefined) throw rolledBack(other, endSeq, 'has another record there')
    const ahead = await this.knower(endSeq + 1)
    const missing = isActiveThere ? '' : `: ${ACTIVE_NAME} is missing`
    if (ahead !== undefined) throw rolledBack(ahead, endSeq, `ends with record ${endSeq}${missing}`)
  }
}

/** Why what looks like a torn write is none. */
export function durableReason(reason: string, { name, seq }: Witness): string {
  return `${reason}, and this record was durable (${name} knows ${seq})`
}

/** The snapshots by the names that people read. */
export function snapshotsOf(paths: DataPaths): readonly (readonly [name: string, path: string])[] {
  return [
    ['system_state.json', paths.systemState],
    ['system_state.former.json', paths.formerState],
  ]
}

async function firstBelieved(witnesses: readonly Witness[]): Promise<Witness | undefined> {
  // The one that knows most tells most of what is missing.
  for (const witness of witnesses.toSorted((a, b) => b.seq - a.seq)) {
    if (await witness.isBelieved()) return witness
  }
  return undefined
}

function rolledBack({ name, seq }: Witness, endSeq: number, reason: string): NexusError {
  return new NexusError('JOURNAL_ROLLED_BACK', {
    by: name,
    known: seq,
    file: ACTIVE_NAME,
    seq: endSeq,
    reason,
  })
}
