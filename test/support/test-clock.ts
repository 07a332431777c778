import type { Clock, Timer } from '../../daemon/kit/clock.ts'

interface Pending {
  readonly atMs: number
  readonly order: number
  readonly ring: () => void
}

/** A clock that stands still until the test moves it. */
export class TestClock implements Clock {
  #elapsedMs = 0
  #wallMs: number
  #order = 0
  #pending: Pending[] = []

  constructor(wallMs = Date.UTC(2026, 10, 22, 10)) {
    this.#wallMs = wallMs
  }

  now(): number {
    return this.#wallMs
  }

  elapsed(): number {
    return this.#elapsedMs
  }

  after(waitMs: number, ring: () => void): Timer {
    const entry = { atMs: this.#elapsedMs + Math.max(0, waitMs), order: this.#order++, ring }
    this.#pending.push(entry)
    const cancel = (): void => {
      this.#pending = this.#pending.filter((other) => other !== entry)
    }
    return { cancel }
  }

  /** Timers still waiting. */
  get waiting(): number {
    return this.#pending.length
  }

  /** Moves the wall clock alone, as an operator or NTP would. */
  jump(byMs: number): void {
    this.#wallMs += byMs
  }

  /** Lets `byMs` pass: timers ring in order, and promises settle between them. */
  async pass(byMs: number): Promise<void> {
    const endMs = this.#elapsedMs + byMs
    for (;;) {
      await settle()
      const due = this.#due(endMs)
      if (due === undefined) break
      this.#ring(due)
    }
    this.#move(endMs)
    await settle()
  }

  /** The same in one turn, for code that waits for nothing but the clock. */
  skip(byMs: number): void {
    const endMs = this.#elapsedMs + byMs
    for (let due = this.#due(endMs); due !== undefined; due = this.#due(endMs)) this.#ring(due)
    this.#move(endMs)
  }

  #due(endMs: number): Pending | undefined {
    return this.#pending
      .filter((entry) => entry.atMs <= endMs)
      .sort((a, b) => a.atMs - b.atMs || a.order - b.order)[0]
  }

  #ring(due: Pending): void {
    this.#pending = this.#pending.filter((entry) => entry !== due)
    this.#move(due.atMs)
    due.ring()
  }

  #move(toMs: number): void {
    this.#wallMs += toMs - this.#elapsedMs
    this.#elapsedMs = toMs
  }
}

/** More than the starts of hosts that come together, each of which takes a turn of its own. */
const TURNS = 25

/** Lets everything that waits only for promises and turns go on. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn += 1) await new Promise((resolve) => setImmediate(resolve))
}
