import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { sleep } from '../kit/numbers.ts'
import { endAll, treeOf } from '../kit/processes.ts'
import { type AppVersion, type Contender, earlyFault, handler, lateFault, type Site } from './site.ts'

const PORT = 24_100

/** Platformatic Watt: apps are worker threads of one runtime, and only the entrypoint has a port. */
export function watt(peersDir: string): Contender {
  const program = join(peersDir, 'node_modules/.bin/wattpm')
  return {
    name: 'Watt',
    portPerApp: false,
    missing: () => (existsSync(program) ? undefined : 'not installed'),
    launch: (apps, replicas) => launch(program, peersDir, apps, replicas),
  }
}

async function launch(program: string, peersDir: string, apps: number, replicas: number): Promise<Site> {
  const home = mkdtempSync(join(peersDir, 'run-'))
  const bin = join(peersDir, 'node_modules/.bin')
  const env = { ...process.env, PATH: `${bin}:${process.env['PATH']}`, PLT_TELEMETRY_DISABLED: '1' }
  const server = { port: PORT, hostname: '127.0.0.1' }
  const runtime = {
    $schema: 'https://schemas.platformatic.dev/@platformatic/runtime/3.67.0.json',
    server,
    logger: { level: 'error' },
    workers: replicas,
    autoload: { path: 'web' },
    entrypoint: 'm0',
    metrics: false,
  }
  writeFileSync(join(home, 'watt.json'), JSON.stringify(runtime))
  writeFileSync(join(home, 'package.json'), '{"name":"bench"}')
  symlinkSync(join(peersDir, 'node_modules'), join(home, 'node_modules'))
  for (let at = 0; at < apps; at += 1) writeApp(join(home, 'web', `m${at}`))
  const startedMs = performance.now()
  const child = spawn(program, ['start'], { cwd: home, env, stdio: 'ignore' })
  const pid = child.pid as number
  return {
    pid,
    startedMs,
    ports: [PORT],
    crash: async () => {
      await fetch(`http://127.0.0.1:${PORT}/crash`).catch(() => undefined) // it may take the answer with it
    },
    deploy: async (app) => {
      writeFileSync(join(home, 'web/m0/index.js'), source(app))
      const waiting = { cwd: home, env, timeout: DEPLOY_MS_MAX }
      // A restart that fails answers with an exit code, and one of an app that is never ready with nothing.
      await promisify(execFile)(program, ['restart', String(pid), 'm0'], waiting).catch(() => undefined)
    },
    stop: async () => {
      const left = treeOf(pid)
      child.kill('SIGTERM')
      await sleep(1_000)
      await endAll(left)
      rmSync(home, { recursive: true, force: true })
    },
  }
}

function writeApp(folder: string): void {
  mkdirSync(folder, { recursive: true })
  const $schema = 'https://schemas.platformatic.dev/@platformatic/node/3.65.0.json'
  writeFileSync(join(folder, 'watt.json'), JSON.stringify({ $schema }))
  writeFileSync(join(folder, 'package.json'), '{"name":"app","main":"index.js","type":"commonjs"}')
  writeFileSync(join(folder, 'index.js'), source({ version: 'v1' }))
}

function source(app: AppVersion): string {
  const never = app.fault === 'never ready' ? 'await new Promise(() => {});' : ''
  // Threads of one process have one pid: the thread tells them apart, and chance one that is started again. A crash is an error that nobody caught.
  return `${earlyFault(app)}
  const id = require('node:worker_threads').threadId + Math.random()
  exports.create = async () => {
    ${never}
    ${lateFault(app)}
    return require('node:http').createServer(${handler(app, 'id')})
  }`
}

const DEPLOY_MS_MAX = 60_000
