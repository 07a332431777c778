import '../support/clean-children.ts'
import { spawnSync } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { isAlive, RunningDaemon } from '../support/daemon.ts'
import { shortDir } from '../support/short-dir.ts'

const NO_PYTHON =
  spawnSync('python3', ['-c', '']).status === 0 ? false : 'there is no python3 on this machine'
const THERMOMETER = fileURLToPath(new URL('../fixtures/exec/thermometer', import.meta.url))

/** As an editor saves: never half of it. */
function save(file: string, content: string): void {
  writeFileSync(`${file}~`, content)
  chmodSync(`${file}~`, 0o755)
  renameSync(`${file}~`, file)
}

/** Writes a module whose program is a shell script. */
function writeScript(dir: string, id: string, text: string, more: object = {}): void {
  const folder = join(dir, 'modules', id)
  mkdirSync(folder, { recursive: true })
  const manifest = { id, version: '1.0.0', description: 'a program of a test', runtime: 'exec' }
  const timeouts = { settle_ms: 200 }
  save(join(folder, 'run.sh'), text)
  save(join(folder, 'module.json'), JSON.stringify({ ...manifest, command: ['./run.sh'], timeouts, ...more }))
}

function writeThermometer(dir: string): void {
  const folder = join(dir, 'modules/demo/thermometer')
  cpSync(THERMOMETER, folder, { recursive: true })
  const manifest = JSON.parse(readFileSync(join(THERMOMETER, 'module.json'), 'utf8'))
  const limits = { heartbeat_suspect_ms: 300, heartbeat_kill_ms: 900 }
  const timeouts = { settle_ms: 300 }
  const restart = { backoff_ms: 20, backoff_max_ms: 50 }
  save(join(folder, 'module.json'), JSON.stringify({ ...manifest, limits, timeouts, restart }))
}

const dir = shortDir(t)
writeScript(
  dir,
  'demo/ticker',
  '#!/bin/sh\necho "$NEXUS_CONFIG"\nsleep 1000 & echo "child $!"\nsleep 1000\n',
  {
    config: { defaults: { every: 1 } },
  },
)
writeScript(dir, 'demo/wrong', '#!/bin/sh\necho "no port is set" >&2\nexit 78\n')
writeScript(dir, 'demo/strange', '#!/usr/bin/pythn3\n')
writeScript(dir, 'demo/job', '#!/bin/sh\necho done\n', { restart: { policy: 'transient' } })
if (NO_PYTHON === false) writeThermometer(dir)
const daemon = await RunningDaemon.start(dir)
t.teardown(() => daemon.kill())

const statusOf = async (id: string) => (await daemon.ask('GET', `/v1/status/${id}`)).body
const until = (id: string, holds: (status: Awaited<ReturnType<typeof statusOf>>) => boolean) =>
  daemon.until(`/v1/status/${id}`, ({ body }) => holds(body))
const explain = async (id: string) => (await daemon.command('explain', { module_id: id })).body.result
const logOf = async (id: string): Promise<string> =>
  JSON.stringify((await daemon.ask('GET', `/v1/logs/${id}`)).body)
const ask = (action: string, input: object) =>
  daemon.command('call_action', { module_id: 'demo/thermometer', action, input })

t.test('each program comes to the state that its end means, and says so', async (t) => {
  await until('demo/ticker', ({ state }) => state === 'started')
  await until('demo/wrong', ({ state }) => state === 'failed')
  await until('demo/strange', ({ state }) => state === 'failed')
  await until('demo/job', ({ state }) => state === 'stopped')
  t.match(await statusOf('demo/ticker'), {
    ...{ runtime: 'exec', isolation: 'none' },
    health: { status: 'healthy' },
  })
  t.match(await explain('demo/strange'), {
    blocked_on: /\.\/run\.sh cannot be run: its first line names \/usr\/bin\/pythn3/,
    remedy: /correct the first line of \.\/run\.sh/,
  })
  t.match(await explain('demo/wrong'), { blocked_on: /no port is set/ })
})

