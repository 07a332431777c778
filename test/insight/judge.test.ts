import t from 'tap'
import { AXES } from '../../daemon/insight/axes.ts'
import type { Question, Verdict } from '../../daemon/insight/port.ts'
import { ANALYST, GOAL, HOUR_MS, QUESTION, START_MS, Story } from './story.ts'

t.test("an unproven module's first mission is BORDERLINE, and says what would help", async (t) => {
  const story = new Story()
  const { decision, score, gates, counterfactual } = story.insight.judge(QUESTION)
  t.strictSame([decision, score, gates.map(({ gate }) => gate)], ['BORDERLINE', 58.1, ['G1', 'G6']])
  t.strictSame(counterfactual, {
    gate: 'G6',
    axis: null,
    current: 0,
    needed: 3,
    sentence:
      'approve it once; 3 more outcomes of cortex/analyst would lift the cap; besides, 2 more successes of cortex/analyst would lift the estimate enough',
  })
})

t.test('self-tests of others make an unproven module no better', async (t) => {
  const story = new Story()
  const before = undated(story.insight.judge(QUESTION))
  for (const name of ['archivist', 'janitor', 'forge'])
    story.selfTested(9, { module_id: `autonomic/${name}`, categories: ['coin', 'forge'] })
  t.strictSame(undated(story.insight.judge(QUESTION)), before)
})

t.test(
  "a fresh install whose planner passed its self-test calls the specification's example SAFE",
  async (t) => {
    const story = new Story()
    story.selfTested()
    story.selfTested(6, { module_id: 'autonomic/janitor', categories: ['sanctuary'] })
    const verdict = story.insight.judge(QUESTION)

    t.equal(verdict.decision, 'SAFE')
    t.ok(Math.abs(verdict.score - 73.8) < 5, `near the reference: ${verdict.score}`)
    t.strictSame([verdict.gates, verdict.counterfactual, verdict.scorer_version], [[], null, 1])
    t.match(verdict.axes.trust, { n: 3, source: 'history', evidence: [`self_test:${ANALYST}`] })
    t.match(verdict.axes.compute_cost, { n: 0, value: 73.5, source: 'prior', interval: null, evidence: [] })
    t.match(verdict.axes.economic_value, { source: 'prior' })
    t.match(
      verdict.reasons[0],
      /^3 outcomes of cortex\/analyst on coin missions, 3 of them self-tests: success/,
    )
  },
)

t.test('a new generation has to pass its own self-test', async (t) => {
  const story = new Story()
  story.selfTested()
  const next = { ...QUESTION, modules: [{ ...standing(), generation: 'g2' }] }
  t.equal(story.insight.judge(next).decision, 'BORDERLINE')
  story.selfTested(3, { generation: 'g2' })
  t.equal(story.insight.judge(next).axes.trust.n, 3, 'the older one is replaced, not added to')
  t.equal(story.insight.judge(next).decision, 'SAFE')
  story.selfTested(6, { generation: 'g2' })
  t.equal(story.insight.judge(next).axes.trust.n, 6, 'a repeated one replaces the one before')
})

t.test('what cannot run is FAILING with the reason and the change that would let it', async (t) => {
  const story = new Story()
  story.selfTested()
  const cases: [string, Partial<Question>, RegExp, string][] = [
    [
      'more steps than allowed',
      { constraints: { max_time_seconds: 60, max_steps: 2 } },
      /3 steps.*allows 2/,
      'raise max_steps to 3',
    ],
    [
      'a locked module',
      { modules: [{ ...standing(), locked: true }] },
      /is locked/,
      `unlock module ${ANALYST}`,
    ],
    ['an unknown module', { modules: [] }, /is not there/, `add or repair the module ${ANALYST}`],
    ['no plan', { plan: [] }, /no plan/, 'give a plan, or start a module that plans coin missions'],
    [
      'no planner',
      { plan: [], obstacle: 'nobody plans coin' },
      /nobody plans/,
      'remove what is in the way: nobody plans coin',
    ],
  ]
  for (const [name, change, because, remedy] of cases) {
    const { decision, score, gates, reasons, counterfactual } = story.insight.judge({
      ...QUESTION,
      ...change,
    })
    t.strictSame(
      [decision, score, gates[0]?.gate, counterfactual?.sentence],
      ['FAILING', 0, 'G0', remedy],
      name,
    )
    t.match(reasons[0], because, name)
  }
})

t.test('the numbers that are advised are enough when the advice is followed', async (t) => {
  const story = new Story()
  for (let n = 0; n < 20; n += 1) story.ended({ duration_ms: 55_000 + n * 1_000 })
  const tight = story.insight.judge(QUESTION)
  t.strictSame([tight.decision, tight.gates.map(({ gate }) => gate)], ['FAILING', ['G3', 'G2']])
  const seconds = Number(/raise max_time_seconds to (\d+)/.exec(tight.counterfactual?.sentence ?? '')?.[1])
  const roomy = story.insight.judge({ ...QUESTION, constraints: { max_time_seconds: seconds, max_steps: 3 } })
  t.strictSame([roomy.decision, roomy.gates], ['SAFE', []], `with ${seconds} s`)
})

