import type { Clock, Timer } from '../kit/clock.ts'

/**
 * The execution time of a mission, on the monotonic clock and over all its attempts. Stands still while nothing but a
 * backoff goes on.
 */
export class WorkTime {
  readonly #clock: Clock
  readonly #maxMs: number
  readonly #up: () => void
  /** Used up when the watch was last started or stopped. */
  #usedMs: number
  /** Undefined while it stands still. */
  #sinceMs: number | undefined
  #timer: Timer | undefined

  /** @param up - Called once when the time is used up. */
  constructor(clock: Clock, usedMs: number, maxMs: number, up: () => void) {
    this.#clock = clock
    this.#usedMs = usedMs
    this.#maxMs = maxMs
    this.#up = up
    this.run()
  }

  get usedMs(): number {
    return this.#usedMs + (this.#sinceMs === undefined ? 0 : this.#clock.elapsed() - this.#sinceMs)
  }

  get leftMs(): number {
    return this.#maxMs - this.usedMs
  }

  run(): void {
    if (this.#sinceMs !== undefined) return
    this.#sinceMs = this.#clock.elapsed()
    this.#timer = this.#clock.after(Math.max(0, this.leftMs), this.#up)
  }

  rest(): void {
    this.#usedMs = this.usedMs
    this.#sinceMs = undefined
    this.#timer?.cancel()
  }
}
