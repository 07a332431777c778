import t from 'tap'
import { normalised } from '../../daemon/insight/omen-keys.ts'
import { ANALYST, HOUR_MS, QUESTION, Story } from './story.ts'

const MB = 1_048_576

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
  t.match(
    story.insight.omenOver(ANALYST),
    { level: 'lock', because: /^13 missions failed/ },
    'successes do not open it',
  )
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

// --- what a module is told ---------------------------------------------------------------------------------------

t.test(
  'what stands over a module is one sentence with its time, and nothing where nothing stands',
  async (t) => {
    const story = new Story()
    const none = { level: 'ignore', because: null, since: null, probation_until: null, held: false }
    t.strictSame(story.insight.omenOver(ANALYST), none)
    for (let n = 0; n < 2; n += 1) story.ended({ success: false })
    t.strictSame(story.insight.omenOver(ANALYST), none, 'two failures are no omen')
    const third = story.ended({ success: false })
    for (let n = 0; n < 2; n += 1) story.ended({ success: false, error_code: 'OTHER' })
    t.strictSame(story.insight.omenOver(ANALYST), {
      ...none,
      level: 'warn',
      because: '3 missions failed with ACTION_FAILED at step run: it threw',
      since: third.ts,
    })
  },
)

t.test('omens are asked for by module, level and kind', async (t) => {
  const story = new Story()
  for (let n = 0; n < 3; n += 1) story.ended({ success: false })
  story.tell('module.crashed', { module_id: 'a/one', how: 'exited', exit_code: 1, reason: 'exited' })
  const asked = (filter: object): (string | null)[] =>
    story.insight.omens(filter).omens.map(({ module_id }) => module_id)
  t.strictSame(
    [{}, { level: 'warn' }, { kind: 'crashed' }, { module: ANALYST }, { module: 'a/none' }].map(asked),
    [[ANALYST, 'a/one'], [ANALYST], ['a/one'], [ANALYST], []],
  )
})

t.test('locks, probation and what is held come through a snapshot as through a replay', async (t) => {
  const story = new Story()
  for (const module of ['a/one', 'a/two', 'a/three', 'a/four']) {
    story.tell('module.discovered', { module_id: module })
  }
  for (let n = 0; n < 13; n += 1) story.ended({ success: false })
  story.tell('module.unlocked', { module_id: ANALYST, reason: 'mended' })
  for (let n = 0; n < 7; n += 1) story.ended({ success: false })
  commonCause(story, ['a/one', 'a/two', 'a/three', 'a/four'])
  const replayed = story.again(story.facts).insight
  const restored = new Story({})
  t.equal(restored.insight.load(JSON.parse(JSON.stringify(story.insight.save()))), true)
  restored.clock.jump(story.clock.now() - restored.clock.now())
  for (const module of [ANALYST, 'a/one']) {
    const told = story.insight.omenOver(module)
    t.match(
      told,
      module === ANALYST ? { level: 'lock', probation_until: String } : { held: true, level: 'ignore' },
    )
    t.strictSame([replayed.omenOver(module), restored.insight.omenOver(module)], [told, told])
  }
  t.strictSame(restored.insight.omens(), story.insight.omens())
})

// --- the system omen ---------------------------------------------------------------------------------------------

const FLEET = ['f/a', 'f/b', 'f/c', 'f/d', 'f/e', 'f/f', 'f/g', 'f/h']

/** Each of them fails three times, one after the other. */
function commonCause(story: Story, modules: readonly string[], times = 3): void {
  for (let n = 0; n < times; n += 1)
    for (const module of modules) story.ended({ success: false, modules: [module] })
}

function fleet(size = FLEET.length): Story {
  const story = new Story()
  for (const module_id of FLEET.slice(0, size)) story.tell('module.discovered', { module_id })
  return story
}

