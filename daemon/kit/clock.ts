/**
 * Time as a port. Nothing else in the daemon asks the system for the time or sets a timer, so a test owns both.
 */
export interface Clock {
  /** Wall time in milliseconds since 1970. May jump; only for what people read. */
  now(): number
  /** Monotonic time in milliseconds. Every duration, deadline and order is measured with it. */
  elapsed(): number
  /** Calls `ring` once, `waitMs` from now, unless cancelled before. */
  after(waitMs: number, ring: () => void): Timer
}

export interface Timer {
  /** Safe to call twice, and after it rang. */
  cancel(): void
}

/** The clock of the machine. Its timers do not keep the process alive. */
export const systemClock: Clock = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
  after(waitMs, ring) {
    // The longest wait a Node timer can hold; longer ones would ring at once.
    const timer = setTimeout(ring, Math.min(waitMs, 2 ** 31 - 1))
    timer.unref()
    return { cancel: () => clearTimeout(timer) }
  },
}

/** RFC 3339 in UTC with milliseconds, as every wire and record carries it. */
export function timestamp(clock: Clock): string {
  const nowMs = clock.now()
  if (nowMs !== told.ms) told = { ms: nowMs, text: new Date(nowMs).toISOString() }
  return told.text
}

/** Under load many records share a millisecond. */
let told = { ms: 0, text: new Date(0).toISOString() }

/** Resolves after `waitMs`; rejects with the signal's reason when it aborts first. */
export function sleep(clock: Clock, waitMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    const timer = clock.after(waitMs, () => {
      signal?.removeEventListener('abort', stop)
      resolve()
    })
    const stop = (): void => {
      timer.cancel()
      reject(signal?.reason)
    }
    signal?.addEventListener('abort', stop, { once: true })
  })
}
