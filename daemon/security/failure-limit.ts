import type { Clock } from '../kit/clock.ts'

/** Ten wrong keys a minute are a person who mistypes; five at once a script that was just misconfigured. */
const PER_MINUTE = 10
const BURST = 5
const MINUTE_MS = 60_000

/**
 * Counts failures, and only those: whoever has the right key is never kept waiting by somebody who guesses.
 *
 * What it saves is work and noise. The keys themselves are too long to be guessed at any speed.
 */
export class FailureLimit {
  readonly #clock: Clock
  #tokens = BURST
  #atMs: number

  constructor(clock: Clock) {
    this.#clock = clock
    this.#atMs = clock.elapsed()
  }

  /** Takes note of one failure. False when there were too many: it deserves no more attention. */
  take(): boolean {
    const nowMs = this.#clock.elapsed()
    this.#tokens = Math.min(BURST, this.#tokens + ((nowMs - this.#atMs) * PER_MINUTE) / MINUTE_MS)
    this.#atMs = nowMs
    if (this.#tokens < 1) return false
    this.#tokens -= 1
    return true
  }

  /** Whole seconds until a failure is heard again. */
  get waitSeconds(): number {
    return Math.max(1, Math.ceil(((1 - this.#tokens) * MINUTE_MS) / PER_MINUTE / 1_000))
  }
}
