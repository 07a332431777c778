import assert from 'node:assert'
import type { CatalogEntry, Generation } from '../catalog/port.ts'
import type { Actor } from '../contracts/fact.ts'
import { NexusError } from '../contracts/failure.ts'
import type { ActionSpecification, Manifest } from '../contracts/manifest.ts'
import type { ModuleState, ReloadResult } from '../contracts/status.ts'
import type { SpawnProfile } from '../host/port.ts'
import type { Timer } from '../kit/clock.ts'
import { Mailbox } from '../kit/mailbox.ts'
import { moveOf } from '../kit/state-table.ts'
import { Assembly } from './assembly.ts'
import { CallDesk } from './call-desk.ts'
import { LIFECYCLE, type ModuleAct, type ModuleEvent } from './lifecycle-table.ts'
import type { ReloadOrder, SupervisorEnvironment } from './port.ts'
import { ModulePorts } from './ports.ts'
import { profileOf } from './provide.ts'
import { notReloaded } from './reload-result.ts'
import { Reloads } from './reloads.ts'
import type { ModuleMemory } from './remembered.ts'
import type { Replica, ReplicaSet } from './replica-set.ts'
import { Retries } from './retries.ts'
import { effectiveConfig } from './settings.ts'
import { Standing } from './standing.ts'
import type { StartQueue } from './start-queue.ts'
import { EXIT_CONFIG } from './start-failure.ts'
import { StartUp } from './start-up.ts'
import { type Letter, SUPERVISOR, type UnitCore } from './unit-core.ts'
import { Witness } from './witness.ts'
import { Works } from './works.ts'

