import fc from 'fast-check'
import t from 'tap'
import { NexusError } from '../../daemon/contracts/failure.ts'
import { CATEGORIES } from '../../daemon/contracts/ids.ts'
import type { MissionCreate } from '../../daemon/contracts/mission.ts'
import type { Missions } from '../../daemon/missions/missions.ts'
import type { Authority } from '../../daemon/missions/port.ts'
import { settle } from '../support/test-clock.ts'
import { anna, BORDERLINE, body, codeOf, FAILING, later, operator, types, World } from './world.ts'

/** What became of each, as a batch tells it: `created`, `known`, or the code of the refusal. */
async function batch(
  missions: Missions,
  wanted: readonly { readonly body: MissionCreate; readonly key?: string }[],
): Promise<string[]> {
  const ends = await missions.createAll(anna, wanted)
  return ends.map((end) => (end instanceof NexusError ? end.code : end.created ? 'created' : 'known'))
}

/** SAFE missions that nobody starts: their time has not come. */
const waiting = (world: World, more: Partial<MissionCreate> = {}): MissionCreate =>
  body({ not_before: new Date(world.clock.now() + 3_600_000).toISOString(), ...more })

/** Refuses with the whole error, for those who look at more than its code. */
const refusalOf = (work: Promise<unknown>): Promise<NexusError> =>
  work.then(
    () => Promise.reject(new Error('it was let in')),
    (error: NexusError) => error,
  )

t.test('a batch is one append, in order, and one bad body spoils only itself', async (t) => {
  const world = new World()
  const missions = await world.start()
  const appends: number[] = []
  world.journal.before = (drafts) => {
    if (drafts[0]?.type === 'mission.created') appends.push(drafts.length)
  }
  const goals = Array.from({ length: 1_000 }, (_, at) => ({ body: waiting(world, { goal: `goal ${at}` }) }))
  goals[7] = { body: waiting(world, { not_before: 'soon' }) }
  goals[8] = { body: waiting(world, { plan: [{ id: 'a', uses: 'a/b/c', needs: ['b'] }] }) }
  const ends = await missions.createAll(anna, goals)
  const ids = ends.flatMap((end) => (end instanceof NexusError ? [] : [end.answer.mission_id]))

  t.strictSame(appends, [998])
  t.strictSame(
    ends.flatMap((end, at) => (end instanceof NexusError ? [[at, end.code]] : [])),
    [
      [7, 'BAD_REQUEST'],
      [8, 'PLAN_INVALID'],
    ],
  )
  t.strictSame(ids, [...ids].sort(), 'ids have the order of the batch')
  t.equal((await missions.get(ids[500] ?? '')).goal, 'goal 502')
})

t.test('a batch of refusals writes nothing, and the journal refuses for all of it', async (t) => {
  const world = new World()
  const missions = await world.start()
  t.strictSame(await batch(missions, [{ body: body({ not_before: 'soon' }) }]), ['BAD_REQUEST'])
  world.journal.failing = [new NexusError('JOURNAL_BUSY', { limit: 1 })]
  const wanted = [{ body: body() }, { body: body(), key: 'k' }]
  t.equal(await codeOf(missions.createAll(anna, wanted)), 'JOURNAL_BUSY')
  t.strictSame(types(world), [])
  t.strictSame(await batch(missions, wanted), ['created', 'created'], 'nothing of it is kept')
})

t.test('equal keys in a batch end as creates one after the other would', async (t) => {
  const bodies = [body(), body({ priority: 1 }), body({ not_before: 'soon' })]
  const wanted = fc.array(
    fc.record({ of: fc.nat({ max: 2 }), key: fc.option(fc.constantFrom('a', 'b'), { nil: undefined }) }),
    { minLength: 1, maxLength: 8 },
  )
  await fc.assert(
    fc.asyncProperty(wanted, async (given) => {
      const orders = given.map(({ of, key }) => ({
        body: bodies[of] as MissionCreate,
        ...(key === undefined ? {} : { key }),
      }))
      const together = new World()
      const one = await together.start()
      const apart = new World()
      const other = await apart.start()
      const expected: string[] = []
      for (const order of orders) expected.push(...(await batch(other, [order])))
      t.strictSame(await batch(one, orders), expected)
    }),
    { numRuns: 60 },
  )
})

