import t from 'tap'
import { MODULE_STATES, type ModuleState } from '../../daemon/contracts/status.ts'
import { seededChance } from '../../daemon/kit/chance.ts'
import type { StateTable } from '../../daemon/kit/state-table.ts'
import {
  LIFECYCLE,
  MODULE_EVENTS,
  type ModuleAct,
  type ModuleEvent,
} from '../../daemon/supervisor/lifecycle-table.ts'
import { type Crash, judgeCrash, judgeDisplacement } from '../../daemon/supervisor/restart-policy.ts'
import { Retries } from '../../daemon/supervisor/retries.ts'
import { StartQueue } from '../../daemon/supervisor/start-queue.ts'
import { TestClock } from '../support/test-clock.ts'

const rules = {
  policy: 'permanent',
  max: 3,
  within_ms: 60_000,
  backoff_ms: 100,
  backoff_max_ms: 300,
} as const
const young = (atMs: number): Crash => ({ atMs, readyMs: 10, clean: false, displaced: false })
const old = (atMs: number): Crash => ({ atMs, readyMs: 5_000, clean: false, displaced: false })

t.test('an instance that had been well restarts at once', async (t) => {
  t.strictSame(judgeCrash([old(0)], rules, seededChance(1)), { restart: 'now' })
})

t.test('a young crash waits twice as long each time, give or take a fifth, up to the ceiling', async (t) => {
  const waits = [[0], [0, 1], [0, 1, 2]].map((times) => {
    const verdict = judgeCrash(times.map(young), rules, seededChance(1))
    return verdict.restart === 'later' ? verdict.waitMs : undefined
  })
  const inside = waits.map((waitMs, n) => {
    const middle = Math.min(300, 100 * 2 ** n)
    return waitMs !== undefined && waitMs >= middle * 0.8 && waitMs <= Math.min(300, middle * 1.2)
  })
  t.strictSame(inside, [true, true, true], `${waits}`)
})

t.test('the fourth crash inside the window is one too many, and one outside is forgiven', async (t) => {
  const spent = judgeCrash([0, 1, 2, 3].map(young), rules, seededChance(1))
  const forgiven = judgeCrash([0, 1, 2, 60_000].map(old), rules, seededChance(1))
  t.strictSame([spent, forgiven], [{ restart: 'spent', waitMs: 300_000, crashes: 4 }, { restart: 'now' }])
})

t.test('a temporary module is never restarted, a transient one only after a failure', async (t) => {
  const clean: Crash = { atMs: 0, readyMs: 5_000, clean: true, displaced: false }
  const verdicts = [
    judgeCrash([old(0)], { ...rules, policy: 'temporary' }, seededChance(1)),
    judgeCrash([clean], { ...rules, policy: 'transient' }, seededChance(1)),
    judgeCrash([old(0)], { ...rules, policy: 'transient' }, seededChance(1)),
  ]
  t.strictSame(verdicts, [{ restart: 'never' }, { restart: 'never' }, { restart: 'now' }])
})

t.test('who is displaced comes back at once, and later only while that goes on', async (t) => {
  const waits = [1, 3, 4, 5, 6].map((count) => {
    const times = Array.from({ length: count }, (_, n) => n)
    const verdict = judgeDisplacement(times, rules, { ...seededChance(1), next: () => 0.5 })
    return verdict.restart === 'again' ? verdict.waitMs : verdict.restart
  })
  t.strictSame(waits, [0, 0, 100, 200, 300])
})

t.test('so many start in any minute, and the others in the order in which their backoff ends', async (t) => {
  const clock = new TestClock()
  const queue = new StartQueue(clock, 2)
  const started: [string, number][] = []
  const put = (name: string, waitMs: number) =>
    queue.put(waitMs, () => void started.push([name, clock.elapsed()]))
  put('a', 0)
  const late = put('late', 2_000)
  const early = put('early', 1_000)
  const gone = put('gone', 1_500)
  t.strictSame(
    [late, early, gone].map((place) => place.atMs()),
    [61_000, 1_000, 60_000],
  )
  gone.cancel()
  gone.cancel()
  t.equal(late.atMs(), 60_000, 'a place that is given back goes to whoever comes next')
  const alone = new StartQueue(clock, 2).put(5, () => {})
  const timers = clock.waiting
  alone.cancel()
  t.equal(clock.waiting, timers - 1, 'nobody is woken for nothing')
  await clock.pass(59_999)
  put('last', 0)
  await clock.pass(1_001)
  t.strictSame(started, [
    ['a', 0],
    ['early', 1_000],
    ['late', 60_000],
    ['last', 61_000],
  ])
  t.equal(clock.waiting, 0)
})

