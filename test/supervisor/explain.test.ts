import t from 'tap'
import { NexusError } from '../../daemon/contracts/failure.ts'
import { MODULE_STATES, type ModuleState } from '../../daemon/contracts/status.ts'
import { Supervisor } from '../../daemon/supervisor/supervisor.ts'
import { CRASH, type FakeCode, FakeWorld } from '../support/fake-modules.ts'
import { settle } from '../support/test-clock.ts'

const OPERATOR = { kind: 'local', name: 'operator' } as const
const ACTIONS = { actions: { work: { description: 'works', idempotent: true, concurrency: 10 } } }
const never = (): Promise<never> => new Promise(() => {})
const failing = (reason: string): FakeCode => ({ start: () => Promise.reject(new Error(reason)) })

async function found(world: FakeWorld): Promise<Supervisor> {
  const supervisor = new Supervisor(world.environment(), () => undefined)
  world.onFact((fact) => supervisor.fold(fact))
  await supervisor.discover()
  return supervisor
}

async function raise(world: FakeWorld): Promise<Supervisor> {
  const supervisor = await found(world)
  void supervisor.start()
  await world.clock.pass(0)
  return supervisor
}

/** How a module comes to be in a state; `locked` is left to omens. */
const WAYS: Readonly<Partial<Record<ModuleState, (world: FakeWorld) => Promise<Supervisor>>>> = {
  loaded: async (world) => {
    world.save('a/one', 'g1', {})
    const supervisor = await found(world)
    await settle()
    return supervisor
  },
  waiting: (world) => {
    world.save('a/one', 'g1', {}, { requires: ['z/base'] })
    return raise(world)
  },
  starting: (world) => {
    world.save('a/one', 'g1', { start: never })
    return raise(world)
  },
  started: (world) => {
    world.save('a/one', 'g1', {})
    return raise(world)
  },
  reloading: async (world) => {
    world.save('a/one', 'g1', {})
    const supervisor = await raise(world)
    world.save('a/one', 'g2', {})
    world.settled('a/one')
    await world.clock.pass(500)
    return supervisor
  },
  backoff: (world) => {
    world.save('a/one', 'g1', failing('no database'))
    return raise(world)
  },
  crashloop: (world) => {
    world.save('a/one', 'g1', failing('no database'), { restart: { max: 0 } })
    return raise(world)
  },
  stopping: async (world) => {
    world.save('a/one', 'g1', { action: never }, ACTIONS)
    const supervisor = await raise(world)
    void supervisor.call({ moduleId: 'a/one', action: 'work', input: {} }).catch(() => {})
    await settle()
    void supervisor.stopModule('a/one', OPERATOR)
    await settle()
    return supervisor
  },
  stopped: async (world) => {
    world.save('a/one', 'g1', {})
    const supervisor = await raise(world)
    await supervisor.stopModule('a/one', OPERATOR)
    return supervisor
  },
  failed: (world) => {
    const facts = {
      module: 'a/one',
      phase: 'import',
      reason: 'SyntaxError',
      unloadable: 1,
      stack: 'at a.js:3:7',
    }
    world.save('a/one', 'g1', { start: () => Promise.reject(new NexusError('MODULE_START_FAILED', facts)) })
    return raise(world)
  },
  invalid: async (world) => {
    world.spoil('a/one', 'requires: a/one requires itself')
    return raise(world)
  },
}

