import t from 'tap'
import { NexusError } from '../../daemon/contracts/failure.ts'
import type { SupervisorEnvironment } from '../../daemon/supervisor/port.ts'
import { Supervisor } from '../../daemon/supervisor/supervisor.ts'
import { CRASH, type FakeCode, FakeWorld } from '../support/fake-modules.ts'
import { settle } from '../support/test-clock.ts'

const ACTIONS = {
  actions: {
    work: { description: 'works', idempotent: true, concurrency: 10 },
    once: { description: 'works once', concurrency: 1, timeout_ms: 1_000 },
  },
}
const OPERATOR = { kind: 'local', name: 'operator' } as const
const answers = (output: unknown): FakeCode => ({ action: async () => output })
const never = (): Promise<never> => new Promise(() => {})

async function raise(
  world: FakeWorld,
  overrides = {},
  later: Partial<SupervisorEnvironment> = {},
): Promise<Supervisor> {
  const environment = world.environment({ overrides })
  const supervisor = new Supervisor(environment, () => undefined)
  world.onFact((fact) => supervisor.fold(fact))
  await supervisor.discover()
  Object.assign(environment, later)
  const started = supervisor.start()
  await world.clock.pass(0)
  await started
  return supervisor
}

const codeOf = (error: unknown): string => (error instanceof NexusError ? error.code : String(error))

t.test('a module that is found starts, serves calls, and is accepted once it has settled', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', answers(7), ACTIONS)
  const supervisor = await raise(world)
  const { output, generation } = await supervisor.call({ moduleId: 'a/one', action: 'work', input: {} })
  await world.clock.pass(3_000)
  t.strictSame([output, generation, supervisor.status('a/one').state], [7, 'g1', 'started'])
  t.strictSame(world.types(), ['module.discovered', 'module.started', 'module.generation_accepted'])
})

t.test('a crash after a second of being well is followed by a start at once, with the facts', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', answers(1), ACTIONS)
  const supervisor = await raise(world)
  await world.clock.pass(5_000)
  world.instances[0]?.leave(CRASH)
  await world.clock.pass(0)
  t.strictSame([world.running.length, supervisor.status('a/one').state], [1, 'started'])
  t.strictSame(world.types().slice(-2), ['module.crashed', 'module.started'])
})

t.test('a module that dies young backs off, loops, and new code resets it', async (t) => {
  const world = new FakeWorld()
  const dying: FakeCode = { start: () => Promise.reject(new Error('no database')) }
  world.save('a/one', 'g1', dying, { restart: { max: 2, backoff_ms: 100, backoff_max_ms: 100 } })
  const supervisor = await raise(world)
  const states = [supervisor.status('a/one').state]
  await world.clock.pass(150)
  await world.clock.pass(150)
  states.push(supervisor.status('a/one').state)
  const triesBefore = world.instances.length
  await world.clock.pass(299_000)
  const triesAfter = world.instances.length
  world.save('a/one', 'g2', answers(1))
  world.settled('a/one')
  await world.clock.pass(10)
  states.push(supervisor.status('a/one').state)
  t.strictSame(states, ['backoff', 'crashloop', 'started'])
  t.strictSame([triesBefore, triesAfter], [3, 3], 'no try for five minutes')
})

t.test('what cannot heal by waiting is failed and left alone until the code changes', async (t) => {
  const world = new FakeWorld()
  const facts = { module: 'a/one', phase: 'import', reason: 'SyntaxError', unloadable: 1 }
  world.save('a/one', 'g1', { start: () => Promise.reject(new NexusError('MODULE_START_FAILED', facts)) })
  const supervisor = await raise(world)
  await world.clock.pass(600_000)
  t.strictSame([supervisor.status('a/one').state, world.instances.length], ['failed', 1])
  t.match(supervisor.explain('a/one').blocked_on, /SyntaxError/)
  world.save('a/one', 'g2', answers(1))
  world.settled('a/one')
  await world.clock.pass(10)
  t.equal(supervisor.status('a/one').state, 'started')
})

