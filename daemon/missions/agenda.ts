import type { MissionId } from '../contracts/ids.ts'
import type { Clock, Timer } from '../kit/clock.ts'

/**
 * What is due for which mission, with one timer for the nearest. Measured on the monotonic clock, so a wall clock
 * that jumps neither expires approvals nor starts missions early.
 */
export class Agenda {
  readonly #clock: Clock
  readonly #ring: (id: MissionId) => void
  readonly #dueMs = new Map<MissionId, number>()
  #timer: Timer | undefined
  #timerMs = Number.POSITIVE_INFINITY

  /** @param ring - Called once for each entry, when it is due. */
  constructor(clock: Clock, ring: (id: MissionId) => void) {
    this.#clock = clock
    this.#ring = ring
  }

  /** Replaces an earlier entry of the same mission. */
  put(id: MissionId, waitMs: number): void {
    const dueMs = this.#clock.elapsed() + Math.max(0, waitMs)
    this.#dueMs.set(id, dueMs)
    if (dueMs < this.#timerMs) this.#arm(dueMs)
  }

  drop(id: MissionId): void {
    // The timer may ring for nothing; that is cheaper than a search for the next one at every drop.
    this.#dueMs.delete(id)
  }

  /** What is left to wait, in milliseconds; undefined without an entry. */
  waitMs(id: MissionId): number | undefined {
    const dueMs = this.#dueMs.get(id)
    return dueMs === undefined ? undefined : Math.max(0, dueMs - this.#clock.elapsed())
  }

  /** Forgets everything. */
  close(): void {
    this.#dueMs.clear()
    this.#timer?.cancel()
    this.#timerMs = Number.POSITIVE_INFINITY
  }

  #arm(dueMs: number): void {
    this.#timer?.cancel()
    this.#timerMs = dueMs
    this.#timer = this.#clock.after(Math.max(0, dueMs - this.#clock.elapsed()), () => this.#look())
  }

  #look(): void {
    this.#timerMs = Number.POSITIVE_INFINITY
    const nowMs = this.#clock.elapsed()
    const due = [...this.#dueMs].filter(([, dueMs]) => dueMs <= nowMs).sort(([, a], [, b]) => a - b)
    for (const [id] of due) this.#dueMs.delete(id)
    let nextMs = Number.POSITIVE_INFINITY
    for (const dueMs of this.#dueMs.values()) nextMs = Math.min(nextMs, dueMs)
    if (nextMs < Number.POSITIVE_INFINITY) this.#arm(nextMs)
    for (const [id] of due) this.#ring(id)
  }
}
