import type { Chance } from '../kit/chance.ts'
import type { Clock, Timer } from '../kit/clock.ts'
import {
  type Crash,
  FORGIVEN_AFTER_MS,
  judgeCrash,
  type RestartBudget,
  type RestartRules,
  type Verdict,
} from './restart-policy.ts'

/** Older crashes are of no interest to any window that a manifest may ask for. */
const CRASHES_KEPT_MS = 86_400_000
const CRASHES_MAX = 1_000

/** The crashes of one module, and the timer of its next try. */
export class Retries {
  readonly #clock: Clock
  readonly #chance: Chance
  readonly #budget: RestartBudget
  #crashes: readonly Crash[] = []
  #timer: Timer | undefined
  #atMs: number | undefined
  /** Starts after a crash, for the life of the daemon. */
  count = 0

  constructor(clock: Clock, chance: Chance, budget: RestartBudget) {
    this.#clock = clock
    this.#chance = chance
    this.#budget = budget
  }

  /** Wall time of the next try, when one is waiting. */
  get atMs(): number | undefined {
    return this.#atMs
  }

  crash(readyMs: number, clean = false): Crash {
    return { atMs: this.#clock.elapsed(), readyMs, clean }
  }

  /** Remembers the crash and says what it means; the wait includes the daemon's own budget. */
  judge(crash: Crash, rules: RestartRules): Verdict & { readonly waitMs?: number } {
    const kept = crash.readyMs >= FORGIVEN_AFTER_MS ? [] : this.#crashes
    const recent = kept.filter(({ atMs }) => crash.atMs - atMs < CRASHES_KEPT_MS)
    this.#crashes = [...recent.slice(1 - CRASHES_MAX), crash]
    const verdict = judgeCrash(this.#crashes, rules, this.#chance)
    if (verdict.restart === 'never' || verdict.restart === 'spent') return verdict
    const waitMs = Math.max(verdict.restart === 'later' ? verdict.waitMs : 0, this.#budget.take(crash.atMs))
    return { ...verdict, waitMs }
  }

  /** New code, new settings, or an operator's start: what was is forgotten. */
  forgive(): void {
    this.#crashes = []
  }

  /** Calls `ring` after `waitMs`, unless disarmed before. */
  arm(waitMs: number, ring: () => void): void {
    this.disarm()
    this.count += 1
    if (waitMs <= 0) {
      ring()
      return
    }
    this.#atMs = this.#clock.now() + waitMs
    this.#timer = this.#clock.after(waitMs, ring)
  }

  disarm(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#atMs = undefined
  }
}
