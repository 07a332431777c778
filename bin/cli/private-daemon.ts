import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { probe } from '../../aeon-interface/live.ts'
import { sleep } from '../../daemon/kit/clock.ts'
import { type Cli, openCli } from './cli.ts'
import { CliError } from './exit.ts'

/** A cold start with self-tests on a busy machine. */
const READY_MS = 45_000
/** Draining, stopping modules, closing the journal. */
const STOP_MS = 30_000
const POLL_MS = 50
/** Enough to see why it did not start. */
const SAID_BYTES_MAX = 8_192

/**
 * Starts a daemon on free ports, in the data folder that was named or else in a temporary one, and resolves once it
 * is ready. It is ended, and its temporary folder removed, with the command's other undoings.
 *
 * @throws CliError when it does not come up; nothing is left running then.
 */
export async function startPrivateDaemon(cli: Cli): Promise<Cli> {
  const dataDir = cli.dataDirNamed ? resolve(cli.dataDir) : await temporaryFolder(cli)
  const said = { text: '' }
  const child = spawn(process.execPath, [daemonProgram(), ...daemonArguments(dataDir)], {
    // A group of its own: Ctrl-C reaches this command, which then ends it in good order.
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const gone = new Promise<void>((resolve) => {
    child.once('exit', () => resolve())
    child.once('error', (error) => {
      said.text += error.message
      resolve()
    })
  })
  cli.stops.push('the private daemon', () => end(cli, child, gone))
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      said.text = (said.text + text).slice(-SAID_BYTES_MAX)
    })
  }

  const opened = { ...openCli({ dataDir, ...(cli.json && { json: true }) }), stops: cli.stops }
  const untilMs = cli.clock.elapsed() + READY_MS
  while (cli.clock.elapsed() < untilMs && isRunning(child)) {
    if ((await probe('readiness', opened.socketPath)).ready) return opened
    await Promise.race([gone, sleep(cli.clock, POLL_MS)])
  }
  const how = isRunning(child)
    ? `was not ready within ${READY_MS / 1_000} s`
    : `ended with code ${child.exitCode}`
  throw new CliError(
    'failed',
    `the daemon started for the check ${how}:\n${said.text.trimEnd()}`,
    'correct that, then check again',
  )
}

/** Beside this file, in the same form: as source in development, compiled where it is installed. */
function daemonProgram(): string {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
  return fileURLToPath(new URL(`../nexusd.${extension}`, import.meta.url))
}

/** The modules of the working directory, as for any start there; without any, those that came with the daemon. */
function daemonArguments(dataDir: string): string[] {
  const modules = existsSync('modules')
    ? []
    : ['--modules', fileURLToPath(new URL('../../modules', import.meta.url))]
  return ['--data-dir', dataDir, '--port', '0', '--metrics-port', '0', ...modules]
}

async function temporaryFolder(cli: Cli): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'nexus-check-'))
  cli.stops.push('the temporary folder', () => rm(dir, { recursive: true, force: true }))
  return dir
}

async function end(cli: Cli, child: ChildProcess, gone: Promise<void>): Promise<void> {
  if (!isRunning(child)) return
  child.kill('SIGTERM')
  const late = new AbortController()
  const expired = sleep(cli.clock, STOP_MS, late.signal).then(
    () => child.kill('SIGKILL'),
    () => {},
  )
  await Promise.race([gone, expired])
  late.abort()
  await gone
}

function isRunning(child: ChildProcess): boolean {
  return child.pid !== undefined && child.exitCode === null && child.signalCode === null
}
