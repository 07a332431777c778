import type { Instance } from '../host/port.ts'
import type { Replica } from './replica-set.ts'

/** A handed-over state may take this long; without it the next instance starts cold. */
const SNAPSHOT_MS = 1_000
const SNAPSHOT_BYTES_MAX = 262_144

/**
 * What these replicas leave to those that take their places, one for one: state that an instance returned from
 * `snapshot`, undefined where it has none to give in time or in size. Never rejects: a cold start is the documented
 * answer to a state that cannot be had.
 */
export function statesOf(replicas: readonly Replica[]): Promise<unknown[]> {
  return Promise.all(replicas.map(({ instance }) => (instance === undefined ? undefined : stateOf(instance))))
}

async function stateOf(instance: Instance): Promise<unknown> {
  if (!instance.has.snapshot) return undefined
  try {
    const state = await instance.snapshot(SNAPSHOT_MS)
    return Buffer.byteLength(JSON.stringify(state) ?? '') <= SNAPSHOT_BYTES_MAX ? state : undefined
  } catch {
    return undefined
  }
}
