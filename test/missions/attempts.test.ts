import t from 'tap'
import { anna, body, later, types, World } from './world.ts'

t.test('a SAFE mission runs its steps in order, and its result is the output of the last', async (t) => {
  const world = new World()
  const missions = await world.start()
  const { created, mission } = await missions.create(anna, body())
  const done = await later(missions, mission.mission_id)

  t.strictSame(
    { created, status: done.status, result: done.result, epoch: done.epoch },
    { created: true, status: 'completed', result: { again: ['a', 'b'] }, epoch: 1 },
  )
  t.strictSame(types(world), [
    'created',
    'claimed',
    'step_started',
    'step_finished',
    'step_started',
    'step_finished',
    'ended',
  ])
})
