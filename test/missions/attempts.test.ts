import t from 'tap'
import { NexusError } from '../../daemon/contracts/failure.ts'
import type { MissionCreate } from '../../daemon/contracts/mission.ts'
import type { Missions } from '../../daemon/missions/missions.ts'
import type { ActionOrder } from '../../daemon/missions/port.ts'
import { settle } from '../support/test-clock.ts'
import { anna, body, codeOf, later, operator, types, World } from './world.ts'

const ONE = [{ id: 'only', uses: 'cortex/echo/say' }]
const ONCE = [{ id: 'only', uses: 'cortex/echo/once' }]
/** A second after the clock of the test begins. */
const LATER = '2026-11-22T10:00:01Z'

async function made(
  world: World,
  more: Partial<MissionCreate> = {},
): Promise<{ missions: Missions; id: string }> {
  const missions = await world.start()
  const { mission } = await missions.create(anna, body(more))
  return { missions, id: mission.mission_id }
}

/** Takes until told to stop, and then says that it was. */
function obedient({ signal }: ActionOrder): Promise<never> {
  return new Promise((_, reject) => {
    signal?.addEventListener('abort', () => reject(new NexusError('CALL_ABORTED', { reason: 'told to' })))
  })
}

t.test('a SAFE mission runs its steps in order, and its result is the output of the last', async (t) => {
  const world = new World()
  const { missions, id } = await made(world, { expected_value: 3 })
  const done = await later(missions, id)

  t.match(done, { status: 'completed', result: { again: ['a', 'b'] }, epoch: 1 })
  t.strictSame(types(world), [
    'created',
    'claimed',
    'step_started',
    'step_finished',
    'step_started',
    'step_finished',
    'ended',
  ])
  t.strictSame(world.journal.facts.at(-1)?.d, {
    status: 'completed',
    category: 'coin',
    decision: 'SAFE',
    modules: ['cortex/echo'],
    fingerprint: 'g-19',
    tokens: ['say', 'something', 'twice'],
    plan_shape: 'cortex/echo/say>cortex/echo/say',
    success: true,
    first_pass: true,
    duration_ms: 0,
    steps: 2,
    cpu_seconds: 0.004,
    operator_minutes: 0,
    predicted: 0.8,
    result: { again: ['a', 'b'] },
  })
  t.match(
    world.calls.map(({ mission, killWhenStuck, timeoutMs }) => ({ mission, killWhenStuck, timeoutMs })),
    ['first', 'second'].map((step) => ({
      mission: { mission_id: id, epoch: 1, step, idempotency_token: `${id}/${step}` },
      killWhenStuck: true,
      timeoutMs: 30_000,
    })),
  )
})

t.test(
  'the start of a step is durable before its call, and its end before the next one starts',
  async (t) => {
    const world = new World()
    const seen: string[] = []
    world.journal.before = async (drafts) => {
      await settle()
      seen.push(...drafts.map(({ type }) => type.replace('mission.', '')))
    }
    world.action('cortex/echo/once', ({ mission }) => {
      seen.push(`call ${mission?.step}`)
      return 1
    })
    const plan = ['a', 'b'].map((step) => ({ id: step, uses: 'cortex/echo/once' }))
    const { missions, id } = await made(world, { plan })
    await missions.run(anna, { mission_id: id })

    t.strictSame(seen, [
      'created',
      'claimed',
      'step_started',
      'call a',
      'step_finished',
      'step_started',
      'call b',
      'step_finished',
      'ended',
    ])
  },
)

