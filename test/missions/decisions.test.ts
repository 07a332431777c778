import t from 'tap'
import { NexusError } from '../../daemon/contracts/failure.ts'
import type { MissionDetail } from '../../daemon/contracts/mission.ts'
import type { Missions } from '../../daemon/missions/missions.ts'
import { settle } from '../support/test-clock.ts'
import { anna, BORDERLINE, body, codeOf, FAILING, later, operator, types, World } from './world.ts'

const DAY_MS = 86_400_000

async function made(world: World, more = {}): Promise<{ missions: Missions; id: string }> {
  const missions = await world.start()
  const { mission } = await missions.create(anna, body(more))
  return { missions, id: mission.mission_id }
}

t.test('what is refused at create leaves no record', async (t) => {
  const world = new World()
  const missions = await world.start()
  const codes = [
    await codeOf(missions.create(anna, body({ input: 'x'.repeat(32 * 1024) }))),
    await codeOf(missions.create(anna, body({ not_before: 'soon' }))),
    await codeOf(missions.create(anna, body({ plan: [{ id: 'a', uses: 'a/b/c', needs: ['b'] }] }))),
    await codeOf(
      missions.create(anna, body({ plan: [{ id: 'a', uses: 'cortex/echo/say', with: 'x'.repeat(62_000) }] })),
    ),
    await codeOf(missions.create(anna, body(), 'k'.repeat(257))),
  ]

  t.strictSame(codes, ['BAD_REQUEST', 'BAD_REQUEST', 'PLAN_INVALID', 'BAD_REQUEST', 'BAD_REQUEST'])
  t.strictSame(types(world), [])
})

t.test('an input of exactly 32 KiB is taken, and the refusal of more names the field', async (t) => {
  const world = new World()
  const missions = await world.start()
  const plan = [{ id: 'only', uses: 'cortex/echo/say' }]
  const { created } = await missions.create(anna, body({ plan, input: 'x'.repeat(32 * 1024 - 2) }))
  const refused = await missions
    .create(anna, body({ plan, input: 'x'.repeat(32 * 1024 - 1) }))
    .catch((error) => error)

  t.equal(created, true)
  t.strictSame(
    (refused as NexusError).issues.map(({ pointer }) => pointer),
    ['/input'],
  )
})

t.test('the queue refuses beyond its limit, creations under way included', async (t) => {
  const world = new World()
  world.settings = { ...world.settings, queue_max: 2 }
  world.verdict = () => BORDERLINE
  const missions = await world.start()
  const ends = await Promise.allSettled([1, 2, 3].map(() => missions.create(anna, body())))
  const codes = ends.map((end) => (end.status === 'rejected' ? (end.reason as NexusError).code : 'created'))

  t.strictSame(codes, ['created', 'created', 'QUEUE_FULL'])
  t.equal(missions.pendingApprovals, 2)
})

t.test('one idempotency key makes one mission: for 50 at once, later, and after a restart', async (t) => {
  const world = new World()
  const missions = await world.start()
  const release = Promise.withResolvers<void>()
  world.journal.before = () => release.promise
  let answered = 0
  const all = Array.from({ length: 50 }, async () => {
    const answer = await missions.create(anna, body(), 'key')
    answered += 1
    return answer
  })
  const other = codeOf(missions.create(anna, body({ goal: 'Another goal' }), 'key'))
  await settle()
  t.equal(answered, 0, 'nobody is answered before it is durable')
  release.resolve()
  const answers = await Promise.all(all)
  const restarted = await world.restart()
  const reordered = Object.fromEntries(Object.entries(body()).reverse()) as ReturnType<typeof body>
  const again = await restarted.create(anna, reordered, 'key')
  const otherPrincipal = await restarted.create(operator, body(), 'key')

  t.strictSame(
    {
      ids: new Set([...answers, again].map(({ mission }) => mission.mission_id)).size,
      created: [...answers, again, otherPrincipal].filter(({ created }) => created).length,
      conflicts: [await other, await codeOf(restarted.create(anna, body({ priority: 1 }), 'key'))],
      records: types(world).filter((type) => type === 'created').length,
    },
    { ids: 1, created: 2, conflicts: ['IDEMPOTENCY_CONFLICT', 'IDEMPOTENCY_CONFLICT'], records: 2 },
  )
})

