import '../support/clean-children.ts'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { RunningDaemon, writeModule } from '../support/daemon.ts'
import { shortDir } from '../support/short-dir.ts'

const action = (idempotent: boolean) => ({ description: 'for a test', idempotent, concurrency: 4 })

/** A module that plans forge missions, with a step that can be held and one that must not run twice. */
function writeWorker(dir: string, effects: string): void {
  const code = `
    import { appendFileSync, existsSync } from 'node:fs'
    const hold = async (ctx) => {
      while (!existsSync(${JSON.stringify(join(dir, 'held/go'))})) {
        if (ctx.signal.aborted) throw ctx.signal.reason
        await new Promise((done) => setTimeout(done, 10))
      }
    }
    export default {
      actions: {
        plan: ({ goal }) => ({ plan: [{ id: 'work', uses: 'demo/worker/work', with: { goal } }] }),
        work: ({ goal }) => ({ length: goal.length }),
        waits: async (_, ctx) => { await hold(ctx); return { held: true } },
        once: async ({ note }, ctx) => {
          appendFileSync(${JSON.stringify(effects)}, note + '\\n')
          await hold(ctx)
          return { note }
        },
        stubborn: () => new Promise(() => {}),
      },
    }`
  writeModule(dir, 'demo/worker', code, {
    permissions: { fs_read: [join(dir, 'held')], fs_write: [effects] },
    categories: ['forge'],
    actions: {
      plan: action(true),
      work: action(true),
      waits: action(true),
      once: action(false),
      stubborn: action(true),
    },
    self_test: [{ action: 'work', input: { goal: 'four' }, expect: { length: 4 } }],
    restart: { max: 100 },
  })
}

async function raise(t: {
  teardown(undo: () => unknown): void
}): Promise<RunningDaemon & { effects: string }> {
  const dir = shortDir(t)
  const effects = join(dir, 'effects.txt')
  writeFileSync(effects, '')
  mkdirSync(join(dir, 'held'))
  writeWorker(dir, effects)
  const daemon = await RunningDaemon.start(dir)
  t.teardown(() => daemon.kill())
  await daemon.until('/v1/status/demo/worker', ({ body }) => body.state === 'started')
  return Object.assign(daemon, { effects })
}

const plan = (action: string, input: object = {}): object[] => [
  { id: 'one', uses: `demo/worker/${action}`, with: input },
]
const create = (daemon: RunningDaemon, body: object) =>
  daemon.ask('POST', '/v1/missions/create', { goal: 'measure the goal', category: 'forge', ...body })
const run = (daemon: RunningDaemon, id: string, body: object = {}) =>
  daemon.ask('POST', '/v1/missions/run', { mission_id: id, ...body })

t.test('a SAFE mission is planned, queued at once, and ends with the result of real work', async (t) => {
  const daemon = await raise(t)
  const { status, body } = await create(daemon, {})
  t.match([status, body], [201, { decision: 'SAFE', status: 'queued' }])
  const ran = await run(daemon, body.mission_id)
  t.match(ran.body, { status: 'ok', mission: { status: 'completed', result: { length: 16 } } })
  const again = await run(daemon, body.mission_id)
  t.match(again.body, { status: 'ok', mission: { epoch: 1 } }, 'it is not run again')
})

t.test(
  'a BORDERLINE mission waits; a wrong key is 401, the published one is told apart, the right one runs it',
  async (t) => {
    const daemon = await raise(t)
    writeModule(daemon.dir, 'demo/new', 'export default { actions: { go: () => ({ went: true }) } }', {
      actions: { go: action(true) },
    })
    await daemon.until('/v1/status/demo/new', ({ body }) => body.state === 'started')
    const { body } = await create(daemon, { plan: [{ id: 'one', uses: 'demo/new/go' }] })
    t.match(body, { decision: 'BORDERLINE', status: 'awaiting_approval' })
    const answers = [
      await run(daemon, body.mission_id),
      await run(daemon, body.mission_id, { operator_key: 'nxk_wrong' }),
      await run(daemon, body.mission_id, { operator_key: 'nexusmon_sovereign_key' }),
      await run(daemon, body.mission_id, { operator_key: daemon.key }),
    ]
    t.strictSame(
      answers.map((answer) => [answer.status, answer.body.code ?? answer.body.status]),
      [
        [403, 'APPROVAL_REQUIRED'],
        [401, 'UNAUTHENTICATED'],
        [401, 'PUBLISHED_KEY'],
        [200, 'ok'],
      ],
    )
    const keyBytes = daemon.key
    const journal = readFileSync(join(daemon.dir, 'data/audit.jsonl'), 'utf8')
    t.ok(
      journal.includes('mission.approved') && !journal.includes(keyBytes),
      'approved, and the key is nowhere',
    )
  },
)

