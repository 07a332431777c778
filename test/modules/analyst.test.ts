import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, open, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import fc from 'fast-check'
import t from 'tap'
import { CsvReader, sniffDelimiter } from '../../modules/cortex/analyst/csv.ts'
import analyst from '../../modules/cortex/analyst/index.ts'
import { ArrayReader } from '../../modules/cortex/analyst/json.ts'
import { adjust, association, quantile, sameShare, wilson } from '../../modules/cortex/analyst/statistics.ts'
import { EXACT_MAX, Tally } from '../../modules/cortex/analyst/tally.ts'
import '../support/clean-children.ts'
import { call, failedSelfTests, manifestFaults } from '../support/module-checks.ts'
import { fakeContext } from '../support/module-context.ts'

const ID = 'cortex/analyst'
const SHOPPERS = new URL('../../../shared/data/online_shoppers_intention.csv', import.meta.url).pathname

interface Findings {
  readonly judged: number
  readonly converted: number
  readonly splits: readonly {
    readonly column: string
    readonly by: string
    readonly parts: readonly { readonly label: string; readonly rows: number; readonly hits: number }[]
  }[]
  readonly findings: readonly { readonly column: string; readonly label: string; readonly excess: number }[]
}

t.test('the manifest is one the daemon takes, and the self-test passes', async (t) => {
  t.strictSame(manifestFaults(ID), [])
  t.strictSame(await failedSelfTests(analyst, fakeContext(ID)), [])
})

t.test('a file that may not be read is refused with the roots and the remedy', async (t) => {
  const dir = t.testdir({ inside: { 'a.csv': 'x,y\n1,2\n' }, outside: { 'b.csv': 'x,y\n1,2\n' } })
  const root = join(dir, 'inside')
  const outside = join(dir, 'outside', 'b.csv')
  await symlink(outside, join(root, 'link.csv'))
  const ctx = fakeContext(ID, { roots: [root] })

  for (const path of [outside, '../outside/b.csv', 'link.csv', join(root, '..', 'outside', 'b.csv')]) {
    await t.rejects(
      call(analyst, ctx, 'profile', { path }),
      /outside of what modules may read.*--allow-read/,
      path,
    )
    await t.rejects(
      call(analyst, ctx, 'plan', { goal: 'g', input: { path } }),
      /--allow-read/,
      `plan ${path}`,
    )
  }
  await t.rejects(call(analyst, ctx, 'profile', { path: 'c.csv' }), /there is no file c\.csv/)
  await t.rejects(call(analyst, ctx, 'profile', { path: root }), /is not a file/)
  await t.rejects(
    call(analyst, fakeContext(ID), 'profile', { path: outside }),
    /--allow-read .*may read nothing yet/,
  )
  t.match(
    await call(analyst, ctx, 'profile', { path: 'a.csv' }),
    { rows: 1 },
    'a relative path is looked for in the roots',
  )
})

t.test('what cannot be analysed says why', async (t) => {
  const dir = t.testdir({
    'open.csv': `a,b\n"never closed,1\n${'x,1\n'.repeat(10)}`,
    'binary.csv': Buffer.from([80, 75, 3, 4, 0, 0, 1]),
    'cut.json': '[{"a": 1}, {"a": ',
    'empty.csv': '',
    'header.csv': 'a,b\n',
    'long.csv': `a,b\n"${'x'.repeat(2_000_000)}`,
    'three.csv': 'kind,n\na,1\nb,2\nc,3\n',
  })
  const ctx = fakeContext(ID, { roots: [dir] })
  const analyse = (input: object): Promise<object> => call(analyst, ctx, 'analyse', input)

  await t.rejects(analyse({ path: 'open.csv' }), /opens a quote that never closes/)
  await t.rejects(analyse({ path: 'long.csv' }), /longer than 1048576 characters/)
  await t.rejects(analyse({ path: 'binary.csv' }), /is binary, not text/)
  await t.rejects(analyse({ path: 'cut.json' }), /ends before its closing bracket/)
  await t.rejects(analyse({ path: 'empty.csv' }), /holds no rows/)
  await t.rejects(analyse({ path: 'header.csv' }), /holds no rows/)
  await t.rejects(analyse({ path: 'three.csv', target: 'sort' }), /no column sort; the columns are kind, n/)
  await t.rejects(
    analyse({ path: 'three.csv', target: 'kind' }),
    /not yes or no .*holds a, b, c.*target_value/,
  )
  await t.rejects(analyse({ path: 'three.csv', records: [] }), /input of analyse/)
  await t.rejects(
    call(analyst, ctx, 'plan', { goal: 'g', input: { file: 'x' } }),
    /does not know input\.file; it reads path/,
  )
  t.equal(ctx.kept.size, 0, 'nothing was kept')
})

