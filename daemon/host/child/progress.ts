import type { Clock } from '../../kit/clock.ts'

/**
 * `ctx.progress`: says the first at once and the last one of each tenth of a second, so that a loop may report every
 * row it reads.
 */
export function createProgress(
  clock: Clock,
  say: (fraction: number, note: string | undefined) => void,
): (fraction: number, note?: string) => void {
  let latest: { fraction: number; note: string | undefined } | undefined
  let isQuiet = false
  const flush = (): void => {
    isQuiet = latest !== undefined
    if (latest === undefined) return
    say(latest.fraction, latest.note)
    latest = undefined
    clock.after(QUIET_MS, flush)
  }
  return (fraction, note) => {
    latest = { fraction, note }
    if (!isQuiet) flush()
  }
}

/** Faster than eyes follow. */
const QUIET_MS = 100
