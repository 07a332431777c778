import type { Generation } from '../catalog/port.ts'
import { NexusError } from '../contracts/failure.ts'
import type { ReloadResult } from '../contracts/status.ts'
import type { Departure, Instance } from '../host/port.ts'
import type { Clock } from '../kit/clock.ts'
import { sleep } from '../kit/clock.ts'
import type { ReloadOrder } from './port.ts'
import { describeDeparture, type Replica, type ReplicaSet } from './replica-set.ts'

/** What a swap needs of its unit. */
export interface SwapStage {
  readonly moduleId: string
  readonly clock: Clock
  /** Stops the swap: a newer one, or a stop of the module. */
  readonly signal: AbortSignal
  /** The set that served when the swap began, and is gone back to. */
  readonly old: ReplicaSet
  /** The next generation: the folder's content, or a kept one. */
  choose(): Promise<Generation>
  /** Whether this generation was reverted before, and why. */
  refused(generation: string): { readonly phase: string; readonly reason: string } | undefined
  form(generation: Generation): ReplicaSet
  /** Brings up and proves as many replicas as are wanted. */
  bring(set: ReplicaSet, inherited: unknown): Promise<void>
  /** From now on calls go to this set. */
  serve(set: ReplicaSet): void
}

/** How a swap ended: with the next set serving, with the old one, or with nothing to do. */
export interface SwapEnd {
  readonly serving: 'next' | 'old'
  readonly next: ReplicaSet | undefined
  readonly generation: string | undefined
  readonly result: ReloadResult
  /** What this swap found out: nothing new, code that is bad and not tried again by itself, or something else. */
  readonly finding: 'none' | 'bad generation' | 'other'
}

/** A look every so often while settling: a sixth of the time, but not more than ten a second. */
const LOOKS = 6
const LOOK_MS_MIN = 100
/** A handed-over state may take this long; without it the next generation starts cold. */
const SNAPSHOT_MS = 1_000
const SNAPSHOT_BYTES_MAX = 262_144
/** So many failed calls, at this many times the old rate, are the new code's fault. */
const FAILURES_MIN = 5
const FAILURE_RATIO = 3

/**
 * One reload: stage, start beside the old (or after it, for modules that may not overlap), switch, settle, then keep or
 * revert. The old set is still there when this returns with `serving: 'old'`, and is the caller's to retire otherwise.
 */
export class Swap {
  readonly #stage: SwapStage
  readonly #order: ReloadOrder
  readonly #overlap: boolean
  #phase = 'manifest'
  #next: ReplicaSet | undefined
  #trouble: ((reason: Error) => void) | undefined
  #downSinceMs: number | undefined
  #downtimeMs = 0

  constructor(stage: SwapStage, order: ReloadOrder, overlap: boolean) {
    this.#stage = stage
    this.#order = order
    this.#overlap = overlap
  }