/** Words that say nothing. */
const EMPTY = /undefined|null|NaN|Invalid|\[object|^$/

t.test('in every state it says what comes next, and what to do where somebody has to', async (t) => {
  const seen: string[] = []
  for (const [state, way] of Object.entries(WAYS)) {
    const supervisor = await way(new FakeWorld())
    const explained = supervisor.explain('a/one')
    t.equal(explained.state, state)
    t.ok(explained.next !== null && explained.next.length > 10, `${state}: what comes next`)
    const stands = ['invalid', 'waiting', 'backoff', 'crashloop', 'stopped', 'failed'].includes(state)
    t.strictSame([explained.blocked_on !== null, explained.remedy !== null], [stands, stands], state)
    const text = [explained.since, explained.next, explained.blocked_on, explained.remedy]
    t.notOk(
      text.some((part) => part !== null && EMPTY.test(part)),
      JSON.stringify(text),
    )
    t.ok(Number.isFinite(Date.parse(explained.since)))
    seen.push(state)
  }
  t.strictSame(
    MODULE_STATES.filter((state) => !seen.includes(state)),
    ['discovered', 'locked'],
    'one that passes at once, one that omens bring',
  )
})

t.test('a module that waits names what it waits for, why that is away, and where to look', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', {}, { requires: ['z/base'] })
  world.save('z/base', 'b1', failing('no disk'), { restart: { max: 0 } })
  const supervisor = await raise(world)
  const explained = [supervisor.explain('a/one')]
  world.save('z/base', 'b2', {})
  world.settled('z/base')
  await world.clock.pass(5_000)
  await supervisor.stopModule('z/base', OPERATOR)
  await world.clock.pass(5_000)
  explained.push(supervisor.explain('a/one'))

  const lonely = new FakeWorld()
  lonely.save('a/one', 'g1', {}, { requires: ['z/base'] })
  explained.push((await raise(lonely)).explain('a/one'))
  t.match(explained, [
    {
      blocked_on: /it requires z\/base, which is crashloop: .*no disk/,
      next: 'it starts when z/base is ready',
      remedy: /nexus explain z\/base/,
    },
    {
      state: 'waiting',
      blocked_on: /z\/base, which is stopped: operator stopped it/,
      remedy: '`nexus start z/base`',
    },
    { blocked_on: /z\/base, which is not there/, remedy: /add the module z\/base/ },
  ])
})

t.test(
  'a hang is told with its place: in the fact, in the log of the module, and to whoever asks why',
  async (t) => {
    const world = new FakeWorld()
    world.save('a/one', 'g1', { start: async () => {} }, { restart: { max: 0 } })
    const supervisor = await raise(world)
    await world.clock.pass(5_000)
    const stack = `spin (file:///g/index.js:7:3)\n${'deep (file:///g/index.js:9:1)\n'.repeat(1_000)}`
    world.instances[0]?.order.listener.suspect(1_000)
    t.match(supervisor.explain('a/one'), { blocked_on: 'no heartbeat from a/one#1', next: /after 5000 ms/ })
    world.instances[0]?.leave({
      how: 'hung',
      missingMs: 5_012,
      blockedAt: 'spin (file:///g/index.js:7:3)',
      stack,
    })
    await world.clock.pass(10)
    const d = world.facts.find(({ type }) => type === 'module.hung')?.d ?? {}
    t.match(d, {
      how: 'hung',
      missing_ms: 5_012,
      blocked_at: 'spin (file:///g/index.js:7:3)',
      reason: /blocked for 5012 ms in spin \(file:\/\/\/g\/index\.js:7:3\)/,
      stack: /^spin .*\ndeep/,
    })
    t.ok(Buffer.byteLength(String(d['stack'])) <= 8_192)
    t.match(world.lines, [
      {
        level: 'error',
        message: /blocked for 5012 ms in spin/,
        fields: { blocked_at: /index\.js:7:3/, stack: /^spin/ },
      },
    ])
    const explained = supervisor.explain('a/one')
    t.match(explained, {
      state: 'crashloop',
      blocked_on: /blocked for 5012 ms in spin[^\n]*\nspin \(file:\/\/\/g\/index\.js:7:3\)\ndeep/,
      remedy: /make the code at spin \(file:\/\/\/g\/index\.js:7:3\) give way/,
    })
    const told = explained.because.find(({ type }) => type === 'module.hung')
    t.match(told, { say: /in spin/, detail: /^spin/ })
    t.equal(told?.detail?.split('\n').length, 12)
  },
)

t.test('a stack is cut between characters, never inside one', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', {})
  await raise(world)
  world.instances[0]?.leave({ how: 'hung', missingMs: 1, blockedAt: 'ü', stack: 'aü'.repeat(5_000) })
  await world.clock.pass(10)
  const stack = String(world.facts.find(({ type }) => type === 'module.hung')?.d['stack'])
  t.strictSame(
    [Buffer.byteLength(stack) > 8_180, stack.includes('\uFFFD'), /^(aü)+a?$/.test(stack)],
    [true, false, true],
  )
})

