import PQueue from 'p-queue'
import { CATEGORIES, type Category, type MissionId } from '../contracts/ids.ts'

/**
 * Who may run when: a lane for each category, and a limit over all of them. The greatest rank first, then first come.
 *
 * Holds ids only; what a mission is stands in the store. Closed until `open`. Its length is bounded by admission.
 */
export class Lanes {
  readonly #start: (id: MissionId) => Promise<void>
  readonly #lanes: ReadonlyMap<Category, PQueue>
  /** Undefined when all lanes together cannot reach the limit. */
  readonly #all: PQueue | undefined
  readonly #waiting = new Map<MissionId, { readonly lane: Category; readonly leave: AbortController }>()

  /** @param start - Runs a mission to the end of its attempt; must not reject. */
  constructor(
    limits: { readonly concurrency: number; readonly lanes: Readonly<Record<Category, number>> },
    start: (id: MissionId) => Promise<void>,
  ) {
    this.#start = start
    const places = CATEGORIES.reduce((sum, name) => sum + limits.lanes[name], 0)
    if (places > limits.concurrency) {
      this.#all = new PQueue({ concurrency: limits.concurrency, autoStart: false })
    }
    this.#lanes = new Map(
      CATEGORIES.map((name) => [name, new PQueue({ concurrency: limits.lanes[name], autoStart: false })]),
    )
  }

  open(): void {
    for (const queue of this.#queues) queue.start()
  }

  /** Nothing more starts; what runs goes on. */
  close(): void {
    for (const queue of this.#queues) queue.pause()
  }

  /** Offering what waits already changes nothing. @param rank - Of `rankOf`. */
  offer(id: MissionId, lane: Category, rank: number): void {
    if (this.#waiting.has(id)) return
    const leave = new AbortController()
    this.#waiting.set(id, { lane, leave })
    const all = this.#all
    // The place in the lane is kept while all places together are taken: no lane can fill them alone.
    const run =
      all === undefined ? () => this.#run(id) : () => all.add(() => this.#run(id), { priority: rank })
    const turn = this.#lanes.get(lane)?.add(run, { priority: rank, signal: leave.signal })
    turn?.catch(() => {}) // only leaving rejects, and who left has been told
  }

  /** Takes out what has not started. */
  withdraw(id: MissionId): void {
    const entry = this.#waiting.get(id)
    if (entry === undefined) return
    this.#waiting.delete(id)
    entry.leave.abort()
  }

  /** Takes a place that is free and that nobody waits for. @returns How to give it back; undefined when there is none. */
  takePlace(lane: Category): (() => void) | undefined {
    const own = this.#lanes.get(lane)
    const all = this.#all
    if (own === undefined || !hasPlace(own) || (all !== undefined && !hasPlace(all))) return undefined
    const held = Promise.withResolvers<void>()
    const hold = (): Promise<void> => held.promise
    void own.add(all === undefined ? hold : () => all.add(hold)) // never rejects, for `held` does not
    return held.resolve
  }

  /** How many wait in each lane. */
  depth(): Record<Category, number> {
    const depth: Record<Category, number> = { coin: 0, forge: 0, library: 0, sanctuary: 0 }
    for (const { lane } of this.#waiting.values()) depth[lane] += 1
    return depth
  }

  get #queues(): readonly PQueue[] {
    return this.#all === undefined ? [...this.#lanes.values()] : [this.#all, ...this.#lanes.values()]
  }

  async #run(id: MissionId): Promise<void> {
    if (!this.#waiting.delete(id)) return
    await this.#start(id)
  }
}

function hasPlace(queue: PQueue): boolean {
  return !queue.isPaused && queue.size === 0 && queue.pending < queue.concurrency
}

/**
 * Where a mission stands in the line: every step of priority is worth `AGE_MS` of waiting. So the order between two
 * never changes while they wait, and one of priority `p` goes before every one of `p + 1` that came `AGE_MS` later.
 *
 * @param sinceMs - When it began to wait, on the monotonic clock.
 */
export function rankOf(priority: number, sinceMs: number): number {
  return priority * AGE_MS - sinceMs
}

/**
 * Half a minute: from the lowest priority past the highest in four and a half minutes, which is less than a mission may
 * run by default (five). So nothing waits for its priority longer than it might for the one in front of it.
 */
export const AGE_MS = 30_000
/** A wait beyond this helps no further: every mission that is new comes later, whatever its priority. */
export const AGED_MS = 9 * AGE_MS
