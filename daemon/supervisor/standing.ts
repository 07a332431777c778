import type { ModuleState } from '../contracts/status.ts'
import type { Clock } from '../kit/clock.ts'

/** States in which a unit waits for something from outside: whoever waits for it may look now. */
const RESTING: ReadonlySet<ModuleState> = new Set([
  'invalid',
  'waiting',
  'started',
  'backoff',
  'crashloop',
  'stopped',
  'failed',
  'locked',
])

/** The state of a unit: since when, why, and who waits for it to come to rest. */
export class Standing {
  readonly #clock: Clock
  readonly #waiters = new Set<() => void>()
  #state: ModuleState = 'discovered'
  #sinceMs: number
  because = 'it was found on disk'

  constructor(clock: Clock) {
    this.#clock = clock
    this.#sinceMs = clock.now()
  }

  get state(): ModuleState {
    return this.#state
  }

  /** Wall time. */
  get sinceMs(): number {
    return this.#sinceMs
  }

  enter(state: ModuleState, because: string): void {
    if (state !== this.#state) this.#sinceMs = this.#clock.now()
    this.#state = state
    this.because = because
  }

  /** To be called when an entered state has been acted upon. */
  settle(): void {
    if (!RESTING.has(this.#state)) return
    for (const resolve of this.#waiters) resolve()
    this.#waiters.clear()
  }

  /** Resolves at once when it rests, else when it comes to rest. */
  async rest(): Promise<void> {
    while (!RESTING.has(this.#state)) await new Promise<void>((resolve) => this.#waiters.add(resolve))
  }
}
