import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ask, pathOf } from '../../aeon-interface/client.ts'
import type { ModuleStatus } from '../../daemon/contracts/status.ts'
import { until } from '../kit/numbers.ts'
import { endAll, treeOf } from '../kit/processes.ts'
import { type AppVersion, type Contender, earlyFault, handler, lateFault, type Site } from './site.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const FIRST_PORT = 23_000

/** NEXUS itself, as it ships: the compiled daemon, with each app a module that listens on a port. */
export function nexus(): Contender {
  return {
    name: 'NEXUS',
    portPerApp: true,
    missing: () =>
      existsSync(join(ROOT, 'dist/bin/nexusd.js')) ? undefined : 'not built: run `npm run build`',
    launch: (apps, replicas, settleMs) =>
      launchNexus({ apps, replicas, ...(settleMs === undefined ? {} : { settleMs }) }),
  }
}

export interface NexusSite extends Site {
  readonly dir: string
  /** One request to the daemon; the parsed JSON, whatever its status. */
  // biome-ignore lint/suspicious/noExplicitAny: each measurement looks at what it reads.
  request(method: 'GET' | 'POST', path: string, body?: unknown): Promise<{ status: number; body: any }>
  command(name: string, params: object): ReturnType<NexusSite['request']>
  module(id: string): Promise<ModuleStatus>
  /** Writes a module as an editor saves it, without asking for a reload. */
  write(id: string, code: string, manifest: object): void
}

export interface NexusLaunch {
  readonly apps: number
  readonly replicas?: number
  readonly settleMs?: number
  /** More of the manifest of each app. */
  readonly manifest?: object
  readonly config?: object
  /** The code of version `v1`; that of the comparison when absent. */
  readonly code?: string
  /** Called when the folders are there and the daemon is not yet started. */
  prepare?(site: Pick<NexusSite, 'write' | 'dir'>): void
}

export async function launchNexus(options: NexusLaunch): Promise<NexusSite> {
  const dir = mkdtempSync(join(tmpdir(), 'bench-nexus-'))
  const ports = Array.from({ length: options.apps }, (_, at) => FIRST_PORT + at)
  const write: NexusSite['write'] = (id, code, manifest) => writeModule(dir, id, code, manifest)
  const manifestOf = (at: number): object => ({
    replicas: options.replicas ?? 1,
    listen: [{ name: 'web', port: FIRST_PORT + at }],
    timeouts: { settle_ms: options.settleMs ?? 3_000 },
    // A crash loop is no subject of a comparison in which crashes are caused on purpose, one after the other.
    restart: { max: 1_000 },
    ...options.manifest,
  })
  mkdirSync(join(dir, 'modules'), { recursive: true })
  for (const at of ports.keys())
    write(`bench/m${at}`, options.code ?? webApp({ version: 'v1' }), manifestOf(at))
  writeFileSync(join(dir, 'nexus.json'), JSON.stringify(options.config ?? {}))
  options.prepare?.({ write, dir })

  const startedMs = performance.now()
  // As a program of its own: its first line says how Node is to be started.
  const flags = ['--config', 'nexus.json', '--port', '0', '--metrics-port', '0']
  const child = spawn(join(ROOT, 'dist/bin/nexusd.js'), flags, { cwd: dir, stdio: 'ignore' })
  const pid = child.pid as number
  const socketPath = join(dir, 'data/run/nexus.sock')
  const request: NexusSite['request'] = async (method, path, body) => {
    const answer = await ask(path, {
      socketPath,
      method,
      timeoutMs: 120_000,
      ...(body === undefined ? {} : { body }),
    })
    return {
      status: answer.status,
      body: answer.body.startsWith('{') ? JSON.parse(answer.body) : answer.body,
    }
  }
  const site: NexusSite = {
    dir,
    pid,
    startedMs,
    ports,
    request,
    write,
    command: (name, params) => request('POST', `/v1/commands/${name}`, params),
    module: async (id) => (await request('GET', `/v1/status/${pathOf(id)}`)).body,
    deploy: async (app) => {
      write('bench/m0', webApp(app), manifestOf(0))
      await request('POST', '/v1/commands/reload_module', { module_id: 'bench/m0' })
    },
    crash: async (served) => {
      process.kill(served.pid, 'SIGKILL')
    },
    stop: async () => {
      const left = treeOf(pid)
      child.kill('SIGTERM')
      await until(() => (child.exitCode === null ? undefined : true), 20_000, 20).catch(() => undefined)
      await endAll(left)
      rmSync(dir, { recursive: true, force: true })
    },
  }
  return site
}

/** The app of the comparison as a module. */
function webApp(app: AppVersion): string {
  const started = app.fault === 'never ready' ? 'await new Promise(() => {})' : ''
  return `${earlyFault(app)}
  import { createServer } from 'node:http'
  let server
  export default {
    async start (ctx) {
      ${started}
      server = createServer(${handler(app, 'process.pid')})
      await new Promise((resolve) => server.listen(ctx.listen('web'), resolve))
      ${lateFault(app)}
    },
    async stop () {
      await new Promise((resolve) => server.close(resolve))
    },
    actions: { async ping () { return { version: '${app.version}', pid: process.pid } } },
  }`
}

function writeModule(dir: string, id: string, code: string, manifest: object): void {
  const folder = join(dir, 'modules', id)
  mkdirSync(folder, { recursive: true })
  const content = {
    id,
    version: '1.0.0',
    description: 'an app of the comparison',
    actions: { ping: { description: 'answers its version', idempotent: true, concurrency: 64 } },
    ...manifest,
  }
  for (const [name, text] of [
    ['module.json', JSON.stringify(content)],
    ['index.js', code],
  ] as const) {
    writeFileSync(join(folder, `${name}~`), text)
    renameSync(join(folder, `${name}~`), join(folder, name))
  }
}
