import fc from 'fast-check'
import t from 'tap'
import { NexusError } from '../../daemon/contracts/failure.ts'
import type { PlanStep } from '../../daemon/contracts/mission.ts'
import { planIssues, readMadePlan } from '../../daemon/missions/plan.ts'
import { PARALLEL_MAX } from '../../daemon/missions/plan-order.ts'
import type { ActionOrder } from '../../daemon/missions/port.ts'
import { settle } from '../support/test-clock.ts'
import { anna, anyPlan, body, codeOf, later, operator, types, World } from './world.ts'

const NO_MODULES = { input: undefined, calls: { action: () => undefined } }

function step(id: string, more: Partial<PlanStep> = {}): PlanStep {
  return { id, uses: 'a/b/c', ...more }
}

function pointers(plan: readonly PlanStep[], world: World = new World(), input?: unknown): string[] {
  return planIssues(plan, { input, calls: world.ports().calls }).map(
    ({ pointer, detail }) => `${pointer} ${detail}`,
  )
}

t.test('a plan that cannot run is refused with a pointer to each fault', async (t) => {
  const faults = (plan: readonly PlanStep[]): string[] =>
    planIssues(plan, NO_MODULES).map(({ pointer }) => pointer)

  t.strictSame(
    faults([
      step('one', { with: { a: { $from: 'steps.two.output.x' } } }),
      step('two', { needs: ['two', 'thre'], with: [{ 'a/b': { $from: 'steps.one.output' } }] }),
      step('two', { with: { $from: 'input.rows.0', also: 1 } }),
      step('four', { needs: [], with: { $from: 'steps.one.result' } }),
    ]),
    [
      '/plan/1/needs/0',
      '/plan/1/needs/1',
      '/plan/2/id',
      '/plan/0/with/a/$from',
      '/plan/1/with/0/a~1b/$from',
      '/plan/2/with/$from',
      '/plan/3/with/$from',
    ],
  )
  t.match(planIssues([step('read'), step('tell', { needs: ['raed'] })], NO_MODULES), [
    { detail: "no step is named 'raed'; did you mean read?" },
  ])
  t.strictSame(
    [readMadePlan({ plan: [] }, NO_MODULES), readMadePlan({ plan: [{ id: 'x' }] }, NO_MODULES)].map(
      (made) => 'wrong' in made,
    ),
    [true, true],
  )
  t.ok('wrong' in readMadePlan(7, NO_MODULES))
})

