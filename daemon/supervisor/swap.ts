import type { Generation } from '../catalog/port.ts'
import { NexusError } from '../contracts/failure.ts'
import type { ReloadResult } from '../contracts/status.ts'
import type { Departure } from '../host/port.ts'
import { type Clock, sleep } from '../kit/clock.ts'
import { describeDeparture } from './departure.ts'
import type { NeedsVerdict } from './needs.ts'
import type { ReloadOrder } from './port.ts'
import { Probation, Trouble } from './probation.ts'
import { ROLLED_BACK_BY_HAND } from './remembered.ts'
import type { Replica, ReplicaSet } from './replica-set.ts'
import { type Strategy, strategyFor, wayOf } from './strategies.ts'
import type { Crossing, Way } from './way.ts'

/** Why a generation was reverted or given up. */
export interface Refusal {
  readonly phase: string
  readonly reason: string
  readonly stack?: string
}

/** What a swap needs of its unit. */
export interface SwapStage extends Pick<Crossing, 'wanted' | 'bring' | 'serve' | 'again'> {
  readonly moduleId: string
  readonly clock: Clock
  /** Stops the swap: a newer one, or a stop of the module. */
  readonly signal: AbortSignal
  /** The set that served when the swap began, and is gone back to. */
  readonly old: ReplicaSet
  /** The next generation: the folder's content, or a kept one. */
  choose(): Promise<Generation>
  /** Whether this generation was reverted before, and why. */
  refused(generation: string): Refusal | undefined
  form(generation: Generation): ReplicaSet
  /** How what this code requires stands now. */
  needs(generation: Generation): NeedsVerdict
  /** Calls go to the next generation now, whatever comes of it. */
  switched(): void
  /** The module is stopped: nothing is to be brought back. */
  stopped(): boolean
}

/** How a swap ended: with the next set serving, with the old code, or with nothing to do. */
export interface SwapEnd {
  /** What serves now; of the old code it may be incomplete, or not the set that served before. */
  readonly serving: ReplicaSet
  readonly next: ReplicaSet | undefined
  readonly generation: string | undefined
  readonly result: ReloadResult
  /** What this swap found out: nothing new, code that is bad and not tried again by itself, or something else. */
  readonly finding: 'none' | 'bad generation' | 'other'
}

/** A module that comes up takes tens of milliseconds. */
const LOOK_MS = 50
/** The end of a host that hangs is told this long after it was due. */
const AUTOPSY_MS = 1_000

/**
 * One reload: stage, bring the next generation up, switch, settle, then keep or go back. How it goes from one set to
 * the other is the strategy's; what is common to all of them is here.
 *
 * The old set is still there when this ends with the old code serving, and is the caller's to retire otherwise.
 */
export class Swap {
  readonly #stage: SwapStage
  readonly #order: ReloadOrder
  readonly #startedMs: number
  #phase = 'manifest'
  #generation: Generation | undefined
  #strategy: Strategy | 'none' = 'none'
  #next: ReplicaSet | undefined
  #probation: Probation | undefined
  #way: Way | undefined

  constructor(stage: SwapStage, order: ReloadOrder) {
    this.#stage = stage
    this.#order = order
    this.#startedMs = stage.clock.elapsed()
  }

  /** A replica of the next set went away or turned suspect. */
  disturbed(replica: Replica, what: Departure | 'suspect'): void {
    if (replica.set === this.#next) this.#probation?.disturbed(replica, what)
  }

  owns(set: ReplicaSet): boolean {
    return this.#next === set
  }

  async run(): Promise<SwapEnd> {
    const { old, signal } = this.#stage
    try {
      const generation = await this.#stage.choose()
      this.#generation = generation
      signal.throwIfAborted()
      const idle = this.#reasonToRest(generation)
      if (idle !== undefined) return this.#end(old, idle, 'none')
      await this.#needsMet(generation)
      const next = this.#prepare(generation)
      await this.#way?.forth()
      next.isOnTrial = false
      return this.#end(next, {}, 'other')
    } catch (error) {
      return await this.#goBack(error)
    }
  }

  /** Nothing new, or code that is known to be bad: unless that very code was asked for. */
  #reasonToRest({ id }: Generation): Partial<Refusal> | undefined {
    const { old, refused } = this.#stage
    const { generation: named, onlyIfChanged } = this.#order
    if (id === old.generation.id && onlyIfChanged) return { reason: 'the content is the same' }
    const known = named === undefined && id !== old.generation.id ? refused(id) : undefined
    if (known === undefined) return undefined
    if (known.phase === ROLLED_BACK_BY_HAND) return known
    const reason = `this generation was reverted before (${known.phase}: ${known.reason}); change it, or name it`
    return { ...known, reason }
  }