/** What a unit asks of its neighbours. */
export interface UnitNeighbours {
  /** The first of `requires` that is not ready, if any. */
  missing(requires: readonly string[]): string | undefined
  changed(unit: Unit): void
  readonly startQueue: StartQueue
}

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
  #entry: CatalogEntry | undefined
  #settling: Timer | undefined

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
      post: (event, because, more) => this.#post(event, because, more),
      note: (type, d, actor) => void this.#record(type, d, actor), // never rejects
    }
    this.#startUp = new StartUp(this.#core)
    this.#reloads = new Reloads({
      core: this.#core,
      wanted: ({ manifest }) => env.overrides[id]?.replicas ?? manifest.replicas,
      serve: (set) => {
        this.#core.works.serving = set
        this.desk.pump()
        ports.direct()
      },
      committed: (set) => this.#accept(set),
    })
    this.desk = new CallDesk({
      moduleId: id,
      clock: env.clock,
      ready: () => this.takers,
      mayWait: () => this.callable,
      notReady: () => new NexusError('MODULE_NOT_READY', { module: id, state: this.state }),
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
    return this.#core.works.ready
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
    return SERVING.has(this.state) || HOPEFUL.has(this.state)
  }
  get ready(): boolean {
    return this.#core.works.isReady
  }
  get replicasWanted(): number {
    return this.#core.env.overrides[this.id]?.replicas ?? this.manifest?.replicas ?? 1
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
    const missing = this.#missing()
    if (missing === undefined) this.#post('start', because)
    else this.#post('blocked', `it requires ${missing}`)
    await this.#arrival()
  }

  /** Resolves when nothing of it runs any more. */
  async stop(because: string): Promise<void> {
    this.#post('stop', because)
    await this.#box.idle()
    await this.#core.standing.rest()
    await this.#core.works.retired()
  }

  /** Loads new code. While it serves this is a swap; otherwise a fresh start. */
  async reload(order: ReloadOrder): Promise<ReloadResult> {
    await this.#box.idle()
    if (!SERVING.has(this.state)) return this.#renew(order)
    return new Promise((reply) => this.#post('reload', 'a reload was asked for', { order, reply }))
  }

  /** The state of something it requires has changed. */
  required(): void {
    if (this.state !== 'waiting' || this.serving !== undefined) return
    if (this.#missing() === undefined) this.#post('due', 'what it requires is ready')
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
    standing.enter(move.to, letter.because)
    this.#act(move.act, letter)
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
      case 'swap':
        this.#swap(letter)
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
        break
      case 'wait':
        break
    }
  }

  #bring({ event }: Letter): void {
    this.#core.retries.disarm()
    if (event === 'renew' || event === 'fallback') this.#discard()
    const missing = this.#missing()
    if (missing !== undefined && this.serving === undefined) this.#post('blocked', `it requires ${missing}`)
    else void this.#startUp.begin(this.replicasWanted) // never rejects
  }

  #announce({ event }: Letter): void {
    this.desk.pump()
    const { env, note } = this.#core
    const set = this.serving
    if (event !== 'up' || set === undefined) return
    const { id: generation, manifest } = set.generation
    note('module.started', { generation, version: manifest.version })
    this.#settling?.cancel()
    this.#settling = env.clock.after(manifest.timeouts.settle_ms, () => this.#accept(set))
  }

  #judge(letter: Letter): void {
    const { crash } = letter
    const { retries, note } = this.#core
    const { manifest } = this
    assert(crash !== undefined && manifest !== undefined, 'a loss comes with its crash')
    if (letter.exitCode === EXIT_CONFIG) {
      this.#post('broken', 'it exited with 78: its settings are wrong')
      return
    }
    const young = this.#settling !== undefined && crash.readyMs < manifest.timeouts.settle_ms
    if (letter.event === 'exited' && young && !crash.displaced && this.#startUp.fallBack('settle', letter.because)) return

    const { policy, within_ms: withinMs } = manifest.restart
    const verdict = retries.judge(crash, manifest.restart)
    switch (verdict.restart) {
      case 'never':
        this.#post('done', `${letter.because}; its restart policy is ${policy}`)
        break
      case 'spent':
        note('module.crashloop', { crashes: verdict.crashes, reason: letter.because })
        this.#tryAgain(verdict.waitMs, 'one try in five minutes')
        this.#post('spent', `${verdict.crashes} crashes in ${withinMs} ms: ${letter.because}`)
        break
      case 'now':
        this.#tryAgain(0, 'it crashed and is started again')
        break
      case 'later':
        this.#tryAgain(verdict.waitMs, 'its backoff is over')
        break
      case 'again':
        this.#tryAgain(verdict.waitMs, 'it was displaced and is started again', 'freely')
        break
    }
  }

  #swap({ order, reply }: Letter): void {
    const old = this.serving
    assert(order !== undefined && old !== undefined, 'a reload comes with its order, while something serves')
    const done = this.#reloads.running
      ? this.#reloads.supersede(order, () => this.reload(order))
      : this.#reloads.begin(order, old)
    done.then((result) => reply?.(result), this.#core.env.onBug)
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

  /** A generation that has settled is the one to go back to from now on. */
  #accept(set: ReplicaSet): void {
    const { memory, note, env } = this.#core
    const former = memory().lastGood
    const { id: generation } = set.generation
    if (this.serving !== set || former === generation) return
    note('module.generation_accepted', { generation })
    // A swap under way has staged a generation that nobody else knows of yet.
    if (this.#reloads.running) return
    env.catalog
      .prune(this.id, [generation, former ?? generation])
      .catch((error) => env.log('warn', `old generations stay: ${error}`, { module: this.id }))
  }

  /** Whatever runs or comes up is no longer wanted. */
  #discard(): void {
    const { works, retries } = this.#core
    retries.disarm()
    this.#settling?.cancel()
    this.#settling = undefined
    works.discard()
  }

  #tryAgain(waitMs: number, because: string, how: 'in turn' | 'freely' = 'in turn'): void {
    const { retries, works } = this.#core
    const { run } = works
    const ring = (): void => this.#post('due', because, { run })
    if (how === 'freely') retries.armFreely(waitMs, ring)
    else retries.arm(waitMs, ring)
  }

  #missing(): string | undefined {
    return this.#neighbours.missing(this.manifest?.requires ?? [])
  }

  async #renew(order: ReloadOrder): Promise<ReloadResult> {
    const { env, retries, works } = this.#core
    const startedMs = env.clock.elapsed()
    const previous = this.generation?.id ?? null
    if (moveOf<ModuleState, ModuleEvent, ModuleAct>(LIFECYCLE, this.state, 'renew') === undefined) {
      return this.#unchanged(`it is ${this.state}`)
    }
    const next = await this.#reloads.next(order)
    if (order.onlyIfChanged && next.id === previous && this.state !== 'failed') {
      return this.#unchanged('the content is the same')
    }
    retries.forgive()
    works.generation = next
    this.#post('renew', 'its code or its settings changed')
    await this.#arrival().catch(() => {}) // the result says how it went
    const reloaded = this.state === 'started' && this.generation?.id === next.id
    const durationMs = Math.round(env.clock.elapsed() - startedMs)
    return {
      ...this.#unchanged(this.because),
      reloaded,
      strategy: 'immediate',
      previous_generation: previous,
      rolled_back: !reloaded && this.state === 'started',
      duration_ms: durationMs,
      downtime_ms: durationMs,
    }
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
