import t from 'tap'
import type { Missions } from '../../daemon/missions/missions.ts'
import type { ActionOrder, MissionPorts } from '../../daemon/missions/port.ts'
import { settle } from '../support/test-clock.ts'
import { anna, BORDERLINE, body, later, operator, types, World } from './world.ts'

const ECHO = 'cortex/echo'

/** A world in which omens limit how many missions use a module. */
class OmenedWorld extends World {
  readonly limits = new Map<string, number>()
  /** Calls that wait for `go`. */
  readonly open: (() => void)[] = []

  constructor() {
    super()
    this.action(`${ECHO}/wait`, () => new Promise((done) => this.open.push(() => done({}))), {
      concurrency: 9,
    })
  }

  override ports(): MissionPorts {
    const ports = super.ports()
    const module: MissionPorts['calls']['module'] = (id) => {
      const max = this.limits.get(id)
      return { ...ports.calls.module(id), locked: max === 0, ...(max !== undefined && { missionsMax: max }) }
    }
    return { ...ports, calls: { ...ports.calls, module } }
  }

  limit(missions: Missions, max: number | undefined, id = ECHO): void {
    if (max === undefined) this.limits.delete(id)
    else this.limits.set(id, max)
    missions.moduleChanged(id)
  }

  async go(): Promise<void> {
    this.open.shift()?.()
    await settle()
  }
}

const WAIT = { plan: [{ id: 'wait', uses: `${ECHO}/wait` }], input: {} }

/** A mission that an operator has approved. */
async function approved(missions: Missions, more: object = WAIT): Promise<string> {
  const { mission } = await missions.create(anna, body(more))
  await missions.approve(operator, { mission_id: mission.mission_id })
  await settle()
  return mission.mission_id
}

async function house(max?: number): Promise<{ world: OmenedWorld; missions: Missions }> {
  const world = new OmenedWorld()
  world.verdict = () => BORDERLINE
  const missions = await world.start()
  if (max !== undefined) world.limit(missions, max)
  return { world, missions }
}

const statuses = (missions: Missions, ids: readonly string[]): Promise<string[]> =>
  Promise.all(ids.map(async (id) => (await missions.get(id)).status))

t.test('at intervene one mission of a module runs, the others stay queued and say why', async (t) => {
  const { world, missions } = await house(1)
  const ids = [await approved(missions), await approved(missions), await approved(missions)]
  t.strictSame(await statuses(missions, ids), ['running', 'queued', 'queued'])
  t.match(missions.counters(), { running: 1, depth: { coin: 2 } })
  t.match(await missions.explain(ids[2] ?? ''), {
    blocked_on: 'cortex/echo: an omen lets 1 of its missions run at a time',
    next: 'it runs when the one before it has ended',
    remedy: 'see `nexus explain cortex/echo`',
  })
  await world.go()
  t.strictSame(await statuses(missions, ids), ['completed', 'running', 'queued'])
  world.limit(missions, undefined)
  await settle()
  t.strictSame(await statuses(missions, ids), ['completed', 'running', 'running'], 'the omen is over')
})

t.test('those that wait for a module take no place from others in their lane', async (t) => {
  const { world, missions } = await house(1)
  world.action('cortex/other/say', () => ({}))
  for (let n = 0; n < 6; n += 1) await approved(missions)
  const other = await approved(missions, { plan: [{ id: 'say', uses: 'cortex/other/say' }], input: {} })
  t.match(await later(missions, other), { status: 'completed' })
})

t.test('what nobody approved goes back to an operator at once, though the module is taken', async (t) => {
  const { world, missions } = await house()
  await approved(missions)
  world.limit(missions, 1)
  world.verdict = () => ({})
  const soon = { ...WAIT, not_before: new Date(world.clock.now() + 1_000).toISOString() }
  const { mission } = await missions.create(anna, body(soon))
  t.equal(mission.status, 'queued')
  world.verdict = () => ({ ...BORDERLINE, gates: [{ gate: 'G5', because: 'an omen' }] })
  await world.clock.pass(1_000)
  t.match(await later(missions, mission.mission_id), { status: 'awaiting_approval', decision: 'BORDERLINE' })
})

t.test(
  'a lock stops a running mission before its next step: it goes back into the queue, and on from there',
  async (t) => {
    const { world, missions } = await house()
    const plan = [WAIT.plan[0], { id: 'say', uses: `${ECHO}/say`, needs: ['wait'] }]
    const id = await approved(missions, { plan, input: {} })
    world.limit(missions, 0)
    await world.go()
    t.match(await later(missions, id), {
      status: 'queued',
      steps: [{ status: 'completed' }, { status: 'pending' }],
    })
    t.strictSame(types(world).slice(-2), ['step_finished', 'attempt_ended'])
    t.match(world.journal.facts.at(-1)?.d, { outcome: 'cut' })
    t.match(await missions.explain(id), {
      blocked_on: 'cortex/echo, which an omen locked',
      remedy: /nexus explain/,
    })
    world.limit(missions, undefined)
    t.match(await later(missions, id), { status: 'completed', epoch: 2 })
    t.strictSame(
      world.calls.map(({ action }: ActionOrder) => action),
      ['wait', 'say'],
      'no step ran twice',
    )
  },
)

t.test('a lock does not stop the last step, nor a mission that has no step of the module left', async (t) => {
  const { world, missions } = await house()
  world.action('cortex/other/say', () => ({}))
  const last = await approved(missions)
  const past = await approved(missions, {
    plan: [WAIT.plan[0], { id: 'say', uses: 'cortex/other/say', needs: ['wait'] }],
    input: {},
  })
  world.limit(missions, 0)
  await world.go()
  await world.go()
  t.strictSame(await statuses(missions, [last, past]), ['completed', 'completed'])
})

t.test(
  'nothing is claimed of a locked module, approved, overridden or retried, until it is opened',
  async (t) => {
    const { world, missions } = await house()
    const before = await approved(missions)
    world.limit(missions, 0)
    const ids = [await approved(missions)]
    world.verdict = () => ({ decision: 'FAILING', score: 0 })
    const { mission } = await missions.create(anna, body(WAIT))
    const wish = { mission_id: mission.mission_id, override: true, reason: 'I know', wait_ms: 0 }
    await missions.run(operator, wish)
    ids.push(mission.mission_id)
    await world.go()
    t.strictSame(await statuses(missions, [before, ...ids]), ['completed', 'queued', 'queued'])
    t.equal(world.calls.length, 1)
    world.limit(missions, undefined)
    await settle()
    t.strictSame(await statuses(missions, ids), ['running', 'running'])
  },
)

t.test('a mission that waits for a module can be cancelled, and is then forgotten', async (t) => {
  const { world, missions } = await house(0)
  const id = await approved(missions)
  await missions.cancel(operator, { mission_id: id })
  t.match(missions.counters(), { depth: { coin: 0 } })
  world.limit(missions, undefined)
  t.match(await later(missions, id), { status: 'cancelled' })
  t.equal(world.calls.length, 0)
})

t.test('a lock holds through a restart, and a drain does not wait for what it holds', async (t) => {
  const { world, missions } = await house(0)
  const id = await approved(missions)
  await missions.drain(1_000)
  const next = await world.start()
  await settle()
  t.strictSame(await statuses(next, [id]), ['queued'])
  world.limit(next, undefined)
  t.match(await later(next, id), { status: 'running' })
})
