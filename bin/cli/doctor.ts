import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { probe } from '../../aeon-interface/live.ts'
import { loadSettings } from '../../daemon/config-load.ts'
import type { Settings } from '../../daemon/contracts/config.ts'
import { NexusError } from '../../daemon/contracts/failure.ts'
import type { Manifest } from '../../daemon/contracts/manifest.ts'
import { VERSION } from '../../daemon/product.ts'
import type { Cli } from './cli.ts'
import * as judge from './doctor-judge.ts'
import * as look from './doctor-look.ts'
import { EXIT } from './exit.ts'
import { clean, tone } from './text.ts'

/** One thing to look at, and what it means. */
interface Check {
  readonly name: string
  run(at: Patient): Promise<judge.Diagnosis | readonly judge.Diagnosis[]>
}

/** Where the doctor looks, and what several checks want to know. */
interface Patient {
  readonly cli: Cli
  readonly dataDir: string
  readonly socketPath: string
  readonly uid: number
  readonly settings: Settings
  readonly settingsSeen: Parameters<typeof judge.judgeSettings>[0]
  readonly daemon: Parameters<typeof judge.judgeDaemon>[0]
  readonly modules: readonly (judge.ModulesSeen & { readonly manifests: readonly Manifest[] })[]
}

/** A diagnosis with the name of its check. */
export type Line = judge.Diagnosis & { readonly check: string }

/**
 * `nexus doctor`: everything about this machine that a daemon needs, with the fix for what is wrong. Works with and
 * without a daemon. Exit 0 when nothing failed, warnings included; 1 otherwise.
 */
export async function doctor(cli: Cli, options: { config?: string }): Promise<number> {
  const patient = await meet(cli, options.config)
  const lines: Line[] = []
  for (const check of CHECKS) lines.push(...(await examine(check, patient)))
  if (cli.json) cli.printJson({ status: worst(lines), checks: lines })
  else cli.print(doctorText(lines))
  return worst(lines) === 'fail' ? EXIT.failed : EXIT.ok
}

/** For people: a line for each check, with what to do below those that are not well. */
export function doctorText(lines: readonly Line[]): string {
  const width = Math.max(0, ...lines.map(({ check }) => check.length))
  const said = lines.map(({ check, verdict, say, remedy }) => {
    const fix = remedy === undefined ? '' : `      ${' '.repeat(width)}  → ${clean(remedy)}\n`
    return `${MARKS[verdict]()}  ${check.padEnd(width)}  ${clean(say)}\n${fix}`
  })
  const count = (verdict: string): number => lines.filter((line) => line.verdict === verdict).length
  return `${said.join('')}\n${lines.length} checks: ${count('fail')} failed, ${count('warn')} warnings\n`
}

// biome-ignore format: a table
const CHECKS: readonly Check[] = [
  { name: 'node',        run: async () => judge.judgeNode({ version: process.version }) },
  { name: 'account',     run: async ({ uid }) => judge.judgeAccount({ uid }) },
  { name: 'environment', run: async () => judge.judgeEnvironment({ nodeOptions: process.env['NODE_OPTIONS'] }) },
  { name: 'settings',    run: async ({ settingsSeen }) => judge.judgeSettings(settingsSeen) },
  { name: 'data folder', run: async ({ dataDir, uid }) => judge.judgeDataFolder(await look.lookAtDataFolder(dataDir, uid)) },
  { name: 'secrets',     run: secrets },
  { name: 'records',     run: records },
  { name: 'disk',        run: async ({ dataDir }) => judge.judgeRoom(await look.lookAtRoom(dataDir)) },
  { name: 'journal',     run: async (at) => judge.judgeJournal(await journalOf(at)) },
  { name: 'clock',       run: async (at) => judge.judgeClock({ nowMs: at.cli.clock.now(), aheadMs: (await journalOf(at)).aheadMs }) },
  { name: 'lock',        run: async ({ dataDir, daemon }) => judge.judgeLock(await look.lookAtLock(dataDir, daemon.isAnswering)) },
  { name: 'socket',      run: socket },
  { name: 'ports',       run: ports },
  { name: 'modules',     run: async ({ modules }) => modules.map(judge.judgeModules) },
  { name: 'setpriv',     run: async () => judge.judgeSetpriv(await look.tryTool('setpriv', ['--pdeathsig', 'KILL', '--', 'true'])) },
  { name: 'prlimit',     run: async () => judge.judgePrlimit(await look.tryTool('prlimit', ['--nofile=64:64', '--', 'true'])) },
  { name: 'bwrap',       run: bwrap },
  { name: 'watches',     run: watches },
  { name: 'open files',  run: openFiles },
  { name: 'daemon',      run: async ({ daemon }) => judge.judgeDaemon(daemon) },
]

