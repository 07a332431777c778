import { readFileSync } from 'node:fs'
import t from 'tap'
import type { Fact, FactDraft } from '../../daemon/contracts/fact.ts'
import { NexusError } from '../../daemon/contracts/failure.ts'
import { MISSION_STATUSES, type MissionCreate, type MissionStatus } from '../../daemon/contracts/mission.ts'
import { fold } from '../../daemon/missions/fold.ts'
import { decided, Ledger, StaleAttempt } from '../../daemon/missions/ledger.ts'
import type { Mission } from '../../daemon/missions/mission.ts'
import { type MissionEvent, mayCause, transition } from '../../daemon/missions/mission-table.ts'
import type { ActionOrder } from '../../daemon/missions/port.ts'
import type { Shelf } from '../../daemon/missions/shelf.ts'
import { settle } from '../support/test-clock.ts'
import { anna, BORDERLINE, body, codeOf, later, operator, types, World } from './world.ts'

t.test(
  'a retry is a new mission with the old order, judged afresh, and says whose retry it is',
  async (t) => {
    const world = new World()
    let works = false
    world.action('cortex/echo/say', ({ input }) => {
      if (works) return input
      throw new NexusError('ACTION_INPUT_INVALID', { detail: 'no' })
    })
    const missions = await world.start()
    const order = body({ priority: 4, max_attempts: 2, expected_value: 9, constraints: { max_steps: 5 } })
    const { mission } = await missions.create(anna, { ...order, not_before: '2026-11-22T09:00:00Z' })
    const failed = await later(missions, mission.mission_id)
    works = true
    world.verdict = () => BORDERLINE
    const again = await missions.retry(operator, { mission_id: failed.mission_id }, 'again')
    const same = await missions.retry(operator, { mission_id: failed.mission_id }, 'again')
    const queued = await missions.approve(operator, { mission_id: again.mission.mission_id })
    const done = await later(missions, queued.mission_id)

    t.equal(failed.status, 'failed')
    t.match(again, {
      created: true,
      answer: { status: 'awaiting_approval', decision: 'BORDERLINE' },
      mission: { retry_of: failed.mission_id, goal: order.goal, plan: order.plan, priority: 4, epoch: 0 },
    })
    t.match(same, { created: false, mission: { mission_id: again.mission.mission_id } })
    t.match(done, { status: 'completed', retry_of: failed.mission_id, constraints: { max_steps: 5 } })
    t.equal((await missions.get(failed.mission_id)).status, 'failed', 'the old one stays what it is')
    t.equal(await codeOf(missions.retry(operator, { mission_id: done.mission_id })), 'MISSION_WRONG_STATE')
    t.equal(await codeOf(missions.retry(operator, { mission_id: 'm-none' })), 'MISSION_UNKNOWN')
  },
)

t.test('an expired mission can be retried, and one that a planner planned is planned anew', async (t) => {
  const world = new World()
  const plans = ['old', 'new'].map((id) => ({ plan: [{ id, uses: 'cortex/echo/say' }] }))
  world.action('plan/a/plan', () => plans.shift())
  world.plannerIds.push('plan/a')
  world.verdict = () => BORDERLINE
  const missions = await world.start()
  const { plan: _, ...unplanned } = body()
  const { mission } = await missions.create(anna, unplanned)
  await world.clock.pass(8 * 86_400_000)
  const expired = await missions.get(mission.mission_id)
  const again = await missions.retry(anna, { mission_id: expired.mission_id })

  t.match(expired, { status: 'expired', plan: [{ id: 'old' }] })
  t.match(again.mission, { status: 'awaiting_approval', plan: [{ id: 'new' }], retry_of: expired.mission_id })
})

const DOC = readFileSync(new URL('../../docs/missions.md', import.meta.url), 'utf8')
const EVENTS = [
  ...['approved', 'rejected', 'expired', 'overridden', 'claimed', 'rejudged', 'released', 'completed'],
  ...['failed', 'interrupted', 'resumed', 'cancelled'],
] as const
const CAUSES = ['key', 'principal', 'daemon', 'attempt'] as const

