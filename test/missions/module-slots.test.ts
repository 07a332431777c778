import t from 'tap'
import { ModuleSlots } from '../../daemon/missions/module-slots.ts'

type Claimant = Parameters<ModuleSlots['take']>[0]
const CLEARED = { kind: 'approved', digest: 'd' } as unknown as Claimant['clearance']

function house(limits: Record<string, number> = {}) {
  const again: string[] = []
  const slots = new ModuleSlots(
    (id) => limits[id],
    (id) => again.push(id),
  )
  const mission = (
    id: string,
    modules = ['a/one'],
    more: { priority?: number; safe?: boolean } = {},
  ): Claimant => ({
    id,
    clearance: more.safe ? null : CLEARED,
    order: {
      category: 'coin',
      priority: more.priority ?? 5,
      plan: modules.map((module, n) => ({ id: `s${n}`, uses: `${module}/run` })),
    },
  })
  const releases = new Map<string, () => void>()
  const takeOne = (claimant: Claimant): boolean => {
    const release = slots.take(claimant)
    if (release !== undefined) releases.set(claimant.id, release)
    return release !== undefined
  }
  const take = (...ids: string[]): boolean[] => ids.map((id) => takeOne(mission(id)))
  const release = (id: string): void => releases.get(id)?.()
  return { slots, limits, again, mission, take, takeOne, release }
}

t.test('without an omen any number of missions use a module', async (t) => {
  const { slots, take } = house()
  t.strictSame(take('1', '2', '3'), [true, true, true])
  t.strictSame(slots.depth(), {})
})

t.test(
  'at most one uses a module whose omen says so; the next goes on when it has ended, one at a time',
  async (t) => {
    const { slots, again, take, release } = house({ 'a/one': 1 })
    t.strictSame(take('1', '2', '3'), [true, false, false])
    t.strictSame([slots.depth(), slots.waitsFor('3')], [{ coin: 2 }, { moduleId: 'a/one', max: 1 }])
    release('1')
    t.strictSame(again, ['2'])
    t.strictSame(take('2'), [true])
    slots.look('a/one')
    t.strictSame(again, ['2'], 'there is no room for the third')
    release('2')
    t.strictSame(again, ['2', '3'])
  },
)

t.test('those that ran before the omen came count, and none is added to them', async (t) => {
  const { limits, again, take, release } = house()
  take('1', '2', '3')
  limits['a/one'] = 1
  t.strictSame(take('4'), [false])
  release('1')
  release('2')
  t.strictSame(again, [])
  release('3')
  t.strictSame(again, ['4'])
})

t.test(
  'a locked module takes nothing, judged or not, until its lock is opened: then all try again',
  async (t) => {
    const { slots, limits, again, mission, take, takeOne } = house({ 'a/one': 0 })
    t.strictSame(take('1', '2'), [false, false])
    t.equal(takeOne(mission('3', ['a/one'], { safe: true })), false)
    slots.look('a/one')
    t.strictSame(again, [])
    delete limits['a/one']
    slots.look('a/other')
    t.strictSame(again, [], 'another module is no reason')
    slots.look('a/one')
    t.strictSame(again, ['1', '2', '3'])
  },
)

t.test('what nobody approved is judged at once, and does not stand in line for that', async (t) => {
  const { mission, take, takeOne } = house({ 'a/one': 1 })
  take('1')
  t.equal(takeOne(mission('2', ['a/one'], { safe: true })), true)
})

t.test('higher priority first, then first come; one that is sent back keeps its place', async (t) => {
  const { slots, again, mission, take, takeOne, release } = house({ 'a/one': 1 })
  take('1', '2', '3')
  takeOne(mission('4', ['a/one'], { priority: 9 }))
  release('1')
  t.strictSame(again.splice(0), ['4'])
  take('9')
  t.strictSame([takeOne(mission('4', ['a/one'], { priority: 9 })), take('2')], [false, [false]])
  slots.drop('4')
  release('9')
  t.strictSame(again, ['2'])
})

t.test(
  'a mission of several modules waits for the one that is full, and takes no place meanwhile',
  async (t) => {
    const { slots, limits, again, mission, take, takeOne, release } = house({ 'a/one': 1, 'b/two': 1 })
    take('1')
    t.equal(takeOne(mission('2', ['b/two', 'a/one'])), false)
    t.equal(takeOne(mission('3', ['b/two'])), true, 'nobody sits on a place he cannot use')
    release('1')
    t.strictSame(again.splice(0), ['2'])
    t.equal(takeOne(mission('2', ['b/two', 'a/one'])), false)
    t.strictSame(slots.waitsFor('2'), { moduleId: 'b/two', max: 1 })
    limits['b/two'] = 2
    slots.look('b/two')
    t.strictSame(again, ['2'])
  },
)

t.test(
  'a mission that is cancelled while it waits is forgotten, and a release twice counts once',
  async (t) => {
    const { slots, again, take, release } = house({ 'a/one': 1 })
    take('1', '2')
    slots.drop('2')
    release('1')
    release('1')
    t.strictSame([again, slots.depth(), slots.waitsFor('2')], [[], {}, undefined])
    t.strictSame(take('3', '4'), [true, false])
  },
)
