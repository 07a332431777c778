import type { Timer } from '../kit/clock.ts'
import type { Reloads } from './reloads.ts'
import type { ReplicaSet } from './replica-set.ts'
import type { UnitCore } from './unit-core.ts'

/** Generations that were good and stay on disk: the one that runs, and some to go back to. */
const KEPT = 4

/** Code that has served for its settling time is what is gone back to from then on; before, it is young. */
export class Acceptance {
  readonly #core: UnitCore
  readonly #reloads: Reloads
  #timer: Timer | undefined

  constructor(core: UnitCore, reloads: Reloads) {
    this.#core = core
    this.#reloads = reloads
  }

  /** Whether what serves has not settled yet since its start. */
  get isYoung(): boolean {
    return this.#timer !== undefined
  }

  /** A set has come up outside of a reload, which does its own settling. */
  await(set: ReplicaSet): void {
    this.cancel()
    this.#timer = this.#core.env.clock.after(set.generation.manifest.timeouts.settle_ms, () => {
      this.#timer = undefined
      this.accept(set)
    })
  }

  cancel(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }

  accept(set: ReplicaSet): void {
    const { id, works, memory, note, env } = this.#core
    const { lastGood: former, good = [] } = memory()
    const { id: generation } = set.generation
    // Code of which nothing runs has proved nothing.
    if (works.serving !== set || set.replicas.size === 0 || former === generation) return
    note('module.generation_accepted', { generation })
    // A swap under way has staged a generation that nobody else knows of yet.
    if (this.#reloads.running) return
    const kept = [...good.filter((known) => known !== generation), former ?? generation, generation]
    env.catalog
      .prune(id, kept.slice(-KEPT))
      .catch((error) => env.log('warn', `old generations stay: ${error}`, { module: id }))
  }
}
