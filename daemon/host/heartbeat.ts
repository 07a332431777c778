/** What silence means. `suspect` and `recovered` are said once each time; `hung` ends it. */
export type Pulse = 'well' | 'suspect' | 'recovered' | 'hung'

/**
 * Judges how long a host has been silent.
 *
 * @param missingMs - Since its last heartbeat, without the time in which the daemon itself could not listen.
 * @param suspected - Whether `suspect` was the last verdict.
 */
export function judgePulse(missingMs: number, suspected: boolean, limits: PulseLimits): Pulse {
  if (missingMs > limits.killMs) return 'hung'
  if (missingMs > limits.suspectMs) return suspected ? 'well' : 'suspect'
  return suspected ? 'recovered' : 'well'
}

export interface PulseLimits {
  readonly suspectMs: number
  readonly killMs: number
}

/** How often a host says that it lives while it is at work: twice before anybody wonders, and as often as memory is watched. */
export function heartbeatEveryMs(suspectMs: number): number {
  return Math.max(EVERY_MS_MIN, Math.min(EVERY_MS_MAX, Math.floor(suspectMs / 2)))
}

const EVERY_MS_MAX = 500
const EVERY_MS_MIN = 10