t.test('a circle is told with its way, also one that goes through the order of the list', async (t) => {
  t.match(
    planIssues(
      [step('a', { needs: ['c'] }), step('b', { needs: ['a'] }), step('c', { needs: ['b'] })],
      NO_MODULES,
    ),
    [{ pointer: '/plan/0/needs/0', detail: /^needs itself: a needs c needs b needs a/ }],
  )
  t.match(planIssues([step('a', { needs: ['b'] }), step('b')], NO_MODULES), [
    { pointer: '/plan/0/needs/0', detail: /^needs itself: a needs b needs a \(a step without `needs`/ },
  ])
})

t.test('a step may read what it needs through others, and nothing that only stands before it', async (t) => {
  const plan = (needs: readonly string[]): PlanStep[] => [
    step('a', { needs: [] }),
    step('b', { needs: ['a'] }),
    step('other', { needs: [] }),
    step('c', { needs: [...needs], with: { x: { $from: 'steps.a.output.x' } } }),
  ]
  t.strictSame(planIssues(plan(['b']), NO_MODULES), [])
  t.match(planIssues(plan(['other']), NO_MODULES), [
    { pointer: '/plan/3/with/x/$from', detail: /the step 'a' is none that this one needs/ },
  ])
})

t.test('what is written in a plan is judged by the schema of its action before anything runs', async (t) => {
  const world = new World()
  world.action('cortex/echo/say', ({ input }) => input, {
    input: {
      type: 'object',
      required: ['name', 'unit'],
      additionalProperties: false,
      properties: {
        name: { type: 'string', minLength: 2 },
        rows: {
          type: 'array',
          items: { type: 'object', required: ['n'], properties: { n: { type: 'integer' } } },
        },
        unit: { type: 'string', default: 'm' },
      },
    },
    output: {
      type: 'object',
      additionalProperties: false,
      properties: { n: { type: 'integer' }, text: { type: 'string' }, list: { type: 'array' }, any: {} },
    },
  })
  const say = (id: string, input: unknown): PlanStep => ({ id, uses: 'cortex/echo/say', with: input })
  const from = (path: string): unknown => ({ $from: path })
  const given = { who: 'Ada', n: 7 }

  t.strictSame(pointers([say('a', { name: 'Ada' })], world), [], 'defaults are filled in')
  t.strictSame(pointers([say('a', { name: 'A', row: 1 })], world), [
    '/plan/0/with/row is unknown; did you mean rows?',
    '/plan/0/with/name must NOT have fewer than 2 characters',
  ])
  t.strictSame(pointers([{ id: 'a', uses: 'cortex/echo/say' }], world), ['/plan/0/with/name is missing'])
  t.strictSame(pointers([say('a', { name: from('input.who') })], world, given), [])
  t.strictSame(
    pointers([say('a', { name: from('input.n'), rows: [{ n: from('input.no') }] })], world, given),
    [
      '/plan/0/with/name/$from must be string',
      "/plan/0/with/rows/0/n/$from 'input.no' leads nowhere: there is no 'no'",
    ],
  )
  t.strictSame(
    pointers(
      [
        say('a', { name: 'Ada' }),
        say('b', { name: from('steps.a.output.text'), rows: [{ n: from('steps.a.output.n') }], unit: 'm' }),
        say('c', { name: from('steps.a.output.n'), rows: from('steps.a.output.any'), unit: 'm' }),
        say('d', { name: from('steps.b.output.texts'), rows: from('steps.a.output.list.first'), unit: 'm' }),
        say('e', { rows: [{ m: from('steps.a.output.n') }], no: from('steps.a.output.n'), unit: 'm' }),
        say('f', [from('steps.a.output.n')]),
      ],
      world,
    ),
    [
      "/plan/2/with/name/$from 'steps.a.output.n' does not fit: it is integer and must be string",
      "/plan/3/with/name/$from 'steps.b.output.texts' leads nowhere: by its schema cortex/echo/say gives no such thing",
      "/plan/3/with/rows/$from 'steps.a.output.list.first' leads nowhere: by its schema cortex/echo/say gives no such thing",
      '/plan/4/with/rows/0/n is missing',
      '/plan/4/with/no is unknown',
      '/plan/4/with/name is missing',
      '/plan/5/with must be object',
    ],
  )
})

t.test('a schema that says more than types is not judged before the step runs', async (t) => {
  const world = new World()
  world.action('cortex/echo/rich', () => 1, {
    output: { anyOf: [{ type: 'string' }, { type: 'object', properties: { x: { type: 'string' } } }] },
    input: {
      $defs: { word: { type: 'string' } },
      type: 'object',
      properties: { word: { $ref: '#/$defs/word' }, n: { type: 'number' } },
    },
  })
  const plan = [
    { id: 'a', uses: 'cortex/echo/rich', with: { word: 'x' } },
    { id: 'b', uses: 'cortex/echo/rich', with: { word: 'y', n: { $from: 'steps.a.output.deep.er' } } },
  ]
  t.strictSame(pointers(plan, world), [])
  t.strictSame(pointers([{ id: 'a', uses: 'cortex/echo/rich', with: { word: 7 } }], world), [
    '/plan/0/with/word must be string',
  ])
})

t.test('objects are compared by what is required, arrays by their items', async (t) => {
  const world = new World()
  const object = (properties: object, required: string[] = [], more: object = {}): object => ({
    ...{ type: 'object', properties, required },
    ...more,
  })
  const closed = { additionalProperties: false }
  const cases: [object, object, string | undefined][] = [
    [object({ a: { type: 'string' } }, ['a']), object({ a: { type: 'string' } }, ['a']), undefined],
    [
      object({ a: { type: 'string' } }, ['a']),
      object({ a: { type: 'number' } }, ['a']),
      "'a' is string and must be number",
    ],
    [object({ a: { type: 'string' } }, [], closed), object({ b: {} }, ['b']), "it has no 'b'"],
    [object({ a: { type: 'string' } }), object({ b: {} }, ['b']), undefined],
    [object({ a: { type: 'string' } }), object({ a: { type: 'number' } }), undefined],
    [{ type: 'integer' }, { type: 'number' }, undefined],
    [{ type: ['integer', 'null'] }, { type: 'string' }, 'it is integer or null and must be string'],
    [
      { type: 'array', items: object({ n: { type: 'string' } }, ['n']) },
      { type: 'array', items: object({ n: { type: 'number' } }, ['n']) },
      "'[].n' is string and must be number",
    ],
  ]
  for (const [output, wanted, wrong] of cases) {
    world.action('cortex/echo/give', () => 1, { output })
    world.action('cortex/echo/take', () => 1, { input: object({ x: wanted }) })
    const plan = [
      { id: 'give', uses: 'cortex/echo/give' },
      { id: 'take', uses: 'cortex/echo/take', with: { x: { $from: 'steps.give.output' } } },
    ]
    const issue = `/plan/1/with/x/$from 'steps.give.output' does not fit: ${wrong}`
    t.strictSame(pointers(plan, world), wrong === undefined ? [] : [issue], JSON.stringify([output, wanted]))
  }
})

t.test(
  'a given plan that cannot run is refused at create, a planned one is a reason to be judged by',
  async (t) => {
    const world = new World()
    world.action('cortex/echo/say', ({ input }) => input, {
      input: { type: 'object', properties: { n: { type: 'number' } } },
    })
    const plan = [{ id: 'a', uses: 'cortex/echo/say', with: { n: 'x' } }]
    world.action('plan/a/plan', () => ({ plan }))
    world.plannerIds.push('plan/a')
    const missions = await world.start()
    const { plan: _, ...unplanned } = body()

    t.equal(await codeOf(missions.create(anna, body({ plan }))), 'PLAN_INVALID')
    t.strictSame(types(world), [], 'nothing was recorded')
    t.match((await missions.create(anna, unplanned)).mission, {
      status: 'suggestion',
      plan_source: 'none',
      validation: { reasons: [/\/plan\/0\/with\/n must be number/] },
    })
  },
)

/** Answers when the test says so. */
class Doors {
  readonly open = new Map<string, (output: unknown) => void>()
  readonly aborted: string[] = []

  behave = ({ mission, signal }: ActionOrder): Promise<unknown> => {
    const id = mission?.step ?? ''
    return new Promise((resolve, reject) => {
      this.open.set(id, resolve)
      signal?.addEventListener('abort', () => {
        if (this.open.delete(id)) this.aborted.push(id)
        reject(new NexusError('CALL_ABORTED', { reason: 'told to' }))
      })
    })
  }

  async let(id: string, output: unknown = id): Promise<void> {
    this.open.get(id)?.(output)
    this.open.delete(id)
    await settle()
  }

  get waiting(): string {
    return [...this.open.keys()].sort().join(' ')
  }
}

t.test('steps run side by side as soon as what they need is done, and the end waits for all', async (t) => {
  const world = new World()
  const doors = new Doors()
  world.action('cortex/echo/slow', doors.behave, { concurrency: 4, idempotent: true })
  const plan = [
    { id: 'a', needs: [] },
    { id: 'b', needs: [] },
    { id: 'c', needs: ['a'] },
    { id: 'd', needs: ['a', 'b'] },
    { id: 'e' },
  ].map((one) => ({ ...one, uses: 'cortex/echo/slow' }))
  const missions = await world.start()
  const { mission } = await missions.create(anna, body({ plan }))
  const seen: string[] = []
  await settle()
  for (const id of ['a', 'b', 'd', 'c', 'e']) {
    seen.push(doors.waiting)
    await doors.let(id)
  }

  t.strictSame(seen, ['a b', 'b c', 'c d', 'c e', 'e'])
  t.match(await missions.get(mission.mission_id), { status: 'completed', result: 'e', epoch: 1 })
})

t.test('steps of one action run as many at a time as the module takes', async (t) => {
  const wide = Array.from({ length: 20 }, (_, n) => ({ id: `s${n}`, uses: 'cortex/echo/slow', needs: [] }))
  for (const [concurrency, instances, at] of [
    [1, 1, 1],
    [1, 3, 3],
    [2, 2, 4],
    [50, 1, PARALLEL_MAX],
  ] as const) {
    const world = new World()
    world.instances = instances
    let live = 0
    let most = 0
    const slow = async (): Promise<number> => {
      live += 1
      most = Math.max(most, live)
      await new Promise<void>((ring) => world.clock.after(10, ring))
      live -= 1
      return 1
    }
    world.action('cortex/echo/slow', slow, { concurrency })
    const missions = await world.start()
    const order = body({ plan: wide, constraints: { max_steps: 20 } })
    const { mission } = await missions.create(anna, order)
    await world.clock.pass(1_000)
    t.equal((await missions.get(mission.mission_id)).status, 'completed')
    t.equal(most, at, `${concurrency} each in ${instances} instances`)
  }
})

t.test(
  'when a step fails, those beside it that may be called twice are stopped, and the others finish',
  async (t) => {
    const world = new World()
    const doors = new Doors()
    world.action('cortex/echo/read', doors.behave, { idempotent: true })
    world.action('cortex/echo/act', doors.behave)
    world.action('cortex/echo/fail', doors.behave, { idempotent: true })
    const plan = ['fail', 'read', 'act'].map((id) => ({
      id,
      uses: `cortex/echo/${id}`,
      needs: [] as string[],
    }))
    const missions = await world.start()
    const { mission } = await missions.create(
      anna,
      body({ plan: [...plan, { id: 'end', uses: 'cortex/echo/say' }] }),
    )
    await settle()
    await doors.let('fail', Promise.reject(new NexusError('ACTION_FAILED', { reason: 'no' })))
    const during = await missions.get(mission.mission_id)
    await doors.let('act', 'acted')
    const after = await missions.get(mission.mission_id)
    await world.clock.pass(60_000)
    const again = doors.waiting

    t.match(during, { status: 'running' })
    t.strictSame(doors.aborted, ['read'])
    t.match(after, {
      status: 'queued',
      steps: [
        { status: 'failed' },
        { status: 'pending' },
        { status: 'completed', output: 'acted' },
        { status: 'pending' },
      ],
      attempts: [{ outcome: 'failed', error: { step: 'fail' } }],
    })
    t.equal(again, 'fail read', 'what is done is not done again')
  },
)

t.test(
  'of two failures the one that no retry would help ends the mission, and both are on record',
  async (t) => {
    const world = new World()
    const doors = new Doors()
    world.action('cortex/echo/a', doors.behave)
    world.action('cortex/echo/b', doors.behave)
    const plan = ['a', 'b'].map((id) => ({ id, uses: `cortex/echo/${id}`, needs: [] }))
    const missions = await world.start()
    const { mission } = await missions.create(anna, body({ plan }))
    await settle()
    await doors.let('a', Promise.reject(new NexusError('ACTION_FAILED', { reason: 'passes' })))
    await doors.let('b', Promise.reject(new NexusError('ACTION_INPUT_INVALID', { detail: 'stays' })))

    t.match(await missions.get(mission.mission_id), {
      status: 'failed',
      error: { code: 'ACTION_INPUT_INVALID', step: 'b' },
      steps: [
        { status: 'failed', error: { code: 'ACTION_FAILED' } },
        { status: 'failed', error: { code: 'ACTION_INPUT_INVALID' } },
      ],
    })
  },
)

t.test('several steps may have no known end; one decision of an operator is about all of them', async (t) => {
  for (const [resume, status, calls] of [
    ['retry', 'completed', 'a a b b c d'],
    ['skip', 'completed', 'a b c d'],
  ] as const) {
    const world = new World()
    let dies = true
    const cut = async (): Promise<string> => {
      if (dies) throw new NexusError('CALL_CUT', { module: 'cortex/echo' })
      return 'done'
    }
    for (const id of ['a', 'b']) world.action(`cortex/echo/${id}`, cut)
    world.action('cortex/echo/c', () => 'fine')
    const plan = [
      ...['a', 'b', 'c'].map((id) => ({ id, uses: `cortex/echo/${id}`, needs: [] })),
      { id: 'd', uses: 'cortex/echo/say', needs: ['a', 'b', 'c'] },
    ]
    const missions = await world.start()
    const { mission } = await missions.create(anna, body({ plan }))
    const id = mission.mission_id
    const halted = await later(missions, id)
    const why = await missions.explain(id)
    dies = false
    await missions.run(operator, { mission_id: id, resume })
    const done = await missions.get(id)

    t.match(halted, {
      status: 'interrupted',
      steps: [{ status: 'unknown' }, { status: 'unknown' }, { status: 'completed' }, { status: 'pending' }],
    })
    t.match(why.blocked_on, /cortex\/echo\/a \(step a\), cortex\/echo\/b \(step b\)$/)
    t.equal(done.status, status)
    t.equal([...world.steps].sort().join(' '), calls)
  }
})

t.test('records of the time when one step ran at a time are still read', async (t) => {
  const world = new World()
  world.action('cortex/echo/once', () => Promise.reject(new NexusError('CALL_CUT')))
  const missions = await world.start()
  const { mission } = await missions.create(anna, body({ plan: [{ id: 'only', uses: 'cortex/echo/once' }] }))
  await later(missions, mission.mission_id)
  await missions.run(operator, { mission_id: mission.mission_id, resume: 'skip', wait_ms: 0 })
  await settle()
  const old = new World()
  for (const fact of world.journal.facts) {
    const { steps, ...d } = fact.d as { steps?: readonly string[] }
    old.journal.facts.push({ ...fact, d: Array.isArray(steps) ? { ...d, step: steps[0] } : fact.d })
  }
  const replayed = await old.boot().get(mission.mission_id)

  t.ok(old.journal.facts.some(({ type, d }) => type === 'mission.resumed' && d['step'] === 'only'))
  t.match(replayed, { status: 'completed', steps: [{ status: 'skipped' }] })
})

t.test('a cancel, the end of the time and a drain reach every step that runs', async (t) => {
  for (const [how, status, steps] of [
    ['cancel', 'cancelled', ['unknown', 'unknown', 'pending']],
    ['time', 'failed', ['failed', 'unknown', 'pending']],
    ['drain', 'interrupted', ['pending', 'unknown', 'pending']],
  ] as const) {
    const world = new World()
    const doors = new Doors()
    world.action('cortex/echo/read', doors.behave, { idempotent: true })
    world.action('cortex/echo/act', doors.behave)
    const plan = [
      { id: 'read', uses: 'cortex/echo/read', needs: [] },
      { id: 'act', uses: 'cortex/echo/act', needs: [] },
      { id: 'tell', uses: 'cortex/echo/say', needs: ['read', 'act'] },
    ]
    const missions = await world.start()
    const { mission } = await missions.create(anna, body({ plan, constraints: { max_time_seconds: 5 } }))
    await settle()
    const done = how === 'drain' ? missions.drain(1_000) : undefined
    if (how === 'cancel') await missions.cancel(anna, { mission_id: mission.mission_id })
    await world.clock.pass(6_000)
    await done
    const after = await missions.get(mission.mission_id)

    t.strictSame([...doors.aborted].sort(), ['act', 'read'], how)
    t.equal(after.status, status, how)
    t.strictSame(
      after.steps.map((one) => one.status),
      steps,
      how,
    )
  }
})

t.test('whatever its shape, a plan runs each step after its needs, few at a time, and once', async (t) => {
  let together = 0
  await fc.assert(
    fc.asyncProperty(
      anyPlan(['say', 'once', 'other']),
      fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 6, maxLength: 6 }),
      fc.integer({ min: 1, max: 3 }),
      async (plan, takesMs, concurrency) => {
        const world = new World()
        const done = new Set<string>()
        const live = new Map<string, string>()
        const needs = new Map(
          plan.map(({ id, needs: own }, n) => [id, own ?? (n > 0 ? [plan[n - 1]?.id ?? ''] : [])]),
        )
        let isWell = true
        const behave = async ({ mission, action }: ActionOrder): Promise<number> => {
          const id = mission?.step ?? ''
          isWell &&= (needs.get(id) ?? []).every((need) => done.has(need)) && !done.has(id) && !live.has(id)
          live.set(id, action)
          together = Math.max(together, live.size)
          isWell &&= [...live.values()].filter((other) => other === action).length <= concurrency
          await new Promise<void>((ring) =>
            world.clock.after(takesMs[plan.findIndex((one) => one.id === id)] ?? 1, ring),
          )
          live.delete(id)
          done.add(id)
          return 1
        }
        for (const name of ['say', 'once', 'other']) {
          world.action(`cortex/echo/${name}`, behave, { concurrency, idempotent: name === 'say' })
        }
        const missions = await world.start()
        const { mission } = await missions.create(anna, body({ plan }))
        await world.clock.pass(500)
        return (
          isWell &&
          (await missions.get(mission.mission_id)).status === 'completed' &&
          done.size === plan.length
        )
      },
    ),
    { seed: 5, numRuns: 150 },
  )
  t.ok(together > 2, `up to ${together} side by side`)
})

