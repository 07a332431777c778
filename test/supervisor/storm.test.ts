import t from 'tap'
import { Supervisor } from '../../daemon/supervisor/supervisor.ts'
import { type FakeCode, type FakeInstance, FakeWorld } from '../support/fake-modules.ts'

const OPERATOR = { kind: 'local', name: 'operator' } as const

/** A module whose every instance ends by itself, some time after it was ready; 0: before it is. */
function dying(world: FakeWorld, exitCode: number | null, afterMs: number): FakeCode {
  const signal = exitCode === null ? 'SIGKILL' : null
  const end = (instance: FakeInstance | undefined): void =>
    instance?.leave({ how: 'exited', exitCode, signal })
  return {
    start: async ({ instance }) => {
      const own = (): FakeInstance | undefined => world.instances.find(({ id }) => id === instance)
      if (afterMs > 0) world.clock.after(afterMs, () => end(own()))
      else {
        end(own())
        await new Promise(() => {})
      }
    },
  }
}

/** A world that writes down when each instance was started. */
function timed(): { world: FakeWorld; startsMs: Map<string, number[]> } {
  const world = new FakeWorld()
  const startsMs = new Map<string, number[]>()
  const push = world.instances.push.bind(world.instances)
  world.instances.push = (...made) => {
    for (const { order } of made) {
      startsMs.set(order.moduleId, [...(startsMs.get(order.moduleId) ?? []), world.clock.elapsed()])
    }
    return push(...made)
  }
  return { world, startsMs }
}

async function raise(world: FakeWorld): Promise<Supervisor> {
  const supervisor = new Supervisor(world.environment(), () => undefined)
  world.onFact((fact) => supervisor.fold(fact))
  await supervisor.discover()
  void supervisor.start()
  // Fifty hosts start in fifty turns.
  for (let n = 0; n < 3; n += 1) await world.clock.pass(0)
  return supervisor
}

/** The most that began within any minute. */
function fullestMinute(timesMs: readonly number[]): number {
  return Math.max(
    0,
    ...timesMs.map((fromMs) => timesMs.filter((atMs) => atMs >= fromMs && atMs < fromMs + 60_000).length),
  )
}

for (const [how, exitCode] of [
  ['0', 0],
  ['1', 1],
  ['137 by a signal', null],
] as const) {
  t.test(`code that exits with ${how} at once is started at most eight times in any minute`, async (t) => {
    const { world, startsMs } = timed()
    world.save('a/one', 'g1', dying(world, exitCode, 0))
    const supervisor = await raise(world)
    await world.clock.pass(3_600_000)
    const times = startsMs.get('a/one') ?? []
    const firstMinute = times.filter((atMs) => atMs < 60_000)
    t.strictSame(
      [fullestMinute(times), firstMinute.length, supervisor.status('a/one').state],
      [6, 6, 'crashloop'],
    )
    const gaps = times.slice(6).map((atMs, n) => atMs - (times[n + 5] ?? 0))
    t.ok(gaps.length > 10 && gaps.every((gapMs) => gapMs === 300_000), `one try in five minutes: ${gaps}`)
    const backoffs = firstMinute.slice(1).map((atMs, n) => atMs - (firstMinute[n] ?? 0))
    t.ok(
      backoffs.every((waitMs, n) => waitMs >= 0.8 * 500 * 2 ** n && waitMs <= 1.2 * 500 * 2 ** n),
      `twice as long each time: ${backoffs}`,
    )
  })
}

