import type { Generation } from '../catalog/port.ts'
import type { ReloadResult } from '../contracts/status.ts'
import type { Departure } from '../host/port.ts'
import type { ReloadOrder } from './port.ts'
import type { Replica, ReplicaSet } from './replica-set.ts'
import { FORGIVEN_AFTER_MS } from './restart-policy.ts'
import { Swap, type SwapEnd } from './swap.ts'
import type { UnitCore } from './unit-core.ts'

interface Running {
  readonly swap: Swap
  readonly abort: AbortController
  readonly done: Promise<ReloadResult>
  /** What it brings up; undefined when there was nothing to bring up. */
  readonly target: Promise<string | undefined>
}

export interface ReloadsOptions {
  readonly core: UnitCore
  wanted(generation: Generation): number
  /** From now on calls go to this set. */
  serve(set: ReplicaSet): void
  /** The next set has settled. */
  committed(set: ReplicaSet): void
}

/** The one swap of a module that may be under way, and how the last one ended. */
export class Reloads {
  readonly #options: ReloadsOptions
  /** Generations found bad by this run of the daemon: the record of it may still be on its way to the disk. */
  readonly #condemned = new Map<string, { readonly phase: string; readonly reason: string }>()
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

  /** Gives the swap up; the old set serves again. */
  abort(because: string): void {
    this.#running?.abort.abort(because)
  }

  /** A replica went away or turned suspect. True when it is the swap's business, and nobody else's. */
  disturbed(replica: Replica, what: Departure | 'suspect'): boolean {
    this.#running?.swap.disturbed(replica, what)
    return this.#running?.swap.owns(replica.set) === true
  }

  begin(order: ReloadOrder, old: ReplicaSet): Promise<ReloadResult> {
    const { core, wanted, serve } = this.#options
    const { id, env, assembly, memory } = core
    const abort = new AbortController()
    const chosen = this.next(order)
    const overlap = !(old.generation.manifest.exclusive || order.strategy === 'immediate')
    const swap = new Swap(
      {
        moduleId: id,
        clock: env.clock,
        signal: abort.signal,
        old,
        choose: () => chosen,
        refused: (next) =>
          this.#condemned.get(next) ?? memory().refused.find(({ generation }) => generation === next),
        form: (generation) => assembly.form(generation),
        bring: async (set, inherited) => {
          const failure = await assembly.complete(set, wanted(set.generation), inherited)
          if (failure !== undefined) throw failure
        },
        serve,
      },
      order,
      overlap,
    )
    const done = swap.run().then((end) => this.#end(end, old, order))
    const target = chosen.then(
      (generation) => generation.id,
      () => undefined, // the swap itself tells why
    )
    this.#running = { swap, abort, done, target }
    return done
  }

  /**
   * Takes the place of the swap under way, once it is over, by calling `afresh`; unless both are for the same code,
   * then they are one. The newest save is judged against the last committed code.
   */
  async supersede(order: ReloadOrder, afresh: () => Promise<ReloadResult>): Promise<ReloadResult> {
    const running = this.#running
    if (running === undefined) return afresh()
    const wanted = await this.next(order).then(
      (generation) => generation.id,
      () => undefined,
    )
    if (wanted !== undefined && wanted === (await running.target)) return running.done
    running.abort.abort('a newer reload took its place')
    await running.done
    return afresh()
  }

  /** What a reload is to bring up: a kept generation when it is named, else what the folder holds. */
  next({ generation }: ReloadOrder): Promise<Generation> {
    const { id, env } = this.#options.core
    return generation === undefined ? env.catalog.stage(id) : env.catalog.kept(id, generation)
  }

  #end(end: SwapEnd, old: ReplicaSet, order: ReloadOrder): ReloadResult {
    this.#running = undefined
    const { standing, works } = this.#options.core
    const { result, next } = end
    if (standing.state !== 'reloading') {
      // Stopped meanwhile: nothing of either set is wanted.
      for (const set of [old, next]) if (set !== undefined) works.retire(set)
      return result
    }
    if (end.serving === 'next' && next !== undefined) this.#commit(result, old, next, order)
    else this.#revert(end, old, order)
    return result
  }

  #commit(result: ReloadResult, old: ReplicaSet, next: ReplicaSet, { actor }: ReloadOrder): void {
    const { core, committed } = this.#options
    const { works, retries, note, post } = core
    this.#condemned.delete(next.generation.id)
    works.generation = next.generation
    works.retire(old)
    retries.forgive()
    this.#last = result
    note('module.reloaded', { ...result }, actor)
    committed(next)
    post('swapped', 'the new code has settled', { run: works.run })
  }

  #revert({ result, next, finding, generation }: SwapEnd, old: ReplicaSet, { actor }: ReloadOrder): void {
    const { works, retries, note, post } = this.#options.core
    if (next !== undefined) works.retire(next)
    if (result.rolled_back && finding !== 'none') {
      this.#last = result
      const failed = finding === 'bad generation' ? generation : undefined
      const { phase = '', reason = '' } = result
      if (failed !== undefined) this.#condemned.set(failed, { phase, reason })
      note('module.rolled_back', { ...result, generation: failed, to: old.generation.id }, actor)
    }
    const because = result.reason ?? 'the reload was reverted'
    if (old.replicas.size > 0) post('reverted', because, { run: works.run })
    // It was stopped for the swap, or died during it: what was well comes back at once.
    else post('exited', because, { crash: retries.crash(FORGIVEN_AFTER_MS), run: works.run })
  }
}
