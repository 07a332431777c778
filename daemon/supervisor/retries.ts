import type { Chance } from '../kit/chance.ts'
import type { Clock, Timer } from '../kit/clock.ts'
import {
  CRASHLOOP_RETRY_MS,
  type Crash,
  FORGIVEN_AFTER_MS,
  judgeCrash,
  judgeDisplacement,
  type RestartRules,
  type Verdict,
} from './restart-policy.ts'
import type { PlannedStart, StartQueue } from './start-queue.ts'

/** Older crashes are of no interest to any window that a manifest may ask for. */
const CRASHES_KEPT_MS = 86_400_000
const CRASHES_MAX = 1_000

/** The crashes of one module, and its next try. */
export class Retries {
  readonly #clock: Clock
  readonly #chance: Chance
  readonly #queue: StartQueue
  #crashes: readonly Crash[] = []
  #displaced: readonly number[] = []
  /** It crashed too often and was not well since. */
  #looping = false
  #next: PlannedStart | undefined
  /** For how long it waited for its turn behind others, beyond its own backoff. */
  #queuedMs = 0
  /** Starts after a crash, for the life of the daemon. */
  count = 0

  constructor(clock: Clock, chance: Chance, queue: StartQueue) {
    this.#clock = clock
    this.#chance = chance
    this.#queue = queue
  }

  /** Wall time of the next try, when one is waiting. */
  get atMs(): number | undefined {
    if (this.#next === undefined) return undefined
    return this.#clock.now() + this.#next.atMs() - this.#clock.elapsed()
  }

  /** A crash at this moment. A wait for others does not make the crashes of one module rarer than they are. */
  crash(readyMs: number, { clean = false, displaced = false } = {}): Crash {
    return { atMs: this.#clock.elapsed() - this.#queuedMs, readyMs, clean, displaced }
  }

  /** Remembers the crash and says what it means. */
  judge(crash: Crash, rules: RestartRules): Verdict {
    if (crash.displaced) {
      this.#displaced = [...this.#displaced.slice(1 - CRASHES_MAX), crash.atMs]
      return judgeDisplacement(this.#displaced, rules, this.#chance)
    }
    if (crash.readyMs >= FORGIVEN_AFTER_MS) this.forgive()
    const recent = this.#crashes.filter(({ atMs }) => crash.atMs - atMs < CRASHES_KEPT_MS)
    this.#crashes = [...recent.slice(1 - CRASHES_MAX), crash]
    const verdict = judgeCrash(this.#crashes, rules, this.#chance)
    if (verdict.restart === 'spent') this.#looping = true
    // The rare tries of a crash loop lie further apart than any window: they do not end it.
    if (!this.#looping || verdict.restart === 'never') return verdict
    return { restart: 'spent', waitMs: CRASHLOOP_RETRY_MS, crashes: this.#crashes.length }
  }

  /** New code, new settings, or an operator's start: what was is forgotten. */
  forgive(): void {
    this.#crashes = []
    this.#displaced = []
    this.#looping = false
  }

  /** Calls `ring` when the wait is over and it is this module's turn, unless disarmed before. */
  arm(waitMs: number, ring: () => void): void {
    const readyAtMs = this.#clock.elapsed() + Math.max(0, waitMs)
    this.#plan(
      (due) => this.#queue.put(waitMs, due),
      () => {
        this.#queuedMs += Math.max(0, this.#clock.elapsed() - readyAtMs)
        ring()
      },
    )
  }

  /** The same, whoever else waits: the start takes nothing from the budget of crash-caused ones. */
  armFreely(waitMs: number, ring: () => void): void {
    this.#plan((due) => soon(this.#clock, waitMs, due), ring)
  }

  disarm(): void {
    this.#next?.cancel()
    this.#next = undefined
  }

  #plan(put: (due: () => void) => PlannedStart, ring: () => void): void {
    this.disarm()
    let rang = false
    const next = put(() => {
      rang = true
      this.#next = undefined
      this.count += 1
      ring()
    })
    if (!rang) this.#next = next
  }
}

function soon(clock: Clock, waitMs: number, ring: () => void): PlannedStart {
  const atMs = clock.elapsed() + waitMs
  let timer: Timer | undefined
  if (waitMs > 0) timer = clock.after(waitMs, ring)
  else ring()
  return { atMs: () => atMs, cancel: () => timer?.cancel() }
}
