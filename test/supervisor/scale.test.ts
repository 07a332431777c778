import t from 'tap'
import { NexusError } from '../../daemon/contracts/failure.ts'
import { Supervisor } from '../../daemon/supervisor/supervisor.ts'
import { CRASH, type FakeCode, FakeWorld } from '../support/fake-modules.ts'
import { raise } from '../support/raise.ts'
import { settle } from '../support/test-clock.ts'

const ACTIONS = { actions: { work: { description: 'works', idempotent: true, concurrency: 10 } } }
const OPERATOR = { kind: 'local', name: 'operator' } as const
const answers = (output: unknown): FakeCode => ({ action: async () => output })
const codeOf = (error: unknown): string => (error instanceof NexusError ? error.code : String(error))

const scale = (supervisor: Supervisor, replicas: number): Promise<unknown> =>
  supervisor.scale({ module_id: 'a/one', replicas }, OPERATOR).catch(codeOf)
const names = (world: FakeWorld): string[] => world.running.map(({ id }) => id)

t.test(
  'more come up beside those that serve, on record before they do, and a restart keeps them',
  async (t) => {
    const world = new FakeWorld()
    let instancesAtRecord = 0
    world.onFact(({ type }) => {
      if (type === 'module.scaled') instancesAtRecord = world.instances.length
    })
    world.save('a/one', 'g1', answers(1), ACTIONS)
    const supervisor = await raise(world)
    const scaled = await scale(supervisor, 3)
    const { state, replicas } = supervisor.status('a/one')
    t.strictSame(
      [scaled, instancesAtRecord, names(world), state, replicas],
      [
        { module_id: 'a/one', replicas: 3, previous: 1, ready: 3, state: 'started' },
        1,
        ['a/one#1', 'a/one#2', 'a/one#3'],
        'started',
        { desired: 3, ready: 3 },
      ],
    )
    t.strictSame(world.facts.find(({ type }) => type === 'module.scaled')?.actor, OPERATOR)

    await supervisor.stop('the daemon stops')
    const saved = supervisor.save()
    const again = new Supervisor(world.environment(), () => undefined)
    again.load(JSON.parse(JSON.stringify(saved)))
    await again.discover()
    await again.start()
    t.strictSame(again.status('a/one').replicas, { desired: 3, ready: 3 })
  },
)

t.test('the least busy go first, the youngest of them, and every call on them is answered', async (t) => {
  const world = new FakeWorld()
  const calls: { on: string; finish(output: unknown): void }[] = []
  const code: FakeCode = {
    action: (order) => new Promise((finish) => calls.push({ on: String(order.input), finish })),
  }
  world.save('a/one', 'g1', code, { ...ACTIONS, replicas: 4 })
  const supervisor = await raise(world)
  const call = async (): Promise<string> =>
    (await supervisor.call({ moduleId: 'a/one', action: 'work', input: {} })).instance
  const answered = [call(), call(), call(), call(), call()]
  await settle()
  // One call each, the fifth on the first.
  const down = scale(supervisor, 2)
  await settle()
  t.strictSame(
    supervisor.status('a/one').instances.map(({ instance, state }) => [instance, state]),
    [
      ['a/one#1', 'ready'],
      ['a/one#2', 'ready'],
      ['a/one#3', 'draining'],
      ['a/one#4', 'draining'],
    ],
  )
  const late = call()
  await settle()
  for (const { finish } of calls) finish('done')
  t.strictSame(await Promise.all(answered), ['a/one#1', 'a/one#2', 'a/one#3', 'a/one#4', 'a/one#1'])
  t.strictSame(
    [await late, await down],
    ['a/one#2', { module_id: 'a/one', replicas: 2, previous: 4, ready: 2, state: 'started' }],
  )
  t.strictSame([names(world), world.types().includes('module.crashed')], [['a/one#1', 'a/one#2'], false])
})

