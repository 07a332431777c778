import { spawnSync } from 'node:child_process'
import { constants, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Fact } from '../../daemon/contracts/fact.ts'
import type { ModuleStatus, PortStatus } from '../../daemon/contracts/status.ts'
import { LineSink } from '../../daemon/telemetry/line-sink.ts'
import { createLog } from '../../daemon/telemetry/log.ts'
import { Meters } from '../../daemon/telemetry/meters.ts'
import { RecentLines } from '../../daemon/telemetry/recent-lines.ts'
import { type RoundSample, TelemetryRecorder } from '../../daemon/telemetry/recorder.ts'
import { processSampler } from '../../daemon/telemetry/sample.ts'
import { shortDir } from '../support/short-dir.ts'
import { TestClock } from '../support/test-clock.ts'

const KEY = 'nxk_0123456789abcdefghijklmnop'
const factOf = (type: string, d: object, mid?: string): Fact => ({
  v: 1,
  seq: 7,
  b: 7,
  ts: '2026-11-22T10:00:00.000Z',
  h: '',
  type,
  ...(mid !== undefined && { mid }),
  actor: { kind: 'daemon', name: 'test' },
  d: d as Fact['d'],
})

function logTo(lines: string[], pretty = false, level: 'debug' | 'info' = 'info') {
  return createLog({ clock: new TestClock(), level, pretty, sink: { write: (line) => lines.push(line) } })
}

t.test('a log line is one JSON object with words and UTC', async (t) => {
  const lines: string[] = []
  const log = logTo(lines)
  log.with({ module: 'a/b' }).warn('slow\nsecond line', { mission_id: 'm-1' })
  t.strictSame(
    lines.map((line) => JSON.parse(line)),
    [
      {
        level: 'warn',
        time: '2026-11-22T10:00:00.000Z',
        module: 'a/b',
        mission_id: 'm-1',
        msg: 'slow\nsecond line',
      },
    ],
  )
  t.equal(lines[0]?.indexOf('\n'), (lines[0]?.length ?? 0) - 1, 'the only newline is the last')
})

t.test('no secret is ever logged, by name or by look', async (t) => {
  const lines: string[] = []
  for (const pretty of [false, true]) {
    const log = logTo(lines, pretty)
    log.info(`the key is ${KEY}`, {
      operator_key: 'hush',
      headers: { authorization: 'hush', 'x-operator-key': 'hush' },
      request: { body: { token: 'hush' } },
      err: new Error(`bad key ${KEY}`),
    })
    log.with({ operator_key: 'hush' }).info('nexusmon_sovereign_key')
  }
  t.equal(lines.length, 4)
  t.notMatch(lines.join(''), /hush|nxk_0123|sovereign/)
})

t.test('the level changes for logs that were made before', async (t) => {
  const lines: string[] = []
  const log = logTo(lines)
  const child = log.with({ module: 'a/b' })
  child.debug('unheard')
  log.setLevel('debug')
  child.debug('heard')
  t.strictSame(
    lines.map((line) => JSON.parse(line).msg),
    ['heard'],
  )
})

