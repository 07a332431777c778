import { type Issue, NexusError } from '../contracts/failure.ts'
import { type PlanStep, PlanStepSchema } from '../contracts/mission.ts'
import { didYouMean } from '../kit/nearest.ts'
import { checker, sentenceOf } from '../kit/schema.ts'
import { ancestorsOf, cycleIn, needsOf } from './plan-order.ts'
import { inputIssues } from './plan-types.ts'
import type { ModuleCalls } from './port.ts'
import { referencesIn } from './reference.ts'

/** What a plan is checked against. */
export interface PlanWorld {
  /** The mission's own. */
  readonly input: unknown
  readonly calls: Pick<ModuleCalls, 'action'>
}

/**
 * What a schema of plans cannot see: ids are unique, needs are there and lead to no circle, a step reads only what it
 * needs, and what it is called with fits its action as far as that can be known.
 */
export function planIssues(plan: readonly PlanStep[], world: PlanWorld): readonly Issue[] {
  const needs = needsOf(plan)
  const issues = [...orderIssues(plan), ...plan.flatMap((step, index) => referenceIssues(step, index, needs))]
  // Types along a broken order would only repeat its faults.
  if (issues.length > 0) return issues
  return plan.flatMap((step, index) =>
    inputIssues(step, plan, world).map(({ pointer, detail }) => ({
      pointer: `/plan/${index}${pointer}`,
      detail,
    })),
  )
}

/** Accepts a plan that a person wrote. @throws NexusError `PLAN_INVALID` with every fault. */
export function checkGivenPlan(plan: readonly PlanStep[], world: PlanWorld): void {
  const issues = planIssues(plan, world)
  if (issues.length > 0) throw new NexusError('PLAN_INVALID', { detail: sentenceOf(issues) }, { issues })
}

/** Accepts a plan that a module or a rune made: shape and meaning. Returns what is wrong as a sentence. */
export function readMadePlan(
  made: unknown,
  world: PlanWorld,
): { readonly plan: readonly PlanStep[] } | { readonly wrong: string } {
  const given =
    typeof made === 'object' && made !== null ? (made as { plan?: unknown; reason?: unknown }) : {}
  if (Array.isArray(given.plan) && given.plan.length === 0) {
    return { wrong: typeof given.reason === 'string' ? given.reason : 'its plan is empty' }
  }
  const checked = checkShape({ plan: given.plan })
  const issues = checked.ok ? planIssues(checked.value.plan, world) : checked.issues
  return checked.ok && issues.length === 0 ? { plan: checked.value.plan } : { wrong: sentenceOf(issues) }
}

const checkShape = checker<{ plan: PlanStep[] }>({
  type: 'object',
  required: ['plan'],
  properties: { plan: { type: 'array', minItems: 1, maxItems: 100, items: withoutId(PlanStepSchema) } },
})

/** One `$id` may be compiled once only. */
function withoutId(schema: object): object {
  const { $id: _, ...rest } = schema as { $id?: string }
  return rest
}

function orderIssues(plan: readonly PlanStep[]): readonly Issue[] {
  const ids = new Set(plan.map(({ id }) => id))
  const before = new Set<string>()
  const issues: Issue[] = []
  for (const [index, { id, needs }] of plan.entries()) {
    if (before.has(id)) {
      issues.push({ pointer: `/plan/${index}/id`, detail: `'${id}' is taken by an earlier step` })
    }
    before.add(id)
    for (const [place, need] of (needs ?? []).entries()) {
      const pointer = `/plan/${index}/needs/${place}`
      if (need === id) issues.push({ pointer, detail: 'is the step itself' })
      else if (!ids.has(need)) issues.push({ pointer, detail: noStep(need, ids) })
    }
  }
  const cycle = issues.length === 0 ? cycleIn(needsOf(plan)) : undefined
  return cycle === undefined ? issues : [{ pointer: cyclePointer(cycle, plan), detail: inCircle(cycle) }]
}

function referenceIssues(
  step: PlanStep,
  index: number,
  needs: ReadonlyMap<string, readonly string[]>,
): readonly Issue[] {
  const found = referencesIn(step.with)
  if (found.length === 0) return []
  const ancestors = ancestorsOf(step.id, needs)
  return found.flatMap(({ pointer, text, reference }) => {
    const place = `/plan/${index}/with${pointer}/$from`
    if (reference === undefined) {
      const detail = `'${String(text)}' is no reference: write steps.<id>.output.<path> or input.<path>`
      return [{ pointer: place, detail }]
    }
    const { step: id } = reference
    if (id === undefined || (ancestors.has(id) && id !== step.id)) return []
    if (!needs.has(id)) return [{ pointer: place, detail: noStep(id, needs.keys()) }]
    return [
      { pointer: place, detail: `is not sure to be there: the step '${id}' is none that this one needs` },
    ]
  })
}

/** At the need of the first step in the list that closes the circle. */
function cyclePointer([id, need]: readonly string[], plan: readonly PlanStep[]): string {
  const index = plan.findIndex((step) => step.id === id)
  const place = plan[index]?.needs?.indexOf(need ?? '') ?? -1
  return place < 0 ? `/plan/${index}` : `/plan/${index}/needs/${place}`
}

function inCircle(cycle: readonly string[]): string {
  return `needs itself: ${cycle.join(' needs ')} (a step without \`needs\` needs the one before it)`
}

function noStep(id: string, ids: Iterable<string>): string {
  return `no step is named '${id}'${didYouMean(id, ids)}`
}
