import { execFile, execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { endAll, treeOf } from '../kit/processes.ts'
import { type AppVersion, type Contender, earlyFault, handler, lateFault, type Site } from './site.ts'

const FIRST_PORT = 22_000

/** supervisord: it has no reload, so a deployment is a restart. */
export function supervisord(): Contender {
  return {
    name: 'supervisord',
    portPerApp: true,
    missing: () => {
      try {
        execFileSync('supervisord', ['--version'], { stdio: 'ignore' })
        return undefined
      } catch {
        return 'not installed'
      }
    },
    launch,
    probe: async (site) => {
      await (site as SupervisordSite).control('status')
    },
  }
}

interface SupervisordSite extends Site {
  control(...args: readonly string[]): Promise<unknown>
}

async function launch(apps: number): Promise<SupervisordSite> {
  const home = mkdtempSync(join(tmpdir(), 'bench-supervisord-'))
  const file = join(home, 'app.js')
  writeFileSync(file, source({ version: 'v1' }))
  const ports = Array.from({ length: apps }, (_, at) => FIRST_PORT + at)
  const plan = join(home, 'supervisord.conf')
  writeFileSync(plan, configuration(home, file, ports))
  const startedMs = performance.now()
  const child = spawn('supervisord', ['-c', plan], { stdio: 'ignore' })
  const pid = child.pid as number
  const control = (...args: readonly string[]) => promisify(execFile)('supervisorctl', ['-c', plan, ...args])
  return {
    pid,
    startedMs,
    ports,
    crash: async (served) => {
      process.kill(served.pid, 'SIGKILL')
    },
    control,
    deploy: async (app) => {
      writeFileSync(file, source(app))
      await control('restart', 'm0').catch(() => undefined) // says by its exit code what the load shows
    },
    stop: async () => {
      const left = treeOf(pid)
      child.kill('SIGTERM')
      await endAll(left)
      rmSync(home, { recursive: true, force: true })
    },
  }
}

function configuration(home: string, file: string, ports: readonly number[]): string {
  const programs = ports.map(
    (port, at) =>
      `[program:m${at}]\ncommand=${process.execPath} ${file}\nenvironment=PORT="${port}"\nautorestart=true\nstartsecs=0\n`,
  )
  return `[unix_http_server]
file=${home}/s.sock
[supervisord]
logfile=${home}/s.log
pidfile=${home}/s.pid
nodaemon=true
user=${process.getuid?.() === 0 ? 'root' : process.env['USER']}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://${home}/s.sock
${programs.join('')}`
}

function source(app: AppVersion): string {
  const listen =
    app.fault === 'never ready'
      ? ''
      : `server.listen(+process.env.PORT, '127.0.0.1', () => { ${lateFault(app)} })`
  return `${earlyFault(app)}
  const server = require('node:http').createServer(${handler(app, 'process.pid')})
  ${listen}
  setInterval(() => {}, 60000)`
}
