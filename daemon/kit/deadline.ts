import type { Clock } from './clock.ts'

/**
 * Waits for `work`, but not longer than `waitMs`.
 *
 * @throws What `expired` makes, when time is up first; `work` goes on unobserved then.
 */
export async function withDeadline<T>(
  clock: Clock,
  waitMs: number,
  work: Promise<T>,
  expired: () => Error,
): Promise<T> {
  let ring: () => void = () => {}
  const timer = clock.after(waitMs, () => ring())
  const late = new Promise<never>((_, reject) => {
    ring = () => reject(expired())
  })
  try {
    return await Promise.race([work, late])
  } finally {
    timer.cancel()
    work.catch(() => {}) // its late failure has no reader left
  }
}