t.test(
  'a reload serves the new code, never drops a call, and stops the old when it is drained',
  async (t) => {
    const world = new FakeWorld()
    let finish: (output: unknown) => void = () => {}
    world.save('a/one', 'g1', { action: () => new Promise((resolve) => (finish = resolve)) }, ACTIONS)
    const supervisor = await raise(world)
    const inFlight = supervisor.call({ moduleId: 'a/one', action: 'work', input: {} })
    await settle()
    world.save('a/one', 'g2', answers('new'), ACTIONS)
    world.settled('a/one')
    await world.clock.pass(100)
    const early = await supervisor.call({ moduleId: 'a/one', action: 'work', input: {} })
    await world.clock.pass(3_000)
    const oldStillThere = world.running.map(({ generation }) => generation)
    finish('old')
    const late = await inFlight
    await world.clock.pass(10)
    t.strictSame([early.output, late.output, oldStillThere], ['new', 'old', ['g1', 'g2']])
    t.strictSame(
      world.running.map(({ generation }) => generation),
      ['g2'],
    )
    t.strictSame(world.types().slice(-2), ['module.reloaded', 'module.generation_accepted'])
  },
)

const SPOILED: readonly [string, FakeCode][] = [
  ['throws at start', { start: () => Promise.reject(new Error('broken')) }],
  [
    'says it is unhealthy',
    { ...answers('bad'), health: async () => ({ status: 'unhealthy', reason: 'no' }) },
  ],
]
for (const [how, code] of SPOILED) {
  t.test(`new code that ${how} is rolled back, and not tried again by itself`, async (t) => {
    const world = new FakeWorld()
    world.save('a/one', 'g1', answers('old'), ACTIONS)
    const supervisor = await raise(world)
    await world.clock.pass(5_000)
    world.save('a/one', 'g2', code, ACTIONS)
    const reload = supervisor.reloadModule({ module_id: 'a/one' }, OPERATOR).catch(codeOf)
    await world.clock.pass(4_000)
    const { output } = await supervisor.call({ moduleId: 'a/one', action: 'work', input: {} })
    const tries = world.instances.length
    world.settled('a/one')
    await world.clock.pass(4_000)
    t.strictSame([await reload, output, world.instances.length - tries], ['RELOAD_ROLLED_BACK', 'old', 0])
    t.equal(world.types().filter((type) => type === 'module.rolled_back').length, 1, 'and not told again')
    t.strictSame(
      world.running.map(({ generation }) => generation),
      ['g1'],
    )
    const { last_reload: last } = supervisor.status('a/one')
    t.match(last, { reloaded: false, rolled_back: true, phase: /start|settle/, reason: /broken|unhealthy/ })
  })
}

t.test(
  'new code that dies while it settles gives way to the old, and idempotent calls are repeated there',
  async (t) => {
    const world = new FakeWorld()
    world.save('a/one', 'g1', answers('old'), ACTIONS)
    const supervisor = await raise(world)
    world.save('a/one', 'g2', { action: never }, ACTIONS)
    world.settled('a/one')
    await world.clock.pass(1_500)
    const cut = supervisor.call({ moduleId: 'a/one', action: 'work', input: {} })
    const lost = supervisor.call({ moduleId: 'a/one', action: 'once', input: {} }).catch(codeOf)
    await settle()
    world.running.find(({ generation }) => generation === 'g2')?.leave(CRASH)
    await world.clock.pass(10)
    t.strictSame([(await cut).output, await lost], ['old', 'CALL_CUT'])
    t.strictSame(world.types().at(-1), 'module.rolled_back')
  },
)

t.test(
  'a save while the last one settles takes its place and is judged against the committed code',
  async (t) => {
    const world = new FakeWorld()
    world.save('a/one', 'g1', answers(1), ACTIONS)
    const supervisor = await raise(world)
    world.save('a/one', 'g2', answers(2), ACTIONS)
    world.settled('a/one')
    await world.clock.pass(1_000)
    world.save('a/one', 'g3', { start: () => Promise.reject(new Error('worse')) }, ACTIONS)
    world.settled('a/one')
    await world.clock.pass(5_000)
    const { output, generation } = await supervisor.call({ moduleId: 'a/one', action: 'work', input: {} })
    t.strictSame([output, generation], [1, 'g1'])
    t.strictSame(
      world.running.map((running) => running.generation),
      ['g1'],
    )
  },
)

