import fc from 'fast-check'
import t from 'tap'
import type { Fact } from '../../daemon/contracts/fact.ts'
import { NexusError } from '../../daemon/contracts/failure.ts'
import type { MissionStatus } from '../../daemon/contracts/mission.ts'
import { sleep } from '../../daemon/kit/clock.ts'
import { MISSION_TABLE } from '../../daemon/missions/mission-table.ts'
import type { Missions } from '../../daemon/missions/missions.ts'
import type { ActionOrder } from '../../daemon/missions/port.ts'
import { settle } from '../support/test-clock.ts'
import { anna, anyPlan, BORDERLINE, body, codeOf, operator, types, World } from './world.ts'

/** A second after the clock of the test begins. */
const LATER = '2026-11-22T10:00:01Z'

const PLAN = [
  { id: 'read', uses: 'cortex/echo/say', with: { n: 1 } },
  { id: 'act', uses: 'cortex/echo/once', with: { n: { $from: 'steps.read.output.n' } } },
  { id: 'tell', uses: 'cortex/echo/say', with: { n: { $from: 'steps.act.output.n' } } },
]

/** Two sides that run next to each other, one of them with a step that may not run twice. */
const DIAMOND = [
  { id: 'read', uses: 'cortex/echo/say', with: { n: 1 } },
  { id: 'act', uses: 'cortex/echo/once', needs: ['read'], with: { n: { $from: 'steps.read.output.n' } } },
  { id: 'look', uses: 'cortex/echo/say', needs: ['read'] },
  {
    id: 'tell',
    uses: 'cortex/echo/say',
    needs: ['act', 'look'],
    with: { n: { $from: 'steps.act.output.n' } },
  },
]

/** How often a step that may not run twice was called. */
function acts(world: World): number {
  return world.steps.filter((step) => step === 'act').length
}

function finals(facts: readonly Fact[]): number {
  return facts.filter(({ type }) => /^mission\.(ended|cancelled|rejected|expired)$/.test(type)).length
}

/** Carries a mission on, as an operator would, until it cannot go further. */
async function finish(world: World, id: string): Promise<MissionStatus> {
  const missions = await world.restart()
  await world.clock.pass(300_000)
  const { status } = await missions.get(id)
  if (status === 'awaiting_approval') await missions.approve(operator, { mission_id: id })
  if (status === 'interrupted') await missions.run(operator, { mission_id: id, resume: 'skip', wait_ms: 0 })
  await world.clock.pass(300_000)
  return (await missions.get(id)).status
}

t.test(
  'killed at every record of every append: one final state, and no step twice that may not',
  async (t) => {
    const seen = new Set<string>()
    for (const [verdict, plan] of [
      [{}, PLAN],
      [BORDERLINE, PLAN],
      [{}, DIAMOND],
    ] as const) {
      for (let append = 1, keeps = 0, isOver = false; !isOver; ) {
        const world = new World()
        world.verdict = () => verdict
        world.journal.dieAt = { append, keeps }
        const missions = await world.start()
        let acknowledged: string | undefined
        const creating = missions.create(anna, body({ plan: [...plan] }), 'key')
        creating.then(
          async ({ mission }) => {
            acknowledged = mission.mission_id
            if (mission.status === 'awaiting_approval') await missions.approve(operator, mission)
          },
          () => {},
        )
        await settle()
        isOver = !world.journal.dead
        const kept = types(world).at(-1) ?? 'nothing'
        const id = world.journal.facts[0]?.mid
        const name = `${keeps} of batch ${append}, after ${kept}`
        if (!isOver) seen.add(`${keeps === world.journal.lastBatch ? 'unheard' : 'lost after'} ${kept}`)
        keeps = keeps < world.journal.lastBatch ? keeps + 1 : 0
        if (keeps === 0) append += 1
        if (acknowledged !== undefined) t.equal(id, acknowledged, `${name}: what was acknowledged is there`)
        if (id === undefined || isOver) continue
        const status = await finish(world, id)
        // A skipped step has no output, so the step that reads it fails: an end all the same.
        t.match(status, /^(completed|failed)$/, name)
        t.equal(finals(world.journal.facts), 1, `${name}: one end`)
        t.ok(acts(world) <= 1, `${name}: the step that may not run twice ran ${acts(world)} times`)
        const again = await (await world.restart()).create(anna, body({ plan: [...plan] }), 'key')
        t.equal(again.mission.mission_id, id, `${name}: the key still names it`)
      }
    }
    const places = ['approved', 'claimed', 'created', 'nothing', 'step_finished', 'step_started']
    t.strictSame(
      [...seen].filter((name) => name.startsWith('lost')).sort(),
      places.map((name) => `lost after ${name}`),
    )
    t.ok(seen.has('unheard ended') && seen.has('unheard step_started'), [...seen].join(', '))
  },
)

