import type { Departure } from '../host/port.ts'
import type { CallDesk } from './call-desk.ts'
import { departureFact, describeDeparture } from './departure.ts'
import type { Reloads } from './reloads.ts'
import type { Replica, ReplicaSetEvents } from './replica-set.ts'
import type { UnitCore } from './unit-core.ts'

/** Who has to know what an instance says. */
export interface Audience {
  readonly core: UnitCore
  readonly desk: CallDesk
  readonly reloads: Reloads
}

/** Hears what the instances of a module say, records it, and posts what the unit must decide about. */
export class Witness implements ReplicaSetEvents {
  readonly #audience: () => Audience

  /** @param audience - Asked at each event: the parts of a unit are made one after the other. */
  constructor(audience: () => Audience) {
    this.#audience = audience
  }

  ready(): void {
    const { core, desk } = this.#audience()
    const { standing, works, post } = core
    desk.pump()
    if (standing.state === 'waiting' && works.isReady && !core.isHeld)
      post('up', 'it says it is ready', { run: works.run })
  }

  notReady(_: Replica, reason: string): void {
    const { standing, works, note, post, isHeld } = this.#audience().core
    const { state } = standing
    if (!isHeld) standing.because = reason
    if (state === 'started' && !works.isReady) post('notready', reason, { run: works.run })
    if (state === 'started' || state === 'starting') note('module.waiting', { reason })
  }

  suspect(replica: Replica, missingMs: number): void {
    const { core, reloads } = this.#audience()
    core.note('module.suspected', { instance: replica.id, missing_ms: Math.round(missingMs) })
    reloads.disturbed(replica, 'suspect')
  }

  departed(replica: Replica, departure: Departure, readyMs: number): void {
    const { core, reloads } = this.#audience()
    const { works, standing, retries, note, post } = core
    const { type, d } = departureFact(replica, departure, readyMs)
    note(type, d)
    this.#tell(replica, departure, d)
    if (reloads.disturbed(replica, departure)) return
    if (replica.set !== works.serving || standing.state === 'reloading') return
    const exitCode = departure.how === 'exited' ? departure.exitCode : null
    const event = replica.set.staying.length > 0 ? 'thinned' : 'exited'
    const crash = retries.crash(readyMs, { clean: exitCode === 0, displaced: departure.how === 'displaced' })
    post(event, describeDeparture(departure), { crash, exitCode, run: works.run })
  }

  shifted(): void {
    this.#audience().core.shifted()
  }

  /** In the module's own log, where its author looks; a hang with the place. */
  #tell({ id: instance }: Replica, departure: Departure, d: Readonly<Record<string, unknown>>): void {
    const { id, env } = this.#audience().core
    const { blocked_at, stack } = d
    const fields = Object.fromEntries(Object.entries({ blocked_at, stack }).filter(([, value]) => value))
    const message = `the instance is gone: ${describeDeparture(departure)}`
    env.said(id, instance, { level: departure.how === 'displaced' ? 'warn' : 'error', message, fields })
  }
}
