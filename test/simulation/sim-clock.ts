import type { Clock, Timer } from '../../daemon/kit/clock.ts'
import { settle } from './turns.ts'

/** The clock of one life: `elapsed` begins at zero with the process, `now` goes on from where the wall clock stood. */
export class SimClock implements Clock {
  #elapsedMs = 0
  #wallMs: number
  #timers: { readonly atMs: number; readonly ring: () => void }[] = []

  constructor(wallMs: number) {
    this.#wallMs = wallMs
  }

  now(): number {
    return this.#wallMs
  }

  elapsed(): number {
    return this.#elapsedMs
  }

  after(waitMs: number, ring: () => void): Timer {
    const timer = { atMs: this.#elapsedMs + Math.max(0, waitMs), ring }
    this.#timers.push(timer)
    const cancel = (): void => {
      const place = this.#timers.indexOf(timer)
      if (place >= 0) this.#timers.splice(place, 1)
    }
    return { cancel }
  }

  /** The wall clock alone. */
  jump(byMs: number): void {
    this.#wallMs += byMs
  }

  /** How long until the next timer rings. */
  get nextInMs(): number | undefined {
    let atMs = Number.POSITIVE_INFINITY
    for (const timer of this.#timers) atMs = Math.min(atMs, timer.atMs)
    return atMs === Number.POSITIVE_INFINITY ? undefined : atMs - this.#elapsedMs
  }

  /** Lets `byMs` pass; each timer rings at its time, and what it starts goes on before the next one. */
  async pass(byMs: number): Promise<void> {
    const endMs = this.#elapsedMs + byMs
    for (;;) {
      let next: { readonly atMs: number; readonly ring: () => void } | undefined
      for (const timer of this.#timers) {
        if (timer.atMs <= endMs && (next === undefined || timer.atMs < next.atMs)) next = timer
      }
      if (next === undefined) break
      this.#timers.splice(this.#timers.indexOf(next), 1)
      this.#move(next.atMs)
      next.ring()
      await settle()
    }
    this.#move(endMs)
  }

  #move(toMs: number): void {
    this.#wallMs += toMs - this.#elapsedMs
    this.#elapsedMs = toMs
  }
}
