import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { DaemonError, DaemonUnreachable } from '../../aeon-interface/refusal.ts'
import { WireFault } from '../../aeon-interface/wire.ts'
import { parseAction, parseDuration, parseInteger, parseJson, parseValue } from '../../bin/cli/arguments.ts'
import { type CheckFindings, checkText, findSuspects, judgeCheck } from '../../bin/cli/check-report.ts'
import { findPlaces, openCli } from '../../bin/cli/cli.ts'
import { hide } from '../../bin/cli/config.ts'
import { EventParser } from '../../bin/cli/events.ts'
import { CliError, exitFor, tell } from '../../bin/cli/exit.ts'
import { omensText, predictionsText, runesText, skillText } from '../../bin/cli/insight.ts'
import { namedKey, operatorKey } from '../../bin/cli/key.ts'
import { Fresh, logText } from '../../bin/cli/logs.ts'
import { missionsText, missionText, progressText, validationText } from '../../bin/cli/mission-text.ts'
import { createBody } from '../../bin/cli/missions.ts'
import { explanationText, reloadSentence } from '../../bin/cli/module-text.ts'
import { jsonLines, readEnd } from '../../bin/cli/tail.ts'
import { age, clean, duration, fields, size, table } from '../../bin/cli/text.ts'
import { NexusError } from '../../daemon/contracts/failure.ts'
import type { MissionDetail } from '../../daemon/contracts/mission.ts'
import { shortDir } from '../support/short-dir.ts'

t.test('every way to fail has the exit code that scripts rely on', async (t) => {
  const refused = (code: string, status: number) => new DaemonError({ message: '', code, status, remedy: '' })
  const cases: [unknown, number][] = [
    [new CliError('usage', ''), 2],
    [new DaemonUnreachable(new WireFault('unreachable', '/s')), 3],
    [new DaemonUnreachable(new WireFault('broken', '/s')), 3],
    [new DaemonUnreachable(new WireFault('silent', '/s', 900)), 124],
    [refused('BAD_REQUEST', 400), 2],
    [refused('UNAUTHENTICATED', 401), 5],
    [refused('PERMISSION_DENIED', 403), 5],
    [refused('APPROVAL_REQUIRED', 403), 5],
    [refused('MODULE_UNKNOWN', 404), 4],
    [refused('MISSION_UNKNOWN', 404), 4],
    [refused('ROUTE_UNKNOWN', 404), 1],
    [refused('MISSION_WRONG_STATE', 409), 6],
    [refused('RELOAD_ROLLED_BACK', 409), 1],
    [refused('MODULE_START_FAILED', 409), 1],
    [refused('ACTION_FAILED', 502), 1],
    [refused('CALL_EXPIRED', 504), 124],
    [refused('JOURNAL_UNAVAILABLE', 503), 1],
    [new NexusError('CONFIG_INVALID', { file: 'nexus.yaml', detail: 'no' }), 2],
    [new Error('a bug'), 1],
  ]
  t.strictSame(
    cases.map(([error]) => exitFor(error)),
    cases.map(([, code]) => code),
  )
})

t.test('a failure is told as a sentence and a remedy, a bug with the place it happened', async (t) => {
  t.strictSame(tell(new CliError('failed', 'it broke', 'mend it')), 'nexus: it broke\n  mend it')
  t.strictSame(tell(new CliError('failed', 'it broke')), 'nexus: it broke')
  t.match(tell(new TypeError('a bug')), /TypeError: a bug\n\s+at /)
})

t.test('a flag wins over the environment, and socket and data folder tell each other', async (t) => {
  const environment = { NEXUS_SOCKET: '/e/run/nexus.sock', NEXUS_DATA_DIR: '/f' }
  const places = [
    findPlaces({}, {}),
    findPlaces({ socket: '/a/run/x.sock' }, environment),
    findPlaces({ dataDir: '/b' }, environment),
    findPlaces({ socket: '/a/run/x.sock', dataDir: '/b' }, environment),
    findPlaces({}, environment),
    findPlaces({}, { NEXUS_DATA_DIR: '/f' }),
  ]
  t.strictSame(
    places.map(({ socketPath, dataDir, dataDirNamed }) => [socketPath, dataDir, dataDirNamed]),
    [
      ['data/run/nexus.sock', 'data', false],
      ['/a/run/x.sock', '/a', true],
      ['/b/run/nexus.sock', '/b', true],
      ['/a/run/x.sock', '/b', true],
      ['/e/run/nexus.sock', '/e', true],
      ['/f/run/nexus.sock', '/f', true],
    ],
  )
})

