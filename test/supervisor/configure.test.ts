import t from 'tap'
import { NexusError } from '../../daemon/contracts/failure.ts'
import type { SupervisorEnvironment } from '../../daemon/supervisor/port.ts'
import { Supervisor } from '../../daemon/supervisor/supervisor.ts'
import { CRASH, type FakeCode, FakeWorld } from '../support/fake-modules.ts'
import { settle } from '../support/test-clock.ts'

const OPERATOR = { kind: 'local', name: 'operator' } as const
const SCHEMA = {
  type: 'object',
  properties: {
    port: { type: 'integer' },
    mode: { type: ['string', 'null'] },
    hosts: { type: 'array', items: { type: 'string' } },
    db: {
      type: 'object',
      properties: { url: { type: 'string' }, pool: { type: 'integer' }, password: { type: 'string' } },
      additionalProperties: false,
    },
    token: { type: ['string', 'integer'] },
  },
  additionalProperties: false,
}
const CONFIG = { schema: SCHEMA, defaults: { port: 1, mode: 'a', hosts: ['x'], db: { url: 'u', pool: 2 } } }
const LIVE: FakeCode = { action: async () => 1, configure: async () => 'applied' }
const codeOf = (error: unknown): string => (error instanceof NexusError ? error.code : String(error))

async function raise(world: FakeWorld, more: Partial<SupervisorEnvironment> = {}): Promise<Supervisor> {
  const supervisor = new Supervisor(world.environment(more), () => undefined)
  world.onFact((fact) => supervisor.fold(fact))
  await supervisor.discover()
  const started = supervisor.start()
  await world.clock.pass(0)
  await started
  return supervisor
}

const set = (supervisor: Supervisor, key: string, value: unknown): Promise<unknown> =>
  supervisor.configure({ module_id: 'a/one', key, value }, OPERATOR).catch((error: unknown) => error)
const configs = (world: FakeWorld): unknown[] => world.running.map(({ order }) => order.config)
const portOf = (config: unknown): unknown => (config as { port: unknown }).port
const configured = (world: FakeWorld): unknown[] =>
  world.facts.filter(({ type }) => type === 'module.configured').map(({ d }) => [d['key'], d['value']])

t.test('what does not fit is refused with the place, and nothing of it is kept or tried', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', LIVE, { config: CONFIG })
  const supervisor = await raise(world)
  const refused = async (key: string, value: unknown): Promise<unknown> => {
    const { code, issues } = (await set(supervisor, key, value)) as NexusError
    return [code, ...issues.map(({ pointer, detail }) => `${pointer} ${detail}`)]
  }
  t.strictSame(
    [
      await refused('port', 'x'),
      await refused('port', null),
      await refused('db.pol', 3),
      await refused('db', 7),
      await refused('mode.deep', 1),
      await refused('hosts.0', 'y'),
      await refused('__proto__.port', 1),
      await refused('mode', 'm'.repeat(20_000)),
    ],
    [
      ['CONFIG_VALUE_INVALID', '/port must be integer'],
      ['CONFIG_VALUE_INVALID', '/port must be integer'],
      ['CONFIG_VALUE_INVALID', '/db/pol is unknown; did you mean pool?'],
      ['CONFIG_VALUE_INVALID', '/db must be object'],
      ['CONFIG_VALUE_INVALID', '/mode must be string or null'],
      ['CONFIG_VALUE_INVALID', '/hosts/0 hosts is a list, and lists are set as a whole'],
      ['CONFIG_VALUE_INVALID', '/__proto__/port no setting can have this name'],
      ['CONFIG_VALUE_INVALID', '/mode it has 20002 bytes, a setting takes 16384'],
    ],
  )
  t.strictSame([configured(world), world.instances.length], [[], 1])
})

