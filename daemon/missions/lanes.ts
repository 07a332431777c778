import PQueue from 'p-queue'
import { CATEGORIES, type Category, type MissionId } from '../contracts/ids.ts'

/**
 * Who may run when: a lane for each category, and a limit over all of them. Higher priority first, then first come.
 *
 * Holds ids only; what a mission is stands in the store. Closed until `open`. Its length is bounded by admission.
 */
export class Lanes {
  readonly #start: (id: MissionId) => Promise<void>
  readonly #lanes: ReadonlyMap<Category, PQueue>
  readonly #all: PQueue
  readonly #waiting = new Map<MissionId, { readonly lane: Category; readonly leave: AbortController }>()

  /** @param start - Runs a mission to the end of its attempt; must not reject. */
  constructor(
    limits: { readonly concurrency: number; readonly lanes: Readonly<Record<Category, number>> },
    start: (id: MissionId) => Promise<void>,
  ) {
    this.#start = start
    this.#all = new PQueue({ concurrency: limits.concurrency, autoStart: false })
    this.#lanes = new Map(
      CATEGORIES.map((name) => [name, new PQueue({ concurrency: limits.lanes[name], autoStart: false })]),
    )
  }

  open(): void {
    for (const queue of [this.#all, ...this.#lanes.values()]) queue.start()
  }

  /** Nothing more starts; what runs goes on. */
  close(): void {
    for (const queue of [this.#all, ...this.#lanes.values()]) queue.pause()
  }

  /** Offering what waits already changes nothing. */
  offer(id: MissionId, lane: Category, priority: number): void {
    if (this.#waiting.has(id)) return
    const leave = new AbortController()
    this.#waiting.set(id, { lane, leave })
    // The place in the lane is kept while all places together are taken: no lane can fill them alone.
    const turn = this.#lanes
      .get(lane)
      ?.add(() => this.#all.add(() => this.#run(id), { priority }), { priority, signal: leave.signal })
    turn?.catch(() => {}) // only leaving rejects, and who left has been told
  }

  /** Takes out what has not started. */
  withdraw(id: MissionId): void {
    const entry = this.#waiting.get(id)
    this.#waiting.delete(id)
    entry?.leave.abort()
  }

  /** How many wait in each lane. */
  depth(): Record<Category, number> {
    const depth: Record<Category, number> = { coin: 0, forge: 0, library: 0, sanctuary: 0 }
    for (const { lane } of this.#waiting.values()) depth[lane] += 1
    return depth
  }

  async #run(id: MissionId): Promise<void> {
    if (!this.#waiting.delete(id)) return
    await this.#start(id)
  }
}
