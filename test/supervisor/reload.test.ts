import t from 'tap'
import { NexusError } from '../../daemon/contracts/failure.ts'
import type { ReloadResult } from '../../daemon/contracts/status.ts'
import { Supervisor } from '../../daemon/supervisor/supervisor.ts'
import { CRASH, type FakeCode, FakeWorld } from '../support/fake-modules.ts'
import { raise } from '../support/raise.ts'
import { settle } from '../support/test-clock.ts'

const ACTIONS = {
  actions: {
    work: { description: 'works', idempotent: true, concurrency: 10 },
    once: { description: 'works once', concurrency: 1, timeout_ms: 1_000 },
  },
}
const THREE = { ...ACTIONS, replicas: 3 }
const OPERATOR = { kind: 'local', name: 'operator' } as const
const STRATEGIES = ['graceful', 'rolling', 'immediate'] as const
const answers = (output: unknown): FakeCode => ({ action: async () => output })
const never = (): Promise<never> => new Promise(() => {})
const codeOf = (error: unknown): string => (error instanceof NexusError ? error.code : String(error))

/** The same journal, a new daemon. */
async function raiseAgain(world: FakeWorld, former: Supervisor): Promise<Supervisor> {
  await former.stop('the daemon stops')
  const again = new Supervisor(world.environment(), () => undefined)
  for (const fact of world.facts) again.fold(fact)
  world.onFact((fact) => again.fold(fact))
  await again.discover()
  await again.start()
  return again
}

const running = (world: FakeWorld): string[] => world.running.map(({ generation }) => generation).sort()

/** Watches how many replicas take calls, and how many instances there are, at every moment that a test lets pass. */
function watch(world: FakeWorld, supervisor: Supervisor, moduleId = 'a/one') {
  const seen = { readyMin: Infinity, instancesMax: 0 }
  return {
    seen,
    async pass(ms: number): Promise<void> {
      for (let left = ms; left >= 0; left -= 50) {
        await world.clock.pass(Math.min(50, left))
        seen.readyMin = Math.min(seen.readyMin, supervisor.unit(moduleId).takers.length)
        seen.instancesMax = Math.max(seen.instancesMax, world.running.length)
      }
    },
  }
}

const BROKEN: readonly [string, FakeCode, { phase: string; reason: RegExp; stack?: RegExp }][] = [
  [
    'does not parse',
    {
      start: () => {
        const facts = {
          module: 'a/one',
          phase: 'import',
          reason: 'Unexpected token',
          stack: 'at index.js:1',
          unloadable: 1,
        }
        return Promise.reject(new NexusError('MODULE_START_FAILED', facts))
      },
    },
    { phase: 'import', reason: /Unexpected token/, stack: /index.js:1/ },
  ],
  [
    'throws when it starts',
    { start: () => Promise.reject(new Error('no port')) },
    { phase: 'start', reason: /no port/ },
  ],
  [
    'is not ready in time',
    {
      start: () => {
        const facts = { module: 'a/one', phase: 'deadline', reason: 'it took more than 30000 ms' }
        return Promise.reject(new NexusError('MODULE_START_FAILED', facts))
      },
    },
    { phase: 'deadline', reason: /30000 ms/ },
  ],
  [
    'says that it is unhealthy',
    { ...answers(2), health: async () => ({ status: 'unhealthy', reason: 'no disk' }) },
    { phase: 'settle', reason: /no disk/ },
  ],
]

for (const strategy of STRATEGIES) {
  for (const [how, code, told] of BROKEN) {
    t.test(
      `${strategy}: new code that ${how} is taken back, with phase and reason, and all old replicas serve`,
      async (t) => {
        const world = new FakeWorld()
        world.save('a/one', 'g1', answers('old'), THREE)
        const supervisor = await raise(world)
        world.save('a/one', 'g2', code, THREE)
        const reload = supervisor
          .reloadModule({ module_id: 'a/one', strategy }, OPERATOR)
          .catch((error) => error)
        const { seen, pass } = watch(world, supervisor)
        await pass(8_000)
        t.match(await reload, { code: 'RELOAD_ROLLED_BACK', facts: told })
        const { output } = await supervisor.call({ moduleId: 'a/one', action: 'work', input: {} })
        t.strictSame([output, running(world)], ['old', ['g1', 'g1', 'g1']])
        const { state, last_reload: last, replicas } = supervisor.status('a/one')
        t.match([state, replicas, last], ['started', { ready: 3 }, { rolled_back: true, strategy, ...told }])
        if (strategy !== 'immediate') t.ok(seen.readyMin >= 3, `never below three: ${seen.readyMin}`)
        t.strictSame(world.bugs, [])
      },
    )
  }

  t.test(
    `${strategy}: replicas that die or hang while they settle revert, with the stack, and idempotent calls end well`,
    async (t) => {
      for (const departure of [
        { how: 'exited', exitCode: 3, signal: null, stack: 'Error: late\n at late.js:7' },
        { how: 'hung', missingMs: 5_000, blockedAt: 'spin (late.js:7:3)', stack: 'at spin (late.js:7:3)' },
      ] as const) {
        const world = new FakeWorld()
        world.save('a/one', 'g1', answers('old'), THREE)
        const supervisor = await raise(world)
        world.save('a/one', 'g2', { action: never }, THREE)
        const reload = supervisor
          .reloadModule({ module_id: 'a/one', strategy }, OPERATOR)
          .catch((error) => error)
        await world.clock.pass(1_500)
        const calls = Array.from({ length: 6 }, () =>
          supervisor
            .call({ moduleId: 'a/one', action: 'work', input: {} })
            .then(({ output }) => output, codeOf),
        )
        await settle()
        const bad = world.running.filter(({ generation }) => generation === 'g2')
        t.ok(bad.length > 0, 'there is something to spoil')
        if (departure.how === 'hung') for (const { order } of bad) order.listener.suspect(1_000)
        await settle()
        await world.clock.pass(departure.how === 'hung' ? 4_000 : 0)
        for (const instance of bad) instance.leave(departure)
        await world.clock.pass(20_000)
        t.strictSame(await Promise.all(calls), Array(6).fill('old'), departure.how)
        // Where generations may not overlap, what hangs is ended at once: its stack is not waited for.
        const waited = strategy !== 'immediate' || departure.how === 'exited'
        t.match(await reload, {
          code: 'RELOAD_ROLLED_BACK',
          facts: { phase: 'settle', ...(waited ? { stack: /late\.js:7/ } : {}) },
        })
        t.strictSame([running(world), supervisor.status('a/one').state], [['g1', 'g1', 'g1'], 'started'])
        t.strictSame(world.bugs, [])
      }
    },
  )

  t.test(
    `${strategy}: with none, one and five replicas the new code is all there is in the end`,
    async (t) => {
      for (const replicas of [0, 1, 5]) {
        const world = new FakeWorld()
        world.save('a/one', 'g1', answers('old'), { ...ACTIONS, replicas })
        const supervisor = await raise(world)
        world.save('a/one', 'g2', answers('new'), { ...ACTIONS, replicas })
        const reload = supervisor.reloadModule({ module_id: 'a/one', strategy }, OPERATOR).catch(codeOf)
        await world.clock.pass(30_000)
        t.strictSame(running(world), Array(replicas).fill('g2'), `${replicas}`)
        if (replicas > 0) t.match(await reload, { reloaded: true, strategy, generation: 'g2' })
        t.strictSame(world.bugs, [])
      }
    },
  )
}

