import t from 'tap'
import { NexusError } from '../../daemon/contracts/failure.ts'
import { CallLine } from '../../daemon/supervisor/call-line.ts'
import { type FakeCode, FakeWorld } from '../support/fake-modules.ts'
import { raise } from '../support/raise.ts'
import { settle } from '../support/test-clock.ts'

const codeOf = (error: unknown): string => (error instanceof NexusError ? error.code : String(error))
const LISTEN = [{ name: 'web', port: 80 }]

/** Code whose every call stays open until the test ends it. */
function holding(): { code: FakeCode; open: { action: string; end(): void }[] } {
  const open: { action: string; end(): void }[] = []
  const action: FakeCode['action'] = ({ action: name }) =>
    new Promise((resolve) => open.push({ action: name, end: () => resolve(name) }))
  return { code: { action }, open }
}

const twoActions = (replicas: number) => ({
  replicas,
  actions: {
    narrow: { description: 'one at a time', concurrency: 1 },
    wide: { description: 'many at a time', concurrency: 1_000, idempotent: true },
  },
})

t.test(
  'a full action keeps nobody from another one, and each keeps its own limit on each replica',
  async (t) => {
    const world = new FakeWorld()
    const { code, open } = holding()
    world.save('a/one', 'g1', code, twoActions(2))
    const supervisor = await raise(world)
    const call = (action: string): Promise<unknown> =>
      supervisor.call({ moduleId: 'a/one', action, input: {} })
    for (let n = 0; n < 5; n += 1) void call('narrow')
    for (let n = 0; n < 3; n += 1) void call('wide')
    await settle()
    const running = (): string[] => open.map(({ action }) => action)
    t.strictSame(running(), ['narrow', 'narrow', 'wide', 'wide', 'wide'])
    open[0]?.end()
    await settle()
    t.strictSame(running().slice(5), ['narrow'], 'one went, one came')
    const busy = supervisor.unit('a/one').takers.map((replica) => replica.busy.get('narrow'))
    t.strictSame(busy, [1, 1])
  },
)

t.test('equally busy replicas take turns, and a busier one is spared', async (t) => {
  const world = new FakeWorld()
  const { code, open } = holding()
  world.save('a/one', 'g1', code, twoActions(3))
  const supervisor = await raise(world)
  const call = async (): Promise<string> =>
    (await supervisor.call({ moduleId: 'a/one', action: 'wide', input: {} })).instance
  const alone: string[] = []
  for (let n = 0; n < 4; n += 1) {
    const answer = call()
    await settle()
    open.at(-1)?.end()
    alone.push(await answer)
  }
  t.strictSame(alone, ['a/one#1', 'a/one#2', 'a/one#3', 'a/one#1'])
  const four = [call(), call(), call(), call()]
  await settle()
  for (const { end } of open) end()
  t.strictSame(await Promise.all(four), ['a/one#2', 'a/one#3', 'a/one#1', 'a/one#2'])
})

t.test(
  'an instance has a window of a thousand calls over all its actions, and whoever waited longest is next',
  async (t) => {
    const world = new FakeWorld()
    const { code, open } = holding()
    world.save('a/one', 'g1', code, twoActions(1))
    const supervisor = await raise(world)
    const call = (action: string): Promise<unknown> =>
      supervisor.call({ moduleId: 'a/one', action, input: {} }).then(({ output }) => output, codeOf)
    for (let n = 0; n < 1_000; n += 1) void call('wide')
    const narrow = call('narrow')
    void call('wide')
    await settle()
    t.equal(open.length, 1_000)
    open[0]?.end()
    await settle()
    t.strictSame(
      open.slice(1_000).map(({ action }) => action),
      ['narrow'],
    )
    open[1_000]?.end()
    t.equal(await narrow, 'narrow')
  },
)

