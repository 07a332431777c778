import t from 'tap'
import type { PlanStep } from '../../daemon/contracts/mission.ts'
import { Insight } from '../../daemon/insight/insight.ts'
import { rateDifference } from '../../daemon/insight/numbers.ts'
import { planShape, planTemplate } from '../../daemon/insight/plan-template.ts'
import type { Question } from '../../daemon/insight/port.ts'
import { seededChance } from '../../daemon/kit/chance.ts'
import { TestClock } from '../support/test-clock.ts'
import { ANALYST, GOAL, HOUR_MS, QUESTION, Story } from './story.ts'

// --- predictions -----------------------------------------------------------------------------------------------

t.test('with nothing recorded nothing is predicted, and it says so', async (t) => {
  const { predictions, skill, note } = new Story().insight.predictions()
  t.strictSame(predictions, [])
  t.match(note, /nothing is recorded yet/)
  t.match(skill, [{ n: 0, brier: null, sentence: 'no prediction has been scored yet' }])
})

t.test('a failure is predicted from five outcomes on, with its interval and examples', async (t) => {
  const story = new Story()
  for (let n = 0; n < 4; n += 1) story.ended({ success: n > 0 })
  t.match(story.insight.predictions().predictions, [
    {
      status: 'insufficient_data',
      probability: null,
      interval: null,
      n: 4,
      subject: { module_id: ANALYST, category: 'coin' },
    },
  ])
  for (let n = 0; n < 16; n += 1) story.ended({ success: n % 4 !== 0 })
  const [failure] = story.insight.predictions().predictions
  t.match(failure, {
    kind: 'mission_failure',
    status: 'stated',
    n: 20,
    horizon: 'next mission',
    expires_at: /^2026-11-23T/,
  })
  const [low, high] = failure?.interval ?? [1, 0]
  const probability = failure?.probability ?? 0
  t.ok(Math.abs(probability - 0.25) < 0.03, `five of twenty failed: ${probability}`)
  t.ok(low < probability && probability < high && high - low > 0.2, `${low} to ${high}`)
  t.equal(failure?.evidence.length, 5)
})

t.test('a crash is predicted from crashes by time up', async (t) => {
  const story = new Story()
  const crashing = (module_id: string): void => {
    story.tell('module.crashed', { module_id, how: 'exited', exit_code: 1, reason: 'exited' })
  }
  story.tell('module.started', { module_id: ANALYST })
  story.tell('module.started', { module_id: 'vitals/heartbeat' })
  for (let day = 0; day < 10; day += 1) {
    story.clock.jump(24 * HOUR_MS)
    crashing(ANALYST)
  }
  const found = story.insight.predictions().predictions
  t.match(found, [
    { kind: 'module_crash', subject: { module_id: ANALYST }, status: 'stated', n: 10, horizon: '24 h' },
    { kind: 'module_crash', subject: { module_id: 'vitals/heartbeat' }, status: 'stated', n: 0 },
  ])
  const [often = 0, never = 0] = found.map(({ probability }) => probability ?? 0)
  // About T = 9 fading days up, k = 9, b = 2: 1 − (11/12)^10 and 1 − (11/12).
  t.ok(Math.abs(often - 0.58) < 0.04 && Math.abs(never - 0.083) < 0.02, `${often} and ${never}`)
  for (const { interval, probability } of found) {
    const [low = 1, high = 0] = interval ?? []
    t.ok(low < (probability ?? 0) && (probability ?? 1) < high, `${low} to ${high}`)
  }
})

t.test('the skill of our own predictions is told as it is', async (t) => {
  const sentence = (predictedFor: (success: boolean) => number, missions = 40): string => {
    const story = new Story()
    for (let n = 0; n < missions; n += 1) {
      const success = n % 2 === 0
      story.ended({ success, predicted: predictedFor(success) })
    }
    return story.insight.predictions().skill[0]?.sentence ?? ''
  }
  t.equal(
    sentence((success) => (success ? 0.9 : 0.1)),
    'skill +0.96 over 40 predictions',
  )
  t.equal(
    sentence(() => 0.5),
    'no better than the base rate over 40 predictions, so it is muted',
  )
  t.equal(
    sentence(() => 0.9, 1),
    'all outcomes were alike over 1 prediction: the base rate cannot be beaten',
  )
})

