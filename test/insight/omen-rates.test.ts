import { readFileSync, writeFileSync } from 'node:fs'
import t from 'tap'
import {
  CALM,
  levelAt,
  levelOfRun,
  nextLevel,
  stepCusum,
  succeeded,
  usualRate,
} from '../../daemon/insight/cusum.ts'
import { afterSilence, stepShift, UNKNOWN_SHIFT } from '../../daemon/insight/shift.ts'
import { seededChance } from '../../daemon/kit/chance.ts'
import { delays, falseAlarms, shiftAlarms, shiftDelays } from './rates.ts'
import { Story } from './story.ts'

// --- reference values --------------------------------------------------------------------------------------------

t.test('the usual rate is the mean of Beta(1 + failures, 2 + successes), within 2 % and 30 %', async (t) => {
  for (const [failures, trials, expected] of [
    [0, 0, 0.3],
    [0, 3, 1 / 6],
    [0, 47, 0.02],
    [0, 1_000_000, 0.02],
    [10, 97, 0.11],
    [500, 1_000, 0.3],
  ] as const)
    t.ok(Math.abs(usualRate(failures, trials) - expected) < 1e-9, `${failures} of ${trials}`)
})

t.test('a failure adds ln 3 up to a usual rate of 30 %, a success takes ln((1 − 3p)/(1 − p))', async (t) => {
  for (const [usual, added, taken] of [
    [0.02, 1.0986, -0.0417],
    [0.1, 1.0986, -0.2513],
    [0.15, 1.0986, -0.4353],
    [0.3, 1.0986, -1.9459],
  ] as const) {
    t.ok(Math.abs(stepCusum(CALM, true, usual).score - added) < 5e-5, `failure at ${usual}`)
    t.ok(
      Math.abs(stepCusum({ score: 3, count: 3 }, false, usual).score - 3 - taken) < 5e-5,
      `success at ${usual}`,
    )
  }
  t.strictSame(stepCusum({ score: 0.01, count: 1 }, false, 0.02), CALM, 'at 0 the count begins anew')
  t.strictSame(stepCusum(CALM, false, 0.02), CALM)
  const [fast, slow] = [
    succeeded({ score: 9, count: 9 }, 0.02, 5),
    succeeded({ score: 9, count: 9 }, 0.02, 1),
  ]
  t.ok(Math.abs(9 - fast.score - 5 * (9 - slow.score)) < 1e-9)
})

t.test('a level takes its count and its score together', async (t) => {
  const levels = (
    [
      [2, 9],
      [3, 2.99],
      [3, 3],
      [7, 3.99],
      [7, 4],
      [12, 9],
      [13, 4.99],
      [13, 5],
    ] as const
  ).map(([count, score]) => [levelAt({ count, score }), levelAt({ count, score }, true)])
  t.strictSame(levels, [
    ['ignore', 'ignore'],
    ['ignore', 'ignore'],
    ['warn', 'warn'],
    ['warn', 'warn'],
    ['intervene', 'intervene'],
    ['intervene', 'lock'],
    ['intervene', 'intervene'],
    ['lock', 'lock'],
  ])
  t.strictSame(
    [2, 3, 6, 7, 12, 13].map((run) => levelOfRun(run)),
    ['ignore', 'warn', 'warn', 'intervene', 'intervene', 'lock'],
  )
  t.strictSame(
    [nextLevel('warn'), nextLevel('warn', true), nextLevel('lock')],
    [{ level: 'intervene', at: 7 }, { level: 'lock', at: 7 }, undefined],
  )
})

t.test(
  'a chart knows nothing for twenty minutes, then its limit is at e^(2.86 σ/3) times the centre',
  async (t) => {
    let shift = UNKNOWN_SHIFT
    for (let n = 0; n < 20; n += 1) shift = stepShift(shift, 100)
    t.strictSame([shift.average, shift.run, shift.usual.length], [null, 0, 20])
    shift = stepShift(shift, 1_000_000)
    // λ = 0.2 makes √(λ/(2 − λ)) a third; of a steady figure σ is taken as 0.35.
    t.ok(Math.abs(shift.limit - 100 * Math.exp((2.86 * 0.35) / 3)) < 0.01, `${shift.limit}`)
    t.ok(Math.abs((shift.average ?? 0) - (Math.log(100) + 0.2 * Math.log(10_000))) < 1e-9)
    t.equal(shift.run, 1)
    t.strictSame([afterSilence(shift).run, afterSilence(shift).usual], [0, shift.usual])
    t.equal(shift.usual.length, 20, 'what is above the limit does not become usual')
  },
)

t.test('zeros, negatives and what is no number of a clock make no omen', async (t) => {
  let shift = UNKNOWN_SHIFT
  for (let n = 0; n < 100; n += 1) shift = stepShift(shift, n % 2 === 0 ? 0 : -1)
  t.strictSame([shift.run, shift.centre], [0, 1])
})

// --- rates of error ----------------------------------------------------------------------------------------------

t.test('the daemon counts as the formulas do', async (t) => {
  const chance = seededChance(3)
  const story = new Story()
  let [state, failures] = [CALM, 0]
  const expected: string[] = []
  for (let n = 0; n < 1_000; n += 1) {
    const success = chance.next() >= 0.12
    state = stepCusum(state, !success, usualRate(failures, n))
    failures += success ? 0 : 1
    story.ended({ success })
    if (levelAt(state) !== (expected.at(-1) ?? 'ignore')) expected.push(levelAt(state))
  }
  t.ok(expected.length > 3, `${expected.length} changes`)
  t.strictSame(
    story.changes.map(({ level }) => level),
    expected,
  )
})

