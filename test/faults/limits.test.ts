import '../support/clean-children.ts'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { isAlive, RunningDaemon, writeModule } from '../support/daemon.ts'
import { shortDir } from '../support/short-dir.ts'

t.setTimeout(120_000)
const GLUTTON = readFileSync(
  fileURLToPath(new URL('../fixtures/host/glutton/index.js', import.meta.url)),
  'utf8',
)
const actions = Object.fromEntries(
  ['heap', 'buffers', 'flood', 'scatter', 'blocks'].map((name) => [
    name,
    { description: name, timeout_ms: 60_000 },
  ]),
)
const restart = { backoff_ms: 60_000, backoff_max_ms: 60_000 }

/** Waits for what other processes do, which no clock of ours can hurry. */
async function until(isSo: () => boolean): Promise<boolean> {
  for (let looks = 0; looks < 1_000 && !isSo(); looks += 1) await pause(5)
  return isSo()
}

function residentMb({ child }: RunningDaemon): number {
  const [, kib] = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${child.pid}/status`, 'latin1')) ?? []
  return Number(kib) / 1_024
}

/** What `explain` tells of the crash, once that is on record. */
async function crashOf(daemon: RunningDaemon, module_id: string): Promise<unknown> {
  let crash: unknown
  for (let looks = 0; looks < 200 && crash === undefined; looks += 1) {
    const { body } = await daemon.command('explain', { module_id })
    crash = body.result.because.find(({ type }: { type: string }) => type === 'module.crashed')
    if (crash === undefined) await pause(20)
  }
  return crash
}

t.test(
  'F60, F65: who takes too much is ended, the reason stands in fact and explain, and the daemon stays small',
  async (t) => {
    const dir = shortDir(t)
    for (const id of ['greedy/heap', 'greedy/buffers']) {
      writeModule(dir, id, GLUTTON, { actions, restart, limits: { memory_mb: 128 } })
    }
    const patient = { heartbeat_suspect_ms: 50_000, heartbeat_kill_ms: 60_000 }
    writeModule(dir, 'noisy/flood', GLUTTON, { actions, limits: { ...patient, log_lines_per_s: 5 } })
    const daemon = await RunningDaemon.start(dir)
    t.teardown(() => daemon.kill())
    const go = (module_id: string, action: string, input: unknown = null) =>
      daemon.command('call_action', { module_id, action, input })
    for (const id of ['greedy/heap', 'greedy/buffers', 'noisy/flood']) {
      await daemon.until(`/v1/status/${id}`, ({ body }) => body.state === 'started')
    }
    const beforeMb = residentMb(daemon)
    for (const action of ['heap', 'buffers']) {
      const reason =
        /(used \d+ MB of memory, |JavaScript heap was full: it may take 96 MB of )limits\.memory_mb(, | is )128/
      t.match(await go(`greedy/${action}`, action), { status: 502 })
      t.match(await crashOf(daemon, `greedy/${action}`), { say: reason })
    }
    t.match(await go('noisy/flood', 'flood', { text: 'line\n', bytes: 10_000_000 }), { status: 200 })
    await daemon.command('stop_module', { module_id: 'noisy/flood' })
    const { text } = (await daemon.command('get_metrics', {})).body.result
    const [, dropped] =
      /^nexus_module_log_lines_dropped_total\{module="noisy\/flood"\} (\d+)$/m.exec(text) ?? []
    t.ok(Number(dropped) > 1_000_000, `${dropped} lines were dropped`)
    const grownMb = residentMb(daemon) - beforeMb
    t.ok(grownMb < 100, `the daemon grew by ${Math.round(grownMb)} MB`)
  },
)

t.test(
  'F50: kill -9 of a daemon leaves no module, hung or not; the next start ends what those had started',
  async (t) => {
    const dir = shortDir(t)
    const code = "export default { actions: { blocks: () => { for (;;); }, other: () => 'no' } }"
    const limits = { heartbeat_suspect_ms: 50_000, heartbeat_kill_ms: 60_000 }
    const plain = Array.from({ length: 9 }, (_, at) => `ten/m${at}`)
    for (const id of plain) writeModule(dir, id, code, { actions: { blocks: actions['blocks'] }, limits })
    writeModule(dir, 'ten/parent', GLUTTON, { actions, permissions: { child_process: true } })
    mkdirSync(join(dir, 'data'), { recursive: true, mode: 0o700 })
    const daemon = await RunningDaemon.start(dir)
    t.teardown(() => daemon.kill())
    const pids: number[] = []
    for (const id of [...plain, 'ten/parent']) {
      const { body } = await daemon.until(`/v1/status/${id}`, ({ body: { state } }) => state === 'started')
      pids.push(body.instances[0].pid)
    }
    const { body } = await daemon.command('call_action', {
      module_id: 'ten/parent',
      action: 'scatter',
      input: null,
    })
    const children: number[] = body.result.output
    const hung = plain
      .slice(0, 3)
      .map((module_id) => daemon.command('call_action', { module_id, action: 'blocks', input: null }))
    for (const call of hung) call.catch(() => undefined)
    await daemon.until('/v1/status/ten/m2', (answer) => answer.body.instances[0].in_flight === 1)
    const hosts = daemon.hosts()
    t.ok(hosts.length >= 10 && children.every(isAlive), 'it saw them')
    await daemon.kill()
    t.equal(await until(() => ![...pids, ...hosts].some(isAlive)), true, 'no module is left')
    const next = await RunningDaemon.start(dir, ['--safe'])
    t.teardown(() => next.kill())
    t.strictSame(children.filter(isAlive), [], 'nor what one of them had started')
  },
)
