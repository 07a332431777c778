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
