import fc from 'fast-check'
import t from 'tap'
import { NexusError } from '../../daemon/contracts/failure.ts'
import { Supervisor } from '../../daemon/supervisor/supervisor.ts'
import { CRASH, type FakeCode, FakeWorld } from '../support/fake-modules.ts'
import { settle } from '../support/test-clock.ts'

const MODULE = 'a/one'
const OPERATOR = { kind: 'local', name: 'operator' } as const
const STRATEGIES = ['graceful', 'rolling', 'immediate'] as const
const ACTIONS = { actions: { work: { description: 'works', idempotent: true, concurrency: 100 } } }
const MANIFEST = { ...ACTIONS, replicas: 3, restart: { max: 1_000, backoff_ms: 100, backoff_max_ms: 200 } }

const GOOD: FakeCode = { action: async () => 1, start: () => Promise.resolve() }
const SLOW = (world: FakeWorld): FakeCode => ({
  ...GOOD,
  start: () => new Promise((resolve) => world.clock.after(400, resolve)),
})
const BROKEN: FakeCode = { start: () => Promise.reject(new Error('broken')) }
const SICK: FakeCode = { ...GOOD, health: async () => ({ status: 'unhealthy', reason: 'sick' }) }

type Step =
  | { readonly kind: 'save'; readonly code: 'good' | 'slow' | 'broken' | 'sick' }
  | { readonly kind: 'reload'; readonly strategy: (typeof STRATEGIES)[number] }
  | { readonly kind: 'roll back' | 'stop' | 'start' | 'call' | 'suspect' }
  | { readonly kind: 'scale'; readonly replicas: number }
  | { readonly kind: 'crash'; readonly which: number }
  | { readonly kind: 'pass'; readonly ms: number }

const strategy = fc.constantFrom(...STRATEGIES)
const passing = fc.record({
  kind: fc.constant('pass' as const),
  ms: fc.constantFrom(0, 10, 350, 1_100, 3_100),
})
const saving = fc.record({
  kind: fc.constant('save' as const),
  code: fc.constantFrom(
    'good' as const,
    'good' as const,
    'slow' as const,
    'broken' as const,
    'sick' as const,
  ),
})
const reloading = fc.record({ kind: fc.constant('reload' as const), strategy })
const calling = fc.constant({ kind: 'call' as const })
const crashing = fc.record({ kind: fc.constant('crash' as const), which: fc.nat(9) })
const anything: fc.Arbitrary<Step> = fc.oneof(
  passing,
  passing,
  saving,
  reloading,
  calling,
  crashing,
  fc.record({ kind: fc.constant('scale' as const), replicas: fc.constantFrom(0, 1, 2, 4) }),
  fc.constantFrom(
    { kind: 'roll back' as const },
    { kind: 'stop' as const },
    { kind: 'start' as const },
    { kind: 'suspect' as const },
  ),
)

/** One module, everything that happens to it, and every answer that is still owed. */
class Story {
  readonly world = new FakeWorld()
  readonly supervisor: Supervisor
  readonly answers: Promise<string>[] = []
  #saves = 0
  owed = 0

  private constructor() {
    this.supervisor = new Supervisor(this.world.environment({ startsPerMinute: 1_000 }), () => undefined)
    this.world.onFact((fact) => this.supervisor.fold(fact))
  }

  static async begin(): Promise<Story> {
    const story = new Story()
    story.save('good')
    await story.supervisor.discover()
    await story.supervisor.start()
    await story.world.clock.pass(4_000)
    return story
  }

  save(code: 'good' | 'slow' | 'broken' | 'sick'): void {
    this.#saves += 1
    const codes = { good: GOOD, slow: SLOW(this.world), broken: BROKEN, sick: SICK }
    this.world.save(MODULE, `g${this.#saves}`, codes[code], MANIFEST)
  }

  async take(step: Step): Promise<void> {
    const { world, supervisor } = this
    switch (step.kind) {
      case 'save':
        this.save(step.code)
        world.touched(MODULE)
        world.settled(MODULE)
        break
      case 'reload':
        this.#owe(supervisor.reloadModule({ module_id: MODULE, strategy: step.strategy }, OPERATOR))
        break
      case 'roll back':
        this.#owe(supervisor.rollbackModule({ module_id: MODULE }, OPERATOR))
        break
      case 'stop':
        this.#owe(supervisor.stopModule(MODULE, OPERATOR))
        break
      case 'start':
        this.#owe(supervisor.startModule(MODULE, OPERATOR))
        break
      case 'scale':
        this.#owe(supervisor.scale({ module_id: MODULE, replicas: step.replicas }, OPERATOR))
        break
      case 'call':
        this.#owe(supervisor.call({ moduleId: MODULE, action: 'work', input: {} }))
        break
      case 'crash':
        world.running[step.which % Math.max(1, world.running.length)]?.leave(CRASH)
        break
      case 'suspect':
        this.#hang()
        break
      case 'pass':
        await world.clock.pass(step.ms)
        break
    }
    await settle()
  }

