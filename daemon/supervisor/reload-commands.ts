import type { CommandParams } from '../contracts/command.ts'
import type { Actor } from '../contracts/fact.ts'
import { NexusError } from '../contracts/failure.ts'
import type { ReloadPlan, ReloadResult } from '../contracts/status.ts'
import type { ReloadOrder, SupervisorEnvironment } from './port.ts'
import { planReload } from './reload-plan.ts'
import { type ModuleMemory, ROLLED_BACK_BY_HAND } from './remembered.ts'
import type { Unit } from './unit.ts'

export interface ReloadBooks {
  readonly env: SupervisorEnvironment
  readonly memory: ModuleMemory
  /** Modules that require this one. */
  readonly dependants: readonly string[]
}

/** @throws NexusError `RELOAD_ROLLED_BACK`, `RELOAD_REFUSED`, `GENERATION_UNKNOWN`, `MODULE_WRONG_STATE`, `NOT_AVAILABLE`. */
export async function reloadModule(
  unit: Unit,
  { strategy, generation, dry_run: isDryRun }: CommandParams<'reload_module'>,
  actor: Actor,
  books: ReloadBooks,
): Promise<ReloadResult | ReloadPlan> {
  if (strategy === 'canary') throw new NexusError('NOT_AVAILABLE', { what: 'the reload strategy canary' })
  const wish = {
    ...(strategy === undefined ? {} : { strategy }),
    ...(generation === undefined ? {} : { generation }),
  }
  if (isDryRun === true) return planReload(unit, wish, books)
  return carryOut(unit, { ...wish, onlyIfChanged: false, abandons: generation !== undefined, actor })
}

/**
 * Goes back to a kept generation: the one that is named, else the newest of those that were good before the current
 * one. What the folder holds then is not brought up again by itself, until it changes or somebody names it.
 *
 * @throws NexusError `GENERATION_UNKNOWN`, and as a reload.
 */
export async function rollbackModule(
  unit: Unit,
  { generation }: CommandParams<'rollback_module'>,
  actor: Actor,
  books: ReloadBooks,
): Promise<ReloadResult> {
  const target = generation ?? (await formerOf(unit, books))
  return carryOut(unit, { generation: target, onlyIfChanged: false, abandons: true, actor })
}

async function carryOut(unit: Unit, order: ReloadOrder): Promise<ReloadResult> {
  const result = await unit.request(order)
  if (result.rolled_back) throw rolledBack(result)
  if (result.reloaded) return result
  if (result.phase === ROLLED_BACK_BY_HAND) throw refused(result)
  const state = `${unit.state} (${result.reason ?? unit.because})`
  throw new NexusError('MODULE_WRONG_STATE', { module: unit.id, state, wanted: 'be reloaded' })
}

async function formerOf(unit: Unit, { env, memory }: ReloadBooks): Promise<string> {
  const { good = [], refused } = memory
  const current = unit.generation?.id
  const place = good.indexOf(current ?? '')
  const before = place === -1 ? good : good.slice(0, place)
  const sound = before.filter((id) => !refused.some(({ generation }) => generation === id))
  for (const id of sound.reverse()) {
    const kept = await env.catalog.kept(unit.id, id).catch(unlessUnknown)
    if (kept !== undefined) return kept.id
  }
  throw new NexusError('GENERATION_UNKNOWN', { module: unit.id, generation: 'to go back to' })
}

function unlessUnknown(error: unknown): undefined {
  if (!(error instanceof NexusError)) throw error
}

/** Somebody went back to an older generation: the folder's content has to be named to come again. */
function refused({ module_id: module, reason = '' }: ReloadResult): NexusError {
  return new NexusError('RELOAD_REFUSED', { module, reason })
}

function rolledBack({ module_id: module, generation, phase, reason, stack }: ReloadResult): NexusError {
  return new NexusError('RELOAD_ROLLED_BACK', {
    module,
    generation: (generation ?? '').slice(0, 12),
    phase: phase ?? 'start',
    reason: reason ?? '',
    stack: stack ?? '',
  })
}
