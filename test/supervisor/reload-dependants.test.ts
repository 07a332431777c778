import t from 'tap'
import { NexusError } from '../../daemon/contracts/failure.ts'
import { Burst } from '../../daemon/supervisor/burst.ts'
import { judgeNeeds } from '../../daemon/supervisor/needs.ts'
import { Supervisor } from '../../daemon/supervisor/supervisor.ts'
import { CRASH, type FakeCode, FakeWorld } from '../support/fake-modules.ts'
import { settle, TestClock } from '../support/test-clock.ts'

const ACTIONS = { actions: { work: { description: 'works', idempotent: true, concurrency: 10 } } }
const OPERATOR = { kind: 'local', name: 'operator' } as const
const answers = (output: unknown): FakeCode => ({ action: async () => output })
const codeOf = (error: unknown): string => (error instanceof NexusError ? error.code : String(error))

async function raise(
  world: FakeWorld,
  tree: Readonly<Record<string, readonly string[]>>,
): Promise<Supervisor> {
  for (const [id, requires] of Object.entries(tree)) {
    world.save(id, `${id} 1`, answers(id), { ...ACTIONS, requires, restart: { backoff_ms: 5_000 } })
  }
  const supervisor = new Supervisor(world.environment(), () => undefined)
  world.onFact((fact) => supervisor.fold(fact))
  await supervisor.discover()
  const started = supervisor.start()
  await world.clock.pass(5_000)
  await started
  return supervisor
}

const states = (supervisor: Supervisor): Record<string, string> =>
  Object.fromEntries(supervisor.statuses().map(({ module_id, state }) => [module_id, state]))

const instanceOf = (world: FakeWorld, id: string) => world.running.find(({ order }) => order.moduleId === id)

/** Its instance dies, and its next starts fail until `mend`. */
function spoil(world: FakeWorld, id: string): { mend(): void } {
  const former = world.code.get(`${id} 1`) ?? {}
  world.code.set(`${id} 1`, { ...former, start: () => Promise.reject(new Error('spoiled')) })
  instanceOf(world, id)?.leave(CRASH)
  return { mend: () => world.code.set(`${id} 1`, former) }
}

t.test(
  'an absence counts as brief for a second, from its own beginning; the longest one is told',
  async (t) => {
    const there = { moduleId: 'a/there', state: 'started', awaySinceMs: undefined } as const
    const crashed = { moduleId: 'a/db', state: 'backoff', awaySinceMs: 5_000 } as const
    const held = { moduleId: 'a/api', state: 'waiting', awaySinceMs: 4_000 } as const
    const unknown = { moduleId: 'a/gone', state: undefined, awaySinceMs: undefined } as const
    const away = { met: false, because: 'it requires a/db, which is backoff', awaySinceMs: 5_000 }
    t.strictSame(
      [
        judgeNeeds([], 5_000),
        judgeNeeds([there], 5_000),
        judgeNeeds([there, crashed], 5_000),
        judgeNeeds([crashed], 5_999),
        judgeNeeds([crashed], 6_000),
        judgeNeeds([crashed, held], 5_500),
        judgeNeeds([crashed, unknown], 5_000),
      ],
      [
        { met: true },
        { met: true },
        { ...away, waitMs: 1_000 },
        { ...away, waitMs: 1 },
        { ...away, waitMs: 0 },
        { met: false, because: 'it requires a/api, which is waiting', awaySinceMs: 4_000, waitMs: 0 },
        { met: false, because: 'it requires a/gone, which is not there', awaySinceMs: 0, waitMs: 0 },
      ],
    )
  },
)

t.test('a crash that is over in a second disturbs nobody', async (t) => {
  const world = new FakeWorld()
  const supervisor = await raise(world, { 'a/db': [], 'b/web': ['a/db'] })
  const { mend } = spoil(world, 'a/db')
  world.code.set('a/db 1', { start: () => new Promise((resolve) => world.clock.after(900, resolve)) })
  await world.clock.pass(500)
  t.strictSame(states(supervisor), { 'a/db': 'starting', 'b/web': 'started' })
  const { output } = await supervisor.call({ moduleId: 'b/web', action: 'work', input: {} })
  mend()
  await world.clock.pass(5_000)
  t.strictSame([output, states(supervisor)], ['b/web', { 'a/db': 'started', 'b/web': 'started' }])
  t.notOk(world.types().includes('module.waiting'))
})

