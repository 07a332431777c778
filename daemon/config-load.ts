import { stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { readEnvironment } from './config-env.ts'
import type { ConfigFile } from './config-file.ts'
import { type Fault, type Given, judgeValue } from './config-value.ts'
import { SETTINGS, type SettingName, type Settings } from './contracts/config.ts'
import { NexusError } from './contracts/failure.ts'

/** Settings as options of a command give them, by their names in `SETTINGS`. */
export type Flags = Readonly<Partial<Record<SettingName, string | number | readonly string[]>>>

export interface LoadOptions {
  /** From `--config`. */
  readonly file?: string | undefined
  readonly env: Readonly<Record<string, string | undefined>>
  readonly flags: Flags
  readonly cwd: string
}

export interface Loaded {
  readonly settings: Settings
  /** Where each came from: `default`, `nexus.yaml:4:9`, `NEXUS_HTTP__PORT`, `--port`. */
  readonly origins: Readonly<Record<SettingName, string>>
  /** The file that was read, absolute. */
  readonly file?: string
}

/**
 * The effective settings: options over environment over file over defaults.
 *
 * Nothing is made or changed on disk. Everything that is wrong is told at once.
 *
 * @throws NexusError `CONFIG_INVALID`, exit 78.
 */
export async function loadSettings({ file, env, flags, cwd }: LoadOptions): Promise<Loaded> {
  const path = await findFile(file, env['NEXUS_CONFIG'], cwd)
  const written = path === undefined ? NOTHING : await readFile(path, cwd)
  const set = readEnvironment(env, cwd)
  const sources = [defaults(cwd), written.given, set.given, fromFlags(flags, cwd)]

  // What is overridden is judged all the same: it would bite on the day the other is taken away.
  const faults: Fault[] = [...written.faults, ...set.faults]
  const values = new Map<string, unknown>()
  const origins: Partial<Record<SettingName, string>> = {}
  for (const given of sources.flat()) {
    const judged = judgeValue(given)
    if (!judged.ok) faults.push(...judged.faults)
    else values.set(given.name, judged.value)
    origins[given.name] = given.origin
  }
  if (faults.length > 0) throw invalid(faults)
  const loaded = { settings: nest(values), origins: origins as Record<SettingName, string> }
  return path === undefined ? loaded : { ...loaded, file: path }
}

const NOTHING = { given: [], faults: [] }
const FILE_NAMES = ['nexus.yaml', 'nexus.yml', 'nexus.json']
const NAMES = Object.keys(SETTINGS) as SettingName[]

async function findFile(named: string | undefined, fromEnv = '', cwd: string): Promise<string | undefined> {
  const wanted = named ?? fromEnv
  if (wanted !== '') return resolve(cwd, wanted)
  for (const name of FILE_NAMES) {
    const path = resolve(cwd, name)
    const there = await stat(path).then(
      () => true,
      () => false,
    )
    if (there) return path
  }
  return undefined
}

function defaults(base: string): Given[] {
  return NAMES.map((name) => ({
    name,
    value: structuredClone(SETTINGS[name].default),
    origin: 'default',
    base,
  }))
}

function fromFlags(flags: Flags, base: string): Given[] {
  return NAMES.flatMap((name) => {
    const value = flags[name]
    const origin = FLAG_OF[name] ?? `--${name}`
    return value === undefined ? [] : [{ name, value, origin, base, isText: true }]
  })
}

/** What the options of `nexusd` are called; in a sentence about a fault the person's own word must stand. */
const FLAG_OF: Readonly<Partial<Record<SettingName, string>>> = {
  'http.host': '--host',
  'http.port': '--port',
  'metrics.host': '--metrics-host',
  'metrics.port': '--metrics-port',
  data_dir: '--data-dir',
  modules_dirs: '--modules',
  allow_read: '--allow-read',
}

function invalid(faults: readonly Fault[]): NexusError {
  const [first, ...others] = faults
  const detail = [first?.detail, ...others.map(({ place, detail }) => `${place}: ${detail}`)].join('\n')
  const issues = faults.map(({ pointer, detail }) => ({ pointer, detail }))
  return new NexusError('CONFIG_INVALID', { file: first?.place ?? '', detail }, { issues })
}

/** `http.port` becomes `{http: {port}}`. Every name of the table has a value, so the result is whole. */
function nest(values: ReadonlyMap<string, unknown>): Settings {
  const root: Record<string, unknown> = {}
  for (const [name, value] of values) {
    const segments = name.split('.')
    let at = root
    for (const segment of segments.slice(0, -1)) {
      at[segment] ??= {}
      at = at[segment] as Record<string, unknown>
    }
    at[segments.at(-1) ?? name] = value
  }
  return root as unknown as Settings
}

/** The reader of YAML is a large part of a start, and most starts have no file. */
async function readFile(path: string, cwd: string): Promise<ConfigFile> {
  const { readConfigFile } = await import('./config-file.ts')
  return readConfigFile(path, cwd)
}