t.test(
  'rolling goes one by one, with one instance more than are wanted at most, and settles the first and the last in full',
  async (t) => {
    const world = new FakeWorld()
    world.save('a/one', 'g1', answers('old'), THREE)
    const supervisor = await raise(world)
    world.save('a/one', 'g2', answers('new'), THREE)
    const reload = supervisor.reloadModule({ module_id: 'a/one', strategy: 'rolling' }, OPERATOR)
    const { seen, pass } = watch(world, supervisor)
    const mixes: string[] = []
    for (const ms of [100, 2_800, 200, 1_000, 1_000, 2_000]) {
      await pass(ms)
      mixes.push(running(world).join(' '))
    }
    t.strictSame(mixes, [
      'g1 g1 g1 g2',
      'g1 g1 g1 g2',
      'g1 g1 g2 g2',
      'g1 g2 g2 g2',
      'g1 g2 g2 g2',
      'g2 g2 g2',
    ])
    t.strictSame(seen, { readyMin: 3, instancesMax: 4 })
    t.match(await reload, { reloaded: true, strategy: 'rolling', downtime_ms: 0, duration_ms: 7_000 })
  },
)

t.test(
  'a rolling reload that fails at its last replica gives the finished ones back, one by one, with their state',
  async (t) => {
    const world = new FakeWorld()
    let olds = 0
    const old: FakeCode = {
      ...answers('old'),
      snapshot: async (instance) => ({ from: instance }),
      start: async () => {
        olds += 1
        if (olds > 3) await new Promise<void>((resolve) => world.clock.after(200, resolve))
      },
    }
    world.save('a/one', 'g1', old, THREE)
    const supervisor = await raise(world)
    let started = 0
    const third: FakeCode = {
      ...answers('new'),
      start: async () => {
        started += 1
        if (started === 3) throw new Error('no third port')
      },
    }
    world.save('a/one', 'g2', third, THREE)
    const reload = supervisor
      .reloadModule({ module_id: 'a/one', strategy: 'rolling' }, OPERATOR)
      .catch((error) => error)
    const { seen, pass } = watch(world, supervisor)
    await pass(10_000)
    t.match(await reload, { code: 'RELOAD_ROLLED_BACK', facts: { phase: 'start', reason: /third port/ } })
    t.strictSame([running(world), seen, started], [['g1', 'g1', 'g1'], { readyMin: 3, instancesMax: 4 }, 3])
    const states = world.running.map(({ order }) => (order.inherited as { from: string } | undefined)?.from)
    t.strictSame(states, [undefined, 'a/one#1', 'a/one#2'], 'two were finished and came back')
  },
)

t.test(
  'immediate never has two generations at once, tells how long nothing served, and calls wait meanwhile',
  async (t) => {
    const world = new FakeWorld()
    let finish: (output: unknown) => void = () => {}
    world.save('a/one', 'g1', { action: () => new Promise((resolve) => (finish = resolve)) }, THREE)
    const supervisor = await raise(world)
    const inFlight = supervisor.call({ moduleId: 'a/one', action: 'work', input: {} })
    await settle()
    let overlap = 0
    const code: FakeCode = {
      ...answers('new'),
      start: async () => {
        overlap += world.running.filter(({ generation }) => generation === 'g1').length
      },
    }
    world.save('a/one', 'g2', code, THREE)
    const reload = supervisor.reloadModule({ module_id: 'a/one', strategy: 'immediate' }, OPERATOR)
    await world.clock.pass(700)
    const waiting = supervisor.call({ moduleId: 'a/one', action: 'work', input: {} })
    finish('old')
    t.strictSame([(await inFlight).output, (await waiting).output], ['old', 'new'])
    await world.clock.pass(4_000)
    t.match(await reload, { reloaded: true, strategy: 'immediate', downtime_ms: 700 })
    t.equal(overlap, 0)
  },
)

t.test(
  'what may not overlap is stopped and started whatever is asked for, and the answer says so',
  async (t) => {
    for (const strategy of STRATEGIES) {
      const world = new FakeWorld()
      let both = 0
      const code: FakeCode = {
        ...answers(1),
        start: async () => {
          both = Math.max(both, world.running.length)
        },
      }
      world.save('a/one', 'g1', code, { ...ACTIONS, exclusive: true })
      const supervisor = await raise(world)
      world.save('a/one', 'g2', code, { ...ACTIONS, exclusive: true })
      const reload = supervisor.reloadModule({ module_id: 'a/one', strategy }, OPERATOR)
      await world.clock.pass(5_000)
      t.match(await reload, { reloaded: true, strategy: 'immediate' })
      t.strictSame([both, running(world)], [1, ['g2']])
    }
  },
)

