import type { Clock, Timer } from '../kit/clock.ts'

/** A folder that is written to without end is looked at all the same, after so long. */
const PATIENCE_MS = 5_000
/** Each such look costs a few readings of the folder, so they become rarer while it goes on. */
const PATIENCE_MS_MAX = 300_000

export interface QuietOptions<Id> {
  readonly clock: Clock
  readonly quietMs: number
  /** Two equal stamps mean that nothing was written in between. Never rejects. */
  stamp(id: Id): Promise<string>
  touched(id: Id): void
  settled(id: Id, stamp: string): void
}

/**
 * Tells when something has come to rest: no event for the quiet time, and the same stamp at its middle and at its end.
 *
 * The stamps catch what events do not tell of: writers that are slow, file systems that are lazy.
 */
export class Quiet<Id> {
  readonly #options: QuietOptions<Id>
  readonly #restless = new Map<Id, Restless>()
  /** Of what did not come to rest when it was last looked at. */
  readonly #patienceMs = new Map<Id, number>()
  #closed = false

  constructor(options: QuietOptions<Id>) {
    this.#options = options
  }

  /** Something happened there. */
  note(id: Id): void {
    if (this.#closed) return
    const known = this.#restless.get(id)
    if (known !== undefined) {
      if (!this.#isOverdue(id, known)) this.#wait(id, known, undefined)
      return
    }
    const restless = { sinceMs: this.#options.clock.elapsed(), round: 0, timer: undefined }
    this.#restless.set(id, restless)
    this.#wait(id, restless, undefined)
    this.#options.touched(id)
  }

  close(): void {
    this.#closed = true
    for (const { timer } of this.#restless.values()) timer?.cancel()
    this.#restless.clear()
  }

  #wait(id: Id, restless: Restless, before: string | undefined): void {
    const { clock, quietMs } = this.#options
    restless.timer?.cancel()
    restless.round += 1
    const { round } = restless
    restless.timer = clock.after(quietMs / 2, () => {
      // Nobody awaits a timer; `stamp` never rejects, and the listeners are the daemon's own.
      void this.#look(id, restless, round, before)
    })
  }

  async #look(id: Id, restless: Restless, round: number, before: string | undefined): Promise<void> {
    const stamp = await this.#options.stamp(id)
    if (this.#closed || restless.round !== round) return
    if (stamp !== before && !this.#isOverdue(id, restless)) return this.#wait(id, restless, stamp)
    this.#restless.delete(id)
    if (stamp === before) this.#patienceMs.delete(id)
    else this.#patienceMs.set(id, Math.min(2 * this.#patienceOf(id), PATIENCE_MS_MAX))
    this.#options.settled(id, stamp)
  }

  #isOverdue(id: Id, { sinceMs }: Restless): boolean {
    return this.#options.clock.elapsed() - sinceMs >= this.#patienceOf(id)
  }

  #patienceOf(id: Id): number {
    return this.#patienceMs.get(id) ?? Math.max(PATIENCE_MS, 10 * this.#options.quietMs)
  }
}

interface Restless {
  readonly sinceMs: number
  /** Counts the waits, so that a look which was overtaken by an event comes to nothing. */
  round: number
  timer: Timer | undefined
}
