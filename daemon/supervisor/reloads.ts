import type { Generation } from '../catalog/port.ts'
import type { ReloadResult } from '../contracts/status.ts'
import type { Departure } from '../host/port.ts'
import type { Assembly } from './assembly.ts'
import type { ReloadOrder, SupervisorEnvironment } from './port.ts'
import type { ModuleMemory } from './remembered.ts'
import type { Replica, ReplicaSet } from './replica-set.ts'
import { Swap, type SwapEnd } from './swap.ts'

interface Running {
  readonly swap: Swap
  readonly abort: AbortController
  readonly done: Promise<ReloadResult>
  /** What it brings up; undefined when there was nothing to bring up. */
  readonly target: Promise<string | undefined>
}

export interface ReloadsOptions {
  readonly moduleId: string
  readonly env: SupervisorEnvironment
  readonly assembly: Assembly
  memory(): ModuleMemory
  wanted(generation: Generation): number
  serve(set: ReplicaSet): void
  /** Carries out how a swap ended, and says what to answer. */
  ended(end: SwapEnd, old: ReplicaSet, order: ReloadOrder): ReloadResult
}

/** The one swap of a module that may be under way. */
export class Reloads {
  readonly #options: ReloadsOptions
  #running: Running | undefined

  constructor(options: ReloadsOptions) {
    this.#options = options
  }

  /** Resolves when no swap is under way any more. */
  async idle(): Promise<void> {
    await this.#running?.done
  }

  get running(): boolean {
    return this.#running !== undefined
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
    const { moduleId, env, assembly, memory, wanted, serve, ended } = this.#options
    const abort = new AbortController()
    const chosen = this.next(order)
    const overlap = !(old.generation.manifest.exclusive || order.strategy === 'immediate')
    const swap = new Swap(
      {
        moduleId,
        clock: env.clock,
        signal: abort.signal,
        old,
        choose: () => chosen,
        refused: (id) => memory().refused.find(({ generation }) => generation === id),
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
    const done = swap.run().then((end) => {
      this.#running = undefined
      return ended(end, old, order)
    })
    const target = chosen.then(
      ({ id }) => id,
      () => undefined, // the swap itself tells why
    )
    this.#running = { swap, abort, done, target }
    return done
  }

  /**
   * Takes the place of the swap under way, once it is over, by calling `afresh`; unless both are for the same code,
   * then they are one.
   */
  async supersede(order: ReloadOrder, afresh: () => Promise<ReloadResult>): Promise<ReloadResult> {
    const running = this.#running
    if (running === undefined) return afresh()
    const wanted = await this.next(order).then(
      ({ id }) => id,
      () => undefined,
    )
    if (wanted !== undefined && wanted === (await running.target)) return running.done
    running.abort.abort('a newer reload took its place')
    await running.done
    return afresh()
  }

  /** What a reload is to bring up: a kept generation when it is named, else what the folder holds. */
  next({ generation }: ReloadOrder): Promise<Generation> {
    const { moduleId, env } = this.#options
    return generation === undefined ? env.catalog.stage(moduleId) : env.catalog.kept(moduleId, generation)
  }
}
