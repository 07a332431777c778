import t from 'tap'
import type { Fact } from '../../daemon/contracts/fact.ts'
import { NexusError } from '../../daemon/contracts/failure.ts'
import type { ScheduleMaintenance } from '../../daemon/contracts/maintenance.ts'
import { nextTime } from '../../daemon/maintenance/cron.ts'
import { SCHEDULES_MAX } from '../../daemon/maintenance/maintenance.ts'
import { judgeDue, type Timetable } from '../../daemon/maintenance/timetable.ts'
import { KEY, World } from './world.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const NIGHTLY: ScheduleMaintenance = { task: 'verify', schedule: '30 2 * * *', timezone: 'UTC' }
const iso = (ms: number | undefined) => (ms === undefined ? undefined : new Date(ms).toISOString())

async function opened(startMs?: number): Promise<World> {
  const world = new World(startMs)
  await world.room.recover()
  return world
}

function timesOf(pattern: string, zone: string, from: string, count: number): (string | undefined)[] {
  const times: (string | undefined)[] = []
  let atMs: number | undefined = Date.parse(from)
  while (times.length < count && atMs !== undefined) {
    atMs = nextTime(pattern, zone, atMs)
    times.push(iso(atMs))
  }
  return times
}

t.test('a wish that cannot be is refused, with the field and an example', async (t) => {
  const world = await opened()
  const refused: [Partial<ScheduleMaintenance>, string, RegExp][] = [
    [{ schedule: '61 * * * *' }, '/schedule', /cannot be read: .*minute: 61; "30 2 \* \* \*"/],
    [{ schedule: '* * * * * *' }, '/schedule', /five fields/],
    [{ schedule: '2027-01-01T00:00:00' }, '/schedule', /five fields/],
    [{ schedule: 'often' }, '/schedule', /five fields/],
    [{ schedule: '0 0 30 2 *' }, '/schedule', /no time that ever comes/],
    [{ schedule: '0 0 * * *', timezone: 'Mars/Base' }, '/timezone', /Mars\/Base; one is Europe\/Berlin/],
    [{ timezone: 'UTC' }, '/timezone', /is for a `schedule`/],
    [{ schedule: '0 0 * * *', at: '2099-01-01T00:00:00Z' }, '/at', /goes without `schedule`/],
    [{ at: '2027-02-01T00:00:00Z' }, '/at', /is over already/],
  ]
  for (const [wish, pointer, detail] of refused) {
    const error = await world.room.schedule({ task: 'verify', ...wish }, KEY).then(
      () => undefined,
      (cause: NexusError) => cause,
    )
    t.match(error, { code: 'BAD_REQUEST', issues: [{ pointer, detail }] }, JSON.stringify(wish))
  }
  await t.rejects(world.room.schedule({ task: 'compact' }, KEY), { code: 'NOT_AVAILABLE' })
  t.strictSame([world.facts.length, world.clock.waiting], [0, 0], 'nothing was written, nothing ticks')
})

t.test('in the nights of the clock change half past two comes once', async (t) => {
  t.strictSame(timesOf('30 2 * * *', 'Europe/Berlin', '2027-03-26T12:00:00Z', 3), [
    '2027-03-27T01:30:00.000Z',
    '2027-03-28T01:00:00.000Z',
    '2027-03-29T00:30:00.000Z',
  ])
  t.strictSame(timesOf('30 2 * * *', 'Europe/Berlin', '2027-10-30T12:00:00Z', 2), [
    '2027-10-31T00:30:00.000Z',
    '2027-11-01T01:30:00.000Z',
  ])
  t.strictSame(timesOf('@daily', 'America/New_York', '2027-03-26T12:00:00Z', 1), ['2027-03-27T04:00:00.000Z'])
})

