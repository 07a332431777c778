import assert from 'node:assert'
import type { CatalogEntry, Generation } from '../catalog/port.ts'
import type { Actor } from '../contracts/fact.ts'
import { NexusError } from '../contracts/failure.ts'
import type { ActionSpecification, Manifest } from '../contracts/manifest.ts'
import type { ModuleState, ReloadResult } from '../contracts/status.ts'
import type { Departure, SpawnProfile } from '../host/port.ts'
import type { Timer } from '../kit/clock.ts'
import { Mailbox } from '../kit/mailbox.ts'
import { moveOf } from '../kit/state-table.ts'
import { Assembly, departureFact } from './assembly.ts'
import { CallDesk } from './call-desk.ts'
import { LIFECYCLE, type ModuleAct, type ModuleEvent } from './lifecycle-table.ts'
import type { ActionAnswer, ActionCall, ReloadOrder, SupervisorEnvironment } from './port.ts'
import { profileOf } from './provide.ts'
import { Reloads } from './reloads.ts'
import type { ModuleMemory } from './remembered.ts'
import { describeDeparture, type Replica, type ReplicaSet } from './replica-set.ts'
import { type Crash, FORGIVEN_AFTER_MS, type RestartBudget } from './restart-policy.ts'
import { Retries } from './retries.ts'
import { effectiveConfig } from './settings.ts'
import { EXIT_CONFIG, isFinal, reasonOf, toStartFailure } from './start-failure.ts'
import type { SwapEnd } from './swap.ts'

export const SUPERVISOR: Actor = { kind: 'daemon', name: 'supervisor' }

/** What a unit asks of its neighbours. */
export interface UnitNeighbours {
  /** The first of `requires` that is not ready, if any. */
  missing(requires: readonly string[]): string | undefined
  changed(unit: Unit): void
  readonly budget: RestartBudget
}

interface Letter {
  readonly event: ModuleEvent
  readonly because: string
  /** Letters of an older run are about code that is no longer wanted. */
  readonly run?: number
  readonly crash?: Crash
  readonly exitCode?: number | null
  readonly order?: ReloadOrder
  readonly reply?: (result: ReloadResult) => void
}

/**
 * The supervisor's side of one module: the table decides, this acts, one letter at a time.
 *
 * Nothing here waits inside a letter: what takes time runs beside the mailbox and posts its end, so a stop is always
 * understood at once.
 */
export class Unit {
  readonly id: string
  readonly desk: CallDesk
  readonly #env: SupervisorEnvironment
  readonly #memory: () => ModuleMemory
  readonly #neighbours: UnitNeighbours
  readonly #box: Mailbox<Letter>
  readonly #assembly: Assembly
  readonly #retries: Retries
  readonly #reloads: Reloads
  readonly #arrivals = new Set<() => void>()
  readonly #retiring = new Set<Promise<void>>()
  #state: ModuleState = 'discovered'
  #sinceMs: number
  #because = 'it was found on disk'
  #entry: CatalogEntry | undefined
  #generation: Generation | undefined
  #serving: ReplicaSet | undefined
  #run = 0
  #settleTimer: Timer | undefined
  #failure: NexusError | undefined
  #lastReload: ReloadResult | undefined