t.test('a thousand wait, one more is told to come back, and those who leave make room', async (t) => {
  const world = new FakeWorld()
  const { code } = holding()
  world.save('a/one', 'g1', code, twoActions(1))
  const supervisor = await raise(world)
  const { signal, abort } = ((controller) => ({
    signal: controller.signal,
    abort: () => controller.abort(new Error('no longer wanted')),
  }))(new AbortController())
  const call = (more: object = {}): Promise<unknown> =>
    supervisor.call({ moduleId: 'a/one', action: 'narrow', input: {}, ...more }).catch((error) => error)
  void call()
  const patient = Array.from({ length: 999 }, () => call({ timeoutMs: 5_000 }))
  const fickle = call({ signal })
  const refused = (await call()) as NexusError
  t.strictSame([refused.code, refused.status, refused.retryAfterSeconds], ['MODULE_BUSY', 429, 1])
  abort()
  t.match(await fickle, { code: 'CALL_ABORTED', facts: { reason: /no longer wanted/ } })
  t.equal(supervisor.unit('a/one').desk.waiting, 999)
  await world.clock.pass(5_000)
  const ends = await Promise.all(patient)
  t.ok(ends.every((end) => (end as NexusError).code === 'CALL_EXPIRED'))
  t.strictSame([supervisor.unit('a/one').desk.waiting, world.clock.waiting], [0, 0], 'and leave no timer')
})

t.test('a caller says how much may be kept, and more is refused before it is written', async (t) => {
  const world = new FakeWorld()
  const kept: string[] = []
  const code: FakeCode = {
    action: async ({ action, artifact }) => {
      for (const name of ['a', 'b', 'c']) {
        const file = artifact(name, 'text/plain', Buffer.alloc(40))
        const isKept = await file.then(
          () => true,
          (error) => (action === 'narrow' ? Promise.reject(error) : false),
        )
        if (isKept) kept.push(name)
      }
      throw action === 'narrow' ? new Error('never') : new NexusError('ACTION_FAILED', { reason: 'other' })
    },
  }
  world.save('a/one', 'g1', code, twoActions(1))
  const supervisor = await raise(world)
  const call = (action: string, artifactsMax: { count: number; bytes: number }): Promise<unknown> =>
    supervisor.call({ moduleId: 'a/one', action, input: {}, artifactsMax }).then(
      ({ artifacts }) => artifacts,
      (error) => error,
    )

  t.match(await call('narrow', { count: 2, bytes: 1_000 }), {
    code: 'ARTIFACTS_EXCEEDED',
    facts: { count: 3, bytes: 120, count_max: 2, bytes_max: 1_000 },
  })
  t.match(await call('narrow', { count: 9, bytes: 79 }), { code: 'ARTIFACTS_EXCEEDED', facts: { bytes: 80 } })
  t.match(
    await call('wide', { count: 1, bytes: 1_000 }),
    { code: 'ARTIFACTS_EXCEEDED' },
    'whatever it says itself',
  )
  t.strictSame(kept, ['a', 'b', 'a', 'a'])
})

t.test('an event costs one look for each action, however many wait', async (t) => {
  const line = new CallLine<string>()
  let looks = 0
  const taken: string[] = []
  for (let n = 0; n < 1_000; n += 1) {
    line.join(n % 2 === 0 ? 'even' : 'odd', { take: (place) => taken.push(`${n} ${place}`), fail: () => {} })
  }
  const rooms = new Map([
    ['even', 1],
    ['odd', 2],
  ])
  line.serve(
    (action) => {
      looks += 1
      return (rooms.get(action) ?? 0) > 0 ? 'room' : undefined
    },
    (_, action) => rooms.set(action, (rooms.get(action) ?? 0) - 1),
  )
  t.strictSame([taken, looks, line.size], [['0 room', '1 room', '3 room'], 5, 997])
  line.dismiss(() => new Error('closed'))
  t.equal(line.size, 0)
})