t.test(
  'a thrown error is tried again with backoff, up to max_attempts, from the step that failed',
  async (t) => {
    const world = new World()
    let failures = 2
    world.action('cortex/echo/once', () => {
      failures -= 1
      if (failures >= 0)
        throw new NexusError('ACTION_FAILED', { module: 'cortex/echo', action: 'once', reason: 'x' })
      return 'done'
    })
    const plan = [{ id: 'before', uses: 'cortex/echo/say' }, ...ONCE]
    const { missions, id } = await made(world, { plan })
    const first = await later(missions, id)
    await world.clock.pass(60_000)
    const done = await missions.get(id)

    t.match(first, { status: 'queued', because: /^attempt 1 of 3 failed: cortex\/echo\/once threw: x/ })
    t.match(done, { status: 'completed', result: 'done', epoch: 3 })
    t.strictSame(world.steps, ['before', 'only', 'only', 'only'])
    t.strictSame(
      done.attempts.map(({ epoch, outcome, error }) => [epoch, outcome, error?.step ?? null]),
      [
        [1, 'failed', 'only'],
        [2, 'failed', 'only'],
        [3, 'completed', null],
      ],
    )
    t.match(world.journal.facts.at(-1)?.d, { success: true, first_pass: false })
  },
)

t.test('max_attempts is the last word', async (t) => {
  const world = new World()
  world.action('cortex/echo/say', () =>
    Promise.reject(new NexusError('MODULE_NOT_READY', { state: 'backoff' })),
  )
  const { missions, id } = await made(world, { plan: ONE, max_attempts: 2 })
  await later(missions, id)
  await world.clock.pass(600_000)

  t.match(await missions.get(id), { status: 'failed', error: { code: 'MODULE_NOT_READY', step: 'only' } })
  t.equal(world.calls.length, 2)
  t.match(world.journal.facts.at(-1)?.d, { success: false, error_code: 'MODULE_NOT_READY', step: 'only' })
})

t.test('what would fail in the same way again is not tried again', async (t) => {
  for (const [code, plan] of [
    ['ACTION_INPUT_INVALID', ONE],
    ['MODULE_UNKNOWN', ONE],
    ['CALL_EXPIRED', ONCE],
  ] as const) {
    const world = new World()
    const refuse = (): Promise<never> => Promise.reject(new NexusError(code, { module: 'm', detail: 'd' }))
    world.action('cortex/echo/say', refuse, { idempotent: true })
    world.action('cortex/echo/once', refuse)
    const { missions, id } = await made(world, { plan: [...plan] })
    await later(missions, id)
    await world.clock.pass(600_000)
    t.match(await missions.get(id), { status: 'failed', error: { code } }, code)
    t.equal(world.calls.length, 1, code)
  }
})

t.test('an idempotent action that ran out of time is called again', async (t) => {
  const world = new World()
  const ends = [() => Promise.reject(new NexusError('CALL_EXPIRED')), () => 'in time']
  world.action('cortex/echo/say', () => ends.shift()?.(), { idempotent: true })
  const { missions, id } = await made(world, { plan: ONE })
  await later(missions, id)
  await world.clock.pass(60_000)
  t.match(await missions.get(id), { status: 'completed', result: 'in time' })
})

t.test('a reference that leads nowhere fails the step before anything is called', async (t) => {
  const world = new World()
  const plan = [
    ...ONE,
    { id: 'reader', uses: 'cortex/echo/say', with: { $from: 'steps.only.output.no.such' } },
  ]
  const { missions, id } = await made(world, { plan })
  const done = await later(missions, id)

  t.match(done, {
    status: 'failed',
    error: { code: 'STEP_INPUT_MISSING', step: 'reader', message: /steps\.only\.output\.no\.such/ },
    steps: [{ status: 'completed' }, { status: 'failed', error: { code: 'STEP_INPUT_MISSING' } }],
  })
  t.strictSame(world.steps, ['only'])
})

t.test(
  'retries of a step stay within its attempt, and the wait between them is no execution time',
  async (t) => {
    const world = new World()
    let calls = 0
    world.action('cortex/echo/say', async () => {
      await new Promise<void>((ring) => world.clock.after(300, ring))
      calls += 1
      if (calls < 3) throw new NexusError('ACTION_FAILED', { reason: 'not yet' })
      return calls
    })
    const plan = [{ id: 'only', uses: 'cortex/echo/say', retries: 2 }]
    const { missions, id } = await made(world, { plan, constraints: { max_time_seconds: 0.91 } })
    await world.clock.pass(20_000)
    const tries = world.journal.facts.filter(({ type }) => /step_/.test(type))

    t.match(await missions.get(id), { status: 'completed', result: 3, epoch: 1, duration_ms: 900 })
    t.match(
      tries.map(({ type, d }) => [type.replace('mission.step_', ''), d['try'] ?? d['duration_ms']]),
      [
        ['started', 1],
        ['finished', 300],
        ['started', 2],
        ['finished', 300],
        ['started', 3],
        ['finished', 5],
      ],
    )
    t.ok(Date.parse(tries[2]?.ts ?? '') > Date.parse(tries[1]?.ts ?? ''), 'there is a wait')
  },
)

