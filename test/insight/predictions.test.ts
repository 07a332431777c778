import t from 'tap'
import type { Fact } from '../../daemon/contracts/fact.ts'
import { betaBinomialAtLeast, binomialAtLeast } from '../../daemon/insight/binomial.ts'
import { riseOf } from '../../daemon/insight/change-point.ts'
import { exhaustion } from '../../daemon/insight/gauges.ts'
import { Insight } from '../../daemon/insight/insight.ts'
import type { Reading } from '../../daemon/insight/port.ts'
import type { Prediction } from '../../daemon/insight/prediction.ts'
import { outlasting, survivalCurve, timeForAllBut } from '../../daemon/insight/survival.ts'
import { mannKendall, trendOf } from '../../daemon/insight/trend.ts'
import { seededChance } from '../../daemon/kit/chance.ts'
import { ANALYST, GOAL, HOUR_MS, Story } from './story.ts'

const MINUTE_MS = 60_000
const MB = 1_048_576

// --- the statistics ----------------------------------------------------------------------------------------------

t.test('the survival curve is that of the textbook, with one more at risk', async (t) => {
  // Freireich 1963, 6-MP: Kaplan and Meier's own steps are .857 .807 .753 .690 .627 .538 .448.
  const ended = [6, 6, 6, 7, 10, 13, 16, 22, 23]
  const cutOff = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
  const durations = [
    ...cutOff.map((ms) => ({ ms, censored: true })),
    ...ended.map((ms) => ({ ms, censored: false })),
  ]
  const atRisk = [
    [6, 21, 3],
    [7, 17, 1],
    [10, 15, 1],
    [13, 12, 1],
    [16, 11, 1],
    [22, 7, 1],
    [23, 6, 1],
  ] as const
  let share = 1
  const expected = atRisk.map(([ms, r, d]) => {
    share *= 1 - d / (r + 1)
    return [ms, share.toFixed(4)]
  })
  t.strictSame(
    survivalCurve(durations).map((step) => [step.ms, step.share.toFixed(4)]),
    expected,
  )
  t.equal(survivalCurve(durations).at(-1)?.share.toFixed(3), '0.485')
})

t.test(
  'a limit that nobody has met yet is not impossible to miss, and twenty are surer than five',
  async (t) => {
    const of = (n: number) => Array.from({ length: n }, () => ({ ms: 1_000, censored: false }))
    const [five, twenty] = [outlasting(of(5), 60_000), outlasting(of(20), 60_000)]
    t.strictSame([five.probability.toFixed(4), twenty.probability.toFixed(4)], ['0.1667', '0.0476'])
    for (const { probability, interval, nEff, n } of [five, twenty]) {
      t.ok(interval[0] < probability && probability < interval[1])
      t.ok(Math.abs(nEff - n) < 1.5, `without censoring all count: ${nEff} of ${n}`)
    }
    t.ok(twenty.interval[1] < five.interval[1])
  },
)

t.test('missions that ran out of time would have taken longer', async (t) => {
  const half = Array.from({ length: 20 }, (_, n) => ({ ms: n < 10 ? 5_000 : 10_000, censored: n >= 10 }))
  t.ok(Math.abs(outlasting(half, 10_000).probability - 11 / 21) < 0.001)
  t.equal(timeForAllBut(0.05, half), undefined, 'nobody knows how long 95 % of them take')
  const hundred = Array.from({ length: 100 }, (_, n) => ({ ms: n + 1, censored: false }))
  t.equal(timeForAllBut(0.05, hundred), 96)
})

t.test("Mann and Kendall's test has the reference values, ties included", async (t) => {
  const rising = Array.from({ length: 10 }, (_, n) => n)
  t.ok(Math.abs(mannKendall(rising) - 8.3e-5) < 2e-6, 'S = 45, z = 44/√125 = 3.935')
  t.equal(mannKendall(rising), mannKendall(rising.toReversed()))
  // S = 13 − 0 − … = 9, two pairs tied: var = (6·5·17 − 2·18)/18 = 26.33; z = 8/5.132 = 1.559, p = 0.119.
  t.ok(Math.abs(mannKendall([1, 1, 3, 2, 2, 4]) - 0.119) < 0.001, 'with ties')
  t.equal(mannKendall([5, 5, 5, 5]), 1, 'no order at all')
})

