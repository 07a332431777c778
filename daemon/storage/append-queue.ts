import type { Fact } from '../contracts/fact.ts'
import { NexusError } from '../contracts/failure.ts'
import type { EncodedDraft } from './line.ts'

/** Drafts that were handed in together, and their promise. */
export interface Group {
  readonly drafts: readonly EncodedDraft[]
  readonly sizeBytes: number
  readonly sinceMs: number
  resolve(facts: readonly Fact[]): void
  reject(error: NexusError): void
}

/** What the queue may hold in memory, whatever the size of its records. */
const QUEUE_BYTES_MAX = 32 * 1_048_576
/** A batch is written in a few milliseconds, so one that arrives late does not wait long. */
const BATCH_BYTES_MAX = 1_048_576

/** What waits for the disk, in the order of arrival. */
export class AppendQueue {
  readonly #recordsMax: number
  #groups: Group[] = []
  #records = 0
  #sizeBytes = 0

  constructor(recordsMax: number) {
    this.#recordsMax = recordsMax
  }

  get isEmpty(): boolean {
    return this.#groups.length === 0
  }

  get oldest(): Group | undefined {
    return this.#groups[0]
  }

  /** Rejects with `JOURNAL_BUSY` when it is full. */
  push(drafts: readonly EncodedDraft[], sinceMs: number): Promise<readonly Fact[]> {
    const sizeBytes = drafts.reduce((sum, draft) => sum + draft.sizeBytesMax, 0)
    if (this.#records + drafts.length > this.#recordsMax || this.#sizeBytes + sizeBytes > QUEUE_BYTES_MAX) {
      return Promise.reject(new NexusError('JOURNAL_BUSY', { limit: this.#recordsMax }))
    }
    return new Promise((resolve, reject) => {
      this.#groups.push({ drafts, sizeBytes, sinceMs, resolve, reject })
      this.#records += drafts.length
      this.#sizeBytes += sizeBytes
    })
  }

  /** The oldest groups: as many as fit into a batch, and one at least, because none is ever split. */
  takeBatch(): Group[] {
    let count = 0
    let sizeBytes = 0
    for (const group of this.#groups) {
      if (count > 0 && sizeBytes + group.sizeBytes > BATCH_BYTES_MAX) break
      sizeBytes += group.sizeBytes
      count += 1
    }
    return this.#take(count)
  }

  takeAll(): Group[] {
    return this.#take(this.#groups.length)
  }

  #take(count: number): Group[] {
    const taken = this.#groups.splice(0, count)
    for (const { drafts, sizeBytes } of taken) {
      this.#records -= drafts.length
      this.#sizeBytes -= sizeBytes
    }
    return taken
  }
}