t.test('what cannot be understood on the command line is refused before anything is asked', async (t) => {
  const dir = shortDir(t)
  writeFileSync(join(dir, 'plan.json'), '[{"id":"a"}]')
  t.strictSame(
    ['90', '30s', '500ms', '1.5m', '1h'].map(parseDuration),
    [90_000, 30_000, 500, 90_000, 3_600_000],
  )
  t.strictSame(parseJson(`@${join(dir, 'plan.json')}`, '--plan'), [{ id: 'a' }])
  t.strictSame(['5', '"a b"', 'fast', '/a/b', '[1]'].map(parseValue), [5, 'a b', 'fast', '/a/b', [1]])
  t.strictSame(parseAction('a/b/c'), { module_id: 'a/b', action: 'c' })
  const wrong = [
    () => parseDuration('0'),
    () => parseDuration('soon'),
    () => parseDuration('-1s'),
    () => parseJson('{', '--input'),
    () => parseJson(`@${join(dir, 'none')}`, '--input'),
    () => parseValue('{a'),
    () => parseValue('two words'),
    () => parseInteger('1.5', '--lines', 1, 9),
    () => parseInteger('10', '--lines', 1, 9),
    () => parseAction('a/b'),
    () => parseAction('a/b/c/d'),
  ]
  for (const call of wrong) t.throws(call, { name: 'CliError', exit: 'usage' }, String(call))
})

t.test('create sends what was said and leaves out what was not', async (t) => {
  t.strictSame(createBody('g', { category: 'coin' }), { goal: 'g', category: 'coin' })
  const all = {
    category: 'coin',
    input: '{"path":"a.csv"}',
    maxTime: '60',
    maxSteps: '3',
    plan: '[]',
    priority: '9',
    notBefore: '2026-11-22T10:00:00Z',
    expectedValue: '12.5',
    maxAttempts: '1',
  }
  t.strictSame(createBody('g', all), {
    goal: 'g',
    category: 'coin',
    constraints: { max_time_seconds: 60, max_steps: 3 },
    input: { path: 'a.csv' },
    plan: [],
    priority: 9,
    not_before: '2026-11-22T10:00:00Z',
    expected_value: 12.5,
    max_attempts: 1,
  })
  t.throws(() => createBody('g', { category: 'coin', maxTime: 'long' }), { name: 'CliError', exit: 'usage' })
  t.throws(() => createBody('g', { category: 'coin', expectedValue: 'much' }), {
    name: 'CliError',
    exit: 'usage',
  })
})

t.test('a table is aligned, whole when piped, and cut at the edge of a terminal', async (t) => {
  const rows = [
    { name: 'a', count: 7, say: 'short' },
    { name: 'longer', count: 1_234, say: 'a sentence that goes on and on' },
  ]
  const columns = [
    { head: 'NAME', cell: ({ name }: { name: string }) => name },
    { head: 'COUNT', align: 'right', cell: ({ count }: { count: number }) => String(count) },
    { head: 'SAY', cell: ({ say }: { say: string }) => say },
  ] as const
  t.strictSame(table(columns, rows, undefined).split('\n'), [
    'NAME    COUNT  SAY',
    'a           7  short',
    'longer   1234  a sentence that goes on and on',
    '',
  ])
  t.strictSame(table(columns, rows, 30).split('\n')[2], 'longer   1234  a sentence tha…')
})

t.test('text of others cannot move the cursor or forge a line', async (t) => {
  t.strictSame(clean('a\u001b[2J\u001b]0;x\u0007b\r\nc\u009bd'), 'ab c d')
  t.strictSame(
    fields([
      ['goal', 'one\ntwo'],
      ['none', undefined],
    ]),
    'goal  one two\n',
  )
  t.strictSame(table([{ head: 'A', cell: (text: string) => text }], ['x\ny'], undefined), 'A\nx y\n')
})