t.test('what is due is judged by the wall clock alone', async (t) => {
  const createdMs = Date.UTC(2027, 2, 1)
  const hourly: Timetable = { schedule: '0 * * * *', timezone: 'UTC', missed: 'once', createdMs }
  const at = (hours: number, more: number) => createdMs + hours * HOUR + more
  t.strictSame(judgeDue(hourly, at(0, 1)), { now: 'nothing', nextMs: at(1, 0) })
  t.strictSame(judgeDue(hourly, at(1, 0)), { now: 'run', dueMs: at(1, 0) })
  t.strictSame(judgeDue(hourly, at(1, MINUTE)), { now: 'run', dueMs: at(1, 0) })
  t.strictSame(judgeDue(hourly, at(1, MINUTE + 1)), { now: 'once', dueMs: at(1, 0), count: 1 })
  t.strictSame(judgeDue({ ...hourly, missed: 'skip' }, at(5, 1)), { now: 'skip', dueMs: at(1, 0), count: 5 })
  t.strictSame(
    judgeDue({ ...hourly, seenMs: at(5, 0) }, at(2, 0)),
    { now: 'nothing', nextMs: at(6, 0) },
    'a clock that was put back brings nothing twice',
  )
  const month = judgeDue({ ...hourly, schedule: '* * * * *' }, createdMs + 31 * 24 * HOUR)
  t.match(month, { count: 1_000 }, 'counting ends')
  const once: Timetable = { atMs: at(1, 0), missed: 'once', createdMs }
  t.strictSame(judgeDue({ ...once, seenMs: at(1, 0) }, at(9, 0)), { now: 'nothing', nextMs: undefined })
})

t.test('a run that is ordered now is a mission at once, and its end is kept', async (t) => {
  const world = await opened()
  const answer = await world.room.schedule({ task: 'verify' }, KEY)
  t.match(answer, { task: 'verify', mission_id: 'm-1', decision: 'SAFE', status: 'queued' })
  t.match(world.facts[1]?.d, {
    category: 'sanctuary',
    max_attempts: 1,
    plan: [
      {
        uses: 'autonomic/janitor/maintain',
        with: { task: 'verify', maintenance_id: answer.maintenance_id },
      },
    ],
  })
  t.match(world.room.get(answer.maintenance_id), { running: 'm-1', next_run: null, last: null })
  await world.work('m-1')
  t.match(world.room.get(answer.maintenance_id), {
    running: null,
    next_run: null,
    created_by: 'operator-1',
    last: { mission_id: 'm-1', outcome: 'completed', result: { records: 3 } },
  })
  t.strictSame(world.wrote('outcome'), [
    ['scheduled', undefined],
    ['ended', 'completed'],
  ])
  t.equal(world.clock.waiting, 0, 'with nothing scheduled nothing ticks')
})

t.test('each night has its run, and nobody else may do the work', async (t) => {
  const world = await opened()
  const { maintenance_id: id, next_run } = await world.room.schedule(NIGHTLY, KEY)
  t.equal(next_run, '2027-03-02T02:30:00.000Z')
  t.throws(() => world.room.carryOut('verify', id), { code: 'MAINTENANCE_NOT_DUE' }, 'before it is due')
  await world.clock.pass(14.5 * HOUR - 1)
  t.equal(world.missions.size, 0)
  await world.clock.pass(1)
  t.strictSame(world.ids, ['m-1'])
  t.throws(() => world.room.carryOut('snapshot', id), { code: 'MAINTENANCE_NOT_DUE' }, 'another task')
  await world.work('m-1')
  t.throws(() => world.room.carryOut('verify', id), { code: 'MAINTENANCE_NOT_DUE' }, 'when it is over')
  await world.clock.pass(49 * HOUR)
  t.strictSame(world.ids, ['m-1', 'm-2'], 'the second has not ended, so the third waits')
  await world.work('m-2')
  t.strictSame(world.ids, ['m-1', 'm-2', 'm-3'])
  t.match(world.room.get(id), { missed_runs: 1, next_run: '2027-03-05T02:30:00.000Z' })
})

