import t from 'tap'
import { NexusError } from '../../daemon/contracts/failure.ts'
import { anna, BORDERLINE, body, codeOf, later, operator, World } from './world.ts'

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
