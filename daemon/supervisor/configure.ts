import type { CommandParams } from '../contracts/command.ts'
import type { Actor, FactDraft } from '../contracts/fact.ts'
import { NexusError } from '../contracts/failure.ts'
import { getDotted, setDotted } from './dotted.ts'
import type { ModuleMemory } from './remembered.ts'
import type { Unit } from './unit.ts'

/** A module takes a changed setting in this time, or it is reloaded. */
const CONFIGURE_MS = 5_000

export interface Configured {
  readonly module_id: string
  readonly key: string
  readonly value: unknown
  readonly previous: unknown
  readonly applied: 'live' | 'reload'
}

/**
 * Changes one setting: checked by the module's schema, given to the running instances where they take it live, else by
 * a reload with revert. It is remembered only after it held.
 *
 * @throws NexusError `CONFIG_VALUE_INVALID`, `RELOAD_ROLLED_BACK`.
 */
export async function configureModule(
  unit: Unit,
  params: CommandParams<'configure'>,
  actor: Actor,
  memory: ModuleMemory,
  append: (draft: FactDraft) => Promise<unknown>,
): Promise<Configured> {
  const { key, value } = params
  const before = memory.config
  const previous = getDotted(unit.config, key) ?? null
  const config = unit.configWith(setDotted(before, key, value), key)

  const applied = (await takenLive(unit, { key, value, previous, config })) ? 'live' : 'reload'
  if (applied === 'live') unit.serving?.reconfigured(config)
  else if (unit.serving !== undefined) await reloadWith(unit, memory, setDotted(before, key, value), actor)

  await append({ type: 'module.configured', actor, d: { module_id: unit.id, key, value, previous, applied } })
  return { module_id: unit.id, key, value, previous, applied }
}

async function takenLive(
  unit: Unit,
  change: { key: string; value: unknown; previous: unknown; config: Readonly<Record<string, unknown>> },
): Promise<boolean> {
  const instances = (unit.serving?.ready ?? []).flatMap(({ instance }) =>
    instance === undefined ? [] : [instance],
  )
  if (instances.length === 0 || instances.some(({ has }) => !has.configure)) return false
  const answers = await Promise.all(instances.map((instance) => instance.configure(change, CONFIGURE_MS)))
  return answers.every((answer) => answer === 'applied')
}

/** Starts the same code with the new settings beside the old; the memory goes back when that fails. */
async function reloadWith(
  unit: Unit,
  memory: ModuleMemory,
  configured: Record<string, unknown>,
  actor: Actor,
): Promise<void> {
  const before = memory.config
  memory.config = configured
  const generation = unit.generation?.id
  const result = await unit.reload({
    onlyIfChanged: false,
    actor,
    ...(generation === undefined ? {} : { generation }),
  })
  if (result.reloaded) return
  memory.config = before
  const { phase = 'start', reason = '', stack = '' } = result
  const to = (result.generation ?? '').slice(0, 12)
  throw new NexusError('RELOAD_ROLLED_BACK', { module: unit.id, generation: to, phase, reason, stack })
}