t.test('a creation that failed does not use up its key', async (t) => {
  const world = new World()
  const missions = await world.start()
  world.journal.failing = [new NexusError('JOURNAL_FULL', { reason: 'ENOSPC' })]
  const first = missions.create(anna, body(), 'key')
  const second = missions.create(anna, body(), 'key')

  t.strictSame([await codeOf(first), (await second).created], ['JOURNAL_FULL', true])
  t.equal((await missions.create(anna, body(), 'key')).created, false)
})

t.test('a plan that names what is not there is judged FAILING, not refused', async (t) => {
  const world = new World()
  const { missions, id } = await made(world, { plan: [{ id: 'a', uses: 'no/such/thing' }] })

  t.match(await missions.get(id), {
    status: 'suggestion',
    decision: 'FAILING',
    score: 0,
    plan_source: 'given',
  })
  t.strictSame(world.questions[0]?.modules, [{ module_id: 'no/such', known: false, locked: false }])
})

t.test(
  'without a plan the best planner is asked, ties by id, and constraints have their defaults',
  async (t) => {
    const world = new World()
    for (const name of ['a', 'b', 'c', 'd']) {
      world.action(`plan/${name}/plan`, () => ({ plan: [{ id: name, uses: 'cortex/echo/say' }] }))
    }
    world.plannerIds.push('plan/d', 'plan/c', 'plan/b', 'plan/a')
    world.estimates.set('plan/b', 0.8).set('plan/c', 0.8).set('plan/a', 0.9)
    world.notCallable.add('plan/a')
    const { plan: _, ...unplanned } = body()
    const missions = await world.start()
    const { mission } = await missions.create(anna, unplanned)
    const [asked] = world.calls

    t.match(mission, {
      plan_source: 'module',
      plan: [{ id: 'b' }],
      constraints: { max_time_seconds: 300, max_steps: 10 },
    })
    t.match(asked, {
      timeoutMs: 2_000,
      input: {
        goal: unplanned.goal,
        category: 'coin',
        constraints: { max_steps: 10 },
        input: unplanned.input,
      },
    })
  },
)

t.test('a good rune goes before every planner', async (t) => {
  const world = new World()
  world.plannerIds.push('plan/a')
  world.rune = { rune: 'r-1', plan: [{ id: 'learned', uses: 'cortex/echo/say' }] as never[] }
  const { plan: _, ...unplanned } = body()
  const missions = await world.start()
  const { mission } = await missions.create(anna, unplanned)

  t.match(mission, { plan_source: 'rune', plan: [{ id: 'learned' }] })
  t.match(world.questions[0], { rune: 'r-1' })
})

t.test('when nobody can plan, the mission is a suggestion that says why', async (t) => {
  const cases: [string, (world: World) => void, RegExp][] = [
    ['nobody lists it', () => {}, /no module lists it/],
    ['it throws', (world) => failing(world, () => Promise.reject(new NexusError('CALL_CUT'))), /was cut/],
    ['it gives no plan', (world) => failing(world, () => ({ steps: [] })), /\/plan/],
    [
      'it says why not',
      (world) => failing(world, () => ({ plan: [], reason: 'no data yet' })),
      /no data yet/,
    ],
    [
      'it reads ahead',
      (world) => failing(world, () => ({ plan: [{ id: 'a', uses: 'a/b/c', needs: ['z'] }] })),
      /'z'/,
    ],
    ['it is silent', (world) => failing(world, () => new Promise(() => {})), /gave no answer within 2000 ms/],
  ]
  const { plan: _, ...unplanned } = body()
  for (const [name, arrange, reason] of cases) {
    const world = new World()
    arrange(world)
    const missions = await world.start()
    const creating = missions.create(anna, unplanned)
    await world.clock.pass(4_000)
    const { mission, answer } = await creating
    t.match(answer, { status: 'suggestion', decision: 'FAILING', reasons: [/^PLAN_UNAVAILABLE/] }, name)
    t.match(mission.because, reason, name)
    const override = { mission_id: mission.mission_id, override: true, reason: 'try' }
    t.equal(await codeOf(missions.run(operator, override)), 'MISSION_BLOCKED', `${name}: nothing to execute`)
  }
  function failing(world: World, behave: () => unknown): void {
    world.plannerIds.push('plan/a')
    world.action('plan/a/plan', behave)
  }
})

