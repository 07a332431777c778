import { NexusError } from '../contracts/failure.ts'
import type { ActionSpecification } from '../contracts/manifest.ts'
import type { ArtifactRef } from '../contracts/module.ts'
import type { Clock } from '../kit/clock.ts'
import { CallLine } from './call-line.ts'
import type { ActionAnswer, ActionCall } from './port.ts'
import type { Replica } from './replica-set.ts'

/** More callers than this are not waiting, they are piling up. */
const WAITING_MAX = 1_000
/** The pipe to an instance takes 1,024 requests; some room is left for questions about its health. */
const WINDOW_MAX = 1_000

export interface CallDeskOptions {
  readonly moduleId: string
  readonly clock: Clock
  /** The replicas that take calls now, and whether a caller may wait for one. */
  ready(): readonly Replica[]
  mayWait(): boolean
  notReady(): NexusError
  keep(bytes: Uint8Array): Promise<{ readonly sha256: string; readonly bytes: number }>
}

/**
 * Hands calls to the least busy replica that has room, in order of arrival.
 *
 * A call that finds none waits while there is hope of one. One that was cut in the middle, or whose replica stopped
 * beating while another is free, is repeated once when the action is idempotent.
 */
export class CallDesk {
  readonly #options: CallDeskOptions
  readonly #line = new CallLine<Replica>()
  #calls = 0

  constructor(options: CallDeskOptions) {
    this.#options = options
  }

  get waiting(): number {
    return this.#line.size
  }

