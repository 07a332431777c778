import type { Fact, MissionOutcome } from '../contracts/fact.ts'
import { CATEGORIES } from '../contracts/ids.ts'
import type { SelfTest } from './self-tests.ts'

/** When a fact was recorded. Several readers ask about each fact, one after the other. */
export function timeOf({ ts }: Fact): number {
  if (ts !== parsed.ts) parsed = { ts, ms: Date.parse(ts) }
  return parsed.ms
}

let parsed = { ts: '', ms: 0 }

/** The outcome a `mission.ended` fact tells; undefined when it is not complete enough to count. */
export function outcomeOf(fact: Fact): MissionOutcome | undefined {
  const { d, mid } = fact
  const complete =
    mid !== undefined &&
    CATEGORIES.some((category) => category === d['category']) &&
    Array.isArray(d['modules']) &&
    Array.isArray(d['tokens']) &&
    typeof d['fingerprint'] === 'string' &&
    typeof d['plan_shape'] === 'string' &&
    typeof d['success'] === 'boolean' &&
    typeof d['first_pass'] === 'boolean' &&
    Number.isFinite(d['duration_ms']) &&
    Number.isFinite(d['operator_minutes']) &&
    Number.isFinite(d['predicted'])
  return complete ? (d as unknown as MissionOutcome) : undefined
}

/** The self-test a `module.self_tested` fact tells. */
export function selfTestOf({ d, ts }: Fact): SelfTest | undefined {
  const { module_id: moduleId, generation, categories, runs } = d
  if (typeof moduleId !== 'string' || typeof generation !== 'string' || !Array.isArray(runs)) return undefined
  return {
    moduleId,
    generation,
    atMs: Date.parse(ts),
    categories: Array.isArray(categories) ? categories.map(String) : [],
    runs: runs.map((run: Readonly<Record<string, unknown>>) => ({
      action: String(run['action']),
      ok: run['ok'] === true,
      durationMs: Number(run['duration_ms'] ?? 0),
    })),
  }
}

/** The module a fact about a module names. */
export function moduleOf({ d }: Fact): string | undefined {
  return typeof d['module_id'] === 'string' ? d['module_id'] : undefined
}

/** Whether a module went down by itself and unwell: an exit with code 0 may be the end of its work. */
export function isCrash({ type, d }: Fact): boolean {
  return type === 'module.hung' || (type === 'module.crashed' && d['exit_code'] !== 0)
}

/** A field of a body when it is text. */
export function textOf(d: Fact['d'], name: string): string | undefined {
  const value = d[name]
  return typeof value === 'string' ? value : undefined
}

/** How a mission was judged, from the body of its creation or of a later judgement. */
export function decisionOf(d: Fact['d']): string | undefined {
  const validation = d['validation'] as Fact['d'] | undefined
  return validation && textOf(validation, 'decision')
}