  #hang(): void {
    const instance = this.world.running.at(-1)
    instance?.order.listener.suspect(1_000)
    this.world.clock.after(4_000, () => instance?.leave({ how: 'hung', missingMs: 5_000 }))
  }

  #owe(answer: Promise<unknown>): void {
    this.owed += 1
    const settled = answer.then(
      () => 'done',
      (error: unknown) => {
        if (!(error instanceof NexusError)) throw error
        return error.code
      },
    )
    this.answers.push(settled.finally(() => (this.owed -= 1)))
  }

  /** What would be gone back to. */
  get committed(): unknown {
    return this.world.facts.findLast(({ type }) => type === 'module.generation_accepted')?.d['generation']
  }

  get generations(): string[] {
    return [...new Set(this.world.running.map(({ generation }) => generation))]
  }
}

t.test(
  'whatever happens in whatever order: one swap at a time, every answer is given, and nothing is left over',
  async (t) => {
    let swaps = 0
    await fc.assert(
      fc.asyncProperty(fc.array(anything, { minLength: 1, maxLength: 25 }), async (steps) => {
        const story = await Story.begin()
        const { world, supervisor } = story
        for (const step of steps) {
          await story.take(step)
          if (story.generations.length > 2) throw new Error(`${story.generations} run at once`)
        }
        await world.clock.pass(120_000)
        await settle()
        if (story.owed > 0) throw new Error(`${story.owed} answers are still owed`)
        await Promise.all(story.answers)
        if (world.bugs.length > 0) throw world.bugs[0]

        swaps += world.types().filter((type) => /reloaded|rolled_back/.test(type)).length
        const unit = supervisor.unit(MODULE)
        const serving = [...(unit.serving?.replicas ?? [])].map(({ id }) => id)
        const alive = world.running.map(({ id }) => id)
        const desired = unit.wanted === 'stopped' ? 0 : unit.replicasWanted
        const expected = BAD_ENDS.has(unit.state) ? alive.length : desired
        if (String(alive) !== String(serving) || alive.length !== expected) {
          throw new Error(
            `${unit.state} (${unit.because}): alive ${alive}, serving ${serving}, desired ${desired}`,
          )
        }
      }),
      { numRuns: 300 },
    )
    t.ok(swaps > 100, `there were ${swaps} swaps to go wrong`)
  },
)

/** States in which a module may rest with fewer instances than are wanted. */
const BAD_ENDS: ReadonlySet<string> = new Set(['failed', 'crashloop', 'backoff'])

t.test(
  'a graceful or a rolling reload never leaves fewer replicas than there were, whatever the new code does',
  async (t) => {
    let reloads = 0
    const trouble: fc.Arbitrary<Step> = fc.oneof(passing, passing, saving, calling, {
      arbitrary: fc.record({
        kind: fc.constant('reload' as const),
        strategy: fc.constantFrom('graceful' as const, 'rolling' as const),
      }),
      weight: 2,
    })
    const spoiling = fc.record({ step: trouble, spoil: fc.boolean() })
    await fc.assert(
      fc.asyncProperty(fc.array(spoiling, { minLength: 1, maxLength: 20 }), async (steps) => {
        const story = await Story.begin()
        const { world, supervisor } = story
        const unit = supervisor.unit(MODULE)
        for (const { step, spoil } of steps) {
          const slices = step.kind === 'pass' ? Array.from({ length: Math.ceil(step.ms / 50) }, () => 50) : []
          if (step.kind !== 'pass') await story.take(step)
          for (const ms of slices) {
            await world.clock.pass(ms)
            if (unit.takers.length < 3)
              throw new Error(`only ${unit.takers.length} serve while it is ${unit.state}`)
          }
          const { committed } = story
          const bad = world.running.find(({ generation }) => generation !== committed)
          if (spoil && unit.state === 'reloading' && bad !== undefined) bad.leave(CRASH)
          if (unit.takers.length === 0) throw new Error('nothing serves')
        }
        await world.clock.pass(60_000)
        await Promise.all(story.answers)
        reloads += world.types().filter((type) => /reloaded|rolled_back/.test(type)).length
        if (unit.takers.length !== 3 || world.running.length !== 3) throw new Error('it did not come to rest')
      }),
      { numRuns: 200 },
    )
    t.ok(reloads > 100, `there were ${reloads} reloads`)
  },
)