t.test('an abort ends the reading', async (t) => {
  const dir = t.testdir({ 'a.csv': 'x,converted\n1,1\n' })
  const ctx = fakeContext(ID, { roots: [dir], signal: AbortSignal.abort(new Error('deadline')) })
  await t.rejects(call(analyst, ctx, 'analyse', { path: 'a.csv' }), /deadline/)
})

t.test('a plan is one step that refers to what the input has', async (t) => {
  const dir = t.testdir({ 'a.csv': 'x\n1\n' })
  const ctx = fakeContext(ID, { roots: [dir] })
  const plan = (input?: unknown): Promise<object> =>
    call(analyst, ctx, 'plan', { goal: 'Optimize', category: 'coin', constraints: { max_steps: 1 }, input })

  t.strictSame(await plan(), { plan: [{ id: 'analyse', uses: 'cortex/analyst/analyse', with: {} }] })
  t.strictSame(await plan({ path: 'a.csv', target: 'x' }), {
    plan: [
      {
        id: 'analyse',
        uses: 'cortex/analyst/analyse',
        with: { path: { $from: 'input.path' }, target: { $from: 'input.target' } },
      },
    ],
  })
  await t.rejects(plan('a.csv'), /is an object/)
})

t.test('any table written by RFC 4180 is read back, wherever the chunks are cut', async (t) => {
  const text = fc.string({ unit: fc.constantFrom('a', 'é', '"', ',', '\n', '\r', ' ', '😀'), maxLength: 8 })
  const table = fc.array(fc.array(text, { minLength: 2, maxLength: 4 }), { minLength: 1, maxLength: 6 })
  const quote = (cell: string): string => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell)

  fc.assert(
    fc.property(
      table,
      fc.constantFrom('\n', '\r\n', '\r'),
      fc.boolean(),
      fc.integer({ min: 1, max: 9 }),
      (rows, end, ended, size) => {
        const file = rows.map((row) => row.map(quote).join(',')).join(end) + (ended ? end : '')
        const reader = new CsvReader(',')
        const read: string[][] = []
        for (let at = 0; at < file.length; at += size) read.push(...reader.push(file.slice(at, at + size)))
        read.push(...reader.end())
        t.strictSame(read, rows)
      },
    ),
    { numRuns: 300 },
  )
})

t.test('the elements of any JSON array are found, wherever the chunks are cut', async (t) => {
  const record = fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 }))
  fc.assert(
    fc.property(
      fc.array(record),
      fc.integer({ min: 1, max: 9 }),
      fc.constantFrom(0, 2),
      (records, size, indent) => {
        const file = JSON.stringify(records, null, indent)
        const reader = new ArrayReader()
        const read: object[] = []
        for (let at = 0; at < file.length; at += size) read.push(...reader.push(file.slice(at, at + size)))
        read.push(...reader.end())
        t.strictSame(read, JSON.parse(file))
      },
    ),
    { numRuns: 300 },
  )
})