t.test('ages, durations and sizes say as much as one needs', async (t) => {
  const second = 1_000
  t.strictSame(
    [0, 59, 60, 3_599, 3_600, 172_799, 172_800].map((seconds) => age(seconds * second)),
    ['0s', '59s', '1m', '59m', '1h', '47h', '2d'],
  )
  t.strictSame(age(-5), '0s')
  t.strictSame([null, 0, 850, 1_234, 200_000].map(duration), ['-', '0ms', '850ms', '1.2s', '3m'])
  t.strictSame([0, 1_023, 1_024, 11.25 * 1_048_576].map(size), ['0 B', '1023 B', '1.0 KiB', '11.3 MiB'])
})

t.test('events are read whole from any pieces, comments left out', async (t) => {
  const text =
    'id: 1\nevent: mission.created\ndata: {"ö":1}\n\n:\n\nevent: lagged\r\ndata: {}\r\n\r\ndata: a\ndata: b\n\nevent: cut\ndata: x'
  for (const step of [1, 7, 1_000]) {
    const events: object[] = []
    const parser = new EventParser((event) => events.push(event))
    const bytes = Buffer.from(text)
    for (let at = 0; at < bytes.length; at += step) parser.feed(bytes.subarray(at, at + step))
    t.strictSame(events, [
      { event: 'mission.created', data: '{"ö":1}' },
      { event: 'lagged', data: '{}' },
      { event: 'message', data: 'a\nb' },
    ])
  }
})

t.test(
  'the operator key comes from the file that was named first, and from nowhere when it is not there',
  async (t) => {
    const dataDir = shortDir(t)
    writeFileSync(join(dataDir, 'operator_pin.txt'), 'nxk_folder\n')
    writeFileSync(join(dataDir, 'flag'), 'nxk_flag')
    writeFileSync(join(dataDir, 'env'), 'nxk_env\n')
    writeFileSync(join(dataDir, 'empty'), '\n')
    const environment = { NEXUS_OPERATOR_KEY_FILE: join(dataDir, 'env') }
    const flag = openCli({ dataDir, keyFile: join(dataDir, 'flag') })
    t.strictSame(namedKey(flag, environment), 'nxk_flag')
    t.strictSame(namedKey(openCli({ dataDir }), environment), 'nxk_env')
    t.strictSame(namedKey(openCli({ dataDir }), {}), undefined)
    t.strictSame(operatorKey(openCli({ dataDir })), 'nxk_folder')
    t.throws(() => operatorKey(openCli({ dataDir: join(dataDir, 'none') })), {
      name: 'CliError',
      exit: 'denied',
      remedy: /--key-file/,
    })
    t.throws(() => namedKey(openCli({ dataDir, keyFile: join(dataDir, 'none') })), {
      name: 'CliError',
      exit: 'failed',
    })
    t.throws(() => namedKey(openCli({ dataDir, keyFile: join(dataDir, 'empty') })), {
      name: 'CliError',
      exit: 'usage',
    })
  },
)

const WELL: CheckFindings = {
  wallMs: 123.456,
  created: { mission_id: 'm-1' },
  ran: { status: 'ok' },
  missionEndedWell: true,
  lastRuntimeMetric: { ts: 2, cpu_ms: 42 },
  lastTelemetry: { ts: 2, event: 'mission_ran' },
  busyLoops: [],
  notes: ['looked there'],
}

t.test('the runtime check has exactly the keys and the form of the specification', async (t) => {
  const report = judgeCheck(WELL)
  t.strictSame(report, {
    status: 'ok',
    wall_ms: 123.46,
    mission: { created: { mission_id: 'm-1' }, ran: { status: 'ok' } },
    last_runtime_metric: { ts: 2, cpu_ms: 42 },
    last_telemetry: { ts: 2, event: 'mission_ran' },
    busy_loops_detected: [],
    issues: [],
    next_steps: [],
  })
  t.strictSame(
    checkText(report),
    [
      '=== RUNTIME CHECK ===',
      'status: ok',
      'wall_ms: 123.46',
      'mission create/run: {"created":{"mission_id":"m-1"},"ran":{"status":"ok"}}',
      'last_runtime_metric: {"ts":2,"cpu_ms":42}',
      'last_telemetry: {"ts":2,"event":"mission_ran"}',
      'busy_loops_detected: none',
      '',
    ].join('\n'),
  )
})