// --- the journal alone ------------------------------------------------------------------------------------------

t.test('the journal alone gives every number again that was shown, as of any record', async (t) => {
  const story = new Story({ prices: { coin_seconds_a_day: 900 } })
  const chance = seededChance(12)
  const shown: { seq: number; atMs: number; question: Question; answers: object }[] = []
  const answersOf = (insight: Insight, question: Question): object => ({
    verdict: insight.judge(question),
    predictions: insight.predictions(),
    omens: insight.omens(),
    runes: insight.runes(),
    rune: insight.bestRune(ask),
  })
  story.selfTested()
  story.tell('module.started', { module_id: ANALYST })
  for (let n = 0; n < 240; n += 1) {
    story.clock.jump(Math.floor(chance.next() * 2 * HOUR_MS))
    const success = chance.next() < (n < 150 ? 0.9 : 0.5)
    const goal = chance.next() < 0.7 ? GOAL : 'Archive quarterly sales reports'
    const { decision, predicted } = story.insight.judge({ ...QUESTION, goal })
    const constraints = { max_time_seconds: 20, max_steps: 3 }
    const outcome = { predicted, duration_ms: Math.floor(2_000 + 20_000 * chance.next()) }
    story.mission(PLAN, { goal, success, validation: { decision }, constraints, outcome })
    if (chance.next() < 0.1)
      story.tell('module.crashed', { module_id: ANALYST, how: 'exited', exit_code: 1, reason: 'exited' })
    story.record()
    if (n % 8 > 0) continue
    const question = { ...QUESTION, goal }
    const [seq, atMs] = [story.facts.length, story.clock.now()]
    t.strictSame(story.insight.judge(question).as_of, { seq, at: new Date(atMs).toISOString() })
    shown.push({ seq, atMs, question, answers: answersOf(story.insight, question) })
  }
  const kinds = new Set(story.facts.map(({ type, d }) => `${type} ${d['kind']}`))
  for (const kind of ['deadline_miss', 'module_crash', 'degradation'])
    t.ok(kinds.has(`prediction.made ${kind}`) && kinds.has(`prediction.resolved ${kind}`), kind)

  const clock = new TestClock()
  let again = new Insight({ clock, prices: { coin_seconds_a_day: 900 } })
  let folded = 0
  for (const { seq, atMs, question, answers } of shown) {
    for (; folded < seq; folded += 1) {
      const fact = story.facts[folded]
      if (fact !== undefined) again.fold(fact)
    }
    clock.jump(atMs - clock.now())
    t.strictSame(answersOf(again, question), answers, `as of ${seq}`)
    // Every other time through a snapshot, as text.
    if (seq % 2 > 0) continue
    const saved: unknown = JSON.parse(JSON.stringify(again.save()))
    again = new Insight({ clock, prices: { coin_seconds_a_day: 900 } })
    t.ok(again.load(saved))
  }
})

// --- runes -----------------------------------------------------------------------------------------------------

const PLAN: PlanStep[] = [
  { id: 'profile', uses: 'cortex/analyst/profile', with: { path: '/data/a.csv', deep: true } },
  {
    id: 'report',
    uses: 'cortex/analyst/report',
    with: { from: { $from: 'steps.profile.output' } },
    needs: ['profile'],
  },
]
const ask = { goal: GOAL, category: 'coin' as const }

t.test('the third success makes a rune of a plan, not the second', async (t) => {
  const story = new Story()
  story.mission(PLAN)
  story.mission(PLAN)
  t.match(story.insight.runes(), { runes: [], candidates: 1, note: /^none yet/ })
  t.equal(story.insight.bestRune(ask), undefined)
  const mid = story.mission(PLAN)
  const { runes } = story.insight.runes()
  t.match(runes, [
    {
      version: 1,
      state: 'active',
      plan: PLAN,
      successes: 3,
      n: 3,
      bound: 0.646,
      reusable: true,
      p50_ms: 6_000,
      recommended: { max_time_seconds: 8, max_steps: 2 },
    },
  ])
  t.equal(runes[0]?.evidence[0], mid)
  t.strictSame(story.insight.bestRune(ask), { rune: runes[0]?.rune, plan: PLAN, similarity: 1 })
})

