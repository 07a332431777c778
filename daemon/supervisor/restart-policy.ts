import assert from 'node:assert'
import type { Manifest } from '../contracts/manifest.ts'
import { backoffMs } from '../kit/backoff.ts'
import type { Chance } from '../kit/chance.ts'

export type RestartRules = Manifest['restart']

/** One loss of an instance, on the monotonic clock. */
export interface Crash {
  readonly atMs: number
  /** How long it had been ready; 0 when it never was. */
  readonly readyMs: number
  /** It ended by itself with exit code 0. */
  readonly clean: boolean
}

export type Verdict =
  | { readonly restart: 'now' }
  | { readonly restart: 'later'; readonly waitMs: number }
  /** Too many in the window: one try in a while. */
  | { readonly restart: 'spent'; readonly waitMs: number; readonly crashes: number }
  | { readonly restart: 'never' }

/** An instance that served this long was well: what ended it may be over already. */
const WELL_AFTER_MS = 1_000
/** Ready this long forgives the crashes before. */
export const FORGIVEN_AFTER_MS = 60_000
/** A module in a crash loop is tried this often: the cause may have gone, and a try is cheap. */
const CRASHLOOP_RETRY_MS = 300_000

/**
 * Decides what a crash means, given the earlier ones.
 *
 * Pure, so the verdict can be journaled before it is acted on and a test can replay an outage in microseconds. At once
 * when the instance had been well, else `backoff_ms · 2ⁿ ± 20 %`, capped; n counts the young crashes since the last
 * reset (60 s of ready, new code, new settings, an operator's start, which empty `crashes`).
 *
 * @param crashes - Oldest first; the last one is judged.
 */
export function judgeCrash(crashes: readonly Crash[], rules: RestartRules, chance: Chance): Verdict {
  const newest = crashes.at(-1)
  assert(newest !== undefined, 'judgeCrash needs at least the crash it judges')

  if (rules.policy === 'temporary' || (rules.policy === 'transient' && newest.clean))
    return { restart: 'never' }

  const recent = crashes.filter(({ atMs }) => newest.atMs - atMs < rules.within_ms).length
  if (recent > rules.max) return { restart: 'spent', waitMs: CRASHLOOP_RETRY_MS, crashes: recent }
  if (newest.readyMs >= WELL_AFTER_MS) return { restart: 'now' }

  const young = crashes.filter(({ readyMs }) => readyMs < WELL_AFTER_MS).length
  return { restart: 'later', waitMs: backoffMs(young - 1, rules.backoff_ms, rules.backoff_max_ms, chance) }
}

/**
 * The budget of crash-caused host starts for the whole daemon: at most `perMinute` in any 60 s, the others in order.
 *
 * Fifty modules that crash together may not eat the machine.
 */
export class RestartBudget {
  readonly #perMinute: number
  #startsMs: number[] = []

  constructor(perMinute: number) {
    this.#perMinute = perMinute
  }

  /** Takes the next free place; returns how long to wait for it, in milliseconds. */
  take(nowMs: number): number {
    this.#startsMs = this.#startsMs.filter((atMs) => nowMs - atMs < 60_000)
    const blocking = this.#startsMs.at(-this.#perMinute)
    const atMs = blocking === undefined ? nowMs : Math.max(nowMs, blocking + 60_000)
    this.#startsMs.push(atMs)
    return atMs - nowMs
  }
}