t.test(
  'each thing that is missing is an issue of its own, and only a bad mission is a failure',
  async (t) => {
    const busy = [{ where: 'a/b#1', seen: '100 %' }]
    const cases: [Partial<CheckFindings>, string, string[]][] = [
      [{ missionEndedWell: false }, 'failed', ['mission_run_failed']],
      [{ lastRuntimeMetric: null }, 'warning', ['missing_runtime_metrics']],
      [{ lastTelemetry: null }, 'warning', ['missing_telemetry']],
      [{ busyLoops: busy }, 'warning', ['busy_loops_detected']],
      [
        { missionEndedWell: false, lastTelemetry: null },
        'failed',
        ['mission_run_failed', 'missing_telemetry'],
      ],
    ]
    for (const [change, status, issues] of cases) {
      const report = judgeCheck({ ...WELL, ...change })
      t.match(report, { status, issues })
      t.strictSame(report.next_steps.length, issues.length + 1)
    }
    const text = checkText(judgeCheck({ ...WELL, busyLoops: busy }))
    t.match(
      text,
      /busy_loops_detected: a\/b#1 \(100 %\)\nissues: busy_loops_detected\nnext_steps:\n {2}- busy_loops/,
    )
  },
)

t.test('a loop is suspected when it does not rest and the daemon has not told of it', async (t) => {
  const look = (instance: string, restless_ms: number) => ({ instances: [{ instance, restless_ms }] })
  const modules = [look('a/b#1', 999), look('a/c#1', 1_000), look('a/d#1', 30_000), look('a/e#2', 9_000), {}]
  const told = [{ where: 'a/d#1 or a/e#2', seen: '' }]
  t.strictSame(findSuspects(modules, told), ['a/c#1'])
  t.strictSame(findSuspects(modules, []), ['a/c#1', 'a/d#1', 'a/e#2'])
  t.strictSame(findSuspects([], told), [])
})

t.test('the end of a file is its last whole lines', async (t) => {
  const file = join(shortDir(t), 'lines')
  t.strictSame(await readEnd(file), [])
  writeFileSync(file, '{"a":1}\nnot json\n[2]\n{"a":2}\n{"cut":')
  t.strictSame(jsonLines(await readEnd(file)), [{ a: 1 }, [2], { a: 2 }])
  writeFileSync(file, `${`{"a":"${'x'.repeat(1_000)}"}\n`.repeat(100)}{"last":1}\n`)
  const lines = await readEnd(file)
  t.strictSame(
    [lines.length < 70, jsonLines(lines).length === lines.length, lines.at(-1)],
    [true, true, '{"last":1}'],
  )
})

t.test('a judgement shows axes, gates, reasons and the cheapest change', async (t) => {
  const axis = {
    value: 50,
    weight: 0.25,
    points_lost: 17.3,
    n: 4,
    source: 'history',
    evidence: ['m-1', 'm-2'],
  }
  const text = validationText({
    decision: 'BORDERLINE',
    score: 55,
    axes: { trust: axis },
    gates: [{ gate: 'G1', because: 'q10 is below 0.5' }],
    reasons: ['few outcomes'],
    counterfactual: { sentence: 'trust at 60 would reach 60' },
    predicted: 0.7,
    scorer_version: 1,
  })
  t.strictSame(text.split('\n'), [
    'AXIS   VALUE  WEIGHT  LOST  N  SOURCE   EVIDENCE',
    'trust   50.0    0.25  17.3  4  history  m-1 m-2',
    'gate G1: q10 is below 0.5',
    'because few outcomes',
    'would help: trust at 60 would reach 60',
    '',
  ])
})

