import type { MissionId } from '../contracts/ids.ts'
import type { Clock, Timer } from '../kit/clock.ts'

interface Entry {
  readonly id: MissionId
  readonly dueMs: number
}

/**
 * What is due for which mission, with one timer for the nearest. Measured on the monotonic clock, so a wall clock
 * that jumps neither expires approvals nor starts missions early.
 */
export class Agenda {
  readonly #clock: Clock
  readonly #ring: (id: MissionId) => void
  readonly #entries = new Map<MissionId, Entry>()
  /** A binary heap, the nearest first. What was dropped or replaced stays until it comes up, or until the sweep. */
  #heap: Entry[] = []
  #timer: Timer | undefined
  #timerMs = Number.POSITIVE_INFINITY

  /** @param ring - Called once for each entry, when it is due. */
  constructor(clock: Clock, ring: (id: MissionId) => void) {
    this.#clock = clock
    this.#ring = ring
  }

  /** Replaces an earlier entry of the same mission. */
  put(id: MissionId, waitMs: number): void {
    const entry = { id, dueMs: this.#clock.elapsed() + Math.max(0, waitMs) }
    this.#entries.set(id, entry)
    if (this.#heap.length > 2 * this.#entries.size + SLACK) this.#sweep()
    else push(this.#heap, entry)
    if (entry.dueMs < this.#timerMs) this.#arm(entry.dueMs)
  }

  drop(id: MissionId): void {
    // The timer may ring for nothing; that is cheaper than a search for the next one at every drop.
    this.#entries.delete(id)
  }

  /** What is left to wait, in milliseconds; undefined without an entry. */
  waitMs(id: MissionId): number | undefined {
    const entry = this.#entries.get(id)
    return entry === undefined ? undefined : Math.max(0, entry.dueMs - this.#clock.elapsed())
  }

  /** Forgets everything. */
  close(): void {
    this.#entries.clear()
    this.#heap = []
    this.#timer?.cancel()
    this.#timerMs = Number.POSITIVE_INFINITY
  }

  #arm(dueMs: number): void {
    this.#timer?.cancel()
    this.#timerMs = dueMs
    this.#timer = this.#clock.after(Math.max(0, dueMs - this.#clock.elapsed()), () => this.#look())
  }

  #look(): void {
    this.#timerMs = Number.POSITIVE_INFINITY
    const nowMs = this.#clock.elapsed()
    const due: MissionId[] = []
    for (let next = this.#heap[0]; next !== undefined; next = this.#heap[0]) {
      const isStill = this.#entries.get(next.id) === next
      if (isStill && next.dueMs > nowMs) break
      pop(this.#heap)
      if (!isStill) continue
      this.#entries.delete(next.id)
      due.push(next.id)
    }
    const next = this.#heap[0]
    if (next !== undefined) this.#arm(next.dueMs)
    for (const id of due) this.#ring(id)
  }

  #sweep(): void {
    // A sorted list is a heap.
    this.#heap = [...this.#entries.values()].sort((a, b) => a.dueMs - b.dueMs)
  }
}

function push(heap: Entry[], entry: Entry): void {
  let place = heap.length
  heap.push(entry)
  while (place > 0) {
    const above = (place - 1) >> 1
    const parent = heap[above]
    if (parent === undefined || parent.dueMs <= entry.dueMs) break
    heap[place] = parent
    place = above
  }
  heap[place] = entry
}

function pop(heap: Entry[]): void {
  const last = heap.pop()
  if (last === undefined || heap.length === 0) return
  let place = 0
  for (;;) {
    const left = 2 * place + 1
    const below = (heap[left + 1]?.dueMs ?? Infinity) < (heap[left]?.dueMs ?? Infinity) ? left + 1 : left
    const child = heap[below]
    if (child === undefined || child.dueMs >= last.dueMs) break
    heap[place] = child
    place = below
  }
  heap[place] = last
}

/** A few entries are not worth a sweep. */
const SLACK = 64
