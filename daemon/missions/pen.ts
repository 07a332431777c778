import { withStepFact } from './fold.ts'
import type { Mission } from './mission.ts'
import type { Decided } from './port.ts'

/**
 * What an attempt writes, in order: whatever was put down until the next flush goes into one batch, so that the end
 * of a step and the start of the next, or the end of its mission, cost one sync together.
 *
 * Once a batch could not be written nothing more can, and every flush says why.
 */
export class Pen {
  readonly #write: (records: readonly Decided[]) => Promise<unknown>
  #mission: Mission
  #records: Decided[] = []
  #last: Promise<unknown> = Promise.resolve()
  #next: Promise<unknown> | undefined

  /** @param write - Resolves when the batch is durable. */
  constructor(claimed: Mission, write: (records: readonly Decided[]) => Promise<unknown>) {
    this.#mission = claimed
    this.#write = write
  }

  /** The mission as it will be with all that was put down. */
  get mission(): Mission {
    return this.#mission
  }

  put(record: Decided): void {
    const { id, epoch, updatedAt } = this.#mission
    this.#mission = withStepFact(this.#mission, record.fact(id, epoch), updatedAt)
    this.#records.push(record)
  }

  /** Resolves when all that was put down is durable. */
  flush(): Promise<unknown> {
    if (this.#next !== undefined) return this.#next
    if (this.#records.length === 0) return this.#last
    const batch = this.#last.then(() => {
      const records = this.#records
      this.#records = []
      this.#next = undefined
      this.#last = batch
      return this.#write(records)
    })
    this.#next = batch
    batch.catch(() => {}) // whoever needs it durable asks for it, and is told
    return batch
  }
}