t.test('delimiters, headers, marks and gaps are recognised', async (t) => {
  t.strictSame(['a;b;"x,y,z,u"\n1,2;3', 'a\tb', 'a|b,|c', 'alone'].map(sniffDelimiter), [';', '\t', '|', ','])

  const dir = t.testdir({
    'marked.csv': '\ufeffname;won;size\r\n"M;ü";yes;1.5\r\n\r\nB;no;NA\r\nC;;-2e3\r\nD;No\r\n',
    'bare.csv': '1,true\n2,false\n2,true\n',
    'utf16.csv': Buffer.from('\ufeffa,b\nä,1\n', 'utf16le'),
    'deep.jsonl': '{"a":{"b":1},"won":1}\nnot json\n{"won":0,"c":[1]}\n',
  })
  const ctx = fakeContext(ID, { roots: [dir] })
  t.match(await call(analyst, ctx, 'analyse', { path: 'marked.csv' }), {
    rows: 4,
    converted: 1,
    left_out: 1,
    target: { column: 'won', chosen: /taken for its name/ },
    notes: ['More or fewer cells than the header: 1 row.'],
  })
  t.match(await call(analyst, ctx, 'profile', { path: 'marked.csv' }), {
    columns: [
      { name: 'name', type: 'text', missing: 0, distinct: 4 },
      { name: 'won', type: 'boolean', missing: 1, distinct: 3 },
      { name: 'size', type: 'number', missing: 2, distinct: 2 },
    ],
  })
  t.match(await call(analyst, ctx, 'profile', { path: 'bare.csv' }), {
    rows: 3,
    columns: [
      { name: 'column_1', type: 'integer' },
      { name: 'column_2', type: 'boolean' },
    ],
    notes: [/holds no names/],
  })
  t.match(await call(analyst, ctx, 'profile', { path: 'bare.csv', header: true }), {
    rows: 2,
    columns: [{ name: '1' }],
  })
  t.match(await call(analyst, ctx, 'profile', { path: 'utf16.csv' }), {
    rows: 1,
    columns: [{ name: 'a' }, { name: 'b' }],
  })
  t.match(await call(analyst, ctx, 'profile', { path: 'deep.jsonl' }), {
    rows: 2,
    columns: [
      { name: 'a.b', missing: 1 },
      { name: 'won', missing: 0 },
      { name: 'c', missing: 1 },
    ],
    notes: ['Left out: 1 record without a JSON object.'],
  })
})

t.test('a column that comes late was missing before', async (t) => {
  const line = (at: number): string =>
    `${JSON.stringify({ won: at % 2, ...(at < 3_000 ? {} : { late: 'x' }), filler: 'f'.repeat(40) })}\n`
  const dir = t.testdir({ 'late.jsonl': Array.from({ length: 4_000 }, (_, at) => line(at)).join('') })
  const ctx = fakeContext(ID, { roots: [dir] })
  await call(analyst, ctx, 'analyse', { path: 'late.jsonl' })
  const found: Findings = JSON.parse(ctx.kept.get('findings.json') ?? '')
  t.match(found.splits, [
    {
      column: 'late',
      parts: [
        { label: 'x', rows: 1_000, hits: 500 },
        { label: '(missing)', rows: 3_000, hits: 1_500 },
      ],
    },
  ])
})

t.test('the statistics meet values from the literature', async (t) => {
  const rounded = (value: number): number => Math.round(value * 1e4) / 1e4
  const { low, high } = wilson(8, 10)
  t.strictSame([low, high].map(rounded), [0.4902, 0.9433])
  t.strictSame([wilson(0, 10).low, wilson(10, 10).high, wilson(0, 0)], [0, 1, { low: 0, high: 1 }])
  t.strictSame(rounded(sameShare(30, 100, 45, 100)), 0.0285, 'z = 2.19')
  t.strictSame(sameShare(1, 10, 0, 0), 1)
  t.strictSame(adjust([0.01, 0.04, 0.03, 0.005]).map(rounded), [0.02, 0.04, 0.04, 0.02], 'as p.adjust of R')
  t.strictSame(
    [0, 0.25, 0.5, 1].map((share) => quantile([1, 2, 3, 4], share)),
    [1, 1.75, 2.5, 4],
  )
  t.strictSame(
    [
      association([
        { rows: 10, hits: 10 },
        { rows: 30, hits: 0 },
      ]),
      association([
        { rows: 10, hits: 5 },
        { rows: 20, hits: 10 },
      ]),
    ].map(rounded),
    [1, 0],
  )
})