t.test('half of all modules at warn within a minute are one system omen, and theirs are held', async (t) => {
  const story = fleet()
  commonCause(story, FLEET.slice(0, 4))
  t.match(story.insight.omens().omens[0], {
    kind: 'system',
    level: 'warn',
    count: 4,
    because: '4 modules began to fail within a minute',
    evidence: FLEET.slice(0, 4),
  })
  t.strictSame(
    story.insight.omens({ kind: 'mission_failed' }).omens.map(({ level, held }) => [level, held]),
    [1, 2, 3, 4].map(() => ['warn', true]),
  )
  t.strictSame(
    FLEET.map((id) => story.insight.levelOf(id)),
    FLEET.map(() => 'ignore'),
  )
  t.match(story.insight.omenOver('f/a'), { level: 'ignore', held: true, because: /^3 missions failed/ })
  t.strictSame(
    story.changes.map(({ kind, level, held }) => [kind, level, held]),
    [
      ...[1, 2, 3].map(() => ['mission_failed', 'warn', false]),
      ...[1, 2, 3].map(() => ['mission_failed', 'warn', true]),
      ['system', 'warn', false],
      ['mission_failed', 'warn', true],
    ],
  )
})

t.test('fewer than half, fewer than four, or not within a minute are as many single omens', async (t) => {
  const three = fleet(6)
  commonCause(three, FLEET.slice(0, 3))
  const less = fleet(8)
  commonCause(less, FLEET.slice(0, 3))
  const slowly = fleet(8)
  for (const module of FLEET.slice(0, 4)) {
    commonCause(slowly, [module])
    slowly.clock.jump(20_000)
  }
  for (const story of [three, less, slowly]) {
    t.strictSame(story.insight.omens({ kind: 'system' }).omens, [])
    t.equal(story.insight.levelOf('f/a'), 'warn')
  }
})

t.test(
  'what is held does not lock, however long the cause lasts; who was locked before stays so',
  async (t) => {
    const story = fleet()
    for (let n = 0; n < 13; n += 1) story.ended({ success: false, modules: ['f/h'] })
    commonCause(story, FLEET.slice(0, 5), 20)
    t.strictSame(
      ['f/a', 'f/h'].map((id) => story.insight.levelOf(id)),
      ['ignore', 'lock'],
    )
    // One that joins later is held, too; one that fails in its old way from before is not.
    commonCause(story, ['f/f'])
    t.match(story.insight.omenOver('f/f'), { held: true, level: 'ignore' })
  },
)

t.test('of ten modules five are half, and four are not', async (t) => {
  const story = fleet()
  for (const module_id of ['f/i', 'f/j']) story.tell('module.discovered', { module_id })
  commonCause(story, FLEET.slice(0, 4))
  t.strictSame(story.insight.omens({ kind: 'system' }).omens, [])
  commonCause(story, ['f/e'])
  t.equal(story.insight.omens({ kind: 'system' }).omens.length, 1)
  const fewer = fleet()
  for (const module_id of ['f/i', 'f/j']) fewer.tell('module.discovered', { module_id })
  for (const module_id of ['f/i', 'f/j']) fewer.tell('module.removed', { module_id })
  commonCause(fewer, FLEET.slice(0, 4))
  t.equal(fewer.insight.omens({ kind: 'system' }).omens.length, 1, 'what was removed does not count')
})

t.test(
  'only what rose with the others is held: an omen from before stands, and one that succeeds calms',
  async (t) => {
    const story = fleet()
    for (let n = 0; n < 3; n += 1) story.ended({ success: false, modules: ['f/a'], error_code: 'OLD' })
    story.clock.jump(120_000)
    commonCause(story, FLEET.slice(0, 5), 20)
    t.strictSame(
      story.insight.omens({ module: 'f/a' }).omens.map(({ held, count }) => [held, count]),
      [
        [true, 20],
        [false, 3],
      ],
    )
    t.match(story.insight.omenOver('f/a'), { level: 'warn', because: /OLD/, held: false })
    for (let n = 0; n < 200; n += 1) story.ended({ modules: ['f/b'] })
    t.strictSame(
      story.insight.omens({ module: 'f/b' }).omens,
      [],
      'it was not locked, though it had failed 20 times',
    )
  },
)

