import type { Fact } from '../contracts/fact.ts'
import { ActiveSegment, type Outcome } from './active-segment.ts'
import type { DataPaths } from './data-folder.ts'
import type { Disk } from './disk.ts'
import { type EncodedDraft, encodeDraft, type Link, sealBatch } from './line.ts'
import type { Findings, Position } from './recovery.ts'
import { type Sealed, sealedName } from './segments.ts'

/** A batch that is durable, the opening record of a new segment included. */
export interface Written {
  readonly how: 'done'
  readonly facts: readonly Fact[]
  /** How many of the first ones were not asked for. */
  readonly added: number
  readonly sizeBytes: number
}

/** Who writes what the journal itself has to say. */
export const JOURNAL_ACTOR = { kind: 'daemon', name: 'nexusd' } as const

/** Extends the chain batch by batch, and goes on to a new segment when one is full. One caller at a time. */
export class ChainWriter {
  readonly #segmentBytesMax: number
  readonly #active: ActiveSegment
  #position: Position
  #link: Link
  #sealed: Sealed | undefined
  #sealNext = false

  constructor(disk: Disk, paths: DataPaths, segmentBytesMax: number, found: Findings) {
    this.#segmentBytesMax = segmentBytesMax
    this.#active = new ActiveSegment(disk, paths)
    this.#position = found.end
    this.#link = found.link
    this.#sealed = found.sealed
  }

  /** After the last durable record. */
  get position(): Position {
    return this.#position
  }

  /** The last segment that was sealed. */
  get sealed(): Sealed | undefined {
    return this.#sealed
  }

  /** The next write begins a new segment, whatever the size of this one. */
  sealNext(): void {
    this.#sealNext = true
  }

  /** Opens the file that was found, or makes the one that is missing. */
  open(activeBytes: number | undefined): Promise<Outcome> {
    return activeBytes === undefined ? this.#active.create() : this.#active.attach(activeBytes)
  }

  /** One write and one sync. After `full` the chain goes on from where it was. */
  async write(
    drafts: readonly EncodedDraft[],
    ts: string,
  ): Promise<Written | Exclude<Outcome, { how: 'done' }>> {
    const ready = await this.#prepareSegment()
    if (ready.how !== 'done') return ready

    const opening = this.#openingDraft(ts)
    const batch = sealBatch(opening === undefined ? drafts : [opening, ...drafts], this.#link)
    const outcome = await this.#active.commit(batch.bytes)
    if (outcome.how !== 'done') return outcome

    const { seq, b, h } = batch.link
    this.#link = batch.link
    const segment = opening === undefined ? this.#position.segment : b
    this.#position = { seq, h, segment, offset: this.#active.sizeBytes }
    return {
      how: 'done',
      facts: batch.facts,
      added: opening === undefined ? 0 : 1,
      sizeBytes: batch.bytes.length,
    }
  }

  /** Whether the file still stands in its place. */
  inspect(): Promise<Outcome> {
    return this.#active.inspect()
  }

  close(): Promise<void> {
    return this.#active.close()
  }

  /** Seals a segment that has reached its size, and sees to it that there is one to write to. */
  async #prepareSegment(): Promise<Outcome> {
    const isDue = this.#sealNext || this.#active.sizeBytes >= this.#segmentBytesMax
    if (this.#active.isOpen && this.#active.sizeBytes > 0 && isDue) {
      const { segment, offset } = this.#position
      const outcome = await this.#active.seal(segment)
      if (outcome.how === 'broken') return outcome
      // Without room for a new name the old file simply grows on.
      if (outcome.how === 'done') {
        this.#sealNext = false
        this.#sealed = { name: sealedName(segment), sizeBytes: offset, link: this.#link }
      }
    }
    return this.#active.isOpen ? { how: 'done' } : this.#active.create()
  }

  /** The record that a new segment begins with, unless it is the very first. */
  #openingDraft(ts: string): EncodedDraft | undefined {
    if (this.#active.sizeBytes > 0 || this.#sealed === undefined) return undefined
    const { name, sizeBytes, link } = this.#sealed
    const d = { sealed: name, bytes: sizeBytes, last_seq: link.seq, last_h: link.h }
    return encodeDraft({ type: 'journal.segment_opened', actor: JOURNAL_ACTOR, d }, ts)
  }
}