t.test(
  'a healthy module is locked less than once in a million missions, and lifetime counting would lock it daily',
  async (t) => {
    const healthy = falseAlarms(0.01, 5_000_000, 42)
    t.ok(healthy.warns > 100, 'the run was long enough to see anything')
    t.ok(healthy.locks / 5 <= 1, `${healthy.locks} locks in five million`)
    t.ok(healthy.lifetimeLocks / 5_000 > 0.7, `${healthy.lifetimeLocks / 5_000} a day of a thousand missions`)
    t.ok(healthy.warnedDays < 0.12, `a warning on ${healthy.warnedDays} of the days`)
    const twice = falseAlarms(0.02, 2_000_000, 42)
    t.ok(twice.locks / 2 < 50, `${twice.locks / 2} locks in a million at 2 %`)
    t.ok(twice.lifetimeLocks / twice.locks > 25)
  },
)

t.test(
  'a module that was well and fails half of the time is locked within three dozen missions',
  async (t) => {
    const found = delays(0.5, { before: 1_000 }, 7)
    t.equal(found.locked, 1)
    t.ok((found.lock[1] ?? 1_000) <= 36, `nine in ten after ${found.lock[1]}`)
    t.strictSame(delays(1, { before: 1_000 }, 7).lock, [13, 13])
    t.ok((delays(0.1, { before: 1_000 }, 7).lock[1] ?? 1_000) < 250)
  },
)

t.test(
  'what has always failed half of the time is usual: its score keeps it back, the lock comes late',
  async (t) => {
    const [young, old] = [delays(0.5, { before: 0 }, 7), delays(0.5, { before: 100 }, 7)]
    t.ok((young.lock[0] ?? 0) > 3 * (old.lock[0] ?? 0), `${young.lock[0]} against ${old.lock[0]}`)
  },
)

t.test(
  'durations that scatter by half do not lock in a month, and fourfold ones do in a quarter of an hour',
  async (t) => {
    const steady = shiftAlarms(0.5, 43_200, 5)
    t.equal(steady.locks, 0)
    t.ok(steady.warns < 30, `${steady.warns} warnings`)
    const { lock } = shiftDelays(0.5, 4, 5)
    t.ok(lock !== null && lock <= 20, `${lock} minutes`)
    t.equal(shiftDelays(0.2, 1.2, 5).warn, null, 'a fifth more is nothing')
  },
)

// --- the table ---------------------------------------------------------------------------------------------------

const PAGE = new URL('../../docs/insight.md', import.meta.url)

t.test('the table in docs/insight.md is what the simulation says', async (t) => {
  const page = readFileSync(PAGE, 'utf8')
  const written = page.replace(/(<!-- rates -->\n)[\s\S]*?(<!-- \/rates -->)/, `$1${table()}$2`)
  // `UPDATE_DOCS=1 node test/insight/omen-rates.test.ts` writes it anew.
  if (process.env['UPDATE_DOCS'] === '1') writeFileSync(PAGE, written)
  t.match(page, '<!-- rates -->')
  t.ok(page === written || process.env['UPDATE_DOCS'] === '1', 'it has to be written anew')
})

function table(): string {
  const millions = 2
  const alarms = [0.005, 0.01, 0.02, 0.05, 0.1].map((failing) => {
    const found = falseAlarms(failing, millions * 1_000_000, 42)
    const each = (count: number): string => String(Math.round((10 * count) / millions) / 10)
    const { warns, intervenes, locks, lifetimeLocks, warnedDays } = found
    const days = `${Math.round(1_000 * warnedDays) / 10} %`
    return row([percent(failing), each(warns), days, each(intervenes), each(locks), each(lifetimeLocks)])
  })
  const changes = [0, 20, 100, 1_000].flatMap((before) =>
    [0.1, 0.3, 0.5, 1].map((failing) => {
      const { warn, intervene, lock, locked } = delays(failing, { before }, 7)
      return row([String(before), percent(failing), ...[warn, intervene, lock].map(spread), percent(locked)])
    }),
  )
  const shifts = [0.2, 0.5].flatMap((scatter) =>
    [1.5, 2, 4].map((times) => {
      const { warn, intervene, lock } = shiftDelays(scatter, times, 5)
      return row([
        percent(scatter),
        `× ${times}`,
        ...[warn, intervene, lock].map((minutes) => String(minutes ?? '–')),
      ])
    }),
  )
  return `Of a module that fails at a steady rate, in a million missions (a day has a thousand):

${head(['fails', 'warn', 'days with one', 'intervene', 'lock', 'locks by lifetime counting'])}
${alarms.join('\n')}

Missions from the change to each level, median and ninetieth percentile, of a module that failed 1 % of the time before:

${head(['missions before', 'fails then', 'warn', 'intervene', 'lock', 'locked within 2,000'])}
${changes.join('\n')}

Minutes from the change to each level, the median, of an action whose minutes scatter by so much:

${head(['scatter', 'takes then', 'warn', 'intervene', 'lock'])}
${shifts.join('\n')}
`
}

function head(cells: readonly string[]): string {
  return `${row(cells)}\n${row(cells.map(() => '---'))}`
}

function row(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`
}

function percent(share: number): string {
  return `${Math.round(1_000 * share) / 10} %`
}

function spread([median, p90]: readonly [number | null, number | null]): string {
  return median === null ? '–' : `${median} · ${p90 ?? '–'}`
}