/** A check that cannot look is itself a finding. */
async function examine({ name, run }: Check, patient: Patient): Promise<Line[]> {
  try {
    const found = await run(patient)
    return [found].flat().map((one: judge.Diagnosis) => ({ check: name, ...one }))
  } catch (error) {
    const say = `could not be looked at: ${error instanceof Error ? error.message : String(error)}`
    return [{ check: name, verdict: 'warn', say, remedy: 'run the doctor as the account of the daemon' }]
  }
}

async function meet(cli: Cli, config: string | undefined): Promise<Patient> {
  const { settings, seen } = await settingsOf(cli, config)
  const dataDir = cli.dataDirNamed ? resolve(cli.dataDir) : settings.data_dir
  const socketPath = cli.dataDirNamed ? resolve(cli.socketPath) : join(dataDir, 'run', 'nexus.sock')
  const uid = process.geteuid?.() ?? 0
  const daemon = await daemonAt(cli, socketPath)
  const modules = await Promise.all(settings.modules_dirs.map((dir) => modulesIn(cli, dir, dataDir)))
  return { cli, dataDir, socketPath, uid, settings, settingsSeen: seen, daemon, modules }
}

/** Settings that cannot be read are a finding; then the defaults are looked at. */
async function settingsOf(
  cli: Cli,
  config: string | undefined,
): Promise<{ settings: Settings; seen: Patient['settingsSeen'] }> {
  const flags = cli.dataDirNamed ? { data_dir: cli.dataDir } : {}
  const cwd = process.cwd()
  try {
    const { settings, file } = await loadSettings({ file: config, env: process.env, flags, cwd })
    return { settings, seen: { file } }
  } catch (error) {
    if (!(error instanceof NexusError)) throw error
    // Where no configuration file can lie.
    const nowhere = join(cwd, 'no-such-folder')
    const places = { data_dir: resolve(cli.dataDir), modules_dirs: [resolve('modules')] }
    const { settings } = await loadSettings({ env: {}, flags: places, cwd: nowhere })
    return { settings, seen: { file: config, fault: { message: error.message, remedy: error.remedy } } }
  }
}

async function daemonAt(cli: Cli, socketPath: string): Promise<Patient['daemon']> {
  const nobody = { isAnswering: false, ready: false, reasons: [], version: undefined, insecureKey: false }
  const { live } = await probe('liveness', socketPath)
  if (!live) return { ...nobody, ownVersion: VERSION }
  const { ready, reasons } = await probe('readiness', socketPath)
  const health = await cli
    .get<{ version?: string; insecure_key?: boolean }>('/v1/health', { socketPath })
    .catch((): { version?: string; insecure_key?: boolean } => ({}))
  return {
    isAnswering: true,
    ready,
    reasons,
    version: health.version,
    ownVersion: VERSION,
    insecureKey: health.insecure_key === true,
  }
}

/** As the daemon would find them, in a folder for generations that nothing is written to. */
async function modulesIn(cli: Cli, dir: string, dataDir: string): Promise<Patient['modules'][number]> {
  const entry = await look.lookAtEntry(dir)
  if (entry === undefined) return { dir, entry, valid: 0, invalid: [], warnings: [], manifests: [] }
  const { openCatalog } = await import('../../daemon/catalog/catalog.ts')
  const scratch = await mkdtemp(join(tmpdir(), 'nexus-doctor-'))
  const kept = join(dataDir, 'generations')
  const generationsDir = (await look.isThere(kept)) ? kept : scratch
  const warnings: string[] = []
  const log = (_: string, message: string): void => void warnings.push(message)
  const catalog = await openCatalog({ dirs: [dir], generationsDir, clock: cli.clock, quietMs: 0, log })
  try {
    const entries = await catalog.scan()
    const manifests = entries.flatMap((found) => (found.kind === 'valid' ? [found.manifest] : []))
    const invalid = entries.flatMap((found) =>
      found.kind === 'invalid' ? [{ moduleId: found.moduleId, reason: found.reason }] : [],
    )
    return { dir, entry, valid: manifests.length, invalid, warnings, manifests }
  } finally {
    await catalog.close()
    await rm(scratch, { recursive: true, force: true })
  }
}

