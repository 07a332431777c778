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
import { CallDesk } from './call-desk.ts'
import { LIFECYCLE, type ModuleAct, type ModuleEvent } from './lifecycle-table.ts'
import type { ActionAnswer, ActionCall, ReloadOrder, SupervisorEnvironment } from './port.ts'
import { profileOf, provideInstance } from './provide.ts'
import type { ModuleMemory } from './remembered.ts'
import { describeDeparture, type Replica, ReplicaSet } from './replica-set.ts'
import { type Crash, FORGIVEN_AFTER_MS, judgeCrash, type RestartBudget } from './restart-policy.ts'
import { selfTest } from './self-test.ts'
import { effectiveConfig } from './settings.ts'
import { Swap, type SwapEnd } from './swap.ts'

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
  readonly #arrivals = new Set<() => void>()
  readonly #retiring = new Set<Promise<void>>()
  #state: ModuleState = 'discovered'
  #sinceMs: number
  #because = 'it was found on disk'
  #entry: CatalogEntry | undefined
  #generation: Generation | undefined
  #serving: ReplicaSet | undefined
  #swap: { swap: Swap; abort: AbortController; order: ReloadOrder; done: Promise<ReloadResult> } | undefined
  #run = 0
  #crashes: Crash[] = []
  #restarts = 0
  #instances = 0
  #timer: Timer | undefined
  #retryAtMs: number | undefined
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
    return this.#retryAtMs
  }
  get serving(): ReplicaSet | undefined {
    return this.#serving
  }
  get generation(): Generation | undefined {
    return this.#serving?.generation ?? this.#generation
  }
  get restarts(): number {
    return this.#restarts
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
    this.#crashes = []
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
    this.#disarm()
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
    const generation = this.#generation ?? (await this.#choose())
    if (run !== this.#run) return
    this.#generation = generation
    this.#serving ??= this.#form(generation)
    const set = this.#serving
    const absent = this.replicasWanted - set.replicas.size
    const ends = await Promise.allSettled(
      Array.from({ length: absent }, () => this.#bringOne(set, undefined)),
    )
    const failed = ends.find((end) => end.status === 'rejected')
    if (failed === undefined) return
    if (set.replicas.size === 0) throw failed.reason
    if (run === this.#run)
      this.#post('thinned', reasonOf(failed.reason), { crash: this.#crashNow(0, false), run })
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
    this.#post('lost', because, { crash: this.#crashNow(0, false), run })
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

  async #choose(): Promise<Generation> {
    const { lastGood, refused } = this.#memory()
    const staged = await this.#env.catalog.stage(this.id)
    if (lastGood === undefined || !refused.some(({ generation }) => generation === staged.id)) return staged
    return this.#env.catalog.kept(this.id, lastGood).catch(() => staged)
  }

  #form(generation: Generation): ReplicaSet {
    const config = this.#configOf(generation.manifest)
    return new ReplicaSet(
      generation,
      config,
      this.#env.clock,
      {
        ready: () => this.#becameReady(),
        notReady: (_, reason) => this.#becameNotReady(reason),
        suspect: (replica, missingMs) => this.#suspected(replica, missingMs),
        departed: (replica, departure, readyMs) => this.#departed(replica, departure, readyMs),
      },
      (replica, listener, inherited) =>
        provideInstance({ env: this.#env, generation, config, instance: replica.id, listener, inherited }),
    )
  }

  async #bringOne(set: ReplicaSet, inherited: unknown): Promise<void> {
    const { id } = this
    const { manifest, id: generation } = set.generation
    this.#instances += 1
    const instance = `${id}#${this.#instances}`
    await set.bringUp(
      instance,
      {
        log: (line) => this.#env.said(id, instance, line),
        metrics: (params) => this.#env.measured(id, params),
        command: (name, params) => this.#env.command(id, name, params),
      },
      {
        inherited,
        prove: async (running) => {
          if (this.#memory().tested.includes(generation)) return
          const runs = await selfTest(manifest, running, this.#env.clock)
          if (runs.length > 0)
            this.#note('module.self_tested', { generation, categories: manifest.categories, runs })
        },
      },
    )
  }

  // --- serving -----------------------------------------------------------------------------------------------

  #announce(letter: Letter): void {
    this.desk.pump()
    const set = this.#serving
    if (letter.event !== 'up' || set === undefined) return
    this.#note('module.started', { generation: set.generation.id, version: set.generation.manifest.version })
    this.#settleTimer?.cancel()
    this.#settleTimer = this.#env.clock.after(set.generation.manifest.timeouts.settle_ms, () =>
      this.#accept(set),
    )
  }

  #accept(set: ReplicaSet): void {
    if (this.#serving !== set || this.#memory().lastGood === set.generation.id) return
    this.#note('module.generation_accepted', { generation: set.generation.id })
    void this.#env.catalog
      .prune(this.id, [set.generation.id, this.#memory().lastGood ?? set.generation.id])
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
    this.#swap?.swap.disturbed(replica, 'suspect')
  }

  #departed(replica: Replica, departure: Departure, readyMs: number): void {
    const reason = describeDeparture(departure)
    const { id: generation } = replica.set.generation
    this.#note(departure.how === 'hung' ? 'module.hung' : 'module.crashed', {
      generation,
      instance: replica.id,
      how: departure.how,
      reason,
      ready_ms: Math.round(readyMs),
      ...(departure.how === 'exited' ? { exit_code: departure.exitCode, signal: departure.signal } : {}),
    })
    if (this.#swap?.swap.owns(replica.set)) return this.#swap.swap.disturbed(replica, departure)
    if (replica.set !== this.#serving || this.#state === 'reloading') return
    const clean = departure.how === 'exited' && departure.exitCode === 0
    const exitCode = departure.how === 'exited' ? departure.exitCode : null
    const event = replica.set.replicas.size > 0 ? 'thinned' : 'exited'
    this.#post(event, reason, { crash: this.#crashNow(readyMs, clean), exitCode, run: this.#run })
  }

  #crashNow(readyMs: number, clean: boolean): Crash {
    return { atMs: this.#env.clock.elapsed(), readyMs, clean }
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
    if (crash.readyMs >= FORGIVEN_AFTER_MS) this.#crashes = []
    this.#crashes = [
      ...this.#crashes.filter(({ atMs }) => crash.atMs - atMs < CRASHES_KEPT_MS).slice(-1_000),
      crash,
    ]

    const verdict = judgeCrash(this.#crashes, manifest.restart, this.#env.chance)
    switch (verdict.restart) {
      case 'never':
        return this.#post('done', `${letter.because}; its restart policy is ${manifest.restart.policy}`)
      case 'spent':
        this.#note('module.crashloop', { crashes: verdict.crashes, reason: letter.because })
        this.#arm(verdict.waitMs, 'one try in five minutes')
        return this.#post(
          'spent',
          `${verdict.crashes} crashes in ${manifest.restart.within_ms} ms: ${letter.because}`,
        )
      case 'now':
        return this.#arm(this.#neighbours.budget.take(crash.atMs), 'it crashed and is started again')
      case 'later': {
        const waitMs = Math.max(verdict.waitMs, this.#neighbours.budget.take(crash.atMs))
        return this.#arm(waitMs, 'its backoff is over')
      }
    }
  }

  #arm(waitMs: number, because: string): void {
    this.#timer?.cancel()
    this.#restarts += 1
    if (waitMs <= 0) return this.#post('due', because, { run: this.#run })
    this.#retryAtMs = this.#env.clock.now() + waitMs
    const run = this.#run
    this.#timer = this.#env.clock.after(waitMs, () => this.#post('due', because, { run }))
  }

  #disarm(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#retryAtMs = undefined
  }

  #alarm(letter: Letter): void {
    this.#env.log('error', `${this.id} is in a crash loop: ${letter.because}`, { module: this.id })
    if (!this.ready) this.desk.dismiss()
  }

  /** Whatever runs or comes up is no longer wanted. */
  #discard(): void {
    this.#run += 1
    this.#disarm()
    this.#settleTimer?.cancel()
    this.#settleTimer = undefined
    const set = this.#serving
    this.#serving = undefined
    if (set !== undefined) this.#retire(set)
  }

  #halt(): void {
    const swap = this.#swap
    swap?.abort.abort('the module was stopped')
    this.#discard()
    this.desk.dismiss()
    this.#generation = undefined
    const run = this.#run
    const over = async (): Promise<void> => {
      await swap?.done
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

  #beginSwap(letter: Letter): void {
    const { order } = letter
    const old = this.#serving
    assert(order !== undefined && old !== undefined, 'a reload comes with its order, while something serves')
    const running = this.#swap
    const reply = (result: ReloadResult): void => letter.reply?.(result)
    if (running !== undefined) {
      // The newest save is judged against the last committed code; the one under way is no longer of interest.
      running.abort.abort('a newer reload took its place')
      void running.done.then(() => this.reload(order)).then(reply, this.#env.onBug)
      return
    }
    const abort = new AbortController()
    const swap = new Swap(
      {
        moduleId: this.id,
        clock: this.#env.clock,
        signal: abort.signal,
        old,
        choose: () => this.#chooseNext(order),
        refused: (id) => this.#memory().refused.find(({ generation }) => generation === id),
        form: (generation) => this.#form(generation),
        bring: async (set, inherited) => {
          const { replicas } = set.generation.manifest
          const wanted = this.#env.overrides[this.id]?.replicas ?? replicas
          await Promise.all(Array.from({ length: wanted }, () => this.#bringOne(set, inherited)))
        },
        serve: (set) => {
          this.#serving = set
          this.desk.pump()
        },
      },
      order,
      !(old.generation.manifest.exclusive || order.strategy === 'immediate'),
    )
    const done = swap.run().then((end) => this.#endSwap(end, old, order))
    this.#swap = { swap, abort, order, done }
    done.then(reply, this.#env.onBug)
  }

  #chooseNext(order: ReloadOrder): Promise<Generation> {
    const { generation } = order
    return generation === undefined
      ? this.#env.catalog.stage(this.id)
      : this.#env.catalog.kept(this.id, generation)
  }

  #endSwap(end: SwapEnd, old: ReplicaSet, order: ReloadOrder): ReloadResult {
    this.#swap = undefined
    const { result } = end
    if (this.#state !== 'reloading') {
      // Stopped meanwhile: nothing of either set is wanted.
      for (const set of [old, end.next]) if (set !== undefined) this.#retire(set)
      return result
    }
    if (end.serving === 'next' && end.next !== undefined) {
      this.#generation = end.next.generation
      this.#crashes = []
      this.#lastReload = result
      this.#retire(old)
      this.#note('module.reloaded', { ...withoutId(result) }, order.actor)
      this.#accept(end.next)
      this.#post('swapped', 'the new code has settled', { run: this.#run })
      return result
    }
    if (end.next !== undefined) this.#retire(end.next)
    if (result.rolled_back) {
      this.#lastReload = result
      const failed = end.condemned ? { generation: end.generation } : { generation: undefined }
      this.#note(
        'module.rolled_back',
        { ...withoutId(result), ...failed, to: old.generation.id },
        order.actor,
      )
    }
    const alive = old.replicas.size > 0
    const because = result.reason ?? 'the reload was reverted'
    if (alive) this.#post('reverted', because, { run: this.#run })
    else this.#post('exited', because, { crash: this.#crashNow(FORGIVEN_AFTER_MS, false), run: this.#run })
    return result
  }

  async #renew(order: ReloadOrder): Promise<ReloadResult> {
    const startedMs = this.#env.clock.elapsed()
    const previous = this.generation?.id ?? null
    if (moveOf<ModuleState, ModuleEvent, ModuleAct>(LIFECYCLE, this.#state, 'renew') === undefined)
      return this.#refusal(`it is ${this.#state}`)
    const next = await this.#chooseNext(order)
    if (order.onlyIfChanged && next.id === previous && this.#state !== 'failed') {
      return this.#refusal('the content is the same')
    }
    this.#crashes = []
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
    const body = Object.fromEntries(
      Object.entries({ module_id: this.id, ...d }).filter(([, value]) => value !== undefined),
    )
    this.#env
      .append({ type, actor, d: body })
      .catch((error) => this.#env.log('error', `${type} was not recorded: ${error}`, { module: this.id }))
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

/** Exit code 78 (sysexits: configuration): no retry until code or settings change. */
const EXIT_CONFIG = 78
const CRASHES_KEPT_MS = 86_400_000

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

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function toStartFailure(module: string, error: unknown): NexusError {
  if (error instanceof NexusError && error.code === 'MODULE_START_FAILED') return error
  // What the catalog or the settings refuse is refused again until somebody changes it.
  const unloadable = error instanceof NexusError ? 1 : 0
  return new NexusError(
    'MODULE_START_FAILED',
    { module, phase: 'prepare', reason: reasonOf(error), unloadable },
    { cause: error },
  )
}

/** Syntax errors, missing exports and wrong settings do not heal by waiting. */
function isFinal({ facts }: NexusError): boolean {
  const { unloadable, config_error: configError, exit_code: exitCode } = facts
  return unloadable === 1 || configError === 1 || exitCode === EXIT_CONFIG
}
