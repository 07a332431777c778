import { NexusError } from '../contracts/failure.ts'

/** Where a step's input comes from: `steps.<id>.output.<path>` or `input.<path>`. */
interface Reference {
  /** The step whose output is meant; undefined for the mission's own input. */
  readonly step: string | undefined
  readonly path: readonly string[]
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
  if (typeof value !== 'object' || value === null) return []
  if (Object.hasOwn(value, '$from')) {
    const { $from: text, ...rest } = value as { readonly $from: unknown }
    return [{ pointer, text, reference: Object.keys(rest).length === 0 ? parse(text) : undefined }]
  }
  return Object.entries(value).flatMap(([key, inner]) => referencesIn(inner, `${pointer}/${escaped(key)}`))
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
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return Promise.all(value.map((inner) => resolve(inner, input, output)))
  if (Object.hasOwn(value, '$from')) {
    const text = (value as { readonly $from: unknown }).$from
    const reference = parse(text)
    if (reference === undefined) throw missing(text, 'it is no reference')
    const from = reference.step === undefined ? input : await output(reference.step)
    return follow(from, reference.path, text)
  }
  const entries = Object.entries(value).map(async ([key, inner]) => [
    key,
    await resolve(inner, input, output),
  ])
  return Object.fromEntries(await Promise.all(entries))
}

function parse(text: unknown): Reference | undefined {
  const match = typeof text === 'string' ? REFERENCE.exec(text) : null
  if (match === null) return undefined
  return { step: match[1], path: (match[2] ?? '').split('.').slice(1) }
}

/** Own fields only, so that no path reaches what every object inherits. */
function follow(from: unknown, path: readonly string[], text: unknown): unknown {
  let value = from
  for (const key of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) {
      throw missing(text, `there is no '${key}'`)
    }
    value = (value as Readonly<Record<string, unknown>>)[key]
  }
  if (value === undefined) throw missing(text, 'there is nothing')
  return value
}

function missing(text: unknown, detail: string): NexusError {
  return new NexusError('STEP_INPUT_MISSING', { reference: String(text), detail })
}

function escaped(key: string): string {
  return key.replaceAll('~', '~0').replaceAll('/', '~1')
}

const REFERENCE = /^(?:input|steps\.([a-z0-9][a-z0-9-]{0,62})\.output)((?:\.[^.]+)*)$/