  /** Code is not started before what it requires is there; the old code may have required less. */
  async #needsMet(generation: Generation): Promise<void> {
    const { clock, signal, needs } = this.#stage
    const endMs = clock.elapsed() + generation.manifest.timeouts.start_ms
    this.#phase = 'requires'
    for (let verdict = needs(generation); !verdict.met; verdict = needs(generation)) {
      if (clock.elapsed() >= endMs) throw new Trouble(verdict.because, { blameless: true })
      await sleep(clock, LOOK_MS, signal)
    }
  }

  #prepare(generation: Generation): ReplicaSet {
    const stage = this.#stage
    const { clock, signal, old } = stage
    const strategy = strategyFor(this.#order.strategy, old.generation.manifest, generation.manifest)
    this.#phase = 'manifest'
    const next = stage.form(generation)
    next.isOnTrial = true
    const probation = new Probation(clock, signal, old, next)
    const way = wayOf(strategy, {
      clock,
      old,
      next,
      probation,
      wanted: stage.wanted,
      bring: stage.bring,
      again: stage.again,
      serve: (set, beside) => {
        stage.serve(set, beside)
        if (set === next) stage.switched()
      },
      enter: (phase) => {
        this.#phase = phase
      },
      get stopped() {
        return stage.stopped()
      },
    })
    this.#strategy = strategy
    this.#next = next
    this.#probation = probation
    this.#way = way
    return next
  }

  async #goBack(error: unknown): Promise<SwapEnd> {
    const { old, signal } = this.#stage
    const serving = (await this.#way?.back()) ?? old
    this.#leaveHanging()
    if (signal.aborted) return this.#end(serving, { reason: String(signal.reason) }, 'other')
    const why = { phase: this.#phase, ...(await this.#explain(error)) }
    const blameless = this.#generation === undefined || (error instanceof Trouble && error.blameless)
    return this.#end(serving, why, blameless ? 'other' : 'bad generation')
  }

  /** Calls that wait for a replica that hangs go to the old code, where that does no harm. */
  #leaveHanging(): void {
    for (const { suspected, onSuspect } of this.#next?.replicas ?? []) {
      if (suspected) for (const tell of onSuspect) tell()
    }
  }

  async #explain(error: unknown): Promise<{ phase?: string; reason: string; stack?: string }> {
    if (error instanceof Trouble) {
      const { hanging } = error
      if (hanging !== undefined) return (await this.#autopsy(hanging)) ?? { reason: error.message }
      const stack = error.stackOfModule
      return stack === undefined ? { reason: error.message } : { reason: error.message, stack }
    }
    if (!(error instanceof NexusError))
      return { reason: error instanceof Error ? error.message : String(error) }
    const { phase, reason, stack } = error.facts
    return {
      ...(phase === undefined ? {} : { phase: String(phase) }),
      reason: String(reason ?? error.message),
      ...(stack === undefined ? {} : { stack: String(stack) }),
    }
  }

  /** What it hung in is seen when its host ends; the old code serves meanwhile. */
  async #autopsy({ instance, set }: Replica): Promise<{ reason: string; stack?: string } | undefined> {
    const { heartbeat_kill_ms: killMs, heartbeat_suspect_ms: suspectMs } = set.generation.manifest.limits
    const { clock, signal } = this.#stage
    const over = new AbortController()
    const waitMs = killMs - suspectMs + AUTOPSY_MS
    const late = sleep(clock, waitMs, AbortSignal.any([over.signal, signal]))
    const departure = await Promise.race([instance?.gone, late.catch(() => undefined)])
    over.abort()
    if (departure?.how !== 'hung') return undefined
    const reason = describeDeparture(departure)
    return departure.stack === undefined ? { reason } : { reason, stack: departure.stack }
  }

  #end(
    serving: ReplicaSet,
    why: { phase?: string; reason?: string; stack?: string },
    finding: SwapEnd['finding'],
  ): SwapEnd {
    const { clock, old, moduleId } = this.#stage
    const reloaded = serving === this.#next
    const result: ReloadResult = {
      module_id: moduleId,
      reloaded,
      strategy: this.#strategy,
      generation: serving.generation.id,
      previous_generation: old.generation.id,
      rolled_back: !reloaded && why.phase !== undefined && why.phase !== ROLLED_BACK_BY_HAND,
      duration_ms: Math.round(clock.elapsed() - this.#startedMs),
      downtime_ms: Math.round(this.#way?.downtimeMs ?? 0),
      ...why,
    }
    return { serving, next: this.#next, generation: this.#generation?.id, result, finding }
  }
}
