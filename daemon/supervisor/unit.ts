import assert from 'node:assert'
import type { CatalogEntry, Generation } from '../catalog/port.ts'
import type { Actor } from '../contracts/fact.ts'
import { NexusError } from '../contracts/failure.ts'
import type { ActionSpecification, Manifest } from '../contracts/manifest.ts'
import type { ModuleState, ReloadResult } from '../contracts/status.ts'
import type { SpawnProfile } from '../host/port.ts'
import { Mailbox } from '../kit/mailbox.ts'
import { moveOf } from '../kit/state-table.ts'
import { Acceptance } from './acceptance.ts'
import { Assembly } from './assembly.ts'
import { CallDesk } from './call-desk.ts'
import { LIFECYCLE, type ModuleAct, type ModuleEvent } from './lifecycle-table.ts'
import { Losses } from './losses.ts'
import type { Need } from './needs.ts'
import type { ReloadOrder, SupervisorEnvironment } from './port.ts'
import { ModulePorts } from './ports.ts'
import { profileOf } from './provide.ts'
import { notReloaded } from './reload-result.ts'
import { Reloads } from './reloads.ts'
import { type ModuleMemory, ROLLED_BACK_BY_HAND } from './remembered.ts'
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
import { type Letter, SUPERVISOR, type UnitCore } from './unit-core.ts'
import { Witness } from './witness.ts'
import { Works } from './works.ts'

/** What a unit asks of its neighbours. */
export interface UnitNeighbours {
  /** How these modules stand now. */
  needs(requires: readonly string[]): readonly Need[]
  changed(unit: Unit): void
  readonly startQueue: StartQueue
}

const NONE: readonly Replica[] = []
const SCALED_TO_NONE = 'it is scaled to none'
const SERVING: ReadonlySet<ModuleState> = new Set(['started', 'reloading'])
const HOPEFUL: ReadonlySet<ModuleState> = new Set(['loaded', 'starting', 'waiting', 'backoff'])

/**
 * The supervisor's side of one module: the table decides, this acts, one letter at a time.
 *
 * Nothing here waits inside a letter: what takes time runs beside the mailbox and posts its end, so a stop is always
 * understood at once.
 */
export class Unit {
  readonly id: string
  readonly desk: CallDesk
  readonly #core: UnitCore
  readonly #neighbours: UnitNeighbours
  readonly #box: Mailbox<Letter>
  readonly #startUp: StartUp
  readonly #reloads: Reloads
  readonly #acceptance: Acceptance
  readonly #losses: Losses
  readonly #requirements: Requirements
  readonly #requests: Requests
  #entry: CatalogEntry | undefined
  /** Monotonic; undefined while it is ready. */
  #awaySinceMs: number | undefined
  /** The instances that come or go at last. */
  #fitting: Promise<void> = Promise.resolve()

