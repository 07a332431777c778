import type { Clock, Timer } from '../kit/clock.ts'
import { judgeNeeds, type Need, type NeedsVerdict } from './needs.ts'

/** Whether a module is held back by what it requires, and since when. */
export class Requirements {
  readonly #clock: Clock
  readonly #needs: () => readonly Need[]
  readonly #waiters = new Set<() => void>()
  #timer: Timer | undefined
  #heldSinceMs: number | undefined

  /** @param needs - Everything it requires, as it stands now. */
  constructor(clock: Clock, needs: () => readonly Need[]) {
    this.#clock = clock
    this.#needs = needs
  }

  /** Since when what it requires is away, while it is held back for that; monotonic. */
  get heldSinceMs(): number | undefined {
    return this.#heldSinceMs
  }

  judge(): NeedsVerdict {
    return judgeNeeds(this.#needs(), this.#clock.elapsed())
  }

  /** From now on it waits. What waits for it in turn counts from the absence that caused it. */
  hold(sinceMs: number): void {
    this.rest()
    this.#heldSinceMs = sinceMs
  }

  /** It goes on. */
  release(): void {
    this.#heldSinceMs = undefined
  }

  /** Calls `look` when an absence is no longer brief. */
  lookIn(waitMs: number, look: () => void): void {
    this.#timer?.cancel()
    this.#timer = this.#clock.after(waitMs, look)
  }

  /** There is nothing more to wait for: it is back, it stays away, or the module itself ends. */
  rest(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    for (const resolve of this.#waiters) resolve()
    this.#waiters.clear()
  }

  /** Resolves at the next `rest`. */
  rested(): Promise<void> {
    return new Promise((resolve) => this.#waiters.add(resolve))
  }
}