t.test('the documentation shows the table by which missions live', async (t) => {
  const rows = [...DOC.matchAll(/^\| `(\w+)` \| `(\w+)` \| `(\w+)` \| ([\w, ]+) \|$/gm)].map((row) =>
    row.slice(1),
  )
  const table = MISSION_STATUSES.flatMap((status) =>
    EVENTS.flatMap((event) => {
      const move = transition(status, event)
      return move === undefined ? [] : [[status, event, move.to, move.by.join(', ')]]
    }),
  )

  t.equal(table.length, 16)
  t.strictSame(rows.sort(), table.sort())
})

t.test('the plan of the documentation runs as it says', async (t) => {
  const world = new World()
  const order = JSON.parse(/```json\n([\s\S]*?)```/.exec(DOC)?.[1] ?? '') as MissionCreate
  const log: string[] = []
  const say = ({ mission, input }: ActionOrder, output: unknown): unknown => {
    log.push(`${mission?.step} ${JSON.stringify(input)}`)
    return output
  }
  world.instances = 2
  world.action('sales/reports/read', (call) => say(call, { total: log.length }))
  world.action('sales/reports/compare', (call) => say(call, { summary: 'alike' }))
  world.action('sales/letters/send', (call) => say(call, 'sent'))
  const missions = await world.start()
  const { mission } = await missions.create(anna, order)
  const done = await later(missions, mission.mission_id)

  t.match(done, { status: 'completed', result: 'sent' })
  t.strictSame(log, [
    'north {"region":"north","month":"2026-10"}',
    'south {"region":"south","month":"2026-10"}',
    'compare {"a":0,"b":1}',
    'send {"text":"alike"}',
  ])
  t.strictSame(
    types(world),
    [
      'created',
      'claimed',
      'step_started',
      'step_started',
      'step_finished',
      'step_finished',
      'step_started',
    ].concat(['step_finished', 'step_started', 'step_finished', 'ended']),
  )
})

/** A mission brought to a state by facts alone, with a ledger that writes into a list. */
function stood(status: MissionStatus): { ledger: Ledger; id: string; written: string[]; mission(): Mission } {
  const world = new World()
  const id = 'm-1'
  const written: string[] = []
  const decision = status === 'suggestion' ? 'FAILING' : 'BORDERLINE'
  const validation = {
    decision,
    score: 1,
    reasons: [],
    gates: [],
    axes: {},
    counterfactual: null,
    predicted: 0,
  }
  const order = {
    ...body(),
    constraints: { max_time_seconds: 9, max_steps: 9 },
    principal: 'anna',
    validation,
  }
  let mission: Mission | undefined
  const take = (draft: FactDraft): Fact => {
    const fact = world.journal.write(draft)
    mission = fold(mission, fact)
    return fact
  }
  const actor = { kind: 'daemon', name: 'test' } as const
  take({ type: 'mission.created', mid: id, actor, d: order as never })
  for (const event of WAYS[status]) {
    const { mid: _, ...draft } = draftOf(event, mission?.epoch ?? 0)
    take({ ...draft, mid: id, actor })
  }
  const recorder = {
    append: async (draft: FactDraft) => take(draft),
    appendAll: async (drafts: readonly FactDraft[]) => {
      written.push(...drafts.map(({ type }) => type))
      return drafts.map(take)
    },
  }
  const shelf = { get: () => mission, find: async () => mission } as unknown as Shelf
  return { ledger: new Ledger(recorder, shelf, () => {}), id, written, mission: () => mission as Mission }
}

/** How a mission that begins BORDERLINE comes to a state. */
const WAYS: Readonly<Record<MissionStatus, readonly MissionEvent[]>> = {
  suggestion: [],
  awaiting_approval: [],
  queued: ['approved'],
  running: ['approved', 'claimed'],
  interrupted: ['approved', 'claimed', 'interrupted'],
  completed: ['approved', 'claimed', 'completed'],
  failed: ['approved', 'claimed', 'failed'],
  cancelled: ['cancelled'],
  rejected: ['rejected'],
  expired: ['expired'],
}

