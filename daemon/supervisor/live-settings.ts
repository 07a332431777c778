import type { ConfigChange } from '../contracts/module.ts'
import type { Replica, ReplicaSet } from './replica-set.ts'

/** A module takes a changed setting in this time, or it is reloaded. */
const CONFIGURE_MS = 5_000

/** Offers a change to every running instance. @returns Those that took it; asking stops at none of them. */
export async function giveLive(set: ReplicaSet, change: ConfigChange): Promise<readonly Replica[]> {
  const replicas = [...set.staying]
  // One that cannot take it makes it a reload for all: then nobody need be bothered.
  if (!replicas.every(({ instance }) => instance?.has.configure === true)) return []
  const taken = await Promise.all(replicas.map((replica) => takes(replica, change)))
  return replicas.filter((_, place) => taken[place])
}

/** Gives back the former value to those that have taken the new one; who does not take it back has to go. */
export async function takeBack(
  set: ReplicaSet,
  taken: readonly Replica[],
  change: ConfigChange,
): Promise<void> {
  const staying = taken.filter((replica) => set.staying.includes(replica))
  const given = await Promise.all(staying.map((replica) => takes(replica, change)))
  const keepers = staying.filter((_, place) => !given[place])
  const { drain_ms: drainMs, stop_ms: stopMs } = set.generation.manifest.timeouts
  await set.release(keepers, drainMs, stopMs)
}

/** One that throws or is silent has not taken it. */
async function takes({ instance }: Replica, change: ConfigChange): Promise<boolean> {
  try {
    return (await instance?.configure(change, CONFIGURE_MS)) === 'applied'
  } catch {
    return false
  }
}