t.test('only what exceeds its drain is cut, and an idempotent call goes on elsewhere', async (t) => {
  const world = new FakeWorld()
  let hang = true
  const code: FakeCode = { action: () => (hang ? new Promise(() => {}) : Promise.resolve('repeated')) }
  const actions = {
    work: { description: 'works', idempotent: true, concurrency: 10 },
    once: { description: 'works once', concurrency: 10, timeout_ms: 60_000 },
  }
  world.save('a/one', 'g1', code, { actions, replicas: 2, timeouts: { drain_ms: 1_000 } })
  const supervisor = await raise(world)
  const ask = (action: string): Promise<unknown> =>
    supervisor.call({ moduleId: 'a/one', action, input: {} }).then(({ output }) => output, codeOf)
  // Both replicas have one of each.
  const calls = [ask('work'), ask('once'), ask('once'), ask('work')]
  await settle()
  hang = false
  const down = scale(supervisor, 1)
  await world.clock.pass(1_000)
  await down
  t.strictSame((await Promise.all(calls.map((call) => Promise.race([call, 'open'])))).sort(), [
    'CALL_CUT',
    'open',
    'open',
    'repeated',
  ])
})

t.test('none is none: nothing runs, calls are refused with what to do, and it is no illness', async (t) => {
  const world = new FakeWorld()
  world.save(
    'a/one',
    'g1',
    { action: () => new Promise(() => {}) },
    {
      actions: { work: { description: 'works', concurrency: 1, timeout_ms: 60_000 } },
      timeouts: { drain_ms: 500 },
    },
  )
  const supervisor = await raise(world)
  const ask = (): Promise<unknown> =>
    supervisor.call({ moduleId: 'a/one', action: 'work', input: {} }).catch(String)
  const inFlight = ask()
  const waiting = ask()
  await settle()
  const down = scale(supervisor, 0)
  await settle()
  t.match(await waiting, /scaled to none/, 'whoever waits is told at once')
  await world.clock.pass(500)
  t.strictSame(await down, { module_id: 'a/one', replicas: 0, previous: 1, ready: 0, state: 'waiting' })
  t.match(await inFlight, /was cut/)
  const refused = await supervisor
    .call({ moduleId: 'a/one', action: 'work', input: {} })
    .catch((error) => error)
  t.match(
    [refused.code, refused.status, refused.remedy],
    ['MODULE_SCALED_TO_NONE', 409, /nexus scale a\/one 1/],
  )
  const { state, health, replicas } = supervisor.status('a/one')
  t.strictSame(
    [state, health, replicas, world.running.length, supervisor.outlook('a/one').callable],
    ['waiting', { status: 'degraded', reason: 'it is scaled to none' }, { desired: 0, ready: 0 }, 0, false],
  )
  t.match(supervisor.explain('a/one'), { blocked_on: 'it is scaled to none', remedy: /nexus scale a\/one 1/ })
  await world.clock.pass(600_000)
  t.strictSame([world.running.length, supervisor.status('a/one').state], [0, 'waiting'], 'and it stays so')

  t.strictSame(await scale(supervisor, 1), {
    module_id: 'a/one',
    replicas: 1,
    previous: 0,
    ready: 1,
    state: 'started',
  })
  t.strictSame([supervisor.status('a/one').state, names(world)], ['started', ['a/one#2']])
})

t.test(
  'new code that comes while there are none is what the next scale starts, and is not taken for good',
  async (t) => {
    const world = new FakeWorld()
    world.save('a/one', 'g1', answers('old'), ACTIONS)
    const supervisor = await raise(world)
    await world.clock.pass(5_000)
    await scale(supervisor, 0)
    world.save('a/one', 'g2', answers('new'), ACTIONS)
    world.settled('a/one')
    await world.clock.pass(10_000)
    const accepted = (): unknown[] =>
      world.facts.filter(({ type }) => type === 'module.generation_accepted').map(({ d }) => d['generation'])
    t.strictSame([accepted(), world.running.length], [['g1'], 0])
    await scale(supervisor, 1)
    const { output } = await supervisor.call({ moduleId: 'a/one', action: 'work', input: {} })
    t.equal(output, 'new')
  },
)

