import type { Clock, Timer } from '../kit/clock.ts'
import type { Tenant } from './memory-watch.ts'
import { familyOf, type ProcessEntry, type ProcessView } from './process-table.ts'

/** What a process and its descendants are found to be. */
export interface Found {
  readonly residentBytes: number
  readonly processes: number
}

/**
 * Counts processes that may start others, with what they have started. The list of all processes costs milliseconds,
 * so it is read once a second at most, and only when it can tell something new; and at once when so much is started
 * that it may be a fork bomb. Nothing is looked at while all of them only wait.
 */
export class FamilyWatch {
  readonly #clock: Clock
  readonly #view: ProcessView
  readonly #judge: (tenant: Tenant, found: Found) => void
  /** How many each had at the last count. */
  readonly #sizes = new Map<Tenant, number>()
  /** Who says that it only waits, and so starts nothing. */
  readonly #resting = new Set<Tenant>()
  #timer: Timer | undefined
  #glanced = Number.NaN
  #counted = { newest: Number.NaN, atMs: Number.NEGATIVE_INFINITY }

  constructor(clock: Clock, view: ProcessView, judge: (tenant: Tenant, found: Found) => void) {
    this.#clock = clock
    this.#view = view
    this.#judge = judge
  }

  admit(tenant: Tenant): void {
    this.#sizes.set(tenant, 0)
    this.#arm()
  }

  rest(tenant: Tenant, rests: boolean): void {
    if (!this.#sizes.has(tenant)) return
    if (rests) this.#resting.add(tenant)
    else this.#resting.delete(tenant)
    this.#arm()
  }

  leave(tenant: Tenant): void {
    this.#sizes.delete(tenant)
    this.#resting.delete(tenant)
    this.#arm()
  }

  #arm(): void {
    const isIdle = [...this.#sizes].every(([tenant, size]) => size === 1 && this.#resting.has(tenant))
    if (!isIdle) this.#timer ??= this.#clock.after(GLANCE_MS, () => this.#glance())
    else {
      this.#timer?.cancel()
      this.#timer = undefined
    }
  }

  #glance(): void {
    this.#timer = undefined
    const newest = this.#view.newest()
    const isBurst = Math.abs(newest - this.#glanced) > BURST
    this.#glanced = newest
    const isNews = newest !== this.#counted.newest || [...this.#sizes.values()].some((size) => size !== 1)
    const isDue = this.#clock.elapsed() - this.#counted.atMs >= COUNT_MS
    if (isBurst || (isDue && isNews)) this.#count(newest)
    this.#arm()
  }

  #count(newest: number): void {
    this.#counted = { newest, atMs: this.#clock.elapsed() }
    const table = this.#view.all()
    for (const tenant of [...this.#sizes.keys()]) {
      const family = familyOf(tenant.pid, table)
      this.#sizes.set(tenant, family.length)
      this.#judge(tenant, { residentBytes: this.#sum(tenant, family), processes: family.length })
    }
  }

  /** The file of the program itself is in memory once, however many run it. */
  #sum({ pid }: Tenant, family: readonly ProcessEntry[]): number {
    // So many are too many, whatever they use.
    if (family.length > PROCESSES_MAX) return 0
    return family.reduce(
      (bytes, entry) => bytes + (entry.pid === pid ? entry.residentBytes : this.#view.own(entry.pid)),
      0,
    )
  }
}

/** A build with a process for each of many cores stays below; a fork bomb passes it within a second. */
export const PROCESSES_MAX = 256
/** A fork bomb doubles in milliseconds; a glance is one small file. */
const GLANCE_MS = 100
/** So many new processes and threads between two glances may be one. */
const BURST = 200
const COUNT_MS = 1_000