t.test('killed again and again at random, missions of every kind still end once', async (t) => {
  let restarts = 0
  let sides = 0
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ append: fc.integer({ min: 1, max: 12 }), keeps: fc.nat(4) }), { maxLength: 6 }),
      anyPlan(['say', 'once', 'throw']),
      async (deaths, plan) => {
        const world = new World()
        world.action('cortex/echo/throw', () =>
          Promise.reject(new NexusError('ACTION_FAILED', { reason: 'no' })),
        )
        let missions = await world.start()
        const { mission } = await missions.create(anna, body({ plan }))
        const id = mission.mission_id
        for (const { append, keeps } of deaths) {
          world.journal.dieAt = { append, keeps }
          await world.clock.pass(20_000)
          missions = await world.restart()
          restarts += 1
          const { status, steps } = await missions.get(id)
          sides += steps.filter((step) => step.status === 'unknown').length > 1 ? 1 : 0
          if (status === 'interrupted') {
            await missions.run(operator, { mission_id: id, resume: 'skip', wait_ms: 0 })
          }
        }
        const end = await finish(world, id)
        const onceCalls = world.calls.filter(({ action }) => action === 'once')
        const once = new Set(onceCalls.map(({ mission: context }) => context?.step)).size === onceCalls.length
        return finals(world.journal.facts) === 1 && Object.keys(MISSION_TABLE[end]).length === 0 && once
      },
    ),
    { seed: 3, numRuns: 120 },
  )
  t.ok(restarts > 120, `${restarts} restarts`)
  t.ok(sides > 0, `${sides} times more than one step had no known end`)
})

t.test('a crash in an idempotent step resumes there with the next epoch, and is no failure', async (t) => {
  const world = new World()
  let hang = true
  world.action('cortex/echo/say', ({ input }) => (hang ? new Promise(() => {}) : input), { idempotent: true })
  world.action('cortex/echo/first', () => ({ n: 4 }))
  const plan = [{ id: 'first', uses: 'cortex/echo/first' }, ...PLAN.slice(0, 1)]
  const missions = await world.start()
  const { mission } = await missions.create(anna, body({ plan, max_attempts: 1 }))
  await settle()
  world.journal.dieAt = { append: 1, keeps: 0 }
  hang = false
  const restarted = await world.restart()
  await settle()
  const done = await restarted.get(mission.mission_id)

  t.match(done, { status: 'completed', epoch: 2, attempts: [{ outcome: 'cut' }, { outcome: 'completed' }] })
  t.strictSame(world.steps, ['first', 'read', 'read'])
  t.match(world.journal.facts.at(-1)?.d, { success: true, first_pass: true })
})

t.test('time spent before a crash counts as far as it was recorded', async (t) => {
  const world = new World()
  let hang = true
  world.action(
    'cortex/echo/say',
    ({ mission }) => {
      if (mission?.step === 'b') return hang ? new Promise(() => {}) : 1
      return sleep(world.clock, 5)
    },
    { idempotent: true },
  )
  const plan = ['a', 'b'].map((id) => ({ id, uses: 'cortex/echo/say' }))
  const missions = await world.start()
  const { mission } = await missions.create(anna, body({ plan }))
  await world.clock.pass(100)
  hang = false
  const restarted = await world.restart()
  await settle()
  t.match(await restarted.get(mission.mission_id), { status: 'completed', duration_ms: 5 })
})

t.test('drain lets what runs end, starts nothing more, and the next start goes on', async (t) => {
  const world = new World()
  world.settings = { ...world.settings, lanes: { coin: 1, forge: 1, library: 1, sanctuary: 1 } }
  const answer = Promise.withResolvers<void>()
  world.action('cortex/echo/once', async () => {
    await answer.promise
    return { n: 2 }
  })
  const missions = await world.start()
  const first = (await missions.create(anna, body({ plan: PLAN }))).mission.mission_id
  const second = (await missions.create(anna, body())).mission.mission_id
  await settle()
  const draining = missions.drain(20_000)
  const third = (await missions.create(anna, body())).mission.mission_id
  answer.resolve()
  await draining
  const after = await statuses(missions, [first, second, third])
  const restarted = await world.restart()
  await settle()

  t.strictSame(after, ['completed', 'queued', 'queued'])
  t.strictSame(await statuses(restarted, [first, second, third]), ['completed', 'completed', 'completed'])
})

t.test(
  'what does not end in time is cut: an idempotent step resumes, another leaves its mission interrupted',
  async (t) => {
    const world = new World()
    const never = new Map<string, (order: ActionOrder) => Promise<unknown>>()
    const late = Promise.withResolvers<string>()
    never.set('say', () => late.promise)
    never.set('once', () => new Promise(() => {}))
    for (const [name, behave] of never)
      world.action(`cortex/echo/${name}`, behave, { idempotent: name === 'say' })
    const missions = await world.start()
    const create = async (uses: string): Promise<string> =>
      (await missions.create(anna, body({ plan: [{ id: 'only', uses }] }))).mission.mission_id
    const ids = [await create('cortex/echo/say'), await create('cortex/echo/once')]
    await settle()
    const draining = missions.drain(1_000)
    await world.clock.pass(4_000)
    await draining
    const cut = await statuses(missions, ids)
    late.resolve('late')
    await settle()
    world.action('cortex/echo/say', () => 'resumed', { idempotent: true })
    const restarted = await world.restart()
    await settle()

    t.strictSame(cut, ['queued', 'interrupted'])
    t.equal(missions.counters().staleRefused, 1, 'the late answer was refused')
    t.strictSame(await statuses(restarted, ids), ['completed', 'interrupted'])
    t.match(await restarted.get(ids[0] ?? ''), {
      result: 'resumed',
      epoch: 2,
      attempts: [{ outcome: 'cut' }, {}],
    })
  },
)