t.test(
  'a key that is under way elsewhere is waited for, and two batches never wait for each other',
  async (t) => {
    const world = new World()
    const missions = await world.start()
    const release = Promise.withResolvers<void>()
    world.journal.before = () => release.promise
    const all = Promise.all([
      batch(missions, [
        { body: body(), key: 'a' },
        { body: body(), key: 'b' },
      ]),
      batch(missions, [
        { body: body(), key: 'b' },
        { body: body(), key: 'a' },
      ]),
      batch(missions, [{ body: body({ priority: 2 }), key: 'b' }]),
    ])
    await settle()
    release.resolve()

    t.strictSame(await all, [['created', 'created'], ['known', 'known'], ['IDEMPOTENCY_CONFLICT']])
    const held = Promise.withResolvers<void>()
    world.journal.before = () => held.promise
    const crossed = Promise.all([
      batch(missions, [{ body: body(), key: 'x' }]),
      batch(
        missions,
        ['d', 'x', 'c'].map((key) => ({ body: body(), key })),
      ),
      batch(
        missions,
        ['c', 'd'].map((key) => ({ body: body(), key })),
      ),
    ])
    await settle()
    held.resolve()
    t.strictSame(await crossed, [['created'], ['created', 'known', 'created'], ['known', 'known']])
  },
)

t.test('a batch without plans has few of them made at a time, and refuses what waits too long', async (t) => {
  const world = new World()
  let busy = 0
  let most = 0
  world.action('plan/slow/plan', () => {
    busy += 1
    most = Math.max(most, busy)
    return new Promise((_, reject) =>
      world.clock.after(2_000, () => {
        busy -= 1
        reject(new NexusError('CALL_EXPIRED', { module: 'plan/slow', action: 'plan', timeout_ms: 2_000 }))
      }),
    )
  })
  world.plannerIds.push('plan/slow')
  const missions = await world.start()
  const { plan: _, ...unplanned } = body()
  const all = batch(
    missions,
    Array.from({ length: 1_000 }, () => ({ body: unplanned })),
  )
  await world.clock.pass(14_000)
  const more = await batch(missions, [{ body: body() }])
  const ends = await all
  const count = (code: string): number => ends.filter((end) => end === code).length

  t.strictSame(
    { most, created: count('created'), busy: count('PLANNERS_BUSY'), more },
    {
      most: 16,
      created: 80,
      busy: 920,
      more: ['created'],
    },
  )
  const later = batch(missions, [{ body: unplanned }])
  await world.clock.pass(2_000)
  t.strictSame(await later, ['created'], 'and the places are free again')
})

