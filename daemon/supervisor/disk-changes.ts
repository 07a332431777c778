import type { ReloadResult } from '../contracts/status.ts'
import type { Timer } from '../kit/clock.ts'
import { Burst } from './burst.ts'
import type { SupervisorEnvironment } from './port.ts'
import { ROLLED_BACK_BY_HAND } from './remembered.ts'
import type { Roster } from './roster.ts'
import { SUPERVISOR } from './unit-core.ts'

/** A folder that vanished may be an editor or a checkout at work. */
const REMOVED_GRACE_MS = 10_000

export interface DiskChangesOptions {
  readonly env: SupervisorEnvironment
  readonly roster: Roster
  /** Before everything has started, a change is only taken note of; while everything stops, not even that. */
  life(): 'looking' | 'running' | 'stopping'
  startWanted(moduleId: string, because: string): Promise<void>
}

/** What happens on disk, carried out: disk is truth, not a request. */
export class DiskChanges {
  readonly #options: DiskChangesOptions
  readonly #burst: Burst
  readonly #vanished = new Map<string, Timer>()

  constructor(options: DiskChangesOptions) {
    const { env, roster } = options
    this.#options = options
    this.#burst = new Burst({
      clock: env.clock,
      requires: (moduleId) => roster.get(moduleId)?.manifest?.requires ?? [],
    })
  }

  /** The first sign of a change: a host may boot while the folder comes to rest. */
  touched(moduleId: string): void {
    const { env, roster } = this.#options
    const unit = roster.get(moduleId)
    if (unit !== undefined) this.#burst.touched(moduleId)
    const profile = unit?.serving === undefined ? undefined : unit.profile()
    if (profile !== undefined) env.hosts.prepare(profile)
  }

  /** A folder has come to rest after a change. */
  async settled(moduleId: string): Promise<void> {
    await this.#burst.settled(moduleId, (carriedOut) => this.#carryOut(moduleId, carriedOut))
  }

  stop(): void {
    for (const timer of this.#vanished.values()) timer.cancel()
    this.#vanished.clear()
  }

  async #carryOut(moduleId: string, carriedOut: () => void): Promise<void> {
    const { env, roster, life, startWanted } = this.#options
    if (life() === 'stopping') return
    const entry = await env.catalog.look(moduleId)
    if (entry === undefined) return this.#vanish(moduleId)
    this.#vanished.get(moduleId)?.cancel()
    this.#vanished.delete(moduleId)

    const unit = roster.get(moduleId)
    if (life() === 'looking') {
      await roster.learn(entry)
      return
    }
    if (unit === undefined || unit.invalidity !== undefined || unit.state === 'stopped') {
      const learned = await roster.learn(entry)
      if (learned.state !== 'stopped') await startWanted(moduleId, 'it appeared on disk')
      return
    }
    if (unit.serving === undefined) await roster.learn(entry)
    if (entry.kind === 'invalid' && unit.serving === undefined) return
    const actor = { kind: 'daemon', name: 'watcher' } as const
    const order = { onlyIfChanged: true, actor, switched: carriedOut }
    // What cannot be staged now is told by the state of the module, or by its next change.
    const refused = (error: unknown): void => {
      const reason = error instanceof Error ? error.message : String(error)
      env.log('error', `${moduleId} was not reloaded: ${reason}`, { module: moduleId })
    }
    await unit.request(order).then((result) => this.#tell(result), refused)
  }

  #tell({ module_id: module, reloaded, rolled_back, phase, reason, stack, duration_ms }: ReloadResult): void {
    const { log } = this.#options.env
    if (reloaded) log('info', `${module} was reloaded`, { module, duration_ms })
    if (phase === ROLLED_BACK_BY_HAND) log('info', `${module} stays as it is: ${reason}`, { module })
    else if (rolled_back) {
      log('error', `${module} was rolled back (${phase}): ${reason}`, { module, phase, stack })
    }
  }

  #vanish(moduleId: string): void {
    const { env, roster } = this.#options
    if (roster.get(moduleId) === undefined || this.#vanished.has(moduleId)) return
    env.log('warn', `the folder of ${moduleId} is gone; it runs on for ten seconds`, { module: moduleId })
    const timer = env.clock.after(
      REMOVED_GRACE_MS,
      () => void this.#remove(moduleId).catch(env.onBug), // a timer has nobody to tell
    )
    this.#vanished.set(moduleId, timer)
  }

  async #remove(moduleId: string): Promise<void> {
    const { env, roster, life } = this.#options
    this.#vanished.delete(moduleId)
    if ((await env.catalog.look(moduleId)) !== undefined || life() === 'stopping') return
    const unit = roster.get(moduleId)
    await unit?.stop('its folder was removed')
    if (unit !== undefined) roster.forget(unit)
    await env.append({ type: 'module.removed', actor: SUPERVISOR, d: { module_id: moduleId } })
  }
}