t.test(
  'it ends when half of its modules succeed again, and those that go on failing begin anew',
  async (t) => {
    const story = fleet()
    commonCause(story, FLEET.slice(0, 4), 12)
    story.ended({ modules: ['f/a'] })
    story.ended({ modules: ['f/a'] })
    story.ended({ success: false, modules: ['f/a'] })
    story.ended({ modules: ['f/b'] })
    t.equal(
      story.insight.omens({ kind: 'system' }).omens.length,
      1,
      'one of four is well: the other failed again',
    )
    story.changes.length = 0
    story.ended({ modules: ['f/c'] })
    t.strictSame(story.insight.omens(), { omens: [] })
    t.match(story.changes.at(-1), { kind: 'system', level: 'ignore', because: 'the common cause is over' })
    commonCause(story, ['f/d'])
    t.strictSame(
      [story.insight.levelOf('f/d'), story.insight.omens().omens[0]?.count],
      ['warn', 3],
      'its twelve failures were the common cause',
    )
  },
)

t.test(
  'it ends by itself ten minutes after the last failure, and says so though nothing else happens',
  async (t) => {
    const story = fleet()
    commonCause(story, FLEET.slice(0, 4))
    await story.clock.pass(590_000)
    t.equal(story.insight.omens({ kind: 'system' }).omens.length, 1)
    story.ended({ success: false, modules: ['f/a'] })
    await story.clock.pass(590_000)
    t.equal(story.insight.omens({ kind: 'system' }).omens.length, 1, 'ten minutes after the last one')
    story.changes.length = 0
    await story.clock.pass(11_000)
    t.strictSame(story.insight.omens(), { omens: [] })
    t.match(story.changes.at(-1), { kind: 'system', level: 'ignore' })
    const { insight } = story.again(story.facts)
    t.strictSame(insight.omens(), { omens: [] }, 'a replay ends it at the same time without being told')
  },
)

// --- shifts ------------------------------------------------------------------------------------------------------

/** A mission of one step that took so long, in a minute of its own. */
function minute(story: Story, durationMs: number, uses = `${ANALYST}/run`): void {
  const mid = story.nextMid()
  story.tell('mission.step_started', { step: 'run', uses, try: 1 }, mid)
  story.tell('mission.step_finished', { step: 'run', status: 'completed', duration_ms: durationMs }, mid)
  story.clock.jump(58_000)
}

t.test('an action that takes longer for 3, 7 and 13 minutes in a row is an omen at each', async (t) => {
  const story = new Story()
  for (let n = 0; n < 30; n += 1) minute(story, 100 + (n % 3))
  t.strictSame(story.insight.omens(), { omens: [] })
  // The average needs a minute or two to pass the limit, and a minute is looked at when the next begins.
  for (let n = 0; n < 20; n += 1) minute(story, 400)
  t.strictSame(
    story.changes.map(({ kind, previous, level, count }) => [kind, previous, level, count]),
    [
      ['slow', 'ignore', 'warn', 3],
      ['slow', 'warn', 'intervene', 7],
      ['slow', 'intervene', 'lock', 13],
    ],
  )
  t.match(
    story.insight.omenOver(ANALYST).because,
    /^for \d+ minutes in a row run takes longer than it used to$/,
  )
  t.match(
    story.insight.omens().omens[0]?.evidence[0],
    /^2026-11-22T10:\d\dZ: 400 ms; usual 101 ms, limit 14\d/,
  )
})

t.test('neither a slow minute now and then nor a step that a reload explains is an omen', async (t) => {
  const now = new Story()
  for (let n = 0; n < 200; n += 1) minute(now, n % 20 === 19 ? 1_000 : 100)
  t.strictSame(now.changes, [])
  const reloaded = new Story()
  for (let n = 0; n < 30; n += 1) minute(reloaded, 100)
  reloaded.tell('module.reloaded', { module_id: ANALYST })
  for (let n = 0; n < 30; n += 1) minute(reloaded, 400)
  t.strictSame(reloaded.changes, [])
  const faster = new Story()
  for (let n = 0; n < 60; n += 1) minute(faster, n < 30 ? 400 : 100)
  t.strictSame(faster.changes, [], 'less is no omen')
})