  constructor(
    id: string,
    env: SupervisorEnvironment,
    memory: () => ModuleMemory,
    neighbours: UnitNeighbours,
  ) {
    this.id = id
    this.#env = env
    this.#memory = memory
    this.#neighbours = neighbours
    this.#sinceMs = env.clock.now()
    this.#box = new Mailbox((letter) => this.#read(letter), env.onBug)
    this.desk = new CallDesk({
      moduleId: id,
      clock: env.clock,
      serving: () => this.#serving,
      mayWait: () => this.callable,
      notReady: () => new NexusError('MODULE_NOT_READY', { module: id, state: this.#state }),
      keep: (bytes) => env.keep(bytes),
    })
    this.#retries = new Retries(env.clock, env.chance, neighbours.budget)
    this.#assembly = new Assembly({
      moduleId: id,
      env,
      memory,
      events: {
        ready: () => this.#becameReady(),
        notReady: (_, reason) => this.#becameNotReady(reason),
        suspect: (replica, missingMs) => this.#suspected(replica, missingMs),
        departed: (replica, departure, readyMs) => this.#departed(replica, departure, readyMs),
      },
      proven: ({ id: generation, manifest }, runs) =>
        this.#record('module.self_tested', { generation, categories: manifest.categories, runs }),
    })
    this.#reloads = new Reloads({
      moduleId: id,
      env,
      assembly: this.#assembly,
      memory,
      wanted: ({ manifest }) => env.overrides[id]?.replicas ?? manifest.replicas,
      serve: (set) => {
        this.#serving = set
        this.desk.pump()
      },
      ended: (end, old, order) => this.#swapEnded(end, old, order),
    })
  }

  get state(): ModuleState {
    return this.#state
  }
  get sinceMs(): number {
    return this.#sinceMs
  }
  get because(): string {
    return this.#because
  }
  get retryAtMs(): number | undefined {
    return this.#retries.atMs
  }
  get serving(): ReplicaSet | undefined {
    return this.#serving
  }
  get generation(): Generation | undefined {
    return this.#serving?.generation ?? this.#generation
  }
  get restarts(): number {
    return this.#retries.count
  }
  get lastReload(): ReloadResult | undefined {
    return this.#lastReload
  }
  get failure(): NexusError | undefined {
    return this.#failure
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
    return CALLABLE.has(this.#state)
  }
  get ready(): boolean {
    return (this.#serving?.ready.length ?? 0) > 0
  }
  get replicasWanted(): number {
    return this.#env.overrides[this.id]?.replicas ?? this.manifest?.replicas ?? 1
  }
  get wanted(): 'running' | 'stopped' {
    const standard = this.#env.overrides[this.id]?.enabled ?? this.manifest?.autostart ?? true
    return this.#memory().desired ?? (standard ? 'running' : 'stopped')
  }
  get config(): Readonly<Record<string, unknown>> {
    return this.#serving?.config ?? (this.manifest === undefined ? {} : this.#configOf(this.manifest))
  }

  /** The folder as it is now. What runs goes on; what does not is judged afresh. */
  load(entry: CatalogEntry): void {
    this.#entry = entry
    if (entry.kind === 'invalid') this.#post('invalidate', entry.reason)
    else this.#post('load', 'its manifest is valid')
  }

  /** Resolves when it has come up, or has failed to. @throws NexusError why it did not. */
  async start(because: string): Promise<void> {
    this.#retries.forgive()
    await this.#box.idle()
    if (SERVING.has(this.#state) || this.#state === 'starting') return this.#arrival()
    this.#generationOfDisk()
    const missing = this.#neighbours.missing(this.manifest?.requires ?? [])
    this.#post(
      missing === undefined ? 'start' : 'blocked',
      missing === undefined ? because : `it requires ${missing}`,
    )
    await this.#arrival()
  }

  /** Resolves when nothing of it runs any more. */
  async stop(because: string): Promise<void> {
    this.#post('stop', because)
    await this.#box.idle()
    while (this.#state === 'stopping') await new Promise<void>((resolve) => this.#arrivals.add(resolve))
    await Promise.all(this.#retiring)
  }

  /** Loads new code. While it serves this is a swap; otherwise a fresh start with what is on disk. */
  async reload(order: ReloadOrder): Promise<ReloadResult> {
    await this.#box.idle()
    if (this.#state === 'started' || this.#state === 'reloading') {
      return new Promise((reply) => this.#post('reload', 'a reload was asked for', { order, reply }))
    }
    return this.#renew(order)
  }

  /** The state of something it requires has changed. */
  required(): void {
    if (this.#state !== 'waiting' || this.#serving !== undefined) return
    const missing = this.#neighbours.missing(this.manifest?.requires ?? [])
    if (missing === undefined) this.#post('due', 'what it requires is ready')
  }

  spec(action: string): ActionSpecification | undefined {
    return this.manifest?.actions[action]
  }

  call(call: ActionCall, spec: ActionSpecification): Promise<ActionAnswer> {
    return this.desk.call(call, spec)
  }

  /** What a host of it would be started with. */
  profile(): SpawnProfile | undefined {
    return this.manifest === undefined ? undefined : profileOf(this.manifest, this.#env)
  }

  /** The settings in force change: live instances keep what they were told. */
  reconfigured(config: Readonly<Record<string, unknown>>): void {
    if (this.#serving !== undefined) Object.assign(this.#serving, { config })
  }

  configWith(configured: Readonly<Record<string, unknown>>, key: string): Readonly<Record<string, unknown>> {
    assert(this.manifest !== undefined)
    return effectiveConfig(this.manifest, this.#env.overrides[this.id]?.config ?? {}, configured, key)
  }

  // --- the mailbox -------------------------------------------------------------------------------------------

  #post(event: ModuleEvent, because: string, more: Omit<Letter, 'event' | 'because'> = {}): void {
    this.#box.post({ event, because, ...more })
  }

  #read(letter: Letter): void {
    if (letter.run !== undefined && letter.run !== this.#run) return
    const move = moveOf<ModuleState, ModuleEvent, ModuleAct>(LIFECYCLE, this.#state, letter.event)
    if (move === undefined) {
      this.#env.log('debug', `${this.id} is ${this.#state} and ignores ${letter.event}`, { module: this.id })
      letter.reply?.(this.#refusal(`${this.id} is ${this.#state}`))
      return
    }
    this.#enter(move.to, letter.because)
    this.#act(move.act, letter)
    this.#neighbours.changed(this)
    if (RESTING.has(this.#state)) this.#arrive()
  }

  #enter(state: ModuleState, because: string): void {
    if (state !== this.#state) this.#sinceMs = this.#env.clock.now()
    this.#state = state
    this.#because = because
  }

  #act(act: ModuleAct, letter: Letter): void {
    switch (act) {
      case 'bring':
        return this.#bring(letter)
      case 'announce':
        return this.#announce(letter)
      case 'judge':
        return this.#judge(letter)
      case 'swap':
        return this.#beginSwap(letter)
      case 'halt':
        return this.#halt()
      case 'alarm':
        return this.#alarm(letter)
      case 'giveUp':
      case 'reject':
        this.#discard()
        return this.desk.dismiss()
      case 'wait':
        return
      case 'rest':
        if (!this.callable) this.desk.dismiss()
        return this.desk.pump()
    }
  }

  // --- coming up ---------------------------------------------------------------------------------------------

  #bring(letter: Letter): void {
    this.#retries.disarm()
    if (letter.event === 'renew' || letter.event === 'fallback') this.#discard()
    const missing = this.#neighbours.missing(this.manifest?.requires ?? [])
    if (missing !== undefined && this.#serving === undefined) {
      return this.#post('blocked', `it requires ${missing}`)
    }
    const run = this.#run
    this.#comeUp(run).then(
      () => this.#cameUp(run),
      (error) => this.#stayedDown(run, error),
    )
  }

  async #comeUp(run: number): Promise<void> {
    const generation = this.#generation ?? (await this.#assembly.choose())
    if (run !== this.#run) return
    this.#generation = generation
    this.#serving ??= this.#assembly.form(generation)
    const failure = await this.#assembly.complete(this.#serving, this.replicasWanted)
    if (failure === undefined || run !== this.#run) return
    this.#post('thinned', reasonOf(failure), { crash: this.#retries.crash(0), run })
  }

  #cameUp(run: number): void {
    if (run !== this.#run) return
    const set = this.#serving
    const none = set !== undefined && set.replicas.size > 0 && set.ready.length === 0
    if (none) return this.#post('notready', this.#because, { run })
    this.#failure = undefined
    this.#post('up', 'it has started', { run })
  }

  #stayedDown(run: number, error: unknown): void {
    if (run !== this.#run) return
    this.#failure = toStartFailure(this.id, error)
    const { facts } = this.#failure
    const phase = String(facts['phase'])
    const reason = String(facts['reason'])
    this.#note('module.start_failed', {
      phase,
      reason,
      stack: facts['stack'],
      generation: this.#generation?.id,
    })
    if (this.#fallBack(phase, reason)) return
    const because = `${phase}: ${reason}`
    if (isFinal(this.#failure)) return this.#post('broken', because, { run })
    this.#post('lost', because, { crash: this.#retries.crash(0), run })
  }

  /** A generation that never was good gives way to the one that was. */
  #fallBack(phase: string, reason: string): boolean {
    const { lastGood } = this.#memory()
    const failed = this.#generation
    if (lastGood === undefined || failed === undefined || failed.id === lastGood) return false
    this.#note('module.rolled_back', { generation: failed.id, to: lastGood, phase, reason })
    const run = this.#run
    this.#env.catalog.kept(this.id, lastGood).then(
      (generation) => {
        if (run !== this.#run) return
        this.#post('fallback', `the newer code failed (${phase}: ${reason})`, { run })
        this.#generation = generation
      },
      () => this.#post('broken', `${phase}: ${reason}`, { run }),
    )
    return true
  }

  // --- serving -----------------------------------------------------------------------------------------------

  #announce(letter: Letter): void {
    this.desk.pump()
    const set = this.#serving
    if (letter.event !== 'up' || set === undefined) return
    this.#note('module.started', {
      generation: set.generation.id,
      version: set.generation.manifest.version,
    })
    this.#settleTimer?.cancel()
    this.#settleTimer = this.#env.clock.after(set.generation.manifest.timeouts.settle_ms, () =>
      this.#accept(set),
    )
  }

  #accept(set: ReplicaSet): void {
    if (this.#serving !== set || this.#memory().lastGood === set.generation.id) return
    const former = this.#memory().lastGood
    this.#note('module.generation_accepted', { generation: set.generation.id })
    // A swap under way has staged a generation that nobody else knows of yet.
    if (!this.#reloads.running) this.#prune([set.generation.id, former ?? set.generation.id])
  }

  #prune(keep: readonly string[]): void {
    this.#env.catalog
      .prune(this.id, keep)
      .catch((error) => this.#env.log('warn', `old generations stay: ${error}`, { module: this.id }))
  }

  #becameReady(): void {
    this.desk.pump()
    if (this.#state === 'waiting' && this.ready) this.#post('up', 'it says it is ready', { run: this.#run })
  }

  #becameNotReady(reason: string): void {
    this.#because = reason
    if (this.#state === 'started' && !this.ready) this.#post('notready', reason, { run: this.#run })
    if (this.#state === 'started' || this.#state === 'starting') this.#note('module.waiting', { reason })
  }

  #suspected(replica: Replica, missingMs: number): void {
    this.#note('module.suspected', { instance: replica.id, missing_ms: Math.round(missingMs) })
    this.#reloads.disturbed(replica, 'suspect')
  }

  #departed(replica: Replica, departure: Departure, readyMs: number): void {
    const reason = describeDeparture(departure)
    const { type, d } = departureFact(replica, departure, reason, readyMs)
    this.#note(type, d)
    if (this.#reloads.disturbed(replica, departure)) return
    if (replica.set !== this.#serving || this.#state === 'reloading') return
    const clean = departure.how === 'exited' && departure.exitCode === 0
    const exitCode = departure.how === 'exited' ? departure.exitCode : null
    const event = replica.set.replicas.size > 0 ? 'thinned' : 'exited'
    this.#post(event, reason, { crash: this.#retries.crash(readyMs, clean), exitCode, run: this.#run })
  }

  // --- going down --------------------------------------------------------------------------------------------

  #judge(letter: Letter): void {
    const { crash } = letter
    const manifest = this.manifest
    assert(crash !== undefined && manifest !== undefined, 'a loss comes with its crash')
    if (letter.exitCode === EXIT_CONFIG)
      return this.#post('broken', 'it exited with code 78: its settings are wrong')
    const young = this.#settleTimer !== undefined && crash.readyMs < manifest.timeouts.settle_ms
    if (letter.event === 'exited' && young && this.#fallBack('settle', letter.because)) return

    const { policy, within_ms: withinMs } = manifest.restart
    const verdict = this.#retries.judge(crash, manifest.restart)
    switch (verdict.restart) {
      case 'never':
        return this.#post('done', `${letter.because}; its restart policy is ${policy}`)
      case 'spent':
        this.#note('module.crashloop', { crashes: verdict.crashes, reason: letter.because })
        this.#tryAgain(verdict.waitMs, 'one try in five minutes')
        return this.#post('spent', `${verdict.crashes} crashes in ${withinMs} ms: ${letter.because}`)
      case 'now':
        return this.#tryAgain(verdict.waitMs ?? 0, 'it crashed and is started again')
      case 'later':
        return this.#tryAgain(verdict.waitMs, 'its backoff is over')
    }
  }

  #tryAgain(waitMs: number, because: string): void {
    const run = this.#run
    this.#retries.arm(waitMs, () => this.#post('due', because, { run }))
  }

  #alarm(letter: Letter): void {
    this.#env.log('error', `${this.id} is in a crash loop: ${letter.because}`, { module: this.id })
    if (!this.ready) this.desk.dismiss()
  }

  /** Whatever runs or comes up is no longer wanted. */
  #discard(): void {
    this.#run += 1
    this.#retries.disarm()
    this.#settleTimer?.cancel()
    this.#settleTimer = undefined
    const set = this.#serving
    this.#serving = undefined
    if (set !== undefined) this.#retire(set)
  }

  #halt(): void {
    this.#reloads.abort('the module was stopped')
    this.#discard()
    this.desk.dismiss()
    this.#generation = undefined
    const run = this.#run
    const over = async (): Promise<void> => {
      await this.#reloads.idle()
      await Promise.all(this.#retiring)
      this.#note('module.stopped', { reason: this.#because })
      this.#post('halted', this.#because, { run })
    }
    void over().catch(this.#env.onBug)
  }

  #retire(set: ReplicaSet): void {
    const { drain_ms: drainMs, stop_ms: stopMs } = set.generation.manifest.timeouts
    const done = set.retire(drainMs, stopMs).finally(() => this.#retiring.delete(done))
    this.#retiring.add(done)
  }

  // --- reloading ---------------------------------------------------------------------------------------------

  #beginSwap({ order, reply }: Letter): void {
    const old = this.#serving
    assert(order !== undefined && old !== undefined, 'a reload comes with its order, while something serves')
    // The newest save is judged against the last committed code; the one under way is no longer of interest.
    const done = this.#reloads.running
      ? this.#reloads.supersede(order, () => this.reload(order))
      : this.#reloads.begin(order, old)
    done.then((result) => reply?.(result), this.#env.onBug)
  }

  #swapEnded(end: SwapEnd, old: ReplicaSet, order: ReloadOrder): ReloadResult {
    const { result, next } = end
    if (this.#state !== 'reloading') {
      // Stopped meanwhile: nothing of either set is wanted.
      for (const set of [old, next]) if (set !== undefined) this.#retire(set)
      return result
    }
    if (end.serving === 'next' && next !== undefined) this.#commit(result, old, next, order)
    else this.#revert(end, old, order)
    return result
  }

  #commit(result: ReloadResult, old: ReplicaSet, next: ReplicaSet, { actor }: ReloadOrder): void {
    this.#generation = next.generation
    this.#retries.forgive()
    this.#lastReload = result
    this.#retire(old)
    this.#note('module.reloaded', { ...withoutId(result) }, actor)
    this.#accept(next)
    this.#post('swapped', 'the new code has settled', { run: this.#run })
  }

  #revert({ result, next, condemned, generation }: SwapEnd, old: ReplicaSet, { actor }: ReloadOrder): void {
    if (next !== undefined) this.#retire(next)
    if (result.rolled_back) {
      this.#lastReload = result
      const failed = condemned ? generation : undefined
      const d = { ...withoutId(result), generation: failed, to: old.generation.id }
      this.#note('module.rolled_back', d, actor)
    }
    const because = result.reason ?? 'the reload was reverted'
    if (old.replicas.size > 0) return this.#post('reverted', because, { run: this.#run })
    // It was stopped for the swap, or died during it: what was well comes back at once.
    this.#post('exited', because, { crash: this.#retries.crash(FORGIVEN_AFTER_MS), run: this.#run })
  }

  async #renew(order: ReloadOrder): Promise<ReloadResult> {
    const startedMs = this.#env.clock.elapsed()
    const previous = this.generation?.id ?? null
    if (moveOf<ModuleState, ModuleEvent, ModuleAct>(LIFECYCLE, this.#state, 'renew') === undefined)
      return this.#refusal(`it is ${this.#state}`)
    const next = await this.#reloads.next(order)
    if (order.onlyIfChanged && next.id === previous && this.#state !== 'failed') {
      return this.#refusal('the content is the same')
    }
    this.#retries.forgive()
    this.#generation = next
    this.#post('renew', 'its code or its settings changed')
    await this.#box.idle()
    await this.#arrival().catch(() => {}) // the result says how it went
    const reloaded = this.#state === 'started' && this.generation?.id === next.id
    return {
      ...this.#refusal(this.#because),
      reloaded,
      strategy: 'immediate',
      generation: this.generation?.id ?? null,
      previous_generation: previous,
      rolled_back: !reloaded && this.#state === 'started',
      duration_ms: Math.round(this.#env.clock.elapsed() - startedMs),
      downtime_ms: Math.round(this.#env.clock.elapsed() - startedMs),
    }
  }

  #refusal(reason: string): ReloadResult {
    return {
      module_id: this.id,
      reloaded: false,
      strategy: 'graceful',
      generation: this.generation?.id ?? null,
      previous_generation: this.generation?.id ?? null,
      rolled_back: false,
      duration_ms: 0,
      downtime_ms: 0,
      reason,
    }
  }

  // --- small things ------------------------------------------------------------------------------------------

  /** The next start looks at the disk again, as an operator who starts a module expects. */
  #generationOfDisk(): void {
    if (this.#serving === undefined) this.#generation = undefined
  }

  #configOf(manifest: Manifest): Readonly<Record<string, unknown>> {
    return effectiveConfig(manifest, this.#env.overrides[this.id]?.config ?? {}, this.#memory().config)
  }

  /** Facts of the supervisor's own doing are not waited for: a restart is worth more than its record. */
  #note(type: string, d: Readonly<Record<string, unknown>>, actor: Actor = SUPERVISOR): void {
    void this.#record(type, d, actor) // never rejects
  }

  async #record(
    type: string,
    d: Readonly<Record<string, unknown>>,
    actor: Actor = SUPERVISOR,
  ): Promise<void> {
    const told = Object.entries({ module_id: this.id, ...d }).filter(([, value]) => value !== undefined)
    try {
      await this.#env.append({ type, actor, d: Object.fromEntries(told) })
    } catch (error) {
      this.#env.log('error', `${type} was not recorded: ${error}`, { module: this.id })
    }
  }

  async #arrival(): Promise<void> {
    await this.#box.idle()
    while (!RESTING.has(this.#state)) await new Promise<void>((resolve) => this.#arrivals.add(resolve))
    if (SERVING.has(this.#state) || this.#state === 'waiting') return
    if (this.#failure !== undefined) throw this.#failure
    throw new NexusError('MODULE_WRONG_STATE', { module: this.id, state: this.#state, wanted: 'serve' })
  }

  #arrive(): void {
    for (const resolve of this.#arrivals) resolve()
    this.#arrivals.clear()
  }
}

const SERVING: ReadonlySet<ModuleState> = new Set(['started', 'reloading'])
const CALLABLE: ReadonlySet<ModuleState> = new Set([
  'starting',
  'waiting',
  'reloading',
  'backoff',
  'started',
  'loaded',
])
const RESTING: ReadonlySet<ModuleState> = new Set([
  'invalid',
  'waiting',
  'started',
  'backoff',
  'crashloop',
  'stopped',
  'failed',
  'locked',
])

function withoutId({ module_id: _, ...rest }: ReloadResult): Omit<ReloadResult, 'module_id'> {
  return rest
}
