import { NexusError } from '../contracts/failure.ts'
import type { Manifest } from '../contracts/manifest.ts'
import { Graceful } from './graceful.ts'
import { Immediate } from './immediate.ts'
import { Rolling } from './rolling.ts'
import type { Crossing, Way } from './way.ts'

export type Strategy = 'graceful' | 'rolling' | 'immediate'

/**
 * What is really done about a reload: what was asked for, else what the new manifest says. Modules whose instances may
 * not overlap are stopped and started whatever was asked for: nothing else keeps that promise.
 *
 * @throws NexusError `NOT_AVAILABLE` for `canary`.
 */
export function strategyFor(asked: Manifest['reload'] | undefined, old: Manifest, next: Manifest): Strategy {
  const wanted = asked ?? next.reload
  if (wanted === 'canary') throw new NexusError('NOT_AVAILABLE', { what: 'the reload strategy canary' })
  return old.exclusive || next.exclusive ? 'immediate' : wanted
}

export function wayOf(strategy: Strategy, crossing: Crossing): Way {
  switch (strategy) {
    case 'graceful':
      return new Graceful(crossing)
    case 'rolling':
      return new Rolling(crossing)
    case 'immediate':
      return new Immediate(crossing)
  }
}
