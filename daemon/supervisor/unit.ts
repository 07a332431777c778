import assert from 'node:assert'
import type { CatalogEntry, Generation } from '../catalog/port.ts'
import type { Actor } from '../contracts/fact.ts'
import { NexusError } from '../contracts/failure.ts'
import type { ActionSpecification, Manifest } from '../contracts/manifest.ts'
import type { ModuleState, ReloadResult } from '../contracts/status.ts'
import type { SpawnProfile } from '../host/port.ts'
import { abandon } from './abandon.ts'
import { Acceptance } from './acceptance.ts'
import { Assembly } from './assembly.ts'
import { CallDesk } from './call-desk.ts'
import { Fitting } from './fitting.ts'
import { Life } from './life.ts'
import { Losses } from './losses.ts'
import type { ReloadOrder, SupervisorEnvironment } from './port.ts'
import { ModulePorts } from './ports.ts'
import { type Needs, Presence } from './presence.ts'
import { profileOf } from './provide.ts'
import { Reloads } from './reloads.ts'
import type { ModuleMemory } from './remembered.ts'
import { renew } from './renewal.ts'
import type { Replica, ReplicaSet } from './replica-set.ts'
import { Requests } from './requests.ts'
import { Requirements } from './requirements.ts'
import { Retries } from './retries.ts'
import { replicasWanted } from './scale.ts'
import { effectiveConfig } from './settings.ts'
import { Standing } from './standing.ts'
import type { StartQueue } from './start-queue.ts'
import { StartUp } from './start-up.ts'
import { strategyFor } from './strategies.ts'
import type { Refusal } from './swap.ts'
import { SUPERVISOR, type UnitCore } from './unit-core.ts'
import { Witness } from './witness.ts'
import { Works } from './works.ts'

/** What a unit asks of its neighbours. */
export interface UnitNeighbours {
  readonly needs: Needs
  changed(unit: Unit): void
  readonly startQueue: StartQueue
}

const NONE: readonly Replica[] = []
const SERVING: ReadonlySet<ModuleState> = new Set(['started', 'reloading'])
const HOPEFUL: ReadonlySet<ModuleState> = new Set(['loaded', 'starting', 'waiting', 'backoff'])

/** The supervisor's side of one module, as others see it: what it is, and what can be wanted of it. */
export class Unit {
  readonly id: string
  readonly desk: CallDesk
  readonly #core: UnitCore
  readonly #life: Life
  readonly #startUp: StartUp
  readonly #reloads: Reloads
  readonly #requests: Requests
  readonly #requirements: Requirements
  readonly #presence: Presence
  readonly #fitting: Fitting
  #entry: CatalogEntry | undefined