t.test('a module that is full is asked again: the step waits, and its attempt has not failed', async (t) => {
  const world = new World()
  let calls = 0
  world.action('cortex/echo/once', () => {
    calls += 1
    if (calls < 4) throw new NexusError('MODULE_BUSY', { module: 'cortex/echo', waiting: 1_000 })
    return 'taken'
  })
  const { missions, id } = await made(world, { plan: ONCE })
  await world.clock.pass(3_000)
  t.match(await missions.get(id), { status: 'completed', result: 'taken', epoch: 1 })
  t.equal(types(world).filter((type) => type === 'step_started').length, 1)
  t.strictSame(
    world.calls.map(({ timeoutMs }) => timeoutMs),
    [30_000, 29_000, 28_000, 27_000],
    'all of it within the time of the step',
  )

  const full = new World()
  full.action('cortex/echo/once', () => {
    throw new NexusError('MODULE_BUSY', { module: 'cortex/echo', waiting: 1_000 })
  })
  const both = await made(full, { plan: ONCE, max_attempts: 2 })
  await full.clock.pass(28_999)
  t.equal((await both.missions.get(both.id)).status, 'running')
  await full.clock.pass(200_000)
  t.match(await both.missions.get(both.id), {
    status: 'failed',
    epoch: 2,
    error: { code: 'MODULE_BUSY', step: 'only' },
  })

  const other = await made(full, { plan: ONCE })
  await full.clock.pass(1_500)
  const cancelled = other.missions.cancel(operator, { mission_id: other.id, reason: 'enough' })
  await full.clock.pass(1)
  t.match(await cancelled, {
    status: 'cancelled',
    steps: [{ status: 'failed', error: { message: /not called/ } }],
  })
})

t.test(
  'a step that only stood in the line has done nothing: it is tried again, or was not called',
  async (t) => {
    const world = new World()
    let calls = 0
    world.action('cortex/echo/once', () => {
      calls += 1
      if (calls === 1) throw new NexusError('CALL_EXPIRED', { waited: 1, timeout_ms: 30_000 })
      return 'done'
    })
    const { missions, id } = await made(world, { plan: ONCE })
    await world.clock.pass(60_000)
    t.match(await missions.get(id), { status: 'completed', result: 'done', epoch: 2 })

    const line = new World()
    line.action('cortex/echo/once', ({ signal }) => {
      return new Promise((_, reject) => {
        signal?.addEventListener('abort', () => reject(new NexusError('CALL_ABORTED', { waited: 1 })))
      })
    })
    const other = await made(line, { plan: ONCE })
    await settle()
    const cancelled = other.missions.cancel(operator, { mission_id: other.id, reason: 'enough' })
    t.match(await cancelled, {
      status: 'cancelled',
      steps: [{ status: 'failed', error: { message: /not called/ } }],
    })
  },
)

t.test('more steps than max_steps never start', async (t) => {
  const world = new World()
  const { missions, id } = await made(world, { constraints: { max_steps: 1 } })
  t.match(await later(missions, id), { status: 'failed', error: { code: 'MAX_STEPS_EXCEEDED' } })
  t.strictSame(world.steps, [])
})

t.test(
  'max_time_seconds ends a mission on the monotonic clock, through the signal, and it is not retried',
  async (t) => {
    const world = new World()
    world.action('cortex/echo/say', obedient, { idempotent: true })
    const { missions, id } = await made(world, { plan: ONE, constraints: { max_time_seconds: 1 } })
    await settle()
    world.clock.jump(86_400_000)
    await world.clock.pass(999)
    const before = (await missions.get(id)).status
    await world.clock.pass(1)
    const after = await missions.get(id)
    await world.clock.pass(600_000)

    t.equal(before, 'running')
    t.match(after, {
      status: 'failed',
      error: { code: 'MAX_TIME_EXCEEDED', step: 'only' },
      duration_ms: 1_000,
    })
    t.equal(world.calls.length, 1)
  },
)

