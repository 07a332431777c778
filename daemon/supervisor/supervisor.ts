import { startOrder } from '../catalog/catalog.ts'
import type { CatalogEntry } from '../catalog/port.ts'
import type { CommandParams } from '../contracts/command.ts'
import type { Actor, Fact } from '../contracts/fact.ts'
import { NexusError } from '../contracts/failure.ts'
import type { ActionSpecification } from '../contracts/manifest.ts'
import type { Explanation, ModuleState, ModuleStatus, ReloadResult } from '../contracts/status.ts'
import type { Timer } from '../kit/clock.ts'
import { didYouMean } from '../kit/nearest.ts'
import { type Checker, foreignChecker, sentenceOf } from '../kit/schema.ts'
import { configureModule } from './configure.ts'
import { explainModule, type HealthVerdict, moduleStatus } from './module-status.ts'
import type { ActionAnswer, ActionCall, ModuleOutlook, SupervisorEnvironment } from './port.ts'
import { Remembered } from './remembered.ts'
import { StartQueue } from './start-queue.ts'
import { Unit } from './unit.ts'
import { SUPERVISOR } from './unit-core.ts'

/** A folder that vanished may be an editor or a checkout at work. */
const REMOVED_GRACE_MS = 10_000

/** Keeps modules alive: one unit for each, in the order they require one another. */
export class Supervisor {
  readonly #env: SupervisorEnvironment
  readonly #units = new Map<string, Unit>()
  readonly #remembered = new Remembered()
  readonly #startQueue: StartQueue
  readonly #vanished = new Map<string, Timer>()
  readonly #inputs = new WeakMap<ActionSpecification, Checker<unknown>>()
  readonly #verdicts: (moduleId: string) => HealthVerdict | undefined
  #life: 'looking' | 'running' | 'stopping' = 'looking'

  /** @param verdicts - What the health watch thinks of a module that serves. */
  constructor(env: SupervisorEnvironment, verdicts: (moduleId: string) => HealthVerdict | undefined) {
    this.#env = env
    this.#startQueue = new StartQueue(env.clock, env.startsPerMinute)
    this.#verdicts = verdicts
  }

  // --- the journal's side ------------------------------------------------------------------------------------

  fold(fact: Fact): void {
    this.#remembered.fold(fact)
  }

  save(): unknown {
    return this.#remembered.save()
  }

  load(saved: unknown): void {
    this.#remembered.load(saved)
  }

  // --- start, change, stop -----------------------------------------------------------------------------------

