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
import { type Crash, judgeCrash, RestartBudget } from '../../daemon/supervisor/restart-policy.ts'

const rules = {
  policy: 'permanent',
  max: 3,
  within_ms: 60_000,
  backoff_ms: 100,
  backoff_max_ms: 300,
} as const
const young = (atMs: number): Crash => ({ atMs, readyMs: 10, clean: false })
const old = (atMs: number): Crash => ({ atMs, readyMs: 5_000, clean: false })

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
  const clean: Crash = { atMs: 0, readyMs: 5_000, clean: true }
  const verdicts = [
    judgeCrash([old(0)], { ...rules, policy: 'temporary' }, seededChance(1)),
    judgeCrash([clean], { ...rules, policy: 'transient' }, seededChance(1)),
    judgeCrash([old(0)], { ...rules, policy: 'transient' }, seededChance(1)),
  ]
  t.strictSame(verdicts, [{ restart: 'never' }, { restart: 'never' }, { restart: 'now' }])
})

t.test('the budget lets so many start in a minute, and the others in order', async (t) => {
  const budget = new RestartBudget(2)
  t.strictSame(
    [0, 0, 0, 0, 60_001].map((nowMs) => budget.take(nowMs)),
    [0, 0, 60_000, 60_000, 59_999],
  )
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
  for (const state of MODULE_STATES) {
    const end = reachableFrom(state)
    t.ok(end.has('stopped') || end.has('invalid'), `${state} can come to rest`)
  }
})

t.test('stop is understood wherever code may be running, and ends at rest', async (t) => {
  const deaf = MODULE_STATES.filter((state) => table[state].stop === undefined)
  t.strictSame(deaf, ['discovered', 'stopping'])
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
