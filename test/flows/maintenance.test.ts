import '../support/clean-children.ts'
import { spawn } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { type Answer, RunningDaemon, writeModule } from '../support/daemon.ts'
import { shortDir } from '../support/short-dir.ts'

// A busy loop is told from work by half a minute.
t.setTimeout(180_000)

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const PATH = '/v1/admin/maintenance'

interface Run {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

function nexus(dir: string, ...args: string[]): Promise<Run> {
  const child = spawn(process.execPath, [
    join(ROOT, 'bin/nexus.ts'),
    '--data-dir',
    join(dir, 'data'),
    ...args,
  ])
  let [out, err] = ['', '']
  child.stdout.on('data', (chunk) => (out += chunk))
  child.stderr.on('data', (chunk) => (err += chunk))
  return new Promise((resolve) => child.on('exit', (code) => resolve({ code, out, err })))
}

/** Node does not say how long the body of a DELETE is. */
function remove(daemon: RunningDaemon, id: string, body: object): Promise<Answer> {
  const length = { 'content-length': String(JSON.stringify(body).length) }
  return daemon.ask('DELETE', `${PATH}/${id}`, body, length)
}

function addJanitor(dir: string): void {
  mkdirSync(join(dir, 'modules/autonomic'), { recursive: true })
  cpSync(join(ROOT, 'modules/autonomic/janitor'), join(dir, 'modules/autonomic/janitor'), { recursive: true })
}

t.test('maintenance runs as missions, by HTTP and by the command line, and survives a kill', async (t) => {
  const dir = shortDir(t)
  addJanitor(dir)
  let daemon = await RunningDaemon.start(dir)
  t.teardown(() => daemon.kill())
  const order = (body: object, headers = {}) => daemon.ask('POST', PATH, body, headers)
  await daemon.until('/v1/status/autonomic/janitor', ({ body }) => body.replicas?.ready === 1)

  t.match(await order({ task: 'verify' }), { status: 403, body: { code: 'OPERATOR_KEY_REQUIRED' } })
  t.match(await order({ task: 'tidy', operator_key: daemon.key }), {
    status: 400,
    body: { code: 'BAD_REQUEST' },
  })
  t.match(await order({ task: 'verify', schedule: 'often', operator_key: daemon.key }), {
    status: 400,
    body: { errors: [{ pointer: '/schedule', detail: /30 2 \* \* \*/ }] },
  })
  t.match(await order({ task: 'verify', operator_key: 'nxk_wrong' }), { status: 401 })
  t.match(
    await daemon.command('maintain', { task: 'verify', maintenance_id: 'mt-000000000000' }),
    { status: 409, body: { code: 'MAINTENANCE_NOT_DUE' } },
    'the work is not done for whoever asks',
  )
  t.match(
    await daemon.command('call_action', {
      module_id: 'autonomic/janitor',
      action: 'maintain',
      input: { task: 'verify', maintenance_id: 'mt-000000000000' },
    }),
    { body: { code: 'ACTION_FAILED' } },
    'nor by a call of the action',
  )

  const ordered = await order({ task: 'verify' }, { 'x-operator-key': daemon.key })
  t.match(ordered, { status: 201, body: { task: 'verify', decision: 'SAFE', next_run: String } })
  const { maintenance_id: id, mission_id: missionId } = ordered.body
  const { body: view } = await daemon.until(`${PATH}/${id}`, ({ body }) => body.last !== null)
  t.match(view.last, { outcome: 'completed', mission_id: missionId, result: { records: Number, files: 1 } })
  t.match(await daemon.ask('GET', `/v1/missions/${missionId}`), {
    body: { principal: 'scheduler', category: 'sanctuary', status: 'completed' },
  })

  const run = await nexus(dir, 'maintenance', 'run', 'snapshot')
  t.match(run, { code: 0, out: /^The task snapshot is done/ })
  const scheduled = await nexus(
    dir,
    ...['maintenance', 'schedule', 'rotate', '--cron', '30 2 * * *', '--timezone', 'Europe/Berlin', '--json'],
  )
  const { maintenance_id: nightly, next_run } = JSON.parse(scheduled.out)
  t.match((await nexus(dir, 'maintenance', 'schedule', 'rotate', '--cron', 'x')).code, 2)

  await daemon.kill()
  daemon = await RunningDaemon.start(dir)
  const list = await nexus(dir, 'maintenance', 'list')
  t.match(list.out, new RegExp(`${nightly} +rotate +30 2 \\* \\* \\* Europe/Berlin +${next_run}`))
  t.match(list.out, new RegExp(`${id} +verify +once .*completed`))
  t.match(await nexus(dir, 'maintenance', 'remove', nightly), { code: 0 })
  t.match(await nexus(dir, 'maintenance', 'remove', nightly), { code: 4, err: /no maintenance is named/ })
  t.match(await remove(daemon, id, { operator_key: daemon.key }), { status: 200, body: { removed: true } })
  t.match(await remove(daemon, id, {}), { status: 403 })

  const { body: audit } = await daemon.ask('GET', '/v1/audit?limit=1000')
  t.notMatch(JSON.stringify(audit), daemon.key)
})

t.test('a locked way is not opened by a schedule: without its module a run is blocked', async (t) => {
  const dir = shortDir(t)
  writeModule(dir, 'cortex/other', 'export default {}')
  const daemon = await RunningDaemon.start(dir)
  t.teardown(() => daemon.kill())
  const ordered = await daemon.ask('POST', PATH, { task: 'verify', operator_key: daemon.key })
  t.match(ordered, { status: 201, body: { decision: 'FAILING', status: 'cancelled' } })
  const { body } = await daemon.ask('GET', `${PATH}/${ordered.body.maintenance_id}`)
  t.match(body, { running: null, last: { outcome: 'blocked', because: /janitor/ } })
  const { body: metrics } = await daemon.ask('GET', '/metrics')
  t.match(metrics, 'nexus_maintenance_runs_total{task="verify",outcome="blocked"} 1')
})

const SPINS = 'export default { start() { const turn = () => setImmediate(turn); turn() } }'
const WORKS = `export default { actions: { async work({ ms }) {
  for (const end = Date.now() + ms; Date.now() < end;) await new Promise((turned) => setImmediate(turned))
  return {}
} } }`

t.test('a module that spins is named, one that works on a call is not', async (t) => {
  const dir = shortDir(t)
  addJanitor(dir)
  writeModule(dir, 'cortex/spins', SPINS)
  const actions = { work: { description: 'works', timeout_ms: 120_000 } }
  writeModule(dir, 'cortex/works', WORKS, { actions })
  const daemon = await RunningDaemon.start(dir)
  t.teardown(() => daemon.kill())
  await daemon.until('/v1/status/cortex/works', ({ body }) => body.replicas?.ready === 1)
  const input = { ms: 35_000 }
  const working = daemon.ask('POST', '/v1/commands/call_action', {
    ...{ module_id: 'cortex/works', action: 'work', input },
  })
  const { body } = await daemon.until('/v1/status', (answer) => answer.body.busy_loops.length > 0, 60_000)
  t.match(body.busy_loops, [{ where: 'cortex/spins#1', since: String, seen: /utilisation (1|0\.9)/ }])
  t.match((await daemon.ask('GET', '/v1/status/cortex/works')).body.instances, [
    { restless_ms: 0, in_flight: 1 },
  ])

  const checked = await nexus(dir, 'check', '--json')
  t.equal(checked.code, 1)
  t.match(JSON.parse(checked.out), {
    status: 'warning',
    mission: { ran: { status: 'ok' } },
    last_telemetry: { event: 'mission_ran' },
    last_runtime_metric: { elu: Number },
    busy_loops_detected: [{ where: 'cortex/spins#1' }],
    issues: ['busy_loops_detected'],
  })
  t.match((await daemon.command('explain', { module_id: 'cortex/spins' })).body.result.because.at(-1), {
    type: 'module.busy',
    say: /cortex\/spins#1, its event loop has not rested for \d+ s, and nobody asked/,
  })

  writeModule(dir, 'cortex/spins', 'export default {}')
  await daemon.until('/v1/status', (answer) => answer.body.busy_loops.length === 0, 60_000)
  await working
  t.equal(await daemon.kill('SIGTERM'), 0)
  const lines = readFileSync(join(dir, 'data/telemetry.jsonl'), 'utf8').trim().split('\n')
  const busy = lines.map((line) => JSON.parse(line)).filter(({ event }) => event === 'busy_loop')
  t.match(busy, [
    { module_id: 'cortex/spins', state: 'began' },
    { module_id: 'cortex/spins', state: 'ended' },
  ])
  t.equal(busy.length, 2, 'once each')
})
