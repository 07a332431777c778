import type { Departure } from '../host/port.ts'
import { departureFact } from './assembly.ts'
import type { CallDesk } from './call-desk.ts'
import type { Reloads } from './reloads.ts'
import { describeDeparture, type Replica, type ReplicaSetEvents } from './replica-set.ts'
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
    if (standing.state === 'waiting' && works.isReady) post('up', 'it says it is ready', { run: works.run })
  }

  notReady(_: Replica, reason: string): void {
    const { standing, works, note, post } = this.#audience().core
    const { state } = standing
    standing.because = reason
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
    const reason = describeDeparture(departure)
    const { type, d } = departureFact(replica, departure, reason, readyMs)
    note(type, d)
    if (reloads.disturbed(replica, departure)) return
    if (replica.set !== works.serving || standing.state === 'reloading') return
    const exitCode = departure.how === 'exited' ? departure.exitCode : null
    const event = replica.set.replicas.size > 0 ? 'thinned' : 'exited'
    post(event, reason, { crash: retries.crash(readyMs, exitCode === 0), exitCode, run: works.run })
  }
}