t.test('three successes are not enough when as many failed', async (t) => {
  const story = new Story()
  for (const success of [false, true, false, true, true, false]) story.mission(PLAN, { success })
  t.strictSame(story.insight.runes().runes, [])
})

t.test('a rune goes stale when it stops working, and comes back when it works again', async (t) => {
  const story = new Story()
  for (let n = 0; n < 3; n += 1) story.mission(PLAN)
  for (let n = 0; n < 4; n += 1) story.mission(PLAN, { success: false })
  t.match(story.insight.runes().runes, [{ state: 'stale' }])
  t.equal(story.insight.bestRune(ask), undefined)
  for (let n = 0; n < 6; n += 1) story.mission(PLAN)
  t.match(story.insight.runes().runes, [{ state: 'active' }])

  for (let n = 0; n < 40; n += 1) story.mission(PLAN)
  for (let n = 0; n < 5; n += 1) story.mission(PLAN, { success: false })
  const [worn] = story.insight.runes().runes
  t.match(worn, { state: 'stale' }, 'five failures in a row outweigh a good record')
  t.ok((worn?.bound ?? 0) > 0.35)
})

t.test(
  "the mission's input becomes a reference, and missions with other fields do not get the rune",
  async (t) => {
    const story = new Story()
    for (const path of ['/data/a.csv', '/data/b.csv', '/data/c.csv'])
      story.mission([{ id: 'p', uses: 'cortex/analyst/profile', with: { path, deep: true } }], {
        input: { path },
      })
    const best = story.insight.bestRune({ ...ask, input: { path: '/data/new.csv' } })
    t.strictSame(best?.plan, [
      { id: 'p', uses: 'cortex/analyst/profile', with: { path: { $from: 'input.path' }, deep: true } },
    ])
    t.equal(story.insight.bestRune(ask), undefined, 'no input at all')
    t.equal(
      story.insight.bestRune({ ...ask, input: { path: 'x', target: 'y' } }),
      undefined,
      'one field more',
    )
  },
)

t.test(
  'a plan whose values differed from success to success is shown but never used by itself',
  async (t) => {
    const story = new Story()
    for (const path of ['/data/a.csv', '/data/b.csv', '/data/c.csv'])
      story.mission([{ id: 'p', uses: 'cortex/analyst/profile', with: { path } }])
    t.match(story.insight.runes().runes, [{ successes: 3, reusable: false }])
    t.equal(story.insight.bestRune(ask), undefined)
  },
)

t.test('a plan that repeats the goal serves that goal alone, others serve similar ones', async (t) => {
  const story = new Story()
  const goal = 'Archive quarterly sales reports of 2024'
  const similar = 'Archive quarterly sales reports of 2025'
  const bound = [{ id: 'a', uses: 'substrate/archivist/archive', with: { year: 2024 } }]
  for (let n = 0; n < 3; n += 1) story.mission(bound, { goal })
  t.ok(story.insight.bestRune({ ...ask, goal }))
  t.equal(story.insight.bestRune({ ...ask, goal: similar }), undefined, 'the year would be the wrong one')

  for (let n = 0; n < 3; n += 1) story.mission(PLAN)
  t.ok(
    story.insight.bestRune({ ...ask, goal: 'Optimize lead conversion process again' }),
    'more than 0.6 alike',
  )
  t.equal(story.insight.bestRune({ ...ask, goal: 'Optimize the build' }), undefined)
  t.equal(story.insight.bestRune({ ...ask, category: 'forge' }), undefined)
})

t.test('a changed plan is a new version, and the better bound is chosen', async (t) => {
  const story = new Story()
  const changed = [...PLAN, { id: 'check', uses: 'cortex/analyst/check' }]
  for (let n = 0; n < 3; n += 1) story.mission(PLAN)
  for (let n = 0; n < 5; n += 1) story.mission(changed)
  const { runes } = story.insight.runes()
  t.strictSame(
    runes.map(({ version, bound }) => [version, bound]),
    [
      [2, 0.753],
      [1, 0.646],
    ],
  )
  t.strictSame(story.insight.bestRune(ask)?.plan, changed)
})