t.test('minutes with a silence of more than ten between them are not in a row', async (t) => {
  const story = new Story()
  for (let n = 0; n < 30; n += 1) minute(story, 100)
  for (let n = 0; n < 20; n += 1) {
    minute(story, 400)
    if (n % 3 === 2) story.clock.jump(12 * 60_000)
  }
  t.strictSame(story.changes, [])
})

t.test('slowness calms with the first minute that is as usual, unless it has locked', async (t) => {
  const story = new Story()
  for (let n = 0; n < 30; n += 1) minute(story, 100)
  for (let n = 0; n < 12; n += 1) minute(story, 400)
  for (let n = 0; n < 12; n += 1) minute(story, 100)
  t.strictSame(
    story.changes.map(({ level }) => level),
    ['warn', 'intervene', 'ignore'],
  )
  t.strictSame(story.insight.omens(), { omens: [] })
  for (let n = 0; n < 20; n += 1) minute(story, 400)
  for (let n = 0; n < 20; n += 1) minute(story, 100)
  t.equal(story.insight.levelOf(ANALYST), 'lock')
  story.tell('module.unlocked', { module_id: ANALYST, reason: 'it is as it should be' })
  for (let n = 0; n < 40; n += 1) minute(story, 400)
  t.equal(story.insight.levelOf(ANALYST), 'ignore', 'what was unlocked is the new usual')
})

t.test(
  'memory that grows is proposed with its figures, and becomes an omen by the record alone',
  async (t) => {
    const story = new Story({})
    const told: object[] = []
    const feed = new Story({ onOmenChanged: (change) => void told.push(change) })
    const measure = (minutes: number, used: number): void => {
      for (let n = 0; n < minutes; n += 1) {
        feed.insight.measured([
          { moduleId: ANALYST, resource: 'memory', used, limit: 1e9 },
          { resource: 'memory', used: used * n, limit: 1e9 },
          { moduleId: ANALYST, resource: 'queue', used: 10 ** n, limit: 1e9 },
        ])
        feed.clock.jump(60_000)
      }
    }
    const replay = (): void => {
      for (const change of told.splice(0)) {
        story.tell('omen.changed', change)
        feed.tell('omen.changed', change)
      }
    }
    measure(30, 60 * MB)
    measure(8, 200 * MB)
    t.match(told, [{ kind: 'memory', module_id: ANALYST, previous: 'ignore', level: 'warn', count: 3 }])
    t.strictSame(feed.insight.omens(), { omens: [] }, 'nothing is an omen before it is on record')
    replay()
    t.equal(story.insight.levelOf(ANALYST), 'warn')
    measure(1, 200 * MB)
    t.match(told, [
      { level: 'intervene', previous: 'warn', evidence: [/200 MB; usual 60 MB, limit \d+/, /MB/] },
    ])
    replay()
    for (let n = 0; n < 8; n += 1) {
      measure(1, 200 * MB)
      replay()
    }
    t.strictSame([story.insight.levelOf(ANALYST), feed.insight.levelOf(ANALYST)], ['lock', 'lock'])
    t.match(story.insight.omenOver(ANALYST).because, /^for 13 minutes in a row it holds more memory/)
  },
)

t.test('a memory omen ends with its process, but a lock does not', async (t) => {
  const change = {
    key: `${ANALYST}|memory|||`,
    module_id: ANALYST,
    kind: 'memory',
    held: false,
    score: 9,
    evidence: [],
  }
  for (const type of ['module.crashed', 'module.stopped', 'daemon.started']) {
    const story = new Story()
    story.tell('omen.changed', { ...change, level: 'intervene', count: 7 })
    t.equal(story.insight.levelOf(ANALYST), 'intervene')
    story.tell(type, { module_id: ANALYST, exit_code: 0 })
    t.equal(story.insight.levelOf(ANALYST), 'ignore', type)
    story.tell('omen.changed', { ...change, level: 'lock', count: 13 })
    story.tell(type, { module_id: ANALYST, exit_code: 0 })
    t.equal(story.insight.levelOf(ANALYST), 'lock', type)
  }
})