t.test(
  'a dotted key changes its place alone, a list is replaced, null is a value like any other',
  async (t) => {
    const world = new FakeWorld()
    world.save('a/one', 'g1', LIVE, { config: CONFIG })
    const supervisor = await raise(world, { overrides: { 'a/one': { config: { db: { url: 'file' } } } } })
    t.match(await set(supervisor, 'db.pool', 9), { applied: 'live', previous: 2, value: 9 })
    t.match(await set(supervisor, 'hosts', []), { applied: 'live', previous: ['x'] })
    t.match(await set(supervisor, 'mode', null), { applied: 'live', previous: 'a', value: null })
    t.strictSame(supervisor.status('a/one').config, {
      port: 1,
      mode: null,
      hosts: [],
      db: { url: 'file', pool: 9 },
    })
  },
)

t.test('live, when every instance takes it: those that come later start with it', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', LIVE, { config: CONFIG, replicas: 2 })
  const supervisor = await raise(world)
  t.match(await set(supervisor, 'port', 5), { applied: 'live' })
  t.equal(world.instances.length, 2)
  await world.clock.pass(5_000)
  world.instances[0]?.leave(CRASH)
  await world.clock.pass(10)
  await supervisor.scale({ module_id: 'a/one', replicas: 3 }, OPERATOR)
  t.strictSame(
    world.instances.map(({ order }) => portOf(order.config)),
    [1, 1, 5, 5],
  )
})

t.test('one of several that does not take it makes it a reload for all', async (t) => {
  const world = new FakeWorld()
  const code: FakeCode = {
    configure: async ({ instance }) => {
      if (instance === 'a/one#2') throw new Error('not this one')
      return 'applied'
    },
  }
  world.save('a/one', 'g1', code, { config: CONFIG, replicas: 2 })
  const supervisor = await raise(world)
  const done = set(supervisor, 'port', 5)
  await world.clock.pass(10_000)
  t.match(await done, { applied: 'reload', previous: 1 })
  t.strictSame(configs(world).map(portOf), [5, 5])
  t.strictSame(configured(world), [['port', 5]])
})

t.test(
  'a setting that does not hold is taken back from those that took it, and the code is not to blame',
  async (t) => {
    const world = new FakeWorld()
    const now = new Map<string, unknown>()
    const code: FakeCode = {
      action: async () => 1,
      start: async ({ instance, config }) => {
        if (config['port'] === 9) throw new Error('the port is taken')
        now.set(instance, config['port'])
      },
      configure: async ({ instance }, { value }) => {
        if (instance === 'a/one#2') return 'needs-reload'
        now.set(instance, value)
        return 'applied'
      },
    }
    world.save('a/one', 'g1', code, { config: CONFIG, replicas: 2 })
    const supervisor = await raise(world)
    await world.clock.pass(5_000)
    const refused = set(supervisor, 'port', 9)
    await world.clock.pass(10_000)
    t.match(await refused, { code: 'RELOAD_ROLLED_BACK', facts: { phase: /start|prepare/, reason: /taken/ } })
    t.strictSame(
      [[...now], configured(world)],
      [
        [
          ['a/one#1', 1],
          ['a/one#2', 1],
        ],
        [],
      ],
    )
    t.match(supervisor.status('a/one'), { config: { port: 1 }, replicas: { desired: 2, ready: 2 } })
    const reload = supervisor.reloadModule({ module_id: 'a/one' }, OPERATOR)
    await world.clock.pass(10_000)
    t.match(await reload, { reloaded: true, generation: 'g1' }, 'the same code may be loaded again')
  },
)

t.test('an instance that keeps what was taken back is replaced', async (t) => {
  const world = new FakeWorld()
  const code: FakeCode = {
    start: async ({ config }) => {
      if (config['port'] === 9) throw new Error('the port is taken')
    },
    configure: async ({ instance }, { value }) => {
      if (instance === 'a/one#2') return 'needs-reload'
      return value === 9 ? 'applied' : 'needs-reload'
    },
  }
  world.save('a/one', 'g1', code, { config: CONFIG, replicas: 2 })
  const supervisor = await raise(world)
  const refused = set(supervisor, 'port', 9)
  await world.clock.pass(10_000)
  t.match(await refused, { code: 'RELOAD_ROLLED_BACK' })
  t.strictSame(supervisor.status('a/one').replicas, { desired: 2, ready: 2 })
  t.notOk(world.running.some(({ id }) => id === 'a/one#1'))
  t.notOk(world.types().includes('module.crashed'))
})