t.test('a silent program learns of a setting by a reload, and leaves nothing behind', async (t) => {
  const before = await statusOf('demo/ticker')
  const { body } = await daemon.command('configure', { module_id: 'demo/ticker', key: 'every', value: 2 })
  t.match(body, { success: true, result: { applied: 'reload', value: 2 } })
  const after = await statusOf('demo/ticker')
  t.not(after.instances[0].pid, before.instances[0].pid)
  await daemon.command('stop_module', { module_id: 'demo/ticker' })

  const log = await logOf('demo/ticker')
  t.match(log, /every[^,]*:1.*every[^,]*:2/)
  const children = [...log.matchAll(/child (\d+)/g)].map(([, pid]) => Number(pid))
  t.equal(children.length, 2)
  const pids = [before, after].map(({ instances }) => instances[0].pid)
  t.strictSame([...pids, ...children].filter(isAlive), [])
})

t.test(
  'a mission runs in Python, planned there, with a file that is kept',
  { skip: NO_PYTHON },
  async (t) => {
    await until('demo/thermometer', ({ state }) => state === 'started')
    const { body: mission } = await daemon.ask('POST', '/v1/missions/create', {
      goal: 'measure the room and keep the readings',
      category: 'library',
    })
    const { mission_id } = mission
    const { body } = await daemon.ask('POST', '/v1/missions/run', { mission_id, operator_key: daemon.key })
    const steps = [
      { id: 'measure', status: 'completed', output: { unit: 'celsius' } },
      { id: 'record', status: 'completed', output: { name: 'readings.csv' } },
    ]
    t.match(body, { status: 'ok', mission: { steps } })
    const file = await daemon.ask('GET', `/v1/missions/${mission_id}/artifacts/readings.csv`)
    t.match(file.body, /^(\d+(\.\d+)?\n){3}$/)
  },
)

t.test(
  'one that hangs, crashes, writes garbage or is killed is back, and says why',
  {
    skip: NO_PYTHON,
  },
  async (t) => {
    const back = (restarts: number) =>
      until('demo/thermometer', (status) => status.restarts === restarts && status.state === 'started')
    const { restarts } = await statusOf('demo/thermometer')
    const cut = { status: 502, body: { code: 'CALL_CUT' } }
    t.match(await ask('misbehave', { how: 'hang' }), cut)
    await back(restarts + 1)
    t.match(await ask('misbehave', { how: 'crash' }), cut)
    await back(restarts + 2)
    t.match(await ask('misbehave', { how: 'garbage' }), cut)
    const { body } = await back(restarts + 3)
    process.kill(body.instances[0].pid, 'SIGKILL')
    await back(restarts + 4)
    t.match(await ask('measure', { count: 1 }), { status: 200 })

    const { because } = await explain('demo/thermometer')
    const told = because.map(({ say }: { say: string }) => say)
    for (const reason of [
      /no heartbeat came from it/,
      /exited with code 1: ZeroDivisionError: division by zero \(thermometer\.py:\d+\)/,
      /broke the protocol: .*this is not JSON-RPC/,
      /ended by SIGKILL/,
    ]) {
      t.ok(
        told.some((say: string) => reason.test(say)),
        String(reason),
      )
    }
    t.match(await logOf('demo/thermometer'), /Traceback .*line \d+, in misbehave.*ZeroDivisionError/)
  },
)

t.test(
  'a save brings new code beside the old, hands the state over, and reverts',
  {
    skip: NO_PYTHON,
  },
  async (t) => {
    const file = join(dir, 'modules/demo/thermometer/thermometer.py')
    const source = readFileSync(file, 'utf8')
    await ask('measure', { count: 4 })
    save(file, source.replace('"unit": self.config["unit"]', '"unit": f"{self.measured} times"'))
    await until('demo/thermometer', ({ last_reload }) => last_reload?.reloaded === true)
    const { body } = await ask('measure', { count: 1 })
    t.equal(body.result.output.unit, '6 times')

    save(file, source.replace('import base64', 'import nonsense'))
    await until('demo/thermometer', ({ last_reload }) => last_reload?.rolled_back === true)
    const reason = /No module named 'nonsense' \(thermometer\.py:4\)/
    t.match(await statusOf('demo/thermometer'), {
      state: 'started',
      last_reload: { phase: 'import', reason },
    })
    t.match(await ask('measure', { count: 1 }), { status: 200 })
  },
)

t.test('the daemon takes all of them with it', async (t) => {
  const hosts = daemon.hosts()
  t.ok(hosts.length > 0)
  await daemon.kill('SIGTERM')
  t.strictSame(hosts.filter(isAlive), [])
})