t.test('a tally is exact while it can be, and then says by how much it may be wrong', async (t) => {
  const exact = new Tally()
  for (let at = 0; at < 5_000; at += 1) exact.entry(`v${at % EXACT_MAX}`).rows += 1
  t.strictSame([exact.exact, exact.distinct, exact.entries()[0]?.rows], [true, EXACT_MAX, 5])

  const large = new Tally()
  const rows = 200_000
  for (let at = 0; at < rows; at += 1) large.entry(at % 10 === 0 ? 'often' : `v${at}`).rows += 1
  const [first] = large.entries()
  t.equal(large.exact, false)
  t.equal(first?.value, 'often')
  t.ok(
    (first?.rows ?? 0) <= 20_000 && (first?.rows ?? 0) + large.slack >= 20_000,
    'the count lies within its slack',
  )
  t.ok(large.slack <= rows / EXACT_MAX, 'and the slack is at most a thousandth of the rows')
  t.ok(Math.abs(large.distinct - 180_001) < 180_001 * 0.05, `estimated ${large.distinct} of 180001`)
})

t.test('conversion by segment agrees with counting by hand', async (t) => {
  const row = fc.record({
    source: fc.constantFrom('mail', 'ad', 'x, "y"', ''),
    size: fc.option(fc.double({ noNaN: true, min: -100, max: 100 }), { nil: '' }),
    count: fc.integer({ min: 0, max: 60 }),
    converted: fc.constantFrom('TRUE', 'FALSE', 'false', ''),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(row, { minLength: 30, maxLength: 200 }), async (rows) => {
      const judged = rows.filter(({ converted }) => converted !== '')
      fc.pre(judged.length > 0)
      const ctx = fakeContext(ID)
      await call(analyst, ctx, 'analyse', { records: rows, target: 'converted' })
      const found: Findings = JSON.parse(ctx.kept.get('findings.json') ?? '')
      const isHit = ({ converted }: { converted: string }): boolean => converted === 'TRUE'
      t.strictSame([found.judged, found.converted], [judged.length, judged.filter(isHit).length])

      for (const { column, by, parts } of found.splits) {
        const sumOf = (what: 'rows' | 'hits'): number => parts.reduce((sum, part) => sum + part[what], 0)
        t.strictSame(
          [sumOf('rows'), sumOf('hits')],
          [found.judged, found.converted],
          `${column}: every row is in one part`,
        )
        if (by === 'range') continue
        const name = column as 'source' | 'count'
        for (const { label, rows: size, hits } of parts) {
          const value = label === '(missing)' ? '' : label
          const members = judged.filter((each) => String(each[name]) === value)
          t.strictSame([size, hits], [members.length, members.filter(isHit).length], `${column} = ${label}`)
        }
      }
    }),
    { numRuns: 60 },
  )
})

t.test(
  'ranges hold about equally many rows, zeros apart, and only real differences become findings',
  async (t) => {
    // 400 zeros that never convert, 600 amounts whose upper half does; the letter has nothing to do with it.
    const records = Array.from({ length: 1_000 }, (_, at) => ({
      amount: at < 400 ? 0 : at + 0.5,
      letter: 'abcd'[at % 4],
      same: 'x',
      won: at >= 700 ? 'won' : 'lost',
    }))
    const ctx = fakeContext(ID, { config: { buckets: 4 } })
    const result = await call(analyst, ctx, 'analyse', { records })
    const found: Findings = JSON.parse(ctx.kept.get('findings.json') ?? '')

    t.strictSame(
      found.splits
        .find(({ column }) => column === 'amount')
        ?.parts.map(({ label, rows, hits }) => [label, rows, hits]),
      [
        ['0', 400, 0],
        ['400.5 to 549.5', 150, 0],
        ['550.5 to 699.5', 150, 0],
        ['700.5 to 849.5', 150, 150],
        ['850.5 to 999.5', 150, 150],
      ],
    )
    t.strictSame([...new Set(found.findings.map(({ column }) => column))], ['amount'])
    t.strictSame(result['check'], ['amount'], 'an amount that decides the outcome wants a look')
    t.match(ctx.kept.get('findings.md'), /Not split:\n\n- same: the same in every row/)
  },
)

