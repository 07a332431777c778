import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { endAll, treeOf } from '../kit/processes.ts'
import { type AppVersion, type Contender, earlyFault, handler, lateFault, type Site } from './site.ts'

const FIRST_PORT = 21_000

/** PM2: one app in fork mode each, or the first alone in cluster mode where several replicas are wanted. */
export function pm2(peersDir: string): Contender {
  const program = join(peersDir, 'node_modules/.bin/pm2')
  return {
    name: 'PM2',
    portPerApp: true,
    missing: () => (existsSync(program) ? undefined : 'not installed'),
    launch: (apps, replicas) => launch(program, peersDir, apps, replicas),
    probe: async (site) => {
      await (site as Pm2Site).run('jlist')
    },
  }
}

interface Pm2Site extends Site {
  run(...args: readonly string[]): Promise<string>
}

async function launch(program: string, peersDir: string, apps: number, replicas: number): Promise<Pm2Site> {
  const home = mkdtempSync(join(tmpdir(), 'bench-pm2-'))
  const env = {
    ...process.env,
    PM2_HOME: home,
    PM2_DISABLE_VERSION_CHECK: 'true',
    PATH: `${join(peersDir, 'node_modules/.bin')}:${process.env['PATH']}`,
  }
  const run = async (...args: readonly string[]): Promise<string> =>
    (await promisify(execFile)(program, args, { env, maxBuffer: 16 * 1_048_576 })).stdout
  const file = join(home, 'app.js')
  writeFileSync(file, source({ version: 'v1' }))
  const ports = Array.from({ length: apps }, (_, at) => FIRST_PORT + at)
  const cluster = replicas > 1 ? { exec_mode: 'cluster', instances: replicas, wait_ready: true } : {}
  const list = ports.map((port, at) => ({ name: `m${at}`, script: file, env: { PORT: port }, ...cluster }))
  const plan = join(home, 'apps.config.js')
  writeFileSync(plan, `module.exports = ${JSON.stringify({ apps: list })}`)
  const startedMs = performance.now()
  await run('start', plan) // which starts PM2 itself, too
  const pid = Number(readFileSync(join(home, 'pm2.pid'), 'utf8'))
  return {
    pid,
    startedMs,
    ports,
    crash: async (served) => {
      process.kill(served.pid, 'SIGKILL')
    },
    run,
    deploy: async (app) => {
      writeFileSync(file, source(app))
      await run('reload', 'm0').catch(() => '') // a reload that fails answers with an exit code
    },
    stop: async () => {
      const left = treeOf(pid)
      await run('kill').catch(() => '')
      await endAll(left)
      rmSync(home, { recursive: true, force: true })
    },
  }
}

function source(app: AppVersion): string {
  const ready =
    app.fault === 'never ready'
      ? ''
      : `server.listen(+process.env.PORT, '127.0.0.1', () => {
    ${lateFault(app)}
    process.send?.('ready')
  })`
  return `${earlyFault(app)}
  const server = require('node:http').createServer(${handler(app, 'process.pid')})
  ${ready}
  setInterval(() => {}, 60000)
  process.on('SIGINT', () => process.exit(0))`
}