t.test(
  'code that crashes every two seconds is back at once five times, then it loops; new code is free of that',
  async (t) => {
    const { world, startsMs } = timed()
    world.save('a/one', 'g1', dying(world, 1, 2_000))
    const supervisor = await raise(world)
    await world.clock.pass(60_000)
    t.strictSame(startsMs.get('a/one'), [0, 2_000, 4_000, 6_000, 8_000, 10_000])
    t.equal(supervisor.status('a/one').state, 'crashloop')
    world.save('a/one', 'g2', {})
    world.settled('a/one')
    await world.clock.pass(10)
    t.match(supervisor.status('a/one'), { state: 'started', next_retry_at: null })
    world.instances.at(-1)?.leave({ how: 'exited', exitCode: 1, signal: null })
    await world.clock.pass(1_000)
    t.equal(supervisor.status('a/one').state, 'started', 'the crashes of before count no more')
  },
)

t.test(
  'fifty that crash at once share twenty starts in any minute, in order, and each knows its turn',
  async (t) => {
    const { world, startsMs } = timed()
    const ids = Array.from({ length: 50 }, (_, n) => `a/m${String(n).padStart(2, '0')}`)
    for (const id of ids) world.save(id, `g-${id}`, dying(world, 1, 0))
    world.save(
      'b/well',
      'g1',
      { action: async () => 'well' },
      { actions: { work: { description: 'works' } } },
    )
    const supervisor = await raise(world)
    t.equal(world.instances.length, 51, 'the first starts are no restarts')

    const wrong: string[] = []
    for (let n = 0; n < 60; n += 1) {
      const [next] = supervisor
        .statuses()
        .filter(({ next_retry_at: at }) => at !== null)
        .sort((a, b) => Date.parse(a.next_retry_at ?? '') - Date.parse(b.next_retry_at ?? ''))
      if (next === undefined) break
      const atMs = Date.parse(next.next_retry_at ?? '') - world.clock.now() + world.clock.elapsed()
      const before = startsMs.get(next.module_id)?.length ?? 0
      await world.clock.pass(atMs - world.clock.elapsed() + 1)
      if (startsMs.get(next.module_id)?.length !== before + 1) wrong.push(next.module_id)
    }
    t.strictSame(wrong, [], 'whoever was told to be next was')

    await world.clock.pass(3_600_000)
    const restarts = ids.flatMap((id) => (startsMs.get(id) ?? []).slice(1))
    t.equal(fullestMinute(restarts), 20)
    const states = supervisor.statuses().map(({ state }) => state)
    t.strictSame(
      [
        states.filter((state) => state === 'crashloop').length,
        states.filter((state) => state === 'started').length,
      ],
      [50, 1],
    )
    t.strictSame(
      [
        startsMs.get('b/well')?.length,
        (await supervisor.call({ moduleId: 'b/well', action: 'work', input: {} })).output,
      ],
      [1, 'well'],
    )
  },
)

t.test('a module that is stopped or renewed gives its turn to the next', async (t) => {
  const { world, startsMs } = timed()
  const ids = Array.from({ length: 23 }, (_, n) => `a/m${String(n).padStart(2, '0')}`)
  for (const id of ids) world.save(id, `g-${id}`, dying(world, 1, 1_500))
  const supervisor = await raise(world)
  await world.clock.pass(1_510)
  const waiting = (): string[] =>
    supervisor.statuses().flatMap(({ module_id: id, state }) => (state === 'backoff' ? [id] : []))
  const turns = (): (string | null)[] => waiting().map((id) => supervisor.status(id).next_retry_at)
  t.strictSame(
    [waiting(), new Set(turns()).size],
    [['a/m20', 'a/m21', 'a/m22'], 1],
    'all at the end of the minute',
  )
  const [first = '', second = '', third = ''] = waiting()
  await supervisor.stopModule(first, OPERATOR)
  world.save(second, 'g-new', {})
  world.settled(second)
  await world.clock.pass(10)
  t.strictSame(
    [waiting(), supervisor.status(first).next_retry_at, supervisor.status(second).state],
    [[third], null, 'started'],
    'new code waits for nobody',
  )
  const startedMs = startsMs.get(third)?.length
  await world.clock.pass(60_000)
  t.ok((startsMs.get(third)?.length ?? 0) > (startedMs ?? 0))
})
