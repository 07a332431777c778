import { NexusError } from '../contracts/failure.ts'
import { escapePointer } from '../kit/schema.ts'

/** Where a step's input comes from: `steps.<id>.output.<path>` or `input.<path>`. */
export interface Reference {
  /** The step whose output is meant; undefined for the mission's own input. */
  readonly step: string | undefined
  readonly path: readonly string[]
  readonly text: string
}

export interface FoundReference {
  /** Where in `with` it stands, as a JSON pointer. */
  readonly pointer: string
  readonly text: unknown
  /** Undefined when it is no reference at all. */
  readonly reference: Reference | undefined
}

/** Every `{"$from": …}` inside a step's `with`. */
export function referencesIn(value: unknown, pointer = ''): readonly FoundReference[] {
  if (typeof value !== 'object' || value === null) return NONE
  if (Object.hasOwn(value, '$from')) {
    const { $from: text } = value as { readonly $from: unknown }
    return [{ pointer, text, reference: referenceOf(value) }]
  }
  const parts = Array.isArray(value) ? value.entries() : Object.entries(value)
  let found = NONE
  for (const [key, inner] of parts) {
    if (typeof inner !== 'object' || inner === null) continue
    const deeper = referencesIn(inner, `${pointer}/${escapePointer(String(key))}`)
    if (deeper.length > 0) found = [...found, ...deeper]
  }
  return found
}

/** A value that is a reference, and nothing else. */
export function referenceOf(value: unknown): Reference | undefined {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, '$from')) return undefined
  const { $from: text, ...rest } = value as { readonly $from: unknown }
  return Object.keys(rest).length === 0 ? parse(text) : undefined
}

/**
 * `with` with every reference replaced by what it refers to.
 *
 * @param output - The output of an earlier step.
 * @throws NexusError `STEP_INPUT_MISSING` when a path leads nowhere.
 */
export async function resolve(
  value: unknown,
  input: unknown,
  output: (step: string) => Promise<unknown>,
): Promise<unknown> {
  const found = referencesIn(value)
  if (found.length === 0) return value
  const outputs = new Map<string, unknown>()
  for (const { text, reference } of found) {
    if (reference === undefined) throw missing(text, 'it is no reference')
    const { step } = reference
    if (step !== undefined && !outputs.has(step)) outputs.set(step, await output(step))
  }
  return replaced(value, ({ step, path, text }) => {
    const end = follow(step === undefined ? input : outputs.get(step), path)
    if ('missing' in end) throw missing(text, end.missing)
    return end.value
  })
}

function replaced(value: unknown, by: (reference: Reference) => unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map((inner) => replaced(inner, by))
  const reference = referenceOf(value)
  if (reference !== undefined) return by(reference)
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, replaced(inner, by)]))
}

function parse(text: unknown): Reference | undefined {
  const match = typeof text === 'string' ? REFERENCE.exec(text) : null
  if (match === null) return undefined
  return { step: match[1], path: (match[2] ?? '').split('.').slice(1), text: match[0] }
}

/** What lies at a path. Own fields only, so that no path reaches what every object inherits. */
export function follow(
  from: unknown,
  path: readonly string[],
): { readonly value: unknown } | { readonly missing: string } {
  let value = from
  for (const key of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) {
      return { missing: `there is no '${key}'` }
    }
    value = (value as Readonly<Record<string, unknown>>)[key]
  }
  return value === undefined ? { missing: 'there is nothing' } : { value }
}

function missing(text: unknown, detail: string): NexusError {
  return new NexusError('STEP_INPUT_MISSING', { reference: String(text), detail })
}

const NONE: readonly FoundReference[] = []
const REFERENCE = /^(?:input|steps\.([a-z0-9][a-z0-9-]{0,62})\.output)((?:\.[^.]+)*)$/
