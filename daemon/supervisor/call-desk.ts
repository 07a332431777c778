import { NexusError } from '../contracts/failure.ts'
import type { ActionSpecification } from '../contracts/manifest.ts'
import type { ArtifactRef } from '../contracts/module.ts'
import type { Clock } from '../kit/clock.ts'
import type { ActionAnswer, ActionCall } from './port.ts'
import type { Replica, ReplicaSet } from './replica-set.ts'

/** More callers than this are not waiting, they are piling up. */
const WAITING_MAX = 1_000

interface Waiter {
  readonly action: string
  readonly concurrency: number
  take(replica: Replica): void
  fail(error: Error): void
}

export interface CallDeskOptions {
  readonly moduleId: string
  readonly clock: Clock
  /** The set that serves now, and whether a caller may wait for one. */
  serving(): ReplicaSet | undefined
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
  readonly #waiting = new Set<Waiter>()

  constructor(options: CallDeskOptions) {
    this.#options = options
  }

  get waiting(): number {
    return this.#waiting.size
  }

  async call(call: ActionCall, spec: ActionSpecification): Promise<ActionAnswer> {
    const { clock } = this.#options
    const startedMs = clock.elapsed()
    const timeoutMs = call.timeoutMs ?? spec.timeout_ms
    for (let tries = 0; ; tries += 1) {
      const leftMs = timeoutMs - (clock.elapsed() - startedMs)
      const replica = await this.#acquire(call, spec.concurrency, leftMs, timeoutMs)
      try {
        const asked = this.#ask(replica, call, startedMs, timeoutMs)
        const repeatable = spec.idempotent && tries === 0
        return await (repeatable ? this.#orElsewhere(asked, replica, call.action, spec.concurrency) : asked)
      } catch (error) {
        const cut = error instanceof NexusError && error.code === 'CALL_CUT'
        if (!(cut && spec.idempotent && tries === 0)) throw error
      } finally {
        this.#release(replica, call.action)
      }
    }
  }

  /** Gives waiting callers what has become free; called whenever a replica becomes ready or a call ends. */
  pump(): void {
    for (const waiter of this.#waiting) {
      const replica = this.#choose(waiter.action, waiter.concurrency)
      if (replica === undefined) continue
      this.#waiting.delete(waiter)
      this.#book(replica, waiter.action)
      waiter.take(replica)
    }
  }

  /** Nobody will come: every waiting caller is told so. */
  dismiss(): void {
    for (const waiter of this.#waiting) waiter.fail(this.#options.notReady())
    this.#waiting.clear()
  }

  /** Gives a call up as cut when its replica turns suspect and another could take it at once. */
  async #orElsewhere(
    asked: Promise<ActionAnswer>,
    replica: Replica,
    action: string,
    concurrency: number,
  ): Promise<ActionAnswer> {
    let leave: () => void = () => {}
    const left = new Promise<never>((_, reject) => {
      leave = () => {
        if (this.#choose(action, concurrency) === undefined) return
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
    try {
      const { output, cpuMs } = await instance.call({
        action: call.action,
        input: call.input,
        timeoutMs: Math.max(1, timeoutMs - (clock.elapsed() - startedMs)),
        ...(call.signal === undefined ? {} : { signal: call.signal }),
        ...(call.mission === undefined ? {} : { mission: call.mission }),
        ...(call.progress === undefined ? {} : { progress: call.progress }),
        artifact: async (name, mediaType, bytes) => {
          const kept = await this.#options.keep(bytes)
          const ref: ArtifactRef = { name, sha256: kept.sha256, bytes: kept.bytes, media_type: mediaType }
          artifacts.push(ref)
          return ref
        },
      })
      replica.answered += 1
      const durationMs = Math.round(clock.elapsed() - startedMs)
      return { output, artifacts, instance: replica.id, generation: instance.generation, durationMs, cpuMs }
    } catch (error) {
      replica.failed += 1
      if (call.killWhenStuck === true && error instanceof NexusError && error.facts['stuck'] === 1) {
        instance.kill(`its action ${call.action} ignored the end of its time`)
      }
      throw error
    }
  }

  #acquire(call: ActionCall, concurrency: number, waitMs: number, timeoutMs: number): Promise<Replica> {
    const { moduleId, clock } = this.#options
    const { action, signal } = call
    const free = this.#choose(action, concurrency)
    if (free !== undefined) {
      this.#book(free, action)
      return Promise.resolve(free)
    }
    if (!this.#options.mayWait()) return Promise.reject(this.#options.notReady())
    if (this.#waiting.size >= WAITING_MAX) {
      return Promise.reject(new NexusError('MODULE_BUSY', { module: moduleId, waiting: this.#waiting.size }))
    }
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        timer.cancel()
        signal?.removeEventListener('abort', aborted)
        this.#waiting.delete(waiter)
      }
      const waiter: Waiter = {
        action,
        concurrency,
        take: (replica) => {
          leave()
          resolve(replica)
        },
        fail: (error) => {
          leave()
          reject(error)
        },
      }
      const aborted = (): void =>
        waiter.fail(
          new NexusError('CALL_ABORTED', { module: moduleId, action, reason: String(signal?.reason) }),
        )
      const timer = clock.after(waitMs, () =>
        waiter.fail(new NexusError('CALL_EXPIRED', { module: moduleId, action, timeout_ms: timeoutMs })),
      )
      signal?.addEventListener('abort', aborted, { once: true })
      this.#waiting.add(waiter)
      if (signal?.aborted) aborted()
    })
  }

  #choose(action: string, concurrency: number): Replica | undefined {
    const free = (this.#options.serving()?.ready ?? []).filter(
      (replica) => !replica.suspected && (replica.busy.get(action) ?? 0) < concurrency,
    )
    return free.sort((a, b) => total(a) - total(b))[0]
  }

  #book(replica: Replica, action: string): void {
    replica.busy.set(action, (replica.busy.get(action) ?? 0) + 1)
  }

  #release(replica: Replica, action: string): void {
    replica.busy.set(action, (replica.busy.get(action) ?? 1) - 1)
    replica.set.released()
    this.pump()
  }
}

function total({ busy }: Replica): number {
  let calls = 0
  for (const count of busy.values()) calls += count
  return calls
}