  /** Looks at every module folder; changes are noticed from here on, and started when everything is. */
  async discover(): Promise<readonly string[]> {
    await this.#env.catalog.watch({
      touched: (moduleId) => this.#touched(moduleId),
      settled: (moduleId) => void this.#changed(moduleId).catch(this.#env.onBug),
    })
    const entries = await this.#env.catalog.scan()
    for (const entry of entries) await this.#learn(entry)
    return entries.map(({ moduleId }) => moduleId)
  }

  /**
   * Starts what should run, in order; resolves when each has come up or has failed to.
   *
   * @param criticalSettled - Called when that is so for every critical module: one that hangs in its start keeps nobody
   *   else waiting.
   */
  async start(criticalSettled: () => void = () => {}): Promise<void> {
    this.#life = 'running'
    const starts = this.#order().map((id) => ({ id, settled: this.#startWanted(id, 'the daemon starts') }))
    const critical = starts.filter(({ id }) => this.#units.get(id)?.manifest?.critical === true)
    void Promise.all(critical.map(({ settled }) => settled)).then(criticalSettled) // none of them rejects
    await Promise.all(starts.map(({ settled }) => settled))
  }

  /** Stops everything in reverse order: what requires others goes before them. */
  async stop(because: string): Promise<void> {
    this.#life = 'stopping'
    for (const timer of this.#vanished.values()) timer.cancel()
    for (const wave of this.#waves(this.#order().reverse())) {
      await Promise.all(wave.map((id) => this.#units.get(id)?.stop(because)))
    }
  }

  // --- commands ----------------------------------------------------------------------------------------------

  async startModule(moduleId: string, actor: Actor): Promise<{ module_id: string; state: ModuleState }> {
    const unit = this.unit(moduleId)
    this.#assertValid(unit)
    await this.#want(moduleId, 'running', actor)
    await unit.start(`${actor.name} started it`)
    return { module_id: moduleId, state: unit.state }
  }

  async stopModule(moduleId: string, actor: Actor): Promise<{ module_id: string; state: ModuleState }> {
    const unit = this.unit(moduleId)
    await this.#want(moduleId, 'stopped', actor)
    await unit.stop(`${actor.name} stopped it`)
    return { module_id: moduleId, state: unit.state }
  }

  /** @throws NexusError `RELOAD_ROLLED_BACK`, `MODULE_INVALID`, `MODULE_WRONG_STATE`, `NOT_AVAILABLE`. */
  async reloadModule(params: CommandParams<'reload_module'>, actor: Actor): Promise<ReloadResult> {
    const unit = this.unit(params.module_id)
    const { strategy, generation } = params
    if (strategy === 'rolling' || strategy === 'canary') {
      throw new NexusError('NOT_AVAILABLE', { what: `the reload strategy ${strategy}` })
    }
    if (params.dry_run === true) throw new NexusError('NOT_AVAILABLE', { what: 'dry_run of a reload' })
    if (unit.serving === undefined) await this.#look(unit)
    this.#assertValid(unit)
    const result = await unit.reload({
      onlyIfChanged: false,
      actor,
      ...(strategy === undefined ? {} : { strategy }),
      ...(generation === undefined ? {} : { generation }),
    })
    if (result.rolled_back) throw rolledBack(result)
    if (!result.reloaded) {
      const state = `${unit.state} (${result.reason ?? unit.because})`
      throw new NexusError('MODULE_WRONG_STATE', { module: unit.id, state, wanted: 'be reloaded' })
    }
    return result
  }

  configure(params: CommandParams<'configure'>, actor: Actor): Promise<object> {
    const unit = this.unit(params.module_id)
    this.#assertValid(unit)
    return configureModule(unit, params, actor, this.#remembered.of(unit.id), (draft) =>
      this.#env.append(draft),
    )
  }

  /** @throws NexusError for unknown modules and actions, input that does not fit, and everything a call can end with. */
  async call(call: ActionCall): Promise<ActionAnswer> {
    const unit = this.unit(call.moduleId)
    const spec = this.#spec(unit, call.action)
    const checked = this.#inputCheck(spec)(call.input ?? {})
    if (!checked.ok) {
      const detail = sentenceOf(checked.issues)
      const facts = { module: unit.id, action: call.action, detail }
      throw new NexusError('ACTION_INPUT_INVALID', facts, { issues: checked.issues })
    }
    return unit.desk.call({ ...call, input: checked.value }, spec)
  }

  // --- questions ---------------------------------------------------------------------------------------------

  get units(): readonly Unit[] {
    return [...this.#units.values()]
  }

  /** @throws NexusError `MODULE_UNKNOWN` with the nearest name. */
  unit(moduleId: string): Unit {
    const unit = this.#units.get(moduleId)
    if (unit !== undefined) return unit
    throw new NexusError('MODULE_UNKNOWN', {
      module: moduleId,
      nearest: didYouMean(moduleId, this.#units.keys()),
    })
  }

  statuses(): ModuleStatus[] {
    return this.units.map((unit) => this.#status(unit)).sort((a, b) => (a.module_id < b.module_id ? -1 : 1))
  }

  status(moduleId: string): ModuleStatus {
    return this.#status(this.unit(moduleId))
  }

  explain(moduleId: string): Explanation {
    return explainModule(this.unit(moduleId), this.#remembered.of(moduleId))
  }

  action(moduleId: string, action: string): ActionSpecification | undefined {
    return this.#units.get(moduleId)?.spec(action)
  }

  outlook(moduleId: string): ModuleOutlook {
    const unit = this.#units.get(moduleId)
    return {
      known: unit?.manifest !== undefined,
      locked: unit?.state === 'locked',
      callable: unit?.callable ?? false,
      generation: unit?.generation?.id,
    }
  }

  /** Modules that can plan missions of a category now. */
  planners(category: string): readonly string[] {
    return this.units
      .filter((unit) => unit.callable && unit.spec('plan') !== undefined)
      .filter(({ manifest }) => manifest?.categories.some((known) => known === category) === true)
      .map(({ id }) => id)
  }

  // --- inside ------------------------------------------------------------------------------------------------

  #status(unit: Unit): ModuleStatus {
    const { hosts, ports, clock } = this.#env
    return moduleStatus(unit, this.#verdicts(unit.id), hosts.isolation, ports.status(unit.id), clock.now())
  }

  async #startWanted(moduleId: string, because: string): Promise<void> {
    const unit = this.#units.get(moduleId)
    if (unit === undefined || unit.invalidity !== undefined || unit.wanted === 'stopped') {
      if (unit !== undefined && unit.state === 'loaded') await unit.stop('it is not wanted')
      return
    }
    await unit.start(because).catch((error: unknown) => {
      this.#env.log('error', error instanceof Error ? error.message : String(error), { module: moduleId })
    })
  }

  async #want(moduleId: string, desired: 'running' | 'stopped', actor: Actor): Promise<void> {
    if (this.unit(moduleId).wanted === desired && this.#remembered.of(moduleId).desired === desired) return
    await this.#env.append({ type: 'module.desired', actor, d: { module_id: moduleId, desired } })
  }

  /** Takes note of what a folder holds; facts only for what is new. */
  async #learn(entry: CatalogEntry): Promise<Unit> {
    const { moduleId } = entry
    const known = this.#remembered.known(moduleId)
    const memory = this.#remembered.of(moduleId)
    if (entry.kind === 'invalid' && memory.invalidReason !== entry.reason) {
      const d = { module_id: moduleId, file: entry.file, reason: entry.reason }
      await this.#env.append({ type: 'module.invalid', actor: SUPERVISOR, d })
      this.#env.log('error', `${moduleId} is invalid: ${entry.reason}`, { module: moduleId })
    }
    if (entry.kind === 'valid' && (!known || memory.invalidReason !== undefined)) {
      const d = { module_id: moduleId, version: entry.manifest.version }
      await this.#env.append({ type: 'module.discovered', actor: SUPERVISOR, d })
    }
    let unit = this.#units.get(moduleId)
    if (unit === undefined) {
      unit = new Unit(moduleId, this.#env, () => this.#remembered.of(moduleId), {
        startQueue: this.#startQueue,
        missing: (requires) => requires.find((id) => this.#units.get(id)?.ready !== true),
        changed: (changed) => {
          this.#tellDependants(changed)
          this.#env.changed(changed)
        },
      })
      this.#units.set(moduleId, unit)
    }
    unit.load(entry)
    return unit
  }

  /** Everything that is known, each after what it requires. */
  #order(): string[] {
    const requirements = this.units.map(({ id, manifest }) => ({
      moduleId: id,
      requires: manifest?.requires ?? [],
    }))
    return [...startOrder(requirements).order]
  }

  /** Groups ids, in order, so that nobody stands in one wave with what requires it. */
  #waves(ids: readonly string[]): string[][] {
    const grouped: string[][] = []
    const waveOf = new Map<string, number>()
    for (const id of ids) {
      const dependants = ids.filter(
        (other) => this.#units.get(other)?.manifest?.requires.includes(id) === true,
      )
      const wave = Math.max(-1, ...dependants.map((other) => waveOf.get(other) ?? -1)) + 1
      waveOf.set(id, wave)
      grouped[wave] = [...(grouped[wave] ?? []), id]
    }
    return grouped
  }

  #tellDependants(changed: Unit): void {
    for (const unit of this.#units.values()) {
      if (unit.manifest?.requires.includes(changed.id) === true) unit.required()
    }
  }

  /** The first sign of a change: a host may boot while the folder comes to rest. */
  #touched(moduleId: string): void {
    const unit = this.#units.get(moduleId)
    const profile = unit?.serving === undefined ? undefined : unit.profile()
    if (profile !== undefined) this.#env.hosts.prepare(profile)
  }

  /** A folder has come to rest after a change. */
  async #changed(moduleId: string): Promise<void> {
    if (this.#life === 'stopping') return
    const entry = await this.#env.catalog.look(moduleId)
    if (entry === undefined) return this.#vanish(moduleId)
    this.#vanished.get(moduleId)?.cancel()
    this.#vanished.delete(moduleId)

    const unit = this.#units.get(moduleId)
    if (this.#life === 'looking') {
      await this.#learn(entry)
      return
    }
    if (unit === undefined || unit.invalidity !== undefined || unit.state === 'stopped') {
      const learned = await this.#learn(entry)
      if (learned.state !== 'stopped') await this.#startWanted(moduleId, 'it appeared on disk')
      return
    }
    if (unit.serving === undefined) await this.#learn(entry)
    if (entry.kind === 'invalid' && unit.serving === undefined) return
    const result = await unit.reload({ onlyIfChanged: true, actor: { kind: 'daemon', name: 'watcher' } })
    this.#tell(result)
  }

  #tell(result: ReloadResult): void {
    const module = result.module_id
    const { phase, reason, stack, duration_ms } = result
    if (result.reloaded) this.#env.log('info', `${module} was reloaded`, { module, duration_ms })
    if (result.rolled_back) {
      this.#env.log('error', `${module} was rolled back (${phase}): ${reason}`, { module, phase, stack })
    }
  }

  #vanish(moduleId: string): void {
    if (!this.#units.has(moduleId) || this.#vanished.has(moduleId)) return
    this.#env.log('warn', `the folder of ${moduleId} is gone; it runs on for ten seconds`, {
      module: moduleId,
    })
    const timer = this.#env.clock.after(
      REMOVED_GRACE_MS,
      () => void this.#remove(moduleId).catch(this.#env.onBug),
    )
    this.#vanished.set(moduleId, timer)
  }

  async #remove(moduleId: string): Promise<void> {
    this.#vanished.delete(moduleId)
    if ((await this.#env.catalog.look(moduleId)) !== undefined || this.#life === 'stopping') return
    await this.#units.get(moduleId)?.stop('its folder was removed')
    this.#units.delete(moduleId)
    await this.#env.append({ type: 'module.removed', actor: SUPERVISOR, d: { module_id: moduleId } })
  }

  async #look(unit: Unit): Promise<void> {
    const entry = await this.#env.catalog.look(unit.id)
    if (entry !== undefined) await this.#learn(entry)
  }

  #assertValid({ id, invalidity }: Unit): void {
    if (invalidity === undefined) return
    throw new NexusError(
      'MODULE_INVALID',
      { module: id, reason: invalidity.reason, file: invalidity.file },
      { issues: invalidity.issues },
    )
  }

  #spec(unit: Unit, action: string): ActionSpecification {
    const spec = unit.spec(action)
    if (spec !== undefined) return spec
    const known = Object.keys(unit.manifest?.actions ?? {})
    throw new NexusError('ACTION_UNKNOWN', { module: unit.id, action, nearest: didYouMean(action, known) })
  }

  #inputCheck(spec: ActionSpecification): Checker<unknown> {
    let check = this.#inputs.get(spec)
    if (check === undefined) {
      check =
        spec.input === undefined
          ? (value) => ({ ok: true, value })
          : foreignChecker(spec.input, { defaults: true })
      this.#inputs.set(spec, check)
    }
    return check
  }
}

function rolledBack(result: ReloadResult): NexusError {
  const { module_id: module, phase = 'start', reason = '', stack = '' } = result
  return new NexusError('RELOAD_ROLLED_BACK', {
    module,
    generation: (result.generation ?? '').slice(0, 12),
    phase,
    reason,
    stack,
  })
}
