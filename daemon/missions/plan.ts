import { type Issue, NexusError } from '../contracts/failure.ts'
import { type PlanStep, PlanStepSchema } from '../contracts/mission.ts'
import { checker, sentenceOf } from '../kit/schema.ts'
import { referencesIn } from './reference.ts'

/**
 * What a schema cannot see: ids are unique, and steps need and read only steps before them. So the order of the list
 * is an order in which the plan can run.
 */
export function planIssues(plan: readonly PlanStep[]): readonly Issue[] {
  const before = new Set<string>()
  return plan.flatMap((step, index) => {
    const issues = stepIssues(step, before).map(({ pointer, detail }) => ({
      pointer: `/plan/${index}${pointer}`,
      detail,
    }))
    before.add(step.id)
    return issues
  })
}

/** Accepts a plan that a person wrote. @throws NexusError `PLAN_INVALID` with every fault. */
export function checkGivenPlan(plan: readonly PlanStep[]): void {
  const issues = planIssues(plan)
  if (issues.length > 0) throw new NexusError('PLAN_INVALID', { detail: sentenceOf(issues) }, { issues })
}

/** Accepts a plan that a module or a rune made: shape and meaning. Returns what is wrong as a sentence. */
export function readMadePlan(
  made: unknown,
): { readonly plan: readonly PlanStep[] } | { readonly wrong: string } {
  const given =
    typeof made === 'object' && made !== null ? (made as { plan?: unknown; reason?: unknown }) : {}
  if (Array.isArray(given.plan) && given.plan.length === 0) {
    return { wrong: typeof given.reason === 'string' ? given.reason : 'its plan is empty' }
  }
  const checked = checkShape({ plan: given.plan })
  const issues = checked.ok ? planIssues(checked.value.plan) : checked.issues
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

function stepIssues(step: PlanStep, before: ReadonlySet<string>): Issue[] {
  const issues: Issue[] = []
  if (before.has(step.id)) issues.push({ pointer: '/id', detail: `'${step.id}' is taken by an earlier step` })
  for (const [place, need] of (step.needs ?? []).entries()) {
    if (!before.has(need)) issues.push({ pointer: `/needs/${place}`, detail: notBefore(need) })
  }
  for (const { pointer, text, reference } of referencesIn(step.with)) {
    if (reference === undefined) {
      const detail = `'${String(text)}' is no reference: write steps.<id>.output.<path> or input.<path>`
      issues.push({ pointer: `/with${pointer}/$from`, detail })
    } else if (reference.step !== undefined && !before.has(reference.step)) {
      issues.push({ pointer: `/with${pointer}/$from`, detail: notBefore(reference.step) })
    }
  }
  return issues
}

function notBefore(id: string): string {
  return `no step before this one is named '${id}'`
}
