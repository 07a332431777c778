import { hash } from 'node:crypto'
import type { PlanStep } from '../contracts/mission.ts'

/** A plan with what came from the mission's input put back as references to it. */
export interface PlanTemplate {
  readonly plan: readonly PlanStep[]
  /** Of the template: equal for missions that differed in their input only. */
  readonly digest: string
  /** It repeats words or numbers of the goal, so it serves this very goal and no similar one. */
  readonly boundToGoal: boolean
}

/**
 * What plans have in common that one rune could stand for: which step uses which action, after which others, with
 * which parameters. Values are left out.
 */
export function planShape(plan: readonly PlanStep[]): string {
  const steps = plan.map(({ id, uses, needs = [], with: given }) => [
    id,
    uses,
    [...needs].sort(),
    shapeOf(given, 0),
  ])
  return `p-${digestOf(steps).slice(0, 16)}`
}

/** Makes a plan reusable: a value that stands in the mission's input is replaced by a reference to it. */
export function planTemplate(plan: readonly PlanStep[], input: unknown, goal: string): PlanTemplate {
  const references = referencesTo(isRecord(input) ? input : {})
  const steps = plan.map((step) =>
    step.with === undefined ? step : { ...step, with: withReferences(step.with, references) },
  )
  const spoken = new Set(wordsOf(goal))
  const literals = steps.flatMap(({ with: given }) => literalsOf(given))
  const boundToGoal = literals.some((literal) => wordsOf(literal).some((word) => spoken.has(word)))
  return { plan: steps, digest: digestOf(steps), boundToGoal }
}

/** Which fields a mission's input has: a rune learned with others would leave them out, or miss its own. */
export function inputShape(input: unknown): string {
  if (input === undefined || input === null) return ''
  return isRecord(input) ? Object.keys(input).sort().join(' ') : typeof input
}

/** Where each telling value of the input stands. `true` or `3` in a plan is a coincidence more often than not. */
function referencesTo(input: Readonly<Record<string, unknown>>): ReadonlyMap<string, string> {
  const telling = Object.entries(input).filter(
    ([, value]) =>
      (typeof value === 'string' && value.length > 1) || (typeof value === 'object' && value !== null),
  )
  return new Map(telling.map(([name, value]) => [textOf(value), `input.${name}`]))
}

function withReferences(value: unknown, references: ReadonlyMap<string, string>): unknown {
  if (references.size === 0) return value
  const from = references.get(textOf(value))
  if (from !== undefined) return { $from: from }
  if (Array.isArray(value)) return value.map((item) => withReferences(item, references))
  if (!isRecord(value)) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, withReferences(item, references)]),
  )
}

function literalsOf(value: unknown): string[] {
  if (typeof value === 'string' || typeof value === 'number') return [String(value)]
  if (Array.isArray(value)) return value.flatMap(literalsOf)
  if (!isRecord(value) || '$from' in value) return []
  return Object.values(value).flatMap(literalsOf)
}

/** Words of three letters or more, and all numbers. */
function wordsOf(text: string): string[] {
  return text.toLowerCase().match(/\p{L}{3,}|\p{N}+/gu) ?? []
}

function shapeOf(value: unknown, depth: number): unknown {
  if (depth > DEPTH_MAX) return '…'
  if (Array.isArray(value))
    return ['array', ...new Set(value.map((item) => digestOf(shapeOf(item, depth + 1))))]
  if (!isRecord(value)) return value === null ? 'null' : typeof value
  // A reference is not a value: two plans that take it from elsewhere are two plans.
  if (typeof value['$from'] === 'string') return { $from: value['$from'] }
  return Object.entries(value)
    .map(([key, item]) => [key, shapeOf(item, depth + 1)])
    .sort(([one], [other]) => (String(one) < String(other) ? -1 : 1))
}

function digestOf(value: unknown): string {
  return hash('sha256', textOf(value))
}

/** JSON in which the order of fields does not matter. */
function textOf(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((item) => textOf(item) || 'null').join(',')}]`
  if (!isRecord(value)) return JSON.stringify(value) ?? ''
  const fields: string[] = []
  for (const key of Object.keys(value).sort()) {
    const text = textOf(value[key])
    if (text !== '') fields.push(`${JSON.stringify(key)}:${text}`)
  }
  return `{${fields.join(',')}}`
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Deeper parameters make no other plan. */
const DEPTH_MAX = 6