t.test('the strategy is the one that is asked for, else that of the new manifest', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', answers(1), { ...ACTIONS, reload: 'rolling' })
  const supervisor = await raise(world)
  const done: unknown[] = []
  for (const [generation, reload, strategy] of [
    ['g2', 'immediate', undefined],
    ['g3', 'immediate', 'graceful'],
    ['g4', 'rolling', undefined],
  ] as const) {
    world.save('a/one', generation, answers(1), { ...ACTIONS, reload })
    const answer = supervisor.reloadModule({ module_id: 'a/one', ...(strategy && { strategy }) }, OPERATOR)
    await world.clock.pass(5_000)
    done.push(((await answer) as ReloadResult).strategy)
  }
  t.strictSame(done, ['immediate', 'graceful', 'rolling'])
  const canary = supervisor.reloadModule({ module_id: 'a/one', strategy: 'canary' }, OPERATOR).catch(codeOf)
  t.equal(await canary, 'NOT_AVAILABLE')
})

t.test(
  'a replica of the old code that is lost during a reload is replaced when the reload reverts',
  async (t) => {
    const world = new FakeWorld()
    world.save('a/one', 'g1', answers('old'), THREE)
    const supervisor = await raise(world)
    world.save('a/one', 'g2', answers('new'), THREE)
    world.settled('a/one')
    await world.clock.pass(1_000)
    world.running.find(({ generation }) => generation === 'g1')?.leave(CRASH)
    await world.clock.pass(500)
    world.running.find(({ generation }) => generation === 'g2')?.leave(CRASH)
    await world.clock.pass(100)
    t.strictSame([running(world), supervisor.status('a/one').replicas.ready], [['g1', 'g1', 'g1'], 3])
  },
)

t.test(
  'old code that dies while the new settles is not missed, and comes back when the new does not hold',
  async (t) => {
    for (const holds of [true, false]) {
      const world = new FakeWorld()
      world.save('a/one', 'g1', answers('old'), ACTIONS)
      const supervisor = await raise(world)
      world.save('a/one', 'g2', answers('new'), ACTIONS)
      world.settled('a/one')
      await world.clock.pass(1_000)
      world.running.find(({ generation }) => generation === 'g1')?.leave(CRASH)
      await world.clock.pass(500)
      if (!holds) world.running.find(({ generation }) => generation === 'g2')?.leave(CRASH)
      await world.clock.pass(5_000)
      t.strictSame([running(world), supervisor.status('a/one').state], [[holds ? 'g2' : 'g1'], 'started'])
    }
  },
)

t.test('a replica that dies while its neighbours still come up reverts the reload', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', answers('old'), { ...ACTIONS, replicas: 2, timeouts: { settle_ms: 0 } })
  const supervisor = await raise(world)
  let release: () => void = () => {}
  let count = 0
  const code: FakeCode = {
    start: () => {
      count += 1
      return count === 1 ? Promise.resolve() : new Promise((resolve) => (release = resolve))
    },
  }
  world.save('a/one', 'g2', code, { ...ACTIONS, replicas: 2, timeouts: { settle_ms: 0 } })
  const reload = supervisor.reloadModule({ module_id: 'a/one' }, OPERATOR).catch((error) => error)
  await world.clock.pass(100)
  world.running.find(({ generation }) => generation === 'g2')?.leave(CRASH)
  release()
  await world.clock.pass(100)
  t.match(await reload, { code: 'RELOAD_ROLLED_BACK', facts: { reason: /code 1/ } })
  t.strictSame(running(world), ['g1', 'g1'])
})

t.test(
  'a call that meets one replica after another of code that hangs is answered by the old code',
  async (t) => {
    for (const strategy of ['graceful', 'rolling'] as const) {
      const world = new FakeWorld()
      world.save('a/one', 'g1', answers('old'), THREE)
      const supervisor = await raise(world)
      world.save('a/one', 'g2', { action: never }, THREE)
      const reload = supervisor.reloadModule({ module_id: 'a/one', strategy }, OPERATOR).catch(codeOf)
      await world.clock.pass(100)
      const calls = Array.from({ length: 12 }, () =>
        supervisor
          .call({ moduleId: 'a/one', action: 'work', input: {}, timeoutMs: 3_000 })
          .then(({ output }) => output, codeOf),
      )
      await settle()
      for (const instance of world.running.filter(({ generation }) => generation === 'g2')) {
        instance.order.listener.suspect(1_000)
        await settle()
      }
      t.strictSame(await Promise.all(calls), Array(12).fill('old'), strategy)
      await world.clock.pass(10_000)
      t.equal(await reload, 'RELOAD_ROLLED_BACK')
    }
  },
)

t.test(
  'a call that is cut by one replica after another of code that dies is answered by the old code',
  async (t) => {
    const world = new FakeWorld()
    world.save('a/one', 'g1', answers('old'), THREE)
    const supervisor = await raise(world)
    let cuts = 0
    // The pipe of a process that dies closes before its end is told.
    const dying: FakeCode = {
      action: () => {
        cuts += 1
        return Promise.reject(new NexusError('CALL_CUT', { module: 'a/one', action: 'work' }))
      },
    }
    world.save('a/one', 'g2', dying, THREE)
    world.settled('a/one')
    await world.clock.pass(100)
    const call = supervisor.call({ moduleId: 'a/one', action: 'work', input: {} })
    await settle()
    const before = cuts
    for (const instance of world.running.filter(({ generation }) => generation === 'g2'))
      instance.leave(CRASH)
    await world.clock.pass(100)
    t.strictSame([(await call).output, before], ['old', 3])
  },
)

