import { statesOf } from './hand-over.ts'
import type { ReplicaSet } from './replica-set.ts'
import { type Crossing, settleMsOf, type Way } from './way.ts'

/** All next replicas beside the old ones, then the switch; the old ones stay warm until the next have settled. */
export class Graceful implements Way {
  readonly downtimeMs = 0
  readonly #crossing: Crossing

  constructor(crossing: Crossing) {
    this.#crossing = crossing
  }

  async forth(): Promise<void> {
    const { old, next, wanted, bring, serve, probation, enter } = this.#crossing
    const states = await probation.during(statesOf(old.ready))
    enter('start')
    await probation.during(bring(next, wanted(next.generation), states))
    serve(next)
    enter('settle')
    await probation.pass(settleMsOf(next))
  }

  async back(): Promise<ReplicaSet> {
    const { old, serve } = this.#crossing
    serve(old)
    return old
  }
}
