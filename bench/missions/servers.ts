import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { chownSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { delimiter, join } from 'node:path'
import { until } from '../kit/numbers.ts'
import { endAll, treeOf } from '../kit/processes.ts'

/** A server of the comparison, private: its own folder, its own port, and it goes with its folder. */
export interface Server {
  readonly port: number
  stop(): Promise<void>
}

/** Why there is no Redis here; undefined when there is. */
export function missingRedis(): string | undefined {
  return programOf('redis-server', []) === undefined ? 'not installed (redis-server)' : undefined
}

/** @param fsync - `always` is on the disk before it is acknowledged; `everysec` is what most people run. */
export async function startRedis(root: string, fsync: 'always' | 'everysec'): Promise<Server> {
  const program = programOf('redis-server', []) ?? 'redis-server'
  const dir = mkdtempSync(join(root, 'nxm-redis-'))
  const port = await freePort()
  const durable = ['--appendonly', 'yes', '--appendfsync', fsync, '--save', '']
  const place = ['--port', String(port), '--bind', '127.0.0.1', '--dir', dir]
  const child = spawn(program, [...place, ...durable], { stdio: 'ignore' })
  return serverOf(child, dir, port, 'SIGTERM')
}

/** Why there is no PostgreSQL here; undefined when there is. */
export function missingPostgres(): string | undefined {
  if (programOf('initdb', postgresDirs()) === undefined) return 'not installed (postgresql)'
  return process.getuid?.() === 0 && postgresUser() === undefined ? 'no account `postgres`' : undefined
}

/** A cluster of its own with the settings as they come: `fsync` and `synchronous_commit` are on. */
export async function startPostgres(root: string): Promise<Server> {
  const dir = mkdtempSync(join(root, 'nxm-pg-'))
  const port = await freePort()
  // It refuses to be root.
  const as = process.getuid?.() === 0 ? postgresUser() : undefined
  if (as !== undefined) chownSync(dir, as.uid, as.gid)
  const made = spawnSync(
    programOf('initdb', postgresDirs()) ?? 'initdb',
    ['-D', dir, '-A', 'trust', '-U', 'postgres'],
    {
      ...as,
      cwd: '/',
      encoding: 'utf8',
    },
  )
  if (made.status !== 0) throw new Error(`initdb: ${made.stderr}`)
  const args = ['-D', dir, '-p', String(port), '-k', dir, '-c', 'max_connections=200']
  const program = programOf('postgres', postgresDirs()) ?? 'postgres'
  const child = spawn(program, args, { ...as, cwd: '/', stdio: 'ignore' })
  return serverOf(child, dir, port, 'SIGINT')
}

async function serverOf(
  child: ChildProcess,
  dir: string,
  port: number,
  goodbye: NodeJS.Signals,
): Promise<Server> {
  const stop = async (): Promise<void> => {
    const left = treeOf(child.pid as number)
    child.kill(goodbye)
    const isGone = () => (child.exitCode === null && child.signalCode === null ? undefined : true)
    await until(isGone, STOP_MS, 10).catch(() => undefined)
    await endAll(left)
    rmSync(dir, { recursive: true, force: true })
  }
  try {
    await until(() => answers(port), START_MS, 20)
    return { port, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

function answers(port: number): Promise<true> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    socket.on('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.on('error', reject)
  })
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.on('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0))
    })
  })
}

function programOf(name: string, dirs: readonly string[]): string | undefined {
  const all = [...dirs, ...(process.env['PATH'] ?? '').split(delimiter), '/usr/bin', '/usr/sbin']
  return all.map((dir) => join(dir, name)).find((file) => existsSync(file))
}

/** Debian keeps the programs of each version apart; the newest first. */
function postgresDirs(): string[] {
  const base = '/usr/lib/postgresql'
  if (!existsSync(base)) return []
  return readdirSync(base)
    .sort((a, b) => Number(b) - Number(a))
    .map((version) => join(base, version, 'bin'))
}

function postgresUser(): { readonly uid: number; readonly gid: number } | undefined {
  const found = /^postgres:[^:]*:(\d+):(\d+):/m.exec(readFileSync('/etc/passwd', 'utf8'))
  return found === null ? undefined : { uid: Number(found[1]), gid: Number(found[2]) }
}

const START_MS = 20_000
const STOP_MS = 10_000
