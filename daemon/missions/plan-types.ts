import type { Issue } from '../contracts/failure.ts'
import type { PlanStep } from '../contracts/mission.ts'
import { type Checker, escapePointer, foreignChecker } from '../kit/schema.ts'
import { actionOf, moduleOf } from './mission.ts'
import type { PlanWorld } from './plan.ts'
import { follow, type Reference, referenceOf, referencesIn } from './reference.ts'
import { mismatch, NOTHING_THERE, openSchema, schemaAt } from './schema-fit.ts'

/**
 * What can be known of a step's input before anything runs: written values are judged by the action's schema, the
 * mission's input is looked up, and what another step will give is compared schema with schema.
 *
 * An action that is not there, or has no schema, is not judged here.
 */
export function inputIssues(step: PlanStep, plan: readonly PlanStep[], world: PlanWorld): readonly Issue[] {
  const schema = world.calls.action(moduleOf(step.uses), actionOf(step.uses))?.input
  const input = step.with ?? {}
  const issues = judge(input, schema, { plan, world, pointer: '/with' })
  return issues.slice(0, ISSUES_MAX)
}

interface Place {
  readonly plan: readonly PlanStep[]
  readonly world: PlanWorld
  readonly pointer: string
}

function judge(value: unknown, schema: object | undefined, place: Place): readonly Issue[] {
  const reference = referenceOf(value)
  if (reference !== undefined) return judgeReference(reference, schema, place)
  // Whatever refers to nothing is judged by the validator itself.
  if (referencesIn(value).length === 0) return judgeValue(value, schema, place)
  const open = openSchema(schema)
  const name = Array.isArray(value) ? 'array' : 'object'
  if (open?.types !== undefined && !open.types.includes(name)) {
    return [{ pointer: place.pointer, detail: `must be ${open.types.join(' or ')}` }]
  }
  const parts = Object.entries(value as object)
  const inner = parts.flatMap(([key, part]) => {
    const at = { ...place, pointer: `${place.pointer}/${escapePointer(key)}` }
    const fits = schemaAt(schema, [key])
    if (fits === NOTHING_THERE) return [{ pointer: at.pointer, detail: 'is unknown' }]
    return judge(part, fits, at)
  })
  const missing = Array.isArray(value)
    ? []
    : (open?.required ?? []).filter((key) => !Object.hasOwn(value as object, key))
  return [
    ...inner,
    ...missing.map((key) => ({ pointer: `${place.pointer}/${escapePointer(key)}`, detail: 'is missing' })),
  ]
}

function judgeReference(
  { step: id, path, text }: Reference,
  schema: object | undefined,
  { plan, world, pointer }: Place,
): readonly Issue[] {
  const at = `${pointer}/$from`
  if (id === undefined) {
    const found = follow(world.input, path)
    if ('missing' in found) return [{ pointer: at, detail: `'${text}' leads nowhere: ${found.missing}` }]
    return judgeValue(found.value, schema, { plan, world, pointer: at })
  }
  const uses = plan.find((step) => step.id === id)?.uses ?? ''
  const given = schemaAt(world.calls.action(moduleOf(uses), actionOf(uses))?.output, path)
  if (given === NOTHING_THERE) {
    return [{ pointer: at, detail: `'${text}' leads nowhere: by its schema ${uses} gives no such thing` }]
  }
  const wrong = mismatch(given, schema)
  return wrong === undefined ? [] : [{ pointer: at, detail: `'${text}' does not fit: ${wrong}` }]
}

function judgeValue(value: unknown, schema: object | undefined, { pointer }: Place): readonly Issue[] {
  const check = checkOf(schema)
  const checked = check?.(value)
  if (checked === undefined || checked.ok) return []
  return checked.issues.map((issue) => ({ pointer: `${pointer}${issue.pointer}`, detail: issue.detail }))
}

/** Compiled once for each schema; undefined where a part of a schema may speak of the whole. */
function checkOf(schema: object | undefined): Checker<unknown> | undefined {
  if (schema === undefined) return undefined
  const known = checks.get(schema)
  if (known !== undefined) return known.check
  const made = { check: compiled(schema) }
  checks.set(schema, made)
  return made.check
}

function compiled(schema: object): Checker<unknown> | undefined {
  try {
    return foreignChecker(schema, { defaults: true })
  } catch {
    return undefined // a `$ref` into the schema this is a part of
  }
}

const checks = new WeakMap<object, { readonly check: Checker<unknown> | undefined }>()
/** So many faults of one step help; more only repeat them. */
const ISSUES_MAX = 20