t.test(
  'an action that ignores the signal cannot hold its mission; its late answer is refused and counted',
  async (t) => {
    const world = new World()
    const answer = Promise.withResolvers<string>()
    world.action('cortex/echo/say', () => answer.promise)
    const { missions, id } = await made(world, { plan: ONE, constraints: { max_time_seconds: 1 } })
    await world.clock.pass(4_000)
    const status = (await missions.get(id)).status
    const facts = world.journal.facts.length
    answer.resolve('too late')
    await settle()

    t.equal(status, 'failed')
    t.equal(missions.counters().staleRefused, 1)
    t.equal(world.journal.facts.length, facts)
  },
)

t.test('execution time adds up over attempts, and backoff does not count', async (t) => {
  const world = new World()
  world.action('cortex/echo/say', async ({ signal }) => {
    await Promise.race([
      obedient({ signal } as ActionOrder),
      new Promise<void>((ring) => world.clock.after(700, ring)),
    ])
    throw new NexusError('ACTION_FAILED', { reason: 'slow and wrong' })
  })
  const { missions, id } = await made(world, { plan: ONE, constraints: { max_time_seconds: 1 } })
  await world.clock.pass(120_000)

  t.match(await missions.get(id), {
    status: 'failed',
    error: { code: 'MAX_TIME_EXCEEDED' },
    epoch: 2,
    duration_ms: 1_000,
  })
})

t.test('a running mission that is cancelled ends cancelled, whether its action listens or not', async (t) => {
  for (const behave of [obedient, () => new Promise<never>(() => {})]) {
    const world = new World()
    world.action('cortex/echo/once', behave)
    const { missions, id } = await made(world, { plan: ONCE })
    await settle()
    const cancelling = missions.cancel(operator, { mission_id: id, reason: 'enough' })
    await world.clock.pass(3_000)

    t.match(await cancelling, {
      status: 'cancelled',
      because: 'it was cancelled: enough',
      steps: [{ status: 'unknown' }],
      attempts: [{ outcome: 'cancelled' }],
    })
    t.match(world.journal.facts.at(-1), { type: 'mission.cancelled', ep: 1, actor: { kind: 'key' } })
    t.notOk(types(world).includes('ended'), 'no outcome: a cancel is no failure')
  }
})

t.test('a cancel that comes as the last step ends is not told as done when it was not', async (t) => {
  const world = new World()
  const { missions, id } = await made(world, { plan: ONE })
  let cancelling: Promise<string> | undefined
  world.journal.before = async (facts) => {
    if (facts.at(-1)?.type !== 'mission.ended') return
    cancelling = codeOf(missions.cancel(anna, { mission_id: id }))
    await settle()
  }
  await later(missions, id)
  await settle()
  t.equal(await cancelling, 'MISSION_WRONG_STATE')
  t.equal((await missions.get(id)).status, 'completed')
})

t.test('a cancel that comes after the time is up does not take the failure back', async (t) => {
  const world = new World()
  world.action('cortex/echo/say', () => new Promise(() => {}))
  const { missions, id } = await made(world, { plan: ONE, constraints: { max_time_seconds: 1 } })
  await world.clock.pass(2_000)
  const cancelling = codeOf(missions.cancel(anna, { mission_id: id }))
  await world.clock.pass(2_000)

  t.equal(await cancelling, 'MISSION_WRONG_STATE')
  t.match(await missions.get(id), { status: 'failed', error: { code: 'MAX_TIME_EXCEEDED' } })
})