t.test('where generations may not overlap, the bad one is gone before the good one comes back', async (t) => {
  const world = new FakeWorld()
  const manifest = { ...ACTIONS, exclusive: true }
  let overlap = 0
  const old: FakeCode = {
    ...answers('old'),
    start: async () => {
      overlap += world.running.filter(({ generation }) => generation === 'g2').length
    },
  }
  world.save('a/one', 'g1', old, manifest)
  const supervisor = await raise(world)
  const sick: FakeCode = {
    health: async () => ({ status: 'unhealthy', reason: 'sick' }),
    halt: () => new Promise((resolve) => world.clock.after(300, resolve)),
  }
  world.save('a/one', 'g2', sick, manifest)
  const reload = supervisor.reloadModule({ module_id: 'a/one' }, OPERATOR).catch(codeOf)
  await world.clock.pass(10_000)
  t.strictSame([await reload, running(world), overlap], ['RELOAD_ROLLED_BACK', ['g1'], 0])
})

t.test('a replica that hangs is not drained on the way back, whatever is in flight on it', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', answers('old'), THREE)
  const supervisor = await raise(world)
  world.save(
    'a/one',
    'g2',
    { action: () => new Promise((resolve) => world.clock.after(500, () => resolve(2))) },
    THREE,
  )
  const reload = supervisor.reloadModule({ module_id: 'a/one', strategy: 'rolling' }, OPERATOR).catch(codeOf)
  await world.clock.pass(3_500)
  const second = world.running.filter(({ generation }) => generation === 'g2').at(-1)
  const calls = Array.from({ length: 8 }, () =>
    supervisor.call({ moduleId: 'a/one', action: 'once', input: {}, timeoutMs: 1_000 }).catch(codeOf),
  )
  await settle()
  second?.order.listener.suspect(1_000)
  await world.clock.pass(100)
  const found = supervisor.status('a/one').instances.find(({ instance }) => instance === second?.id)
  t.equal(found?.state, 'draining', 'it takes nothing more')
  await world.clock.pass(3_900)
  second?.leave({ how: 'hung', missingMs: 5_000 })
  await world.clock.pass(2_000)
  t.strictSame([await reload, running(world), calls.length], ['RELOAD_ROLLED_BACK', ['g1', 'g1', 'g1'], 8])
})

t.test('a newer save does not wait for a start that hangs, nor does a stop', async (t) => {
  for (const strategy of STRATEGIES) {
    const world = new FakeWorld()
    world.save('a/one', 'g1', answers(1), { ...ACTIONS, reload: strategy })
    const supervisor = await raise(world)
    world.save('a/one', 'g2', { start: never }, { ...ACTIONS, reload: strategy })
    world.settled('a/one')
    await world.clock.pass(100)
    world.save('a/one', 'g3', answers(3), { ...ACTIONS, reload: strategy })
    world.settled('a/one')
    await world.clock.pass(100)
    t.ok(running(world).includes('g3'), strategy)
    await world.clock.pass(5_000)
    world.save('a/one', 'g4', { start: never }, { ...ACTIONS, reload: strategy })
    world.settled('a/one')
    await world.clock.pass(100)
    const stop = supervisor.stopModule('a/one', OPERATOR)
    await world.clock.pass(100)
    t.strictSame([(await stop).state, running(world)], ['stopped', []], strategy)
  }
})

t.test(
  'five failed calls at three times the old rate are the fault of the new code, fewer or as usual are not',
  async (t) => {
    const failing = (every: number): FakeCode => {
      let calls = 0
      return {
        action: async () => {
          calls += 1
          if (calls % every === 0)
            throw new NexusError('ACTION_FAILED', { module: 'a/one', action: 'work', reason: 'no' })
        },
      }
    }
    const after = async (old: number, next: number, calls: number): Promise<string> => {
      const world = new FakeWorld()
      world.save('a/one', 'g1', failing(old), ACTIONS)
      const supervisor = await raise(world)
      const ask = async (count: number): Promise<void> => {
        for (let n = 0; n < count; n += 1) {
          await supervisor.call({ moduleId: 'a/one', action: 'work', input: {} }).catch(codeOf)
        }
      }
      await ask(40)
      world.save('a/one', 'g2', failing(next), ACTIONS)
      world.settled('a/one')
      await world.clock.pass(100)
      await ask(calls)
      await world.clock.pass(5_000)
      return `${running(world)} ${supervisor.status('a/one').last_reload?.reason ?? 'holds'}`
    }
    t.strictSame(
      [await after(1_000, 2, 10), await after(1_000, 2, 8), await after(4, 2, 10), await after(8, 2, 10)],
      ['g1 5 calls failed, 50 % against 0 %', 'g2 holds', 'g2 holds', 'g1 5 calls failed, 50 % against 13 %'],
    )
  },
)

t.test(
  'new code that a neighbour in its shared host pulled down is taken back, but not held to be bad',
  async (t) => {
    const world = new FakeWorld()
    world.save('a/one', 'g1', answers(1), ACTIONS)
    const supervisor = await raise(world)
    world.save('a/one', 'g2', answers(2), ACTIONS)
    const reload = supervisor.reloadModule({ module_id: 'a/one' }, OPERATOR).catch((error) => error)
    await world.clock.pass(1_000)
    world.running
      .find(({ generation }) => generation === 'g2')
      ?.leave({ how: 'displaced', culprit: 'b/bad#1', reason: 'it hung' })
    await world.clock.pass(100)
    t.match(await reload, {
      code: 'RELOAD_ROLLED_BACK',
      facts: { phase: 'settle', reason: /fault of b\/bad#1/ },
    })
    const again = supervisor.reloadModule({ module_id: 'a/one' }, OPERATOR)
    await world.clock.pass(5_000)
    t.match(await again, { reloaded: true, generation: 'g2' })
  },
)

t.test('a call on the only new replica, which hangs, is answered by the old one at once', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', answers('old'), ACTIONS)
  const supervisor = await raise(world)
  world.save('a/one', 'g2', { action: never }, ACTIONS)
  world.settled('a/one')
  await world.clock.pass(100)
  const call = supervisor.call({ moduleId: 'a/one', action: 'work', input: {}, timeoutMs: 2_000 })
  await settle()
  world.running.find(({ generation }) => generation === 'g2')?.order.listener.suspect(1_000)
  await world.clock.pass(10)
  t.equal((await call).output, 'old')
})