t.test(
  'while what it requires is away a module waits with its instances up, its calls wait, and it goes on',
  async (t) => {
    const world = new FakeWorld()
    const supervisor = await raise(world, { 'a/db': [], 'b/web': ['a/db'] })
    const web = instanceOf(world, 'b/web')
    const { mend } = spoil(world, 'a/db')
    await world.clock.pass(1_100)
    t.match(supervisor.status('b/web'), {
      state: 'waiting',
      because: 'it requires a/db, which is backoff',
      restarts: 0,
    })
    t.match(supervisor.explain('b/web').blocked_on, /a\/db, which is backoff/)
    const call = supervisor.call({ moduleId: 'b/web', action: 'work', input: {} })
    const late = supervisor
      .call({ moduleId: 'b/web', action: 'work', input: {}, timeoutMs: 100 })
      .catch(codeOf)
    await world.clock.pass(150)
    t.equal(await late, 'CALL_EXPIRED')
    mend()
    await world.clock.pass(10_000)
    t.equal((await call).output, 'b/web')
    t.strictSame(
      [states(supervisor), instanceOf(world, 'b/web') === web],
      [{ 'a/db': 'started', 'b/web': 'started' }, true],
    )
    const told = world.facts.filter(({ d }) => d['module_id'] === 'b/web').map(({ type }) => type)
    t.strictSame(told.slice(-2), ['module.waiting', 'module.resumed'])
  },
)

for (const [how, act, undo] of [
  [
    'stopped',
    (s: Supervisor) => s.stopModule('a/db', OPERATOR),
    (s: Supervisor) => s.startModule('a/db', OPERATOR),
  ],
  [
    'scaled to none',
    (s: Supervisor) => s.scale({ module_id: 'a/db', replicas: 0 }, OPERATOR),
    (s: Supervisor) => s.scale({ module_id: 'a/db', replicas: 1 }, OPERATOR),
  ],
] as const) {
  t.test(`what requires a module that is ${how} waits, and goes on when it is back`, async (t) => {
    const world = new FakeWorld()
    const supervisor = await raise(world, { 'a/db': [], 'b/web': ['a/db'], 'c/ui': ['b/web'] })
    const before = world.instances.length
    await act(supervisor)
    await world.clock.pass(2_000)
    t.strictSame([supervisor.status('b/web').state, supervisor.status('c/ui').state], ['waiting', 'waiting'])
    await undo(supervisor)
    await world.clock.pass(100)
    t.strictSame(states(supervisor), { 'a/db': 'started', 'b/web': 'started', 'c/ui': 'started' })
    t.equal(world.instances.length, before + 1, 'nobody else was started again')
  })
}

t.test('a chain and a diamond wait from the same moment on, and go on in order', async (t) => {
  const world = new FakeWorld()
  const tree = {
    'a/d': [],
    'b/left': ['a/d'],
    'b/right': ['a/d'],
    'c/top': ['b/left', 'b/right'],
    'd/end': ['c/top'],
  }
  const supervisor = await raise(world, tree)
  const order: unknown[] = []
  world.onFact(({ type, d }) => {
    if (type === 'module.resumed') order.push(d['module_id'])
  })
  const { mend } = spoil(world, 'a/d')
  await world.clock.pass(950)
  const early = states(supervisor)
  await world.clock.pass(100)
  const late = states(supervisor)
  t.strictSame(
    [Object.values(early).filter((state) => state === 'started').length, late],
    [
      4,
      { 'a/d': 'backoff', 'b/left': 'waiting', 'b/right': 'waiting', 'c/top': 'waiting', 'd/end': 'waiting' },
    ],
  )
  mend()
  await world.clock.pass(10_000)
  t.strictSame([...new Set(Object.values(states(supervisor)))], ['started'])
  t.strictSame(order, ['b/left', 'b/right', 'c/top', 'd/end'])
})

t.test(
  'an instance that dies while what it requires is away has not crashed: it comes back with it',
  async (t) => {
    const world = new FakeWorld()
    const supervisor = await raise(world, { 'a/db': [], 'b/web': ['a/db'] })
    const { mend } = spoil(world, 'a/db')
    await world.clock.pass(500)
    instanceOf(world, 'b/web')?.leave(CRASH)
    await world.clock.pass(100)
    t.match(supervisor.status('b/web'), { state: 'waiting', because: /a\/db/, restarts: 0 })
    const tries = world.instances.length
    await world.clock.pass(2_000)
    t.equal(world.instances.filter(({ order }) => order.moduleId === 'b/web').length, 1, `${tries}`)
    mend()
    await world.clock.pass(10_000)
    t.strictSame(states(supervisor), { 'a/db': 'started', 'b/web': 'started' })
  },
)