t.test('a mission that finds a free place begins with its creation, in one batch', async (t) => {
  const world = new World()
  const missions = await world.start()
  const batches: string[][] = []
  world.journal.before = (drafts) => void batches.push(drafts.map(({ type }) => type))
  const { answer } = await missions.create(anna, body({ plan: ONCE }))
  await settle()
  t.equal(answer.status, 'queued', 'what creation made of it')
  t.strictSame(batches, [
    ['mission.created', 'mission.claimed', 'mission.step_started'],
    ['mission.step_finished', 'mission.ended'],
  ])
  t.strictSame(world.steps, ['only'])
  world.journal.failing = [new NexusError('JOURNAL_FULL', { reason: 'ENOSPC' })]
  t.equal(await codeOf(missions.create(anna, body({ plan: ONCE }))), 'JOURNAL_FULL')
  const after = await missions.create(anna, body({ plan: ONCE }))
  await settle()
  t.match(await missions.get(after.mission.mission_id), { status: 'completed', epoch: 1 })
  t.strictSame(missions.counters().running, 0, 'the place of the one that was refused is free again')
})

t.test('a cancel in the very turn of the claim finds the attempt', async (t) => {
  const world = new World()
  world.action('cortex/echo/once', obedient)
  const missions = await world.start()
  let cancelling: Promise<unknown> | undefined
  world.journal.before = ([fact]) => {
    if (fact?.type === 'mission.claimed') cancelling = missions.cancel(anna, { mission_id: fact.mid ?? '' })
  }
  // Not at once, for then its claim stands in the batch of its creation, and nobody knows of it before.
  const { mission } = await missions.create(anna, body({ plan: ONCE, not_before: LATER }))
  await world.clock.pass(1_000)
  t.match(await cancelling, { status: 'cancelled' })
  t.match(await missions.get(mission.mission_id), { status: 'cancelled' })
  t.strictSame(world.steps, [])
})

t.test('an instance that dies in a step that may not run twice interrupts the mission', async (t) => {
  const world = new World()
  const ends = [
    () => Promise.reject(new NexusError('CALL_CUT', { module: 'cortex/echo', action: 'once' })),
    () => 'ok',
  ]
  world.action('cortex/echo/once', () => ends.shift()?.())
  const { missions, id } = await made(world, { plan: ONCE })
  const run = await missions.run(anna, { mission_id: id })
  await world.clock.pass(600_000)
  const refused = [
    await codeOf(missions.run(anna, { mission_id: id, resume: 'retry' })),
    await codeOf(missions.run(operator, { mission_id: id })),
    await codeOf(missions.approve(operator, { mission_id: id })),
  ]

  t.match(run, { status: 'failed', mission: { status: 'interrupted', steps: [{ status: 'unknown' }] } })
  t.strictSame(refused, ['MISSION_WRONG_STATE', 'MISSION_WRONG_STATE', 'MISSION_WRONG_STATE'])
  t.equal(world.calls.length, 1)
  t.match(await missions.run(operator, { mission_id: id, resume: 'retry' }), {
    status: 'ok',
    mission: { result: 'ok' },
  })
  t.strictSame(
    new Set(world.calls.map(({ mission }) => mission?.idempotency_token)).size,
    1,
    'one token for both',
  )
})

t.test('an interrupted mission can go on without the step, or be cancelled', async (t) => {
  for (const [how, status] of [
    ['skip', 'completed'],
    ['cancel', 'cancelled'],
  ] as const) {
    const world = new World()
    world.action('cortex/echo/once', () => Promise.reject(new NexusError('CALL_CUT')))
    const plan = [...ONCE, { id: 'after', uses: 'cortex/echo/say', with: { said: 'after' } }]
    const { missions, id } = await made(world, { plan })
    await later(missions, id)
    if (how === 'skip') await missions.run(operator, { mission_id: id, resume: 'skip' })
    else await missions.cancel(anna, { mission_id: id })
    t.equal((await missions.get(id)).status, status)
    t.strictSame(world.steps, how === 'skip' ? ['only', 'after'] : ['only'])
    t.equal((await missions.get(id)).steps[0]?.status, how === 'skip' ? 'skipped' : 'unknown')
  }
})