t.test('with the old code gone, a newer save waits until what serves has settled', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', answers(1), ACTIONS)
  const supervisor = await raise(world)
  world.save('a/one', 'g2', answers(2), ACTIONS)
  world.settled('a/one')
  await world.clock.pass(500)
  world.running.find(({ generation }) => generation === 'g1')?.leave(CRASH)
  await settle()
  world.save('a/one', 'g3', answers(3), ACTIONS)
  world.settled('a/one')
  const { seen, pass } = watch(world, supervisor)
  await pass(8_000)
  t.strictSame([running(world), seen.readyMin], [['g3'], 1])
  t.equal(world.types().filter((type) => type === 'module.reloaded').length, 2)
})

t.test('a try that was waited for is not waited for any more once new code is there', async (t) => {
  const world = new FakeWorld()
  const manifest = { ...ACTIONS, replicas: 2, restart: { backoff_ms: 20_000 } }
  world.save('a/one', 'g1', answers(1), manifest)
  const supervisor = await raise(world)
  await world.clock.pass(200)
  world.running[0]?.leave(CRASH)
  await world.clock.pass(100)
  t.not(supervisor.status('a/one').next_retry_at, null)
  world.save('a/one', 'g2', answers(2), manifest)
  world.settled('a/one')
  await world.clock.pass(5_000)
  t.match(supervisor.status('a/one'), { next_retry_at: null, restarts: 0, replicas: { ready: 2 } })
})

t.test(
  'a number of instances that was asked for while reloads end is what there is in the end',
  async (t) => {
    for (const replicas of [0, 1]) {
      const world = new FakeWorld()
      world.save('a/one', 'g1', answers(1), THREE)
      const supervisor = await raise(world)
      world.save('a/one', 'g2', answers(2), THREE)
      world.settled('a/one')
      await settle()
      const reload = supervisor
        .reloadModule({ module_id: 'a/one', strategy: 'rolling' }, OPERATOR)
        .catch(codeOf)
      await settle()
      const scale = supervisor.scale({ module_id: 'a/one', replicas }, OPERATOR)
      await settle()
      world.save('a/one', 'g3', answers(3), THREE)
      world.settled('a/one')
      await world.clock.pass(60_000)
      await Promise.all([reload, scale])
      t.equal(world.running.length, replicas)
    }
  },
)

t.test('code of which nothing runs any more when its time is over is not held to be good', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', answers(1), { ...ACTIONS, restart: { backoff_ms: 20_000 } })
  const supervisor = await raise(world)
  world.code.set('g1', { start: () => Promise.reject(new Error('no more')) })
  await world.clock.pass(2_900)
  world.running[0]?.leave(CRASH)
  await world.clock.pass(5_000)
  t.strictSame(
    [supervisor.status('a/one').state, world.types().includes('module.generation_accepted')],
    ['backoff', false],
  )
})

t.test('a reload asked for while the watcher carries out the same one is that one', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', answers(1), ACTIONS)
  const supervisor = await raise(world)
  world.save('a/one', 'g2', answers(2), ACTIONS)
  world.settled('a/one')
  await world.clock.pass(1_000)
  const reload = supervisor.reloadModule({ module_id: 'a/one', strategy: 'graceful' }, OPERATOR)
  await world.clock.pass(2_100)
  t.match(await reload, { reloaded: true, duration_ms: 3_000 })
  t.equal(world.instances.length, 2)
})

t.test('with settle_ms 0 the new code is committed as soon as it is up', async (t) => {
  for (const strategy of STRATEGIES) {
    const world = new FakeWorld()
    const manifest = { ...THREE, timeouts: { settle_ms: 0 } }
    world.save('a/one', 'g1', answers(1), manifest)
    const supervisor = await raise(world)
    world.save('a/one', 'g2', answers(2), manifest)
    const reload = supervisor.reloadModule({ module_id: 'a/one', strategy }, OPERATOR)
    await world.clock.pass(0)
    t.match(await reload, { reloaded: true, strategy, duration_ms: 0 })
    t.strictSame(running(world), ['g2', 'g2', 'g2'])
  }
})

t.test('a stop during any reload ends everything, and a start afterwards brings it back', async (t) => {
  for (const strategy of STRATEGIES) {
    const world = new FakeWorld()
    world.save('a/one', 'g1', answers('old'), THREE)
    const supervisor = await raise(world)
    world.save('a/one', 'g2', answers('new'), THREE)
    const reload = supervisor.reloadModule({ module_id: 'a/one', strategy }, OPERATOR).catch(codeOf)
    await world.clock.pass(1_000)
    const stop = supervisor.stopModule('a/one', OPERATOR)
    await world.clock.pass(100)
    t.strictSame(
      [(await stop).state, await reload, running(world)],
      ['stopped', 'MODULE_WRONG_STATE', []],
      strategy,
    )
    const start = supervisor.startModule('a/one', OPERATOR)
    await world.clock.pass(100)
    t.strictSame([(await start).state, running(world)], ['started', ['g2', 'g2', 'g2']], strategy)
    t.strictSame(world.bugs, [])
  }
})

// --- one change at a time ------------------------------------------------------------------------------------

t.test(
  'F72: a hundred reloads at once of one module, and of fifty, are one for each, and leave nothing behind',
  async (t) => {
    const world = new FakeWorld()
    const ids = Array.from({ length: 50 }, (_, n) => `a/m${n}`)
    for (const id of ids) world.save(id, `${id} 1`, answers(1), ACTIONS)
    const supervisor = await raise(world)
    for (const id of ids) world.save(id, `${id} 2`, answers(2), ACTIONS)
    const reloads = [...Array(100).fill('a/m0'), ...ids].map((module_id) =>
      supervisor.reloadModule({ module_id }, OPERATOR),
    )
    await world.clock.pass(10_000)
    const results = (await Promise.all(reloads)) as ReloadResult[]
    t.strictSame([...new Set(results.map(({ reloaded }) => reloaded))], [true])
    t.strictSame(
      [world.instances.length, world.running.length],
      [100, 50],
      'one more instance for each module',
    )
    t.equal(world.types().filter((type) => type === 'module.reloaded').length, 50)
  },
)