t.test('a mission for which nothing is gained is told the value that would do', async (t) => {
  const story = new Story()
  for (let n = 0; n < 6; n += 1) story.ended({ category: 'sanctuary', operator_minutes: 6, success: n !== 3 })
  const question = { ...QUESTION, category: 'sanctuary' as const, expected_value: 1 }
  const poor = story.insight.judge(question)
  t.strictSame([poor.decision, poor.gates, poor.counterfactual?.axis], ['BORDERLINE', [], 'economic_value'])
  const value = Number(/a value of at least ([\d.]+)/.exec(poor.counterfactual?.sentence ?? '')?.[1])
  const rich = story.insight.judge({ ...question, expected_value: value })
  t.strictSame(
    [rich.decision, rich.score < 60.5, rich.axes.economic_value.source],
    ['SAFE', true, 'declared'],
  )
})

t.test('as many successes as were asked for lift the careful estimate', async (t) => {
  const story = new Story()
  for (let n = 0; n < 4; n += 1) story.ended({ success: n === 0 })
  const doubtful = story.insight.judge(QUESTION)
  t.ok(doubtful.gates.some(({ gate }) => gate === 'G1'))
  const count = Number(/(\d+) more successes/.exec(doubtful.counterfactual?.sentence ?? '')?.[1])
  for (let n = 0; n < count; n += 1) story.ended()
  t.notOk(
    story.insight.judge(QUESTION).gates.some(({ gate }) => gate === 'G1'),
    `after ${count}`,
  )
})

t.test('the least reliable module of a plan decides', async (t) => {
  const story = new Story()
  for (let n = 0; n < 12; n += 1) story.ended()
  const alone = story.insight.judge(QUESTION)
  for (let n = 0; n < 12; n += 1)
    story.ended({ modules: ['substrate/files'], success: n % 2 === 0, goal: 'list files' })
  const files = { module_id: 'substrate/files', known: true, locked: false }
  const both = story.insight.judge({
    ...QUESTION,
    plan: [...QUESTION.plan.slice(1), { id: 'list', module_id: 'substrate/files', action: 'list' }],
    modules: [standing(), files],
  })
  t.ok(both.predicted < alone.predicted - 0.2, `${both.predicted} after ${alone.predicted}`)
  t.match(both.reasons.at(-3), /12 outcomes of substrate\/files/)
})

t.test('old outcomes fade, similar goals count more than other ones', async (t) => {
  const story = new Story()
  for (let n = 0; n < 10; n += 1) story.ended({ goal: 'Prune stale cache entries', success: false })
  for (let n = 0; n < 10; n += 1) story.ended()
  const [similar, other] = [GOAL, 'Prune stale cache entries'].map(
    (goal) => story.insight.judge({ ...QUESTION, goal }).predicted,
  )
  t.ok((similar ?? 0) > (other ?? 1) + 0.3, `${similar} against ${other}`)
  const before = story.insight.judge(QUESTION).axes.trust
  story.clock.jump(90 * 24 * HOUR_MS)
  const after = story.insight.judge(QUESTION).axes.trust
  t.ok(after.interval?.[0] !== before.interval?.[0] && after.n === before.n, 'ninety days later')
  const [low = 0, high = 0] = after.interval ?? []
  const [lowBefore = 0, highBefore = 0] = before.interval ?? []
  t.ok(high - low > highBefore - lowBefore, 'the interval is wider')
})

t.test('work that comes again within a day was not done, a day later it is new work', async (t) => {
  const rework = (gapMs: number): number => {
    const story = new Story()
    for (let n = 0; n < 6; n += 1) {
      story.ended()
      story.clock.jump(gapMs)
    }
    return story.insight.judge(QUESTION).axes.maintainability.value
  }
  const [again, later] = [rework(HOUR_MS), rework(25 * HOUR_MS)]
  t.ok(later - again > 20, `${again} and ${later}`)
})

t.test('learned value and cost replace the declared worth', async (t) => {
  const story = new Story()
  for (let n = 0; n < 5; n += 1) story.ended({ value: 9, cost: 3 })
  const { axes, predicted } = story.insight.judge(QUESTION)
  const worth = predicted * 3
  t.equal(axes.economic_value.source, 'history')
  t.ok(Math.abs(axes.economic_value.value - (100 * worth) / (1 + worth)) < 0.1)
})

t.test('waiting approvals and a spent day cost attention', async (t) => {
  const story = new Story()
  story.selfTested()
  const attention = (): number => story.insight.judge(QUESTION).axes.attention.value
  const calm = attention()
  const validation = { decision: 'BORDERLINE' }
  story.tell('mission.created', { goal: GOAL, validation }, 'm-a')
  story.tell('mission.created', { goal: GOAL, validation: { decision: 'SAFE' } }, 'm-b')
  story.tell('mission.rejudged', { validation }, 'm-b')
  const busy = attention()
  t.ok(Math.abs(busy - 100 * 2 ** ((-2 * (1 + 4 / 60)) / 10)) < 0.1, `two waiting: ${busy} after ${calm}`)
  story.tell('mission.approved', {}, 'm-a')
  story.tell('mission.rejected', {}, 'm-b')
  t.equal(attention(), calm)
})

