import type { Clock, Timer } from '../kit/clock.ts'
import { FamilyWatch, type Found, PROCESSES_MAX } from './family-watch.ts'
import { heapMb } from './isolation.ts'
import { PROC, type ProcessView } from './process-table.ts'

/** A process whose memory is limited, with all that it starts. */
export interface Tenant {
  readonly pid: number
  readonly limitMb: number
  /** It may start others, which count as its own. */
  readonly hasFamily: boolean
  /** It is beyond its limit, and is not watched any more. */
  over(because: string): void
}

/**
 * Keeps `limits.memory_mb`. What a process says in its heartbeats is enough; one that is silent is looked at from
 * outside, and so is the family of one that may have some.
 */
export class MemoryWatch {
  readonly #clock: Clock
  readonly #view: ProcessView
  readonly #families: FamilyWatch
  /** Until when each has said all that it is to say. */
  readonly #heard = new Map<Tenant, number>()
  #timer: Timer | undefined
  #dueMs = 0

  constructor(clock: Clock, view: ProcessView = PROC) {
    this.#clock = clock
    this.#view = view
    this.#families = new FamilyWatch(clock, view, (tenant, found) => this.#judge(tenant, found))
  }

  /** Watches until the returned function is called. */
  admit(tenant: Tenant): () => void {
    if (tenant.hasFamily) this.#families.admit(tenant)
    this.#note(tenant, 0)
    return () => this.#leave(tenant)
  }

  /**
   * What it said of itself.
   *
   * @param residentBytes - Not every heartbeat has figures.
   * @param restsMs - For so long it may only wait, and say nothing.
   */
  heard(tenant: Tenant, residentBytes: number | undefined, restsMs = 0): void {
    if (!this.#heard.has(tenant)) return
    this.#families.rest(tenant, restsMs > 0)
    this.#note(tenant, restsMs)
    if (residentBytes !== undefined) this.#judge(tenant, { residentBytes, processes: 1 })
  }

  #note(tenant: Tenant, restsMs: number): void {
    const untilMs = this.#clock.elapsed() + restsMs
    this.#heard.set(tenant, untilMs)
    this.#arm(untilMs + SILENT_MS)
  }

  /** One look serves all; a newcomer may ask for an earlier one, never for a later one. */
  #arm(dueMs: number): void {
    if (this.#timer !== undefined && dueMs >= this.#dueMs) return
    this.#timer?.cancel()
    this.#dueMs = dueMs
    this.#timer = this.#clock.after(dueMs - this.#clock.elapsed(), () => this.#look())
  }

  #look(): void {
    this.#timer = undefined
    const nowMs = this.#clock.elapsed()
    const silent = [...this.#heard].filter(([, untilMs]) => nowMs - untilMs >= SILENT_MS)
    for (const [tenant] of silent) {
      const seen = this.#view.one(tenant.pid)
      if (seen !== undefined) this.#judge(tenant, { residentBytes: seen.residentBytes, processes: 1 })
    }
    if (this.#heard.size === 0) return
    const nextMs = Math.min(...this.#heard.values()) + SILENT_MS
    this.#arm(Math.max(nextMs, nowMs + LOOK_MS))
  }

  #judge(tenant: Tenant, found: Found): void {
    const because = judgeUse(found, tenant.limitMb)
    if (because === undefined) return
    this.#leave(tenant)
    tenant.over(because)
  }

  #leave(tenant: Tenant): void {
    this.#heard.delete(tenant)
    this.#families.leave(tenant)
    if (this.#heard.size > 0) return
    this.#timer?.cancel()
    this.#timer = undefined
  }
}

/** @returns Why this is too much, in words that follow the name of a module; nothing when it is not. */
function judgeUse({ residentBytes, processes }: Found, limitMb: number): string | undefined {
  if (processes > PROCESSES_MAX) {
    return `it had ${processes} processes, and no module may have more than ${PROCESSES_MAX}`
  }
  const usedMb = Math.floor(residentBytes / 1_048_576)
  if (usedMb <= limitMb) return undefined
  const others =
    processes === 2 ? 'the process that it started' : `the ${processes - 1} processes that it started`
  const family = processes > 1 ? ` and ${others}` : ''
  return `it${family} used ${usedMb} MB of memory, limits.memory_mb is ${limitMb}`
}

/** What V8 said on stderr when it gave up, as a reason; nothing when it did not. */
export function heapSentence(report: string, limitMb: number | undefined): string | undefined {
  if (!/heap out of memory|Fatal process out of memory/.test(report)) return undefined
  const share =
    limitMb === undefined ? '' : `: it may take ${heapMb(limitMb)} MB of limits.memory_mb, ${limitMb}`
  return `its JavaScript heap was full${share}`
}

/** Memory can grow by a gigabyte in a second. */
const LOOK_MS = 500
/** One heartbeat has not come; the look after the next may be too late. */
const SILENT_MS = 700
