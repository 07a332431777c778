import type { Need } from './needs.ts'
import type { Requirements } from './requirements.ts'
import type { UnitCore } from './unit-core.ts'

export interface PresenceOptions {
  readonly core: UnitCore
  readonly requirements: Requirements
  /** It goes on: there may be too few or too many instances by now. */
  fill(): void
  /** Resolves when every letter so far has been read. */
  idle(): Promise<void>
  /** Those that require it should look. */
  changed(): void
}

/** Whether a module finds what it requires, and whether those that require it find the module. */
export class Presence {
  readonly #options: PresenceOptions
  /** Monotonic; undefined while it is ready. */
  #awaySinceMs: number | undefined

  constructor(options: PresenceOptions) {
    this.#options = options
    this.#awaySinceMs = options.core.env.clock.elapsed()
  }

  /** Since when those that require it do not find it; of the absence that caused it, when it waits itself. */
  get awaySinceMs(): number | undefined {
    return this.#options.requirements.heldSinceMs ?? this.#awaySinceMs
  }

  /** Tells of it when it comes or goes, whatever its state is called. */
  weigh(): void {
    const { core, changed } = this.#options
    const isThere = core.self.takers.length > 0
    if (isThere === (this.#awaySinceMs === undefined)) return
    this.#awaySinceMs = isThere ? undefined : core.env.clock.elapsed()
    changed()
  }

  /** What it requires has changed, or how much of it is wanted: posts what follows from that. */
  look(because: string): void {
    const { core, requirements, fill } = this.#options
    const { standing, works, self, post } = core
    if (self.replicasWanted === 0) return
    const needs = requirements.judge()
    // With instances that say themselves that they are not ready, it waits for them.
    if (standing.state === 'waiting' && (core.isHeld || works.serving === undefined)) {
      if (needs.met) post(this.#isWhole ? 'unblocked' : 'due', because)
      else {
        requirements.hold(needs.awaySinceMs)
        standing.because = needs.because
      }
    }
    if (standing.state !== 'started') return
    if (needs.met) {
      requirements.rest()
      fill()
    } else if (needs.waitMs > 0) requirements.lookIn(needs.waitMs, () => this.look(because))
    else post('blocked', needs.because)
  }

  /** Calls wait from here on; whatever runs of it stays up. */
  hold(): void {
    const { core, requirements } = this.#options
    const { works, env, self, standing, note, ports } = core
    if (self.replicasWanted === 0) return
    const needs = requirements.judge()
    requirements.hold(needs.met ? env.clock.elapsed() : needs.awaySinceMs)
    ports.direct()
    if (works.isReady) note('module.waiting', { reason: standing.because })
    this.look('what it requires is ready') // it may be back by now
  }

  /** Resolves when an absence is over or no longer brief: new code is not started into a moment of it. */
  async decided(): Promise<void> {
    const { core, requirements, idle } = this.#options
    for (;;) {
      const needs = requirements.judge()
      if (core.standing.state !== 'started' || needs.met || needs.waitMs <= 0) return
      this.look('what it requires is ready')
      await requirements.rested()
      await idle()
    }
  }

  get #isWhole(): boolean {
    const { works, self } = this.#options.core
    return works.isReady && (works.serving?.staying.length ?? 0) >= self.replicasWanted
  }
}

/** How the modules that are required stand now. */
export type Needs = (requires: readonly string[]) => readonly Need[]