  /** A replica of the next set went away or turned suspect: no settling then. */
  disturbed(replica: Replica, what: Departure | 'suspect'): void {
    if (replica.set !== this.#next) return
    const reason = what === 'suspect' ? 'its heartbeat stopped' : describeDeparture(what)
    this.#trouble?.(new Error(reason))
  }

  owns(set: ReplicaSet): boolean {
    return this.#next === set
  }

  async run(): Promise<SwapEnd> {
    const { clock, old } = this.#stage
    const startedMs = clock.elapsed()
    let generation: Generation | undefined
    try {
      generation = await this.#stage.choose()
      const known = this.#order.generation === undefined ? this.#stage.refused(generation.id) : undefined
      if (generation.id === old.generation.id && this.#order.onlyIfChanged) {
        return this.#end('old', generation, startedMs, { reason: 'the content is the same' }, 'none')
      }
      if (known !== undefined) {
        const reason = `this generation was reverted before (${known.phase}: ${known.reason}); change it, or name it`
        return this.#end('old', generation, startedMs, { phase: known.phase, reason }, 'none')
      }
      this.#next = this.#stage.form(generation)
      await this.#comeUp(this.#next)
      await this.#settle(this.#next)
      return this.#end('next', generation, startedMs, {}, 'other')
    } catch (error) {
      this.#stage.serve(old)
      const stopped = this.#stage.signal.aborted
      const finding = stopped || generation === undefined ? 'other' : 'bad generation'
      const told = stopped ? { reason: String(this.#stage.signal.reason) } : whyOf(error, this.#phase)
      return this.#end('old', generation, startedMs, told, finding)
    }
  }

  async #comeUp(next: ReplicaSet): Promise<void> {
    const { old, clock } = this.#stage
    const inherited = await this.#inherit(old)
    this.#phase = 'start'
    if (!this.#overlap) {
      const { stop_ms: stopMs, drain_ms: drainMs } = old.generation.manifest.timeouts
      this.#downSinceMs = clock.elapsed()
      await old.retire(drainMs, stopMs)
    }
    await this.#stage.bring(next, inherited)
    this.#stage.signal.throwIfAborted()
    this.#stage.serve(next)
    if (this.#downSinceMs !== undefined) this.#downtimeMs = clock.elapsed() - this.#downSinceMs
  }

  async #settle(next: ReplicaSet): Promise<void> {
    this.#phase = 'settle'
    const { settle_ms: settleMs } = next.generation.manifest.timeouts
    if (settleMs === 0) return
    const trouble = new Promise<never>((_, reject) => {
      this.#trouble = reject
    })
    trouble.catch(() => {}) // read by the race below, if it is still running
    await Promise.race([trouble, this.#look(next, settleMs)])
  }

  async #look(next: ReplicaSet, settleMs: number): Promise<void> {
    const { clock, signal } = this.#stage
    const endMs = clock.elapsed() + settleMs
    for (let leftMs = settleMs; leftMs > 0; leftMs = endMs - clock.elapsed()) {
      await sleep(clock, Math.min(leftMs, Math.max(LOOK_MS_MIN, settleMs / LOOKS)), signal)
      this.#compareFailures(next)
      for (const { instance } of next.replicas) await this.#askHealth(instance, next)
    }
  }

  async #askHealth(instance: Instance | undefined, next: ReplicaSet): Promise<void> {
    if (instance?.has.health !== true) return
    const answer = await instance.health(next.generation.manifest.health.timeout_ms)
    if (answer.status === 'unhealthy')
      throw new Error(`it says it is unhealthy: ${answer.reason ?? 'no reason given'}`)
  }

  #compareFailures(next: ReplicaSet): void {
    const before = callsOf(this.#stage.old)
    const after = callsOf(next)
    const oldRate = before.failed / Math.max(1, before.failed + before.answered)
    const newRate = after.failed / Math.max(1, after.failed + after.answered)
    if (after.failed >= FAILURES_MIN && newRate >= FAILURE_RATIO * oldRate) {
      throw new Error(
        `${after.failed} calls failed, ${Math.round(newRate * 100)} % against ${Math.round(oldRate * 100)} %`,
      )
    }
  }

  async #inherit(old: ReplicaSet): Promise<unknown> {
    const giver = old.ready.find(({ instance }) => instance?.has.snapshot === true)?.instance
    if (giver === undefined) return undefined
    try {
      const state = await giver.snapshot(SNAPSHOT_MS)
      return JSON.stringify(state ?? null).length <= SNAPSHOT_BYTES_MAX ? state : undefined
    } catch {
      return undefined // a cold start is the documented answer to a state that cannot be had
    }
  }

  #end(
    serving: 'next' | 'old',
    generation: Generation | undefined,
    startedMs: number,
    why: { phase?: string; reason?: string; stack?: string },
    finding: SwapEnd['finding'],
  ): SwapEnd {
    const { clock, old, moduleId } = this.#stage
    const result: ReloadResult = {
      module_id: moduleId,
      reloaded: serving === 'next',
      strategy: this.#overlap ? 'graceful' : 'immediate',
      generation: serving === 'next' ? (generation?.id ?? null) : old.generation.id,
      previous_generation: old.generation.id,
      rolled_back: serving === 'old' && why.phase !== undefined,
      duration_ms: Math.round(clock.elapsed() - startedMs),
      downtime_ms: Math.round(this.#downtimeMs),
      ...why,
    }
    return { serving, next: this.#next, generation: generation?.id, result, finding }
  }
}

function callsOf(set: ReplicaSet): { answered: number; failed: number } {
  const sums = { answered: 0, failed: 0 }
  for (const { answered, failed } of set.replicas) {
    sums.answered += answered
    sums.failed += failed
  }
  return sums
}

function whyOf(error: unknown, phase: string): { phase: string; reason: string; stack?: string } {
  if (!(error instanceof NexusError))
    return { phase, reason: error instanceof Error ? error.message : String(error) }
  const { facts } = error
  const told = { phase: String(facts['phase'] ?? phase), reason: String(facts['reason'] ?? error.message) }
  return facts['stack'] === undefined ? told : { ...told, stack: String(facts['stack']) }
}