t.test('limits of queue, lane and module hold exactly, however creates race', async (t) => {
  const one = fc.record({
    category: fc.constantFrom(...CATEGORIES),
    module: fc.constantFrom('say', 'once', 'both'),
    decision: fc.constantFrom('SAFE', 'BORDERLINE', 'FAILING'),
    group: fc.nat({ max: 4 }),
    fails: fc.boolean(),
  })
  const limits = fc.record({
    queue: fc.integer({ min: 1, max: 9 }),
    lane: fc.integer({ min: 1, max: 5 }),
    module: fc.integer({ min: 1, max: 5 }),
  })
  await t.resolves(
    fc.assert(
      fc.asyncProperty(
        fc.array(one, { minLength: 1, maxLength: 40 }),
        limits,
        async (all, { queue, lane, module }) => {
          const world = new World()
          world.settings = {
            ...world.settings,
            queue_max: queue,
            lane_queue_max: lane,
            module_queue_max: module,
          }
          world.action('cortex/other/say', ({ input }) => input)
          world.verdict = ({ goal }) =>
            goal === 'BORDERLINE' ? BORDERLINE : goal === 'FAILING' ? FAILING : {}
          const missions = await world.start()
          const uses = {
            say: ['cortex/echo/say'],
            once: ['cortex/other/say'],
            both: ['cortex/echo/say', 'cortex/other/say'],
          }
          const wanted = all.map(({ category, module: of, decision, group, fails }) => ({
            group,
            fails,
            body: waiting(world, {
              category,
              goal: decision,
              plan: uses[of].map((action, at) => ({ id: `s${at}`, uses: action })),
            }),
          }))
          // Batches at the same time; some of them fail to be written, and give their places back.
          const groups = [0, 1, 2, 3, 4].map((group) => wanted.filter((order) => order.group === group))
          let failures = 0
          const fails = new Set(groups.flatMap((orders, at) => (orders[0]?.fails === true ? [at] : [])))
          world.journal.before = async () => {
            const turn = failures++
            if (fails.has(turn)) throw new NexusError('JOURNAL_FULL', { reason: 'ENOSPC' })
          }
          const ends = await Promise.allSettled(groups.map((orders) => missions.createAll(anna, orders)))
          world.journal.before = () => {}
          const after = await missions.createAll(anna, wanted)
          const list = (await missions.list({ limit: 500 })).missions
          for (const status of ['queued', 'awaiting_approval'] as const) {
            const waits = list.filter((mission) => mission.status === status)
            const inLanes = CATEGORIES.map((name) => waits.filter(({ category }) => category === name).length)
            const forModules = ['cortex/echo', 'cortex/other'].map(
              (id) => waits.filter(({ modules }) => modules.includes(id)).length,
            )
            const within =
              waits.length <= queue && Math.max(...inLanes) <= lane && Math.max(...forModules) <= module
            if (!within) return false
            // Whatever was refused last had a limit against it, for everything only grows.
            for (const [at, end] of after.entries()) {
              if (!(end instanceof NexusError) || end.code !== 'QUEUE_FULL') continue
              const order = wanted[at]?.body as MissionCreate
              if ((order.goal === 'BORDERLINE') !== (status === 'awaiting_approval')) continue
              const ids = (order.plan ?? []).map((step) => step.uses.split('/').slice(0, 2).join('/'))
              const full =
                waits.length === queue ||
                inLanes[CATEGORIES.indexOf(order.category)] === lane ||
                ids.some((id) => forModules[['cortex/echo', 'cortex/other'].indexOf(id)] === module)
              if (!full) return false
            }
          }
          const early = ends.flatMap((end) => (end.status === 'fulfilled' ? end.value : []))
          return [...early, ...after].every(
            (end) => !(end instanceof NexusError) || end.code === 'QUEUE_FULL',
          )
        },
      ),
      { numRuns: 150 },
    ),
  )
})

t.test('a full lane says what is full, and when to come back, as fast as it moves', async (t) => {
  const world = new World()
  world.settings = {
    ...world.settings,
    lane_queue_max: 40,
    lanes: { coin: 1, forge: 1, library: 1, sanctuary: 1 },
  }
  world.action('cortex/echo/say', () => new Promise((done) => world.clock.after(500, () => done({}))))
  const missions = await world.start()
  const plan = [{ id: 'a', uses: 'cortex/echo/say' }]
  const fill = () =>
    batch(
      missions,
      Array.from({ length: 41 }, () => ({ body: body({ plan }) })),
    )
  const still = await refusalOf(
    missions
      .createAll(
        anna,
        Array.from({ length: 42 }, () => ({ body: body({ plan }) })),
      )
      .then((ends) => {
        throw ends.at(-1)
      }),
  )
  await world.clock.pass(10_000)
  t.ok((await fill()).includes('QUEUE_FULL'))
  const moving = await refusalOf(missions.create(anna, body({ plan })))
  const another = await missions.create(anna, body({ plan, category: 'forge' }))

  t.match(still, { code: 'QUEUE_FULL', retryAfterSeconds: 5, message: /the lane coin holds 40 missions/ })
  // Two leave in a second, and a tenth of forty are four.
  t.match(moving, { code: 'QUEUE_FULL', retryAfterSeconds: 2, remedy: /missions\.lane_queue_max/ })
  t.equal(another.created, true, 'another lane has room')
})

t.test('what nobody approves keeps nothing from running', async (t) => {
  const world = new World()
  world.settings = { ...world.settings, queue_max: 2 }
  world.verdict = ({ goal }) => (goal === 'safe' ? {} : BORDERLINE)
  const missions = await world.start()
  t.strictSame(await batch(missions, [{ body: body() }, { body: body() }, { body: body() }]), [
    'created',
    'created',
    'QUEUE_FULL',
  ])
  const { mission } = await missions.create(anna, body({ goal: 'safe' }))
  t.equal((await later(missions, mission.mission_id)).status, 'completed')
})

