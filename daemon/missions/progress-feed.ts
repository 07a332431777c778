import type { MissionId } from '../contracts/ids.ts'
import type { MissionProgress } from '../contracts/mission.ts'
import type { Clock, Timer } from '../kit/clock.ts'

export type ProgressListener = (id: MissionId, progress: MissionProgress) => void

/**
 * Tells listeners how far missions say they have come: the first word at once, then at most one in `QUIET_MS` for each
 * mission, and always the last. No fact: nobody is told again of what was missed.
 */
export class ProgressFeed {
  readonly #clock: Clock
  readonly #listeners = new Set<ProgressListener>()
  readonly #quiet = new Map<MissionId, { timer: Timer; next: MissionProgress | undefined }>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** @returns What ends it. */
  listen(listener: ProgressListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  say(id: MissionId, progress: MissionProgress): void {
    if (this.#listeners.size === 0) return
    const quiet = this.#quiet.get(id)
    if (quiet === undefined) this.#tell(id, progress)
    else quiet.next = progress
  }

  /** Nothing more of this mission; what was held back is told now. */
  end(id: MissionId): void {
    const quiet = this.#quiet.get(id)
    if (quiet === undefined) return
    quiet.timer.cancel()
    this.#quiet.delete(id)
    if (quiet.next !== undefined) for (const listener of this.#listeners) listener(id, quiet.next)
  }

  #tell(id: MissionId, progress: MissionProgress): void {
    const timer = this.#clock.after(QUIET_MS, () => this.#wake(id))
    this.#quiet.set(id, { timer, next: undefined })
    for (const listener of this.#listeners) listener(id, progress)
  }

  #wake(id: MissionId): void {
    const next = this.#quiet.get(id)?.next
    this.#quiet.delete(id)
    if (next !== undefined) this.#tell(id, next)
  }
}

/** Five words a second are as many as eyes follow. */
const QUIET_MS = 200