t.test('who was pulled down by another is back at once, is not blamed, and names the culprit', async (t) => {
  const world = new FakeWorld()
  let answer = (): Promise<unknown> => never()
  world.save('a/one', 'g1', { action: () => answer() }, { ...ACTIONS, restart: { policy: 'temporary' } })
  const supervisor = await raise(world)
  for (let n = 0; n < 2; n += 1) {
    const call = supervisor.call({ moduleId: 'a/one', action: 'work', input: {} })
    await settle()
    answer = async () => 'repeated'
    const last = world.running.at(-1)
    last?.leave({ how: 'displaced', culprit: 'a/bad#4', reason: 'its event loop was blocked for 5000 ms' })
    await world.clock.pass(10)
    t.equal((await call).output, 'repeated')
    answer = never
    if (n === 0) t.match(supervisor.status('a/one'), { state: 'started', restarts: 1, next_retry_at: null })
  }
  t.strictSame(
    world.types().filter((type) => /crash|displaced|rolled/.test(type)),
    ['module.displaced', 'module.displaced'],
  )
  t.match(world.facts.find(({ type }) => type === 'module.displaced')?.d, {
    instance: 'a/one#1',
    culprit: 'a/bad#4',
  })
  t.match(supervisor.explain('a/one').because.at(-2), { say: /by the fault of a\/bad#4/ })
})

t.test(
  'one that is pulled down while it starts has not failed to, and its code is not rolled back',
  async (t) => {
    const world = new FakeWorld()
    let leave = true
    const code: FakeCode = {
      start: async ({ instance }) => {
        if (!leave) return
        leave = false
        world.instances
          .find(({ id }) => id === instance)
          ?.leave({ how: 'displaced', culprit: 'a/bad#1', reason: 'it crashed' })
        throw new NexusError('MODULE_START_FAILED', {
          module: 'a/one',
          phase: 'start',
          reason: 'the pipe broke',
        })
      },
    }
    world.save('a/one', 'g0', {})
    const supervisor = await raise(world)
    await world.clock.pass(5_000)
    await supervisor.stopModule('a/one', OPERATOR)
    world.save('a/one', 'g1', code)
    await supervisor.startModule('a/one', OPERATOR).catch(() => {})
    await world.clock.pass(10)
    t.match(supervisor.status('a/one'), { state: 'started', generation: 'g1' })
    t.strictSame(
      world.types().filter((type) => /fail|crash|displaced|rolled/.test(type)),
      ['module.displaced'],
    )
  },
)

t.test('a neighbour that pulls it down again and again is waited for, more each time', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', {}, { restart: { max: 2, backoff_ms: 1_000 } })
  const supervisor = await raise(world)
  const states: unknown[] = []
  for (let n = 0; n < 4; n += 1) {
    world.running.at(-1)?.leave({ how: 'displaced', culprit: undefined, reason: 'it ended by SIGKILL' })
    await world.clock.pass(10)
    states.push(supervisor.status('a/one').state)
    await world.clock.pass(3_000)
  }
  t.strictSame(states, ['started', 'started', 'backoff', 'backoff'])
  t.strictSame(
    [supervisor.status('a/one').state, world.types().includes('module.crashloop')],
    ['started', false],
  )
})

t.test(
  'a reload that was reverted is told for as long as the code on disk is the one that failed',
  async (t) => {
    const world = new FakeWorld()
    world.save('a/one', 'g1', {})
    const supervisor = await raise(world)
    await world.clock.pass(5_000)
    world.save('a/one', 'g2', failing('no database'))
    world.settled('a/one')
    await world.clock.pass(5_000)
    t.match(supervisor.explain('a/one'), {
      state: 'started',
      remedy: /the code on disk was reverted \(.*no database\); correct it and save it/,
      because: [{}, {}, {}],
    })
    t.match(supervisor.explain('a/one').because.at(-1), { type: 'module.rolled_back', say: /no database/ })
  },
)

t.test('a crash loop says why, when it tries next, and how to try at once', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', failing('no database'), { restart: { max: 1, backoff_ms: 100 } })
  const supervisor = await raise(world)
  await world.clock.pass(1_000)
  const { next_retry_at: at, state } = supervisor.status('a/one')
  const explained = supervisor.explain('a/one')
  t.match([state, explained.blocked_on], ['crashloop', /2 crashes in 60000 ms: .*no database/])
  t.equal(explained.next, `one try every five minutes: the next at ${at}`)
  t.match(explained.remedy, /nexus logs a\/one.*saving starts it afresh; `nexus start a\/one` tries at once/)
})

t.test('one instance of several that is gone is told beside the others that serve', async (t) => {
  const world = new FakeWorld()
  world.save('a/one', 'g1', {}, { replicas: 2, restart: { backoff_ms: 5_000 } })
  const supervisor = await raise(world)
  world.instances[0]?.leave(CRASH)
  await world.clock.pass(10)
  t.match(supervisor.explain('a/one'), {
    state: 'started',
    blocked_on: /1 of 2 instances are ready: it exited with code 1/,
    next: /another one is started at 2026-11-22T10:00:0/,
    remedy: /nexus logs a\/one/,
  })
})
