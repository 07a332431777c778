import type { Actor, FactDraft } from '../contracts/fact.ts'
import { NexusError } from '../contracts/failure.ts'
import type { ModuleOmen, ModuleState } from '../contracts/status.ts'
import type { RestartRules } from './restart-policy.ts'
import type { Unit } from './unit.ts'

/** Of a module over which nobody has seen an omen. */
export const NO_OMEN: ModuleOmen = {
  level: 'ignore',
  because: null,
  since: null,
  probation_until: null,
  held: false,
}

/** States in which a lock is the first thing to know; in the others something worse, or somebody's wish, is. */
const LOCKABLE: ReadonlySet<ModuleState> = new Set([
  'loaded',
  'waiting',
  'starting',
  'started',
  'reloading',
  'backoff',
])

/** How a module stands for everybody outside: a lock covers that its instances are up, which they stay. */
export function shownOf(
  { state, because, sinceMs }: Pick<Unit, 'state' | 'because' | 'sinceMs'>,
  omen: ModuleOmen,
): { readonly state: ModuleState; readonly because: string; readonly sinceMs: number } {
  if (omen.level !== 'lock' || !LOCKABLE.has(state)) return { state, because, sinceMs }
  const lockedMs = omen.since === null ? sinceMs : Date.parse(omen.since)
  return { state: 'locked', because: omen.because ?? 'an omen locked it', sinceMs: lockedMs }
}

/** The rules of its restarts while an omen stands over it: what fails again and again is given twice the time. */
export function patientRules(rules: RestartRules, { level }: ModuleOmen): RestartRules {
  if (level !== 'intervene' && level !== 'lock') return rules
  return { ...rules, backoff_ms: 2 * rules.backoff_ms, backoff_max_ms: 2 * rules.backoff_max_ms }
}

/** What an omen does to a module that serves, in words; undefined where it does nothing. */
export function effectOf({
  level,
  because,
  held,
  probation_until: untilTime,
}: ModuleOmen): string | undefined {
  if (held) return `its omen is held, since many modules fail at once (${because})`
  const effect = EFFECTS[level]
  const said = [
    ...(effect === undefined ? [] : [`${effect} until this is over: ${because}`]),
    ...(untilTime === null ? [] : [`until ${untilTime} it is locked again at the seventh failure`]),
  ]
  return said.length === 0 ? undefined : said.join('; ')
}

const EFFECTS: Readonly<Partial<Record<ModuleOmen['level'], string>>> = {
  warn: 'its missions lose trust',
  intervene:
    'one of its missions runs at a time, none without approval, and its restarts wait twice as long,',
}

/**
 * Opens what an omen locked. The fact is the effect: omens are folded from it.
 *
 * @throws NexusError `MODULE_WRONG_STATE` when it is not locked.
 */
export async function unlockModule(
  unit: Unit,
  reason: string,
  actor: Actor,
  books: { omen(): ModuleOmen; append(draft: FactDraft): Promise<unknown> },
): Promise<{ module_id: string; state: ModuleState; probation_until: string | null }> {
  if (books.omen().level !== 'lock') {
    throw new NexusError('MODULE_WRONG_STATE', { module: unit.id, state: unit.state, wanted: 'be unlocked' })
  }
  await books.append({ type: 'module.unlocked', actor, d: { module_id: unit.id, reason } })
  const omen = books.omen()
  return { module_id: unit.id, state: shownOf(unit, omen).state, probation_until: omen.probation_until }
}