t.test('places survive a restart: what waited before still counts', async (t) => {
  const world = new World()
  world.settings = { ...world.settings, module_queue_max: 2 }
  const missions = await world.start()
  t.strictSame(await batch(missions, [{ body: waiting(world) }, { body: waiting(world) }]), [
    'created',
    'created',
  ])
  const again = await world.restart()
  t.equal(await codeOf(again.create(anna, waiting(world))), 'QUEUE_FULL')
  const [first] = (await again.list()).missions
  await again.cancel(operator, { mission_id: first?.mission_id ?? '' })
  t.strictSame(await batch(again, [{ body: waiting(world) }, { body: waiting(world) }]), [
    'created',
    'QUEUE_FULL',
  ])
})

t.test('below the reserve nothing new is taken, and everything that is there goes on', async (t) => {
  const world = new World()
  let looks = 0
  const ports = world.ports.bind(world)
  world.ports = () => ({
    ...ports(),
    freeBytes: async () => {
      looks += 1
      return world.freeBytes
    },
  })
  const missions = await world.start()
  const { mission } = await missions.create(anna, waiting(world), 'key')
  world.freeBytes = 63 * 1_048_576
  const unseen = await codeOf(missions.create(anna, waiting(world)))
  await world.clock.pass(2_000)
  const refused = await refusalOf(missions.create(anna, waiting(world)))
  const known = await missions
    .create(anna, waiting(world, { not_before: mission.created_at }), 'other')
    .catch((error: NexusError) => error.code)
  const same = await batch(missions, [{ body: waiting(world, {}), key: 'key' }])
  const scheduler: Authority = {
    principal: { kind: 'scheduler', name: 'scheduler', roles: [], permissions: ['mission.create'] },
    operatorKey: false,
  }
  const upkeep = await codeOf(missions.create(scheduler, waiting(world)))
  const cancelled = await missions.cancel(operator, { mission_id: mission.mission_id })
  world.freeBytes = 64 * 1_048_576
  await world.clock.pass(2_000)

  t.equal(unseen, 'none', 'a look is good for two seconds')
  t.match(refused, { code: 'SPACE_LOW', status: 507, message: /63 MB left, and 64 MB are kept/ })
  t.equal(known, 'SPACE_LOW')
  t.match(same, ['IDEMPOTENCY_CONFLICT'], 'what was created before is still found')
  t.equal(upkeep, 'none', 'maintenance is what makes room')
  t.equal(cancelled.status, 'cancelled')
  t.equal(await codeOf(missions.create(anna, waiting(world))), 'none')
  t.equal(looks, 3, 'and nobody looks while nothing is created')
})

t.test('a journal without room makes the guard look again at once', async (t) => {
  const world = new World()
  const missions = await world.start()
  await missions.create(anna, waiting(world))
  world.freeBytes = 0
  world.journal.failing = [new NexusError('JOURNAL_FULL', { reason: 'ENOSPC' })]
  t.strictSame(
    [
      await codeOf(missions.create(anna, waiting(world))),
      await codeOf(missions.create(anna, waiting(world))),
    ],
    ['JOURNAL_FULL', 'SPACE_LOW'],
  )
})

t.test(
  'of fifty decisions at once the first wins, and each of the others is told what became of it',
  async (t) => {
    const world = new World()
    world.verdict = () => BORDERLINE
    world.action('cortex/echo/say', () => new Promise(() => {}))
    const missions = await world.start()
    for (const first of ['approve', 'reject'] as const) {
      const { mission } = await missions.create(anna, body())
      const others = { approve: 'reject', reject: 'approve' } as const
      const asked = Array.from({ length: 50 }, (_, at) => (at % 2 === 0 ? first : others[first]))
      const codes = await Promise.all(
        asked.map((decision, at) =>
          codeOf(missions[decision](operator, { mission_id: mission.mission_id, reason: `${at}` })),
        ),
      )
      const won = codes.indexOf('none')
      const record = asked[won] === 'approve' ? 'mission.approved' : 'mission.rejected'

      t.strictSame(
        codes.toSpliced(won, 1),
        Array.from({ length: 49 }, () => 'MISSION_WRONG_STATE'),
      )
      t.strictSame(
        world.journal.facts
          .filter(({ type, mid }) => mid === mission.mission_id && /approved|rejected/.test(type))
          .map(({ type, d }) => [type, d['by'], d['reason']]),
        [[record, 'operator', `${won}`]],
      )
    }
  },
)

