import { NexusError } from '../contracts/failure.ts'
import { isSecretName } from '../telemetry/redact.ts'
import { listOnTheWay } from './dotted.ts'

/** Half a line of the journal: the value stands in the record, beside what it replaces. */
const VALUE_BYTES_MAX = 16_384

/** Names that JavaScript keeps for itself. */
const RESERVED: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype'])

export interface Wish {
  readonly moduleId: string
  readonly key: string
  readonly value: unknown
  /** The settings in force. */
  readonly config: Readonly<Record<string, unknown>>
}

/**
 * Whether a value may be set under this key at all, whatever the schema says of it.
 *
 * @throws NexusError `CONFIG_VALUE_INVALID`, `SETTING_SECRET`.
 */
export function assertSettable({ moduleId, key, value, config }: Wish): void {
  const parts = key.split('.')
  const refuse = (detail: string): never => {
    const issues = [{ pointer: `/${parts.join('/')}`, detail }]
    throw new NexusError('CONFIG_VALUE_INVALID', { module: moduleId, key, detail }, { issues })
  }
  if (parts.some((part) => RESERVED.has(part))) refuse('no setting can have this name')
  const list = listOnTheWay(config, key)
  if (list !== undefined) refuse(`${list} is a list, and lists are set as a whole`)
  const bytes = Buffer.byteLength(JSON.stringify(value) ?? '')
  if (bytes > VALUE_BYTES_MAX) refuse(`it has ${bytes} bytes, a setting takes ${VALUE_BYTES_MAX}`)
  const secret = secretIn(value, key)
  if (secret !== undefined) throw new NexusError('SETTING_SECRET', { module: moduleId, key: secret })
}

/** The dotted name of the first text that stands under the name of a secret. */
function secretIn(value: unknown, key: string): string | undefined {
  if (typeof value === 'string') return value !== '' && isSecretName(key) ? key : undefined
  if (typeof value !== 'object' || value === null) return undefined
  for (const [name, inner] of Object.entries(value)) {
    const found = secretIn(inner, Array.isArray(value) ? key : `${key}.${name}`)
    if (found !== undefined) return found
  }
  return undefined
}