t.test('a bad generation is known as bad before the disk has written it down', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', answers('old'), ACTIONS)
  const supervisor = await raise(world, {}, { append: () => never() })
  world.save('a/one', 'g2', { start: () => Promise.reject(new Error('broken')) }, ACTIONS)
  world.settled('a/one')
  await world.clock.pass(100)
  world.settled('a/one')
  await world.clock.pass(100)
  t.strictSame([world.instances.length, supervisor.status('a/one').generation], [2, 'g1'])
})

t.test('the same content is no reason to reload; a command reloads all the same', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', answers(1), ACTIONS)
  const supervisor = await raise(world)
  world.settled('a/one')
  await world.clock.pass(5_000)
  t.equal(world.instances.length, 1)
  const reload = supervisor.reloadModule({ module_id: 'a/one' }, OPERATOR)
  await world.clock.pass(5_000)
  t.match(await reload, { reloaded: true, rolled_back: false, generation: 'g1', downtime_ms: 0 })
  t.equal(world.instances.length, 2)
})

t.test(
  'what is required starts first, and a module waits, without a crash, while it is missing',
  async (t) => {
    const world = new FakeWorld()
    world.save('a/web', 'w1', answers(1), { requires: ['z/base'] })
    world.save('z/base', 'b1', answers(1))
    const supervisor = await raise(world)
    t.strictSame(
      world.instances.map(({ generation }) => generation),
      ['b1', 'w1'],
    )

    const lonely = new FakeWorld()
    lonely.save('a/web', 'w1', answers(1), { requires: ['z/base'] })
    const other = await raise(lonely)
    await lonely.clock.pass(600_000)
    t.strictSame([other.status('a/web').state, lonely.instances.length], ['waiting', 0])
    lonely.save('z/base', 'b1', answers(1))
    lonely.settled('z/base')
    await lonely.clock.pass(10)
    t.strictSame([other.status('a/web').state, supervisor.status('a/web').state], ['started', 'started'])
  },
)

t.test(
  'a module that hangs in its start keeps the others from nothing, and only a critical one the daemon',
  async (t) => {
    const world = new FakeWorld()
    world.save('a/hangs', 'g1', { start: never })
    world.save('b/needed', 'g2', answers(1), { critical: true })
    const supervisor = new Supervisor(world.environment(), () => undefined)
    await supervisor.discover()
    let up = false
    void supervisor.start(() => {
      up = true
    })
    await settle()
    t.strictSame(
      [up, supervisor.status('a/hangs').state, supervisor.status('b/needed').state],
      [true, 'starting', 'started'],
    )
  },
)

t.test('a stop is kept across restarts, waits for nothing, and calls are then refused', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', answers(1), ACTIONS)
  const supervisor = await raise(world)
  const stopped = await supervisor.stopModule('a/one', OPERATOR)
  const refused = await supervisor.call({ moduleId: 'a/one', action: 'work', input: {} }).catch(codeOf)
  const again = new Supervisor(world.environment(), () => undefined)
  for (const fact of world.facts) again.fold(fact)
  await again.discover()
  await again.start()
  t.strictSame([stopped.state, refused, world.running.length], ['stopped', 'MODULE_NOT_READY', 0])
  t.strictSame([again.status('a/one').state, again.status('a/one').desired], ['stopped', 'stopped'])
  const started = await again.startModule('a/one', OPERATOR)
  t.equal(started.state, 'started')
})

t.test('a stop is served in the middle of a start, and nothing of it runs afterwards', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', { start: never })
  const supervisor = new Supervisor(world.environment(), () => undefined)
  world.onFact((fact) => supervisor.fold(fact))
  await supervisor.discover()
  const started = supervisor.start()
  await settle()
  t.equal(supervisor.status('a/one').state, 'starting')
  const { state } = await supervisor.stopModule('a/one', OPERATOR)
  await started
  t.strictSame([state, world.running.length, world.bugs], ['stopped', 0, []])
})