async function secrets({ dataDir, uid }: Patient): Promise<judge.Diagnosis[]> {
  const files = ['operator_pin.txt', 'run/local.token'].map((name) => join(dataDir, name))
  return await Promise.all(
    files.map(async (path) => judge.judgeSecret({ path, uid, entry: await look.lookAtEntry(path) })),
  )
}

async function records({ dataDir, uid }: Patient): Promise<judge.Diagnosis> {
  const files = RECORDS.map((name) => join(dataDir, name))
  return judge.judgeRecords(
    await Promise.all(files.map(async (path) => ({ path, uid, entry: await look.lookAtEntry(path) }))),
  )
}

const RECORDS = [
  ...['audit.jsonl', 'missions.jsonl', 'telemetry.jsonl', 'runtime_metrics.jsonl', 'runes.json'],
  ...['system_state.json', 'run/lock.db', 'run/pid', 'run/journal.wm'],
]

const journals = new WeakMap<Patient, Promise<judge.JournalSeen>>()

/** Read once for all who ask. */
function journalOf(patient: Patient): Promise<judge.JournalSeen> {
  const { cli, dataDir, daemon } = patient
  const seen = journals.get(patient) ?? look.lookAtJournal(dataDir, cli.clock.now(), daemon.isAnswering)
  journals.set(patient, seen)
  return seen
}

async function socket({ socketPath: path, dataDir, daemon }: Patient): Promise<judge.Diagnosis> {
  const { isAnswering } = daemon
  const { holder } = await look.lookAtLock(dataDir, isAnswering)
  const isThere = await look.isThere(path)
  const isHeld = holder !== undefined
  return judge.judgeSocket({ path, bytes: Buffer.byteLength(path), isThere, isHeld, isAnswering })
}

async function ports({ settings, modules, dataDir, daemon }: Patient): Promise<judge.Diagnosis[]> {
  const { holder } = await look.lookAtLock(dataDir, daemon.isAnswering)
  const listens = modules.flatMap(({ manifests }) =>
    manifests.flatMap(({ id, listen }) =>
      listen.map(({ host, port, name }) => ({ host, port, purpose: `listen ${name} of ${id}` })),
    ),
  )
  const wanted = [
    { ...settings.http, purpose: 'http' },
    { ...settings.metrics, purpose: 'metrics' },
    ...listens,
  ]
  const found: judge.Diagnosis[] = []
  // One after the other: two that want the same port must not stand in each other's way.
  for (const [at, { host, port, purpose }] of wanted.entries()) {
    const rival = wanted.slice(0, at).find((other) => port !== 0 && other.port === port)?.purpose
    found.push(judge.judgePort(await look.lookAtPort({ host, port, purpose, rival }, holder)))
  }
  return found
}

async function bwrap({ modules }: Patient): Promise<judge.Diagnosis> {
  const args = ['--ro-bind', '/', '/', '--proc', '/proc', '--dev', '/dev', '--unshare-all', '--', 'true']
  const wantedBy = modules.flatMap(({ manifests }) =>
    manifests.flatMap(({ id, sandbox }) => (sandbox ? [id] : [])),
  )
  return judge.judgeBwrap({ ...(await look.tryTool('bwrap', args)), wantedBy })
}

async function watches({ settings }: Patient): Promise<judge.Diagnosis> {
  return judge.judgeWatches({
    folders: await look.countFolders(settings.modules_dirs),
    watchesMax: await look.kernelNumber('/proc/sys/fs/inotify/max_user_watches'),
    instancesMax: await look.kernelNumber('/proc/sys/fs/inotify/max_user_instances'),
    instancesUsed: await look.inotifyInstances(),
  })
}

async function openFiles({ modules }: Patient): Promise<judge.Diagnosis> {
  const count = modules.reduce((sum, { valid }) => sum + valid, 0)
  return judge.judgeOpenFiles({ limit: await look.openFilesLimit(), modules: count })
}

function worst(lines: readonly Line[]): 'ok' | 'warn' | 'fail' {
  const has = (verdict: string): boolean => lines.some((line) => line.verdict === verdict)
  return has('fail') ? 'fail' : has('warn') ? 'warn' : 'ok'
}

const MARKS = {
  ok: () => tone('good', 'ok  '),
  warn: () => tone('warn', 'WARN'),
  fail: () => tone('bad', 'FAIL'),
} as const