t.test('different orders of one module wait for one another; a stop does not', async (t) => {
  const world = new FakeWorld()
  let most = 0
  const code = (output: unknown): FakeCode => ({
    ...answers(output),
    start: async () => {
      most = Math.max(most, new Set(running(world)).size)
    },
  })
  for (const generation of ['g1', 'g2', 'g3']) {
    world.save('a/one', generation, code(generation), { ...ACTIONS, replicas: 2 })
    if (generation === 'g1') await world.environment().catalog.stage('a/one')
  }
  world.save('a/one', 'g1', code('g1'), { ...ACTIONS, replicas: 2 })
  const supervisor = await raise(world)
  await world.clock.pass(5_000)
  world.save('a/one', 'g2', code('g2'), { ...ACTIONS, replicas: 2 })
  const orders = [
    supervisor.reloadModule({ module_id: 'a/one' }, OPERATOR),
    supervisor.reloadModule({ module_id: 'a/one', strategy: 'rolling' }, OPERATOR),
    supervisor.reloadModule({ module_id: 'a/one', generation: 'g1' }, OPERATOR),
    supervisor.reloadModule({ module_id: 'a/one', generation: 'g2', strategy: 'rolling' }, OPERATOR),
  ]
  await world.clock.pass(40_000)
  const results = (await Promise.all(orders)) as ReloadResult[]
  t.strictSame(
    results.map(({ strategy, generation }) => `${strategy} ${generation}`),
    ['graceful g2', 'rolling g2', 'graceful g1', 'rolling g2'],
  )
  t.equal(most, 2, 'never a third generation')
  const late = supervisor.reloadModule({ module_id: 'a/one' }, OPERATOR).catch(codeOf)
  await settle()
  const stop = supervisor.stopModule('a/one', OPERATOR)
  await world.clock.pass(0)
  t.strictSame([(await stop).state, await late, running(world)], ['stopped', 'MODULE_WRONG_STATE', []])
})

t.test(
  'an order is added to an equal one only when nothing came between, and not to a save that found nothing',
  async (t) => {
    const world = new FakeWorld()
    world.save('a/one', 'g1', answers(1), ACTIONS)
    const supervisor = await raise(world)
    const between: string[] = []
    const reload = () => supervisor.reloadModule({ module_id: 'a/one' }, OPERATOR)
    const first = reload()
    await settle()
    const change = supervisor.unit('a/one').change(async () => between.push(`${world.instances.length}`))
    const second = reload()
    await world.clock.pass(10_000)
    await Promise.all([first, change, second])
    t.strictSame([between, world.instances.length], [['2'], 3])

    let free: () => void = () => {}
    const busy = supervisor.unit('a/one').change(() => new Promise<void>((resolve) => (free = resolve)))
    world.settled('a/one')
    await settle()
    const byHand = reload()
    await settle()
    free()
    await busy
    await world.clock.pass(5_000)
    t.match(await byHand, { reloaded: true })
  },
)

t.test('more than a hundred different changes at once are refused, with the code to wait on', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', answers(1), ACTIONS)
  const supervisor = await raise(world)
  const unit = supervisor.unit('a/one')
  const changes = Array.from({ length: 102 }, () => unit.change(() => never()).catch(codeOf))
  t.equal(await changes.at(-1), 'MODULE_CHANGING')
})

t.test(
  'a save that cannot be read while something serves is told on record, and the old code goes on',
  async (t) => {
    const world = new FakeWorld()
    world.save('a/one', 'g1', answers(1), ACTIONS)
    const environment = world.environment()
    const supervisor = new Supervisor(environment, () => undefined)
    world.onFact((fact) => supervisor.fold(fact))
    await supervisor.discover()
    await supervisor.start()
    const facts = { module: 'a/one', reason: 'its files changed', file: '', generation: '' }
    environment.catalog.stage = () => Promise.reject(new NexusError('GENERATION_REFUSED', facts))
    world.settled('a/one')
    await world.clock.pass(100)
    t.strictSame([world.types().at(-1), running(world), world.bugs], ['module.rolled_back', ['g1'], []])
    world.running[0]?.leave(CRASH)
    world.settled('a/one')
    await world.clock.pass(10_000)
    t.strictSame([running(world), world.bugs], [['g1'], []], 'nor is it a bug while nothing serves')
  },
)

// --- state that is handed over -------------------------------------------------------------------------------

t.test(
  'each replica hands its state to the one that takes its place, whatever the strategy, and back',
  async (t) => {
    for (const strategy of STRATEGIES) {
      const world = new FakeWorld()
      const code: FakeCode = { ...answers(1), snapshot: async (instance) => ({ from: instance }) }
      world.save('a/one', 'g1', code, { ...ACTIONS, replicas: 2 })
      const supervisor = await raise(world)
      world.save('a/one', 'g2', code, { ...ACTIONS, replicas: 2 })
      const reload = supervisor.reloadModule({ module_id: 'a/one', strategy }, OPERATOR)
      await world.clock.pass(20_000)
      await reload
      const inherited = world.running.map(
        ({ order }) => (order.inherited as { from: string } | undefined)?.from,
      )
      t.strictSame(inherited, ['a/one#1', 'a/one#2'], strategy)

      world.save(
        'a/one',
        'g3',
        { ...code, start: () => Promise.reject(new Error('broken')) },
        { ...ACTIONS, replicas: 2 },
      )
      const broken = supervisor.reloadModule({ module_id: 'a/one', strategy }, OPERATOR).catch(codeOf)
      await world.clock.pass(20_000)
      t.equal(await broken, 'RELOAD_ROLLED_BACK')
      const states = world.running.map(({ order }) => (order.inherited as { from: string } | undefined)?.from)
      const handedBack = strategy === 'immediate' ? ['a/one#3', 'a/one#4'] : ['a/one#1', 'a/one#2']
      t.strictSame(states, handedBack, `${strategy} reverted`)
    }
  },
)

