import t from 'tap'
import { normalised } from '../../daemon/insight/omen-keys.ts'
import { ANALYST, HOUR_MS, QUESTION, Story } from './story.ts'

t.test('a pure run of failures fires exactly at the 3rd, 7th and 13th, whatever came before', async (t) => {
  for (const successes of [0, 5, 500]) {
    const story = new Story()
    for (let n = 0; n < successes; n += 1) story.ended()
    for (let n = 0; n < 20; n += 1) story.ended({ success: false })
    t.strictSame(
      story.changes.map(({ level, previous, count }) => [previous, level, count]),
      [
        ['ignore', 'warn', 3],
        ['warn', 'intervene', 7],
        ['intervene', 'lock', 13],
      ],
      `after ${successes} successes`,
    )
    t.equal(story.insight.levelOf(ANALYST), 'lock')
  }
})

t.test('an omen is shown with what it stands on and what comes next', async (t) => {
  const story = new Story()
  const mids = [1, 2, 3].map(() => story.ended({ success: false }).mid)
  t.strictSame(story.insight.omens(), {
    omens: [
      {
        key: `${ANALYST}|mission_failed|ACTION_FAILED|it threw|run`,
        module_id: ANALYST,
        kind: 'mission_failed',
        level: 'warn',
        held: false,
        count: 3,
        score: 3.3,
        because: '3 missions failed with ACTION_FAILED at step run: it threw',
        first_seen: '2026-11-22T10:00:01.000Z',
        last_seen: '2026-11-22T10:00:03.000Z',
        evidence: mids.toReversed(),
        next_level: { level: 'intervene', at: 7 },
        probation_until: null,
      },
    ],
  })
})

t.test('an omen costs trust at warn, approval at intervene, and everything at lock', async (t) => {
  const story = new Story()
  for (let n = 0; n < 400; n += 1) story.ended()
  const gates: string[][] = []
  for (let n = 1; n <= 13; n += 1) {
    story.ended({ success: false })
    if ([2, 3, 7, 13].includes(n)) gates.push(story.insight.judge(QUESTION).gates.map(({ gate }) => gate))
  }
  t.strictSame(gates, [[], [], ['G5'], ['G0']])
})

t.test('failures of other kinds neither raise nor lower an omen, successes calm it', async (t) => {
  const story = new Story()
  for (let n = 0; n < 6; n += 1)
    story.ended({ success: false, error_message: n % 2 ? 'no row 12' : 'disk full' })
  t.strictSame(
    story.insight.omens().omens.map(({ level, count }) => [level, count]),
    [
      ['warn', 3],
      ['warn', 3],
    ],
  )
  for (let n = 0; n < 4; n += 1) story.ended()
  t.strictSame(story.insight.omens(), { omens: [] })
  t.strictSame(
    story.changes.map(({ level }) => level),
    ['warn', 'warn', 'ignore', 'ignore'],
  )
})

t.test('the module of the step that failed is to blame, and nobody when that is unknown', async (t) => {
  const story = new Story()
  const modules = [ANALYST, 'substrate/files']
  for (let n = 0; n < 3; n += 1) {
    const mid = story.nextMid()
    story.tell('mission.step_started', { step: 'read', uses: 'substrate/files/read' }, mid)
    story.ended({ success: false, modules, step: 'read' }, mid)
    story.ended({ success: false, modules, step: 'elsewhere' })
  }
  t.strictSame([story.insight.levelOf(ANALYST), story.insight.levelOf('substrate/files')], ['ignore', 'warn'])
  t.strictSame(
    story.insight.omens().omens.map(({ module_id, key }) => [module_id, key.split('|')[0]]),
    [
      [null, 'coin'],
      ['substrate/files', 'substrate/files'],
    ],
  )
})

t.test('messages that differ in numbers, paths and ids are one omen', async (t) => {
  t.equal(normalised('ENOENT: /var/a/b12.csv, row 17\n  at x'), normalised('ENOENT: /tmp/q/c.csv, row 3'))
  t.not(normalised('no such column'), normalised('no such file'))
  t.ok(normalised('x '.repeat(5_000)).length <= 120)
})