t.test('modules, omens, predictions and runes are told in words', async (t) => {
  const reload = {
    module_id: 'a/b',
    reloaded: false,
    strategy: 'graceful',
    generation: 'a'.repeat(64),
    previous_generation: 'a'.repeat(64),
    rolled_back: true,
    duration_ms: 1_500,
    downtime_ms: 0,
    phase: 'settle',
    reason: 'it died',
  }
  t.strictSame(reloadSentence(reload), 'rolled back to aaaaaaaaaaaa (settle: it died), 1.5s, 0ms down')
  const nowMs = Date.UTC(2026, 10, 22, 10)
  const at = '2026-11-22T09:57:00.000Z'
  const because = [{ at, seq: 5, type: 'module.crashed', say: 'exit 1' }]
  t.strictSame(
    explanationText(
      { state: 'backoff', since: at, because, blocked_on: null, next: 'a try in 4 s', remedy: null },
      nowMs,
    ),
    `state  backoff for 3m\nnext   a try in 4 s\nbecause\n  ${at}  5  module.crashed  exit 1\n`,
  )
  const omen = { module_id: null, kind: 'crashed', level: 'warn', count: 3, score: 3.3, last_seen: at }
  const told = { because: '3 crashes', evidence: ['seq:7'], probation_until: null, held: false }
  t.match(
    omensText([{ ...omen, ...told, next_level: { level: 'intervene', at: 7 } }], nowMs),
    /warn {7}3 {4}3\.3 {2}intervene at 7 {4}3m {2}- .* - {2}3 crashes {2}seq:7/,
  )
  t.match(omensText([{ ...omen, ...told, held: true, next_level: null }], nowMs), /warn \(held\)/)
  const prediction = {
    statement: 'it fails',
    probability: 0.12,
    n: 9,
    horizon: '1 h',
    interval: [0.05, 0.3] as [number, number],
  }
  t.match(predictionsText([{ ...prediction, status: 'stated' }]), /12 % {2}5 %–30 % {2}9 {2}1 h {6}it fails/)
  t.match(
    predictionsText([{ ...prediction, probability: null, interval: null, status: 'insufficient_data' }]),
    /- .*\(insufficient_data\)/,
  )
  t.match(
    predictionsText([{ ...prediction, status: 'stated', eta_hours: { low: 2.1, high: 5.4 } }]),
    /it fails \(in 2\.1 to 5\.4 h\)/,
  )
  t.match(
    predictionsText([{ ...prediction, probability: null, interval: null, status: 'muted' }]),
    /\(muted: no/,
  )
  t.match(
    skillText([
      {
        kind: 'module_crash',
        n: 40,
        brier: 0.2,
        base_brier: 0.25,
        calibration_error: 0.1,
        sentence: 'skill +0.20',
      },
    ]),
    /module_crash {2}0\.200 {2}0\.250 {2}0\.100 {2}skill \+0\.20/,
  )
  const rune = {
    rune: 'r-1',
    version: 2,
    state: 'active',
    category: 'coin',
    tokens: ['lead'],
    successes: 3,
    n: 4,
    bound: 0.51,
  }
  const lift = { difference: 0.2, interval: [-0.05, 0.4] as [number, number], verdict: 'not proven' }
  t.match(
    runesText([{ ...rune, lift, plan: [{ uses: 'a/b/c' }] }]),
    /r-1 +2 {2}active {2}coin +3\/4 {2}0\.510 {2}\+20 % \(−5 to \+40\), not proven {2}lead {2}a\/b\/c/,
  )
})

t.test('a log line keeps its fields and loses what would move the cursor', async (t) => {
  const line = JSON.stringify({
    level: 'warn',
    time: '2026-11-22T10:00:00.000Z',
    msg: 'slow\u001b[2J',
    took_ms: 7,
    module_id: 'a/b',
  })
  t.strictSame(logText(line), '2026-11-22T10:00:00.000Z  warn  slow took_ms=7')
  t.strictSame(logText('no json\r'), 'no json ')
})

t.test('who listens again after a cut sees no line twice, and misses none', async (t) => {
  const line = (second: number, msg: string): string =>
    JSON.stringify({ time: `2026-11-22T10:00:0${second}.000Z`, level: 'info', msg })
  const fresh = new Fresh()
  const shown = (lines: readonly string[]): string[] => {
    fresh.reconnect()
    return lines.filter((one) => fresh.isNew(one))
  }
  const first = [line(1, 'a'), line(2, 'b'), line(2, 'c')]
  t.strictSame(shown(first), first)
  // The same recent lines once more, one that came at the same moment, and new ones that repeat themselves.
  const more = [line(2, 'd'), line(3, 'e'), line(3, 'e')]
  t.strictSame(shown([...first, ...more]), more)
  t.strictSame(shown([line(9, 'after a restart')]).length, 1)
})

t.test('settings are shown without what opens anything', async (t) => {
  const settings = {
    tokens: [{ principal: 'ci', sha256: 'abc' }],
    modules: { 'a/b': { config: { api_key: 'k', url: 'nxk_12345678', passwords: ['p'] } } },
  }
  t.strictSame(hide(settings), {
    tokens: [{ principal: 'ci', sha256: '[redacted]' }],
    modules: { 'a/b': { config: { api_key: '[redacted]', url: '[redacted]', passwords: ['[redacted]'] } } },
  })
})

t.test('a mission shows its approval, what waits and until when, and its steps as a graph', async (t) => {
  const nowMs = Date.UTC(2026, 10, 22, 10)
  const digest = 'ab'.repeat(32)
  const plan = [
    { id: 'fetch', uses: 'a/b/fetch' },
    { id: 'left', uses: 'a/b/left' },
    { id: 'right', uses: 'a/b/right', needs: ['fetch'] },
    { id: 'join', uses: 'a/b/join', needs: ['left', 'right'] },
    { id: 'alone', uses: 'a/b/alone', needs: [] },
  ]
  const mission = {
    mission_id: 'm-1',
    goal: 'g',
    category: 'coin',
    status: 'awaiting_approval',
    because: 'it waits',
    decision: 'BORDERLINE',
    score: 48,
    created_at: '2026-11-22T09:00:00.000Z',
    principal: 'anna',
    duration_ms: null,
    constraints: { max_time_seconds: 60, max_steps: 5 },
    plan,
    plan_source: 'given',
    attempts: [],
    artifacts: [],
    approval: null,
    expires_at: '2026-11-24T22:00:00.000Z',
    awaiting: { since: '', expires_at: '2026-11-24T22:00:00.000Z', digest, covers: ['goal', 'plan'] },
    steps: plan.map(({ id, uses }) => ({ id, uses, status: 'pending', started_at: null, duration_ms: null })),
  } as unknown as MissionDetail
  const steps = [
    'STEP      AFTER        USES       STATUS   TOOK  ERROR',
    'fetch     -            a/b/fetch  pending     -',
    '  left    fetch        a/b/left   pending     -',
    '  right   fetch        a/b/right  pending     -',
    '    join  left, right  a/b/join   pending     -',
    'alone     -            a/b/alone  pending     -',
  ]

  t.strictSame(missionText(mission, nowMs, false).trimEnd().split('\n').slice(-6), steps)
  t.match(missionText(mission, nowMs, false), /expires +in 2d \(2026-11-24T22:00:00\.000Z\) unless/)
  t.match(missionText(mission, nowMs, false), /would approve +goal, plan: digest abab/)
  t.match(missionsText([mission], nowMs), /AGE +EXPIRES +GOAL\n.* in 2d +g/)
  t.notMatch(missionsText([{ ...mission, expires_at: undefined } as never], nowMs), /EXPIRES/)
  const approval = {
    kind: 'overridden',
    by: 'op',
    at: '2026-11-22T09:30:00.000Z',
    reason: 'I know',
    digest,
  } as const
  t.match(
    missionText({ ...mission, approval, retry_of: 'm-0' }, nowMs, false),
    /retry of +m-0\n(.*\n)*overridden +by op at 2026-11-22T09:30:00\.000Z: I know\nfor +digest abab/,
  )
  t.equal(progressText({ step: 's', fraction: 0.456, note: 'half\u001b[2J', at: '' }), 's 46 %: half')
})