t.test('noise has a trend once in a hundred times, and a trend survives wild values', async (t) => {
  const chance = seededChance(4)
  const noise = () => Array.from({ length: 120 }, () => chance.next())
  const found = Array.from({ length: 400 }, () => trendOf(noise())).filter((trend) => trend !== undefined)
  t.ok(found.length > 0 && found.length <= 12, `${found.length} of 400`)

  const line = Array.from({ length: 360 }, (_, n) => 100 + 2 * n + 3 * chance.next())
  const spoilt = line.map((value, n) => (n % 5 === 0 ? 10_000 * chance.next() : value))
  const trend = trendOf(spoilt)
  t.ok(Math.abs((trend?.slope ?? 0) - 2) < 0.05, `a fifth of it is nonsense: ${trend?.slope}`)
  t.ok((trend?.low ?? 0) < 2 && (trend?.high ?? 0) > 2)
  t.equal(trendOf(line.slice(0, 29)), undefined, 'half an hour is the least')
})

t.test('a rate that rose is found within fifteen failures, and where it rose', async (t) => {
  const delays = Array.from({ length: 100 }, (_, seed) => {
    const chance = seededChance(seed + 1)
    const failed = Array.from({ length: 60 }, () => chance.next() < 0.05)
    for (let delay = 1; delay <= 100; delay += 1) {
      failed.push(chance.next() < 0.5)
      const rise = failed.at(-1) ? riseOf(failed) : undefined
      if (rise !== undefined) return { delay, at: rise.at }
    }
    return { delay: 100, at: 0 }
  })
  const mean = delays.reduce((sum, { delay }) => sum + delay, 0) / delays.length
  t.ok(mean < 18, `found after ${mean} missions`)
  const near = delays.filter(({ at }) => Math.abs(at - 60) <= 10).length
  t.ok(near >= 85, `${near} of 100 within ten missions of the change`)
  t.equal(riseOf(Array.from({ length: 80 }, (_, n) => n < 40)), undefined, 'a rate that fell is no rise')
})

t.test('a steady rate is found to have risen less than once in two thousand missions', async (t) => {
  const alarms = [0.01, 0.05, 0.1, 0.3, 0.5].map((rate) => {
    const chance = seededChance(9)
    let [found, failed]: [number, boolean[]] = [0, []]
    for (let n = 0; n < 40_000; n += 1) {
      failed.push(chance.next() < rate)
      if (failed.length > 100) failed.shift()
      if (!failed.at(-1) || riseOf(failed) === undefined) continue
      found += 1
      failed = []
    }
    return found
  })
  t.ok(
    alarms.some((found) => found > 0),
    'the run was long enough to see anything',
  )
  t.strictSame(
    alarms.filter((found) => found > 20),
    [],
    `alarms in 40,000 missions: ${alarms}`,
  )
})

t.test('binomial tails are what a count says', async (t) => {
  const uniform = [0, 1, 12, 20].map((k) => betaBinomialAtLeast(k, 20, 1, 1).toFixed(6))
  t.strictSame(
    uniform,
    [21, 20, 9, 1].map((ways) => (ways / 21).toFixed(6)),
  )
  t.ok(Math.abs(binomialAtLeast(2, 3, 0.5) - 0.5) < 1e-12)
  t.strictSame([binomialAtLeast(0, 3, 0.2), binomialAtLeast(4, 3, 0.2)], [1, 0])
})

// --- made, resolved, scored --------------------------------------------------------------------------------------

const order = (story: Story, seconds = 60): string => {
  const mid = story.nextMid()
  const plan = [{ id: 'run', uses: `${ANALYST}/run` }]
  story.tell(
    'mission.created',
    { goal: GOAL, category: 'coin', plan, constraints: { max_time_seconds: seconds } },
    mid,
  )
  return mid
}
const ofKind = (facts: readonly { type: string; d: Fact['d'] }[], kind: string) =>
  facts
    .filter(({ d }) => d['kind'] === kind)
    .map(({ type, d }) => [type.slice(11), d['probability'], d['outcome']])