t.test('BORDERLINE is cleared by the key that ordered it, FAILING is not', async (t) => {
  const world = await opened()
  world.decision = 'BORDERLINE'
  const { maintenance_id: id } = await world.room.schedule(NIGHTLY, KEY)
  const digest = String(world.facts[0]?.d['digest']).slice(0, 16)
  await world.clock.pass(15 * HOUR)
  t.strictSame(world.approvals, [
    `m-1 operator-1 cleared when ${id} was ordered at 2027-03-01T12:00:00.000Z (digest ${digest}…)`,
  ])
  await world.work('m-1')
  t.match(world.room.get(id).last, { outcome: 'completed' })

  world.decision = 'FAILING'
  await world.clock.pass(24 * HOUR)
  t.equal(world.approvals.length, 1)
  t.match(world.room.get(id), {
    running: null,
    last: { outcome: 'blocked', because: 'G0: the module is locked' },
  })
  t.equal(world.missions.get('m-2')?.status, 'cancelled', 'nothing is left that could be overridden')

  world.decision = 'SAFE'
  await world.clock.pass(24 * HOUR)
  await world.rejudge('m-3')
  t.match(world.approvals.at(-1), /^m-3 /, 'judged again while it waited')
  await world.work('m-3')
  await world.clock.pass(24 * HOUR)
  await world.rejudge('m-4', 'FAILING')
  t.equal(world.approvals.length, 2, 'locked while it waited')
  t.match(world.room.get(id), { running: null, last: { mission_id: 'm-4', outcome: 'blocked' } })
})

t.test('a schedule that was removed clears nothing any more', async (t) => {
  const world = await opened()
  const { maintenance_id: id } = await world.room.schedule(NIGHTLY, KEY)
  await world.clock.pass(15 * HOUR)
  t.strictSame(await world.room.remove(id, KEY), { maintenance_id: id, removed: true })
  world.decision = 'BORDERLINE'
  await world.rejudge('m-1')
  t.strictSame([world.approvals, world.missions.get('m-1')?.status], [[], 'cancelled'])
  t.throws(() => world.room.get(id), { code: 'MAINTENANCE_UNKNOWN' })
  await t.rejects(world.room.remove(id, KEY), { code: 'MAINTENANCE_UNKNOWN' })
  t.equal(world.clock.waiting, 0)
  await world.clock.pass(72 * HOUR)
  t.equal(world.missions.size, 1)
})

t.test('there are never two runs of one task', async (t) => {
  const world = await opened()
  await world.room.schedule({ task: 'verify' }, KEY)
  await t.rejects(world.room.schedule({ task: 'verify' }, KEY), { code: 'MAINTENANCE_UNDER_WAY' })
  await world.room.schedule({ task: 'snapshot' }, KEY)
  t.equal(world.missions.size, 2)

  const twice = await opened()
  await twice.room.schedule(NIGHTLY, KEY)
  await twice.room.schedule({ ...NIGHTLY, missed: 'skip' }, KEY)
  await twice.clock.pass(15 * HOUR)
  t.strictSame(twice.ids, ['m-1'])
  await twice.work('m-1')
  t.strictSame(twice.ids, ['m-1'], 'the other waited too long for the first, and skips')
  t.strictSame(twice.wrote('did').slice(2), [
    ['missed', 'skip'],
    ['ended', undefined],
  ])
})

t.test('the work is done once for a run, however often it is asked for', async (t) => {
  const world = await opened()
  let begun = 0
  const done = Promise.withResolvers<object>()
  let aborted = 0
  world.upkeep = {
    verify: (signal) => {
      begun += 1
      signal.addEventListener('abort', () => (aborted += 1))
      return done.promise
    },
  }
  const { maintenance_id: id } = await world.room.schedule({ task: 'verify' }, KEY)
  const first = world.room.carryOut('verify', id)
  await world.clock.pass(120_000)
  t.strictSame(await first, { done: false }, 'it is to be asked again')
  const second = world.room.carryOut('verify', id)
  done.resolve({ records: 9 })
  t.strictSame(await second, { done: true, result: { records: 9 } })
  t.strictSame(await world.room.carryOut('verify', id), { done: true, result: { records: 9 } })
  t.equal(begun, 1)

  await world.end('m-1', 'cancelled')
  t.match(world.room.get(id).last, { outcome: 'cancelled' })
  t.strictSame([begun, aborted], [1, 1])
})

