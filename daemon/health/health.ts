import type { FactDraft } from '../contracts/fact.ts'
import type { Manifest } from '../contracts/manifest.ts'
import type { HealthAnswer } from '../contracts/module.ts'
import type { HealthStatus } from '../contracts/status.ts'
import type { Instance } from '../host/port.ts'
import type { Clock, Timer } from '../kit/clock.ts'
import { judgeCritical, judgeReadiness, statisticsOf } from './readiness.ts'
import { judgeHealth, type Standing, WELL, worst } from './verdict.ts'

export { judgeCritical, judgeReadiness, statisticsOf }

/** What is asked: the supervisor's side of one module. */
export interface HealthSubject {
  readonly id: string
  readonly manifest: Manifest | undefined
  readonly serving: { readonly ready: readonly { readonly instance: Instance | undefined }[] } | undefined
}

export interface HealthWatchOptions {
  readonly clock: Clock
  append(draft: FactDraft): Promise<unknown>
  onBug(error: unknown): void
}

/**
 * Asks modules how they are, each at its own interval, and keeps a verdict.
 *
 * Only modules that answer the question are asked; the timer of a module rests while nothing of it is ready.
 */
export class HealthWatch {
  readonly #options: HealthWatchOptions
  readonly #standings = new Map<string, Standing>()
  readonly #timers = new Map<string, Timer>()
  #stopped = false

  constructor(options: HealthWatchOptions) {
    this.#options = options
  }

  verdict(moduleId: string): { readonly status: HealthStatus; readonly reason: string | null } | undefined {
    const standing = this.#standings.get(moduleId)
    return standing === undefined ? undefined : { status: standing.status, reason: standing.reason }
  }

  /** To be told whenever a unit changed: asking begins with its first ready instance and ends with its last. */
  changed(unit: HealthSubject): void {
    const asking = this.#timers.has(unit.id)
    const due = !this.#stopped && this.#askable(unit).length > 0
    if (due && !asking) this.#arm(unit)
    if (!due && asking) this.#forget(unit.id)
  }

  stop(): void {
    this.#stopped = true
    for (const moduleId of [...this.#timers.keys()]) this.#forget(moduleId)
  }

  #forget(moduleId: string): void {
    this.#timers.get(moduleId)?.cancel()
    this.#timers.delete(moduleId)
    this.#standings.delete(moduleId)
  }

  #arm(unit: HealthSubject): void {
    const waitMs = unit.manifest?.health.interval_ms ?? 0
    const timer = this.#options.clock.after(
      waitMs,
      () => void this.#look(unit, timer).catch(this.#options.onBug),
    )
    this.#timers.set(unit.id, timer)
  }

  async #look(unit: HealthSubject, timer: Timer): Promise<void> {
    const { manifest } = unit
    const instances = this.#askable(unit)
    if (manifest === undefined || instances.length === 0) return this.#forget(unit.id)
    const answers = await Promise.all(instances.map((instance) => ask(instance, manifest.health.timeout_ms)))
    if (this.#timers.get(unit.id) !== timer) return // it stopped meanwhile

    const before = this.#standings.get(unit.id) ?? WELL
    const after = judgeHealth(before, worst(answers), manifest.health)
    this.#standings.set(unit.id, after)
    this.#arm(unit)
    if (after.status !== before.status) await this.#announce(unit.id, before, after)
  }

  async #announce(moduleId: string, before: Standing, after: Standing): Promise<void> {
    await this.#options.append({
      type: 'module.health_changed',
      actor: { kind: 'daemon', name: 'health' },
      d: {
        module_id: moduleId,
        from: before.status,
        to: after.status,
        reason: after.reason ?? 'no reason given',
      },
    })
  }

  #askable(unit: HealthSubject): Instance[] {
    return (unit.serving?.ready ?? []).flatMap(({ instance }) =>
      instance?.has.health === true ? [instance] : [],
    )
  }
}

/** A module that throws or is silent has answered, too. */
async function ask(instance: Instance, timeoutMs: number): Promise<HealthAnswer> {
  try {
    return await instance.health(timeoutMs)
  } catch (error) {
    return { status: 'unhealthy', reason: error instanceof Error ? error.message : String(error) }
  }
}