t.test(
  'calls wait for room in order, are refused beyond a thousand, and end at their deadline',
  async (t) => {
    const world = new FakeWorld()
    const finish: ((output: unknown) => void)[] = []
    world.save('a/one', 'g1', { action: () => new Promise((resolve) => finish.push(resolve)) }, ACTIONS)
    const supervisor = await raise(world)
    const call = (): Promise<unknown> =>
      supervisor.call({ moduleId: 'a/one', action: 'once', input: {} }).then(({ output }) => output, codeOf)
    const calls = Array.from({ length: 1_002 }, call)
    await settle()
    t.equal(await calls[1_001], 'MODULE_BUSY')
    finish[0]?.('first')
    await settle()
    t.strictSame([await calls[0], finish.length], ['first', 2], 'the second is on its way only now')
    await world.clock.pass(1_001)
    t.equal(await calls[500], 'CALL_EXPIRED')
  },
)

t.test(
  'with several replicas the least busy one is called, and one crash leaves the module serving',
  async (t) => {
    const world = new FakeWorld()
    const where: string[] = []
    const code: FakeCode = { action: () => never() }
    world.save('a/one', 'g1', code, { ...ACTIONS, replicas: 2 })
    const supervisor = await raise(world)
    for (let n = 0; n < 4; n += 1) {
      void supervisor.call({ moduleId: 'a/one', action: 'work', input: {} }).catch(() => {})
      await settle()
    }
    for (const replica of supervisor.unit('a/one').serving?.replicas ?? [])
      where.push(`${replica.busy.get('work')}`)
    await world.clock.pass(2_000)
    world.instances[0]?.leave(CRASH)
    await settle()
    const { state, replicas } = supervisor.status('a/one')
    t.strictSame([where, state, replicas], [['2', '2'], 'started', { desired: 2, ready: 2 }])
    t.equal(world.instances.length, 3)
  },
)

t.test(
  'a call on a replica that stopped beating is repeated on another, when that does no harm',
  async (t) => {
    const world = new FakeWorld()
    let hang = true
    const code: FakeCode = {
      action: async () => {
        if (!hang) return 'answered'
        hang = false
        return never()
      },
    }
    world.save('a/one', 'g1', code, { ...ACTIONS, replicas: 2 })
    const supervisor = await raise(world)
    const call = supervisor.call({ moduleId: 'a/one', action: 'work', input: {} })
    await settle()
    world.instances[0]?.order.listener.suspect(1_000)
    const { output, instance } = await call
    t.strictSame([output, instance], ['answered', 'a/one#2'])
    world.instances[0]?.order.listener.recovered()

    hang = true
    let answered = false
    const once = supervisor.call({ moduleId: 'a/one', action: 'once', input: {} })
    void once.then(() => {
      answered = true
    })
    await settle()
    for (const { order } of world.instances) order.listener.suspect(1_000)
    await settle()
    t.notOk(answered, 'what must not run twice stays where it is')
  },
)

t.test('a setting is checked, given live or by reload, and kept only when it held', async (t) => {
  const world = new FakeWorld()
  const config = {
    schema: {
      type: 'object',
      properties: { port: { type: 'integer' }, mode: { type: 'string' } },
      additionalProperties: false,
    },
    defaults: { port: 1, mode: 'a' },
  }
  let live: 'applied' | 'needs-reload' = 'applied'
  world.save('a/one', 'g1', { ...answers(1), configure: async () => live }, { config })
  const supervisor = await raise(world)
  const wrong = await supervisor
    .configure({ module_id: 'a/one', key: 'port', value: 'x' }, OPERATOR)
    .catch((error: unknown) => error)
  t.match(wrong, { code: 'CONFIG_VALUE_INVALID', issues: [{ pointer: '/port' }] })
  const first = await supervisor.configure({ module_id: 'a/one', key: 'port', value: 2 }, OPERATOR)
  live = 'needs-reload'
  const reload = supervisor.configure({ module_id: 'a/one', key: 'mode', value: 'b' }, OPERATOR)
  await world.clock.pass(5_000)
  t.match(
    [first, await reload],
    [
      { applied: 'live', previous: 1 },
      { applied: 'reload', previous: 'a' },
    ],
  )
  t.strictSame(
    world.running.map(({ order }) => order.config),
    [{ port: 2, mode: 'b' }],
  )

  const again = new Supervisor(world.environment(), () => undefined)
  for (const fact of world.facts) again.fold(fact)
  await again.discover()
  t.strictSame(again.status('a/one').config, { port: 2, mode: 'b' })
})

