import t from 'tap'
import { NexusError } from '../../daemon/contracts/failure.ts'
import type { ModuleOmen } from '../../daemon/contracts/status.ts'
import { effectOf, NO_OMEN, patientRules, shownOf } from '../../daemon/supervisor/omened.ts'
import { Supervisor } from '../../daemon/supervisor/supervisor.ts'
import { type FakeCode, FakeWorld } from '../support/fake-modules.ts'
import { settle } from '../support/test-clock.ts'

const OPERATOR = { kind: 'key', name: 'operator' } as const
const SINCE = '2026-11-22T10:00:00.000Z'
const WHY = '13 missions failed with ACTION_FAILED at step run: no disk'
const omen = (level: ModuleOmen['level'], more: Partial<ModuleOmen> = {}): ModuleOmen => ({
  ...{ level, because: WHY, since: SINCE, probation_until: null, held: false },
  ...more,
})

/** A module, and what omens say of it. */
async function raise(code: FakeCode = {}, manifest: Record<string, unknown> = {}) {
  const world = new FakeWorld()
  const omens = { now: NO_OMEN }
  const supervisor = new Supervisor(world.environment({ omenOver: () => omens.now }), () => undefined)
  world.onFact((fact) => supervisor.fold(fact))
  world.onFact(({ type }) => {
    if (type === 'module.unlocked') omens.now = { ...NO_OMEN, probation_until: '2026-11-23T10:00:00.000Z' }
  })
  world.save('a/one', 'g1', code, manifest)
  await supervisor.discover()
  void supervisor.start()
  await world.clock.pass(0)
  return { world, supervisor, omens }
}

t.test('a lock covers the state of a module everywhere, and ends nothing of it', async (t) => {
  const { world, supervisor, omens } = await raise()
  omens.now = omen('lock')
  const seen = {
    state: 'locked',
    because: WHY,
    health: { status: 'unhealthy', reason: WHY },
    replicas: { ready: 1 },
  }
  t.match(supervisor.status('a/one'), { ...seen, since: SINCE, omen: omens.now })
  t.match(supervisor.briefs()[0], seen)
  t.match(supervisor.outlook('a/one'), { known: true, locked: true, missionsMax: 0, callable: true })
  t.match(supervisor.explain('a/one'), {
    state: 'locked',
    since: SINCE,
    blocked_on: WHY,
    next: /no mission of it is claimed until an operator unlocks it/,
    remedy: /nexus unlock a\/one --reason/,
  })
  t.equal(world.running.length, 1)
  omens.now = NO_OMEN
  t.match(supervisor.status('a/one'), { state: 'started', health: { status: 'healthy' }, omen: NO_OMEN })
  t.strictSame(supervisor.outlook('a/one').missionsMax, undefined)
})

t.test(
  'a locked module can be stopped, started and reloaded, and is locked whenever it serves',
  async (t) => {
    const { world, supervisor, omens } = await raise()
    omens.now = omen('lock')
    await supervisor.stopModule('a/one', OPERATOR)
    t.match(supervisor.status('a/one'), {
      state: 'stopped',
      health: { status: 'degraded' },
      omen: { level: 'lock' },
    })
    void supervisor.startModule('a/one', OPERATOR)
    await world.clock.pass(0)
    t.equal(supervisor.status('a/one').state, 'locked')
    world.save('a/one', 'g2', {})
    void supervisor.reloadModule({ module_id: 'a/one' }, OPERATOR)
    await world.clock.pass(4_000)
    t.match(supervisor.status('a/one'), { state: 'locked', generation: 'g2' })
  },
)

t.test('what is worse than a lock, or was wished for, is shown instead', async (t) => {
  const states = [
    'invalid',
    'failed',
    'crashloop',
    'stopped',
    'stopping',
    'started',
    'backoff',
    'waiting',
    'reloading',
  ] as const
  t.strictSame(
    states.map((state) => shownOf({ state, because: 'x', sinceMs: 7 }, omen('lock')).state),
    ['invalid', 'failed', 'crashloop', 'stopped', 'stopping', 'locked', 'locked', 'locked', 'locked'],
  )
  t.strictSame(shownOf({ state: 'started', because: 'x', sinceMs: 7 }, omen('intervene')), {
    state: 'started',
    because: 'x',
    sinceMs: 7,
  })
})

