import type { Clock, Timer } from '../kit/clock.ts'
import { Turnstile } from '../kit/turnstile.ts'

/** A start after a crash that waits for its time and for its turn. */
export interface PlannedStart {
  /** When it is to happen, on the monotonic clock: later than asked for when the budget is used up. */
  atMs(): number
  /** Gives the place to whoever comes next. Safe to call twice, and after it rang. */
  cancel(): void
}

interface Entry {
  readonly readyAtMs: number
  readonly ring: () => void
}

const WINDOW_MS = 60_000

/**
 * The starts of the whole daemon. Those after a crash: at most so many in any 60 s, the others in the order in which
 * their backoff ends. Fifty modules that crash together may not eat the machine.
 */
export class StartQueue {
  readonly #clock: Clock
  readonly #perMinute: number
  /** By the end of their backoff, then by arrival. */
  readonly #waiting: Entry[] = []
  /** The newest starts, oldest first, as many as the budget counts. */
  #startsMs: number[] = []
  readonly #turnstile = new Turnstile()
  #timer: Timer | undefined
  #plan: ReadonlyMap<Entry, number> | undefined

  constructor(clock: Clock, perMinute: number) {
    this.#clock = clock
    this.#perMinute = perMinute
  }

  /** Calls `ring` once, after `waitMs` at the earliest; at once when neither time nor turn is in the way. */
  put(waitMs: number, ring: () => void): PlannedStart {
    const entry = { readyAtMs: this.#clock.elapsed() + Math.max(0, waitMs), ring }
    const behind = this.#waiting.findIndex(({ readyAtMs }) => readyAtMs > entry.readyAtMs)
    this.#waiting.splice(behind === -1 ? this.#waiting.length : behind, 0, entry)
    this.#plan = undefined
    this.#go()
    return {
      atMs: () => this.#planned().get(entry) ?? entry.readyAtMs,
      cancel: () => this.#cancel(entry),
    }
  }

  /** Resolves in a turn of the event loop in which no other host is started, whyever it is: that takes a while. */
  turn(): Promise<void> {
    return this.#turnstile.pass()
  }

  #cancel(entry: Entry): void {
    const place = this.#waiting.indexOf(entry)
    if (place === -1) return
    this.#waiting.splice(place, 1)
    this.#plan = undefined
    if (place === 0) this.#go()
  }

  /** Starts what is due and sets the timer for the first of the others. */
  #go(): void {
    this.#timer?.cancel()
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      const nowMs = this.#clock.elapsed()
      const waitMs = this.#startAtMs(first, this.#startsMs) - nowMs
      if (waitMs > 0) {
        this.#timer = this.#clock.after(waitMs, () => this.#go())
        return
      }
      this.#waiting.shift()
      this.#startsMs = [...this.#startsMs, nowMs].slice(-this.#perMinute)
      this.#plan = undefined
      first.ring()
    }
  }

  #startAtMs({ readyAtMs }: Entry, startsMs: readonly number[]): number {
    const blocking = startsMs.at(-this.#perMinute)
    return blocking === undefined ? readyAtMs : Math.max(readyAtMs, blocking + WINDOW_MS)
  }

  /** When each is to start, if nothing changes. */
  #planned(): ReadonlyMap<Entry, number> {
    if (this.#plan !== undefined) return this.#plan
    const startsMs = [...this.#startsMs]
    const plan = new Map<Entry, number>()
    for (const entry of this.#waiting) {
      const atMs = this.#startAtMs(entry, startsMs)
      startsMs.push(atMs)
      plan.set(entry, atMs)
    }
    this.#plan = plan
    return plan
  }
}