  constructor(
    id: string,
    env: SupervisorEnvironment,
    memory: () => ModuleMemory,
    neighbours: UnitNeighbours,
  ) {
    this.id = id
    this.#neighbours = neighbours
    this.#box = new Mailbox((letter) => this.#read(letter), env.onBug)
    const ports = new ModulePorts(id, env.ports, () => this.takers)
    const requirements = new Requirements(env.clock, () => neighbours.needs(this.manifest?.requires ?? []))
    this.#requirements = requirements
    this.#awaySinceMs = env.clock.elapsed()
    this.#core = {
      id,
      env,
      memory,
      works: new Works(),
      standing: new Standing(env.clock),
      retries: new Retries(env.clock, env.chance, neighbours.startQueue),
      ports,
      assembly: new Assembly({
        moduleId: id,
        ports,
        env,
        memory,
        events: new Witness(() => ({ core: this.#core, desk: this.desk, reloads: this.#reloads })),
        proven: ({ id: generation, manifest }, runs) =>
          this.#record('module.self_tested', { generation, categories: manifest.categories, runs }),
      }),
      get isHeld() {
        return requirements.heldSinceMs !== undefined
      },
      shifted: () => {
        ports.direct()
        this.#weighReadiness()
      },
      post: (event, because, more) => this.#post(event, because, more),
      note: (type, d, actor) => void this.#record(type, d, actor), // never rejects
    }
    this.#startUp = new StartUp(this.#core)
    this.#reloads = new Reloads({
      core: this.#core,
      wanted: ({ manifest }) => replicasWanted(manifest, env.overrides[id]?.replicas, memory()),
      serve: (set, beside) => {
        const { works } = this.#core
        works.serving = set
        works.beside = beside
        this.desk.pump()
        this.#core.shifted()
      },
      committed: (set) => this.#acceptance.accept(set),
    })
    this.#acceptance = new Acceptance(this.#core, this.#reloads)
    this.#losses = new Losses({
      core: this.#core,
      startUp: this.#startUp,
      acceptance: this.#acceptance,
      requirements,
    })
    this.#requests = new Requests({
      full: () => new NexusError('MODULE_CHANGING', { module: id }),
      target: async (order) => {
        const { id: generation } = await this.#reloads.next(order)
        return { generation, settings: JSON.stringify(memory().config) }
      },
      serves: () => this.serves,
      reload: async (order) => {
        const { good = [] } = memory()
        const result = await this.reload(order)
        // Before anybody else has a turn: a save that waits would bring it back.
        if (order.abandons === true && result.reloaded) await this.#abandon(result, good, order.actor)
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
  get generation(): Generation | undefined {
    return this.serving?.generation ?? this.#core.works.generation
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
    return this.#requirements.heldSinceMs ?? this.#awaySinceMs
  }
  get replicasWanted(): number {
    const { env, memory } = this.#core
    return replicasWanted(this.manifest, env.overrides[this.id]?.replicas, memory())
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
  replicasOf(manifest: Manifest): number {
    const { env, memory } = this.#core
    return replicasWanted(manifest, env.overrides[this.id]?.replicas, memory())
  }

  /** Whether a generation was reverted or given up before, and why. */
  refusal(generation: string): { readonly phase: string; readonly reason: string } | undefined {
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
    if (entry.kind === 'invalid') this.#post('invalidate', entry.reason)
    else this.#post('load', 'its manifest is valid')
  }

  /** Resolves when it has come up. @throws NexusError why it did not. */
  async start(because: string): Promise<void> {
    const { retries, works } = this.#core
    retries.forgive()
    await this.#box.idle()
    if (SERVING.has(this.state) || this.state === 'starting') return this.#arrival()
    // An operator who starts a module expects what is on disk.
    if (works.serving === undefined) works.generation = undefined
    const needs = this.#requirements.judge()
    if (needs.met) this.#post('start', because)
    else this.#post('blocked', needs.because)
    await this.#arrival()
  }

  /** Resolves when nothing of it runs any more. */
  async stop(because: string): Promise<void> {
    this.#post('stop', because)
    await this.#box.idle()
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
    await this.#box.idle()
    await this.#needsDecided()
    if (!SERVING.has(this.state)) {
      const result = await renew(this.#core, this.#reloads, order, () => this.#arrival())
      if (result.reloaded) order.switched?.()
      return result
    }
    return new Promise((reply) => this.#post('reload', 'a reload was asked for', { order, reply }))
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
      await this.#box.idle()
      // A reload has its own number of instances, and afterwards there may be too many or too few.
      if (this.replicasWanted > 0 || this.state === 'reloading') await standing.rest()
      if (this.replicasWanted === 0) this.#post('emptied', because)
      else if (this.state === 'waiting' && this.serving === undefined) this.required(because)
      else this.#post('fit', because)
      await this.#box.idle()
    } while (this.state === 'reloading')
    await this.#fitting
    if (this.state === 'starting') await standing.rest()
  }

  /** The state of something it requires has changed, or the number of instances that are wanted. */
  required(because = 'what it requires is ready'): void {
    if (this.replicasWanted === 0) return
    const { standing, works } = this.#core
    const requirements = this.#requirements
    const needs = requirements.judge()
    if (this.state === 'waiting') {
      // With instances that say themselves that they are not ready, it waits for them.
      if (!this.#core.isHeld && works.serving !== undefined) return
      if (needs.met) this.#post(this.#isWhole ? 'unblocked' : 'due', because)
      else {
        requirements.hold(needs.awaySinceMs)
        standing.because = needs.because
      }
    }
    if (this.state !== 'started') return
    if (needs.met) {
      requirements.rest()
      this.#fill()
    } else if (needs.waitMs > 0) requirements.lookIn(needs.waitMs, () => this.required())
    else this.#post('blocked', needs.because)
  }

  // --- the mailbox -------------------------------------------------------------------------------------------

  #post(event: ModuleEvent, because: string, more: Omit<Letter, 'event' | 'because'> = {}): void {
    this.#box.post({ event, because, ...more })
  }

  #read(letter: Letter): void {
    const { works, standing, env } = this.#core
    if (letter.run !== undefined && letter.run !== works.run) return
    const move = moveOf<ModuleState, ModuleEvent, ModuleAct>(LIFECYCLE, this.state, letter.event)
    if (move === undefined) {
      env.log('debug', `${this.id} is ${this.state} and ignores ${letter.event}`, { module: this.id })
      letter.reply?.(this.#unchanged(`it is ${this.state}`))
      return
    }
    if (move.to !== 'waiting') this.#requirements.release()
    standing.enter(move.to, letter.because)
    this.#act(move.act, letter)
    this.#weighReadiness()
    this.#neighbours.changed(this)
    standing.settle()
  }

  #act(act: ModuleAct, letter: Letter): void {
    switch (act) {
      case 'bring':
        this.#bring(letter)
        break
      case 'announce':
        this.#announce(letter)
        break
      case 'judge':
        this.#judge(letter)
        break
      case 'hold':
        this.#hold()
        break
      case 'resume':
        this.#resume(letter)
        break
      case 'swap':
        this.#swap(letter)
        break
      case 'fit':
        this.#fit(letter)
        break
      case 'empty':
        this.#empty()
        break
      case 'halt':
        this.#halt()
        break
      case 'alarm':
        this.#core.env.log('error', `${this.id} is in a crash loop: ${letter.because}`, { module: this.id })
        if (!this.ready) this.desk.dismiss()
        break
      case 'giveUp':
      case 'reject':
        this.#discard()
        // Nothing comes up by itself: who knocks had better be told so at once.
        this.#core.ports.release().catch(this.#core.env.onBug)
        this.desk.dismiss()
        break
      case 'rest':
        if (!this.callable) this.desk.dismiss()
        this.desk.pump()
        this.required()
        break
      case 'wait':
        break
    }
  }

  #bring({ event, generation }: Letter): void {
    const { retries, works } = this.#core
    retries.disarm()
    if (event === 'renew' || event === 'fallback') this.#discard()
    if (generation !== undefined) works.generation = generation
    const needs = this.#requirements.judge()
    if (this.replicasWanted === 0) this.#post('blocked', SCALED_TO_NONE)
    else if (needs.met)
      this.#fitting = this.#startUp.begin(() => this.replicasWanted) // never rejects
    else if (this.state === 'starting') this.#post('blocked', needs.because)
  }

  /** Calls wait from here on; whatever runs of it stays up. */
  #hold(): void {
    const needs = this.#requirements.judge()
    if (this.replicasWanted === 0) return
    const { works, env, note, ports } = this.#core
    this.#requirements.hold(needs.met ? env.clock.elapsed() : needs.awaySinceMs)
    ports.direct()
    if (works.isReady) note('module.waiting', { reason: this.because })
    this.required() // it may be back by now
  }

  #resume({ event, because }: Letter): void {
    this.desk.pump()
    this.#core.ports.direct()
    if (event === 'unblocked') this.#core.note('module.resumed', { reason: because })
    // What was wished for while it could not be heard.
    if (this.replicasWanted === 0) this.#post('emptied', SCALED_TO_NONE)
    this.required()
  }

  /** More come up beside those that are there; the surplus drains and stops. */
  #fit(letter: Letter): void {
    const { retries, works } = this.#core
    const set = this.serving
    const { timeouts } = this.manifest ?? {}
    const surplus = (set?.staying.length ?? 0) - this.replicasWanted
    if (set === undefined || timeouts === undefined || surplus < 0) {
      this.#bring(letter)
      return
    }
    retries.disarm()
    if (surplus === 0) return
    this.#fitting = works.release(set, set.surplus(surplus))
    this.desk.pump()
  }

  #empty(): void {
    const { works, ports, standing, env } = this.#core
    standing.because = SCALED_TO_NONE
    this.#discard()
    this.desk.dismiss()
    const over = async (): Promise<void> => {
      await works.retired()
      if (this.replicasWanted === 0) await ports.release()
    }
    this.#fitting = over().catch(env.onBug)
  }

  #announce({ event }: Letter): void {
    this.desk.pump()
    const set = this.serving
    if (event === 'up' && set !== undefined) {
      const { id: generation, manifest } = set.generation
      this.#core.note('module.started', { generation, version: manifest.version })
      this.#acceptance.await(set)
    }
    this.required()
  }

  #judge(letter: Letter): void {
    assert(this.manifest !== undefined, 'what runs has a manifest')
    const { restart, timeouts } = this.manifest
    this.#losses.judge(letter, { restart, settleMs: timeouts.settle_ms })
  }

  #swap({ order, reply }: Letter): void {
    const old = this.serving
    assert(order !== undefined && old !== undefined, 'a reload comes with its order, while something serves')
    this.#reloads.begin(order, old).then((result) => reply?.(result), this.#core.env.onBug)
  }

  #halt(): void {
    const { works, note, env } = this.#core
    this.#reloads.abort('the module was stopped')
    this.#discard()
    this.desk.dismiss()
    works.generation = undefined
    const { run } = works
    const over = async (): Promise<void> => {
      await this.#reloads.idle()
      await works.retired()
      await this.#core.ports.release()
      note('module.stopped', { reason: this.because })
      this.#post('halted', this.because, { run })
    }
    over().catch(env.onBug)
  }

  // --- small things ------------------------------------------------------------------------------------------

  /** Whatever runs or comes up is no longer wanted. */
  #discard(): void {
    const { works, retries } = this.#core
    retries.disarm()
    this.#requirements.rest()
    this.#acceptance.cancel()
    works.discard()
  }

  get #isWhole(): boolean {
    const { works } = this.#core
    return works.isReady && (works.serving?.staying.length ?? 0) >= this.replicasWanted
  }

  /** Makes up for what happened while nobody could judge it: during a reload, or while what it requires was away. */
  #fill(): void {
    const { retries, works } = this.#core
    const missing = this.replicasWanted - (this.serving?.staying.length ?? 0)
    const { isBusy, isShort } = this.#startUp
    if (isBusy || isShort || retries.atMs !== undefined) return
    if (missing > 0) this.#post('due', 'some of it was lost meanwhile', { run: works.run })
    if (missing < 0) this.#post('fit', 'fewer are wanted than there are', { run: works.run })
  }

  /** What somebody left for a generation that is to stay: the content of the folder, and what was good after that one. */
  async #abandon(
    { generation, previous_generation: left }: ReloadResult,
    good: readonly string[],
    actor: Actor,
  ) {
    // A folder that cannot be read brings nothing up by itself.
    const held = await this.#core.env.catalog.survey(this.id).catch(() => undefined)
    const wentBack = left !== null && good.indexOf(generation ?? '') < good.indexOf(left)
    for (const id of new Set([held?.id, ...(wentBack && good.includes(generation ?? '') ? [left] : [])])) {
      if (id === undefined || id === generation || this.refusal(id) !== undefined) continue
      const reason = `${actor.name} went back to ${generation?.slice(0, 12)}`
      this.#reloads.condemn(id, ROLLED_BACK_BY_HAND, reason)
      const d = { generation: id, phase: ROLLED_BACK_BY_HAND, reason, to: generation }
      await this.#record('module.generation_refused', d, actor)
    }
  }

  /** Those that require it are told when it comes or goes, whatever its state is called. */
  #weighReadiness(): void {
    const { ready } = this
    if (ready === (this.#awaySinceMs === undefined)) return
    this.#awaySinceMs = ready ? undefined : this.#core.env.clock.elapsed()
    this.#neighbours.changed(this)
  }

  /** New code is not started into an absence that is over in a moment. */
  async #needsDecided(): Promise<void> {
    for (;;) {
      const needs = this.#requirements.judge()
      if (this.state !== 'started' || needs.met || needs.waitMs <= 0) return
      this.required()
      await this.#requirements.rested()
      await this.#box.idle()
    }
  }

  #noCalls(): NexusError {
    if (this.replicasWanted === 0) return new NexusError('MODULE_SCALED_TO_NONE', { module: this.id })
    return new NexusError('MODULE_NOT_READY', { module: this.id, state: this.state })
  }

  #unchanged(reason: string): ReloadResult {
    return notReloaded(this.id, this.generation?.id ?? null, reason)
  }

  async #record(
    type: string,
    d: Readonly<Record<string, unknown>>,
    actor: Actor = SUPERVISOR,
  ): Promise<void> {
    const { env } = this.#core
    const told = Object.entries({ module_id: this.id, ...d }).filter(([, value]) => value !== undefined)
    try {
      await env.append({ type, actor, d: Object.fromEntries(told) })
    } catch (error) {
      env.log('error', `${type} was not recorded: ${error}`, { module: this.id })
    }
  }

  async #arrival(): Promise<void> {
    await this.#box.idle()
    await this.#core.standing.rest()
    if (SERVING.has(this.state) || this.state === 'waiting') return
    if (this.failure !== undefined) throw this.failure
    throw new NexusError('MODULE_WRONG_STATE', { module: this.id, state: this.state, wanted: 'serve' })
  }
}