t.test('an approval is for what was looked at, and says until when it is waited for', async (t) => {
  const world = new World()
  world.verdict = () => BORDERLINE
  const missions = await world.start()
  const { mission } = await missions.create(anna, body())
  const id = mission.mission_id
  const shown = await missions.get(id)
  await world.clock.pass(3_600_000)
  const brief = missions.brief()
  const stale = await codeOf(missions.approve(operator, { mission_id: id, digest: '0'.repeat(64) }))
  const seen = shown.awaiting?.digest ?? ''
  await missions.approve(operator, { mission_id: id, digest: seen, reason: 'fine' })
  const done = await later(missions, id)

  t.match(shown.awaiting, {
    since: '2026-11-22T10:00:00.000Z',
    expires_at: '2026-11-29T10:00:00.000Z',
    covers: ['goal', 'constraints', 'plan', 'score'],
  })
  t.match(brief, { awaiting_approval: 1, oldest_approval_seconds: 3_600, queued: 0, running: 0 })
  t.equal(stale, 'APPROVAL_STALE')
  t.match(done, {
    status: 'completed',
    approval: { kind: 'approved', by: 'operator', reason: 'fine', digest: seen },
  })
  t.equal(done.awaiting, undefined)
  t.match(missions.brief(), { awaiting_approval: 0, oldest_approval_seconds: null })
  t.ok((done.duration_ms ?? 1e9) < 1_000, 'waiting is no execution time')
})

t.test('what expires says so in the list before, and is not approved after', async (t) => {
  const world = new World()
  world.verdict = () => BORDERLINE
  world.settings = { ...world.settings, approval_days: 1 }
  const missions = await world.start()
  const { mission } = await missions.create(anna, body())
  const [listed] = (await missions.list({ status: 'awaiting_approval' })).missions
  await world.clock.pass(86_400_000)

  t.equal(listed?.expires_at, '2026-11-23T10:00:00.000Z')
  t.equal((await missions.get(mission.mission_id)).status, 'expired')
  t.equal(await codeOf(missions.approve(operator, { mission_id: mission.mission_id })), 'MISSION_WRONG_STATE')
})

t.test('a retry does not take over the approval of the mission that it takes up', async (t) => {
  const world = new World()
  world.verdict = () => BORDERLINE
  world.action('cortex/echo/say', () =>
    Promise.reject(new NexusError('ACTION_INPUT_INVALID', { detail: 'no' })),
  )
  const missions = await world.start()
  const { mission } = await missions.create(anna, body())
  await missions.approve(operator, { mission_id: mission.mission_id })
  await settle()
  const { answer } = await missions.retry(operator, { mission_id: mission.mission_id })
  t.match(answer, { status: 'awaiting_approval' })
  t.match(await missions.get(answer.mission_id), { approval: null, epoch: 0 })
})

t.test('an override is used up: not given twice, not tried again, and no retry takes it over', async (t) => {
  const world = new World()
  world.verdict = () => FAILING
  world.action('cortex/echo/say', () =>
    Promise.reject(new NexusError('ACTION_FAILED', { reason: 'still not' })),
  )
  const missions = await world.start()
  const { mission } = await missions.create(anna, body({ max_attempts: 5 }))
  const id = mission.mission_id
  const override = { mission_id: id, override: true, reason: 'I know' }
  const racing = await Promise.all([1, 2, 3].map(() => codeOf(missions.run(operator, override))))
  await world.clock.pass(3_600_000)
  const after = await codeOf(missions.run(operator, override))
  const plain = await missions.run(operator, { mission_id: id })
  const retried = await codeOf(missions.retry(operator, { mission_id: id }))

  t.strictSame(racing, ['none', 'OVERRIDE_USED', 'OVERRIDE_USED'])
  t.equal(after, 'OVERRIDE_USED', 'also when it has failed')
  t.match(plain, { status: 'failed' }, 'its outcome is still told')
  t.equal(retried, 'OVERRIDE_USED')
  t.equal(world.calls.length, 1)
  t.equal(types(world).filter((type) => type === 'overridden').length, 1)
})
