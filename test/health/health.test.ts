import t from 'tap'
import type { FactDraft } from '../../daemon/contracts/fact.ts'
import type { HealthAnswer } from '../../daemon/contracts/module.ts'
import type { HealthStatus, ModuleState, ModuleStatus } from '../../daemon/contracts/status.ts'
import { HealthWatch, judgeCritical, judgeReadiness, statisticsOf } from '../../daemon/health/health.ts'
import { judgeHealth, WELL, worst } from '../../daemon/health/verdict.ts'
import type { Instance } from '../../daemon/host/port.ts'
import { TestClock } from '../support/test-clock.ts'

const RULES = { interval_ms: 5_000, timeout_ms: 2_000, unhealthy_after: 3, healthy_after: 2 }
const well: HealthAnswer = { status: 'healthy' }
const ill: HealthAnswer = { status: 'unhealthy', reason: 'no disk' }

function verdicts(answers: readonly HealthAnswer[]): HealthStatus[] {
  let standing = WELL
  return answers.map((answer) => {
    standing = judgeHealth(standing, answer, RULES)
    return standing.status
  })
}

t.test('one bad answer is noise, three in a row are a fact, and two good ones end it', async (t) => {
  t.strictSame(verdicts([ill, ill, well, ill, ill, ill, well, ill, well, well]), [
    'healthy',
    'healthy',
    'healthy',
    'healthy',
    'healthy',
    'unhealthy',
    'unhealthy',
    'unhealthy',
    'unhealthy',
    'healthy',
  ])
})

t.test("degraded is the module's own word and counts at once", async (t) => {
  t.strictSame(verdicts([{ status: 'degraded', reason: 'slow' }, well]), ['degraded', 'healthy'])
})

t.test('a module is as well as its sickest replica, and well when nobody was asked', async (t) => {
  t.strictSame(
    [worst([well, ill, { status: 'degraded' }]).status, worst([]).status],
    ['unhealthy', 'healthy'],
  )
})

function status(id: string, health: HealthStatus, more: Partial<ModuleStatus> = {}): ModuleStatus {
  const state: ModuleState = health === 'healthy' ? 'started' : 'failed'
  return {
    module_id: id,
    description: '',
    state,
    desired: 'running',
    since: '',
    because: 'it broke',
    next_retry_at: null,
    health: { status: health, reason: null },
    generation: null,
    version: null,
    runtime: 'process',
    critical: false,
    listen: [],
    replicas: { desired: 1, ready: health === 'healthy' ? 1 : 0 },
    instances: [],
    restarts: 0,
    last_reload: null,
    config: {},
    isolation: 'none',
    omen: { level: 'ignore', because: null, since: null, probation_until: null, held: false },
    uptime_seconds: 0,
    actions: [],
    categories: [],
    ...more,
  }
}

const question = (modules: readonly ModuleStatus[]) => ({
  modules,
  startedUp: true,
  draining: false,
  journalTrouble: undefined,
  unhealthyRatioMax: 0.2,
  timestamp: 1,
})

t.test("one unhealthy module in five is borne, two are not: the specification's fifth", async (t) => {
  const four = ['a/1', 'a/2', 'a/3', 'a/4'].map((id) => status(id, 'healthy'))
  const borne = judgeReadiness(question([...four, status('a/5', 'unhealthy')]))
  const not = judgeReadiness(
    question([...four.slice(1), status('a/1', 'unhealthy'), status('a/5', 'unhealthy')]),
  )
  t.strictSame([borne.ready, borne.details.health_ratio], [true, 0.8])
  t.strictSame(
    [not.ready, not.reasons],
    [false, ['2 of 5 modules are unhealthy: a/1 is failed, a/5 is failed']],
  )
  const all = judgeReadiness(question([1, 2, 3, 4].map((n) => status(`a/${n}`, 'unhealthy'))))
  t.match(all.reasons, [/: a\/1 is failed, a\/2 is failed, a\/3 is failed, …$/])
})

t.test(
  'every reason is told: starting, stopping, the disk, and a critical module that is away',
  async (t) => {
    const modules = Array.from({ length: 9 }, (_, n) => status(`a/${n}`, 'healthy'))
    const away = status('b/db', 'unhealthy', { critical: true })
    const { ready, reasons } = judgeReadiness({
      ...question([...modules, away]),
      startedUp: false,
      draining: true,
      journalTrouble: 'EIO',
    })
    t.strictSame(
      [ready, reasons],
      [
        false,
        [
          'the daemon is still starting',
          'the daemon is stopping',
          'the journal is not writable: EIO',
          'the critical module b/db is failed: it broke',
        ],
      ],
    )
  },
)

t.test('no modules: ready, ratio 1, and nothing critical is missing', async (t) => {
  t.match(judgeReadiness(question([])), { ready: true, details: { total_modules: 0, health_ratio: 1 } })
  t.strictSame(judgeCritical([], 1), { critical: true, timestamp: 1, modules: [] })
})

t.test('critical is true only when each critical module has a ready, well instance', async (t) => {
  const fine = status('a/1', 'healthy', { critical: true })
  const sick = status('a/2', 'unhealthy', { critical: true, replicas: { desired: 1, ready: 1 } })
  t.strictSame([judgeCritical([fine], 1).critical, judgeCritical([fine, sick], 1).critical], [true, false])
})

t.test('the total is the sum of the three', async (t) => {
  const modules = [status('a/1', 'healthy'), status('a/2', 'degraded'), status('a/3', 'unhealthy')]
  t.strictSame(statisticsOf(modules), { total: 3, healthy: 1, degraded: 1, unhealthy: 1 })
})

function subject(answer: () => Promise<HealthAnswer>, ready: { now: boolean }) {
  const instance = {
    has: { health: true, configure: false, snapshot: false },
    health: answer,
  } as unknown as Instance
  return {
    id: 'a/1',
    manifest: { health: RULES } as never,
    get serving() {
      return { ready: ready.now ? [{ instance }] : [] }
    },
  }
}

t.test(
  'asking begins with the first ready instance, tells a change once, and ends with the last',
  async (t) => {
    const clock = new TestClock()
    const facts: FactDraft[] = []
    const bugs: unknown[] = []
    const watch = new HealthWatch({
      clock,
      append: async (draft) => facts.push(draft),
      onBug: (error) => bugs.push(error),
    })
    const ready = { now: false }
    let asked = 0
    const unit = subject(async () => {
      asked += 1
      throw new Error('silence')
    }, ready)
    watch.changed(unit)
    await clock.pass(20_000)
    t.equal(asked, 0, 'nobody is asked while nothing is ready')
    ready.now = true
    watch.changed(unit)
    watch.changed(unit)
    await clock.pass(25_000)
    t.strictSame([asked, watch.verdict('a/1')], [5, { status: 'unhealthy', reason: 'silence' }])
    t.match(facts, [
      { type: 'module.health_changed', d: { from: 'healthy', to: 'unhealthy', reason: 'silence' } },
    ])
    ready.now = false
    watch.changed(unit)
    await clock.pass(60_000)
    t.strictSame([asked, watch.verdict('a/1'), clock.waiting, bugs], [5, undefined, 0, []])
  },
)