t.test('unlocking is a fact with its reason and who had the key, and only of what is locked', async (t) => {
  const { world, supervisor, omens } = await raise()
  const wish = { module_id: 'a/one', reason: 'the disk was changed' }
  const refused = async (params: typeof wish): Promise<string> =>
    supervisor.unlockModule(params, OPERATOR).then(
      () => 'done',
      (error: unknown) => (error instanceof NexusError ? `${error.code}: ${error.message}` : String(error)),
    )
  t.match(await refused(wish), /^MODULE_WRONG_STATE: a\/one is started: it cannot be unlocked now/)
  t.match(await refused({ ...wish, module_id: 'a/none' }), /^MODULE_UNKNOWN/)
  omens.now = omen('intervene')
  t.match(await refused(wish), /^MODULE_WRONG_STATE/)
  t.strictSame(world.types('module.unlocked'), [])
  omens.now = omen('lock')
  t.strictSame(await supervisor.unlockModule(wish, OPERATOR), {
    module_id: 'a/one',
    state: 'started',
    probation_until: '2026-11-23T10:00:00.000Z',
  })
  t.match(world.facts.at(-1), { type: 'module.unlocked', actor: OPERATOR, d: wish })
  t.match(supervisor.explain('a/one'), {
    next: /^it serves until .*; until 2026-11-23T10:00:00.000Z it is locked again at the seventh failure$/,
    because: [
      { type: 'module.discovered' },
      {},
      { type: 'module.unlocked', say: 'unlocked: the disk was changed' },
    ],
  })
})

t.test('explain says what an omen does while the module serves', async (t) => {
  const { supervisor, omens } = await raise()
  const told = [
    omen('warn'),
    omen('intervene'),
    omen('ignore', { held: true }),
    omen('ignore', { because: null, since: null }),
  ].map((now) => {
    omens.now = now
    const { state, next, blocked_on } = supervisor.explain('a/one')
    return [state, blocked_on, next?.replace(/^it serves until it is stopped, reloaded or lost(; )?/, '')]
  })
  t.strictSame(told, [
    ['started', null, `its missions lose trust until this is over: ${WHY}`],
    [
      'started',
      null,
      `one of its missions runs at a time, none without approval, and its restarts wait twice as long, until this is over: ${WHY}`,
    ],
    ['started', null, `its omen is held, since many modules fail at once (${WHY})`],
    ['started', null, ''],
  ])
  t.equal(effectOf(NO_OMEN), undefined)
})

t.test('from intervene on a restart waits twice as long, and its cap is twice as high', async (t) => {
  const rules = {
    policy: 'permanent',
    max: 5,
    within_ms: 60_000,
    backoff_ms: 500,
    backoff_max_ms: 30_000,
  } as const
  t.strictSame(
    (['ignore', 'warn', 'intervene', 'lock'] as const).map((level) => {
      const { backoff_ms, backoff_max_ms } = patientRules(rules, omen(level))
      return [backoff_ms, backoff_max_ms]
    }),
    [
      [500, 30_000],
      [500, 30_000],
      [1_000, 60_000],
      [1_000, 60_000],
    ],
  )
  const waits: number[] = []
  for (const level of ['ignore', 'intervene'] as const) {
    const { world, supervisor, omens } = await raise()
    omens.now = omen(level)
    world.instances[0]?.leave({ how: 'exited', exitCode: 1, signal: null })
    await settle()
    waits.push(Date.parse(supervisor.status('a/one').next_retry_at ?? '') - world.clock.now())
  }
  const [usual = 0, patient = 0] = waits
  t.ok(usual > 0 && Math.abs(patient / usual - 2) < 0.01, `${usual} ms, then ${patient} ms`)
})

t.test('a change of an omen stands in the chain that led here', async (t) => {
  const { world, supervisor } = await raise()
  await world.environment().append({
    type: 'omen.changed',
    actor: { kind: 'daemon', name: 'insight' },
    d: { module_id: 'a/one', key: 'k', level: 'lock', previous: 'intervene', because: WHY },
  })
  t.match(supervisor.explain('a/one').because.at(-1), {
    type: 'omen.changed',
    say: `lock, after intervene: ${WHY}`,
  })
})
