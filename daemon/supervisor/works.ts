import type { Generation } from '../catalog/port.ts'
import type { ReplicaSet } from './replica-set.ts'

/** What of a module exists as code: the generation that is wanted, the set that serves, and those on their way out. */
export class Works {
  /** The one to start; undefined lets the next start look at the disk. */
  generation: Generation | undefined
  serving: ReplicaSet | undefined
  readonly #retiring = new Set<Promise<void>>()
  #run = 0

  /** Whatever was begun in an earlier run is about code that is no longer wanted. */
  get run(): number {
    return this.#run
  }

  get isReady(): boolean {
    return (this.serving?.ready.length ?? 0) > 0
  }

  /** Ends the run: what serves or comes up is retired. */
  discard(): void {
    this.#run += 1
    const set = this.serving
    this.serving = undefined
    if (set !== undefined) this.retire(set)
  }

  /** Lets a set finish its calls and go, beside everything else. */
  retire(set: ReplicaSet): void {
    const { drain_ms: drainMs, stop_ms: stopMs } = set.generation.manifest.timeouts
    const done = set.retire(drainMs, stopMs).finally(() => this.#retiring.delete(done))
    this.#retiring.add(done)
  }

  /** Resolves when every set that was retired is gone. */
  async retired(): Promise<void> {
    await Promise.all(this.#retiring)
  }
}
