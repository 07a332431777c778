import assert from 'node:assert'
import type { Manifest } from '../contracts/manifest.ts'
import { backoffMs } from '../kit/backoff.ts'
import type { Chance } from '../kit/chance.ts'

export type RestartRules = Manifest['restart']

/** One loss of an instance, on the monotonic clock less the time spent waiting for a turn to start. */
export interface Crash {
  readonly atMs: number
  /** How long it had been ready; 0 when it never was. */
  readonly readyMs: number
  /** It ended by itself with exit code 0. */
  readonly clean: boolean
  /** Another module's fault: it was in the same host. */
  readonly displaced: boolean
}

export type Verdict =
  | { readonly restart: 'now' }
  | { readonly restart: 'later'; readonly waitMs: number }
  /** Too many in the window: one try in a while. */
  | { readonly restart: 'spent'; readonly waitMs: number; readonly crashes: number }
  | { readonly restart: 'never' }
  /** Through no fault of its own: as if nothing had happened, and at nobody's expense. */
  | { readonly restart: 'again'; readonly waitMs: number }

/** An instance that served this long was well: what ended it may be over already. */
const WELL_AFTER_MS = 1_000
/** Ready this long forgives the crashes before. */
export const FORGIVEN_AFTER_MS = 60_000
/** A module in a crash loop is tried this often: the cause may have gone, and a try is cheap. */
export const CRASHLOOP_RETRY_MS = 300_000

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
 * Decides how soon a displaced instance comes back: at once, unless its neighbours go on pulling it down. Then, too, a
 * start for nothing costs more than a wait.
 *
 * @param times - When it was displaced, on the monotonic clock; oldest first, the last one is judged.
 */
export function judgeDisplacement(times: readonly number[], rules: RestartRules, chance: Chance): Verdict {
  const newestMs = times.at(-1)
  assert(newestMs !== undefined, 'judgeDisplacement needs at least the one it judges')
  const recent = times.filter((atMs) => newestMs - atMs < rules.within_ms).length
  const tooMany = recent - rules.max
  if (tooMany <= 0) return { restart: 'again', waitMs: 0 }
  return { restart: 'again', waitMs: backoffMs(tooMany - 1, rules.backoff_ms, rules.backoff_max_ms, chance) }
}