function draftOf(event: MissionEvent, epoch: number): FactDraft {
  const closing = { duration_ms: 0, by: 'x', digest: 'd' }
  const [type, d, ep] = (
    {
      approved: ['approved', closing],
      rejected: ['rejected', closing],
      expired: ['expired', { after_days: 7 }],
      overridden: ['overridden', closing],
      claimed: ['claimed', { queue_wait_ms: 0 }, epoch + 1],
      rejudged: ['rejudged', { validation: { score: 40 } }],
      released: ['attempt_ended', { outcome: 'cut', duration_ms: 0, retry_in_ms: 0 }, epoch],
      completed: ['ended', { status: 'completed', success: true, duration_ms: 0 }, epoch],
      failed: ['ended', { status: 'failed', success: false, duration_ms: 0 }, epoch],
      interrupted: ['interrupted', { steps: ['first'], cause: 'c', duration_ms: 0 }, epoch],
      resumed: ['resumed', { ...closing, mode: 'skip', steps: ['first'] }],
      cancelled: ['cancelled', closing],
    } as const
  )[event] as readonly [string, FactDraft['d'], number?]
  return {
    type: `mission.${type}`,
    d,
    actor: { kind: 'daemon', name: 'x' },
    ...(ep ? { ep } : {}),
  } as FactDraft
}

t.test('in every state, every event of every cause does what the table says, and nothing else', async (t) => {
  const actors = { key: 'key', principal: 'token', daemon: 'daemon' } as const
  const wrong: string[] = []
  let allowed = 0
  let refused = 0
  for (const status of MISSION_STATUSES) {
    for (const event of EVENTS) {
      for (const cause of CAUSES) {
        const { ledger, id, written, mission } = stood(status)
        const before = mission()
        if (before.status !== status) wrong.push(`it stands ${before.status}, not ${status}`)
        const { epoch } = before
        const fact = (_: string, ep?: number): FactDraft => {
          const draft = draftOf(event, epoch)
          const actor = cause === 'attempt' ? draft.actor : { kind: actors[cause], name: 'x' }
          return { ...draft, actor, mid: id, ...(ep === undefined ? {} : { ep }) }
        }
        // Whatever is claimed is claimed by the ledger's own hand.
        const isClaim = event === 'claimed' && cause === 'daemon'
        const work = isClaim
          ? ledger.claim(id, () => ({ claim: true, queueWaitMs: 0, starts: [] }))
          : cause === 'attempt'
            ? ledger.write(id, epoch, [{ fact }])
            : ledger.change(id, event, () => ({ fact }))
        const end = await work.then(
          (after) => after?.status ?? 'left alone',
          (error) => (error instanceof StaleAttempt ? 'stale' : error.code),
        )
        const move = transition(status, event)
        const may = move !== undefined && mayCause(move, cause)
        const isRefused = /^(MISSION_WRONG_STATE|PERMISSION_DENIED|stale|left alone)$/.test(end)
        const isUntouched = written.length === 0 && mission() === before
        if (may ? end !== move.to : !isRefused || !isUntouched) {
          wrong.push(`${status}, ${event} by ${cause}: ${end}`)
        }
        if (may) allowed += 1
        else refused += 1
      }
    }
  }
  t.strictSame(wrong, [])
  t.strictSame([allowed, refused], [23, 457])
})

t.test('a batch is checked as a whole, and stands in one append', async (t) => {
  const { ledger, id, written, mission } = stood('running')
  const started = decided(
    'mission.step_started',
    { kind: 'daemon', name: 'x' },
    {
      ...{ step: 'first', uses: 'cortex/echo/say', try: 1, idempotent: true },
    },
  )
  const wrong = { fact: () => draftOf('approved', 0) }
  t.equal(await codeOf(ledger.write(id, 1, [started, wrong])), 'MISSION_WRONG_STATE')
  t.strictSame(written, [], 'nothing of it')
  await ledger.write(id, 1, [started, { fact: () => ({ ...draftOf('completed', 1), mid: id }) }])
  t.strictSame(written, ['mission.step_started', 'mission.ended'])
  t.equal(mission().status, 'completed')
})