t.test(
  'BORDERLINE waits for the key, and two approvals at once make one record and one refusal',
  async (t) => {
    const world = new World()
    world.verdict = () => BORDERLINE
    const { missions, id } = await made(world)
    const withoutKey = [
      await codeOf(missions.approve(anna, { mission_id: id })),
      await codeOf(missions.run(anna, { mission_id: id })),
    ]
    const both = await Promise.allSettled([
      missions.approve(operator, { mission_id: id, reason: 'looks right' }),
      missions.approve(operator, { mission_id: id }),
    ])
    const done = await later(missions, id)
    const replay = await codeOf(missions.approve(operator, { mission_id: id }))

    t.strictSame(withoutKey, ['APPROVAL_REQUIRED', 'APPROVAL_REQUIRED'])
    t.strictSame(
      both.map((end) => (end.status === 'fulfilled' ? end.value.status : (end.reason as NexusError).code)),
      ['queued', 'MISSION_WRONG_STATE'],
    )
    t.equal(replay, 'MISSION_WRONG_STATE')
    t.match(done, {
      status: 'completed',
      decision: 'BORDERLINE',
      approval: { by: 'operator', reason: 'looks right' },
    })
    const approvals = world.journal.facts.filter(({ type }) => type === 'mission.approved')
    t.match(approvals, [{ actor: { kind: 'key', name: 'k1' }, d: { digest: /^[0-9a-f]{64}$/ } }])
    t.match(world.journal.facts.at(-1)?.d, { first_pass: false, success: true, operator_minutes: 2 })
  },
)

t.test('approve and reject at once: the first decision wins', async (t) => {
  const world = new World()
  world.verdict = () => BORDERLINE
  const { missions, id } = await made(world)
  const rejecting = missions.reject(anna, { mission_id: id, reason: 'too dear' })
  const approving = codeOf(missions.approve(operator, { mission_id: id }))

  t.match(await rejecting, { status: 'rejected', because: 'it was rejected: too dear' })
  t.equal(await approving, 'MISSION_WRONG_STATE')
  t.strictSame(await codeOf(missions.run(operator, { mission_id: id })), 'MISSION_WRONG_STATE')
  t.strictSame(world.calls, [])
})

t.test(
  'silence never approves: after the days of approval a mission expires, also across a restart',
  async (t) => {
    const world = new World()
    world.verdict = () => BORDERLINE
    const { id } = await made(world)
    await world.clock.pass(3 * DAY_MS)
    const restarted = await world.restart()
    await world.clock.pass(4 * DAY_MS - 1)
    const before = (await restarted.get(id)).status
    await world.clock.pass(1)

    t.strictSame([before, (await restarted.get(id)).status], ['awaiting_approval', 'expired'])
    t.equal(await codeOf(restarted.approve(operator, { mission_id: id })), 'MISSION_WRONG_STATE')
    const late = await world.restart()
    t.equal((await late.get(id)).status, 'expired')
  },
)

t.test('an approval that ran out while the daemon was away counts for nothing', async (t) => {
  const world = new World()
  world.verdict = () => BORDERLINE
  const { id } = await made(world)
  world.clock.jump(8 * DAY_MS)
  const restarted = await world.restart()
  world.journal.failing = [1, 2].map(() => new NexusError('JOURNAL_FULL', { reason: 'ENOSPC' }))
  const codes = [
    await codeOf(restarted.approve(operator, { mission_id: id })),
    await codeOf(world.clock.pass(1)),
    await codeOf(restarted.run(operator, { mission_id: id })),
  ]

  t.strictSame(codes, ['JOURNAL_FULL', 'none', 'MISSION_WRONG_STATE'])
  t.equal((await restarted.get(id)).status, 'expired')
})