t.test('on a terminal a line is plain, and nothing in it moves the cursor', async (t) => {
  const lines: string[] = []
  logTo(lines, true).info('hello \u001b[2J\nworld', { module: 'a/\u001b[31mb', n: { a: 1 } })
  const [line = ''] = lines
  t.match(line, /10:00:00\.000.* INFO .*hello ·\[2J·world.* module=a\/·\[31mb n=\{"a":1\}/)
  t.equal(line.split('\n').length, 2)
})

t.test('a full pipe loses lines, says how many, and never half of one', async (t) => {
  const dir = shortDir(t)
  const path = join(dir, 'pipe')
  spawnSync('mkfifo', [path])
  const readEnd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const sink = new LineSink(openSync(path, constants.O_WRONLY))
  const line = `${'x'.repeat(9_999)}\n`
  for (let count = 0; count < 20; count += 1) sink.write(line)

  const buffer = Buffer.alloc(1_048_576)
  let text = buffer.toString('utf8', 0, readSync(readEnd, buffer))
  sink.write('after\n')
  text += buffer.toString('utf8', 0, readSync(readEnd, buffer))
  const lines = text.split('\n')
  const whole = lines.filter((given) => given.length === 9_999).length
  t.ok(whole >= 6 && whole < 20, `${whole} lines fitted`)
  t.strictSame(lines.slice(whole), [
    JSON.stringify({ level: 'warn', msg: `${20 - whole} log lines were lost: the pipe was full` }),
    'after',
    '',
  ])
})

t.test('a reader that has gone, and no descriptor at all, cost nothing', async (t) => {
  const errors = ['EPIPE', 'EBADF', 'EIO', 'ENOSPC']
  for (const code of errors) {
    const sink = new LineSink(1, () => {
      throw Object.assign(new Error(code), { code })
    })
    sink.write('one\n')
    sink.write('two\n')
  }
  t.pass(`${errors.length} kinds of loss`)
})

function statusOf(id: string, part: object = {}): ModuleStatus {
  return {
    module_id: id,
    state: 'started',
    health: { status: 'healthy', reason: null },
    replicas: { desired: 1, ready: 1 },
    instances: [
      { memory_bytes: 100, loop_lag_ms: 5 },
      { memory_bytes: 50, loop_lag_ms: 20 },
    ],
    ...part,
  } as unknown as ModuleStatus
}

function metersOver(
  modules: () => readonly ModuleStatus[],
  ports: () => readonly (PortStatus & { module: string })[] = () => [],
) {
  return new Meters({
    version: '0.1.0',
    modules,
    ports,
    queueDepth: () => ({ coin: 3 }),
    staleWrites: () => 2,
    approvalsPending: () => 2,
    approvalsOldestSeconds: () => 90,
    omens: () => ({ warn: 1 }),
    briers: () => ({ mission: 0.25 }),
    publishedKeyActive: () => false,
  })
}

const seriesOf = (text: string, name: RegExp): string[] =>
  text.split('\n').filter((line) => !line.startsWith('#') && name.test(line) && !line.includes('_bucket'))

t.test('facts become counts with labels from fixed sets', async (t) => {
  const meters = metersOver(() => [])
  meters.fold(factOf('module.crashed', { module_id: 'a/b', how: 'exited' }))
  meters.fold(factOf('module.crashed', { module_id: 'a/b', how: 'a reason nobody foresaw' }))
  meters.fold(factOf('module.hung', { module_id: 'a/b' }))
  meters.fold(factOf('module.reloaded', { module_id: 'a/b', strategy: 'graceful', duration_ms: 1_500 }))
  meters.fold(
    factOf('mission.created', { category: 'coin', goal: 'g', validation: { decision: 'BORDERLINE' } }),
  )
  meters.fold(
    factOf('mission.ended', { category: 'coin', decision: 'SAFE', status: 'completed', duration_ms: 2_000 }),
  )
  meters.fold(factOf('mission.claimed', { queue_wait_ms: 250 }))
  meters.fold(factOf('mission.ended', {}))
  t.strictSame(
    seriesOf(
      await meters.text(),
      /^nexus_(module_re|missions_|mission_(dur|queue_wait)|journal_appends)/,
    ).sort(),
    [
      'nexus_journal_appends_total 8',
      'nexus_mission_duration_seconds_count{category="coin"} 1',
      'nexus_mission_duration_seconds_sum{category="coin"} 2',
      'nexus_mission_queue_wait_seconds_count 1',
      'nexus_mission_queue_wait_seconds_sum 0.25',
      'nexus_missions_total{category="coin",decision="BORDERLINE",status="awaiting_approval"} 1',
      'nexus_missions_total{category="coin",decision="SAFE",status="completed"} 1',
      'nexus_missions_total{category="other",decision="other",status="other"} 1',
      'nexus_module_reload_duration_seconds_count{module="a/b"} 1',
      'nexus_module_reload_duration_seconds_sum{module="a/b"} 1.5',
      'nexus_module_reloads_total{module="a/b",strategy="graceful",outcome="reloaded"} 1',
      'nexus_module_restarts_total{module="a/b",reason="exited"} 1',
      'nexus_module_restarts_total{module="a/b",reason="hung"} 1',
      'nexus_module_restarts_total{module="a/b",reason="other"} 1',
    ],
  )
})

t.test('gauges show what is true at the scrape, and a module that is gone leaves nothing', async (t) => {
  let modules = [statusOf('a/b'), statusOf('c/d', { state: 'crashloop', health: { status: 'unhealthy' } })]
  const meters = metersOver(() => modules)
  const gauges = /^nexus_(module_(state|health|memory|event)|mission_queue_depth|approvals|omens|prediction)/
  t.strictSame(seriesOf(await meters.text(), gauges).sort(), [
    'nexus_approvals_oldest_seconds 90',
    'nexus_approvals_pending 2',
    'nexus_mission_queue_depth{lane="coin"} 3',
    'nexus_module_event_loop_lag_seconds{module="a/b"} 0.02',
    'nexus_module_event_loop_lag_seconds{module="c/d"} 0.02',
    'nexus_module_health{module="a/b",status="healthy"} 1',
    'nexus_module_health{module="c/d",status="unhealthy"} 1',
    'nexus_module_memory_bytes{module="a/b"} 150',
    'nexus_module_memory_bytes{module="c/d"} 150',
    'nexus_module_state{module="a/b",state="started"} 1',
    'nexus_module_state{module="c/d",state="crashloop"} 1',
    'nexus_omens_active{level="warn"} 1',
    'nexus_prediction_brier{kind="mission"} 0.25',
  ])
  modules = []
  t.strictSame(seriesOf(await meters.text(), /module=/), [])
})

t.test('ports are counted where connections are taken, and read at each scrape', async (t) => {
  const port = { module: 'a/b', name: 'web', host: '127.0.0.1', port: 8080 }
  let ports = [{ ...port, open: 2, waiting: 1, accepted: 9, refused: 3 }]
  const meters = metersOver(
    () => [],
    () => ports,
  )
  await meters.text()
  ports = [{ ...port, open: 1, waiting: 0, accepted: 10, refused: 3 }]
  t.strictSame(seriesOf(await meters.text(), /^nexus_port/), [
    'nexus_port_connections{module="a/b",port="8080"} 1',
    'nexus_port_waiting{module="a/b",port="8080"} 0',
    'nexus_port_accepted_total{module="a/b",port="8080"} 10',
    'nexus_port_refused_total{module="a/b",port="8080"} 3',
  ])
  ports = []
  t.strictSame(seriesOf(await meters.text(), /^nexus_port/), [])
})

t.test('the text of one module has its series and no other', async (t) => {
  const meters = metersOver(() => [statusOf('a/b'), statusOf('a/bc')])
  const text = await meters.text('a/b')
  t.match(text, 'nexus_module_state{module="a/b",state="started"} 1')
  t.notMatch(text, /a\/bc|process_|approvals/)
})

t.test("modules' own metrics are bounded in name, number and kind", async (t) => {
  const meters = metersOver(() => [])
  const measured = (
    module: string,
    kind: 'counter' | 'gauge' | 'histogram',
    name: string,
    ...values: number[]
  ) => meters.measured(module, { samples: [{ kind, name, help: '', values }] })
  measured('a/b', 'counter', 'beats', 1, 2)
  measured('c/d', 'counter', 'beats_total', 5)
  measured('a/b', 'gauge', 'load_total', 0.5)
  measured('c/d', 'histogram', 'load', 1)
  measured('a/b', 'gauge', 'Bad Name', 1)
  measured('a/b', 'counter', 'beats', -1, Number.NaN)
  for (let n = 0; n < 100; n += 1) measured('e/f', 'gauge', `made_up_${n}`, n)
  const text = await meters.text()
  t.strictSame(seriesOf(text, /^nexus_module_custom_(?!made)/).sort(), [
    'nexus_module_custom_beats_total{module="a/b"} 3',
    'nexus_module_custom_beats_total{module="c/d"} 5',
    'nexus_module_custom_dropped_total{module="a/b"} 3',
    'nexus_module_custom_dropped_total{module="c/d"} 1',
    'nexus_module_custom_dropped_total{module="e/f"} 50',
    'nexus_module_custom_load{module="a/b"} 0.5',
  ])
  t.equal(seriesOf(text, /made_up/).length, 50)
})

const promtool = spawnSync('promtool', ['--version']).error === undefined
const skip = promtool ? false : 'promtool is not installed (Debian: apt-get install prometheus)'

t.test('promtool has nothing to say about the whole text', { skip }, async (t) => {
  const meters = metersOver(() => [statusOf('a/b')])
  meters.fold(factOf('module.crashed', { module_id: 'a/b', how: 'exited' }))
  meters.journalSynced(2, 5)
  meters.passed({ command: 'reload_module', outcome: 'done' })
  meters.called('a/b', 'collect', 5)
  meters.answered({ method: 'GET', route: '/livez', status: 200, durationMs: 1 })
  meters.measured('a/b', { samples: [{ kind: 'counter', name: 'beats', help: 'Beats.', values: [1] }] })
  const text = await meters.text()
  t.notMatch(text, /nodejs_active_(handles|requests|resources)_total/)
  const { status, stderr } = spawnSync('promtool', ['check', 'metrics'], {
    input: text,
    encoding: 'utf8',
  })
  t.strictSame([status, stderr], [0, ''])
})

function recorderOn(clock: TestClock, { lost = (): number => 0 } = {}) {
  const written = { telemetry: [] as object[], runtime: [] as object[], lost: [] as number[] }
  const sample = { cpu_ms: 42, rss_bytes: 1_000, loop_lag_ms: 0.5, elu: 0.01 }
  const logOf = (lines: object[], losing: () => number) => ({
    append: (line: object) => lines.push(line),
    get lost() {
      return losing()
    },
  })
  const recorder = new TelemetryRecorder({
    clock,
    telemetry: logOf(written.telemetry, lost),
    runtimeMetrics: logOf(written.runtime, () => 0),
    sample: () => sample,
    lostLines: (count) => written.lost.push(count),
  })
  return { recorder, sample, ...written }
}

t.test('telemetry names a mission that ran, and measures after it and every ten seconds', async (t) => {
  const clock = new TestClock()
  const { recorder, telemetry, runtime, sample } = recorderOn(clock)
  recorder.start()
  await clock.pass(25_000)
  const outcome = { status: 'completed', duration_ms: 12, success: true, tokens: ['a'], ts: 'not this' }
  recorder.fold(factOf('mission.ended', outcome, 'm-1'))
  recorder.fold(factOf('module.hung', { module_id: 'a/b' }))
  t.strictSame(telemetry, [], 'what comes close together goes out together')
  await clock.pass(100)
  t.strictSame(telemetry, [
    {
      ts: 1_795_341_600,
      event: 'mission_ran',
      seq: 7,
      mission_id: 'm-1',
      status: 'completed',
      duration_ms: 12,
      success: true,
    },
    { ts: 1_795_341_600, event: 'module_hung', seq: 7, module_id: 'a/b' },
  ])
  const startS = Date.UTC(2026, 10, 22, 10) / 1_000
  t.strictSame(runtime, [
    { ts: startS, ...sample, interval_ms: 0 },
    { ts: startS + 10, ...sample, interval_ms: 10_000 },
    { ts: startS + 20, ...sample, interval_ms: 10_000 },
    { ts: startS + 25, ...sample, interval_ms: 5_000, missions_ended: 1 },
  ])
  recorder.stop()
  t.equal(clock.waiting, 0)
})

t.test('a flood of facts costs twenty lines a second of each type, and the rest is counted', async (t) => {
  const clock = new TestClock()
  const { recorder, telemetry, runtime } = recorderOn(clock)
  recorder.start()
  let seq = 0
  for (let n = 0; n < 1_000; n += 1) {
    recorder.fold({ ...factOf('mission.claimed', { n }, 'm-1'), seq: ++seq })
    recorder.fold({ ...factOf('mission.ended', { n }, 'm-1'), seq: ++seq })
    if (n % 100 === 99) await clock.pass(99)
  }
  recorder.fold({ ...factOf('module.hung', { module_id: 'a/b' }), seq: ++seq })
  await clock.pass(1_000)
  const lines = telemetry as { event: string; count?: number; first_seq?: number; last_seq?: number }[]
  const events = (name: string) => lines.filter(({ event }) => event === name)
  t.equal(events('mission_ran').length, 21)
  t.strictSame(
    lines.filter(({ count }) => count !== undefined).map(({ count, ...line }) => [line.event, count]),
    [
      ['mission_claimed', 980],
      ['mission_ran', 980],
    ],
  )
  t.match(events('mission_ran').at(-1), { first_seq: 42, last_seq: 2_000 })
  t.equal(events('module_hung').length, 1, 'a rare one is not crowded out')

  const ended = (runtime as { missions_ended?: number }[]).map((line) => line.missions_ended ?? 0)
  t.equal(
    ended.reduce((sum, count) => sum + count, 0),
    1_000,
    'each mission is covered by a sample after it',
  )
  t.ok(ended.length >= 10 && ended.length <= 12, `${ended.length} samples in a second`)
  recorder.stop()
})

t.test('what still waits when it stops is written, and nothing rings afterwards', async (t) => {
  const clock = new TestClock()
  const { recorder, telemetry, runtime } = recorderOn(clock)
  recorder.start()
  for (let n = 0; n < 25; n += 1) recorder.fold(factOf('mission.ended', { n }, 'm-1'))
  recorder.stop()
  t.equal(telemetry.length, 21)
  t.match(telemetry.at(-1), { event: 'mission_ran', count: 5 })
  t.match(runtime.at(-1), { missions_ended: 25 })
  t.equal(clock.waiting, 0)
})

t.test(
  'the listeners of the round are told of the whole ten seconds, whatever was sampled between',
  async (t) => {
    const clock = new TestClock()
    const { recorder } = recorderOn(clock)
    const heard: RoundSample[] = []
    recorder.onSample((sample) => heard.push(sample))
    recorder.start()
    await clock.pass(4_000)
    recorder.fold(factOf('mission.ended', {}, 'm-1'))
    await clock.pass(6_000)
    const ts = Date.UTC(2026, 10, 22, 10, 0, 10) / 1_000
    // The one at the start is of no length, and its processor time belongs to it.
    t.strictSame(heard, [
      { ts, cpu_ms: 126, rss_bytes: 1_000, loop_lag_ms: 0.5, elu: 0.01, interval_ms: 10_000 },
    ])
    recorder.stop()
  },
)

t.test('lines that were lost are told once, as a line and to whoever counts', async (t) => {
  const clock = new TestClock()
  let gone = 0
  const { recorder, telemetry, lost } = recorderOn(clock, { lost: () => gone })
  recorder.start()
  await clock.pass(10_100)
  t.strictSame(telemetry, [])
  gone = 7
  await clock.pass(30_000)
  t.match(telemetry, [{ event: 'telemetry_lost', lines: 7 }])
  t.strictSame(lost, [7])
  recorder.stop()
})

t.test('a sample of this process is finite and not negative', async (t) => {
  const sample = processSampler()
  sample()
  const values = Object.entries(sample())
  t.strictSame(
    values.map(([name]) => name),
    ['cpu_ms', 'rss_bytes', 'loop_lag_ms', 'elu'],
  )
  t.ok(values.every(([, value]) => Number.isFinite(value) && value >= 0))
})

t.test('recent lines are bounded, and followers stop hearing when they leave', async (t) => {
  const lines = new RecentLines()
  const heard: object[] = []
  for (let n = 0; n < 600; n += 1) lines.keep('a/b', { n })
  const leave = lines.subscribe('a/b', (line) => heard.push(line))
  lines.keep('a/b', { n: 600 })
  lines.keep('c/d', { n: 0 })
  leave()
  lines.keep('a/b', { n: 601 })
  t.strictSame(heard, [{ n: 600 }])
  t.strictSame(lines.recent('a/b', 2), [{ n: 600 }, { n: 601 }])
  t.equal(lines.recent('a/b', 1_000).length, 500)
  t.strictSame(lines.recent('a/b', 0), [])
})