t.test(
  'state that is late, too large or cannot be had means a cold start, not a failed reload',
  async (t) => {
    const snapshots: readonly (() => Promise<unknown>)[] = [
      () => new Promise((_, reject) => setTimeout(reject, 1, new Error('too late'))),
      async () => 'x'.repeat(262_144),
      async () => 'ü'.repeat(131_072),
      () => Promise.reject(new Error('no state')),
      async () => 1n,
    ]
    for (const strategy of STRATEGIES) {
      for (const snapshot of snapshots) {
        const world = new FakeWorld()
        world.save('a/one', 'g1', { ...answers(1), snapshot }, { ...ACTIONS, timeouts: { settle_ms: 0 } })
        const supervisor = await raise(world)
        world.save('a/one', 'g2', answers(2), { ...ACTIONS, timeouts: { settle_ms: 0 } })
        const result = await supervisor.reloadModule({ module_id: 'a/one', strategy }, OPERATOR)
        t.match(result, { reloaded: true })
        t.notOk('inherited' in (world.running[0]?.order ?? {}), `${strategy} ${snapshot}`)
      }
    }
  },
)

// --- going back ----------------------------------------------------------------------------------------------

/** Three generations, each accepted; the last one serves. */
async function history(world: FakeWorld): Promise<Supervisor> {
  world.save('a/one', 'g1', answers(1), ACTIONS)
  const supervisor = await raise(world)
  await world.clock.pass(5_000)
  for (const generation of ['g2', 'g3']) {
    world.save('a/one', generation, answers(generation), ACTIONS)
    world.settled('a/one')
    await world.clock.pass(5_000)
  }
  return supervisor
}

t.test('a roll-back goes to the good generation before, and from there to the one before that', async (t) => {
  const world = new FakeWorld()
  const supervisor = await history(world)
  const generations: unknown[] = []
  for (let steps = 0; steps < 3; steps += 1) {
    const back = supervisor.rollbackModule({ module_id: 'a/one' }, OPERATOR).catch(codeOf)
    await world.clock.pass(5_000)
    const result = await back
    generations.push(typeof result === 'string' ? result : result.generation)
  }
  t.strictSame(generations, ['g2', 'g1', 'GENERATION_UNKNOWN'])
  const named = supervisor.rollbackModule({ module_id: 'a/one', generation: 'g3' }, OPERATOR)
  await world.clock.pass(5_000)
  t.match(await named, { reloaded: true, generation: 'g3', previous_generation: 'g1', strategy: 'graceful' })
})

t.test(
  'what was rolled back from is not brought back by a save, a start or a new daemon, until it changes or is named',
  async (t) => {
    const world = new FakeWorld()
    const supervisor = await history(world)
    const back = supervisor.rollbackModule({ module_id: 'a/one' }, OPERATOR)
    world.settled('a/one') // in the middle of it
    await world.clock.pass(5_000)
    await back
    world.settled('a/one')
    await world.clock.pass(5_000)
    const byHand = await supervisor.reloadModule({ module_id: 'a/one' }, OPERATOR).catch((error) => error)
    t.match(byHand, { code: 'RELOAD_REFUSED', message: /operator went back to g2/ })
    await supervisor.stopModule('a/one', OPERATOR)
    await supervisor.startModule('a/one', OPERATOR)
    t.strictSame(running(world), ['g2'])
    await world.clock.pass(5_000)

    const again = await raiseAgain(world, supervisor)
    await world.clock.pass(5_000)
    world.settled('a/one')
    await world.clock.pass(5_000)
    t.strictSame(running(world), ['g2'], 'a new daemon')
    world.save('a/one', 'g4', answers(4), ACTIONS)
    world.settled('a/one')
    await world.clock.pass(5_000)
    t.strictSame(running(world), ['g4'], 'new content')
    world.save('a/one', 'g3', answers(3), ACTIONS)
    world.settled('a/one')
    await world.clock.pass(5_000)
    t.strictSame(
      [running(world), again.status('a/one').generation],
      [['g3'], 'g3'],
      'content that came back later',
    )
  },
)

t.test(
  'what was rolled back from may come again once something else was good, but is not gone back to',
  async (t) => {
    const world = new FakeWorld()
    const supervisor = await history(world)
    const back = async (): Promise<unknown> => {
      const result = supervisor.rollbackModule({ module_id: 'a/one' }, OPERATOR)
      await world.clock.pass(5_000)
      return ((await result) as ReloadResult).generation
    }
    const save = async (generation: string): Promise<void> => {
      world.save('a/one', generation, answers(generation), ACTIONS)
      world.settled('a/one')
      await world.clock.pass(5_000)
    }
    t.equal(await back(), 'g2')
    await save('g4')
    t.equal(await back(), 'g2')
    await save('g5')
    await save('g3')
    t.strictSame(running(world), ['g3'])
    await supervisor.stop('the daemon stops')
    const other = new FakeWorld()
    const second = await history(other)
    for (const expected of ['g2', 'g1']) {
      const result = second.rollbackModule({ module_id: 'a/one' }, OPERATOR)
      await other.clock.pass(5_000)
      t.match(await result, { generation: expected })
    }
    other.save('a/one', 'g4', answers(4), ACTIONS)
    other.settled('a/one')
    await other.clock.pass(5_000)
    const ends: unknown[] = []
    for (let steps = 0; steps < 2; steps += 1) {
      const result = second.rollbackModule({ module_id: 'a/one' }, OPERATOR).catch(codeOf)
      await other.clock.pass(5_000)
      const end = await result
      ends.push(typeof end === 'string' ? end : end.generation)
    }
    t.strictSame(ends, ['g1', 'GENERATION_UNKNOWN'], 'what was left is not what was good before')
  },
)