t.test(
  'cancelled at every point of its life, a mission ends once, as the answer says, and begins nothing more',
  async (t) => {
    const plan = [
      { id: 'read', uses: 'cortex/echo/say' },
      { id: 'act', uses: 'cortex/echo/once', needs: ['read'] },
      { id: 'look', uses: 'cortex/echo/other', needs: ['read'], retries: 1 },
      { id: 'tell', uses: 'cortex/echo/say', needs: ['act', 'look'] },
    ]
    const ends = new Map<string, number>()
    const wrong: string[] = []
    for (const listens of [true, false]) {
      for (let at = 1, isOver = false; !isOver; at += 1) {
        const world = new World()
        let points = 0
        let answer: Promise<string> | undefined
        let told = false
        const missions = await world.start()
        const pass = (): void => {
          points += 1
          const id = world.journal.facts[0]?.mid
          if (points !== at || id === undefined) return
          answer = missions.cancel(operator, { mission_id: id }).then(
            ({ status }) => status,
            (error) => (error as NexusError).code,
          )
          void answer.then(() => {
            told = true
          })
        }
        let fails = 1
        const behave = ({ action, signal }: ActionOrder): Promise<unknown> => {
          if (told) wrong.push(`${at}: ${action} was called after the answer`)
          return new Promise((resolve, reject) => {
            pass()
            if (listens) signal?.addEventListener('abort', () => reject(new NexusError('CALL_ABORTED')))
            fails -= action === 'other' ? 1 : 0
            const isRight = action !== 'other' || fails < 0
            world.clock.after(10, () =>
              isRight ? resolve(1) : reject(new NexusError('ACTION_FAILED', { reason: 'x' })),
            )
          })
        }
        for (const name of ['say', 'once', 'other']) {
          world.action(`cortex/echo/${name}`, behave, { idempotent: name !== 'once' })
        }
        world.journal.before = async () => {
          pass()
          await settle()
        }
        const { mission } = await missions.create(anna, body({ plan }))
        // In pieces: what waits for turns of the loop is given some between them.
        for (let n = 0; n < 20; n += 1) await world.clock.pass(1_000)
        const { status } = await missions.get(mission.mission_id)
        const last = types(world).filter((type) => /^(ended|cancelled)$/.test(type))
        const said = await answer
        isOver = answer === undefined && points < at
        if (isOver) {
          if (status !== 'completed') wrong.push(`without a cancel it is ${status}`)
          continue
        }
        // The record that makes it is the one point at which there is nothing to cancel yet.
        const isRight =
          answer === undefined ||
          (said === 'cancelled' && status === 'cancelled') ||
          (said === 'MISSION_WRONG_STATE' && status === 'completed')
        if (!isRight || last.length !== 1)
          wrong.push(`${at}: answered ${said}, is ${status}, ends ${last.join(', ')}`)
        ends.set(status, (ends.get(status) ?? 0) + 1)
      }
    }

    t.strictSame(wrong, [])
    t.ok((ends.get('cancelled') ?? 0) > 15 && (ends.get('completed') ?? 0) > 1, JSON.stringify([...ends]))
  },
)