t.test('one of several replicas that dies meanwhile is there again when the module goes on', async (t) => {
  const world = new FakeWorld()
  world.save('b/web', 'w1', answers(1), { ...ACTIONS, replicas: 3, requires: ['a/db'] })
  const supervisor = await raise(world, { 'a/db': [] })
  for (const afterMs of [100, 3_000]) {
    const { mend } = spoil(world, 'a/db')
    await world.clock.pass(afterMs)
    instanceOf(world, 'b/web')?.leave(CRASH)
    await world.clock.pass(500)
    t.equal(supervisor.status('b/web').state, afterMs < 500 ? 'started' : 'waiting')
    mend()
    await world.clock.pass(20_000)
    t.match(
      supervisor.status('b/web'),
      { state: 'started', replicas: { desired: 3, ready: 3 } },
      `${afterMs}`,
    )
  }
})

t.test('a module that is removed from the disk is missed by those that require it', async (t) => {
  const world = new FakeWorld()
  const supervisor = await raise(world, { 'a/db': [], 'b/web': ['a/db'] })
  world.remove('a/db')
  world.settled('a/db')
  await world.clock.pass(12_000)
  t.match(supervisor.status('b/web'), { state: 'waiting', because: 'it requires a/db, which is not there' })
  world.save('a/db', 'd2', answers(2), ACTIONS)
  world.settled('a/db')
  await world.clock.pass(100)
  t.equal(supervisor.status('b/web').state, 'started')
})

t.test('an immediate reload that is short disturbs nobody, a long one makes them wait', async (t) => {
  for (const [startMs, waits] of [
    [500, false],
    [3_000, true],
  ] as const) {
    const world = new FakeWorld()
    const supervisor = await raise(world, { 'a/db': [], 'b/web': ['a/db'] })
    world.save(
      'a/db',
      'd2',
      { start: () => new Promise((resolve) => world.clock.after(startMs, resolve)) },
      ACTIONS,
    )
    const reload = supervisor.reloadModule({ module_id: 'a/db', strategy: 'immediate' }, OPERATOR)
    await world.clock.pass(10_000)
    t.match(await reload, { reloaded: true, downtime_ms: startMs })
    t.equal(world.types().includes('module.waiting'), waits)
    t.strictSame(states(supervisor), { 'a/db': 'started', 'b/web': 'started' })
  }
})

t.test('a reload asked for in a moment of absence begins when that is over', async (t) => {
  const world = new FakeWorld()
  const supervisor = await raise(world, { 'a/db': [], 'b/web': ['a/db'] })
  world.code.set('a/db 1', { start: () => new Promise((resolve) => world.clock.after(600, resolve)) })
  instanceOf(world, 'a/db')?.leave(CRASH)
  await world.clock.pass(10)
  let dbWas = ''
  const code: FakeCode = {
    start: async () => {
      dbWas = supervisor.status('a/db').state
    },
  }
  world.save('b/web', 'w2', code, { ...ACTIONS, requires: ['a/db'] })
  const reload = supervisor.reloadModule({ module_id: 'b/web' }, OPERATOR)
  await world.clock.pass(10_000)
  t.match(await reload, { reloaded: true, strategy: 'graceful' })
  t.equal(dbWas, 'started')
})

t.test(
  'new code that requires more is not started before that is there, and the old code serves meanwhile',
  async (t) => {
    const world = new FakeWorld()
    const supervisor = await raise(world, { 'b/web': [] })
    const more = { ...ACTIONS, requires: ['a/new'], timeouts: { start_ms: 5_000 } }
    world.save('b/web', 'w2', answers('new'), more)
    world.settled('b/web')
    await world.clock.pass(1_000)
    const before = await supervisor.call({ moduleId: 'b/web', action: 'work', input: {} })
    t.strictSame([before.output, world.instances.length], ['b/web', 1])
    world.save('a/new', 'n1', answers(1), ACTIONS)
    world.settled('a/new')
    await world.clock.pass(5_000)
    t.match(supervisor.status('b/web'), { state: 'started', generation: 'w2' })

    world.save('b/web', 'w3', answers('newer'), { ...more, requires: ['a/none'] })
    const refused = supervisor.reloadModule({ module_id: 'b/web' }, OPERATOR).catch((error) => error)
    await world.clock.pass(6_000)
    t.match(await refused, {
      code: 'RELOAD_ROLLED_BACK',
      facts: { phase: 'requires', reason: /a\/none, which is not there/ },
    })
    t.equal(supervisor.unit('b/web').refusal('w3'), undefined, 'the code is not to blame')
  },
)

