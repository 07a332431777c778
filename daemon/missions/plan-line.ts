import { NexusError } from '../contracts/failure.ts'
import type { Clock } from '../kit/clock.ts'
import { withDeadline } from '../kit/deadline.ts'

/** Lets a few missions be planned at a time; the others wait in line, so many and so long. */
export class PlanLine {
  readonly #clock: Clock
  readonly #waiting = new Set<() => void>()
  #busy = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** @throws NexusError `PLANNERS_BUSY`, and what `plan` throws. */
  async run<T>(plan: () => Promise<T>): Promise<T> {
    if (this.#busy < AT_ONCE_MAX) this.#busy += 1
    else await this.#turn()
    try {
      return await plan()
    } finally {
      this.#leave()
    }
  }

  async #turn(): Promise<void> {
    const busy = (): NexusError =>
      new NexusError('PLANNERS_BUSY', { waiting: WAITING_MAX, seconds: WAIT_MS / 1_000 })
    if (this.#waiting.size >= WAITING_MAX) throw busy()
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#waiting.add(resolve)
    await withDeadline(this.#clock, WAIT_MS, promise, () => {
      this.#waiting.delete(resolve)
      return busy()
    })
  }

  /** The place goes to the next in line, if there is one. */
  #leave(): void {
    const [next] = this.#waiting
    if (next === undefined) {
      this.#busy -= 1
      return
    }
    this.#waiting.delete(next)
    next()
  }
}

/** A planner has one call at a time unless it says otherwise; more only keep others of its calls waiting. */
const AT_ONCE_MAX = 16
/** As many as a batch holds. */
const WAITING_MAX = 1_000
/** Somebody waits for the answer to create. */
const WAIT_MS = 10_000
