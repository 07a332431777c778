import type { Generation } from '../catalog/port.ts'
import type { ReloadResult } from '../contracts/status.ts'
import type { Departure } from '../host/port.ts'
import { judgeNeeds } from './needs.ts'
import type { ReloadOrder } from './port.ts'
import type { Needs } from './presence.ts'
import { ROLLED_BACK_BY_HAND } from './remembered.ts'
import type { Replica, ReplicaSet } from './replica-set.ts'
import { FORGIVEN_AFTER_MS } from './restart-policy.ts'
import { type Refusal, Swap, type SwapEnd } from './swap.ts'
import type { UnitCore } from './unit-core.ts'

interface Running {
  readonly order: ReloadOrder
  readonly old: ReplicaSet
  readonly swap: Swap
  readonly abort: AbortController
  readonly done: Promise<ReloadResult>
  /** What it brings up; undefined when there was nothing to bring up. */
  readonly target: Promise<string | undefined>
}

export interface ReloadsOptions {
  readonly core: UnitCore
  wanted(generation: Generation): number
  readonly needs: Needs
  /** From now on calls go to these sets. */
  serve(set: ReplicaSet, beside: ReplicaSet | undefined): void
  /** The next set has settled. */
  committed(set: ReplicaSet): void
}

/** The one swap of a module that may be under way, and how the last one ended. */
export class Reloads {
  readonly #options: ReloadsOptions
  /** Generations found bad by this run of the daemon: the record of it may still be on its way to the disk. */
  readonly #condemned = new Map<string, Refusal>()
  #running: Running | undefined
  #last: ReloadResult | undefined

  constructor(options: ReloadsOptions) {
    this.#options = options
  }

  /** The last reload that was committed or rolled back. */
  get last(): ReloadResult | undefined {
    return this.#last
  }

  get running(): boolean {
    return this.#running !== undefined
  }

  /** Resolves when no swap is under way any more. */
  async idle(): Promise<void> {
    await this.#running?.done
  }

  /** Gives the swap up; the old code serves again, unless the module itself is stopped. */
  abort(because: string): void {
    this.#running?.abort.abort(because)
  }

  /** A newer save has taken the place of the one that settles now. What somebody named is not given up for it. */
  async giveWayTo(target: string): Promise<void> {
    const running = this.#running
    if (running === undefined || running.order.generation !== undefined) return
    // What serves is not given up while there is nothing of the old code to go back to in the meantime.
    if (running.old.ready.length === 0 && this.#options.core.works.isReady) return
    if ((await running.target) !== target) running.abort.abort('a newer save took its place')
  }

  /** A replica went away or turned suspect. True when it is the swap's business, and nobody else's. */
  disturbed(replica: Replica, what: Departure | 'suspect'): boolean {
    this.#running?.swap.disturbed(replica, what)
    return this.#running?.swap.owns(replica.set) === true
  }

  begin(order: ReloadOrder, old: ReplicaSet): Promise<ReloadResult> {
    const { core, wanted, needs, serve } = this.#options
    const { id, env, assembly, works, standing } = core
    const { run } = works
    const abort = new AbortController()
    const chosen = this.next(order)
    const swap = new Swap(
      {
        moduleId: id,
        clock: env.clock,
        signal: abort.signal,
        old,
        choose: () => chosen,
        refused: (next) => this.refused(next),
        form: (generation) => assembly.form(generation, order.configured),
        again: (set) => assembly.form(set.generation),
        wanted,
        needs: ({ manifest }) => judgeNeeds(needs(manifest.requires), env.clock.elapsed()),
        bring: async (set, count, inherited) => {
          const failure = await assembly.complete(set, count, inherited)
          if (failure !== undefined) throw failure
        },
        serve: (set, beside) => {
          // A swap that was overtaken by a stop has nothing to say any more.
          if (run === works.run) serve(set, beside)
        },
        switched: () => order.switched?.(),
        stopped: () => run !== works.run || standing.state !== 'reloading',
      },
      order,
    )
    const done = swap.run().then((end) => this.#end(end, old, order))
    const target = chosen.then(
      (generation) => generation.id,
      () => undefined, // the swap itself tells why
    )
    this.#running = { order, old, swap, abort, done, target }
    return done
  }

  /** How many replicas of this code should run. */
  wanted(generation: Generation): number {
    return this.#options.wanted(generation)
  }

  /** What a reload is to bring up: a kept generation when it is named, else what the folder holds. */
  next({ generation }: ReloadOrder): Promise<Generation> {
    const { id, env } = this.#options.core
    return generation === undefined ? env.catalog.stage(id) : env.catalog.kept(id, generation)
  }

  /** Whether a generation was reverted or given up before, and why. */
  refused(generation: string): Refusal | undefined {
    const recorded = this.#options.core.memory().refused.find((entry) => entry.generation === generation)
    const { phase, reason } = recorded ?? {}
    const known = phase === undefined || reason === undefined ? undefined : { phase, reason }
    return this.#condemned.get(generation) ?? known
  }

  /** A generation that is not to be brought up by itself, until its content changes or somebody names it. */
  condemn(generation: string, refusal: Refusal): void {
    this.#condemned.set(generation, refusal)
  }

  #end(end: SwapEnd, old: ReplicaSet, order: ReloadOrder): ReloadResult {
    this.#running = undefined
    const { standing, works } = this.#options.core
    const { result, next, serving } = end
    if (standing.state !== 'reloading') {
      // Stopped meanwhile: nothing of any set is wanted.
      for (const set of new Set([old, serving, next])) if (set !== undefined) works.retire(set)
      return { ...result, reloaded: false }
    }
    if (serving === next) this.#commit(result, old, next, order)
    else this.#revert(end, old, order)
    return result
  }

  #commit(result: ReloadResult, old: ReplicaSet, next: ReplicaSet, { actor }: ReloadOrder): void {
    const { core, committed } = this.#options
    const { works, retries, note, post } = core
    this.#condemned.delete(next.generation.id)
    for (const [id, { phase }] of this.#condemned)
      if (phase === ROLLED_BACK_BY_HAND) this.#condemned.delete(id)
    works.generation = next.generation
    works.retire(old)
    retries.disarm()
    retries.forgive()
    this.#last = result
    note('module.reloaded', { ...result }, actor)
    committed(next)
    post('swapped', 'the new code has settled', { run: works.run })
  }

  #revert(end: SwapEnd, old: ReplicaSet, { actor }: ReloadOrder): void {
    const { result, next, serving, finding, generation } = end
    const { core, wanted } = this.#options
    const { works, retries, note, post } = core
    if (next !== undefined) works.retire(next)
    if (serving !== old) works.retire(old)
    if (result.rolled_back && finding !== 'none') {
      this.#last = result
      const failed = finding === 'bad generation' ? generation : undefined
      const { phase = '', reason = '', stack } = result
      const refusal = stack === undefined ? { phase, reason } : { phase, reason, stack }
      if (failed !== undefined) this.condemn(failed, refusal)
      note('module.rolled_back', { ...result, generation: failed, to: old.generation.id }, actor)
    }
    const because = result.reason ?? 'the reload was reverted'
    const { run } = works
    if (serving.staying.length > 0 || wanted(serving.generation) === 0) post('reverted', because, { run })
    // It was stopped for the swap, or died during it: what was well comes back at once.
    else post('exited', because, { crash: retries.crash(FORGIVEN_AFTER_MS), run })
  }
}
