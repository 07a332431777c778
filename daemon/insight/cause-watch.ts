import type { Clock, Timer } from '../kit/clock.ts'

/** What is to be looked at when it has been quiet for long enough. */
interface Standing {
  /** Wall time at which it is over if nothing more happens; undefined when nothing stands. */
  readonly untilMs: number | undefined
  look(nowMs: number): void
}

/** Wakes up when a system omen may be over, so that its end is told though nothing else happens. Otherwise it rests. */
export class CauseWatch {
  readonly #clock: Clock
  readonly #standing: () => Standing
  #timer: Timer | undefined
  #isOn = false

  constructor(clock: Clock, standing: () => Standing) {
    this.#clock = clock
    this.#standing = standing
  }

  begin(): void {
    this.#isOn = true
    this.changed()
  }

  stop(): void {
    this.#isOn = false
    this.#timer?.cancel()
    this.#timer = undefined
  }

  /** To be called when something may stand that did not before. */
  changed(): void {
    const { untilMs } = this.#standing()
    if (!this.#isOn || untilMs === undefined || this.#timer !== undefined) return
    // One look for each timer: more failures move the end, and the next look then.
    this.#timer = this.#clock.after(Math.max(WAIT_MS_MIN, untilMs - this.#clock.now() + 1), () => {
      this.#timer = undefined
      this.#standing().look(this.#clock.now())
      this.changed()
    })
  }
}

/** A wall clock that jumps must not make it look again and again. */
const WAIT_MS_MIN = 1_000