t.test('one that does not come up is told and tried again, the others serve', async (t) => {
  const world = new FakeWorld()
  let failing = 'a/one#3'
  const code: FakeCode = {
    ...answers(1),
    start: async ({ instance }) => {
      if (instance === failing) throw new Error('no memory')
    },
  }
  world.save('a/one', 'g1', code, { ...ACTIONS, restart: { backoff_ms: 1_000 } })
  const supervisor = await raise(world)
  t.strictSame(await scale(supervisor, 3), {
    module_id: 'a/one',
    replicas: 3,
    previous: 1,
    ready: 2,
    state: 'started',
  })
  t.match(world.facts.find(({ type }) => type === 'module.start_failed')?.d, {
    phase: 'prepare',
    reason: 'no memory',
  })
  const explained = supervisor.explain('a/one')
  t.match(
    [supervisor.status('a/one').state, explained.blocked_on, explained.next],
    ['started', /2 of 3 instances are ready: no memory/, /another one is started at 20/],
  )
  failing = ''
  await world.clock.pass(1_500)
  t.strictSame(supervisor.status('a/one').replicas, { desired: 3, ready: 3 })
})

t.test('an instance lost at the first start beside others is replaced, too', async (t) => {
  const world = new FakeWorld()
  let failing = true
  const code: FakeCode = {
    ...answers(1),
    start: async ({ instance }) => {
      if (failing && instance === 'a/one#2') throw new Error('no memory')
    },
  }
  world.save('a/one', 'g1', code, { ...ACTIONS, replicas: 2 })
  const supervisor = await raise(world)
  t.strictSame(supervisor.status('a/one').replicas, { desired: 2, ready: 1 })
  failing = false
  await world.clock.pass(1_000)
  t.strictSame(supervisor.status('a/one').replicas, { desired: 2, ready: 2 })
})

t.test(
  'a module that may not overlap with itself takes one or none, and its new code none of the old wish',
  async (t) => {
    const world = new FakeWorld()
    world.save('a/one', 'g1', answers(1), { ...ACTIONS, exclusive: true })
    const supervisor = await raise(world)
    t.strictSame(
      [await scale(supervisor, 2), await scale(supervisor, 1)],
      ['MODULE_EXCLUSIVE', { module_id: 'a/one', replicas: 1, previous: 1, ready: 1, state: 'started' }],
    )

    const other = new FakeWorld()
    other.save('a/one', 'g1', answers(1), ACTIONS)
    const second = await raise(other)
    await scale(second, 3)
    other.save('a/one', 'g2', answers(2), { ...ACTIONS, exclusive: true })
    other.settled('a/one')
    await other.clock.pass(20_000)
    t.strictSame([second.status('a/one').replicas, other.running.length], [{ desired: 1, ready: 1 }, 1])
  },
)

t.test('of several orders at once each is carried out, and the last one stands', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', answers(1), ACTIONS)
  const supervisor = await raise(world)
  const ends = await Promise.all([3, 0, 5, 2].map((replicas) => scale(supervisor, replicas)))
  t.strictSame(
    ends.map((end) => {
      const { replicas, previous } = end as { replicas: number; previous: number }
      return [previous, replicas]
    }),
    [
      [1, 3],
      [3, 0],
      [0, 5],
      [5, 2],
    ],
  )
  await world.clock.pass(10)
  t.strictSame([supervisor.status('a/one').replicas, world.running.length], [{ desired: 2, ready: 2 }, 2])
})

t.test('while a reload settles the order waits for it, and both hold', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', answers('old'), { ...ACTIONS, replicas: 2 })
  const supervisor = await raise(world)
  world.save('a/one', 'g2', answers('new'), { ...ACTIONS, replicas: 2 })
  world.settled('a/one')
  await world.clock.pass(1_000)
  let done = false
  const scaled = scale(supervisor, 4).then(() => {
    done = true
  })
  await world.clock.pass(1_000)
  t.notOk(done)
  await world.clock.pass(5_000)
  await scaled
  t.strictSame(
    [supervisor.status('a/one').replicas, world.running.map(({ generation }) => generation)],
    [{ desired: 4, ready: 4 }, ['g2', 'g2', 'g2', 'g2']],
  )
})

