import '../support/clean-children.ts'
import { appendFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { MissionDetail, MissionStatus } from '../../daemon/contracts/mission.ts'
import { encodeDraft, GENESIS, sealBatch } from '../../daemon/storage/line.ts'
import { FakeNexusd, problem, type RunOptions, runProgram, streamFacts } from '../support/fake-nexusd.ts'
import { shortDir } from '../support/short-dir.ts'

// Each test starts several programs: on a machine that is busy elsewhere that takes its time.
t.setTimeout(180_000)

const nexus = (args: readonly string[], options?: RunOptions) => runProgram('bin/nexus.ts', args, options)

const STATUS = {
  running: true,
  level: 'level-14.5-basic',
  uptime_seconds: 200,
  security: { principal: 'local', roles: ['admin'] },
  features: { cluster: false, tracing: false, compliance: false },
  modules: { total_discovered: 2, total_loaded: 1, by_state: { started: 1, invalid: 1 } },
  health: { statistics: { total: 2, healthy: 1, degraded: 0, unhealthy: 1 } },
  missions: {
    queued: 3,
    running: 1,
    awaiting_approval: 2,
    oldest_approval_seconds: 7_300,
    lanes: { coin: 3, forge: 0, library: 0, sanctuary: 0 },
  },
}
const NO_DETAILS = { total_modules: 0, healthy_modules: 0, unhealthy_modules: 0, health_ratio: 1 }
const READY = { ready: true, timestamp: 1, details: NO_DETAILS, reasons: [] }
const MODULE = {
  module_id: 'a/b',
  description: 'does b',
  state: 'started',
  desired: 'running',
  since: '2020-01-01T00:00:00.000Z',
  because: 'it has started',
  next_retry_at: null,
  health: { status: 'healthy', reason: null },
  omen: { level: 'ignore', because: null, since: null, probation_until: null, held: false },
  generation: 'f'.repeat(64),
  version: '1.0.0',
  critical: false,
  replicas: { desired: 1, ready: 1 },
  instances: [],
  restarts: 0,
  last_reload: null,
  config: {},
  isolation: 'none',
  uptime_seconds: 1,
  actions: ['run'],
  categories: [],
}
const VALIDATION = {
  decision: 'SAFE',
  score: 70,
  axes: {},
  gates: [],
  reasons: [],
  counterfactual: null,
  predicted: 0.9,
  scorer_version: 1,
} as const

function mission(status: MissionStatus, more: Partial<MissionDetail> = {}): MissionDetail {
  return {
    mission_id: 'm-1',
    goal: 'g',
    category: 'coin',
    status,
    decision: 'SAFE',
    score: 70,
    constraints: { max_time_seconds: 60, max_steps: 3 },
    priority: 5,
    created_at: '2020-01-01T00:00:00.000Z',
    updated_at: '2020-01-01T00:00:00.000Z',
    principal: 'local',
    epoch: 1,
    modules: [],
    because: `it is ${status}`,
    duration_ms: 12,
    artifacts: [],
    plan: [],
    plan_source: 'module',
    validation: VALIDATION,
    steps: [],
    attempts: [],
    approval: null,
    ...more,
  }
}

const CREATED = {
  mission_id: 'm-1',
  status: 'queued',
  decision: 'SAFE',
  score: 70,
  validation: VALIDATION,
  reasons: [],
  counterfactual: null,
}

/** A daemon whose mission goes through these statuses, one fact for each after the first. */
async function daemonWithMission(
  t: { teardown(undo: () => unknown): void },
  statuses: MissionStatus[],
): Promise<FakeNexusd> {
  let at = 0
  return FakeNexusd.open(t, {
    'POST /v1/missions/create': { status: 201, json: { ...CREATED, status: statuses[0] } },
    'GET /v1/missions/m-1': () => mission(statuses[at] ?? 'queued'),
    'GET /v1/events': (_, response) => {
      const other = {
        seq: 1,
        ts: '2026-11-22T10:00:00.000Z',
        type: 'mission.ended',
        mid: 'm-2',
        d: { status: 'failed' },
      }
      at = statuses.length - 1
      const facts = statuses.slice(1).map((status, index) => ({
        ...other,
        seq: index + 2,
        mid: 'm-1',
        d: { status },
      }))
      streamFacts(response, [other, ...facts])
    },
  })
}

t.test(
  'a negative answer, no daemon, no such thing, a conflict and a hang each have their exit code',
  async (t) => {
    const fake = await FakeNexusd.open(t, {
      'GET /v1/status': { status: 200, json: STATUS },
      'GET /readyz': { status: 503, json: { ...READY, ready: false, reasons: ['a/c is invalid'] } },
      'GET /v1/status/a/x': {
        status: 404,
        json: problem('MODULE_UNKNOWN', 'no module is named a/x', 'look around'),
      },
      'GET /v1/status/a/c': () => ({ ...MODULE, health: { status: 'unhealthy', reason: 'it is broken' } }),
      'POST /v1/commands/start_module': {
        status: 409,
        json: { success: false, error: 'it is stopping', code: 'MODULE_WRONG_STATE', remedy: 'wait' },
      },
      'POST /v1/commands/reload_module': () => ({
        success: true,
        result: {
          module_id: 'a/b',
          rolled_back: true,
          phase: 'settle',
          reason: 'it died',
          stack: 'at line 1',
          duration_ms: 1,
          downtime_ms: 0,
        },
      }),
    })
    const at = ['--data-dir', fake.dataDir]
    const none = join(shortDir(t), 'none')
    const [notReady, unhealthy, nobody, unknown, conflict, rolledBack] = await Promise.all([
      nexus(['status', ...at]),
      nexus(['status', 'a/c', ...at]),
      nexus(['modules', '--socket', none]),
      nexus([...at, 'status', 'a/x']),
      nexus(['start', 'a/b', '--socket', fake.socketPath]),
      nexus(['reload', 'a/b', ...at]),
    ])
    t.match(notReady.out, /missions +3 queued, 1 running, 2 waiting for approval \(for up to 2h\)/)
    t.match([notReady.code, notReady.out], [1, /^daemon {4}running\nready {5}no: a\/c is invalid\n/])
    t.match([unhealthy.code, unhealthy.out], [1, /health +unhealthy: it is broken/])
    t.match(
      [nobody.code, nobody.out, nobody.err],
      [3, '', /^nexus: no daemon answers at .*\n {2}start it with/],
    )
    t.strictSame(
      [unknown.code, unknown.out, unknown.err],
      [4, '', 'nexus: no module is named a/x\n  look around\n'],
    )
    t.strictSame([conflict.code, conflict.err], [6, 'nexus: it is stopping\n  wait\n'])
    t.match(
      [rolledBack.code, rolledBack.out],
      [1, /a\/b: rolled back to none \(settle: it died\)[\s\S]*at line 1/],
    )
  },
)

t.test('an answer that does not come within --timeout is exit 124', async (t) => {
  const fake = await FakeNexusd.open(t, {
    'POST /v1/commands/stop_module': (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' })
      response.flushHeaders()
    },
  })
  const { code, err } = await nexus(['stop', 'a/b', '--data-dir', fake.dataDir, '--timeout', '50ms'])
  t.match([code, err], [124, /gave no answer within 50 ms/])
})

t.test('what is not understood is exit 2, with the nearest name; help is exit 0', async (t) => {
  const [near, missing, choice, option, timeout, alone, behind, help, version] = await Promise.all([
    nexus(['statsu']),
    nexus(['start']),
    nexus(['missions', 'create', 'g', '--category', 'gold']),
    nexus(['status', '--wach']),
    nexus(['status', '--timeout', 'soon']),
    nexus([]),
    nexus(['--data-dir', 'x', 'run']),
    nexus(['missions', 'create', '--help']),
    nexus(['version', '--json']),
  ])
  t.match([near.code, near.err], [2, /unknown command 'statsu'[\s\S]*Did you mean status/])
  t.match([missing.code, missing.err], [2, /missing required argument 'module'/])
  t.match([choice.code, choice.err], [2, /coin, forge, library, sanctuary/])
  t.match([option.code, option.err], [2, /unknown option '--wach'/])
  t.match([timeout.code, timeout.err], [2, /'soon' is not a duration/])
  t.match([alone.code, alone.err], [2, /Usage: nexus/])
  t.match([behind.code, behind.err], [2, /stand behind run/])
  t.match([help.code, help.out], [0, /--expected-value[\s\S]*--socket/])
  t.match([version.code, JSON.parse(version.out)], [0, { version: /^\d/, node: process.version }])
})

t.test(
  'each command asks its own route and prints for people or, with --json, what the daemon said',
  async (t) => {
    const fake = await FakeNexusd.open(t, {
      'GET /v1/status': { status: 200, json: STATUS },
      'GET /readyz': { status: 200, json: READY },
      'GET /v1/modules': { status: 200, json: { modules: [MODULE], count: 1 } },
      'POST /v1/commands/configure': {
        status: 200,
        json: { success: true, result: { value: 5, previous: 1, applied: 'live' } },
      },
      'POST /v1/commands/scale_module': {
        status: 200,
        json: { success: true, result: { replicas: 3, previous: 1, ready: 2, state: 'started' } },
      },
      'POST /v1/commands/call_action': {
        status: 200,
        json: { success: true, result: { output: { rows: 3 }, duration_ms: 1 } },
      },
      'POST /v1/commands/get_metrics': {
        status: 200,
        json: { success: true, result: { content_type: 'x', text: 'up 1\n' } },
      },
      'POST /v1/commands/explain': {
        status: 200,
        json: {
          success: true,
          result: {
            state: 'queued',
            since: MODULE.since,
            because: [{ at: 't', seq: 1, type: 'x.y', say: 'it hung', detail: 'at f (a.js:1:2)\nat g' }],
            blocked_on: 'the lane\nat h',
            next: null,
            remedy: null,
          },
        },
      },
      'GET /v1/audit': { status: 200, json: { facts: [], count: 0, head: 30, next: null } },
    })
    const at = ['--data-dir', fake.dataDir]
    const [status, modules, configured, called, metrics, explained, json, key, audit, scaled] =
      await Promise.all([
        nexus(['status', ...at]),
        nexus(['modules', ...at]),
        nexus(['configure', 'a/b', 'interval_ms', '5', ...at]),
        nexus(['call', 'a/b/run', '{"path":"x"}', ...at]),
        nexus(['metrics', 'a/b', ...at]),
        nexus(['explain', 'm-1', ...at]),
        nexus(['status', '--json', ...at]),
        nexus(['key', 'show', ...at]),
        nexus(['audit', 'tail', '-n', '5', ...at]),
        nexus(['scale', 'a/b', '3', ...at]),
      ])
    t.match([status.code, status.out], [0, /ready {5}yes\n/])
    t.match([modules.code, modules.out], [0, /^MODULE {2}STATE[\s\S]*\na\/b {5}started {2}healthy {4}1\/1/])
    t.strictSame(modules.out.includes('\u001b'), false, 'no colour in a pipe')
    t.strictSame([configured.code, configured.out], [0, 'a/b: interval_ms 1 → 5, applied live\n'])
    t.strictSame([called.code, JSON.parse(called.out)], [0, { rows: 3 }])
    t.strictSame([metrics.code, metrics.out], [0, 'up 1\n'])
    t.match(
      [explained.code, explained.out],
      [0, /blocked on {2}the lane\n {4}at h\nbecause\n.*it hung\n {6}at f \(a.js:1:2\)\n {6}at g\n/],
    )
    t.strictSame([json.code, JSON.parse(json.out)], [0, STATUS])
    t.match([key.code, key.out, key.err], [0, 'nxk_operator\n', /no terminal/])
    t.strictSame([audit.code, audit.out], [0, ''])
    t.strictSame([scaled.code, scaled.out], [1, 'a/b: 1 → 3 instances, 2 ready; it is started\n'])

    const asked = (url: string) => fake.asked.find((one) => one.url === url)
    t.match(asked('/v1/commands/configure'), {
      authorization: 'Bearer nxt_local',
      body: { module_id: 'a/b', key: 'interval_ms', value: 5 },
    })
    t.strictSame(asked('/v1/commands/call_action')?.body, {
      module_id: 'a/b',
      action: 'run',
      input: { path: 'x' },
    })
    t.strictSame(asked('/v1/commands/get_metrics')?.body, { module_id: 'a/b' })
    t.strictSame(asked('/v1/commands/explain')?.body, { mission_id: 'm-1' })
    t.ok(asked('/v1/audit?after=25&limit=5'), 'the newest five')
  },
)

t.test('create --wait and watch follow a mission by its own facts and exit with its outcome', async (t) => {
  const create = ['missions', 'create', 'g', '--category', 'coin', '--wait', '--data-dir']
  const watch = ['missions', 'watch', 'm-1', '--data-dir']
  const [well, ill, waiting, ended] = await Promise.all([
    daemonWithMission(t, ['queued', 'running', 'completed']),
    daemonWithMission(t, ['queued', 'failed']),
    daemonWithMission(t, ['awaiting_approval']),
    daemonWithMission(t, ['completed']),
  ])
  const [wellRan, illRan, waitingRan, endedRan, impatient] = await Promise.all([
    nexus([...create, well.dataDir]),
    nexus([...watch, ill.dataDir]),
    nexus([...create, waiting.dataDir]),
    nexus([...watch, ended.dataDir, '--json']),
    nexus([...watch, waiting.dataDir, '--timeout', '300ms']),
  ])
  t.match([wellRan.code, wellRan.out], [0, /mission\.ended {2}completed\n[\s\S]*status +completed/])
  t.strictSame(wellRan.out.includes('mission.ended  failed'), false, "another mission's fact is not shown")
  t.match([illRan.code, illRan.out], [1, /status +failed/])
  t.match([waitingRan.code, waitingRan.err], [5, /nexus missions approve m-1/])
  t.match([endedRan.code, JSON.parse(endedRan.out)], [0, { mission_id: 'm-1', status: 'completed' }])
  t.match([impatient.code, impatient.err], [124, /has not ended yet/])
})

t.test(
  'the operator key goes along only where it decides something, and never from an argument',
  async (t) => {
    const runAnswer = { status: 'ok', mission_id: 'm-1', mission: mission('completed') }
    const open = (status: MissionStatus) =>
      FakeNexusd.open(t, {
        'GET /v1/missions/m-1': { status: 200, json: mission(status) },
        'POST /v1/missions/run': { status: 200, json: runAnswer },
        'POST /v1/missions/approve': {
          status: 401,
          json: problem('UNAUTHENTICATED', 'the key is not valid'),
        },
        'POST /v1/missions/cancel': { status: 200, json: mission('cancelled') },
      })
    const [safe, borderline] = await Promise.all([open('queued'), open('awaiting_approval')])
    const file = join(shortDir(t), 'key')
    writeFileSync(file, 'nxk_file\n')
    const run = ['missions', 'run', 'm-1', '--data-dir']
    const withStdin = { input: 'nxk_stdin\n' }
    const ran = [
      await nexus([...run, safe.dataDir]),
      await nexus([...run, borderline.dataDir]),
      await nexus([...run, borderline.dataDir, '--key-file', file]),
      await nexus([...run, borderline.dataDir, '--key-stdin'], withStdin),
      await nexus([...run, borderline.dataDir], { env: { NEXUS_OPERATOR_KEY_FILE: file } }),
      await nexus(['missions', 'cancel', 'm-1', '--data-dir', borderline.dataDir, '--reason', 'no']),
      await nexus(['missions', 'approve', 'm-1', '--data-dir', borderline.dataDir]),
      await nexus([
        'missions',
        'approve',
        'm-1',
        '--socket',
        borderline.socketPath,
        '--data-dir',
        shortDir(t),
      ]),
    ]
    t.strictSame(
      ran.map(({ code }) => code),
      [0, 0, 0, 0, 0, 0, 5, 5],
    )
    const keys = [...safe.asked, ...borderline.asked]
      .filter(({ method }) => method === 'POST')
      .map(({ body }) => (body as { operator_key?: string }).operator_key)
    const fromFolder = 'nxk_operator'
    t.strictSame(keys, [undefined, fromFolder, 'nxk_file', 'nxk_stdin', 'nxk_file', undefined, fromFolder])
    t.match(ran.at(-1)?.err, /needs the operator key\n {2}name its file with --key-file/)
  },
)

t.test('Ctrl-C is exit 130, and a reader who leaves early is no error', async (t) => {
  const line = `${JSON.stringify({ level: 'info', msg: 'said' })}\n`
  const fake = await FakeNexusd.open(t, {
    'GET /v1/logs/a/b': ({ url }, response) => {
      response.writeHead(200, { 'content-type': 'application/x-ndjson' })
      response.write(line)
      if (!url.includes('follow')) response.end()
    },
    'GET /v1/modules': {
      status: 200,
      json: { modules: [{ ...MODULE, because: 'x'.repeat(500_000) }], count: 1 },
    },
  })
  const at = ['--data-dir', fake.dataDir]
  const [once, followed] = await Promise.all([
    nexus(['logs', 'a/b', ...at]),
    nexus(['logs', 'a/b', '-f', ...at], { onOut: (_, kill) => kill('SIGINT') }),
  ])
  t.match([once.code, once.out], [0, /info {2}said\n/])
  t.match([followed.code, followed.out], [130, /info {2}said\n/])
  const left = await nexus(['modules', ...at], { leaveAtOnce: true })
  t.strictSame([left.code, left.err], [0, ''])
})

t.test('--watch shows again when a fact says so, and asks for nothing in between', async (t) => {
  let shown = 0
  const fake = await FakeNexusd.open(t, {
    'GET /v1/modules': () => {
      shown += 1
      return { modules: [{ ...MODULE, restarts: shown }], count: 1 }
    },
    'GET /v1/events': ({ url }, response) => {
      t.match(url, /types=module/)
      streamFacts(response, [])
      fake.routes['say'] = () => streamMore(response)
    },
  })
  const streamMore = (response: { write(text: string): unknown }): void => {
    response.write(`id: 9\nevent: module.crashed\ndata: {"seq":9,"type":"module.crashed"}\n\n`)
  }
  let said = false
  const { code, out } = await nexus(['modules', '--watch', '--data-dir', fake.dataDir], {
    onOut: (text, kill) => {
      if (/ 2 {2}/.test(text)) kill('SIGINT')
      else if (!said) {
        said = true
        const say = fake.routes['say']
        if (typeof say === 'function') say({} as never, {} as never)
      }
    },
  })
  t.strictSame([code, shown, out.match(/^MODULE/gm)?.length], [130, 2, 2])
})

t.test('the journal is verified without a daemon, and damage is told with its place', async (t) => {
  const dataDir = shortDir(t)
  const actor = { kind: 'daemon', name: 'test' } as const
  const draft = (index: number) =>
    encodeDraft({ type: 'daemon.started', actor, d: { index } }, '2026-11-22T10:00:00.000Z')
  const first = sealBatch([draft(1), draft(2)], GENESIS)
  const next = sealBatch([draft(3)], first.link)
  writeFileSync(join(dataDir, 'audit.jsonl'), first.bytes)
  const verify = (...args: string[]) => nexus([...args, '--data-dir', dataDir])
  const [good, nothing] = await Promise.all([
    verify('audit', 'verify', '--json'),
    nexus(['journal', 'verify', '--data-dir', shortDir(t)]),
  ])
  t.match(
    [good.code, JSON.parse(good.out)],
    [0, { ok: true, records: 2, first: 1, last: 2, last_h: first.link.h }],
  )
  t.strictSame(nothing.code, 1)
  appendFileSync(join(dataDir, 'audit.jsonl'), next.bytes.toString().replace('"index":3', '"index":4'))
  const [bad, badJson] = await Promise.all([verify('journal', 'verify'), verify('audit', 'verify', '--json')])
  t.match([bad.code, bad.out], [1, /DAMAGED[\s\S]*sequence number 3/])
  t.match(
    [badJson.code, JSON.parse(badJson.out)],
    [1, { ok: false, damage: { code: 'JOURNAL_DAMAGED', seq: 3 } }],
  )
})

t.test('the runtime check runs a mission on the daemon that runs and reads back what it left', async (t) => {
  const fake = await FakeNexusd.open(t, {
    'GET /livez': { status: 200, json: { live: true, timestamp: 1, daemon_running: true } },
    'GET /v1/modules': { status: 200, json: { modules: [MODULE], count: 1 } },
    'POST /v1/missions/create': { status: 201, json: CREATED },
    'POST /v1/missions/run': () => {
      const ts = Date.now() / 1_000
      appendFileSync(
        join(fake.dataDir, 'runtime_metrics.jsonl'),
        `${JSON.stringify({ ts, cpu_ms: 42, elu: 0.1 })}\n`,
      )
      appendFileSync(
        join(fake.dataDir, 'telemetry.jsonl'),
        `${JSON.stringify({ ts, event: 'mission_ran' })}\n`,
      )
      return { status: 200, json: { status: 'ok', mission_id: 'm-1', mission: mission('completed') } }
    },
    'GET /v1/missions/m-1': { status: 200, json: mission('completed') },
  })
  const old = `${JSON.stringify({ ts: 1, event: 'old' })}\n`
  const bare = await FakeNexusd.open(t, {
    'GET /livez': { status: 200, json: { live: true, timestamp: 1, daemon_running: true } },
    'POST /v1/missions/create': { status: 503, json: problem('JOURNAL_FULL', 'no room', 'make room') },
  })
  writeFileSync(join(bare.dataDir, 'telemetry.jsonl'), old)
  const [well, people, ill] = await Promise.all([
    nexus(['check', '--json', '--data-dir', fake.dataDir]),
    nexus(['check', '--socket', fake.socketPath]),
    nexus(['check', '--json', '--data-dir', bare.dataDir]),
  ])
  const report = JSON.parse(well.out)
  t.match(
    [well.code, report],
    [
      0,
      {
        status: 'ok',
        mission: { created: { mission_id: 'm-1', decision: 'SAFE' }, ran: { status: 'ok' } },
        last_runtime_metric: { cpu_ms: 42 },
        last_telemetry: { event: 'mission_ran' },
        busy_loops_detected: [],
        issues: [],
        next_steps: [],
      },
    ],
  )
  t.strictSame(Object.keys(report), [
    'status',
    'wall_ms',
    'mission',
    'last_runtime_metric',
    'last_telemetry',
    'busy_loops_detected',
    'issues',
    'next_steps',
  ])
  t.match(
    [people.code, people.out],
    [0, /^=== RUNTIME CHECK ===\nstatus: ok\nwall_ms: \d+\.\d\d\nmission create\/run: \{"created"/],
  )
  t.match(
    [ill.code, JSON.parse(ill.out)],
    [
      1,
      {
        status: 'failed',
        mission: { created: null, ran: { status: 'failed', code: 'JOURNAL_FULL' } },
        last_runtime_metric: null,
        last_telemetry: null,
        issues: ['mission_run_failed', 'missing_runtime_metrics', 'missing_telemetry'],
        next_steps: [/operator key/, /emit metrics/, /writable/, /looked for in/, /make room/],
      },
    ],
  )
})