t.test(
  'a port is held before the first instance comes up, led to what is ready, and closed with the module',
  async (t) => {
    const world = new FakeWorld()
    let started = 0
    const code: FakeCode = {
      start: async ({ listen }) => {
        started += 1
        t.match(listen, { web: /\/run\/a\/one#\d\/web/ })
        if (started <= 2) t.equal(world.ports.said[0], 'hold 80')
      },
    }
    world.save('a/one', 'g1', code, { listen: LISTEN, replicas: 2 })
    const supervisor = await raise(world)
    t.strictSame([started, world.ports.news()], [2, ['hold 80', 'direct a/one#1', 'direct a/one#1 a/one#2']])

    world.running[0]?.order.listener.suspect(1_000)
    world.running[0]?.order.listener.recovered()
    t.strictSame(world.ports.news(), ['direct a/one#2', 'direct a/one#1 a/one#2'], 'not to one that is mute')

    world.running[1]?.order.listener.notReady('its database is away', undefined)
    world.running[1]?.order.listener.ready()
    t.strictSame(world.ports.news(), ['direct a/one#1', 'direct a/one#1 a/one#2'])

    await world.clock.pass(5_000)
    world.running[0]?.leave({ how: 'exited', exitCode: 1, signal: null })
    await world.clock.pass(10)
    t.strictSame(world.ports.news(), ['direct a/one#2', 'forget a/one#1', 'direct a/one#2 a/one#3'])

    await supervisor.stopModule('a/one', { kind: 'local', name: 'operator' })
    t.strictSame(world.ports.news(), [
      'direct',
      'drain a/one#2',
      'drain a/one#3',
      'forget a/one#2',
      'forget a/one#3',
      'release',
    ])
  },
)

t.test(
  'of a module that is scaled to none the ports are closed, and opened again with the next',
  async (t) => {
    const world = new FakeWorld()
    world.save('a/one', 'g1', {}, { listen: LISTEN })
    const supervisor = await raise(world)
    world.ports.news()
    const scale = (replicas: number) =>
      supervisor.scale({ module_id: 'a/one', replicas }, { kind: 'local', name: 'operator' })
    await scale(0)
    t.strictSame(world.ports.news(), ['direct', 'drain a/one#1', 'forget a/one#1', 'release'])
    await scale(1)
    t.strictSame(world.ports.news(), ['hold 80', 'direct a/one#2'])
  },
)

t.test(
  'a reload holds the ports of both, turns them with the calls, and drains connections beside calls',
  async (t) => {
    const world = new FakeWorld()
    let drained = (): void => {}
    world.save('a/one', 'g1', {}, { listen: LISTEN })
    await raise(world)
    world.ports.news()
    world.ports.drained = () => new Promise((resolve) => (drained = resolve))
    world.save('a/one', 'g2', {}, { listen: [{ name: 'web', port: 81 }] })
    world.settled('a/one')
    await world.clock.pass(5_000)
    t.strictSame(world.ports.news(), ['hold 80 81', 'direct a/one#2', 'drain a/one#1'])
    t.equal(world.running.length, 2, 'the old instance waits for its connections')
    drained()
    await settle()
    t.strictSame([world.ports.news(), world.running.length], [['forget a/one#1', 'hold 81'], 1])
  },
)

t.test('new code whose port is taken is rolled back, and the old goes on where it was', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', {}, { listen: LISTEN })
  const supervisor = await raise(world)
  world.ports.taken.add(81)
  world.save('a/one', 'g2', {}, { listen: [{ name: 'web', port: 81 }] })
  world.settled('a/one')
  await world.clock.pass(5_000)
  t.match(supervisor.status('a/one'), {
    state: 'started',
    generation: 'g1',
    last_reload: { rolled_back: true, phase: 'listen', reason: /81/ },
  })
  t.notOk(world.ports.news().includes('release'))
})

t.test(
  'a port that is taken fails the start, names the port, and is tried again by the restart policy',
  async (t) => {
    const world = new FakeWorld()
    world.ports.taken.add(80)
    world.save('a/one', 'g1', {}, { listen: LISTEN, restart: { backoff_ms: 1_000 } })
    const supervisor = await raise(world)
    t.match(supervisor.explain('a/one'), {
      state: 'backoff',
      blocked_on: /cannot listen on 127\.0\.0\.1:80: it is in use/,
      next: /started again at 2026/,
      remedy: /end what uses the port/,
    })
    t.equal(world.instances.length, 0, 'no instance comes up for a port that cannot be had')
    world.ports.taken.clear()
    await world.clock.pass(2_000)
    t.equal(supervisor.status('a/one').state, 'started')
  },
)

t.test(
  'ports stay open through crashes and a crash loop, and are closed where nothing comes up by itself',
  async (t) => {
    const world = new FakeWorld()
    let failure: Error | undefined
    const code: FakeCode = {
      start: async () => {
        if (failure !== undefined) throw failure
      },
    }
    world.save('a/one', 'g1', code, { listen: LISTEN, restart: { max: 1, backoff_ms: 100 } })
    const supervisor = await raise(world)
    failure = new Error('no database')
    world.running[0]?.leave({ how: 'exited', exitCode: 1, signal: null })
    await world.clock.pass(1_000)
    t.strictSame(
      [supervisor.status('a/one').state, world.ports.said.includes('release')],
      ['crashloop', false],
    )
    failure = new NexusError('MODULE_START_FAILED', {
      module: 'a/one',
      phase: 'import',
      reason: 'SyntaxError',
      unloadable: 1,
    })
    await world.clock.pass(300_000)
    await settle()
    t.strictSame([supervisor.status('a/one').state, world.ports.said.at(-1)], ['failed', 'release'])
  },
)
