import { statesOf } from './hand-over.ts'
import type { ReplicaSet } from './replica-set.ts'
import { type Crossing, retire, settleMsOf, type Way } from './way.ts'

/** Stops the old ones, then starts the next; calls wait meanwhile. Going back is the same the other way round. */
export class Immediate implements Way {
  readonly #crossing: Crossing
  #states: readonly unknown[] = []
  #downSinceMs: number | undefined
  #downtimeMs = 0

  constructor(crossing: Crossing) {
    this.#crossing = crossing
  }

  get downtimeMs(): number {
    return this.#downtimeMs
  }

  async forth(): Promise<void> {
    const { old, next, wanted, bring, probation, enter } = this.#crossing
    await probation.during(this.#leave(old))
    enter('start')
    await probation.during(bring(next, wanted(next.generation), this.#states))
    this.#arrive(next)
    enter('settle')
    await probation.pass(settleMsOf(next))
  }

  async back(): Promise<ReplicaSet> {
    const { old, next, wanted, bring, again } = this.#crossing
    this.#downSinceMs ??= this.#crossing.clock.elapsed()
    // Two generations may not overlap, so both have to be gone; one that hangs would keep everybody waiting.
    for (const { suspected, instance, onSuspect } of next.replicas) {
      const end = (): void => instance?.kill('it hung while it settled')
      if (suspected) end()
      else onSuspect.add(end)
    }
    await Promise.all([retire(next), retire(old)])
    const revived = again(old)
    if (this.#crossing.stopped) return revived
    this.#crossing.serve(revived)
    // What does not come up now is tried again by the rules of restarts.
    await bring(revived, wanted(old.generation), this.#states).catch(() => {})
    this.#arrive(revived)
    return revived
  }

  async #leave(old: ReplicaSet): Promise<void> {
    this.#downSinceMs = this.#crossing.clock.elapsed()
    const { drain_ms: drainMs, stop_ms: stopMs } = old.generation.manifest.timeouts
    const replicas = old.ready
    await old.drain([...old.replicas], drainMs)
    // The last call has ended: this is all the state there will be.
    this.#states = await statesOf(replicas)
    await old.halt(stopMs)
  }

  #arrive(set: ReplicaSet): void {
    const { clock, serve } = this.#crossing
    serve(set)
    if (this.#downSinceMs !== undefined) this.#downtimeMs += clock.elapsed() - this.#downSinceMs
    this.#downSinceMs = undefined
  }
}
