import { createHash } from 'node:crypto'
import fc from 'fast-check'
import type { Fact, FactDraft } from '../../daemon/contracts/fact.ts'
import { NexusError } from '../../daemon/contracts/failure.ts'
import type { ActionSpecification } from '../../daemon/contracts/manifest.ts'
import type { MissionCreate, MissionDetail, PlanStep, Validation } from '../../daemon/contracts/mission.ts'
import type { ArtifactRef } from '../../daemon/contracts/module.ts'
import { seededChance } from '../../daemon/kit/chance.ts'
import { Missions } from '../../daemon/missions/missions.ts'
import { planIssues } from '../../daemon/missions/plan.ts'
import type {
  ActionAnswer,
  ActionOrder,
  Authority,
  Blobs,
  MissionPorts,
  Question,
  Recorder,
} from '../../daemon/missions/port.ts'
import { MemoryRecords } from '../support/memory-records.ts'
import { settle, TestClock } from '../support/test-clock.ts'

type Behave = (order: ActionOrder) => unknown

/** A journal in memory: a fact is folded before its append resolves, as the real one promises. */
class Journal implements Recorder {
  readonly facts: Fact[] = []
  readonly #clock: TestClock
  listeners: ((fact: Fact) => void)[] = []
  /** Dies at the append with this number (from 1); so many records of its batch are durable, though unheard. */
  dieAt: { readonly append: number; readonly keeps: number } | undefined
  /** Fails the next appends. */
  failing: NexusError[] = []
  /** Awaited by each append: lets a test look in between. */
  before: (drafts: readonly FactDraft[]) => Promise<void> | void = () => {}
  /** Records of the last batch that was handed in. */
  lastBatch = 0
  #appends = 0
  #dead = false

  constructor(clock: TestClock, facts: readonly Fact[] = []) {
    this.#clock = clock
    this.facts.push(...facts)
  }

  kill(): void {
    this.#dead = true
  }

  get dead(): boolean {
    return this.#dead
  }

  async append(draft: FactDraft): Promise<Fact> {
    const [fact] = await this.appendAll([draft])
    return fact as Fact
  }