t.test('settings that do not fit the schema fail the module with the pointer, not the daemon', async (t) => {
  const world = new FakeWorld()
  const config = {
    schema: { type: 'object', properties: { port: { type: 'integer' } } },
    defaults: { port: 1 },
  }
  world.save('a/one', 'g1', answers(1), { config })
  const supervisor = await raise(world, { 'a/one': { config: { port: 'x' } } })
  t.equal(supervisor.status('a/one').state, 'failed')
  t.match(supervisor.explain('a/one').blocked_on, /\/port must be integer/)
})

t.test('a removed folder runs on for ten seconds, then is stopped; one that comes back stays', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', answers(1))
  const supervisor = await raise(world)
  world.remove('a/one')
  world.settled('a/one')
  await world.clock.pass(9_000)
  world.save('a/one', 'g1', answers(1))
  world.settled('a/one')
  await world.clock.pass(60_000)
  t.strictSame([supervisor.units.length, world.running.length], [1, 1])
  world.remove('a/one')
  world.settled('a/one')
  await world.clock.pass(10_500)
  t.strictSame(
    [supervisor.units.length, world.running.length, world.types().at(-1)],
    [0, 0, 'module.removed'],
  )
})

t.test('a start of the daemon on bad code goes back to the last known good, and says so', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', answers('good'), ACTIONS)
  const supervisor = await raise(world)
  await world.clock.pass(5_000)
  await supervisor.stop('the daemon stops')
  world.save('a/one', 'g2', { start: () => Promise.reject(new Error('broken')) }, ACTIONS)
  const again = new Supervisor(world.environment(), () => undefined)
  for (const fact of world.facts) again.fold(fact)
  world.onFact((fact) => again.fold(fact))
  await again.discover()
  await again.start()
  const { output } = await again.call({ moduleId: 'a/one', action: 'work', input: {} })
  t.strictSame([output, again.status('a/one').generation], ['good', 'g1'])
  t.ok(world.types().includes('module.rolled_back'))
})

t.test('the stop goes in reverse order of the start', async (t) => {
  const world = new FakeWorld()
  world.save('a/web', 'w1', answers(1), { requires: ['z/base'] })
  world.save('z/base', 'b1', answers(1))
  const supervisor = await raise(world)
  await supervisor.stop('the daemon stops')
  const stopped = world.facts.filter(({ type }) => type === 'module.stopped').map(({ d }) => d['module_id'])
  t.strictSame(stopped, ['a/web', 'z/base'])
})

t.test(
  'the late end of a start that was given up says nothing about the one that took its place',
  async (t) => {
    const world = new FakeWorld()
    let fail: (error: Error) => void = () => {}
    world.save('a/one', 'g1', { start: () => new Promise((_, reject) => (fail = reject)) })
    const supervisor = new Supervisor(world.environment(), () => undefined)
    world.onFact((fact) => supervisor.fold(fact))
    await supervisor.discover()
    const started = supervisor.start()
    await settle()
    world.save('a/one', 'g2', answers(2), ACTIONS)
    world.settled('a/one')
    await world.clock.pass(100)
    fail(new Error('too late'))
    await world.clock.pass(100)
    await started
    t.strictSame([supervisor.status('a/one').state, supervisor.status('a/one').generation], ['started', 'g2'])
    t.notOk(world.types().includes('module.start_failed'))
  },
)

