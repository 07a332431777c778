import type { Generation } from '../catalog/port.ts'
import type { Replica, ReplicaSet } from './replica-set.ts'

/** What of a module exists as code: the generation that is wanted, the sets that serve, and those on their way out. */
export class Works {
  /** The one to start; undefined lets the next start look at the disk. */
  generation: Generation | undefined
  /** The set whose generation and settings the module has. */
  serving: ReplicaSet | undefined
  /** The set that takes calls too, while a reload goes on one replica at a time. */
  beside: ReplicaSet | undefined
  readonly #retiring = new Set<Promise<void>>()
  #run = 0

  /** Whatever was begun in an earlier run is about code that is no longer wanted. */
  get run(): number {
    return this.#run
  }

  /** Every replica that takes calls, of whichever set. */
  get ready(): readonly Replica[] {
    const { serving, beside } = this
    return beside === undefined ? (serving?.ready ?? []) : [...(serving?.ready ?? []), ...beside.ready]
  }

  /** Every replica of what serves, also those that take no calls now. */
  get replicas(): readonly Replica[] {
    return [...(this.serving?.replicas ?? []), ...(this.beside?.replicas ?? [])]
  }

  /** What runs, else what is to run. */
  get current(): Generation | undefined {
    return this.serving?.generation ?? this.generation
  }

  get isReady(): boolean {
    return this.ready.length > 0
  }

  /** Ends the run: what serves or comes up is retired. */
  discard(): void {
    this.#run += 1
    const sets = [this.serving, this.beside]
    this.serving = undefined
    this.beside = undefined
    for (const set of sets) if (set !== undefined) this.retire(set)
  }

  /** Lets a set finish its calls and go, beside everything else. */
  retire(set: ReplicaSet): void {
    const { drain_ms: drainMs, stop_ms: stopMs } = set.generation.manifest.timeouts
    void this.#watch(set.retire(drainMs, stopMs)) // whoever needs its end asks `retired`
  }

  /** Lets some replicas of a set finish their calls and go; resolves when they are gone. */
  release(set: ReplicaSet, replicas: readonly Replica[]): Promise<void> {
    const { drain_ms: drainMs, stop_ms: stopMs } = set.generation.manifest.timeouts
    return this.#watch(set.release(replicas, drainMs, stopMs))
  }

  /** Resolves when everything that was retired is gone. */
  async retired(): Promise<void> {
    await Promise.all(this.#retiring)
  }

  #watch(work: Promise<void>): Promise<void> {
    const done = work.finally(() => this.#retiring.delete(done))
    this.#retiring.add(done)
    return done
  }
}