  async appendAll(drafts: readonly FactDraft[]): Promise<readonly Fact[]> {
    if (this.#dead) return new Promise(() => {})
    await this.before(drafts)
    await Promise.resolve()
    const failing = this.failing.shift()
    if (failing !== undefined) throw failing
    this.#appends += 1
    const keeps = this.#appends === this.dieAt?.append ? this.dieAt.keeps : undefined
    this.#dead ||= keeps !== undefined
    this.lastBatch = drafts.length
    const facts = drafts.slice(0, this.#dead ? (keeps ?? 0) : drafts.length).map((draft) => this.write(draft))
    if (this.#dead) return new Promise(() => {})
    for (const fact of facts) for (const listener of this.listeners) listener(fact)
    return facts
  }

  /** Puts a fact into the journal as if somebody else had. */
  write(draft: FactDraft): Fact {
    const seq = this.facts.length + 1
    const framed = { v: 1, seq, b: seq, ts: new Date(this.#clock.now()).toISOString(), h: 'h' }
    const fact = JSON.parse(JSON.stringify({ ...framed, ...draft })) as Fact
    this.facts.push(fact)
    return fact
  }
}

/** Everything around missions, in memory, and shared by a daemon and the one that starts after it. */
export class World {
  readonly clock = new TestClock()
  readonly blobs = new Map<string, Uint8Array>()
  readonly records = new MemoryRecords()
  readonly actions = new Map<string, { spec: ActionSpecification; behave: Behave }>()
  readonly calls: ActionOrder[] = []
  readonly locked = new Set<string>()
  /** What the next answer names as its files. */
  artifacts: ArtifactRef[] = []
  /** How many of every module take calls. */
  instances = 1
  readonly notCallable = new Set<string>()
  readonly estimates = new Map<string, number>()
  readonly logs: string[] = []
  readonly questions: Question[] = []
  readonly plannerIds: string[] = []
  rune: { rune: string; plan: never[] } | undefined
  verdict: (question: Question) => Partial<Validation> = () => ({})
  settings: MissionPorts['settings'] = {
    concurrency: 16,
    lanes: { coin: 4, forge: 4, library: 4, sanctuary: 4 },
    queue_max: 10_000,
    lane_queue_max: 10_000,
    module_queue_max: 10_000,
    free_space_mb: 64,
    approval_days: 7,
  }
  freeBytes = 2 ** 40
  journal = new Journal(this.clock)

  constructor() {
    this.action('cortex/echo/say', ({ input }) => input, { idempotent: true })
    this.action('cortex/echo/once', ({ input }) => input)
  }

  action(uses: string, behave: Behave, spec: Partial<ActionSpecification> = {}): this {
    const whole = { description: uses, timeout_ms: 30_000, idempotent: false, concurrency: 1, ...spec }
    this.actions.set(uses, { spec: whole, behave })
    return this
  }

  ports(): MissionPorts {
    const blobs: Blobs = {
      put: async (bytes) => {
        const sha256 = createHash('sha256').update(bytes).digest('hex')
        this.blobs.set(sha256, bytes)
        return { sha256, bytes: bytes.length }
      },
      get: async (sha256) => this.blobs.get(sha256),
    }
    return {
      recorder: this.journal,
      calls: {
        action: (moduleId, action) => this.actions.get(`${moduleId}/${action}`)?.spec,
        module: (id) => ({
          known: [...this.actions.keys()].some((uses) => uses.startsWith(`${id}/`)),
          locked: this.locked.has(id),
          instances: this.instances,
          callable: !this.notCallable.has(id),
        }),
        planners: () => this.plannerIds,
        call: (order) => this.#call(order),
      },
      judge: {
        judge: (question) => this.#judge(question),
        readGoal: (goal) => ({
          fingerprint: `g-${goal.length}`,
          tokens: goal.toLowerCase().split(' ').sort(),
        }),
        planShape: (plan) => plan.map(({ uses }) => uses).join('>'),
      },
      runes: { best: () => this.rune },
      successEstimate: (id) => this.estimates.get(id) ?? 0.5,
      blobs,
      records: this.records,
      clock: this.clock,
      chance: seededChance(7),
      log: (level, message, fields) =>
        this.logs.push(`${level} ${message} ${fields?.['error'] ?? ''}`.trim()),
      settings: this.settings,
      freeBytes: async () => this.freeBytes,
    }
  }

  /** A daemon, started on what the journal holds. */
  async start(): Promise<Missions> {
    const missions = this.boot()
    await missions.recover()
    return missions
  }

  /** The same without `recover`. */
  boot(): Missions {
    const missions = new Missions(this.ports())
    for (const fact of this.journal.facts) missions.fold(fact)
    this.journal.listeners.push((fact) => missions.fold(fact))
    return missions
  }

  /** The daemon is gone; only the journal and the blobs are left. */
  restart(): Promise<Missions> {
    this.journal.kill()
    this.journal = new Journal(this.clock, this.journal.facts)
    return this.start()
  }

  /** How often each action did its work, as `step` names. */
  get steps(): string[] {
    return this.calls.map(({ mission, action }) => mission?.step ?? action)
  }

  async #call(order: ActionOrder): Promise<ActionAnswer> {
    const entry = this.actions.get(`${order.moduleId}/${order.action}`)
    if (entry === undefined)
      throw new NexusError('ACTION_UNKNOWN', { module: order.moduleId, action: order.action })
    this.calls.push(order)
    const output = await entry.behave(order)
    const common = { instance: `${order.moduleId}#1`, generation: 'ab12cd34', durationMs: 5, cpuMs: 2 }
    return { output, artifacts: this.artifacts.splice(0), ...common }
  }

  #judge(question: Question): Validation {
    this.questions.push(question)
    const hard = question.obstacle ?? question.modules.find(({ known }) => !known)?.module_id
    return {
      decision: hard === undefined ? 'SAFE' : 'FAILING',
      score: hard === undefined ? 74 : 0,
      axes: {},
      gates: hard === undefined ? [] : [{ gate: 'G0', because: hard }],
      reasons: hard === undefined ? ['proven'] : [hard],
      counterfactual: hard === undefined ? null : { sentence: 'give a plan that can run' },
      predicted: 0.8,
      scorer_version: 1,
      ...this.verdict(question),
    }
  }
}

export const anna: Authority = {
  principal: { kind: 'token', name: 'anna', roles: ['submitter'], permissions: [] },
  operatorKey: false,
}
export const operator: Authority = {
  principal: { kind: 'key', name: 'operator', roles: ['admin'], permissions: [] },
  operatorKey: true,
  keyId: 'k1',
}

/** A body of create whose steps call the echo. */
export function body(more: Partial<MissionCreate> = {}): MissionCreate {
  return {
    goal: 'Say something twice',
    category: 'coin',
    plan: [
      { id: 'first', uses: 'cortex/echo/say', with: { words: { $from: 'input.words' } } },
      { id: 'second', uses: 'cortex/echo/say', with: { again: { $from: 'steps.first.output.words' } } },
    ],
    input: { words: ['a', 'b'] },
    ...more,
  }
}

export const BORDERLINE = { decision: 'BORDERLINE', score: 48 } as const
export const FAILING = { decision: 'FAILING', score: 12, reasons: ['it never worked'] } as const

/** Lets all that waits only for promises go on, then shows the mission. */
export async function later(missions: Missions, id: string): Promise<MissionDetail> {
  await settle()
  return missions.get(id)
}

/** Types of the facts of the journal, `mission.` left out. */
export function types(world: World): string[] {
  return world.journal.facts.map(({ type }) => type.replace('mission.', ''))
}

export async function codeOf(work: Promise<unknown> | (() => unknown)): Promise<string> {
  try {
    await (typeof work === 'function' ? work() : work)
    return 'none'
  } catch (error) {
    return error instanceof NexusError ? error.code : String(error)
  }
}

/** Plans of up to six steps of these actions, with needs of every kind that can run. */
export function anyPlan(actions: readonly string[]): fc.Arbitrary<PlanStep[]> {
  const step = fc.record({
    action: fc.constantFrom(...actions),
    needs: fc.option(fc.array(fc.nat(5), { maxLength: 2 })),
  })
  return fc
    .array(step, { minLength: 1, maxLength: 6 })
    .map((steps) =>
      steps.map(({ action, needs }, index) => ({
        id: `s${index}`,
        uses: `cortex/echo/${action}`,
        ...(needs === null
          ? {}
          : { needs: [...new Set(needs.filter((n) => n < steps.length).map((n) => `s${n}`))] }),
      })),
    )
    .filter((plan) => planIssues(plan, { input: undefined, calls: { action: () => undefined } }).length === 0)
}
