/** Field names whose values nobody may read later, wherever they stand. */
export const SECRET_FIELDS: readonly string[] = [
  'operator_key',
  'operatorKey',
  'authorization',
  'x-operator-key',
  'token',
  'bearer',
  'secret',
  'password',
]

/** What stands where a secret stood. */
export const REDACTED = '[redacted]'

/** Keys and tokens of this daemon say what they are by their first letters. */
const SECRET_TEXT = /nx[kt]_[A-Za-z0-9_-]{8,}|\b(?:nexusmon|swarmz)_sovereign_key\b/gi

/** Takes keys and tokens out of free text. */
export function scrub(text: string): string {
  return text.replace(SECRET_TEXT, REDACTED)
}

/** Whether what stands under this name is nobody's business: by its last words, as in `api_token` or `dbPassword`. */
export function isSecretName(name: string): boolean {
  const words = name
    .replace(/([a-z0-9])([A-Z])/g, '$1 $2')
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter((word) => word !== '')
  const last = words.at(-1)?.replace(/s$/, '') ?? ''
  if (SECRET_WORDS.has(last)) return true
  return last === 'key' && KEY_WORDS.has(words.at(-2) ?? '')
}

/** A copy in which no text can be read that stands under the name of a secret, or is one by its looks. */
export function redacted(value: unknown, name = ''): unknown {
  if (typeof value === 'string') return value !== '' && isSecretName(name) ? REDACTED : scrub(value)
  if (Array.isArray(value)) return value.map((inner) => redacted(inner, name))
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).map(([key, inner]) => [key, redacted(inner, key)] as const)
  return Object.fromEntries(entries)
}

const SECRET_WORDS = new Set([
  ...['authorization', 'bearer', 'credential', 'passphrase', 'passwd', 'password', 'pwd', 'secret', 'token'],
  ...['apikey', 'privatekey'],
])
const KEY_WORDS = new Set(['access', 'api', 'encryption', 'operator', 'private', 'secret', 'signing', 'ssh'])
