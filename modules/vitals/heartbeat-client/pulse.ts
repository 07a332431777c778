/** Time as it is handed in, so that a test owns it. */
export interface Clock {
  now(): number
  elapsed(): number
  after(waitMs: number, ring: () => void): { cancel(): void }
}

export interface Rhythm {
  readonly intervalMs: number
  /** One regular beat is due. It does not wait for the one before. */
  beat(): void
}

/**
 * When beats are due: on a steady grid that does not drift with what a beat takes. One timer at a time, and what was
 * missed (a machine asleep) is not made up for.
 */
export class Pulse {
  readonly #clock: Clock
  readonly #beat: () => void
  #intervalMs: number
  /** When the last regular beat was due; the grid hangs on it. */
  #lastMs: number
  #dueMs: number | undefined
  #timer: { cancel(): void } | undefined

  /** @param agoMs - Since the last beat, when a former generation made one: the grid goes on. Else the first is due now. */
  constructor(clock: Clock, { intervalMs, beat }: Rhythm, agoMs: number | undefined) {
    this.#clock = clock
    this.#beat = beat
    this.#intervalMs = intervalMs
    this.#lastMs = clock.elapsed() - Math.max(0, agoMs ?? intervalMs)
    this.#arm()
  }

  /** Until the next regular beat; undefined when stopped. */
  get dueInMs(): number | undefined {
    return this.#dueMs === undefined ? undefined : Math.max(0, this.#dueMs - this.#clock.elapsed())
  }

  /** The next beat comes one new interval after the last one, or now when that has passed: no gap, and none twice. */
  changeInterval(intervalMs: number): void {
    if (intervalMs === this.#intervalMs || this.#dueMs === undefined) return
    this.#intervalMs = intervalMs
    this.#arm()
  }

  stop(): void {
    this.#timer?.cancel()
    this.#dueMs = undefined
  }

  #arm(): void {
    this.#timer?.cancel()
    const nowMs = this.#clock.elapsed()
    this.#dueMs = Math.max(nowMs, this.#lastMs + this.#intervalMs)
    this.#timer = this.#clock.after(this.#dueMs - nowMs, () => this.#ring())
  }

  #ring(): void {
    if (this.#dueMs === undefined) return
    const nowMs = this.#clock.elapsed()
    const late = nowMs - this.#dueMs >= this.#intervalMs
    this.#lastMs = late ? nowMs : this.#dueMs
    this.#arm()
    this.#beat()
  }
}

/** The clock of the machine. */
export const systemClock: Clock = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
  after(waitMs, ring) {
    const timer = setTimeout(ring, Math.ceil(waitMs))
    return { cancel: () => clearTimeout(timer) }
  },
}
