import type { CommandParams } from '../contracts/command.ts'
import type { Actor } from '../contracts/fact.ts'
import { NexusError } from '../contracts/failure.ts'
import type { Manifest } from '../contracts/manifest.ts'
import type { ModuleState } from '../contracts/status.ts'
import type { Books, ModuleMemory } from './remembered.ts'
import type { Unit } from './unit.ts'

export interface Scaled {
  readonly module_id: string
  readonly replicas: number
  readonly previous: number
  /** How many of them take calls by now; those that failed are tried again by the restart policy. */
  readonly ready: number
  readonly state: ModuleState
}

/** How many instances are to run: what an operator said last, else the configuration, else the manifest. */
export function replicasWanted(
  manifest: Manifest | undefined,
  configured: number | undefined,
  memory: ModuleMemory,
): number {
  const wanted = memory.replicas ?? configured ?? manifest?.replicas ?? 1
  // The code may have become exclusive since it was scaled.
  return manifest?.exclusive === true ? Math.min(1, wanted) : wanted
}

/**
 * Changes how many instances of a module run. The wish is on record before anything is done about it; of several at
 * once the last one counts, and each answers when the module is as was wished at last.
 *
 * @throws NexusError `MODULE_EXCLUSIVE`, `MODULE_CHANGING`.
 */
export async function scaleModule(
  unit: Unit,
  { replicas }: CommandParams<'scale_module'>,
  actor: Actor,
  { memory, append }: Books,
): Promise<Scaled> {
  if (replicas > 1 && unit.manifest?.exclusive === true) {
    throw new NexusError('MODULE_EXCLUSIVE', { module: unit.id, replicas })
  }
  // Only the wish waits for its turn: fewer may be wanted just because more do not come up.
  const previous = await unit.change(async () => {
    const before = unit.replicasWanted
    const d = { module_id: unit.id, replicas, previous: before }
    if (memory.replicas !== replicas) await append({ type: 'module.scaled', actor, d })
    return before
  })
  await unit.fit(`${actor.name} scaled it to ${replicas}`)
  return { module_id: unit.id, replicas, previous, ready: unit.takers.length, state: unit.state }
}