t.test('chance alone yields no findings', async (t) => {
  let state = 7
  const next = (below: number): number => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
    return Math.floor((state / 2_147_483_648) * below)
  }
  const records = Array.from({ length: 4_000 }, () => ({
    ...Object.fromEntries(Array.from({ length: 10 }, (_, at) => [`c${at}`, `v${next(8)}`])),
    won: next(5) === 0,
  }))
  const result = await call(analyst, fakeContext(ID), 'analyse', { records, artifacts: false })
  t.strictSame(result['findings'], [])
})

t.test(
  'the shoppers’ visits give the known numbers',
  { skip: existsSync(SHOPPERS) ? false : 'the data set is not here' },
  async (t) => {
    const ctx = fakeContext(ID, { roots: [dirname(SHOPPERS)] })
    const result = await call(analyst, ctx, 'analyse', { path: SHOPPERS, target: 'Revenue' })
    t.match(result, { rows: 12_330, converted: 1_908, rate: 0.154745, interval: [0.148469, 0.161236] })
    t.match(result, { summary: /1,908 of 12,330 rows converted: 15\.47 %/, check: ['PageValues'] })
    t.ok(JSON.stringify(result).length < 8_192, 'the result fits beside the mission')

    const report = ctx.kept.get('findings.md') ?? ''
    t.match(report, '| Nov | 2,998 | 24.31 % | 760 | 25.35 % | 23.83–26.94 % | 1.64 | ● |')
    t.match(report, '| New_Visitor | 1,694 | 13.74 % | 422 | 24.91 % | 22.91–27.03 % | 1.61 | ● |')
    t.match(report, '| Returning_Visitor | 10,551 | 85.57 % | 1,470 | 13.93 % | 13.28–14.61 % | 0.90 | ● |')
  },
)

t.test('a file of 100 MB is read in a heap of 24 MB', async (t) => {
  const dir = t.testdir({})
  const path = join(dir, 'large.csv')
  const bytes = await writeLarge(path, 100_000_000)
  const program = `
    const { default: analyst } = await import(process.argv[1])
    const { fakeContext } = await import(process.argv[2])
    const before = process.memoryUsage().rss
    const ctx = fakeContext('cortex/analyst', { roots: [process.argv[3]] })
    const result = await analyst.actions.analyse({ path: 'large.csv', artifacts: false }, ctx)
    const grown = process.resourceUsage().maxRSS * 1024 - before
    console.log(JSON.stringify({ rows: result.rows, converted: result.converted, grown }))
  `
  const urls = ['../../modules/cortex/analyst/index.ts', '../support/module-context.ts']
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--max-old-space-size=24',
    '--max-semi-space-size=2',
    '--input-type=module',
    '-e',
    program,
    ...urls.map((url) => new URL(url, import.meta.url).href),
    dir,
  ])
  const { rows, converted, grown } = JSON.parse(stdout)
  t.strictSame([rows, converted], [bytes.rows, bytes.converted])
  t.ok(grown < 64_000_000, `grew by ${grown} bytes`)
})