t.test('a budget of seconds a day counts besides the time limit, until midnight', async (t) => {
  const story = new Story({ prices: { coin_seconds_a_day: 600 } })
  story.selfTested()
  for (let n = 0; n < 10; n += 1) story.ended({ duration_ms: 20_000 })
  const used = story.insight.judge(QUESTION)
  t.strictSame(used.axes.compute_cost.interval, [0.333, 0.5], '20 s of 60, and of a tenth of 400')
  for (let n = 0; n < 12; n += 1) story.ended({ duration_ms: 20_000 })
  const spent = story.insight.judge(QUESTION)
  t.strictSame(
    spent.gates.map(({ gate }) => gate),
    ['G2'],
  )
  t.match(spent.counterfactual?.sentence, /^wait until midnight UTC: 160 s are left of today's coin budget$/)
  story.clock.jump(15 * HOUR_MS)
  t.strictSame(story.insight.judge(QUESTION).gates, [])
})

t.test(
  "cancelled and interrupted missions are nobody's failure, and a broken record is not counted",
  async (t) => {
    const story = new Story()
    story.selfTested()
    const before = undated(story.insight.judge(QUESTION))
    story.tell('mission.cancelled', { by: 'alice' }, 'm-a')
    story.tell('mission.interrupted', { step: 'run', cause: 'daemon' }, 'm-b')
    story.tell('mission.ended', { success: false, category: 'coin' }, 'm-c')
    t.strictSame(undated(story.insight.judge(QUESTION)), before)
  },
)

t.test('predictions that turn out wrong cost confidence, from the thirtieth on', async (t) => {
  const story = new Story()
  const confidence = (): number => story.insight.judge(QUESTION).axes.prediction_confidence.value
  for (let n = 0; n < 29; n += 1) story.ended({ predicted: 0.25 })
  const before = confidence()
  story.ended({ predicted: 0.25 })
  t.ok(confidence() < before * 0.55, `${confidence()} after ${before}: all of them were off by 0.75`)
})

t.test('a judgement says the same each time, fits into a record, and adds up', async (t) => {
  const story = new Story()
  story.selfTested()
  for (let n = 0; n < 40; n += 1) story.ended({ goal: `${GOAL} of region number ${n}`, success: n % 3 !== 0 })
  const long = 'a'.repeat(60)
  const modules = Array.from({ length: 100 }, (_, n) => `${long}/${long}-${n}`)
  const widest: Question = {
    ...QUESTION,
    goal: 'ü'.repeat(2_000),
    plan: modules.map((module_id, n) => ({ id: `s${n}`, module_id, action: 'run' })),
    modules: modules.map((module_id, n) => ({ module_id, known: n % 2 === 0, locked: false })),
    obstacle: 'x'.repeat(5_000),
    rune: 'r-0123456789ab',
  }
  for (const question of [QUESTION, widest]) {
    const verdict: Verdict = story.insight.judge(question)
    t.strictSame(story.insight.judge(question), verdict)
    t.ok(Buffer.byteLength(JSON.stringify(verdict)) < 4_096, String(JSON.stringify(verdict).length))
    const lost = AXES.reduce((sum, axis) => sum + verdict.axes[axis].points_lost, 0)
    t.equal(lost.toFixed(1), (100 - verdict.ungated_score).toFixed(1))
  }
})

t.test('more is kept in mind than fits only as sums: memory stays bounded, answers stay', async (t) => {
  const story = new Story()
  const fact = story.ended()
  const many = 25_000
  for (let seq = 2; seq <= many; seq += 1) {
    const ts = new Date(START_MS + seq * 1_000).toISOString()
    const d = { ...fact.d, fingerprint: `g-${seq}`, tokens: [`t${seq % 500}`, `u${seq}`] }
    story.insight.fold({ ...fact, seq, ts, mid: `m-${seq}`, d })
  }
  story.clock.jump(many * 1_000)
  const saved = story.insight.save() as { evidence: { kinds: { recent: unknown[] }[]; goals: unknown[] } }
  t.strictSame(
    saved.evidence.kinds.map(({ recent }) => recent.length),
    [200],
    'outcomes',
  )
  t.ok(saved.evidence.goals.length <= 20_000, 'goals')
  const { trust, compute_cost } = story.insight.judge(QUESTION).axes
  t.equal(compute_cost.n, 200, 'durations')
  t.strictSame([trust.n, trust.evidence.length, trust.evidence[0]], [many, 5, `m-${many}`])
})

function standing(): Question['modules'][number] {
  return QUESTION.modules[0] ?? { module_id: ANALYST, known: true, locked: false }
}

function undated({ as_of: _, ...verdict }: Verdict): Omit<Verdict, 'as_of'> {
  return verdict
}
