import type { Clock, Timer } from '../kit/clock.ts'
import type { Bond } from './bond.ts'

/** Connections that wait for an instance: in order of arrival, but first those that had one before. */
export class Waiting {
  readonly #clock: Clock
  readonly #expire: (bond: Bond) => void
  readonly #returned = new Set<Bond>()
  readonly #arrived = new Set<Bond>()
  #deadline: Timer | undefined

  /** @param expire - Handed each that has waited too long, out of the line already. */
  constructor(clock: Clock, expire: (bond: Bond) => void) {
    this.#clock = clock
    this.#expire = expire
  }

  get size(): number {
    return this.#returned.size + this.#arrived.size
  }

  /** Those that come back had been let in before, so only new ones can be too many. */
  get isFull(): boolean {
    return this.#arrived.size >= WAITING_MAX
  }

  add(bond: Bond, isBack: boolean): void {
    const line = isBack ? this.#returned : this.#arrived
    line.add(bond)
    if (this.#deadline === undefined) this.#arm()
  }

  remove(bond: Bond): void {
    this.#returned.delete(bond)
    this.#arrived.delete(bond)
    if (this.size > 0) return
    this.#deadline?.cancel()
    this.#deadline = undefined
  }

  *[Symbol.iterator](): Iterator<Bond> {
    yield* this.#returned
    yield* this.#arrived
  }

  /** One timer, for whoever has waited longest; it may be gone when that rings. */
  #arm(): void {
    const [returned] = this.#returned
    const [arrived] = this.#arrived
    const sinceMs = Math.min(returned?.sinceMs ?? Infinity, arrived?.sinceMs ?? Infinity)
    const waitMs = sinceMs + WAIT_MS_MAX - this.#clock.elapsed()
    this.#deadline = this.#clock.after(Math.max(0, waitMs), () => this.#ring())
  }

  #ring(): void {
    this.#deadline = undefined
    const dueMs = this.#clock.elapsed() - WAIT_MS_MAX
    for (const bond of this) {
      if (bond.sinceMs > dueMs) continue
      this.remove(bond)
      this.#expire(bond)
    }
    if (this.size > 0) this.#arm()
  }
}

/** As many as calls may wait for a module. */
const WAITING_MAX = 1_000
/** Clients give up about then, and a module that is not back by now will be longer. */
const WAIT_MS_MAX = 10_000