t.test('a roll-back from code that is too young to be good is kept, too', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', answers(1), ACTIONS)
  const former = await raise(world)
  await world.clock.pass(5_000)
  await former.stop('the daemon stops')
  world.save('a/one', 'g2', answers(2), ACTIONS)
  const supervisor = await raiseAgain(world, former)
  t.strictSame(running(world), ['g2'])
  const back = supervisor.rollbackModule({ module_id: 'a/one' }, OPERATOR)
  await world.clock.pass(5_000)
  t.match(await back, { reloaded: true, generation: 'g1' })
  world.settled('a/one')
  await world.clock.pass(5_000)
  const again = await raiseAgain(world, supervisor)
  await world.clock.pass(5_000)
  t.strictSame([running(world), again.status('a/one').generation], [['g1'], 'g1'])
})

t.test('code that was reverted is not started either when nothing serves', async (t) => {
  const world = new FakeWorld()
  let well = true
  const old: FakeCode = { start: () => (well ? Promise.resolve() : Promise.reject(new Error('no disk'))) }
  world.save('a/one', 'g1', old, ACTIONS)
  const supervisor = await raise(world)
  await world.clock.pass(5_000)
  world.save('a/one', 'g2', { start: () => Promise.reject(new Error('broken')) }, ACTIONS)
  world.settled('a/one')
  await world.clock.pass(100)
  well = false
  world.running[0]?.leave(CRASH)
  await world.clock.pass(100)
  const tries = world.instances.length
  const byHand = await supervisor.reloadModule({ module_id: 'a/one' }, OPERATOR).catch((error) => error)
  t.match(byHand, { code: 'MODULE_WRONG_STATE', message: /reverted before \(start: broken\)/ })
  t.equal(world.instances.length, tries)
})

t.test('a named older generation stays, too, and the newest comes back by its name', async (t) => {
  const world = new FakeWorld()
  const supervisor = await history(world)
  for (const generation of ['g1', 'g3']) {
    const reload = supervisor.reloadModule({ module_id: 'a/one', generation }, OPERATOR)
    await world.clock.pass(5_000)
    await reload
    world.settled('a/one')
    await world.clock.pass(5_000)
    t.strictSame(running(world), [generation])
  }
  t.equal(supervisor.unit('a/one').refusal('g3'), undefined)
})

t.test('a module in a crash loop is brought back by a roll-back', async (t) => {
  const world = new FakeWorld()
  const supervisor = await history(world)
  let dies = false
  world.code.set('g3', {
    ...answers(3),
    start: () => (dies ? Promise.reject(new Error('the certificate is over')) : Promise.resolve()),
  })
  dies = true
  world.running[0]?.leave(CRASH)
  await world.clock.pass(1_000)
  t.equal(supervisor.status('a/one').state, 'backoff')
  const back = supervisor.rollbackModule({ module_id: 'a/one' }, OPERATOR)
  await world.clock.pass(5_000)
  t.match(await back, { reloaded: true, generation: 'g2', strategy: 'immediate' })
  dies = false
  const again = await raiseAgain(world, supervisor)
  await world.clock.pass(5_000)
  t.strictSame([running(world), again.status('a/one').generation], [['g2'], 'g2'])
})

t.test('a generation that nobody has is 404, on a module that serves and on one that does not', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', answers(1), ACTIONS)
  const supervisor = await raise(world)
  const codes = [
    await supervisor.reloadModule({ module_id: 'a/one', generation: 'ffffffff' }, OPERATOR).catch(codeOf),
    await supervisor.rollbackModule({ module_id: 'a/one', generation: 'ffffffff' }, OPERATOR).catch(codeOf),
    await supervisor.rollbackModule({ module_id: 'a/one' }, OPERATOR).catch(codeOf),
  ]
  t.strictSame(codes, Array(3).fill('GENERATION_UNKNOWN'))
  t.strictSame([running(world), world.types().includes('module.rolled_back')], [['g1'], false])
})

// --- a dry run -----------------------------------------------------------------------------------------------

t.test('a dry run tells what each strategy would do, and changes nothing', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', answers(1), THREE)
  world.save('a/web', 'w1', answers(1), { requires: ['a/one'] })
  const supervisor = await raise(world)
  world.save('a/one', 'g2', answers(2), THREE)
  const before = [world.facts.length, world.instances.length]
  const plan = (strategy: (typeof STRATEGIES)[number]) =>
    supervisor.reloadModule({ module_id: 'a/one', strategy, dry_run: true }, OPERATOR)
  const [graceful, rolling, immediate] = await Promise.all(STRATEGIES.map(plan))
  t.match(graceful, {
    module_id: 'a/one',
    dry_run: true,
    strategy: 'graceful',
    generation: 'g2',
    previous_generation: 'g1',
    content_changed: true,
    would: [/start 3 instances of g2 beside the 3 that serve/, /send calls/, /3000 ms/, /10000 ms/],
  })
  t.match(rolling, { strategy: 'rolling', would: [/3 times/, /1000 ms/, /one by one/] })
  t.match(immediate, {
    strategy: 'immediate',
    would: [/3 old ones/, /calls wait/, /3000/, /start g1/, /a\/web/],
  })
  t.strictSame([world.facts.length, world.instances.length], before)
  t.match(await supervisor.reloadModule({ module_id: 'a/one', generation: 'g1', dry_run: true }, OPERATOR), {
    generation: 'g1',
    content_changed: false,
  })
})

t.test('a dry run says why a reload would be refused', async (t) => {
  const world = new FakeWorld()
  const supervisor = await history(world)
  const back = supervisor.rollbackModule({ module_id: 'a/one' }, OPERATOR)
  await world.clock.pass(5_000)
  await back
  const dry = () => supervisor.reloadModule({ module_id: 'a/one', dry_run: true }, OPERATOR)
  t.match(await dry(), { refused: /operator went back to g2/, would: [] })
  await supervisor.stopModule('a/one', OPERATOR)
  world.save('a/one', 'g4', answers(4), ACTIONS)
  t.match(await dry(), { refused: /the module is stopped/, would: [] })
})