t.test('run answers the end, once and for all: a second run tells the first outcome', async (t) => {
  const world = new World()
  const { missions, id } = await made(world)
  const first = await missions.run(anna, { mission_id: id })
  const second = await missions.run(anna, { mission_id: id, wait_ms: 0 })

  t.match(first, { status: 'ok', mission_id: id, mission: { result: { again: ['a', 'b'] } } })
  t.strictSame(second, first)
  t.strictSame(world.steps, ['first', 'second'])
})

t.test('run waits as long as asked and says accepted, then failed when it ended badly', async (t) => {
  const world = new World()
  const answer = Promise.withResolvers<void>()
  world.action('cortex/echo/say', async () => {
    await answer.promise
    throw new NexusError('ACTION_INPUT_INVALID', { detail: 'no' })
  })
  const { missions, id } = await made(world)
  const running = missions.run(anna, { mission_id: id })
  await world.clock.pass(9_999)
  const ended = { early: await Promise.race([running, Promise.resolve('waiting')]), late: {} }
  await world.clock.pass(1)
  ended.late = await running
  t.match(ended, { early: 'waiting', late: { status: 'accepted', mission: { status: 'running' } } })
  answer.resolve()
  t.match(await missions.run(anna, { mission_id: id }), {
    status: 'failed',
    mission: { status: 'failed', error: { code: 'ACTION_INPUT_INVALID', step: 'first' } },
  })
})

t.test('BORDERLINE with the key is approved and run in one call', async (t) => {
  const world = new World()
  world.verdict = () => BORDERLINE
  const { missions, id } = await made(world)
  t.match(await missions.run(operator, { mission_id: id }), { status: 'ok' })
  t.strictSame(types(world).slice(0, 3), ['created', 'approved', 'claimed'])
})

t.test('FAILING runs only with key, override and reason, once, and the record says so', async (t) => {
  const world = new World()
  world.verdict = () => FAILING
  world.action('cortex/echo/say', () =>
    Promise.reject(new NexusError('ACTION_FAILED', { reason: 'still not' })),
  )
  const { missions, id } = await made(world)
  const refusals = [
    await codeOf(missions.run(anna, { mission_id: id, override: true, reason: 'please' })),
    await codeOf(missions.run(operator, { mission_id: id })),
    await codeOf(missions.run(operator, { mission_id: id, override: true })),
    await codeOf(missions.approve(operator, { mission_id: id })),
  ]
  const blocked = await missions.run(anna, { mission_id: id }).catch((error: NexusError) => error)
  const run = await missions.run(operator, { mission_id: id, override: true, reason: 'I know' })
  await world.clock.pass(600_000)

  t.strictSame(refusals, ['MISSION_BLOCKED', 'MISSION_BLOCKED', 'BAD_REQUEST', 'MISSION_WRONG_STATE'])
  t.match(blocked, { message: /it never worked/, remedy: 'change the goal, the plan or the constraints' })
  t.match(run, { status: 'failed' })
  t.equal(world.calls.length, 1, 'an override is one execution')
  t.match(
    world.journal.facts.find(({ type }) => type === 'mission.overridden'),
    { actor: { kind: 'key' }, d: { by: 'operator', reason: 'I know', digest: /./ } },
  )
})

