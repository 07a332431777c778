import { loadSettings } from '../../daemon/config-load.ts'
import { SETTINGS, type SettingName } from '../../daemon/contracts/config.ts'
import { REDACTED, SECRET_FIELDS, scrub } from '../../daemon/telemetry/redact.ts'
import type { Cli } from './cli.ts'
import { EXIT } from './exit.ts'
import { table } from './text.ts'

interface Shown {
  readonly name: string
  readonly value: unknown
  readonly origin: string
}

/** `nexus config`: what a daemon started here would use, and where each setting came from. Secrets are hidden. */
export async function config(cli: Cli, options: { config?: string; dataDirFlag?: string }): Promise<number> {
  const { settings, origins, file } = await loadSettings({
    file: options.config,
    env: process.env,
    flags: options.dataDirFlag === undefined ? {} : { data_dir: options.dataDirFlag },
    cwd: process.cwd(),
  })
  const shown = (Object.keys(SETTINGS) as SettingName[]).map(
    (name): Shown => ({ name, value: hide(valueAt(settings, name)), origin: origins[name] }),
  )
  if (cli.json) {
    const entries = shown.map(({ name, value, origin }) => [name, { value, origin }])
    cli.printJson({ file: file ?? null, settings: Object.fromEntries(entries) })
    return EXIT.ok
  }
  cli.note(file === undefined ? 'no configuration file' : `read from ${file}`)
  cli.print(
    table<Shown>(
      [
        { head: 'SETTING', cell: ({ name }) => name },
        { head: 'VALUE', cell: ({ value }) => (typeof value === 'string' ? value : JSON.stringify(value)) },
        { head: 'FROM', cell: ({ origin }) => origin },
      ],
      shown,
    ),
  )
  return EXIT.ok
}

function valueAt(settings: object, name: SettingName): unknown {
  return name.split('.').reduce<unknown>((at, part) => (at as Record<string, unknown>)[part], settings)
}

/** Token hashes, and whatever a module's settings call a secret. */
const HIDDEN = new Set([...SECRET_FIELDS, 'sha256'])

/** A copy in which no secret can be read. */
export function hide(value: unknown, isSecret = false): unknown {
  if (Array.isArray(value)) return value.map((inner) => hide(inner, isSecret))
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).map(([key, inner]) => [key, hide(inner, namesSecret(key))] as const)
    return Object.fromEntries(entries)
  }
  if (isSecret) return REDACTED
  return typeof value === 'string' ? scrub(value) : value
}

function namesSecret(key: string): boolean {
  return HIDDEN.has(key) || /secret|password|token|api_?key/i.test(key)
}