t.test('an attempt that was overtaken writes nothing of any of its steps', async (t) => {
  const world = new World()
  const doors = new Doors()
  world.action('cortex/echo/slow', doors.behave, { concurrency: 3, idempotent: true })
  const plan = ['a', 'b', 'c'].map((id) => ({ id, uses: 'cortex/echo/slow', needs: [] }))
  const missions = await world.start()
  const { mission } = await missions.create(anna, body({ plan }))
  const mid = mission.mission_id
  await settle()
  const other = { mid, actor: { kind: 'daemon', name: 'elsewhere' } } as const
  for (const fact of [
    { type: 'mission.attempt_ended', ep: 1, d: { outcome: 'cut', duration_ms: 0, retry_in_ms: 0 } },
    { type: 'mission.claimed', ep: 2, d: { queue_wait_ms: 0 } },
  ]) {
    missions.fold(world.journal.write({ ...other, ...fact }))
  }
  const facts = world.journal.facts.length
  await doors.let('a')
  const stopped = [...doors.aborted].sort()
  await world.clock.pass(5_000)

  t.equal(world.journal.facts.length, facts)
  t.strictSame(stopped, ['b', 'c'], 'the others are told that it is over')
  t.match(await missions.get(mid), { status: 'running', epoch: 2, late_answers: { refused: 1, epoch: 1 } })
})