t.test('SAFE is judged again when claimed: below 55, or with a gate, it goes back to wait', async (t) => {
  for (const [worse, status] of [
    [{ score: 54.9 }, 'awaiting_approval'],
    [{ score: 59, gates: [{ gate: 'G5', because: 'an omen' }] }, 'awaiting_approval'],
    [{ decision: 'FAILING', score: 0 }, 'awaiting_approval'],
    [{ score: 55, decision: 'BORDERLINE' }, 'completed'],
  ] as const) {
    const world = new World()
    const { missions, id } = await made(world, {
      not_before: new Date(world.clock.now() + 60_000).toISOString(),
    })
    world.verdict = () => worse
    const running = codeOf(missions.run(anna, { mission_id: id, wait_ms: 30_000 }))
    await world.clock.pass(120_000)
    t.equal((await missions.get(id)).status, status, JSON.stringify(worse))
    t.equal(await running, 'none', 'accepted before its time')
    if (status !== 'awaiting_approval') continue
    t.match(await missions.get(id), { decision: 'BORDERLINE', score: worse.score })
    t.equal(await codeOf(missions.run(anna, { mission_id: id })), 'APPROVAL_REQUIRED')
    t.match(await missions.run(operator, { mission_id: id }), { status: 'ok' })
  }
})

t.test('not_before is kept, over a restart too', async (t) => {
  const world = new World()
  const { id } = await made(world, { not_before: new Date(world.clock.now() + 3_600_000).toISOString() })
  await world.clock.pass(1_800_000)
  const restarted = await world.restart()
  await world.clock.pass(1_799_999)
  const before = [(await restarted.get(id)).status, (await restarted.explain(id)).next]
  await world.clock.pass(1)

  t.strictSame(before, ['queued', 'it may start in 1 s'])
  t.equal((await restarted.get(id)).status, 'completed')
})

t.test('what waits is cancelled at once and never starts', async (t) => {
  const world = new World()
  world.settings = { ...world.settings, lanes: { coin: 1, forge: 1, library: 1, sanctuary: 1 } }
  const hold = Promise.withResolvers<void>()
  world.action('cortex/echo/once', () => hold.promise)
  const { missions } = await made(world, { plan: [{ id: 'hold', uses: 'cortex/echo/once' }] })
  const { mission } = await missions.create(anna, body())
  await settle()
  const depth = missions.counters().depth.coin
  const cancelled = await missions.cancel(anna, { mission_id: mission.mission_id, reason: 'not needed' })
  t.strictSame([depth, missions.counters().depth.coin], [1, 0])
  hold.resolve()
  await settle()

  t.match(cancelled, { status: 'cancelled', because: 'it was cancelled: not needed', duration_ms: null })
  t.strictSame(world.steps, ['hold'])
  t.equal(await codeOf(missions.cancel(anna, { mission_id: mission.mission_id })), 'MISSION_WRONG_STATE')
})

t.test('lanes do not wait for each other, and priority goes first within one', async (t) => {
  const world = new World()
  world.settings = { ...world.settings, lanes: { coin: 1, forge: 1, library: 1, sanctuary: 1 } }
  const hold = Promise.withResolvers<void>()
  world.action('cortex/echo/once', () => hold.promise)
  const { missions } = await made(world, { plan: [{ id: 'hold', uses: 'cortex/echo/once' }] })
  const step = (id: string) => ({ plan: [{ id, uses: 'cortex/echo/say' }] })
  await settle()
  await missions.create(anna, body({ ...step('low'), priority: 1 }))
  await missions.create(anna, body({ ...step('high'), priority: 9 }))
  await missions.create(anna, body({ ...step('other'), category: 'forge' }))
  await settle()
  const meanwhile = [...world.steps]
  hold.resolve()
  await settle()

  t.strictSame(meanwhile, ['hold', 'other'])
  t.strictSame(world.steps, ['hold', 'other', 'high', 'low'])
})

