import { statesOf } from './hand-over.ts'
import type { Replica, ReplicaSet } from './replica-set.ts'
import type { Crossing, Way } from './way.ts'

/**
 * One replica at a time: the next one comes up beside all that serve, settles, and only then an old one is drained.
 *
 * So never fewer replicas serve than are wanted, and never more than one above that run; the way back is the same. The
 * first replica settles for the whole `settle_ms`: it is the one that shows bad code. Those between settle for their
 * share of it, and the last one for the whole again, with one old replica warm until then. So a reload takes between
 * two and three times `settle_ms`, however many replicas there are.
 */
export class Rolling implements Way {
  readonly downtimeMs = 0
  readonly #crossing: Crossing
  /** State of old replicas that have gone, for those that come back in their place. */
  readonly #states: unknown[] = []

  constructor(crossing: Crossing) {
    this.#crossing = crossing
  }

  async forth(): Promise<void> {
    const { old, next, wanted, bring, serve, probation, enter } = this.#crossing
    const count = wanted(next.generation)
    const { settle_ms: settleMs } = next.generation.manifest.timeouts
    for (let done = 1; done <= count; done += 1) {
      const isLast = done === count
      const leaving = this.#leaving(count - done)
      const states = await probation.during(statesOf(leaving.length > 0 ? leaving : old.ready.slice(0, 1)))
      enter('start')
      await probation.during(bring(next, done, states.slice(0, 1)))
      serve(old, next)
      enter('settle')
      await probation.pass(done === 1 || isLast ? settleMs : settleMs / count)
      this.#states.push(...states.slice(0, leaving.length))
      if (!isLast) await probation.during(this.#release(old, leaving))
    }
    serve(next)
  }

  async back(): Promise<ReplicaSet> {
    const { old, next, wanted, bring, serve } = this.#crossing
    const bad = [...next.replicas].filter(({ suspected, state }) => suspected || state !== 'ready')
    await next.drain(bad, 0)
    const count = wanted(old.generation)
    try {
      while (!this.#crossing.stopped && old.staying.length < count) {
        await bring(old, old.staying.length + 1, this.#states.splice(0, 1))
        if (old.staying.length + next.ready.length > count) await this.#release(next, next.ready.slice(0, 1))
      }
    } catch {
      // What does not come up now is tried again by the rules of restarts; what is there of the old code serves alone.
    }
    serve(old)
    return old
  }

  /** The old replicas that the new one makes room for, so that `left` stay. */
  #leaving(left: number): readonly Replica[] {
    const { staying } = this.#crossing.old
    return staying.slice(0, Math.max(0, staying.length - left))
  }

  #release(set: ReplicaSet, replicas: readonly Replica[]): Promise<void> {
    const { drain_ms: drainMs, stop_ms: stopMs } = set.generation.manifest.timeouts
    return set.release(replicas, drainMs, stopMs)
  }
}