t.test('the daemon’s own missions', async (t) => {
  const dir = t.testdir({})
  const mission_segments = join(dir, 'missions')
  const records = {
    missions: join(dir, 'missions.jsonl'),
    mission_segments,
    journal: join(dir, 'audit.jsonl'),
  }
  const ctx = fakeContext(ID, { records, missionId: 'm-self' })
  const analyse = (): Promise<Record<string, unknown>> => call(analyst, ctx, 'analyse', {})

  await t.rejects(call(analyst, fakeContext(ID), 'analyse', {}), /has not given this module its records/)
  t.match(
    await analyse(),
    { finished: 0, rate: null, summary: /No missions have finished yet/ },
    'no file is no missions',
  )

  const line = (id: string, status: string, more: object = {}): string =>
    `${JSON.stringify({ mission_id: id, goal: `goal ${id}`, category: 'coin', status, decision: 'SAFE', modules: ['a/b'], ...more })}\n`
  await writeFile(records.missions, line('m-self', 'running') + line('m-1', 'queued'))
  t.match(
    await analyse(),
    { missions: 1, finished: 0, summary: /1 are recorded, none of them ran/ },
    'the asking one is left out',
  )

  const good = Array.from(
    { length: 40 },
    (_, at) => line(`m-${at}`, 'running') + line(`m-${at}`, 'completed', { duration_ms: at + 1 }),
  )
  const bad = Array.from({ length: 10 }, (_, at) =>
    line(`m-b${at}`, 'failed', {
      category: 'forge',
      duration_ms: 1_000,
      error: { code: 'ACTION_FAILED', message: 'x' },
    }),
  )
  await writeFile(
    records.missions,
    [...good, ...bad, 'no json\n', line('m-c', 'cancelled'), line('m-self', 'running')].join(''),
  )
  await writeFile(
    records.journal,
    '{"type":"mission.ended","mid":"m-1","d":{"cpu_seconds":0.5}}\n{"type":"mission.ended","mid":"m-2","d":{"cpu_se',
  )
  const view = await analyse()
  t.match(view, {
    missions: 51,
    finished: 50,
    completed: 40,
    failed: 10,
    rate: 0.8,
    interval: [0.669629, 0.887562],
    by_status: { completed: 40, failed: 10, cancelled: 1 },
    durations: { median_ms: 25.5, p90_ms: 1_000 },
    cpu_seconds: { missions: 1, total: 0.5, mean: 0.5 },
    failures: { ACTION_FAILED: 10 },
    notes: ['Left out: 1 line of the records that could not be read.'],
    artifacts: ['findings.md', 'findings.json'],
  })
  t.strictSame(view['findings'], [
    'category coin: 100.00 % succeed (40 of 40; 95 % interval 91.24–100.00 %), where all together have 80.00 %.',
    'category forge: 0.00 % succeed (0 of 10; 95 % interval 0.00–27.75 %), where all together have 80.00 %.',
  ])
  t.match(ctx.kept.get('findings.md'), /## Failures\n\n- ACTION_FAILED: 10/)

  const few = fakeContext(ID, { records, config: { missions_max: 2 } })
  const ended = ['m-1', 'm-2', 'm-1', 'm-3'].map((id) => line(id, id === 'm-2' ? 'failed' : 'completed'))
  await writeFile(records.missions, ended.join(''))
  t.match(
    await call(analyst, few, 'analyse', {}),
    { missions: 2, completed: 2, notes: ['Left out: 1 older mission, beyond missions_max.'] },
    'the one that changed longest ago makes room',
  )

  await mkdir(mission_segments)
  await writeFile(join(mission_segments, '00000001.jsonl'), line('m-7', 'completed'))
  await writeFile(join(mission_segments, '00000002.jsonl'), line('m-1', 'failed') + line('m-8', 'failed'))
  t.match(
    await call(analyst, ctx, 'analyse', {}),
    { missions: 5, completed: 3, failed: 2, notes: [] },
    'sealed files are of it, and the newest line of a mission counts',
  )
  t.match(await call(analyst, fakeContext(ID, { records, config: { missions_max: 3 } }), 'analyse', {}), {
    missions: 3,
    notes: ['Left out: 2 older files of missions, beyond missions_max.'],
  })
})

async function writeLarge(path: string, bytesWanted: number): Promise<{ rows: number; converted: number }> {
  await mkdir(dirname(path), { recursive: true })
  const file = await open(path, 'w')
  let rows = 0
  let converted = 0
  let bytes = 0
  await file.write('id,source,amount,note,converted\n')
  while (bytes < bytesWanted) {
    let text = ''
    for (let at = 0; at < 5_000; at += 1) {
      const won = rows % 7 === 0
      text += `${rows}-${(rows * 2_654_435_761) % 4_294_967_296},s${rows % 5},${(rows % 1_000) / 4},"a note, of ""${rows}"" words and more",${won}\n`
      rows += 1
      if (won) converted += 1
    }
    bytes += text.length
    await file.write(text)
  }
  await file.close()
  return { rows, converted }
}