t.test('what was cancelled stops before the next run of its task begins', async (t) => {
  const world = await opened()
  const order: string[] = []
  const slow = Promise.withResolvers<object>()
  world.upkeep = {
    verify: async (signal) => {
      order.push('begins')
      signal.addEventListener('abort', () => order.push('is told'))
      await slow.promise
      order.push('has stopped')
      return {}
    },
  }
  const { maintenance_id: id } = await world.room.schedule({ task: 'verify' }, KEY)
  const lost = world.room.carryOut('verify', id)
  await world.clock.pass(0)
  await world.end('m-1', 'cancelled')
  const next = await world.room.schedule({ task: 'verify' }, KEY)
  const work = world.room.carryOut('verify', next.maintenance_id)
  await world.clock.pass(0)
  t.strictSame(order, ['begins', 'is told'])
  slow.resolve({})
  await Promise.all([lost, work])
  t.strictSame(order, ['begins', 'is told', 'has stopped', 'begins', 'has stopped'])
})

t.test('work that fails ends its run as failed, and the next night is another try', async (t) => {
  const world = await opened()
  world.upkeep = {
    verify: async () => {
      throw new NexusError('JOURNAL_BUSY', { limit: 1 })
    },
  }
  const { maintenance_id: id } = await world.room.schedule(NIGHTLY, KEY)
  await world.clock.pass(15 * HOUR)
  await world.work('m-1')
  t.match(world.room.get(id).last, { outcome: 'failed' })
  await world.clock.pass(24 * HOUR)
  t.strictSame(world.ids, ['m-1', 'm-2'])
})

for (const from of ['facts', 'snapshot'] as const) {
  t.test(`runs that were missed while it was down are one, or none (from the ${from})`, async (t) => {
    const world = await opened()
    const once = await world.room.schedule(NIGHTLY, KEY)
    const skip = await world.room.schedule(
      { task: 'snapshot', schedule: '0 * * * *', timezone: 'UTC', missed: 'skip' },
      KEY,
    )
    const late = await world.room.schedule(
      { task: 'verify', at: '2027-03-02T12:00:00Z', missed: 'skip' },
      KEY,
    )
    await world.restart(72 * HOUR, from)
    t.strictSame(world.ids, ['m-1'])
    t.match(world.room.get(once.maintenance_id), {
      running: 'm-1',
      missed_runs: 3,
      next_run: '2027-03-05T02:30:00.000Z',
    })
    t.match(world.room.get(skip.maintenance_id), { missed_runs: 72, next_run: '2027-03-04T13:00:00.000Z' })
    t.match(world.room.get(late.maintenance_id), { missed_runs: 1, next_run: null, last: null })
    await world.restart(0, from)
    t.strictSame(world.ids, ['m-1'], 'and not once more')
    t.match(world.room.get(once.maintenance_id), { missed_runs: 3 })
  })
}