t.test('without a way to overlap, the old settings come back with the old instance', async (t) => {
  const world = new FakeWorld()
  const code: FakeCode = {
    action: async () => 'well',
    start: async ({ config }) => {
      if (config['port'] === 9) throw new Error('the port is taken')
    },
  }
  const actions = { work: { description: 'works', idempotent: true } }
  world.save('a/one', 'g1', code, { config: CONFIG, exclusive: true, actions })
  const supervisor = await raise(world)
  await world.clock.pass(5_000)
  const refused = set(supervisor, 'port', 9)
  await world.clock.pass(10_000)
  t.match(await refused, { code: 'RELOAD_ROLLED_BACK' })
  t.strictSame(configs(world).map(portOf), [1])
  const { output } = await supervisor.call({ moduleId: 'a/one', action: 'work', input: {} })
  t.equal(output, 'well')

  const taken = set(supervisor, 'port', 2)
  await world.clock.pass(10_000)
  t.match(await taken, { applied: 'reload' })
  t.strictSame(configs(world).map(portOf), [2])
})

t.test(
  'while nothing serves there is nothing that could hold it: it is kept for the next start',
  async (t) => {
    const world = new FakeWorld()
    world.save('a/one', 'g1', LIVE, { config: CONFIG })
    const supervisor = await raise(world)
    await supervisor.stopModule('a/one', OPERATOR)
    t.match(await set(supervisor, 'port', 5), { applied: 'reload', previous: 1 })
    t.strictSame([supervisor.status('a/one').state, world.running.length], ['stopped', 0])
    await supervisor.startModule('a/one', OPERATOR)
    t.strictSame(configs(world).map(portOf), [5])
  },
)

t.test(
  'what gave up for its settings starts as soon as they are right, one of them after the other',
  async (t) => {
    const world = new FakeWorld()
    world.save('a/one', 'g1', LIVE, { config: CONFIG })
    const supervisor = await raise(world, { overrides: { 'a/one': { config: { port: 'x', mode: 7 } } } })
    t.match(supervisor.explain('a/one'), { state: 'failed', remedy: /nexus configure a\/one/ })
    t.match(await set(supervisor, 'port', 'still wrong'), { code: 'CONFIG_VALUE_INVALID' })
    t.match(await set(supervisor, 'port', 5), { applied: 'reload' })
    await world.clock.pass(10)
    t.match(supervisor.explain('a/one'), { state: 'failed', blocked_on: /\/mode must be/ })
    await set(supervisor, 'mode', 'b')
    await world.clock.pass(10)
    t.match(supervisor.status('a/one'), { state: 'started', config: { port: 5, mode: 'b' } })
  },
)

t.test('a crash loop ends with a setting, too', async (t) => {
  const world = new FakeWorld()
  const code: FakeCode = {
    start: async ({ config }) => {
      if (config['port'] === 1) throw new Error('the port is taken')
    },
  }
  world.save('a/one', 'g1', code, { config: CONFIG, restart: { max: 0 } })
  const supervisor = await raise(world)
  t.equal(supervisor.status('a/one').state, 'crashloop')
  t.match(await set(supervisor, 'port', 2), { applied: 'reload' })
  await world.clock.pass(10)
  t.strictSame([supervisor.status('a/one').state, configs(world).map(portOf)], ['started', [2]])
})

t.test('an instance that waits by its own word may have waited for the setting', async (t) => {
  const world = new FakeWorld()
  const code: FakeCode = {
    start: async ({ config, listener }) => {
      if (config['mode'] === 'a') listener.notReady('it needs a mode', undefined)
    },
  }
  world.save('a/one', 'g1', code, { config: CONFIG })
  const supervisor = await raise(world)
  t.match(supervisor.explain('a/one'), { state: 'waiting', blocked_on: 'it needs a mode', next: /says/ })
  await set(supervisor, 'mode', 'b')
  await world.clock.pass(10)
  t.equal(supervisor.status('a/one').state, 'started')
})