const shown = (story: Story, kind: string): Prediction | undefined =>
  story.insight.predictions().predictions.find((prediction) => prediction.kind === kind)
const skillOf = (story: Story, kind: string) =>
  story.insight.predictions().skill.find((skill) => skill.kind === kind)

t.test(
  'a missed limit is predicted, resolved by the next mission, and said again ten minutes later',
  async (t) => {
    const story = new Story()
    for (let n = 0; n < 5; n += 1) story.ended({ duration_ms: 2_000 }, order(story, 5))
    t.match(ofKind(story.record(), 'deadline_miss'), [['made', 0.1667, undefined]])
    t.match(story.insight.predictions().open, [
      { kind: 'deadline_miss', statement: `the next coin mission of ${ANALYST} needs more than 5 s` },
    ])
    story.ended({ success: false, error_code: 'MAX_TIME_EXCEEDED', duration_ms: 5_004 }, order(story, 5))
    t.strictSame(ofKind(story.record(), 'deadline_miss'), [['resolved', 0.1667, 'true']])
    t.match(skillOf(story, 'deadline_miss'), { n: 1, brier: 0.6944 })
    story.ended({ duration_ms: 2_000 }, order(story, 5))
    t.strictSame(ofKind(story.record(), 'deadline_miss'), [], 'too soon to say it again')
    story.clock.jump(10 * MINUTE_MS)
    story.ended({ duration_ms: 2_000 }, order(story, 5))
    t.match(
      ofKind(story.record(), 'deadline_miss'),
      [['made', /0\.2/, undefined]].map(() => ['made']),
    )
    story.ended({ success: false, error_code: 'MAX_TIME_EXCEEDED', duration_ms: 1_000 }, order(story, 1))
    t.match(ofKind(story.record(), 'deadline_miss'), [['resolved']])
    t.match(
      skillOf(story, 'deadline_miss'),
      { n: 1 },
      'cut off before that limit: nobody knows, so it is not scored',
    )
  },
)

t.test('the limit that would do is P95 and a quarter, where anybody knows it', async (t) => {
  const story = new Story()
  for (let n = 1; n <= 100; n += 1) story.ended({ duration_ms: n * 1_000 }, order(story, 60))
  t.match(shown(story, 'deadline_miss'), { status: 'stated', n: 100, recommended: { max_time_seconds: 120 } })
  const probability = shown(story, 'deadline_miss')?.probability ?? 0
  t.ok(Math.abs(probability - 41 / 101) < 0.001, String(probability))
})

const crash = (story: Story, reason = 'exited with 1'): void => {
  story.tell('module.crashed', { module_id: ANALYST, how: 'exited', exit_code: 1, reason })
}

t.test(
  'a crash that was predicted comes true, or does not within a day, or nobody could see it',
  async (t) => {
    const story = new Story()
    story.tell('module.started', { module_id: ANALYST })
    for (let n = 0; n < 6; n += 1) crash(story)
    t.match(ofKind(story.record(), 'module_crash'), [['made']])
    crash(story)
    t.match(ofKind(story.record(), 'module_crash'), [['resolved', Number, 'true']])
    story.clock.jump(HOUR_MS)
    crash(story)
    t.match(ofKind(story.record(), 'module_crash'), [['made']])
    await story.clock.pass(24 * HOUR_MS + MINUTE_MS)
    t.match(ofKind(story.record(), 'module_crash'), [['resolved', Number, 'false']])
    crash(story)
    t.match(ofKind(story.record(), 'module_crash'), [['made']])
    story.tell('module.stopped', { module_id: ANALYST })
    await story.clock.pass(25 * HOUR_MS)
    t.match(ofKind(story.record(), 'module_crash'), [['resolved', Number, 'expired']])
    t.match(skillOf(story, 'module_crash'), { n: 2 })
    t.equal(story.clock.waiting, 0, 'nothing waits when nothing is open')
  },
)

