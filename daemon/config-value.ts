import { resolve } from 'node:path'
import { SETTINGS, type Setting, type SettingName } from './contracts/config.ts'
import type { Issue } from './contracts/failure.ts'
import { CATEGORIES, MODULE_ID_PATTERN } from './contracts/ids.ts'
import { ROLES } from './contracts/roles.ts'
import { type Checker, checker } from './kit/schema.ts'
import { isLoopback } from './security/loopback.ts'

/** A setting as somebody gave it: not judged yet. */
export interface Given {
  readonly name: SettingName
  readonly value: unknown
  /** `nexus.yaml:4:9`, `NEXUS_HTTP__PORT`, `--port`. */
  readonly origin: string
  /** What relative paths are relative to. */
  readonly base: string
  /** Comes as text: numbers are read from it, lists are split at colons, trees are JSON. */
  readonly isText?: boolean
  /** Where a part of a tree was given. */
  placeOf?(pointer: string): string
}

/** Something wrong with the configuration: where a person finds it, and the setting as a pointer. */
export interface Fault extends Issue {
  readonly place: string
}

export type Judged =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly faults: readonly Fault[] }

/** Judges one given setting by its entry in `SETTINGS`; paths come out absolute. */
export function judgeValue(given: Given): Judged {
  const setting: Setting = SETTINGS[given.name]
  const value = given.isText === true ? fromText(setting, given.value) : given.value
  switch (setting.kind) {
    case 'integer':
    case 'number':
      return verdict(given, fitsNumber(setting, value), value, numberRule(setting))
    case 'text':
      return judgeText(setting, given, value)
    case 'path':
      return verdict(given, isPath(value), isPath(value) && resolve(given.base, value), 'must be a path')
    case 'paths': {
      const fits = Array.isArray(value) && value.every((path) => isPath(path))
      return verdict(
        given,
        fits,
        fits && value.map((path) => resolve(given.base, path)),
        'must be a list of paths',
      )
    }
    case 'tree':
      return judgeTree(given, value)
  }
}

function fromText(setting: Setting, text: unknown): unknown {
  if (typeof text !== 'string') return text
  switch (setting.kind) {
    case 'integer':
    case 'number':
      return /^\s*-?\d+(\.\d+)?\s*$/.test(text) ? Number(text) : text
    case 'paths':
      return text.split(':').filter((path) => path !== '')
    case 'tree':
      try {
        return JSON.parse(text)
      } catch {
        return text
      }
    case 'text':
    case 'path':
      return text
  }
}

type NumberSetting = Extract<Setting, { readonly min: number }>
type TextSetting = Extract<Setting, { readonly kind: 'text' | 'path' }>

function fitsNumber({ kind, min, max }: NumberSetting, value: unknown): boolean {
  const isKind = kind === 'integer' ? Number.isInteger(value) : Number.isFinite(value)
  return isKind && Number(value) >= min && Number(value) <= max
}

function numberRule({ kind, min, max }: NumberSetting): string {
  return `must be ${kind === 'integer' ? 'a whole number' : 'a number'} from ${min} to ${max}`
}

function judgeText({ choices }: TextSetting, given: Given, value: unknown): Judged {
  if (typeof value !== 'string' || value === '') return verdict(given, false, undefined, 'must be text')
  if (choices !== undefined) {
    return verdict(given, choices.includes(value), value, `must be one of ${choices.join(', ')}`)
  }
  if (given.name === 'http.host' && !isLoopback(value)) return verdict(given, false, undefined, OFF_LOOPBACK)
  return { ok: true, value }
}

const OFF_LOOPBACK =
  'must be 127.0.0.1, ::1 or localhost: listening elsewhere needs TLS and tokens, which a later version has; ' +
  'put a proxy that has both in front of it'

function isPath(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && !value.includes('\0')
}

function verdict(given: Given, fits: boolean, value: unknown, rule: string): Judged {
  if (fits) return { ok: true, value }
  const detail = `${given.name} ${rule}, this is ${shown(given.value)}`
  return { ok: false, faults: [{ place: given.origin, pointer: pointerOf(given.name), detail }] }
}

function judgeTree(given: Given, value: unknown): Judged {
  const check = TREES[given.name]
  if (check === undefined) throw new Error(`the tree ${given.name} has no schema`)
  const checked = check(value)
  if (checked.ok) return { ok: true, value: checked.value }
  const faults = checked.issues.map(({ pointer, detail }) => ({
    place: given.placeOf?.(pointer) ?? given.origin,
    pointer: `${pointerOf(given.name)}${pointer}`,
    detail: `${given.name}${pointer} ${isOddId(given.name, pointer) ? NO_ID : detail}`,
  }))
  return { ok: false, faults }
}

const NO_ID = 'is no module id: <group>/<name> in small letters, digits and -'

/** A field of `modules` itself can only be wrong by its name. */
function isOddId(name: SettingName, pointer: string): boolean {
  return (
    name === 'modules' && pointer.lastIndexOf('/') === 0 && !ID.test(pointer.slice(1).replaceAll('~1', '/'))
  )
}

const ID = new RegExp(MODULE_ID_PATTERN)

/** A setting's name as a JSON pointer. */
export function pointerOf(name: string): string {
  return `/${name.replaceAll('.', '/')}`
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value)
  return text.length > 60 ? `${text.slice(0, 60)}…` : text
}

const closed = { type: 'object', additionalProperties: false }
const amounts = (names: readonly string[], rule: object) => ({
  ...closed,
  properties: Object.fromEntries(names.map((name) => [name, { type: 'number', ...rule }])),
})

/** Names of the six axes that may be weighed, and of the prices: the insight room says what they mean. */
export const WEIGHT_NAMES = [
  'compute_cost',
  'maintainability',
  'attention',
  'economic_value',
  'trust',
  'prediction_confidence',
]
export const PRICE_NAMES = [
  'slot_second',
  'operator_minute',
  'operator_minutes_a_day',
  'handle_minutes',
  ...CATEGORIES.map((category) => `${category}_seconds_a_day`),
]

const TOKENS = {
  type: 'array',
  maxItems: 1_000,
  items: {
    ...closed,
    required: ['principal', 'roles', 'sha256'],
    properties: {
      principal: { type: 'string', pattern: '^[A-Za-z0-9][A-Za-z0-9@._+-]{0,99}$' },
      roles: { type: 'array', minItems: 1, uniqueItems: true, items: { enum: Object.keys(ROLES) } },
      sha256: { type: 'string', pattern: '^[0-9a-f]{64}$' },
    },
  },
}

const MODULES = {
  ...closed,
  patternProperties: {
    [MODULE_ID_PATTERN]: {
      ...closed,
      properties: {
        enabled: { type: 'boolean' },
        replicas: { type: 'integer', minimum: 0, maximum: 64 },
        config: { type: 'object' },
      },
    },
  },
}

/** Addresses, not names: what a name leads to can change. */
const LISTEN_HOSTS = {
  type: 'array',
  maxItems: 64,
  items: { type: 'string', anyOf: [{ format: 'ipv4' }, { format: 'ipv6' }] },
}

const TREES: Readonly<Partial<Record<SettingName, Checker<unknown>>>> = {
  tokens: checker(TOKENS),
  'listen.hosts': checker(LISTEN_HOSTS),
  modules: checker(MODULES),
  'missions.weights': checker(amounts(WEIGHT_NAMES, { exclusiveMinimum: 0 })),
  'missions.prices': checker(amounts(PRICE_NAMES, { minimum: 0 })),
}
