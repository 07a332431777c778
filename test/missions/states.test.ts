import fc from 'fast-check'
import t from 'tap'
import type { Fact } from '../../daemon/contracts/fact.ts'
import { NexusError } from '../../daemon/contracts/failure.ts'
import { MISSION_ID_PATTERN } from '../../daemon/contracts/ids.ts'
import { MISSION_STATUSES, type MissionStatus } from '../../daemon/contracts/mission.ts'
import { seededChance } from '../../daemon/kit/chance.ts'
import { Keyed } from '../../daemon/kit/keyed.ts'
import type { Move } from '../../daemon/kit/state-table.ts'
import { Agenda } from '../../daemon/missions/agenda.ts'
import { MissionIds } from '../../daemon/missions/mission-id.ts'
import { BIRTH, MISSION_TABLE, type MissionAct } from '../../daemon/missions/mission-table.ts'
import { resolve } from '../../daemon/missions/reference.ts'
import { Shelf } from '../../daemon/missions/shelf.ts'
import { MemoryRecords } from '../support/memory-records.ts'
import { TestClock } from '../support/test-clock.ts'
import { anna, body, codeOf, World } from './world.ts'

const rows = MISSION_TABLE as Readonly<
  Record<MissionStatus, Readonly<Record<string, Move<MissionStatus, MissionAct>>>>
>

t.test('every state can be reached, and only the five finals cannot be left', async (t) => {
  const reached = new Set<MissionStatus>(Object.values(BIRTH).map(({ to }) => to))
  for (const state of reached) for (const { to } of Object.values(rows[state])) reached.add(to)
  const finals = MISSION_STATUSES.filter((state) => Object.keys(rows[state]).length === 0)

  t.strictSame([...reached].sort(), [...MISSION_STATUSES].sort())
  t.strictSame(finals, ['completed', 'failed', 'cancelled', 'rejected', 'expired'])
})

t.test(
  'whatever waits or runs can be cancelled, and only a decision of an operator wakes what halted',
  async (t) => {
    const cancellable = MISSION_STATUSES.filter((state) => rows[state]['cancelled']?.to === 'cancelled')
    const intoQueue = MISSION_STATUSES.flatMap((state) =>
      Object.entries(rows[state]).flatMap(([event, { to }]) =>
        to === 'queued' ? [`${state} ${event}`] : [],
      ),
    )

    t.strictSame(cancellable, ['suggestion', 'awaiting_approval', 'queued', 'running', 'interrupted'])
    t.strictSame(intoQueue, [
      'suggestion overridden',
      'awaiting_approval approved',
      'running released',
      'interrupted resumed',
    ])
  },
)

t.test(
  'no order of facts whatever brings a mission out of a final state, or back to an older epoch',
  async (t) => {
    const world = new World()
    const missions = await world.start()
    await missions.create(anna, body())
    const [created] = world.journal.facts
    const kinds = [
      ['mission.approved', { by: 'a', digest: 'd' }],
      ['mission.rejected', { by: 'a' }],
      ['mission.expired', { after_days: 7 }],
      ['mission.claimed', { queue_wait_ms: 0 }],
      ['mission.step_started', { step: 'first', uses: 'cortex/echo/say', try: 1, idempotent: false }],
      [
        'mission.step_finished',
        { step: 'first', status: 'completed', artifacts: [], duration_ms: 1, cpu_ms: 1 },
      ],
      ['mission.attempt_ended', { outcome: 'cut', duration_ms: 1, retry_in_ms: 0 }],
      ['mission.interrupted', { step: 'first', cause: 'c', duration_ms: 1 }],
      ['mission.resumed', { by: 'a', mode: 'retry', step: 'first', digest: 'd' }],
      ['mission.cancelled', { by: 'a' }],
      ['mission.ended', { status: 'completed', duration_ms: 1, success: true }],
    ] as const
    const anyFact = fc.record({
      kind: fc.nat(kinds.length - 1),
      ep: fc.option(fc.integer({ min: 1, max: 4 })),
    })
    let finalsSeen = 0

    fc.assert(
      fc.property(fc.array(anyFact, { maxLength: 40 }), (facts) => {
        const store = new Shelf(new MemoryRecords())
        store.fold(created as Fact)
        for (const { kind, ep } of facts) {
          const before = store.get(created?.mid ?? '')
          const [type, d] = kinds[kind] ?? kinds[0]
          store.fold({ ...(created as Fact), type, d, ...(ep === null ? {} : { ep }) })
          const after = store.get(created?.mid ?? '')
          const final = Object.keys(rows[before?.status ?? 'queued']).length === 0
          finalsSeen += final ? 1 : 0
          const epoch = (before?.epoch ?? 0) + (type === 'mission.claimed' ? 1 : 0)
          if ((final || (ep !== null && ep !== epoch)) && after !== before) return false
          if ((after?.epoch ?? 0) < (before?.epoch ?? 0)) return false
        }
        return true
      }),
      { seed: 11, numRuns: 500 },
    )
    t.ok(finalsSeen > 100, 'finals were met')
  },
)