t.test('crashes count the same way, and clean hours calm them', async (t) => {
  const story = new Story()
  const crash = (): unknown =>
    story.tell('module.crashed', { module_id: ANALYST, how: 'exited', exit_code: 1, reason: 'exited with 1' })
  story.tell('module.started', { module_id: ANALYST })
  for (let n = 0; n < 7; n += 1) crash()
  for (let n = 0; n < 9; n += 1) story.ended()
  story.tell('module.crashed', { module_id: ANALYST, how: 'exited', exit_code: 0, reason: 'exited with 0' })
  t.strictSame(
    story.insight.omens().omens.map(({ kind, level, count }) => [kind, level, count]),
    [['crashed', 'intervene', 7]],
  )
  story.clock.jump(4.5 * HOUR_MS)
  t.strictSame(story.insight.omens(), { omens: [] }, 'it has been up for four whole hours')
  crash()
  t.strictSame(
    story.insight.omens().omens.map(({ count }) => count),
    [1],
    'a new run begins',
  )
  t.strictSame(
    story.changes.map(({ level }) => level),
    ['warn', 'intervene', 'ignore'],
  )
})

t.test('crashes with different exit codes are different omens', async (t) => {
  const story = new Story()
  for (const exit_code of [1, 1, 139])
    story.tell('module.crashed', {
      module_id: ANALYST,
      how: 'exited',
      exit_code,
      reason: `code ${exit_code}`,
    })
  t.strictSame(
    story.insight
      .omens()
      .omens.map(({ count }) => count)
      .sort(),
    [1, 2],
  )
})

t.test('time in which a module was stopped is no clean time', async (t) => {
  const story = new Story()
  story.tell('module.started', { module_id: ANALYST })
  for (let n = 0; n < 3; n += 1)
    story.tell('module.hung', { module_id: ANALYST, how: 'hung', reason: 'silent' })
  story.tell('module.stopped', { module_id: ANALYST })
  story.clock.jump(100 * HOUR_MS)
  t.strictSame(
    story.insight.omens().omens.map(({ kind, level }) => [kind, level]),
    [['hung', 'warn']],
  )
})

t.test('a lock opens by unlocking alone, and closes at the seventh failure for a day', async (t) => {
  const story = new Story()
  const fail = (times: number): void => {
    for (let n = 0; n < times; n += 1) story.ended({ success: false })
  }
  fail(13)
  for (let n = 0; n < 50; n += 1) story.ended()
  t.equal(story.insight.levelOf(ANALYST), 'lock', 'successes do not open it')
  const unlock = (): void => void story.tell('module.unlocked', { module_id: ANALYST, reason: 'mended' })
  story.tell('module.unlocked', { module_id: 'vitals/other', reason: 'mended' })
  t.equal(story.insight.levelOf(ANALYST), 'lock', 'nor does an unlocking of another')
  unlock()
  t.match(story.insight.omenOver(ANALYST), { level: 'ignore', probation_until: /^2026-11-23T10:01/ })
  fail(6)
  t.match(story.insight.omens().omens[0], { level: 'warn', next_level: { level: 'lock', at: 7 } })
  fail(1)
  t.equal(story.insight.levelOf(ANALYST), 'lock')
  story.clock.jump(25 * HOUR_MS)
  unlock()
  story.clock.jump(25 * HOUR_MS)
  fail(7)
  t.equal(story.insight.levelOf(ANALYST), 'intervene', 'a day later it is as any other')
})

t.test('a replay reports nothing that the journal has, and what a crash kept from it once', async (t) => {
  const told = new Story()
  for (let n = 0; n < 7; n += 1) {
    told.ended({ success: false })
    // The daemon died before the change to intervene was journaled.
    const change = told.changes.at(-1)
    if (n === 2 && change !== undefined) told.tell('omen.changed', change)
  }
  const later = new Story()
  const { insight, changes } = later.again(told.facts)
  t.strictSame(changes, [], 'while the past is told')
  insight.begin()
  t.strictSame(
    changes.map(({ previous, level }) => [previous, level]),
    [['warn', 'intervene']],
  )
  for (const fact of told.facts) insight.fold(fact)
  t.strictSame([changes.length, insight.omens().omens[0]?.count], [1, 7], 'a fact told twice counts once')
})