t.test('a folder that came back unnoticed is seen before its module is stopped', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', answers(1))
  const supervisor = await raise(world)
  world.remove('a/one')
  world.settled('a/one')
  await world.clock.pass(5_000)
  world.save('a/one', 'g1', answers(1))
  await world.clock.pass(60_000)
  t.strictSame([supervisor.units.length, world.running.length], [1, 1])
})

t.test('a setting that brings the new instance down is taken back, for later starts too', async (t) => {
  const world = new FakeWorld()
  const config = {
    schema: { type: 'object', properties: { port: { type: 'integer' } } },
    defaults: { port: 1 },
  }
  const code: FakeCode = {
    ...answers(1),
    start: async (order) => {
      if (order.config['port'] === 9) throw new Error('the port is taken')
    },
  }
  world.save('a/one', 'g1', code, { config })
  const supervisor = await raise(world)
  const refused = supervisor.configure({ module_id: 'a/one', key: 'port', value: 9 }, OPERATOR).catch(codeOf)
  await world.clock.pass(5_000)
  t.equal(await refused, 'RELOAD_ROLLED_BACK')
  await supervisor.stopModule('a/one', OPERATOR)
  await supervisor.startModule('a/one', OPERATOR)
  t.strictSame(
    [world.running.map(({ order }) => order.config), supervisor.status('a/one').config],
    [[{ port: 1 }], { port: 1 }],
  )
})

t.test('an instance that dies while it drains has been let go: that is no crash', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', { action: never }, ACTIONS)
  const supervisor = await raise(world)
  const cut = supervisor.call({ moduleId: 'a/one', action: 'once', input: {} }).catch(codeOf)
  await settle()
  world.save('a/one', 'g2', answers(2), ACTIONS)
  world.settled('a/one')
  await world.clock.pass(4_000)
  world.running.find(({ generation }) => generation === 'g1')?.leave(CRASH)
  await world.clock.pass(100)
  t.strictSame([await cut, world.types().includes('module.crashed')], ['CALL_CUT', false])
})

t.test(
  'a self-test runs three times before the first call, once for each generation, and its failure reverts',
  async (t) => {
    const world = new FakeWorld()
    const asked: string[] = []
    const counting = (name: string, output: unknown): FakeCode => ({
      action: async () => {
        asked.push(name)
        return output
      },
    })
    const tested = {
      ...ACTIONS,
      categories: [],
      self_test: [{ action: 'work', input: {}, expect: { well: true } }],
    }
    world.save('a/one', 'g1', counting('g1', { well: true, more: 1 }), tested)
    const supervisor = await raise(world)
    await world.clock.pass(5_000)
    world.running[0]?.leave(CRASH)
    await world.clock.pass(100)
    t.strictSame(asked, ['g1', 'g1', 'g1'], 'a restart of proven code is not tested again')
    t.match(world.facts.find(({ type }) => type === 'module.self_tested')?.d, {
      generation: 'g1',
      runs: { length: 3 },
    })
    t.ok(world.types().indexOf('module.self_tested') < world.types().indexOf('module.started'))

    world.save('a/one', 'g2', counting('g2', { well: false }), tested)
    const refused = supervisor.reloadModule({ module_id: 'a/one' }, OPERATOR).catch((error: unknown) => error)
    await world.clock.pass(5_000)
    t.match(await refused, { code: 'RELOAD_ROLLED_BACK', facts: { phase: 'self_test', reason: /well/ } })
  },
)

t.test('a name that does not exist is answered with the nearest that does', async (t) => {
  const world = new FakeWorld()
  world.save('vitals/heartbeat', 'g1', answers(1), ACTIONS)
  const supervisor = await raise(world)
  const unknown = await supervisor
    .call({ moduleId: 'vitals/heartbaet', action: 'work', input: {} })
    .catch(String)
  const action = await supervisor
    .call({ moduleId: 'vitals/heartbeat', action: 'wrok', input: {} })
    .catch(String)
  t.match([unknown, action], [/did you mean vitals\/heartbeat\?/, /did you mean work\?/])
})
