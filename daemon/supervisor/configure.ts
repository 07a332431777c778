import { isDeepStrictEqual } from 'node:util'
import type { CommandParams } from '../contracts/command.ts'
import type { Actor } from '../contracts/fact.ts'
import { NexusError } from '../contracts/failure.ts'
import { redacted } from '../telemetry/redact.ts'
import { getDotted, setDotted } from './dotted.ts'
import { giveLive, takeBack } from './live-settings.ts'
import type { Books } from './remembered.ts'
import { assertSettable } from './settable.ts'
import type { Unit } from './unit.ts'

export interface Configured {
  readonly module_id: string
  readonly key: string
  readonly value: unknown
  readonly previous: unknown
  readonly applied: 'live' | 'reload'
}

type Settings = Readonly<Record<string, unknown>>

/** One change, and the settings as they were and would be: what was configured, and what the module runs with. */
interface Change {
  readonly key: string
  readonly value: unknown
  readonly previous: unknown
  readonly configured: Settings
  readonly config: Settings
  readonly before: { readonly configured: Settings; readonly config: Settings }
}

/**
 * Changes one setting: checked by the module's schema, given to the running instances where all of them take it live,
 * else by a reload with revert. It is remembered only after it held. Where nothing runs there is nothing that could
 * hold it: what the schema takes is remembered, and a module that had given up is started with it.
 *
 * @throws NexusError `CONFIG_VALUE_INVALID`, `SETTING_SECRET`, `RELOAD_ROLLED_BACK`.
 */
export async function configureModule(
  unit: Unit,
  { key, value }: CommandParams<'configure'>,
  actor: Actor,
  { memory, append }: Books,
): Promise<Configured> {
  const config = configOf(unit)
  assertSettable({ moduleId: unit.id, key, value, config })
  const configured = setDotted(memory.config, key, value)
  const before = { configured: memory.config, config }
  const previous = getDotted(config, key) ?? null
  const change = { key, value, previous, configured, config: fitting(unit, configured, before, key), before }

  const shown = { module_id: unit.id, key, value, previous: redacted(previous, lastOf(key)) }
  const remember = (applied: 'live' | 'reload'): Promise<unknown> =>
    append({ type: 'module.configured', actor, d: { ...shown, applied } })
  const applied = await apply(unit, change, actor)
  if (applied === undefined) {
    await remember('reload')
    await unit.renewed(actor)
    return { ...shown, applied: 'reload' }
  }
  try {
    await remember(applied)
  } catch (error) {
    // What is not on record would be gone at the next start: better at once, while somebody looks.
    await restore(unit, change, actor)
    throw error
  }
  return { ...shown, applied }
}

/** @returns How it was applied; undefined where nothing serves that could be reloaded. */
async function apply(unit: Unit, change: Change, actor: Actor): Promise<'live' | 'reload' | undefined> {
  const { key, value, previous, config } = change
  const set = unit.serving
  const running = (set?.staying.length ?? 0) > 0
  // Nothing would be other than it is.
  if (running && isDeepStrictEqual(config, set?.config)) return 'live'
  const taken = set !== undefined && running ? await giveLive(set, { key, value, previous, config }) : []
  const allHave = set !== undefined && running && set.staying.every((replica) => taken.includes(replica))
  if (allHave && set === unit.serving) {
    set.reconfigured(config)
    return 'live'
  }
  if (!unit.serves) return undefined

  const result = await unit.swapSettings(change.configured, actor)
  if (result.reloaded) return 'reload'
  if (set !== undefined) await takeBack(set, taken, backOf(change))
  await unit.fit('a setting was taken back')
  const { phase = 'start', reason = unit.because, stack = '' } = result
  const generation = (result.generation ?? '').slice(0, 12)
  throw new NexusError('RELOAD_ROLLED_BACK', { module: unit.id, generation, phase, reason, stack })
}

/** The settings of before, for instances that run with the new ones. */
async function restore(unit: Unit, change: Change, actor: Actor): Promise<void> {
  const set = unit.serving
  if (set === undefined || isDeepStrictEqual(set.config, change.before.config)) return
  const taken = await giveLive(set, backOf(change))
  if (set === unit.serving && set.staying.every((replica) => taken.includes(replica))) {
    set.reconfigured(change.before.config)
  } else await unit.swapSettings(change.before.configured, actor)
}

function backOf({ key, value, previous, before }: Change) {
  return { key, value: previous, previous: value, config: before.config }
}

/**
 * The settings as they would be. One of several that do not fit may be put right by itself: then they fit as little as
 * before, and the module goes on being told so.
 */
function fitting(unit: Unit, configured: Settings, before: Change['before'], key: string): Settings {
  try {
    return unit.configWith(configured, key)
  } catch (error) {
    const known = issuesOf(unit, before.configured)
    const isNew = (issue: { pointer: string; detail: string }): boolean =>
      issue.pointer.startsWith(`/${key.replaceAll('.', '/')}`) ||
      !known.some((other) => isDeepStrictEqual(other, issue))
    if (!(error instanceof NexusError) || error.issues.some(isNew)) throw error
    return before.config
  }
}

function issuesOf(unit: Unit, configured: Settings): readonly { pointer: string; detail: string }[] {
  try {
    unit.configWith(configured)
    return []
  } catch (error) {
    return error instanceof NexusError ? error.issues : []
  }
}

/** Settings that do not fit are told by the state of the module; here they are none. */
function configOf(unit: Unit): Settings {
  try {
    return unit.config
  } catch {
    return {}
  }
}

function lastOf(key: string): string {
  return key.split('.').at(-1) ?? key
}