t.test(
  'of hosts that are to start at once each has a turn of the loop, one alone waits for none',
  async (t) => {
    const queue = new StartQueue(new TestClock(), 20)
    const started: string[] = []
    const start = (name: string): void => void queue.turn().then(() => started.push(name))
    const seen: string[] = []
    for (const name of ['a', 'b', 'c']) start(name)
    for (let turn = 0; turn < 4; turn += 1) {
      await Promise.resolve()
      seen.push(started.splice(0).join())
      await new Promise((resolve) => setImmediate(resolve))
    }
    start('alone')
    await Promise.resolve()
    t.strictSame([...seen, ...started], ['a', 'b', 'c', '', 'alone'])
  },
)

t.test('in no minute do more start than the budget has, whatever the backoffs', async (t) => {
  const clock = new TestClock()
  const queue = new StartQueue(clock, 20)
  const chance = seededChance(7)
  const startsMs: number[] = []
  const crash = (): void => {
    queue.put(chance.next() * 40_000, () => {
      startsMs.push(clock.elapsed())
      crash()
    })
  }
  for (let n = 0; n < 50; n += 1) crash()
  await clock.pass(600_000)
  const fullest = Math.max(
    ...startsMs.map((fromMs) => startsMs.filter((atMs) => atMs >= fromMs && atMs < fromMs + 60_000).length),
  )
  t.strictSame([fullest, startsMs.length >= 200], [20, true])
})

t.test('a crash loop is left by being well for a minute, not by the rarity of its tries', async (t) => {
  const clock = new TestClock()
  const retries = new Retries(clock, seededChance(1), new StartQueue(clock, 20))
  const judge = (readyMs: number) => retries.judge(retries.crash(readyMs), rules).restart
  const looping = [0, 0, 0, 0].map(judge)
  await clock.pass(300_000)
  t.strictSame(
    [...looping, judge(0), judge(5_000), judge(60_000)],
    ['later', 'later', 'later', 'spent', 'spent', 'spent', 'now'],
  )
})

t.test('the time of the next try is told with the wait for its turn', async (t) => {
  const clock = new TestClock()
  const queue = new StartQueue(clock, 1)
  const [one, two] = [1, 2].map(() => new Retries(clock, seededChance(1), queue)) as [Retries, Retries]
  one.arm(0, () => {})
  two.arm(500, () => {})
  t.strictSame([one.atMs, one.count, two.atMs, two.count], [undefined, 1, clock.now() + 60_000, 0])
  await clock.pass(60_000)
  t.strictSame([two.atMs, two.count], [undefined, 1])
})

const table: StateTable<ModuleState, ModuleEvent, ModuleAct> = LIFECYCLE

function reachableFrom(start: ModuleState): Set<ModuleState> {
  const seen = new Set<ModuleState>([start])
  for (const state of seen) {
    for (const event of MODULE_EVENTS) {
      const to = table[state][event]?.to
      if (to !== undefined) seen.add(to)
    }
  }
  return seen
}

t.test('every state but the locked one can be entered, and every state can come to rest', async (t) => {
  const entered = reachableFrom('discovered')
  const unreachable = MODULE_STATES.filter((state) => !entered.has(state))
  t.strictSame(unreachable, ['locked'], 'omens lock, not the supervisor')
  for (const state of entered) {
    const end = reachableFrom(state)
    t.ok(end.has('stopped') || end.has('invalid'), `${state} can come to rest`)
  }
})

t.test('stop is understood wherever code may be running, and ends at rest', async (t) => {
  const deaf = MODULE_STATES.filter((state) => table[state].stop === undefined)
  t.strictSame(deaf, ['discovered', 'stopping', 'locked'])
  for (const state of MODULE_STATES.filter((name) => !deaf.includes(name))) {
    const next = table[state].stop?.to
    const end = next === 'stopping' ? table.stopping.halted?.to : next
    t.ok(end === 'stopped' || end === 'invalid', `from ${state}`)
  }
})

t.test('new code is understood wherever nothing serves and something is wanted', async (t) => {
  const wanting: ModuleState[] = ['waiting', 'starting', 'backoff', 'crashloop', 'failed']
  t.strictSame(
    wanting.map((state) => table[state].renew?.to),
    wanting.map(() => 'starting'),
  )
})