const fill = async (
  story: Story,
  reading: Omit<Reading, 'used'>,
  minutes: number,
  used: (minute: number) => number,
) => {
  for (let minute = 0; minute < minutes; minute += 1) {
    story.insight.measured([{ ...reading, used: used(minute) }])
    await story.clock.pass(MINUTE_MS)
  }
}

t.test(
  'memory that leaks is predicted to run out, with the time it takes, and the end of the instance proves it',
  async (t) => {
    const story = new Story()
    const chance = seededChance(2)
    const memory = { moduleId: ANALYST, resource: 'memory' as const, limit: 256 * MB }
    await fill(story, memory, 60, (minute) => (100 + minute * 0.5 + 4 * chance.next()) * MB)
    const made = story.record()
    t.match(ofKind(made, 'exhaustion'), [['made']])
    t.match(shown(story, 'exhaustion'), {
      status: 'stated',
      subject: { module_id: ANALYST, resource: 'memory' },
    })
    const { eta_hours: eta, probability } = shown(story, 'exhaustion') ?? {}
    // 243 MB are reached from 130 MB at half a megabyte a minute: in 3.8 hours.
    t.ok(eta !== undefined && eta.low <= 3.8 && 3.8 <= eta.high + 0.1 && eta.high < 8, JSON.stringify(eta))
    t.ok((probability ?? 0) > 0.9, String(probability))
    crash(story, 'it used 257 MB of memory, limits.memory_mb is 256')
    t.match(ofKind(story.record(), 'exhaustion'), [['resolved', Number, 'true']])
  },
)

t.test('memory that stays, falls, or only trembles heads for nothing', async (t) => {
  for (const used of [() => 100 * MB, (m: number) => (200 - m) * MB, (m: number) => (100 + (m % 7)) * MB]) {
    const story = new Story()
    await fill(story, { resource: 'memory', limit: 256 * MB }, 60, used)
    t.strictSame([story.record(), shown(story, 'exhaustion')], [[], undefined])
  }
})

t.test('a trend whose slow end does not rise has no time to tell', async (t) => {
  const chance = seededChance(5)
  const minutes = Array.from({ length: 200 }, (_, n) => 500 + 0.1 * n + 40 * chance.next())
  const trend = trendOf(minutes)
  t.ok(trend !== undefined && trend.slope > 0 && trend.low < 0, 'it rises, but nobody knows how fast')
  t.equal(exhaustion({ subject: { resource: 'disk' }, limit: 600, minutes }, 0), undefined)
})

t.test('what was said to run out is told apart from what nobody looks at any more', async (t) => {
  const disk = { resource: 'disk' as const, limit: 1_000 }
  const chance = seededChance(8)
  const rising = (minute: number): number => 500 + minute + 6 * chance.next()
  const outcomes = await Promise.all(
    ([999, 600, undefined] as const).map(async (later) => {
      const story = new Story()
      await fill(story, disk, 90, rising)
      story.record()
      if (later !== undefined) await fill(story, disk, 24 * 60, () => later)
      else await story.clock.pass(24 * HOUR_MS)
      return ofKind(story.record(), 'exhaustion').at(0)?.[2]
    }),
  )
  t.strictSame(outcomes, ['true', 'false', 'expired'])
})

t.test('a failure rate that rose is told with where it rose, and the next missions decide', async (t) => {
  const story = new Story()
  for (let n = 0; n < 30; n += 1) story.ended()
  const since = story.nextMid()
  for (let n = 0; n < 16; n += 1) story.ended({ success: n % 2 === 1 })
  const made = story.record().find(({ d }) => d['kind'] === 'degradation')
  t.match(
    made?.d['statement'],
    new RegExp(`rose from 0 % to \\d+ % with ${since}: at least \\d+ of the next 20 fail`),
  )
  for (let n = 0; n < 16; n += 1) story.ended({ success: true })
  t.match(ofKind(story.record(), 'degradation'), [['resolved', Number, 'false']])
  t.match(skillOf(story, 'degradation'), { n: 1 })
})