t.test('a step with no known end weighs more than one that failed, and both are on record', async (t) => {
  const world = new World()
  const doors = new Doors()
  for (const id of ['a', 'b']) world.action(`cortex/echo/${id}`, doors.behave)
  const plan = ['a', 'b'].map((id) => ({ id, uses: `cortex/echo/${id}`, needs: [] }))
  const missions = await world.start()
  const { mission } = await missions.create(anna, body({ plan }))
  await settle()
  await doors.let('a', Promise.reject(new NexusError('ACTION_FAILED', { reason: 'passes' })))
  await doors.let('b', Promise.reject(new NexusError('CALL_CUT')))

  t.match(await missions.get(mission.mission_id), {
    status: 'interrupted',
    steps: [{ status: 'failed', error: { code: 'ACTION_FAILED' } }, { status: 'unknown' }],
  })
})

t.test('a step that waits for its next try is not called once its attempt was overtaken', async (t) => {
  const world = new World()
  let calls = 0
  world.action(
    'cortex/echo/flaky',
    () => {
      calls += 1
      throw new NexusError('ACTION_FAILED', { reason: 'x' })
    },
    { idempotent: true },
  )
  const missions = await world.start()
  world.journal.before = ([fact]) => {
    if (fact?.type !== 'mission.step_started') return
    for (const stale of [
      { type: 'mission.attempt_ended', ep: 1, d: { outcome: 'cut', duration_ms: 0, retry_in_ms: 0 } },
      { type: 'mission.claimed', ep: 2, d: { queue_wait_ms: 0 } },
    ]) {
      missions.fold(world.journal.write({ ...stale, mid: fact.mid ?? '', actor: fact.actor }))
    }
  }
  const plan = [{ id: 'only', uses: 'cortex/echo/flaky', retries: 5 }]
  const { mission } = await missions.create(anna, body({ plan }))
  await world.clock.pass(60_000)

  t.match(await missions.get(mission.mission_id), {
    status: 'running',
    epoch: 2,
    late_answers: { refused: 1 },
  })
  t.equal(calls, 2, 'the call that was under way when it happened was the last')
})