  constructor(
    id: string,
    env: SupervisorEnvironment,
    memory: () => ModuleMemory,
    neighbours: UnitNeighbours,
  ) {
    this.id = id
    const requirements = new Requirements(env.clock, () => neighbours.needs(this.manifest?.requires ?? []))
    const ports = new ModulePorts(id, env.ports, () => this.takers)
    const core: UnitCore = {
      id,
      env,
      memory,
      ports,
      self: this,
      works: new Works(),
      standing: new Standing(env.clock),
      retries: new Retries(env.clock, env.chance, neighbours.startQueue),
      assembly: new Assembly({
        moduleId: id,
        ports,
        turn: () => neighbours.startQueue.turn(),
        env,
        memory,
        events: new Witness(() => ({ core, desk: this.desk, reloads: this.#reloads })),
        proven: ({ id: generation, manifest }, runs) =>
          core.record('module.self_tested', { generation, categories: manifest.categories, runs }),
      }),
      get isHeld() {
        return requirements.heldSinceMs !== undefined
      },
      shifted: () => {
        ports.direct()
        this.#presence.weigh()
      },
      post: (event, because, more) => this.#life.post(event, because, more),
      record: (type, d, actor) => record(core, type, d, actor),
      note: (type, d, actor) => void record(core, type, d, actor), // never rejects
    }
    this.#core = core
    this.#requirements = requirements
    this.#startUp = new StartUp(this.#core)
    this.#reloads = new Reloads({
      core: this.#core,
      wanted: ({ manifest }) => replicasWanted(manifest, env.overrides[id]?.replicas, memory()),
      needs: neighbours.needs,
      serve: (set, beside) => {
        const { works } = this.#core
        works.serving = set
        works.beside = beside
        this.desk.pump()
        this.#core.shifted()
      },
      committed: (set) => acceptance.accept(set),
    })
    const acceptance = new Acceptance(core, this.#reloads)
    this.#fitting = new Fitting(core, this.#startUp, () => this.desk)
    this.#presence = new Presence({
      core,
      requirements,
      fill: () => this.#fitting.fill(),
      idle: () => this.#life.idle(),
      changed: () => neighbours.changed(this),
    })
    const losses = new Losses({ core, startUp: this.#startUp, acceptance, requirements })
    this.#requests = new Requests({
      full: () => new NexusError('MODULE_CHANGING', { module: id }),
      target: async (order) => {
        const { id: generation, manifest } = await this.#reloads.next(order)
        const strategy = strategyFor(order.strategy, this.manifest ?? manifest, manifest)
        return { generation, strategy, settings: JSON.stringify(memory().config) }
      },
      serves: () => this.serves,
      reload: async (order) => {
        const { good = [] } = memory()
        const result = await this.reload(order)
        // Before anybody else has a turn: a save that waits would bring it back.
        if (order.abandons === true && result.reloaded) {
          await abandon(core, this.#reloads, result, good, order.actor)
        }
        return result
      },
      giveWayTo: (generation) => this.#reloads.giveWayTo(generation),
    })
    this.desk = new CallDesk({
      moduleId: id,
      clock: env.clock,
      ready: () => this.takers,
      mayWait: () => this.callable,
      notReady: () => this.#noCalls(),
      keep: (bytes) => env.keep(bytes),
    })
    const changed = (): void => neighbours.changed(this)
    const { desk } = this
    const parts = {
      ...{ core, desk, acceptance, losses, requirements, changed },
      ...{ reloads: this.#reloads, presence: this.#presence, fitting: this.#fitting },
    }
    this.#life = new Life(() => parts, env.onBug)
  }

  // --- what others may know ----------------------------------------------------------------------------------

  get state(): ModuleState {
    return this.#core.standing.state
  }
  get sinceMs(): number {
    return this.#core.standing.sinceMs
  }
  get because(): string {
    return this.#core.standing.because
  }
  get retryAtMs(): number | undefined {
    return this.#core.retries.atMs
  }
  get restarts(): number {
    return this.#core.retries.count
  }
  get lastReload(): ReloadResult | undefined {
    return this.#reloads.last
  }
  get failure(): NexusError | undefined {
    return this.#startUp.failure
  }
  get serving(): ReplicaSet | undefined {
    return this.#core.works.serving
  }
  /** Every replica that takes calls now: those that connections may be led to, too. */
  get takers(): readonly Replica[] {
    return this.#core.isHeld ? NONE : this.#core.works.ready
  }
  /** Those, and the ones that take no calls. */
  get replicas(): readonly Replica[] {
    return this.#core.works.replicas
  }
  get generation(): Generation | undefined {
    return this.#core.works.current
  }
  /** Of what runs, else of what is on disk. */
  get manifest(): Manifest | undefined {
    return this.generation?.manifest ?? (this.#entry?.kind === 'valid' ? this.#entry.manifest : undefined)
  }
  get invalidity(): Extract<CatalogEntry, { kind: 'invalid' }> | undefined {
    return this.#entry?.kind === 'invalid' ? this.#entry : undefined
  }
  /** A call is taken: at once, or after a wait that may end well. */
  get callable(): boolean {
    return (SERVING.has(this.state) || HOPEFUL.has(this.state)) && this.replicasWanted > 0
  }
  /** Whoever requires it finds it. */
  get ready(): boolean {
    return this.takers.length > 0
  }
  /** A reload would be a swap. */
  get serves(): boolean {
    return SERVING.has(this.state)
  }
  /** Monotonic, of the absence that caused it; undefined while it is ready. */
  get awaySinceMs(): number | undefined {
    return this.#presence.awaySinceMs
  }
  get replicasWanted(): number {
    return this.replicasOf(this.manifest)
  }
  /** It is not started unless somebody asks for it, though it should run. */
  get rests(): boolean {
    return this.#core.env.restsBecause !== undefined
  }
  get wanted(): 'running' | 'stopped' {
    const standard = this.#core.env.overrides[this.id]?.enabled ?? this.manifest?.autostart ?? true
    return this.#core.memory().desired ?? (standard ? 'running' : 'stopped')
  }
  /** The settings in force. @throws NexusError `CONFIG_VALUE_INVALID` when they do not fit. */
  get config(): Readonly<Record<string, unknown>> {
    return (
      this.serving?.config ?? (this.manifest === undefined ? {} : this.configWith(this.#core.memory().config))
    )
  }

  /** How many instances of this code would run. */
  replicasOf(manifest: Manifest | undefined): number {
    const { env, memory } = this.#core
    return replicasWanted(manifest, env.overrides[this.id]?.replicas, memory())
  }

  /** Whether a generation was reverted or given up before, and why. */
  refusal(generation: string): Refusal | undefined {
    return this.#reloads.refused(generation)
  }

  spec(action: string): ActionSpecification | undefined {
    return this.manifest?.actions[action]
  }

  /** What a host of it would be started with. */
  profile(): SpawnProfile | undefined {
    return this.manifest === undefined ? undefined : profileOf(this.manifest, this.#core.env)
  }

  /** The settings as they would be. @throws NexusError `CONFIG_VALUE_INVALID` with the pointer. */
  configWith(configured: Readonly<Record<string, unknown>>, key = ''): Readonly<Record<string, unknown>> {
    assert(this.manifest !== undefined, 'settings belong to a module that was read')
    return effectiveConfig(this.manifest, this.#core.env.overrides[this.id]?.config ?? {}, configured, key)
  }

  // --- what others may want ----------------------------------------------------------------------------------

  /** The folder as it is now. What runs goes on; what does not is judged afresh. */
  load(entry: CatalogEntry): void {
    this.#entry = entry
    if (entry.kind === 'invalid') this.#core.post('invalidate', entry.reason)
    else this.#core.post('load', this.#core.env.restsBecause ?? 'its manifest is valid')
  }

  /** Resolves when it has come up. @throws NexusError why it did not. */
  async start(because: string): Promise<void> {
    const { retries, works } = this.#core
    retries.forgive()
    await this.#life.idle()
    if (SERVING.has(this.state) || this.state === 'starting') return this.#arrival()
    // An operator who starts a module expects what is on disk.
    if (works.serving === undefined) works.generation = undefined
    const needs = this.#requirements.judge()
    if (needs.met) this.#core.post('start', because)
    else this.#core.post('blocked', needs.because)
    await this.#arrival()
  }

  /** Resolves when nothing of it runs any more. */
  async stop(because: string): Promise<void> {
    this.#core.post('stop', because)
    await this.#life.idle()
    await this.#core.standing.rest()
    await this.#core.works.retired()
  }

  /** Loads new code when it is this order's turn; equal orders are one. @throws NexusError when there is no such code. */
  request(order: ReloadOrder): Promise<ReloadResult> {
    return this.#requests.reload(order)
  }

  /** Any other change of it that must not meet a reload: one after the other. */
  change<T>(work: () => Promise<T>): Promise<T> {
    return this.#requests.change(work)
  }

  /** Loads new code now, for whoever has its turn. While something serves this is a swap; otherwise a fresh start. */
  async reload(order: ReloadOrder): Promise<ReloadResult> {
    await this.#life.idle()
    await this.#presence.decided()
    while (SERVING.has(this.state)) {
      const result = await new Promise<ReloadResult | undefined>((reply) =>
        this.#core.post('reload', 'a reload was asked for', { order, reply }),
      )
      if (result !== undefined) return result
      await this.#core.standing.rest()
    }
    const result = await renew(this.#core, this.#reloads, order, () => this.#arrival())
    if (result.reloaded) order.switched?.()
    return result
  }

  /** The same code with other settings, tried out; they are the caller's to remember. For whoever has its turn. */
  swapSettings(configured: Readonly<Record<string, unknown>>, actor: Actor): Promise<ReloadResult> {
    const generation = this.generation?.id
    const named = generation === undefined ? {} : { generation }
    return this.reload({ onlyIfChanged: false, actor, configured, ...named })
  }

  /** Its settings have changed while nothing of it ran: if it had given up, it is started with them. */
  async renewed(actor: Actor): Promise<void> {
    // One that is there and waits by its own word may have waited for just this.
    if (this.state === 'stopped' || (this.state === 'waiting' && this.serving === undefined)) return
    const generation = this.generation?.id
    const named = generation === undefined ? {} : { generation }
    await this.reload({ onlyIfChanged: false, actor, ...named })
  }

  /** Brings as many instances as are wanted; resolves when they are there, or gone. */
  async fit(because: string): Promise<void> {
    const { standing } = this.#core
    do {
      await this.#life.idle()
      // A reload has its own number of instances, and afterwards there may be too many or too few.
      if (this.replicasWanted > 0 || this.state === 'reloading') await standing.rest()
      if (this.replicasWanted === 0) this.#core.post('emptied', because)
      else if (this.state === 'waiting' && this.serving === undefined) this.required(because)
      else this.#core.post('fit', because)
      await this.#life.idle()
    } while (this.state === 'reloading')
    await this.#fitting.done
    if (this.state === 'starting') await standing.rest()
  }

  /** The state of something it requires has changed, or the number of instances that are wanted. */
  required(because = 'what it requires is ready'): void {
    this.#presence.look(because)
  }

  #noCalls(): NexusError {
    if (this.replicasWanted === 0) return new NexusError('MODULE_SCALED_TO_NONE', { module: this.id })
    return new NexusError('MODULE_NOT_READY', { module: this.id, state: this.state })
  }

  async #arrival(): Promise<void> {
    await this.#life.idle()
    await this.#core.standing.rest()
    if (SERVING.has(this.state) || this.state === 'waiting') return
    if (this.failure !== undefined) throw this.failure
    throw new NexusError('MODULE_WRONG_STATE', { module: this.id, state: this.state, wanted: 'serve' })
  }
}

async function record(
  { id, env }: UnitCore,
  type: string,
  d: Readonly<Record<string, unknown>>,
  actor: Actor = SUPERVISOR,
): Promise<void> {
  const told = Object.entries({ module_id: id, ...d }).filter(([, value]) => value !== undefined)
  try {
    await env.append({ type, actor, d: Object.fromEntries(told) })
  } catch (error) {
    env.log('error', `${type} was not recorded: ${error}`, { module: id })
  }
}
