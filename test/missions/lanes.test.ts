import fc from 'fast-check'
import t from 'tap'
import { Agenda } from '../../daemon/missions/agenda.ts'
import { AGE_MS, AGED_MS, Lanes, rankOf } from '../../daemon/missions/lanes.ts'
import { settle, TestClock } from '../support/test-clock.ts'
import { anna, body, World } from './world.ts'

interface Come {
  readonly id: string
  readonly atMs: number
  readonly priority: number
}

const PLACES = { coin: 1, forge: 1, library: 1, sanctuary: 1 }
const comes = fc
  .array(
    fc.record({ afterMs: fc.integer({ min: 0, max: 40_000 }), priority: fc.integer({ min: 0, max: 9 }) }),
    {
      minLength: 2,
      maxLength: 30,
    },
  )
  .map((gaps) => {
    let atMs = 0
    return gaps.map(({ afterMs, priority }, n) => {
      atMs += afterMs
      return { id: `m${n}`, atMs, priority }
    })
  })

/** Lets missions come to one lane that runs one at a time, each for `takesMs`; tells who started, and who waited then. */
async function played(
  missions: readonly Come[],
  takesMs: number,
): Promise<{ readonly started: Come; readonly waiting: readonly Come[]; readonly atMs: number }[]> {
  const starts: { started: Come; waiting: readonly Come[]; atMs: number }[] = []
  const waiting: Come[] = []
  const atEnd: (() => void)[] = []
  let nowMs = 0
  const lanes = new Lanes({ concurrency: 4, lanes: PLACES }, (id) => {
    const started = waiting.find((one) => one.id === id) as Come
    starts.push({ started, waiting: [...waiting], atMs: nowMs })
    waiting.splice(waiting.indexOf(started), 1)
    return new Promise((resolve) => atEnd.push(resolve))
  })
  lanes.open()
  let busyUntilMs = 0
  const next = [...missions]
  while (next.length > 0 || waiting.length > 0 || atEnd.length > 0) {
    const come = next[0]
    if (come !== undefined && (atEnd.length === 0 || come.atMs <= busyUntilMs)) {
      next.shift()
      nowMs = come.atMs
      waiting.push(come)
      const running = atEnd.length
      lanes.offer(come.id, 'coin', rankOf(come.priority, nowMs))
      for (let n = 0; n < 5; n += 1) await Promise.resolve()
      if (running === 0) busyUntilMs = nowMs + takesMs
    } else {
      nowMs = busyUntilMs
      atEnd.shift()?.()
      for (let n = 0; n < 20; n += 1) await Promise.resolve()
      busyUntilMs = nowMs + takesMs
    }
  }
  return starts
}

t.test('who waited long enough goes first: the order is the one ageing gives, at every start', async (t) => {
  let overtaken = 0
  await fc.assert(
    fc.asyncProperty(comes, fc.integer({ min: 1_000, max: 60_000 }), async (missions, takesMs) => {
      const starts = await played(missions, takesMs)
      const aged = ({ priority, atMs }: Come, nowMs: number): number => priority + (nowMs - atMs) / AGE_MS
      return (
        starts.length === missions.length &&
        starts.every(({ started, waiting, atMs }) => {
          if (waiting.some(({ priority }) => priority > started.priority)) overtaken += 1
          return waiting.every((other) => aged(other, atMs) <= aged(started, atMs) + 1e-9)
        })
      )
    }),
    { seed: 2, numRuns: 200 },
  )
  t.ok(overtaken > 50, `${overtaken} starts before somebody of a higher priority`)
})

t.test(
  'nobody starves: what came later than the whole age never goes first, however it is ranked',
  async (t) => {
    await fc.assert(
      fc.asyncProperty(comes, fc.integer({ min: 1_000, max: 60_000 }), async (missions, takesMs) => {
        const starts = await played(missions, takesMs)
        return starts.every(({ started, waiting }) =>
          waiting.every(({ atMs }) => started.atMs - atMs <= AGED_MS),
        )
      }),
      { seed: 4, numRuns: 200 },
    )
    // A flood of the highest priority, and one of the lowest that came first.
    const flood = Array.from({ length: 400 }, (_, n) => ({ id: `f${n}`, atMs: n * 1_000, priority: 9 }))
    const starts = await played(
      [{ id: 'first', atMs: 0, priority: 9 }, { id: 'low', atMs: 1, priority: 0 }, ...flood.slice(1)],
      2_000,
    )
    const place = starts.find(({ started }) => started.id === 'low')
    t.match(
      place,
      { atMs: 542_000 },
      'it starts as soon as those of the first four and a half minutes are through',
    )
  },
)