t.test(
  'ids sort by creation, in one millisecond, when the clock goes back, and after a restart',
  async (t) => {
    const clock = new TestClock()
    const ids = new MissionIds(clock, seededChance(1))
    const made: string[] = []
    for (let n = 0; n < 300; n += 1) {
      if (n % 50 === 0) clock.jump(n % 100 === 0 ? 7 : -3_600_000)
      made.push(ids.next())
    }
    const next = new MissionIds(new TestClock(0), seededChance(1))
    next.seen('m-7zzzzzzzzz00000000000000zz')
    const beyond = next.next()

    t.strictSame(made, [...new Set(made)].sort())
    t.ok(made.every((id) => new RegExp(MISSION_ID_PATTERN).test(id)))
    t.equal(beyond, 'm-7zzzzzzzzz0000000000000100')
  },
)

t.test('references reach into outputs and input, never into what every object inherits', async (t) => {
  const outputs: Record<string, unknown> = { a: { rows: [{ n: 1 }], 'two words': true } }
  const into = (value: unknown): Promise<unknown> =>
    resolve(value, { path: 'x' }, async (step) => outputs[step])

  t.strictSame(
    await into({
      n: { $from: 'steps.a.output.rows.0.n' },
      list: [{ $from: 'input.path' }, { $from: 'steps.a.output.two words' }],
      all: { $from: 'input' },
    }),
    { n: 1, list: ['x', true], all: { path: 'x' } },
  )
  for (const path of [
    'steps.a.output.rows.1',
    'steps.a.output.__proto__',
    'steps.a.output.rows.length',
    'input.path.0',
  ]) {
    const code = path.endsWith('length') ? 'none' : 'STEP_INPUT_MISSING'
    t.equal(await codeOf(into({ $from: path })), code, path)
  }
})

t.test(
  'the agenda rings once for each entry when it is due, with one timer, whatever the wall clock does',
  async (t) => {
    const clock = new TestClock()
    const rung: string[] = []
    const agenda = new Agenda(clock, (id) => rung.push(`${id} at ${clock.elapsed()}`))
    agenda.put('late', 3_000)
    agenda.put('soon', 1_000)
    agenda.put('moved', 500)
    agenda.put('moved', 2_000)
    agenda.put('dropped', 700)
    agenda.drop('dropped')
    clock.jump(86_400_000)
    t.equal(clock.waiting, 1)
    await clock.pass(10_000)
    t.strictSame(rung, ['soon at 1000', 'moved at 2000', 'late at 3000'])
  },
)

t.test('one key waits for itself only, also after a failure, and never without a limit', async (t) => {
  const keyed = new Keyed(2, () => new NexusError('JOURNAL_BUSY', { limit: 2 }))
  const order: string[] = []
  const gate = Promise.withResolvers<void>()
  const slow = keyed.run('a', async () => {
    await gate.promise
    order.push('a1')
    throw new Error('no')
  })
  const second = keyed.run('a', async () => order.push('a2'))
  const third = keyed.run('a', async () => order.push('a3'))
  const fourth = keyed.run('a', async () => order.push('a4'))
  await keyed.run('b', async () => order.push('b1'))
  gate.resolve()
  const ends = await Promise.allSettled([slow, second, third, fourth])

  t.strictSame(order, ['b1', 'a1', 'a2', 'a3'])
  t.strictSame(
    ends.map(({ status }) => status),
    ['rejected', 'fulfilled', 'fulfilled', 'rejected'],
  )
})