t.test('a change waits for the reload under way, and for the change before it', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', LIVE, { config: CONFIG })
  const supervisor = await raise(world)
  world.save('a/one', 'g2', LIVE, { config: CONFIG })
  world.settled('a/one')
  await world.clock.pass(1_000)
  const order: string[] = []
  const changes = [
    set(supervisor, 'port', 5).then(() => order.push('port')),
    set(supervisor, 'mode', 'b').then(() => order.push('mode')),
  ]
  await world.clock.pass(500)
  t.strictSame(order, [])
  await world.clock.pass(10_000)
  await Promise.all(changes)
  t.strictSame(
    [order, supervisor.status('a/one').config, supervisor.status('a/one').generation],
    [['port', 'mode'], { ...CONFIG.defaults, port: 5, mode: 'b' }, 'g2'],
  )
})

t.test('a change that cannot be put on record is undone at once', async (t) => {
  const world = new FakeWorld()
  const told: unknown[] = []
  world.save(
    'a/one',
    'g1',
    {
      configure: async (_, { value }) => {
        told.push(value)
        return 'applied'
      },
    },
    { config: CONFIG },
  )
  const environment = world.environment()
  const append = environment.append
  const supervisor = await raise(world, {
    append: (draft) =>
      draft.type === 'module.configured'
        ? Promise.reject(new NexusError('JOURNAL_FULL', { reason: 'no space' }))
        : append(draft),
  })
  t.equal(codeOf(await set(supervisor, 'port', 5)), 'JOURNAL_FULL')
  t.strictSame([told, supervisor.status('a/one').config['port']], [[5, 1], 1])
})

t.test('a secret is refused: the journal is no place for it, and no place shows one', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', LIVE, { config: CONFIG })
  const overrides = { 'a/one': { config: { db: { password: 'hush-file' }, token: 'hush-too' } } }
  const supervisor = await raise(world, { overrides })
  const refused = [
    await set(supervisor, 'token', 'hush'),
    await set(supervisor, 'db.password', 'hush'),
    await set(supervisor, 'db', { url: 'v', password: 'hush' }),
  ]
  t.strictSame(
    refused.map((error) => [codeOf(error), (error as NexusError).facts['key']]),
    [
      ['SETTING_SECRET', 'token'],
      ['SETTING_SECRET', 'db.password'],
      ['SETTING_SECRET', 'db.password'],
    ],
  )
  t.match(await set(supervisor, 'token', 7), { applied: 'live', value: 7, previous: '[redacted]' })
  t.match(await set(supervisor, 'db', { url: 'v' }), { previous: { url: 'u', password: '[redacted]' } })
  t.strictSame(configs(world), [
    { ...CONFIG.defaults, db: { url: 'u', pool: 2, password: 'hush-file' }, token: 'hush-too' },
  ])
  const shown = JSON.stringify([
    world.facts,
    world.lines,
    supervisor.status('a/one'),
    supervisor.explain('a/one'),
  ])
  t.notMatch(shown, /hush/)
})

t.test('every change is history, and a restart begins with the last', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', LIVE, { config: CONFIG })
  const supervisor = await raise(world)
  await set(supervisor, 'port', 5)
  await set(supervisor, 'port', 6)
  await set(supervisor, 'db.pool', 4)
  await settle()
  t.strictSame(
    world.facts
      .filter(({ type }) => type === 'module.configured')
      .map(({ actor, d }) => [actor.name, d['key'], d['previous'], d['value']]),
    [
      ['operator', 'port', 1, 5],
      ['operator', 'port', 5, 6],
      ['operator', 'db.pool', 2, 4],
    ],
  )
  t.match(supervisor.explain('a/one').because.at(-1), { type: 'module.configured', say: /key db\.pool/ })
  const again = new Supervisor(world.environment(), () => undefined)
  for (const fact of world.facts) again.fold(fact)
  await again.discover()
  await again.start()
  t.match(world.instances.at(-1)?.order.config, { port: 6, db: { url: 'u', pool: 4 } })
})