t.test('missions that used a rune for another goal count for it', async (t) => {
  const story = new Story()
  for (let n = 0; n < 3; n += 1) story.mission(PLAN)
  const rune = story.insight.bestRune(ask)?.rune ?? ''
  story.mission(PLAN, { goal: 'Optimize lead conversion process again', rune })
  t.match(story.insight.runes(), { runes: [{ rune, successes: 4, n: 4, reusable: true }], candidates: 0 })
})

t.test(
  'what runes become stands in the journal, each change once, also after a crash of the daemon',
  async (t) => {
    const story = new Story()
    const changes = (): unknown[] =>
      story
        .record()
        .filter(({ type }) => type.startsWith('rune.'))
        .map(({ type, d }) => [type, d['bound'], ...(d['again'] === true ? ['again'] : [])])
    for (let n = 0; n < 3; n += 1) story.mission(PLAN)
    t.strictSame(changes(), [['rune.promoted', 0.646]])
    for (let n = 0; n < 4; n += 1) story.mission(PLAN, { success: false })
    t.strictSame(changes(), [['rune.staled', 0.33]])
    for (let n = 0; n < 6; n += 1) story.mission(PLAN)
    const proposed: string[] = []
    const later = new Insight({ clock: story.clock, propose: ({ type }) => void proposed.push(type) })
    for (const fact of story.facts) later.fold(fact)
    later.begin()
    t.strictSame(proposed, ['rune.promoted'], 'the daemon died before the last change was on record')
    later.stop()
    t.match(changes(), [['rune.promoted', Number, 'again']])
  },
)

t.test('a rune helps only when the interval of its lift leaves 0 out', async (t) => {
  const story = new Story()
  const lift = () => story.insight.runes().runes[0]?.lift
  const other = [...PLAN, { id: 'check', uses: 'cortex/analyst/check' }]
  for (let n = 0; n < 4; n += 1) story.mission(PLAN)
  for (let n = 0; n < 6; n += 1) story.mission(other, { success: n % 2 === 0 })
  t.match(lift(), { with: { n: 0 }, without: { n: 10, successes: 7 }, interval: null, verdict: 'not proven' })
  const rune = story.insight.bestRune(ask)?.rune ?? ''
  for (let n = 0; n < 3; n += 1) story.mission(PLAN, { rune })
  t.match(lift(), { with: { n: 3, successes: 3 }, difference: 0.3, verdict: 'not proven' })
  for (let n = 0; n < 20; n += 1) story.mission(PLAN, { rune })
  t.match(lift(), { with: { n: 23 }, without: { n: 10 }, difference: 0.3, verdict: 'helps' })
  t.ok((lift()?.interval?.[0] ?? 0) > 0)
})

t.test("the lift's interval is Newcombe's", async (t) => {
  // Newcombe 1998, table II (a), method 10: 56/70 less 48/80 at 95 % is 0.0524 to 0.3339.
  const found = rateDifference({ n: 70, successes: 56 }, { n: 80, successes: 48 }, 1.959964)
  t.strictSame(
    found?.interval.map((end) => end.toFixed(4)),
    ['0.0524', '0.3339'],
  )
  t.equal(rateDifference({ n: 0, successes: 0 }, { n: 5, successes: 5 }), undefined)
})

t.test('a rune never raises authority: its plan is judged like any other', async (t) => {
  const story = new Story()
  for (let n = 0; n < 8; n += 1) story.mission(PLAN)
  for (let n = 0; n < 7; n += 1) story.ended({ success: false, goal: 'Something else entirely' })
  const best = story.insight.bestRune(ask)
  t.ok(best !== undefined, 'the rune itself has never failed')
  const plain = story.insight.judge(QUESTION)
  const through = story.insight.judge({ ...QUESTION, rune: best?.rune ?? '' })
  t.equal(plain.decision, 'BORDERLINE')
  const { reasons, ...rest } = through
  t.strictSame(rest, (({ reasons: _, ...others }) => others)(plain), 'nothing but a reason more')
  t.equal(reasons.at(-1), `the plan is the rune ${best?.rune}`)
  t.notOk(
    /permission|role|principal|key/.test(JSON.stringify(story.insight.runes())),
    'and it carries no right',
  )
})

