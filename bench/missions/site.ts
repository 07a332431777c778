import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { exchange } from '../../aeon-interface/wire.ts'
import { until } from '../kit/numbers.ts'
import { endAll, treeOf } from '../kit/processes.ts'
import { MODULES, writeWorkers } from './modules.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const DAEMON = join(ROOT, 'dist/bin/nexusd.js')

/** Why NEXUS cannot be measured; undefined when it can. */
export function missingNexus(): string | undefined {
  return existsSync(DAEMON) ? undefined : 'not built: run `npm run build`'
}

/** How clients reach a daemon. */
interface Address {
  readonly socketPath: string
  readonly tcpPort: number
  readonly token: string
}

/** A daemon with the modules of this bench, as it ships. */
export interface MissionSite extends Address {
  readonly dir: string
  readonly pid: number
  /** From its start until it said that it is ready, in milliseconds. */
  readonly readyMs: number
  /** The body as it came, of an answer with 200. @throws Error for any other. */
  get(path: string): Promise<string>
  post(path: string, body: unknown): Promise<{ readonly status: number; readonly body: string }>
  /** Ends it in order, as SIGTERM does; its folder stays. */
  stop(): Promise<void>
}

/** Starts a daemon over the data in `dir`, whose lanes are as wide as the load. */
export async function launchSite(dir: string, withinMs = 60_000): Promise<MissionSite> {
  mkdirSync(dir, { recursive: true })
  writeWorkers(dir)
  writeFileSync(join(dir, 'nexus.json'), JSON.stringify(CONFIG))
  const flags = ['--config', 'nexus.json', '--port', '0', '--metrics-port', '0']
  const startedMs = performance.now()
  const [program, args] = command(dir, flags)
  const child = spawn(program, args, { cwd: dir, stdio: ['ignore', 'pipe', 'pipe'] })
  const pid = child.pid as number
  let said = ''
  let tcpPort: number | undefined
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-SAID_LENGTH_MAX)
      tcpPort ??=
        Number(/"listening".*?"port":(\d+)|"port":(\d+).*?"listening"/.exec(said)?.slice(1).find(Boolean)) ||
        undefined
    })
  }
  const socketPath = join(dir, 'data/run/nexus.sock')
  const request = (method: 'GET' | 'POST', path: string, body?: unknown) =>
    exchange({ socketPath, method, path, token: tokenOf(dir), timeoutMs: 120_000, body })
  const stop = async (): Promise<void> => {
    const left = treeOf(pid)
    child.kill('SIGTERM')
    const isGone = () => (child.exitCode === null && child.signalCode === null ? undefined : true)
    await until(isGone, STOP_MS, 5).catch(() => undefined)
    await endAll(left)
  }
  try {
    const isReady = async (): Promise<true | undefined> => {
      if (child.exitCode !== null) throw new Error('it has ended')
      const { status, body } = await request('GET', '/readyz')
      return status === 200 || isOnlyLocked(body) ? true : undefined
    }
    await until(isReady, withinMs, 5)
  } catch {
    await stop()
    throw new Error(`the daemon in ${dir} is not ready within ${withinMs} ms: ${said}`)
  }
  const readyMs = performance.now() - startedMs
  return {
    dir,
    pid,
    readyMs,
    socketPath,
    tcpPort: await until(() => tcpPort, 5_000),
    token: tokenOf(dir),
    get: async (path) => {
      const answer = await request('GET', path)
      if (answer.status !== 200) throw new Error(`${path}: ${answer.status} ${answer.body}`)
      return answer.body
    },
    post: (path, body) => request('POST', path, body),
    stop,
  }
}

/** A module that fails on purpose is locked in the course of a million missions; all else is ready then. */
function isOnlyLocked(body: string): boolean {
  return /"reasons":\["\d+ of \d+ modules are unhealthy: (\S+ is locked[,;]? ?)+"\]/.test(body)
}

/** A daemon in a folder of its own, which goes with it. */
export async function withSite<T>(root: string, work: (site: MissionSite) => Promise<T>): Promise<T> {
  const dir = mkdtempSync(join(root, 'nxm-'))
  try {
    const site = await launchSite(dir)
    try {
      return await work(site)
    } finally {
      await site.stop()
    }
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

/** As a program of its own: its first line says how Node is to be started. With a profile, Node is told more. */
function command(dir: string, flags: readonly string[]): [string, string[]] {
  const profile = process.env['BENCH_CPU_PROF']
  if (profile === undefined) return [DAEMON, [...flags]]
  const name = `daemon-${dir.split('/').at(-1)}.cpuprofile`
  const prof = ['--cpu-prof', '--cpu-prof-dir', profile, '--cpu-prof-name', name]
  return [process.execPath, ['--max-semi-space-size=16', ...prof, DAEMON, ...flags]]
}

function tokenOf(dir: string): string {
  return readFileSync(join(dir, 'data/run/local.token'), 'utf8').trim()
}

/** Wider than the load, so that whoever comes finds a place while the one before still leaves it. */
const WIDE = 128
/** More than is ever handed in: what is measured is work, not refusals. */
const BACKLOG = 200_000
const CONFIG = {
  missions: {
    concurrency: WIDE,
    lanes: { coin: WIDE, forge: WIDE, library: WIDE, sanctuary: WIDE },
    queue_max: BACKLOG,
    lane_queue_max: BACKLOG,
    module_queue_max: BACKLOG,
  },
  // Started by hand, by this bench, more often than a person would.
  hosts: { starts_per_minute: 1_000 },
  modules: Object.fromEntries(MODULES.map((id) => [id, { enabled: true }])),
}
/** A daemon that drains what runs and writes a snapshot of a million missions needs its time. */
const STOP_MS = 120_000
/** Enough for its last words. */
const SAID_LENGTH_MAX = 20_000