t.test('new code of a module that waits starts when what it requires is back', async (t) => {
  const world = new FakeWorld()
  const supervisor = await raise(world, { 'a/db': [], 'b/web': ['a/db'] })
  const { mend } = spoil(world, 'a/db')
  await world.clock.pass(2_000)
  world.save('b/web', 'w2', answers('new'), { ...ACTIONS, requires: ['a/db'] })
  world.settled('b/web')
  await world.clock.pass(100)
  t.match(supervisor.status('b/web'), { state: 'waiting' })
  mend()
  await world.clock.pass(10_000)
  t.match(supervisor.status('b/web'), { state: 'started', generation: 'w2' })
})

t.test('in a burst, what is required is switched before those that require it begin', async (t) => {
  const world = new FakeWorld()
  const supervisor = await raise(world, {
    'a/db': [],
    'b/api': ['a/db'],
    'c/web': ['b/api', 'a/db'],
    'd/alone': [],
  })
  const begun: string[] = []
  const starting = (id: string): FakeCode => ({
    start: async () => {
      begun.push(
        `${id} begins with ${supervisor.status('a/db').generation}, ${supervisor.status('b/api').generation}`,
      )
      await new Promise<void>((resolve) => world.clock.after(200, resolve))
    },
  })
  world.save('c/web', 'c2', starting('c/web'), { ...ACTIONS, requires: ['b/api', 'a/db'] })
  world.save('b/api', 'b2', starting('b/api'), { ...ACTIONS, requires: ['a/db'] })
  world.save('a/db', 'a2', starting('a/db'), ACTIONS)
  for (const id of ['c/web', 'b/api', 'a/db']) world.touched(id)
  for (const id of ['c/web', 'b/api', 'a/db']) world.settled(id)
  await world.clock.pass(10_000)
  t.strictSame(begun, [
    'a/db begins with a/db 1, b/api 1',
    'b/api begins with a2, b/api 1',
    'c/web begins with a2, b2',
  ])
  t.strictSame([...new Set(Object.values(states(supervisor)))], ['started'])
})

t.test(
  'a burst waits for a folder that is still written to, not for one that never comes to rest',
  async (t) => {
    const clock = new TestClock()
    const requires: Readonly<Record<string, readonly string[]>> = {
      web: ['api'],
      api: ['db'],
      db: [],
      round: ['round'],
    }
    const burst = new Burst({ clock, requires: (id) => requires[id] ?? [] })
    const done: string[] = []
    const work = (id: string) => async (): Promise<void> => {
      done.push(id)
    }
    burst.touched('db')
    const web = burst.settled('web', work('web'))
    const round = burst.settled('round', work('round'))
    await settle()
    t.strictSame(done, ['round'])
    void burst.settled('db', async (carriedOut) => {
      done.push('db')
      clock.after(1_000, carriedOut)
      await new Promise(() => {})
    })
    await clock.pass(500)
    t.strictSame(done, ['round', 'db'])
    await clock.pass(600)
    await Promise.all([web, round])
    t.strictSame(done, ['round', 'db', 'web'], 'switched is enough, settled it need not be')

    burst.touched('db')
    const late = burst.settled('web', work('late'))
    await clock.pass(3_000)
    await late
    t.equal(done.at(-1), 'late')
  },
)

t.test('a change that fails does not keep those that require it waiting', async (t) => {
  const world = new FakeWorld()
  const supervisor = await raise(world, { 'a/db': [], 'b/web': ['a/db'] })
  world.save('a/db', 'd2', { start: () => Promise.reject(new Error('broken')) }, ACTIONS)
  world.save('b/web', 'w2', answers(2), { ...ACTIONS, requires: ['a/db'] })
  for (const id of ['a/db', 'b/web']) world.touched(id)
  for (const id of ['b/web', 'a/db']) world.settled(id)
  await world.clock.pass(5_000)
  t.strictSame(
    [supervisor.status('a/db').generation, supervisor.status('b/web').generation],
    ['a/db 1', 'w2'],
  )
})
