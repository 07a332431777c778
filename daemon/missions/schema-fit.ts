/** There can be nothing at this place. */
export const NOTHING_THERE = Symbol('nothing there')

/** What is understood of a plain schema. */
interface OpenSchema {
  readonly types: readonly string[] | undefined
  readonly properties: Readonly<Record<string, object>>
  readonly required: readonly string[]
  readonly items: object | undefined
  /** False when there is nothing beside `properties`. */
  readonly others: object | boolean
}

/**
 * A schema that says what it says by `type`, `properties`, `required` and `items`; undefined when it says more than
 * that, or nothing. What is undefined here is found out when the step runs.
 */
export function openSchema(schema: unknown): OpenSchema | undefined {
  if (typeof schema !== 'object' || schema === null) return undefined
  if (Object.keys(schema).some((key) => !PLAIN.has(key))) return undefined
  const { type, properties, required, items, additionalProperties } = schema as Record<string, unknown>
  const fields = (properties ?? {}) as Record<string, object>
  return {
    types: type === undefined ? undefined : ([type].flat() as string[]),
    properties: fields,
    required: ((required ?? []) as string[]).filter((key) => !isFilledIn(fields[key])),
    items: typeof items === 'object' && items !== null ? items : undefined,
    others: (additionalProperties ?? true) as object | boolean,
  }
}

/** The schema of what lies at a path; undefined when nothing is known of it. */
export function schemaAt(
  schema: object | undefined,
  path: readonly string[],
): object | undefined | typeof NOTHING_THERE {
  const [key, ...rest] = path
  if (key === undefined) return schema
  const open = openSchema(schema)
  if (open?.types === undefined) return undefined
  const found = open.types.map((type) => part(open, type, key))
  const there = found.filter((one) => one !== NOTHING_THERE)
  if (there.length === 0) return NOTHING_THERE
  return there.length === 1 ? schemaAt(there[0], rest) : undefined
}

/** Why what one schema describes can never be what the other asks for; undefined when it may. */
export function mismatch(given: unknown, wanted: unknown, at = ''): string | undefined {
  const from = openSchema(given)
  const into = openSchema(wanted)
  if (from === undefined || into === undefined) return undefined
  const name = at === '' ? 'it' : `'${at}'`
  if (from.types !== undefined && into.types !== undefined && !shared(from.types, into.types)) {
    return `${name} is ${from.types.join(' or ')} and must be ${into.types.join(' or ')}`
  }
  if (isOnly(from, 'object')) {
    for (const key of into.required) {
      if (schemaAt(given as object, [key]) === NOTHING_THERE) return `${name} has no '${key}'`
    }
    for (const [key, property] of Object.entries(into.properties)) {
      const wrong = mismatch(from.properties[key], property, at === '' ? key : `${at}.${key}`)
      // One that need not be there on either side may be left out.
      if (wrong !== undefined && (from.required.includes(key) || into.required.includes(key))) return wrong
    }
  }
  return isOnly(from, 'array') ? mismatch(from.items, into.items, `${at}[]`) : undefined
}

function part(open: OpenSchema, type: string, key: string): object | undefined | typeof NOTHING_THERE {
  if (type === 'object') {
    const property = Object.hasOwn(open.properties, key) ? open.properties[key] : open.others
    if (property === false) return NOTHING_THERE
    return typeof property === 'object' ? property : undefined
  }
  if (type !== 'array') return NOTHING_THERE
  if (key === 'length') return { type: 'integer' }
  return /^\d+$/.test(key) ? open.items : NOTHING_THERE
}

/** What has a default need not be given. */
function isFilledIn(property: unknown): boolean {
  return typeof property === 'object' && property !== null && Object.hasOwn(property, 'default')
}

function isOnly({ types }: OpenSchema, type: string): boolean {
  return types?.length === 1 && types[0] === type
}

/** A whole number is a number, and a number may be whole. */
function shared(from: readonly string[], into: readonly string[]): boolean {
  const plain = (type: string): string => (type === 'integer' ? 'number' : type)
  return from.some((type) => into.map(plain).includes(plain(type)))
}

/** What changes neither which types and fields there are, nor what they are called. */
const PLAIN: ReadonlySet<string> = new Set([
  ...['type', 'properties', 'required', 'items', 'additionalProperties'],
  ...['$schema', '$id', '$comment', 'title', 'description', 'default', 'examples', 'deprecated', 'format'],
  ...['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf', 'pattern', 'enum', 'const'],
  ...['minLength', 'maxLength', 'minItems', 'maxItems', 'uniqueItems', 'minProperties', 'maxProperties'],
])
