import t from 'tap'
import type { Fact } from '../../daemon/contracts/fact.ts'
import { NexusError } from '../../daemon/contracts/failure.ts'
import { seededChance } from '../../daemon/kit/chance.ts'
import { anna, BORDERLINE, body, codeOf, later, operator, World } from '../missions/world.ts'
import { draft, emptyDisk, openOn } from '../storage/kit.ts'
import { settle } from '../support/test-clock.ts'
import { scheduleOf } from './check.ts'
import { noFigures, play } from './simulation.ts'
import { takeTurns } from './turns.ts'

// What the simulation has found, each as small as it can be.

t.test('what a start shows is durable, also when the last process died before its sync', async (t) => {
  const disk = emptyDisk()
  const first = await openOn(disk)
  await first.journal.append(draft(1))
  disk.fault = ({ op }) => (op === 'datasync' ? { crash: 'before' } : undefined)
  void first.journal.append(draft(2)) // never answered
  await settle()
  const killed = disk.afterKillUnsynced()
  const second = await openOn(killed)
  const shown = second.facts.length
  const third = await openOn(killed.afterCrash('nothing', seededChance(1)))

  t.strictSame([shown, third.facts.length], [2, 2])
})

t.test('a segment that was moved and not synced is there after the next crash', async (t) => {
  const options = { segmentBytesMax: 300 }
  const disk = emptyDisk()
  const first = await openOn(disk, options)
  for (const n of [1, 2]) await first.journal.append(draft(n))
  let isMoved = false
  disk.fault = ({ op }) => {
    if (isMoved && op === 'syncDir') return { crash: 'before' }
    isMoved ||= op === 'rename'
    return undefined
  }
  for (const n of [3, 4, 5]) void first.journal.append(draft(n)) // answered until the rename only
  await settle()
  t.ok(isMoved && disk.isHalted, 'it died while it sealed')
  const killed = disk.afterKillUnsynced()
  const second = await openOn(killed, options)
  await second.journal.append(draft(6))
  const third = await openOn(killed.afterCrash('nothing', seededChance(1)), options)
  t.equal(third.journal.head.seq, second.journal.head.seq)
})

t.test('a claim that finds the disk full is made again', async (t) => {
  const world = new World()
  const missions = await world.start()
  let refused = 0
  world.journal.before = ([first]) => {
    if (first?.type !== 'mission.claimed' || refused > 0) return
    refused += 1
    world.journal.failing = [new NexusError('JOURNAL_FULL', { reason: 'ENOSPC' })]
  }
  const { mission } = await missions.create(anna, body())
  await world.clock.pass(5_000)
  t.match(await later(missions, mission.mission_id), { status: 'completed' })
})

t.test('an approval that ran out is not taken before the work was taken up either', async (t) => {
  const world = new World()
  world.verdict = () => BORDERLINE
  const missions = await world.start()
  const { mission } = await missions.create(anna, body())
  world.clock.jump(8 * 86_400_000)
  const facts: readonly Fact[] = world.journal.facts
  const next = new World()
  next.clock.jump(8 * 86_400_000)
  next.verdict = () => BORDERLINE
  next.journal.facts.push(...facts)
  const listening = next.boot()
  t.equal(
    await codeOf(listening.approve(operator, { mission_id: mission.mission_id })),
    'MISSION_WRONG_STATE',
  )
  t.match(await listening.get(mission.mission_id), { status: 'expired' })
})

t.test(
  'a mission that is let run while the work is taken up is offered twice, and can be cancelled',
  async (t) => {
    const before = new World()
    before.verdict = () => BORDERLINE
    const { mission } = await (await before.start()).create(anna, body())
    const world = new World()
    world.journal.facts.push(...before.journal.facts)
    world.verdict = () => BORDERLINE
    world.action('cortex/echo/say', ({ signal }) => {
      return new Promise((_, reject) => {
        signal?.addEventListener('abort', () => reject(new NexusError('CALL_ABORTED')), { once: true })
      })
    })
    const missions = world.boot()
    // The approval is on record, and who gave it has not been told yet.
    world.journal.listeners.push(({ type }) => {
      if (type === 'mission.approved') void missions.recover()
    })
    await missions.approve(operator, { mission_id: mission.mission_id })
    t.match(await later(missions, mission.mission_id), { status: 'running' })
    t.match(await missions.cancel(operator, { mission_id: mission.mission_id }), { status: 'cancelled' })
    t.equal(world.journal.facts.filter(({ type }) => type === 'mission.claimed').length, 1)
  },
)

t.test(
  'what ran out of time beside a step with no known end is asked about too, and not done again',
  async (t) => {
    for (const [resume, steps] of [
      ['skip', ['a', 'b', 'c']],
      ['retry', ['a', 'b', 'a', 'b', 'c']],
    ] as const) {
      const world = new World()
      let fails = true
      const failing = (code: 'CALL_EXPIRED' | 'CALL_CUT') => async (): Promise<string> => {
        if (fails) throw new NexusError(code, { module: 'cortex/echo', action: code, timeout_ms: 1 })
        return 'done'
      }
      world.action('cortex/echo/a', failing('CALL_EXPIRED')).action('cortex/echo/b', failing('CALL_CUT'))
      const plan = [
        ...['a', 'b'].map((id) => ({ id, uses: `cortex/echo/${id}`, needs: [] })),
        { id: 'c', uses: 'cortex/echo/once', needs: ['a', 'b'] },
      ]
      const missions = await world.start()
      const { mission } = await missions.create(anna, body({ plan }))
      const { mission_id } = mission
      t.match(await later(missions, mission_id), {
        status: 'interrupted',
        steps: [{ status: 'unknown' }, { status: 'unknown' }, { status: 'pending' }],
      })
      fails = false
      await missions.run(operator, { mission_id, resume })
      t.match(await missions.get(mission_id), { status: 'completed' })
      t.strictSame(world.steps, steps)
    }
  },
)

t.test(
  'an approval waits for its whole time, however slow the disk was and whatever the wall clock did',
  async (t) => {
    const giveBack = takeTurns()
    const figures = noFigures()
    try {
      await play(scheduleOf('0.kbc4.654s.51ky.ao6c.0'), figures)
    } finally {
      giveBack()
    }
    t.ok(figures.checks > 0)
  },
)
