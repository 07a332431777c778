import { Ajv2020, type ErrorObject, type Options, type ValidateFunction } from 'ajv/dist/2020.js'
import formats from 'ajv-formats'
import type { Issue } from '../contracts/failure.ts'
import { didYouMean } from './nearest.ts'

type Checked<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly issues: readonly Issue[] }
export type Checker<T> = (value: unknown) => Checked<T>

export interface CheckerOptions {
  /** Fill in the schema's defaults. */
  readonly defaults?: boolean
  /** Turn text into numbers and booleans: for query strings only. */
  readonly coerce?: boolean
}

/** So many faults are told at once; more help nobody. */
const ISSUES_MAX = 20

/**
 * A check by one of our own schemas, compiled when it is asked first: compiling all of them is a tenth of a start. The
 * value it returns is a copy, so defaults never change the input.
 *
 * An unknown field is named with the nearest known one.
 */
export function checker<T>(schema: object, options: CheckerOptions = {}): Checker<T> {
  let validate: ValidateFunction | undefined
  return (given) => {
    validate ??= compiler(options).compile(schema)
    return judge<T>(validate, given, options)
  }
}

function judge<T>(validate: ValidateFunction, given: unknown, options: CheckerOptions): Checked<T> {
  const value = options.defaults === true || options.coerce === true ? structuredClone(given) : given
  return validate(value)
    ? { ok: true, value: value as T }
    : { ok: false, issues: (validate.errors ?? []).slice(0, ISSUES_MAX).map((error) => toIssue(error)) }
}

/**
 * Compiles a schema that somebody else wrote (JSON Schema, draft 2020-12).
 *
 * @throws Error with a plain sentence when it is no valid schema.
 */
export function foreignChecker(schema: object, options: CheckerOptions = {}): Checker<unknown> {
  const key = JSON.stringify([options, schema])
  const known = foreign.get(key)
  if (known !== undefined) return known
  const validate = compiler(options).compile(schema)
  const made: Checker<unknown> = (given) => judge(validate, given, options)
  if (foreign.size >= FOREIGN_MAX) foreign.clear()
  foreign.set(key, made)
  return made
}

/** The compiler never lets go of a schema, and a module's comes back with each generation: equal ones are one. */
const foreign = new Map<string, Checker<unknown>>()
const FOREIGN_MAX = 10_000

/** All faults in one sentence, for failures that have a `detail`. */
export function sentenceOf(issues: readonly Issue[]): string {
  return issues.map(({ pointer, detail }) => `${pointer === '' ? '/' : pointer} ${detail}`).join('; ')
}

const compilers = new Map<string, Ajv2020>()

/** Compiled schemas are kept by ajv for ever, so equal options share one compiler and `$id`s are not registered twice. */
function compiler(options: CheckerOptions): Ajv2020 {
  const key = JSON.stringify([options.defaults === true, options.coerce === true])
  const known = compilers.get(key)
  if (known !== undefined) return known
  const settings: Options = {
    allErrors: true,
    strict: false,
    verbose: true,
    ownProperties: true,
    addUsedSchema: false,
    useDefaults: options.defaults === true,
    coerceTypes: options.coerce === true,
  }
  const ajv = new Ajv2020(settings)
  formats.default(ajv)
  compilers.set(key, ajv)
  return ajv
}

function toIssue(error: ErrorObject): Issue {
  const { instancePath: pointer, params } = error
  switch (error.keyword) {
    case 'additionalProperties': {
      const field = String(params['additionalProperty'])
      const known = Object.keys((error.parentSchema?.['properties'] as object | undefined) ?? {})
      return {
        pointer: `${pointer}/${escapePointer(field)}`,
        detail: `is unknown${didYouMean(field, known)}`,
      }
    }
    case 'required':
      return {
        pointer: `${pointer}/${escapePointer(String(params['missingProperty']))}`,
        detail: 'is missing',
      }
    case 'enum':
      return { pointer, detail: `must be one of ${(params['allowedValues'] as unknown[]).join(', ')}` }
    case 'type':
      return { pointer, detail: `must be ${[params['type']].flat().join(' or ')}` }
    default:
      return { pointer, detail: error.message ?? 'does not fit' }
  }
}

/** A name as a part of a JSON pointer (RFC 6901). */
export function escapePointer(field: string): string {
  return field.replaceAll('~', '~0').replaceAll('/', '~1')
}
