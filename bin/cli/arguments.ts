import { readFileSync } from 'node:fs'
import { CliError } from './exit.ts'

const UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }

/** `30s`, `500ms`, `2m`; a bare number counts seconds. @returns Milliseconds, above 0. */
export function parseDuration(text: string): number {
  const [, digits, unit = 's'] = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text.trim()) ?? []
  const ms = Number(digits) * (UNITS_MS[unit] ?? 0)
  if (ms > 0) return ms
  throw new CliError('usage', `'${text}' is not a duration`, 'write 30s, 500ms or 2m')
}

/** JSON as it stands on the command line, or in the file that `@` names. */
export function parseJson(text: string, what: string): unknown {
  const source = text.startsWith('@') ? readText(text.slice(1), what) : text
  try {
    return JSON.parse(source)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new CliError('usage', `${what} is not JSON: ${reason}`, `write JSON in quotes, or @file`)
  }
}

/** A setting's value: JSON, or a plain word for itself, so that `configure m mode fast` needs no two quotes. */
export function parseValue(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    if (/^[\w./:@-]+$/.test(text)) return text
    throw new CliError(
      'usage',
      `the value ${text} is not JSON`,
      `write it as JSON in quotes, as '"two words"'`,
    )
  }
}

/** A whole number within bounds. */
export function parseInteger(text: string, what: string, min: number, max: number): number {
  const value = Number(text)
  if (Number.isInteger(value) && value >= min && value <= max) return value
  throw new CliError('usage', `${what} must be a whole number from ${min} to ${max}, not ${text}`)
}

/** A number, not below `min`. */
export function parseNumber(text: string, what: string, min: number): number {
  const value = text.trim() === '' ? Number.NaN : Number(text)
  if (Number.isFinite(value) && value >= min) return value
  throw new CliError('usage', `${what} must be a number from ${min} on, not ${text}`)
}

/** `<group>/<name>/<action>` in its two parts. */
export function parseAction(text: string): { module_id: string; action: string } {
  const [group, name, action, ...more] = text.split('/')
  if (group && name && action && more.length === 0) return { module_id: `${group}/${name}`, action }
  throw new CliError('usage', `${text} does not name an action`, 'write <group>/<name>/<action>')
}

function readText(file: string, what: string): string {
  try {
    return readFileSync(file === '-' ? 0 : file, 'utf8')
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause)
    throw new CliError('usage', `${what} cannot be read from ${file} (${code})`)
  }
}
