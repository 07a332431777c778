/** Time as it is handed in, so that a test owns it. */
export interface Clock {
  now(): number
  elapsed(): number
  after(waitMs: number, ring: () => void): { cancel(): void }
}

/** The clock of the machine. */
export const systemClock: Clock = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
  after(waitMs, ring) {
    const timer = setTimeout(ring, Math.ceil(waitMs))
    return { cancel: () => clearTimeout(timer) }
  },
}
