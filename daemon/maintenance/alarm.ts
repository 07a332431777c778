import type { Clock, Timer } from '../kit/clock.ts'

/**
 * A wall clock may be put forward or back, and a machine may sleep; a timer knows nothing of that. So no wait is longer
 * than this before the clock is looked at again. Nothing rings while nothing is scheduled.
 */
const HOP_MS = 60_000

/** Rings when the wall clock shows a time, or is looked at on the way there. */
export class Alarm {
  readonly #clock: Clock
  readonly #ring: () => void
  #timer: Timer | undefined
  #atMs = Number.POSITIVE_INFINITY

  constructor(clock: Clock, ring: () => void) {
    this.#clock = clock
    this.#ring = ring
  }

  /** Replaces what was set before; infinity is never. */
  set(atMs: number): void {
    this.cancel()
    this.#atMs = atMs
    if (atMs === Number.POSITIVE_INFINITY) return
    const waitMs = Math.max(0, Math.min(HOP_MS, atMs - this.#clock.now()))
    this.#timer = this.#clock.after(waitMs, () => this.#ring())
  }

  /** No later than what is set. */
  setBy(atMs: number): void {
    if (atMs < this.#atMs) this.set(atMs)
  }

  cancel(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#atMs = Number.POSITIVE_INFINITY
  }
}
