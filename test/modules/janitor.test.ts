import { mkdir, readFile, rm, utimes, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import type { RecordPaths } from '../../daemon/contracts/module.ts'
import { encodeDraft, GENESIS, sealBatch } from '../../daemon/storage/line.ts'
import { type Finding, findingsOf, type Observed } from '../../modules/autonomic/janitor/findings.ts'
import janitor from '../../modules/autonomic/janitor/index.ts'
import { readText } from '../../modules/autonomic/janitor/journal.ts'
import { trendOf } from '../../modules/autonomic/janitor/trend.ts'
import { call, failedSelfTests, manifestFaults } from '../support/module-checks.ts'
import { type FakeContext, fakeContext } from '../support/module-context.ts'

const ID = 'autonomic/janitor'
const TS = '2026-11-22T10:00:00.000Z'
const ACTOR = { kind: 'daemon', name: 'nexusd' } as const

type Draft = readonly [type: string, d: Record<string, unknown>]
type Answer = Record<string, unknown>

/** Lines as the daemon itself seals them: drafts in batches, from any record on. */
function seal(
  batches: readonly (readonly Draft[])[],
  from = GENESIS,
): { text: string; link: typeof GENESIS } {
  let link = from
  let text = ''
  for (const batch of batches) {
    const drafts = batch.map(([type, d]) => encodeDraft({ type, actor: ACTOR, d }, TS))
    const sealed = sealBatch(drafts, link)
    text += sealed.bytes.toString()
    link = sealed.link
  }
  return { text, link }
}

interface House {
  readonly records: RecordPaths
  readonly ctx: FakeContext
  put(path: string, text: string, ageHours?: number): Promise<string>
  run(action: string, input?: object): Promise<Answer>
}

/** A data folder with nothing in it. */
function house(t: Test, config: object = {}): House {
  const dir = t.testdir({})
  const at = (name: string): string => join(dir, name)
  const records: RecordPaths = {
    missions: at('missions.jsonl'),
    mission_segments: at('missions'),
    journal: at('audit.jsonl'),
    segments: at('audit'),
    telemetry: at('telemetry.jsonl'),
    runtime_metrics: at('runtime_metrics.jsonl'),
    generations: at('generations'),
    artifacts: at('artifacts'),
    quarantine: at('quarantine'),
  }
  const ctx = fakeContext(ID, { records, config: { ...config }, missionId: 'm-self' })
  return {
    records,
    ctx,
    async put(path, text, ageHours = 0) {
      await mkdir(dirname(at(path)), { recursive: true })
      await writeFile(at(path), text)
      const then = Date.now() / 1_000 - ageHours * 3_600
      await utimes(at(path), then, then)
      return at(path)
    },
    run: (action, input = {}) => call(janitor, ctx, action, input),
  }
}

t.test('the manifest is one the daemon takes, and all works before there are any records', async (t) => {
  const { ctx, run } = house(t)
  t.strictSame(manifestFaults(ID), [])
  t.strictSame(await failedSelfTests(janitor, ctx), [])
  t.match(await run('verify'), { ok: true, records: 0, first_seq: null, summary: /no records yet/ })
  t.match(await run('prunable'), { count: 0, notes: [] })
  const diagnosed = await run('diagnose')
  t.match(diagnosed, {
    missions: { total: 0 },
    daemon: { newest: null },
    artifacts: ['diagnostics.md', 'diagnostics.json'],
  })
  t.match(ctx.kept.get('diagnostics.md'), /None yet, beside this one/)
  await t.rejects(call(janitor, fakeContext(ID), 'diagnose', {}), /not given this module its records/)
})

t.test('the first record that does not fit is named, whatever was done to the journal', async (t) => {
  const batches: Draft[][] = [
    [['a', { n: 1 }]],
    [
      ['b', {}],
      ['c', { text: 'ä€😀' }],
      ['d', {}],
    ],
    [['e', { h: 'inner' }]],
  ]
  const { text, link } = seal(batches)
  const lines = text.split(/(?<=\n)/)
  const bad = (changed: readonly string[]): unknown => {
    const { ok, first_bad: first, records } = readText(changed.join(''))
    return ok ? `whole ${records}` : [first?.seq, first?.line, first?.reason]
  }
  const [one = '', two = '', three = '', four = '', five = ''] = lines
  t.match(readText(text), { ok: true, records: 5, first_seq: 1, last_seq: 5, last_h: link.h, open_bytes: 0 })
  t.equal(bad(lines.slice(0, 2)), 'whole 2', 'what is missing at the end cannot be seen from here')
  t.match(
    readText(text.slice(0, -1)),
    { ok: true, records: 4, open_bytes: five.length - 1 },
    'a torn last line is no damage',
  )
  t.match(bad([one, three, four, five]), [2, 2, /number 3 follows 1/])
  t.match(bad([one, two, two, three]), [3, 3, /number 2 follows 2/])
  t.match(bad([one, three, two]), [2, 2, /number 3/])
  t.match(bad([two]), [1, 1, /number 2 follows 0/])
  t.match(
    bad([one, two.replace('"b":2', '"b":1')]),
    [2, 2, /hash/],
    'its own batch may be that of the one before; its hash tells',
  )
  t.match(bad([one, two, three.replace('"b":2', '"b":1')]), [3, 3, /batch 1 follows batch 2/])
  t.match(bad([one, two.replace('"v":1', '"v":2')]), [2, 2, /version 2/])
  t.match(bad([one.replace('"n":1', '"n":2')]), [1, 1, /hash does not fit/])
  t.match(bad([one, '\n', two]), [2, 2, /does not end with a hash/])
  t.match(bad([one, `${'x'.repeat(70_000)}\n`]), [2, 2, /longer than 65536/])
  t.match(bad([one, 'x'.repeat(70_000)]), [2, 2, /longer than 65536/])
})

t.test('no bit can be flipped unseen', async (t) => {
  const bytes = Buffer.from(
    seal([
      [['a', { goal: 'first' }]],
      [
        ['b', {}],
        ['c', {}],
      ],
    ]).text,
  )
  fc.assert(
    // The last newline may go: then the line is open, and not counted.
    fc.property(fc.nat(bytes.length - 2), fc.nat(7), (at, bit) => {
      const spoiled = Buffer.from(bytes)
      spoiled[at] = (spoiled[at] ?? 0) ^ (1 << bit)
      const { ok, records } = readText(spoiled.toString('latin1'))
      return !ok && records < 3
    }),
    { numRuns: 300 },
  )
  t.pass('held')
})

t.test('the chain leads through sealed segments, and each vouches for the one before', async (t) => {
  const { run, put, records } = house(t)
  const first = seal([
    [
      ['a', {}],
      ['b', {}],
    ],
  ])
  const opening = (name: string, { text, link }: ReturnType<typeof seal>): Draft => [
    'journal.segment_opened',
    { sealed: name, bytes: Buffer.byteLength(text), last_seq: link.seq, last_h: link.h },
  ]
  const second = seal([[opening('audit/000000000001.jsonl', first), ['c', {}]]], first.link)
  const third = seal([[opening('audit/000000000003.jsonl', second)]], second.link)
  const one = await put('audit/000000000001.jsonl', first.text)
  const two = await put('audit/000000000003.jsonl', second.text)
  await put('audit.jsonl', `${third.text}{"v":1,"seq"`)
  t.match(await run('verify'), { ok: true, records: 5, files: 3, open_bytes: 12, last_h: third.link.h })

  const first_bad = async (): Promise<unknown> => (await run('verify'))['first_bad']
  await writeFile(two, second.text.slice(0, -1))
  t.match(await first_bad(), { seq: 4, file: 'audit/000000000003.jsonl', line: 2, reason: /no end/ })
  await rm(two)
  t.match(await first_bad(), { seq: 3, file: 'audit.jsonl', line: 1, reason: /number 5 follows 2/ })
  await writeFile(two, second.text)
  await writeFile(one, '')
  t.match(await first_bad(), { seq: 1, file: 'audit/000000000001.jsonl', reason: /sealed segment is empty/ })
  const forged = seal([
    [
      ['a', {}],
      ['b', {}],
    ],
  ])
  await writeFile(one, forged.text)
  const other = seal(
    [
      [
        ['c', {}],
        ['d', {}],
      ],
    ],
    forged.link,
  )
  await writeFile(two, other.text)
  await rm(records.journal)
  t.match(await first_bad(), {
    seq: 3,
    file: 'audit/000000000003.jsonl',
    reason: /000000000001\.jsonl is not as it was/,
  })
})

t.test(
  'a journal whose beginning was compacted is whole, and missions still name their artifacts',
  async (t) => {
    const { run, put } = house(t, { min_age_hours: 0 })
    const first = seal([[['a', {}]], [['b', {}]]])
    const bytes = Buffer.byteLength(first.text)
    const sealed = { sealed: 'audit/000000000001.jsonl', bytes, last_seq: 2, last_h: first.link.h }
    const gone = { segments: [{ last_seq: 2, last_h: first.link.h }] }
    const second = (told: Draft) => seal([[['journal.segment_opened', sealed]], [told]], first.link)
    const [kept, orphan] = ['a'.repeat(64), 'b'.repeat(64)]
    for (const name of [kept, orphan]) await put(`artifacts/${name}`, 'x', 48)
    await put(
      'missions/00000001.jsonl',
      `${JSON.stringify({ mission_id: 'm-1', artifacts: [{ sha256: kept }] })}\n`,
    )

    const { text } = second(['journal.compacted', gone])
    await put('audit.jsonl', text)
    t.match(await run('verify'), { ok: true, records: 2, first_seq: 3, last_seq: 4, files: 1 })
    const { groups } = (await run('prunable')) as { groups: object }
    t.match(groups, { artifact: { count: 1 }, generation: { count: 0 } })
    await rm(await put('audit.jsonl', ''))
    await put('audit/000000000003.jsonl', text)
    t.match(await run('verify'), { ok: true, first_seq: 3 }, 'also where the first file is a sealed one')

    await put('audit/000000000003.jsonl', second(['c', {}]).text)
    t.match(await run('verify'), { ok: false, first_bad: { seq: 1, reason: /1 to 2 are missing/ } })
  },
)

t.test('what the daemon still needs is never prunable, and what is young neither', async (t) => {
  const { ctx, put, run, records } = house(t)
  const hash = (digit: string): string => digit.repeat(64)
  const { text } = seal([
    [['module.generation_accepted', { module_id: 'a/b', generation: hash('1') }]],
    [['module.generation_accepted', { module_id: 'a/b', generation: hash('2') }]],
    [['mission.step_finished', { artifacts: [{ name: 'x', sha256: hash('a') }] }]],
    [['mission.created', { plan: { artifact: { sha256: hash('b') } } }]],
  ])
  await put('audit.jsonl', text)
  const former = await put(`generations/a/b/${hash('1')}/index.ts`, 'x'.repeat(500), 48)
  await put(`generations/a/b/${hash('2')}/index.ts`, 'accepted last', 48)
  await put(`generations/a/b/${hash('3')}/index.ts`, 'on its way', 1)
  await put(`generations/a/never/${hash('4')}/index.ts`, 'never judged', 48)
  await put(`artifacts/${hash('a')}`, 'named', 48)
  await put(`artifacts/${hash('b')}`, 'named deep', 48)
  await put(`artifacts/${hash('c')}`, 'young', 1)
  const orphan = await put(`artifacts/${hash('d')}`, 'x'.repeat(300), 48)
  const torn = await put('quarantine/audit-1.torn', 'x'.repeat(200), 48)
  const rotated = await put('telemetry.jsonl.1', 'x'.repeat(100), 48)
  await put('telemetry.jsonl', 'current', 48)

  const answer = await run('prunable')
  t.strictSame(
    (answer['largest'] as { kind: string; path: string; bytes: number }[]).map(({ kind, path, bytes }) => [
      kind,
      path,
      bytes,
    ]),
    [
      ['generation', dirname(former), 500],
      ['artifact', orphan, 300],
      ['quarantine', torn, 200],
      ['telemetry', rotated, 100],
    ],
  )
  t.match(answer, {
    count: 4,
    bytes: 1_100,
    groups: { artifact: { count: 1, bytes: 300 } },
    summary: /nothing was deleted/,
  })
  t.match(
    [ctx.kept.get('prunable.md'), ctx.kept.get('prunable.json')],
    [/accepted 222222222222 last/, /"items"/],
  )

  await writeFile(records.journal, text.replace('"sha256"', '"sha257"'))
  t.match(await run('prunable', { artifacts: false }), {
    groups: { generation: { count: 0 }, artifact: { count: 0 }, quarantine: { count: 1 } },
    notes: [/damaged at record 3.*no artifact is called prunable/],
    artifacts: [],
  })
  t.equal(await readFile(orphan, 'utf8'), 'x'.repeat(300))
})

t.test('missions are counted as they stand now, without the asking one', async (t) => {
  const { put, run } = house(t, { missions_max: 2 })
  const line = (id: string, status: string, code?: string): string =>
    `${JSON.stringify({ mission_id: id, status, ...(code !== undefined && { error: { code } }) })}\n`
  const lines = [
    line('m-0', 'queued'),
    line('m-1', 'running'),
    line('m-2', 'failed', 'X'),
    line('m-self', 'running'),
    line('m-1', 'interrupted'),
    'no json\n',
    '{"mission_id":"m-3"',
  ]
  await put('missions.jsonl', lines.join(''))
  const { missions, findings } = (await run('diagnose')) as { missions: object; findings: Finding[] }
  t.strictSame(missions, {
    total: 2,
    by_status: { failed: 1, interrupted: 1 },
    failures: { X: 1 },
    unreadable_lines: 1,
    left_out: 1,
    files_left_out: 0,
  })
  const said = findings.map(({ finding }) => finding).join(' ')
  t.match(said, /1 mission is interrupted/)
  t.match(said, /1 of 1 finished missions failed \(X 1\)/)
  t.match(said, /1 line of missions\.jsonl cannot be read/)
})

t.test('sealed files of missions are counted too, newest first, and no more than wished', async (t) => {
  const line = (id: string, status: string): string => `${JSON.stringify({ mission_id: id, status })}\n`
  const { put, run } = house(t, { missions_max: 3 })
  await put('missions/00000001.jsonl', line('m-0', 'completed'))
  await put('missions/00000003.jsonl', line('m-1', 'completed') + line('m-2', 'completed'))
  await put('missions/00000004.jsonl', line('m-3', 'running') + line('m-2', 'failed'))
  await put('missions.jsonl', line('m-3', 'completed'))
  const { missions, records } = (await run('diagnose')) as { missions: object; records: object }
  t.match(missions, { total: 3, by_status: { completed: 2, failed: 1 }, files_left_out: 1 })
  t.match(records, { missions: { files: 4 } })
})

t.test('samples from before the last start belong to another process', async (t) => {
  const { put, run } = house(t)
  const now = Date.now() / 1_000
  const sample = (ts: number, rss: number): string =>
    `${JSON.stringify({ ts, rss_bytes: rss, elu: 0.1, loop_lag_ms: 1 })}\n`
  const before = Array.from({ length: 50 }, (_, n) => sample(now - 2_000 + n * 10, 9e8))
  const since = Array.from({ length: 90 }, (_, n) => sample(now - 900 + n * 10, 1e8 + n * 1e6))
  await put('runtime_metrics.jsonl', [...before, ...since, '{"ts":'].join(''))
  const events = [
    { ts: now - 3_000, event: 'daemon_started' },
    { ts: now - 1_000, event: 'daemon_started' },
    { ts: now - 500, event: 'module_crashed', module_id: 'a/b' },
    { ts: now - 5_000, event: 'module_crashed', module_id: 'a/old' },
  ]
  await put('telemetry.jsonl', events.map((event) => `${JSON.stringify(event)}\n`).join(''))
  await put('quarantine/audit-1.torn', 'x')
  const answer = await run('diagnose', { artifacts: false })
  t.match(answer, {
    daemon: {
      uptime_seconds: 1_000,
      newest: { rss_bytes: 189e6 },
      elu_minute: 0.1,
      rss_trend: { direction: 'rising', samples: 90 },
      elu_trend: { direction: 'steady' },
      troubles: { 'a/b': 1 },
    },
    records: { quarantine: { files: 1, bytes: 1 } },
  })
  const said = (answer['findings'] as Finding[]).map(({ finding }) => finding).join(' ')
  t.match(said, /memory rises by 343\.3 MiB an hour/)
  t.match(said, /a\/b crashed/)
  t.match(said, /1 torn end of records lies in quarantine/)
})

t.test('findings come worst first, each at its threshold and with a remedy', (t) => {
  const well: Observed = {
    host: {
      cores: 2,
      load: { one: 9, five: 4, fifteen: 9 },
      memory: { total_bytes: 100, available_bytes: 11, used_percent: 89.9 },
      disk: { total_bytes: 100, available_bytes: 11, used_percent: 89.9 },
      uptime_seconds: 1,
    },
    daemon: {
      uptime_seconds: 1,
      newest: { age_seconds: 60, rss_bytes: 1e8, elu: 0.1, loop_lag_ms: 200 },
      elu_minute: 0.8,
      rss_trend: null,
      elu_trend: null,
      troubles: {},
    },
    missions: {
      total: 1,
      by_status: { completed: 1 },
      failures: {},
      unreadable_lines: 0,
      left_out: 0,
      files_left_out: 0,
    },
    quarantined: 0,
  }
  const settings = {
    missions_max: 1,
    samples_max: 1,
    entries_max: 1,
    min_age_hours: 1,
    disk_used_percent: 90,
  }
  const severities = (more: Partial<Observed>): string[] =>
    findingsOf({ ...well, ...more }, settings).map(({ severity }) => severity)
  const { host, daemon } = well
  t.strictSame(findingsOf(well, settings), [])
  t.strictSame(
    severities({ host: { ...host, disk: { total_bytes: 1, available_bytes: 0, used_percent: 97 } } }),
    ['critical'],
  )
  t.strictSame(
    severities({
      host: {
        ...host,
        disk: { total_bytes: 1, available_bytes: 0, used_percent: 90 },
        load: { ...host.load, five: 4.1 },
      },
    }),
    ['warning', 'warning'],
  )
  t.strictSame(
    severities({
      host: { ...host, memory: { ...host.memory, used_percent: 97 } },
      missions: { ...well.missions, by_status: { awaiting_approval: 1 } } as never,
    }),
    ['critical', 'info'],
  )
  t.strictSame(
    severities({
      daemon: {
        ...daemon,
        newest: { age_seconds: 61, rss_bytes: 1, elu: 0, loop_lag_ms: 201 },
        elu_minute: 0.81,
      },
    }),
    ['warning', 'warning', 'warning'],
  )
  const rising = { direction: 'rising', per_hour: 1e7, r2: 0.7, samples: 90, over_minutes: 10 } as const
  t.strictSame(severities({ daemon: { ...daemon, rss_trend: rising } }), ['warning'])
  t.strictSame(
    severities({ daemon: { ...daemon, rss_trend: { ...rising, over_minutes: 9 } } }),
    ['info'],
    'a bump is no leak',
  )
  t.end()
})

t.test('a trend is a line that explains, and moves', (t) => {
  const line = (value: (n: number) => number, count = 40) =>
    trendOf(Array.from({ length: count }, (_, n) => ({ ts: 1_000 + n * 10, value: value(n) })))
  t.equal(
    line((n) => n, 11),
    undefined,
    'eleven samples are too few',
  )
  t.match(
    line((n) => 100 + n),
    { direction: 'rising', per_hour: 360, r2: 1, over_minutes: 6.5 },
  )
  t.match(
    line((n) => 100 - n),
    { direction: 'falling' },
  )
  t.match(
    line((n) => 1_000 + n),
    { direction: 'steady' },
    'four percent are none worth a word',
  )
  t.match(
    line((n) => 100 + (n % 2) * 80 + n / 5),
    { direction: 'steady' },
    'noise',
  )
  t.match(
    line(() => 5),
    { direction: 'steady', r2: 0 },
  )
  t.end()
})

t.test('a plan holds what the goal names, as much as is allowed, in the order of use', async (t) => {
  const { run } = house(t)
  const steps = async (goal: string, max_steps?: number, input?: unknown): Promise<string[]> => {
    const constraints = max_steps === undefined ? {} : { max_steps }
    const { plan } = (await run('plan', { goal, constraints, input })) as {
      plan: { id: string; uses: string }[]
    }
    return plan.map(({ id, uses }) => (uses === `${ID}/${id}` ? id : uses))
  }
  t.strictSame(await steps('Keep the house in order'), ['diagnose', 'verify', 'prunable'])
  t.strictSame(await steps('Keep the house in order', 2), ['diagnose', 'verify'])
  t.strictSame(await steps('Keep the house in order', 1), ['diagnose'])
  t.strictSame(await steps('verify the journal', 3), ['verify'])
  t.strictSame(await steps('Clean up, then check the health'), ['diagnose', 'prunable'])
  t.strictSame(await steps('Clean up', 3, { checks: ['prunable', 'verify'] }), ['verify', 'prunable'])
  for (const input of ['text', [], { check: 1 }, { checks: [] }, { checks: ['all'] }]) {
    await t.rejects(steps('x', 3, input), /checks/, JSON.stringify(input))
  }
})
