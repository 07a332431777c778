import { parseArgs } from 'node:util'
import { type Flags, loadSettings } from './config-load.ts'
import { NexusError } from './contracts/failure.ts'
import { closeInherited } from './descriptors.ts'
import { systemClock } from './kit/clock.ts'
import { VERSION } from './product.ts'
import { stopOnSignals } from './signals.ts'
import { createLog } from './telemetry/log.ts'
import { UniversalDaemon } from './universal-daemon.ts'

const USAGE = `usage: nexusd [options]

  --config FILE        settings (nexus.yaml beside you, when there is one)
  --data-dir DIR       where everything is kept (data)
  --modules DIR        folder with modules; repeatable, replaces the default (modules)
  --host HOST          where HTTP listens (127.0.0.1)
  --port PORT          (8012; 0 takes a free one)
  --metrics-host HOST  where metrics are scraped (127.0.0.1)
  --metrics-port PORT  (9090; 0 takes a free one)
  --allow-read DIR     a folder that modules may read; repeatable
  --log-level LEVEL    debug, info, warn or error (info)
  --dev                accept the published operator key, on loopback only
  --safe               start no module
  --version, --help
`

/** sysexits.h: the command was used wrongly. */
const EXIT_USAGE = 64

/** Runs the daemon in the foreground until it is stopped; returns the exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  const given = readArguments(argv)
  if (typeof given === 'string') {
    process.stderr.write(`nexusd: ${given}\n\n${USAGE}`)
    return EXIT_USAGE
  }
  if (given.help === true) return say(USAGE)
  if (given.version === true) return say(`${VERSION}\n`)
  try {
    return await serve(given)
  } catch (error) {
    if (!(error instanceof NexusError)) throw error
    process.stderr.write(`nexusd: ${error.message}\n  ${error.remedy}\n`)
    return error.exit
  }
}

async function serve(given: Arguments): Promise<number> {
  closeInherited()
  const { env } = process
  const cwd = process.cwd()
  const { settings } = await loadSettings({ file: given.config, env, flags: toFlags(given), cwd })
  const log = createLog({ clock: systemClock, level: settings.log.level })
  const daemon = new UniversalDaemon({
    settings,
    dev: given.dev === true,
    safe: given.safe === true,
    log,
    cwd,
    env,
  })
  await daemon.initialize()
  const release = stopOnSignals((signal) => void daemon.stop(signal))
  try {
    await daemon.discoverAndLoadModules()
    await daemon.start()
  } catch (error) {
    await daemon.stop('it could not start')
    throw error
  }
  const failure = await daemon.run()
  release()
  const code = failure === undefined ? 0 : failure.exit
  // A disk that hangs would keep the process for ever: nothing is left to do in it.
  systemClock.after(LINGER_MS, () => process.exit(code))
  return code
}

/** What is still open when everything has stopped gets this long to close. */
const LINGER_MS = 5_000

type Arguments = Extract<ReturnType<typeof readArguments>, object>

function readArguments(argv: readonly string[]) {
  try {
    const { values } = parseArgs({ args: [...argv], strict: true, allowPositionals: false, options: OPTIONS })
    return values
  } catch (error) {
    return (error as Error).message
  }
}

const OPTIONS = {
  config: { type: 'string' },
  'data-dir': { type: 'string' },
  modules: { type: 'string', multiple: true },
  host: { type: 'string' },
  port: { type: 'string' },
  'metrics-host': { type: 'string' },
  'metrics-port': { type: 'string' },
  'allow-read': { type: 'string', multiple: true },
  'log-level': { type: 'string' },
  dev: { type: 'boolean' },
  safe: { type: 'boolean' },
  version: { type: 'boolean' },
  help: { type: 'boolean' },
} as const

function toFlags(given: Arguments): Flags {
  const flags = {
    data_dir: given['data-dir'],
    modules_dirs: given.modules,
    'http.host': given.host,
    'http.port': given.port,
    'metrics.host': given['metrics-host'],
    'metrics.port': given['metrics-port'],
    allow_read: given['allow-read'],
    'log.level': given['log-level'],
  }
  return Object.fromEntries(Object.entries(flags).filter(([, value]) => value !== undefined)) as Flags
}

function say(text: string): number {
  process.stdout.write(text)
  return 0
}
