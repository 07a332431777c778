import { NexusError } from '../contracts/failure.ts'
import type { PortKeeper } from '../listen/port.ts'
import type { Doors, Replica, ReplicaSet } from './replica-set.ts'

/**
 * The TCP ports of one module: held from before its first instance comes up until it stops, whatever happens to
 * instances meanwhile.
 */
export class ModulePorts implements Doors {
  readonly #moduleId: string
  readonly #keeper: PortKeeper
  readonly #ready: () => readonly Replica[]
  /** Sets that run or come up: during a reload the ports of both are held. */
  readonly #sets = new Set<ReplicaSet>()
  #last: Promise<void> = Promise.resolve()
  /** What is held, in one text; empty when nothing is. */
  #held = ''
  #directed = ''

  /** @param ready - Those that take calls now. */
  constructor(moduleId: string, keeper: PortKeeper, ready: () => readonly Replica[]) {
    this.#moduleId = moduleId
    this.#keeper = keeper
    this.#ready = ready
  }

  /** @throws NexusError `MODULE_START_FAILED`, phase `listen`, naming the port that cannot be had. */
  hold(set: ReplicaSet): Promise<void> {
    this.#sets.add(set)
    return this.#inTurn(async () => {
      if (!this.#sets.has(set)) return // stopped meanwhile
      try {
        await this.#holdAll()
      } catch (cause) {
        this.#sets.delete(set)
        if (!(cause instanceof NexusError)) throw cause
        const facts = { module: this.#moduleId, phase: 'listen', reason: cause.message }
        throw new NexusError('MODULE_START_FAILED', facts, { cause })
      }
    })
  }

  /** Nothing of the set runs any more: what only its manifest lists is closed, if another one has taken its place. */
  leave(set: ReplicaSet): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#sets.delete(set) && this.#sets.size > 0) await this.#holdAll()
    })
  }

  /** New connections go to whatever takes calls, too; while nothing does, they wait. */
  direct(): void {
    if (this.#held === '') return
    const fit = this.#ready()
      .filter(({ suspected }) => !suspected)
      .map(({ id }) => id)
    // Told only what is new: this is asked at every change of any replica.
    const directed = fit.join()
    if (directed === this.#directed) return
    this.#directed = directed
    this.#keeper.direct(this.#moduleId, fit)
  }

  drain(instance: string, waitMs: number): Promise<void> {
    return this.#keeper.drain(this.#moduleId, instance, waitMs)
  }

  forget(instance: string): void {
    this.#keeper.forget(this.#moduleId, instance)
  }

  /** The module is not to run: its ports are closed. */
  release(): Promise<void> {
    this.#sets.clear()
    return this.#inTurn(async () => {
      this.#directed = ''
      if (this.#held === '') return
      this.#held = ''
      await this.#keeper.release(this.#moduleId)
    })
  }

  /** One thing at a time: a port that is being opened cannot be closed yet. */
  #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#last.then(work)
    this.#last = turn.catch(() => {}) // its failure is its caller's
    return turn
  }

  async #holdAll(): Promise<void> {
    const listen = new Map(
      [...this.#sets]
        .flatMap(({ generation }) => generation.manifest.listen)
        .map((entry) => [`${entry.name} ${entry.host}:${entry.port}`, entry] as const),
    )
    const held = [...listen.keys()].join()
    if (held === this.#held) return
    await this.#keeper.hold(this.#moduleId, [...listen.values()])
    this.#held = held
    this.direct()
  }
}