  async call(call: ActionCall, spec: ActionSpecification): Promise<ActionAnswer> {
    const { clock } = this.#options
    const startedMs = clock.elapsed()
    const timeoutMs = call.timeoutMs ?? spec.timeout_ms
    for (let isRepeated = false; ; ) {
      const leftMs = timeoutMs - (clock.elapsed() - startedMs)
      const replica = await this.#acquire(call, leftMs, timeoutMs)
      try {
        const asked = this.#ask(replica, call, startedMs, timeoutMs)
        const repeatable = spec.idempotent && (!isRepeated || replica.set.isOnTrial)
        return await (repeatable ? this.#orElsewhere(asked, replica, call.action) : asked)
      } catch (error) {
        const cut = error instanceof NexusError && error.code === 'CALL_CUT'
        // Its end may be told later than the end of its pipe: nobody else is to be sent there.
        if (cut) replica.suspected = true
        if (!(cut && spec.idempotent && (!isRepeated || replica.set.isOnTrial))) throw error
        // New code that does not hold goes with all its replicas: to have met one of them is not yet the repetition.
        isRepeated ||= !replica.set.isOnTrial
      } finally {
        this.#release(replica, call.action)
      }
    }
  }

  /** Gives waiting callers what has become free; called whenever a replica becomes ready or a call ends. */
  pump(): void {
    if (this.#line.size === 0) return
    this.#line.serve(
      (action) => this.#choose(action),
      (replica, action) => this.#book(replica, action),
    )
  }

  /** Nobody will come: every waiting caller is told so. */
  dismiss(): void {
    this.#line.dismiss(() => this.#options.notReady())
  }

  /** Gives a call up as cut when its replica turns suspect and another could take it at once. */
  async #orElsewhere(asked: Promise<ActionAnswer>, replica: Replica, action: string): Promise<ActionAnswer> {
    let leave: () => void = () => {}
    const left = new Promise<never>((_, reject) => {
      leave = () => {
        if (this.#choose(action) === undefined) return
        asked.catch(() => {}) // its end has no reader any more
        reject(new NexusError('CALL_CUT', { module: this.#options.moduleId, action }))
      }
    })
    replica.onSuspect.add(leave)
    try {
      return await Promise.race([asked, left])
    } finally {
      replica.onSuspect.delete(leave)
    }
  }

  async #ask(
    replica: Replica,
    call: ActionCall,
    startedMs: number,
    timeoutMs: number,
  ): Promise<ActionAnswer> {
    const { clock, moduleId } = this.#options
    const { instance } = replica
    if (instance === undefined) throw new NexusError('CALL_CUT', { module: moduleId, action: call.action })
    const artifacts: ArtifactRef[] = []
    let refused: NexusError | undefined
    let count = 0
    let sizeBytes = 0
    try {
      const { output, cpuMs } = await instance.call({
        action: call.action,
        input: call.input,
        timeoutMs: Math.max(1, timeoutMs - (clock.elapsed() - startedMs)),
        ...(call.signal === undefined ? {} : { signal: call.signal }),
        ...(call.mission === undefined ? {} : { mission: call.mission }),
        ...(call.progress === undefined ? {} : { progress: call.progress }),
        artifact: async (name, mediaType, bytes) => {
          count += 1
          sizeBytes += bytes.byteLength
          refused ??= tooMany(call.artifactsMax, count, sizeBytes)
          if (refused !== undefined) throw refused
          const kept = await this.#options.keep(bytes)
          const ref: ArtifactRef = { name, sha256: kept.sha256, bytes: kept.bytes, media_type: mediaType }
          artifacts.push(ref)
          return ref
        },
      })
      replica.answered += 1
      const durationMs = Math.round(clock.elapsed() - startedMs)
      return { output, artifacts, instance: replica.id, generation: instance.generation, durationMs, cpuMs }
    } catch (thrown) {
      const error = refused ?? thrown
      replica.failed += 1
      if (call.killWhenStuck === true && error instanceof NexusError && error.facts['stuck'] === 1) {
        instance.kill(`its action ${call.action} ignored the end of its time`)
      }
      throw error
    }
  }

  #acquire(call: ActionCall, waitMs: number, timeoutMs: number): Promise<Replica> {
    const { moduleId } = this.#options
    // What is free now is not waited for: those in the line were offered it when it became free.
    const free = this.#choose(call.action)
    if (free !== undefined) {
      this.#book(free, call.action)
      return Promise.resolve(free)
    }
    if (!this.#options.mayWait()) return Promise.reject(this.#options.notReady())
    if (this.#line.size >= WAITING_MAX) {
      return Promise.reject(new NexusError('MODULE_BUSY', { module: moduleId, waiting: this.#line.size }))
    }
    return this.#wait(call, waitMs, timeoutMs)
  }

  #wait({ action, signal }: ActionCall, waitMs: number, timeoutMs: number): Promise<Replica> {
    const { moduleId, clock } = this.#options
    return new Promise((resolve, reject) => {
      const end = (): void => {
        leave()
        timer.cancel()
        signal?.removeEventListener('abort', aborted)
      }
      const fail = (error: Error): void => {
        end()
        reject(error)
      }
      // Nothing has been asked of any instance yet: whoever called may go by that.
      const facts = { module: moduleId, action, waited: 1 }
      const aborted = (): void =>
        fail(new NexusError('CALL_ABORTED', { ...facts, reason: String(signal?.reason) }))
      const leave = this.#line.join(action, {
        take: (replica) => {
          end()
          resolve(replica)
        },
        fail,
      })
      const timer = clock.after(waitMs, () =>
        fail(new NexusError('CALL_EXPIRED', { ...facts, timeout_ms: timeoutMs })),
      )
      signal?.addEventListener('abort', aborted, { once: true })
      if (signal?.aborted) aborted()
    })
  }

  /** The least busy with room; among equals the one whose last call is the longest ago. */
  #choose(action: string): Replica | undefined {
    let best: Replica | undefined
    for (const replica of this.#options.ready()) {
      if (replica.suspected || replica.inFlight >= WINDOW_MAX) continue
      const limit = replica.set.generation.manifest.actions[action]?.concurrency ?? 1
      if ((replica.busy.get(action) ?? 0) >= limit) continue
      if (best === undefined || isBusier(best, replica)) best = replica
    }
    return best
  }

  #book(replica: Replica, action: string): void {
    this.#calls += 1
    replica.lastCall = this.#calls
    replica.set.took(replica, action)
  }

  #release(replica: Replica, action: string): void {
    replica.set.ended(replica, action)
    this.pump()
  }
}

/** What a caller lets an action keep ends before the disk is written, not when the call is over. */
function tooMany(max: ActionCall['artifactsMax'], count: number, bytes: number): NexusError | undefined {
  if (max === undefined || (count <= max.count && bytes <= max.bytes)) return undefined
  return new NexusError('ARTIFACTS_EXCEEDED', { count, bytes, count_max: max.count, bytes_max: max.bytes })
}

function isBusier(one: Replica, other: Replica): boolean {
  if (one.inFlight !== other.inFlight) return one.inFlight > other.inFlight
  return one.lastCall > other.lastCall
}