t.test(
  'the list is newest first, filtered, and paged without gap or repetition while it grows',
  async (t) => {
    const world = new World()
    const missions = await world.start()
    const ids: string[] = []
    for (let n = 0; n < 7; n += 1) {
      world.verdict = () => (n % 2 === 0 ? BORDERLINE : {})
      const category = n < 4 ? ('coin' as const) : ('forge' as const)
      ids.unshift((await missions.create(anna, body({ category }))).mission.mission_id)
      await settle()
    }
    world.verdict = () => ({})
    const seen: string[] = []
    let after: string | null | undefined
    do {
      const page = await missions.list({ limit: 3, ...(after ? { after } : {}) })
      seen.push(...page.missions.map(({ mission_id }) => mission_id))
      after = page.next
      await missions.create(anna, body())
    } while (after !== null)
    const count = async (filter: Parameters<Missions['list']>[0]): Promise<number> =>
      (await missions.list(filter)).count

    t.strictSame(seen, ids)
    t.strictSame(
      [
        await count({ status: 'awaiting_approval' }),
        await count({ category: 'forge', decision: 'BORDERLINE' }),
        await count({ module: 'cortex/echo' }),
        await count({ module: 'cortex/other' }),
      ],
      [4, 2, 10, 0],
    )
  },
)

t.test('an unknown mission is unknown to every operation', async (t) => {
  const missions = await new World().start()
  const id = `m-${'0'.repeat(26)}`
  const codes = await Promise.all([
    codeOf(missions.run(operator, { mission_id: id })),
    codeOf(missions.approve(operator, { mission_id: id })),
    codeOf(missions.cancel(operator, { mission_id: id })),
    codeOf(missions.get(id)),
    codeOf(missions.explain(id)),
    codeOf(missions.artifact(id, 'x')),
  ])
  t.strictSame(new Set(codes), new Set(['MISSION_UNKNOWN']))
})

t.test('explain names what blocks, what comes next and what to do in every state', async (t) => {
  const world = new World()
  world.verdict = () => BORDERLINE
  const { missions, id } = await made(world)
  const waiting = await missions.explain(id)
  world.action('cortex/echo/say', ({ progress }) => {
    progress?.(0.4, 'reading')
    return new Promise(() => {})
  })
  await missions.approve(operator, { mission_id: id })
  await settle()
  const running = await missions.explain(id)

  t.match(waiting, {
    state: 'awaiting_approval',
    blocked_on: 'an operator',
    next: 'it expires in 604800 s',
    remedy: new RegExp(`nexus missions approve ${id}`),
    because: [{ seq: 1, type: 'mission.created' }],
  })
  t.match(running, { state: 'running', blocked_on: 'cortex/echo/say (step first, 40 % done: reading)' })
  t.strictSame(
    running.because.map(({ seq }) => seq),
    [1, 2, 3, 4],
  )
})

t.test('a snapshot holds everything: loaded, it answers and goes on like the whole replay', async (t) => {
  const world = new World()
  const { missions, id } = await made(world)
  world.verdict = () => BORDERLINE
  const waiting = (await missions.create(anna, body(), 'key')).mission.mission_id
  await later(missions, id)
  const saved = await savedOf(missions)
  const { Missions: Fresh } = await import('../../daemon/missions/missions.ts')
  const loaded = new Fresh(world.ports())
  loaded.prepare(saved.section, saved.chunks)?.()
  world.journal.listeners = [(fact) => loaded.fold(fact)]
  await loaded.recover()
  const same = async (one: string): Promise<[MissionDetail, MissionDetail]> => [
    await loaded.get(one),
    await missions.get(one),
  ]

  t.strictSame(...(await same(id)))
  t.strictSame(...(await same(waiting)))
  t.equal((await loaded.create(anna, body(), 'key')).mission.mission_id, waiting)
  t.equal((await loaded.approve(operator, { mission_id: waiting })).status, 'queued')
  t.ok((await loaded.create(anna, body())).mission.mission_id > waiting)
})

/** What a snapshot would hold of missions, after it was written and read. */
async function savedOf(missions: Missions) {
  const { chunks, text } = missions.history.freeze()
  const pieces: string[] = []
  for await (const piece of text()) pieces.push(piece)
  const saved = chunks.map((chunk, place) => ({
    name: { name: String(place), sha256: '' },
    bytes: Buffer.concat(chunk.bytes()),
  }))
  return { section: JSON.parse(pieces.join('')), chunks: saved }
}