t.test('what an action says is seen while it runs, and told at most five times a second', async (t) => {
  const world = new World()
  const speak: ActionOrder[] = []
  world.action('cortex/echo/say', (order) => new Promise(() => speak.push(order)), { idempotent: true })
  const missions = await world.start()
  const heard: unknown[] = []
  const stop = missions.onProgress((id, progress) => heard.push([id === mission.mission_id, progress.note]))
  const { mission } = await missions.create(anna, body({ plan: [{ id: 'only', uses: 'cortex/echo/say' }] }))
  await settle()
  const id = mission.mission_id
  for (const n of [1, 2, 3]) speak[0]?.progress?.(n / 10, `word ${n}`)
  const during = await missions.get(id)
  await world.clock.pass(200)
  for (const n of [4, 5]) speak[0]?.progress?.(n / 10, `word ${n}`)
  const cancelled = missions.cancel(anna, { mission_id: id })
  await world.clock.pass(4_000)
  await cancelled
  const after = await missions.get(id)
  stop()

  t.strictSame(during.progress, {
    step: 'only',
    fraction: 0.3,
    note: 'word 3',
    at: '2026-11-22T10:00:00.000Z',
  })
  t.match(await missions.explain(id), { state: 'cancelled' })
  t.strictSame(heard, [
    [true, 'word 1'],
    [true, 'word 3'],
    [true, 'word 5'],
  ])
  t.equal(after.progress, undefined)
  t.strictSame(
    types(world).filter((type) => /progress/.test(type)),
    [],
    'no record',
  )
})

t.test('the last word is told when the mission ends, however soon', async (t) => {
  const world = new World()
  world.action('cortex/echo/say', ({ progress }) => {
    for (const fraction of [0.1, 0.2, 1]) progress?.(fraction, undefined)
  })
  const missions = await world.start()
  const heard: unknown[] = []
  missions.onProgress((_, { fraction, note }) => heard.push([fraction, note]))
  await missions.create(anna, body({ plan: [{ id: 'only', uses: 'cortex/echo/say' }] }))
  await settle()
  const soon = [...heard]
  await world.clock.pass(1_000)

  t.strictSame(soon, [
    [0.1, null],
    [1, null],
  ])
  t.strictSame(heard, soon, 'and not again')
})

t.test('a late answer is counted with its mission', async (t) => {
  const world = new World()
  const answer = Promise.withResolvers<string>()
  world.action('cortex/echo/say', () => answer.promise)
  const missions = await world.start()
  const order = body({
    plan: [{ id: 'only', uses: 'cortex/echo/say' }],
    constraints: { max_time_seconds: 1 },
  })
  const { mission } = await missions.create(anna, order)
  await world.clock.pass(4_000)
  const before = await missions.get(mission.mission_id)
  answer.resolve('late')
  await settle()

  t.strictSame(before.late_answers, undefined)
  t.strictSame((await missions.get(mission.mission_id)).late_answers, { refused: 1, epoch: 1 })
  t.equal(missions.counters().staleRefused, 1)
})

t.test(
  'artifacts have limits for each mission, a type, and of two with one name the later stays',
  async (t) => {
    const world = new World()
    const file = (name: string, bytes = 10, media_type = 'application/octet-stream') => ({
      ...{ name, bytes, media_type, sha256: name.padEnd(64, '0') },
    })
    const given = new Map<string, ReturnType<typeof file>[]>([
      ['a', [file('report.md'), file('data.bin'), file('page', 10, 'text/html')]],
      ['b', [file('report.md', 20), file('x.json', 10, 'not a type')]],
    ])
    const left: unknown[] = []
    const behave = ({ mission, artifactsMax }: ActionOrder): string => {
      left.push(artifactsMax)
      world.artifacts = given.get(mission?.step ?? '') ?? []
      return 'done'
    }
    world.action('cortex/echo/once', behave)
    const run = async (...ids: string[]) => {
      const plan = ids.map((id) => ({ id, uses: 'cortex/echo/once' }))
      const { mission } = await missions.create(anna, body({ plan }))
      return later(missions, mission.mission_id)
    }
    const missions = await world.start()
    const done = await run('a', 'b')
    given.set(
      'many',
      Array.from({ length: 101 }, (_, n) => file(`f${n}`)),
    )
    given.set('large', [file('large', 64 * 1024 * 1024 + 1)])
    const refused = [await run('many'), await run('a', 'large')]

    t.strictSame(
      done.artifacts.map(({ name, bytes, media_type }) => [name, bytes, media_type]),
      [
        ['report.md', 20, 'text/markdown; charset=utf-8'],
        ['data.bin', 10, 'application/octet-stream'],
        ['page', 10, 'text/html'],
        ['x.json', 10, 'application/json'],
      ],
    )
    t.strictSame(left.slice(0, 2), [
      { count: 100, bytes: 67_108_864 },
      { count: 97, bytes: 67_108_834 },
    ])
    for (const one of refused)
      t.match(one, { status: 'failed', error: { code: 'ARTIFACTS_EXCEEDED' }, epoch: 1 })
  },
)