t.test('a large output is kept as a file by hash, read by later steps, and can be fetched', async (t) => {
  const world = new World()
  world.action('cortex/echo/big', () => ({ text: 'x'.repeat(9_000), n: 7 }))
  const plan = [
    { id: 'big', uses: 'cortex/echo/big' },
    { id: 'small', uses: 'cortex/echo/say', with: { n: { $from: 'steps.big.output.n' } } },
    { id: 'last', uses: 'cortex/echo/big' },
  ]
  const { missions, id } = await made(world, { plan })
  const done = await later(missions, id)
  const ref = { name: 'last.output.json', media_type: 'application/json', bytes: 9_017 }
  const { mediaType, bytes } = await missions.artifact(id, 'last.output.json')

  t.match(done, { status: 'completed', result: { artifact: ref }, steps: [{}, { output: { n: 7 } }, {}] })
  t.strictSame(
    done.artifacts.map(({ name }) => name),
    ['big.output.json', 'last.output.json'],
  )
  t.match(
    { mediaType, n: JSON.parse(Buffer.from(bytes).toString()).n },
    { mediaType: 'application/json', n: 7 },
  )
  t.equal(await codeOf(missions.artifact(id, 'other')), 'ARTIFACT_UNKNOWN')
  const longest = Math.max(...world.journal.facts.map((fact) => JSON.stringify(fact).length))
  t.ok(longest < 9_000, 'no record carries it')
})

t.test('an attempt that was overtaken is refused at its next write, and counted', async (t) => {
  const world = new World()
  const answer = Promise.withResolvers<string>()
  world.action('cortex/echo/say', () => answer.promise, { idempotent: true })
  const { missions, id } = await made(world, { plan: ONE })
  await settle()
  const other = { mid: id, actor: { kind: 'daemon', name: 'elsewhere' } } as const
  for (const fact of [
    { type: 'mission.attempt_ended', ep: 1, d: { outcome: 'cut', duration_ms: 0, retry_in_ms: 0 } },
    { type: 'mission.claimed', ep: 2, d: { queue_wait_ms: 0 } },
  ]) {
    missions.fold(world.journal.write({ ...other, ...fact }))
  }
  const facts = world.journal.facts.length
  answer.resolve('mine')
  await settle()

  t.equal(world.journal.facts.length, facts, 'nothing was written')
  t.match(await missions.get(id), { status: 'running', epoch: 2 })
  t.equal(missions.counters().staleRefused, 1)
  t.match(world.logs, [/^warn an attempt could not be carried on StaleAttempt/])
})

t.test('what a step found out survives a full disk', async (t) => {
  const world = new World()
  const { missions, id } = await made(world, { plan: ONCE })
  world.journal.before = ([fact]) => {
    if (fact?.type !== 'mission.step_finished') return
    world.journal.before = () => {}
    world.journal.failing = [new NexusError('JOURNAL_FULL', { reason: 'ENOSPC' })]
  }
  const full = await later(missions, id)
  await world.clock.pass(1_000)

  t.equal(full.status, 'running')
  t.match(await missions.get(id), { status: 'completed' })
  t.equal(world.calls.length, 1)
})

t.test(
  'when the journal is lost nothing more is called, and nothing is claimed to have happened',
  async (t) => {
    const world = new World()
    const { missions, id } = await made(world)
    world.journal.before = ([fact]) => {
      if (fact?.type !== 'mission.step_finished') return
      world.journal.failing = [new NexusError('JOURNAL_UNAVAILABLE', { reason: 'EIO' })]
    }
    const lost = await later(missions, id)

    t.match(lost, { status: 'running', steps: [{ status: 'running' }, { status: 'pending' }] })
    t.strictSame(world.steps, ['first'])
  },
)

t.test('listeners hear of ends once, not of replays, and a broken one spoils nothing', async (t) => {
  const world = new World()
  const missions = await world.start()
  const heard: string[] = []
  missions.onEnded(() => {
    throw new Error('mine')
  })
  missions.onEnded(({ status }) => heard.push(status))
  const { mission } = await missions.create(anna, body())
  await settle()
  const restarted = await world.restart()
  restarted.onEnded(({ status }) => heard.push(`replayed ${status}`))
  await settle()

  t.strictSame(heard, ['completed'])
  t.equal((await restarted.get(mission.mission_id)).status, 'completed')
  t.match(world.logs, [/^error a listener failed/])
})