t.test('a FAILING suggestion and an oversized plan are not remembered', async (t) => {
  const story = new Story()
  const large: PlanStep[] = [{ id: 'p', uses: 'cortex/analyst/profile', with: { text: 'x'.repeat(20_000) } }]
  for (let n = 0; n < 3; n += 1) {
    story.mission(large)
    story.mission(PLAN, { validation: { decision: 'FAILING' } })
  }
  const { runes, candidates } = story.insight.runes()
  t.strictSame([runes, candidates], [[], 0])
})

t.test('values leave the shape of a plan, names and references stay', async (t) => {
  const shape = (given: unknown): string => planShape([{ id: 'p', uses: 'a/b/c', with: given }])
  t.equal(shape({ n: 1, s: 'x' }), shape({ s: 'y', n: 2 }))
  t.not(shape({ n: 1 }), shape({ n: '1' }))
  t.not(shape({ n: { $from: 'input.a' } }), shape({ n: { $from: 'input.b' } }))
  t.not(shape({ n: 1 }), shape({ m: 1 }))
  t.equal(planTemplate([], { a: 'x' }, 'goal').boundToGoal, false)
})

// --- all of it -------------------------------------------------------------------------------------------------

t.test('what was saved and loaded answers as what was folded, before and after further facts', async (t) => {
  const told = busyStory()
  const { insight: loaded } = told.again([])
  t.ok(loaded.load(JSON.parse(JSON.stringify(told.insight.save()))))
  loaded.begin()
  const { insight: replayed } = told.again(told.facts)
  replayed.begin()
  for (const fact of told.facts) loaded.fold(fact)
  for (const further of [false, true]) {
    if (further) {
      const from = told.facts.length
      tellMore(told)
      for (const fact of told.facts.slice(from)) for (const one of [loaded, replayed]) one.fold(fact)
    }
    const answers = [told.insight, loaded, replayed].map((one) => ({
      verdict: one.judge(QUESTION),
      omens: one.omens(),
      predictions: one.predictions(),
      runes: one.runes(),
      best: one.bestRune(ask),
    }))
    t.ok(answers[0]?.omens.omens.length && answers[0]?.runes.runes.length, 'there is something to compare')
    t.strictSame(answers[1], answers[0])
    t.strictSame(answers[2], answers[0])
  }
})

t.test('what was saved stays as it was while further facts are folded', async (t) => {
  const told = busyStory()
  told.record()
  const kept = [0, 1, 2].map(() => {
    const saved = told.insight.save()
    const before = JSON.stringify(saved)
    tellMore(told)
    told.record()
    const plan = [{ id: 'a', uses: `${ANALYST}/profile` }] as unknown as PlanStep[]
    for (const success of [true, false, true, true]) told.mission(plan, { success })
    told.tell('module.crashed', { module_id: ANALYST, exit_code: 1, reason: 'it fell' })
    for (let n = 0; n < 20; n += 1) told.ended({ success: n % 3 === 0 })
    told.record()
    return [saved, before] as const
  })
  t.ok(told.insight.savesCopy)
  for (const [saved, before] of kept) t.equal(JSON.stringify(saved), before)
  t.not(JSON.stringify(told.insight.save()), kept[0]?.[1])
})

t.test('a snapshot that cannot be used is refused, and nothing is changed by it', async (t) => {
  const story = new Story()
  story.selfTested()
  const before = story.insight.judge(QUESTION)
  for (const garbage of [undefined, null, 'x', {}, { version: 99 }, { version: 1, evidence: { goals: 7 } }])
    t.equal(story.insight.load(garbage), false)
  t.strictSame(story.insight.judge(QUESTION), before)
})

function busyStory(): Story {
  const story = new Story()
  story.selfTested()
  story.tell('module.started', { module_id: ANALYST })
  for (let n = 0; n < 5; n += 1) story.mission(PLAN)
  for (let n = 0; n < 3; n += 1)
    story.tell('module.hung', { module_id: ANALYST, how: 'hung', reason: 'silent' })
  tellMore(story)
  return story
}

function tellMore(story: Story): void {
  const mid = story.nextMid()
  story.tell('mission.created', { goal: GOAL, validation: { decision: 'BORDERLINE' }, plan: PLAN }, mid)
  for (let n = 0; n < 4; n += 1)
    story.ended({ success: false, predicted: 0.3, operator_minutes: 3, value: 2 })
  story.clock.jump(HOUR_MS)
  story.mission(PLAN)
}