t.test('what is stopped, backs off or has failed keeps the order for its next start', async (t) => {
  const world = new FakeWorld()
  let failing = true
  const code: FakeCode = {
    ...answers(1),
    start: async () => {
      if (failing) throw new Error('no database')
    },
  }
  world.save('a/one', 'g1', code, { ...ACTIONS, restart: { backoff_ms: 10_000, max: 2 } })
  const supervisor = await raise(world)
  t.equal(supervisor.status('a/one').state, 'backoff')
  t.strictSame(await scale(supervisor, 2), {
    module_id: 'a/one',
    replicas: 2,
    previous: 1,
    ready: 0,
    state: 'backoff',
  })
  t.equal(world.instances.length, 1, 'it is no reason to try earlier')
  failing = false
  await world.clock.pass(12_000)
  t.strictSame(supervisor.status('a/one').replicas, { desired: 2, ready: 2 })

  await supervisor.stopModule('a/one', OPERATOR)
  await scale(supervisor, 3)
  t.strictSame([supervisor.status('a/one').state, world.running.length], ['stopped', 0])
  await supervisor.startModule('a/one', OPERATOR)
  t.strictSame(supervisor.status('a/one').replicas, { desired: 3, ready: 3 })
})

t.test('scaled to none, a module that loops or hangs in its start is left in peace', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', { start: () => Promise.reject(new Error('no')) }, { restart: { max: 0 } })
  const supervisor = await raise(world)
  t.equal(supervisor.status('a/one').state, 'crashloop')
  await scale(supervisor, 0)
  await world.clock.pass(600_000)
  t.strictSame([supervisor.status('a/one').state, world.instances.length], ['waiting', 1])

  const hanging = new FakeWorld()
  hanging.save('a/one', 'g1', { start: () => new Promise(() => {}) })
  const other = new Supervisor(hanging.environment(), () => undefined)
  hanging.onFact((fact) => other.fold(fact))
  await other.discover()
  const started = other.start()
  await settle()
  await scale(other, 0)
  await started
  t.strictSame(
    [other.status('a/one').state, hanging.running.length, hanging.types().includes('module.start_failed')],
    ['waiting', 0, false],
  )
})

t.test('those that do not come up can be let go at once, and that is no failure of theirs', async (t) => {
  const world = new FakeWorld()
  const code: FakeCode = {
    ...answers(1),
    start: ({ instance }) => (instance === 'a/one#1' ? Promise.resolve() : new Promise(() => {})),
  }
  world.save('a/one', 'g1', code, ACTIONS)
  const supervisor = await raise(world)
  const up = scale(supervisor, 3)
  await settle()
  t.equal(world.running.length, 3)
  const down = scale(supervisor, 1)
  await world.clock.pass(60_000)
  t.match(
    [await up, await down],
    [
      { replicas: 3, ready: 1 },
      { replicas: 1, previous: 3, ready: 1 },
    ],
  )
  t.strictSame(
    [names(world), world.types().filter((type) => /start_failed|crash/.test(type)), world.bugs],
    [['a/one#1'], [], []],
  )
  t.match(supervisor.status('a/one'), { next_retry_at: null, restarts: 0 })
})

t.test('a reload in the middle of scaling brings what is wanted by then', async (t) => {
  const world = new FakeWorld()
  const slow: FakeCode = {
    ...answers(1),
    start: ({ instance }) => (instance === 'a/one#1' ? Promise.resolve() : new Promise(() => {})),
  }
  world.save('a/one', 'g1', slow, ACTIONS)
  const supervisor = await raise(world)
  const up = scale(supervisor, 2)
  await settle()
  world.save('a/one', 'g2', answers(2), ACTIONS)
  world.settled('a/one')
  await world.clock.pass(60_000)
  t.match(await up, { replicas: 2, ready: 2 })
  t.strictSame(
    [
      world.running.map(({ generation }) => generation),
      world.types().filter((type) => /fail|crash/.test(type)),
    ],
    [['g2', 'g2'], []],
  )
})

t.test('the last that serves counts as the last, whoever else is still draining', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', { action: () => new Promise(() => {}) }, { ...ACTIONS, replicas: 2 })
  const supervisor = await raise(world)
  for (let n = 0; n < 3; n += 1) {
    void supervisor.call({ moduleId: 'a/one', action: 'work', input: {} }).catch(() => {})
    await settle()
  }
  await world.clock.pass(5_000)
  void scale(supervisor, 1)
  await settle()
  world.instances[0]?.leave(CRASH)
  await settle()
  t.match(
    world.facts.filter(({ type }) => type === 'module.started').length,
    2,
    'a start, not one more beside others',
  )
})