t.test('a lane keeps to its places, all lanes to theirs together, and who left does not run', async (t) => {
  for (const [concurrency, each, most] of [
    [16, 2, 8],
    [3, 2, 3],
  ] as const) {
    const running = new Set<string>()
    const ends = new Map<string, () => void>()
    let seen = 0
    const limits = { concurrency, lanes: { coin: each, forge: each, library: each, sanctuary: each } }
    const lanes = new Lanes(limits, (id) => {
      running.add(id)
      seen = Math.max(seen, running.size)
      return new Promise((resolve) => ends.set(id, resolve))
    })
    for (let n = 0; n < 5; n += 1) {
      for (const lane of ['coin', 'forge', 'library', 'sanctuary'] as const)
        lanes.offer(`${lane}${n}`, lane, 0)
    }
    lanes.withdraw('coin4')
    lanes.withdraw('forge0')
    lanes.offer('coin1', 'coin', 900)
    const depth = lanes.depth()
    const before = running.size
    lanes.open()
    await settle()
    const order: string[] = []
    while (running.size > 0) {
      const [id] = running
      order.push(id ?? '')
      running.delete(id ?? '')
      ends.get(id ?? '')?.()
      await settle()
    }

    t.strictSame(depth, { coin: 4, forge: 4, library: 5, sanctuary: 5 })
    t.equal(before, 0, 'closed until it is opened')
    t.equal(seen, most)
    t.equal(order.length, 18)
    t.notOk(order.includes('coin4') || order.includes('forge0'))
  }
})

t.test(
  'the agenda rings as a list that is searched would, whatever is put, replaced and dropped',
  async (t) => {
    let rings = 0
    const operation = fc.record({
      id: fc.integer({ min: 0, max: 9 }).map((n) => `m${n}`),
      waitMs: fc.option(fc.integer({ min: 0, max: 50 })),
      passMs: fc.integer({ min: 0, max: 10 }),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { maxLength: 60 }), async (operations) => {
        const clock = new TestClock()
        const rung: string[] = []
        const expected: string[] = []
        const due = new Map<string, number>()
        const agenda = new Agenda(clock, (id) => rung.push(`${id} at ${clock.elapsed()}`))
        const pass = async (byMs: number): Promise<void> => {
          for (let n = 0; n <= byMs; n += 1) {
            clock.skip(n === 0 ? 0 : 1)
            for (const [id, dueMs] of due) {
              if (dueMs > clock.elapsed()) continue
              due.delete(id)
              expected.push(`${id} at ${clock.elapsed()}`)
            }
          }
        }
        for (const { id, waitMs, passMs } of operations) {
          if (waitMs === null) {
            agenda.drop(id)
            due.delete(id)
          } else {
            agenda.put(id, waitMs)
            due.set(id, clock.elapsed() + waitMs)
          }
          await pass(passMs)
        }
        await pass(60)
        rings += rung.length
        return rung.sort().join() === expected.sort().join() && clock.waiting === 0
      }),
      { seed: 9, numRuns: 300 },
    )
    t.ok(rings > 1_000, `${rings} rings`)
  },
)

t.test('a restart takes nobody’s place in the line', async (t) => {
  const world = new World()
  world.settings = { ...world.settings, lanes: PLACES }
  const order: string[] = []
  world.action('cortex/echo/say', ({ mission }) => order.push(mission?.step ?? ''), { idempotent: true })
  let missions = await world.start()
  const create = (id: string, priority: number) =>
    missions.create(anna, body({ plan: [{ id, uses: 'cortex/echo/say' }], priority }))
  await missions.drain(0)
  await create('old', 0)
  await world.clock.pass(2 * AGE_MS + 1)
  await create('new', 2)
  await create('urgent', 3)
  missions = await world.restart()
  await settle()

  t.strictSame(order, ['urgent', 'old', 'new'])
})