t.test('a crash between any two records neither loses a run nor makes a second', async (t) => {
  // A whole life: ordered, due, made, cleared, done; cut behind each of its records.
  const whole = async (cutAt: number) => {
    const world = await opened()
    world.decision = 'BORDERLINE'
    const append = world.append.bind(world)
    world.append = async (draft) => {
      if (world.facts.length === cutAt) world.isDead = true
      return append(draft)
    }
    void world.room.schedule({ task: 'verify' }, KEY).catch(() => undefined)
    await world.clock.pass(0)
    if (world.missions.get('m-1')?.status === 'queued') void world.work('m-1')
    await world.clock.pass(0)
    const records = world.facts.length
    world.append = append
    await world.restart(5_000)
    if (world.missions.get('m-1')?.status === 'queued') await world.work('m-1')
    return { world, records }
  }
  const { records } = await whole(99)
  t.equal(records, 4, 'scheduled, created, ended of the mission, ended')
  for (let cutAt = 1; cutAt <= records; cutAt += 1) {
    const { world } = await whole(cutAt)
    const { maintenance } = world.room.list()
    t.match(
      maintenance,
      [{ running: null, last: { mission_id: 'm-1', outcome: 'completed' } }],
      `cut at ${cutAt}`,
    )
    t.strictSame([world.missions.size, world.approvals.length, world.bugs], [1, 1, []])
    t.equal(world.wrote().filter(([type]) => type === 'ended').length, 1)
  }
})

t.test('the end of a run is written once, whoever finds it', async (t) => {
  const world = await opened()
  await world.room.schedule({ task: 'verify' }, KEY)
  const mission = world.missions.get('m-1')
  if (mission !== undefined) mission.status = 'completed'
  await Promise.all([world.room.recover(), world.room.recover(), world.end('m-1', 'completed')])
  t.strictSame(world.wrote('mission_id'), [
    ['scheduled', undefined],
    ['ended', 'm-1'],
  ])
})

t.test('the wall clock may jump', async (t) => {
  const world = await opened()
  const { maintenance_id: id } = await world.room.schedule(NIGHTLY, KEY)
  world.clock.jump(15 * HOUR)
  await world.clock.pass(MINUTE)
  t.strictSame(world.ids, ['m-1'], 'forward: found out within a minute')
  t.match(world.room.get(id), { missed_runs: 1 })
  await world.work('m-1')
  world.clock.jump(-3 * HOUR)
  await world.clock.pass(20 * HOUR)
  t.strictSame(world.ids, ['m-1'], 'back: the same night does not come again')
  await world.clock.pass(8 * HOUR)
  t.strictSame(world.ids, ['m-1', 'm-2'])
})

t.test('a queue without room is tried again, a bug is not hidden', async (t) => {
  const world = await opened()
  const { maintenance_id: id } = await world.room.schedule(NIGHTLY, KEY)
  world.refusal = new NexusError('QUEUE_FULL', { limit: 1 })
  await world.clock.pass(14.5 * HOUR)
  t.match([world.missions.size, world.warnings], [0, [new RegExp(id)]])
  await world.clock.pass(10_000)
  t.match([world.ids, world.room.get(id).missed_runs, world.bugs], [['m-1'], 0, []])
})

t.test('a hundred schedules are kept, and a hundred ended runs are remembered', async (t) => {
  const world = await opened()
  for (let n = 0; n < SCHEDULES_MAX; n += 1) await world.room.schedule(NIGHTLY, KEY)
  await t.rejects(world.room.schedule(NIGHTLY, KEY), { code: 'MAINTENANCE_FULL' })

  const busy = await opened()
  for (let n = 1; n <= 120; n += 1) {
    await busy.room.schedule({ task: 'verify' }, KEY)
    await busy.work(`m-${n}`)
  }
  const { maintenance, count } = busy.room.list()
  t.strictSame(
    [count, maintenance[0]?.last?.mission_id, maintenance.at(-1)?.last?.mission_id],
    [100, 'm-21', 'm-120'],
  )
})

t.test('nobody but the scheduler makes a run', async (t) => {
  const world = await opened()
  const { maintenance_id: id } = await world.room.schedule(NIGHTLY, KEY)
  const forged: Pick<Fact, 'actor' | 'd'> = {
    actor: { kind: 'token', name: 'scheduler' },
    d: { idempotency: { key: `${id}@2027-03-01T12:00:00.000Z` } },
  }
  await world.append({ type: 'mission.created', mid: 'm-x', ...forged })
  t.throws(() => world.room.carryOut('verify', id), { code: 'MAINTENANCE_NOT_DUE' })
})