for (const not_before of [undefined, LATER]) {
  t.test(
    `a claim ${not_before === undefined ? 'beside its creation' : 'alone'} that is under way when the drain is over does not begin its work`,
    async (t) => {
      const world = new World()
      const missions = await world.start()
      const slow = Promise.withResolvers<void>()
      world.journal.before = (drafts) =>
        drafts.some(({ type }) => type === 'mission.claimed') ? slow.promise : undefined
      const creating = missions.create(anna, body(not_before === undefined ? {} : { not_before }))
      await world.clock.pass(1_000)
      const draining = missions.drain(100)
      await world.clock.pass(200)
      slow.resolve()
      await draining
      const { mission } = await creating

      t.match(await missions.get(mission.mission_id), { status: 'queued', epoch: 1 })
      t.strictSame(world.steps, [])
      t.strictSame(types(world), ['created', 'claimed', 'step_started', 'step_finished', 'attempt_ended'])
    },
  )
}

t.test('the whole state comes from the facts: replayed, every view is the same to the letter', async (t) => {
  const world = new World()
  let failures = 1
  world.action('cortex/echo/flaky', () => {
    failures -= 1
    if (failures >= 0) throw new NexusError('ACTION_FAILED', { reason: 'once' })
    return 'x'.repeat(10_000)
  })
  const missions = await world.start()
  const plans = [PLAN, [{ id: 'a', uses: 'cortex/echo/flaky' }], [{ id: 'a', uses: 'no/such/thing' }]]
  for (const plan of plans) await missions.create(anna, body({ plan }))
  world.verdict = () => BORDERLINE
  const { mission } = await missions.create(anna, body())
  await missions.create(anna, body())
  await missions.reject(operator, { mission_id: mission.mission_id, reason: 'no' })
  world.verdict = () => ({})
  await world.clock.pass(120_000)
  const ids = (await missions.list()).missions.map(({ mission_id }) => mission_id)
  const replayed = world.boot()

  t.strictSame(
    await Promise.all(ids.map((id) => replayed.get(id))),
    await Promise.all(ids.map((id) => missions.get(id))),
  )
  t.strictSame([...new Set(await statuses(replayed, ids))].sort(), [
    'awaiting_approval',
    'completed',
    'rejected',
    'suggestion',
  ])
  const { signal } = new AbortController()
  t.equal(await replayed.history.digest(signal), await missions.history.digest(signal))
})

t.test('nothing runs before recover, and a recover that cannot write says so', async (t) => {
  const world = new World()
  world.action('cortex/echo/say', () => new Promise(() => {}), { idempotent: true })
  const missions = await world.start()
  const { mission } = await missions.create(anna, body())
  await settle()
  const next = new World()
  next.journal.facts.push(...world.journal.facts)
  const booted = next.boot()
  await booted.create(anna, body())
  await settle()
  t.strictSame(next.steps, [])
  next.journal.failing = [new NexusError('JOURNAL_UNAVAILABLE', { reason: 'EIO' })]
  t.equal(await codeOf(booted.recover()), 'JOURNAL_UNAVAILABLE')
  t.equal((await booted.get(mission.mission_id)).status, 'running')
})

async function statuses(missions: Missions, ids: readonly string[]): Promise<string[]> {
  return (await Promise.all(ids.map((id) => missions.get(id)))).map(({ status }) => status)
}

t.test('the time of steps side by side is counted once when a crash cuts their attempt', async (t) => {
  const world = new World()
  world.instances = 3
  const hang = Promise.withResolvers<void>()
  world.action('cortex/echo/say', () => sleep(world.clock, 400), { idempotent: true })
  world.action('cortex/echo/hang', () => hang.promise, { idempotent: true })
  const plan = [
    ...['one', 'other', 'third'].map((id) => ({ id, uses: 'cortex/echo/say', needs: [] })),
    { id: 'last', uses: 'cortex/echo/hang', needs: ['one'] },
  ]
  const missions = await world.start()
  const constraints = { max_time_seconds: 1, max_steps: 4 }
  const { mission } = await missions.create(anna, body({ plan, constraints }))
  await world.clock.pass(450)
  const before = types(world).filter((type) => type === 'step_finished').length
  world.action('cortex/echo/hang', () => 'there', { idempotent: true })
  const restarted = await world.restart()
  await settle()

  const { status, duration_ms, error } = await restarted.get(mission.mission_id)
  t.strictSame([before, status, error, duration_ms], [3, 'completed', undefined, 400])
})