t.test('a FAILING mission is blocked with reasons and the cheapest change that would help', async (t) => {
  const daemon = await raise(t)
  const steps = ['a', 'b', 'c'].map((id) => ({ id, uses: 'demo/worker/work', with: { goal: id } }))
  const { body } = await create(daemon, { plan: steps, constraints: { max_steps: 2 } })
  const blocked = await run(daemon, body.mission_id, { operator_key: daemon.key })
  t.match(body, { decision: 'FAILING', status: 'suggestion', score: 0 })
  t.match(blocked, {
    status: 409,
    body: { code: 'MISSION_BLOCKED', detail: /3 steps/, remedy: /max_steps to 3/ },
  })
})

t.test(
  'an idempotency key makes one mission of fifty equal requests, and refuses another body',
  async (t) => {
    const daemon = await raise(t)
    const key = { 'idempotency-key': 'order-66' }
    const body = { goal: 'measure once', category: 'forge' }
    const all = await Promise.all(
      Array.from({ length: 50 }, () => daemon.ask('POST', '/v1/missions/create', body, key)),
    )
    const ids = new Set(all.map((answer) => answer.body.mission_id))
    const other = await daemon.ask('POST', '/v1/missions/create', { ...body, goal: 'measure twice' }, key)
    t.strictSame([ids.size, all.filter(({ status }) => status === 201).length], [1, 1])
    t.match(other, { status: 409, body: { code: 'IDEMPOTENCY_CONFLICT' } })
  },
)

t.test(
  'max_time_seconds ends an action that will not end: signal, then kill, and it is never retried',
  async (t) => {
    const daemon = await raise(t)
    const { body } = await create(daemon, { plan: plan('stubborn'), constraints: { max_time_seconds: 0.3 } })
    const ran = await run(daemon, body.mission_id, { operator_key: daemon.key })
    t.match(ran.body, {
      status: 'failed',
      mission: { status: 'failed', epoch: 1, error: { code: 'MAX_TIME_EXCEEDED' } },
    })
    await daemon.until(
      '/v1/status/demo/worker',
      ({ body: now }) => now.state === 'started' && now.restarts > 0,
    )
  },
)

t.test(
  'after a kill of the daemon an idempotent step is resumed, and one that is not is interrupted',
  async (t) => {
    const daemon = await raise(t)
    const { body: waits } = await create(daemon, { plan: plan('waits') })
    const { body: once } = await create(daemon, { plan: plan('once', { note: 'only once' }) })
    for (const { mission_id } of [waits, once])
      await run(daemon, mission_id, { operator_key: daemon.key, wait_ms: 0 })
    for (const { mission_id } of [waits, once]) {
      await daemon.until(`/v1/missions/${mission_id}`, ({ body }) => body.steps[0].status === 'running')
    }
    while (readFileSync(daemon.effects, 'utf8') === '') await new Promise((done) => setTimeout(done, 10))
    await daemon.kill()
    writeFileSync(join(daemon.dir, 'held/go'), '')

    const again = await RunningDaemon.start(daemon.dir)
    t.teardown(() => again.kill())
    const resumed = await again.until(
      `/v1/missions/${waits.mission_id}`,
      ({ body }) => body.status === 'completed',
    )
    const halted = await again.until(
      `/v1/missions/${once.mission_id}`,
      ({ body }) => body.status === 'interrupted',
    )
    t.match(resumed.body, { epoch: 2, result: { held: true } })
    t.match(halted.body, { epoch: 1 })
    t.equal(readFileSync(daemon.effects, 'utf8'), 'only once\n', 'its effect was not repeated')
    const skipped = await run(again, once.mission_id, { operator_key: again.key, resume: 'skip' })
    t.match(skipped.body, { status: 'ok', mission: { status: 'completed' } })
    t.equal(readFileSync(daemon.effects, 'utf8'), 'only once\n')
  },
)