t.test('each prediction is resolved by its own record and no other', async (t) => {
  const story = new Story()
  const [one] = ['a/one', 'a/two'].map((module_id) =>
    story.tell('prediction.made', {
      kind: 'module_crash',
      subject: { module_id },
      statement: `${module_id} crashes`,
      probability: 0.5,
      expires_at: new Date(story.clock.now() + HOUR_MS).toISOString(),
    }),
  )
  story.tell('prediction.resolved', { made: one?.seq, outcome: 'true' })
  t.match(story.insight.predictions().open, [{ statement: 'a/two crashes' }])
  t.match([story.insight.predictions().open.length, skillOf(story, 'module_crash')?.n], [1, 1])
})

t.test('what a crash of the daemon kept from the journal is resolved at the next start', async (t) => {
  const story = new Story()
  for (let n = 0; n < 5; n += 1) story.ended({ duration_ms: 2_000 }, order(story, 5))
  story.record()
  story.ended({ duration_ms: 9_000 }, order(story, 5))
  t.match(story.proposed, [{ type: 'prediction.resolved' }])
  const proposed: object[] = []
  const later = new Insight({ clock: story.clock, propose: (draft) => void proposed.push(draft) })
  for (const fact of story.facts) later.fold(fact)
  t.strictSame(proposed, [], 'not while the past is told')
  later.begin()
  t.match(proposed, [{ type: 'prediction.resolved', d: { outcome: 'true' } }])
  await story.clock.pass(2 * MINUTE_MS)
  t.ok(proposed.length >= 2, 'and again as long as it is not on record')
  later.stop()
})

t.test('a kind that is no better than the base rate is muted, and speaks again when it is', async (t) => {
  const story = new Story()
  const tell = (probability: number, outcome: string): void => {
    const about = {
      kind: 'module_crash',
      subject: { module_id: 'a/b' },
      statement: 'it crashes',
      probability,
    }
    const { seq: made } = story.tell('prediction.made', about)
    // Told twice, as after a stall of the disk: it counts once.
    for (const _ of [1, 2]) story.tell('prediction.resolved', { made, outcome })
  }
  story.tell('module.started', { module_id: ANALYST })
  for (let n = 0; n < 8; n += 1) crash(story)
  t.match(shown(story, 'module_crash'), { status: 'stated', probability: Number })
  for (let n = 0; n < 29; n += 1) tell(0.5, n % 2 ? 'true' : 'false')
  t.match(shown(story, 'module_crash'), { status: 'stated' }, 'twenty-nine are too few to tell')
  tell(0.5, 'true')
  tell(0.5, 'expired')
  t.match(skillOf(story, 'module_crash'), {
    n: 30,
    skill: 0,
    muted: true,
    sentence: /no better than the base rate over 30/,
  })
  t.match(shown(story, 'module_crash'), { status: 'muted', probability: null, interval: null })
  t.match(story.insight.predictions().note, /module_crash is muted/)
  for (let n = 0; n < 10; n += 1) tell(n % 2 ? 0.9 : 0.1, n % 2 ? 'true' : 'false')
  t.match(skillOf(story, 'module_crash'), {
    n: 40,
    muted: false,
    sentence: /^skill \+0\.\d\d over 40 predictions$/,
  })
  t.match(shown(story, 'module_crash'), { status: 'stated', probability: Number })
})

t.test('at most two hundred of a kind are made in a day, and one at a time about each subject', async (t) => {
  const story = new Story()
  for (let n = 0; n < 300; n += 1) {
    const module_id = `group/m${n}`
    story.tell('module.started', { module_id })
    for (let k = 0; k < 6; k += 1)
      story.tell('module.crashed', { module_id, how: 'exited', exit_code: 1, reason: 'exited' })
    story.record()
  }
  const made = story.facts.filter(({ type }) => type === 'prediction.made')
  t.equal(made.length, 200)
  t.equal(new Set(made.map(({ d }) => JSON.stringify(d['subject']))).size, 200)
})
