import type { CommandParams } from '../contracts/command.ts'
import type { Actor, Fact } from '../contracts/fact.ts'
import { NexusError } from '../contracts/failure.ts'
import type { ActionSpecification } from '../contracts/manifest.ts'
import type {
  Explanation,
  ModuleBrief,
  ModuleOmen,
  ModuleState,
  ModuleStatus,
  ReloadPlan,
  ReloadResult,
} from '../contracts/status.ts'
import { didYouMean } from '../kit/nearest.ts'
import type { LoopSubject } from '../telemetry/busy-loops.ts'
import { ActionInputs } from './action-inputs.ts'
import { configureModule } from './configure.ts'
import { DiskChanges } from './disk-changes.ts'
import { explainModule } from './explain.ts'
import { loopSubjects } from './loops.ts'
import { type HealthVerdict, moduleBrief, moduleStatus } from './module-status.ts'
import { NO_OMEN, unlockModule } from './omened.ts'
import type { ActionAnswer, ActionCall, ModuleOutlook, SupervisorEnvironment } from './port.ts'
import { type ReloadBooks, reloadModule, rollbackModule } from './reload-commands.ts'
import { type Books, Remembered } from './remembered.ts'
import { Roster } from './roster.ts'
import { scaleModule } from './scale.ts'
import type { Unit } from './unit.ts'

/** Keeps modules alive: one unit for each, in the order they require one another. */
export class Supervisor {
  readonly #env: SupervisorEnvironment
  readonly #remembered = new Remembered()
  readonly #roster: Roster
  readonly #disk: DiskChanges
  readonly #inputs = new ActionInputs()
  readonly #verdicts: (moduleId: string) => HealthVerdict | undefined
  #life: 'looking' | 'running' | 'stopping' = 'looking'

  /** @param verdicts - What the health watch thinks of a module that serves. */
  constructor(env: SupervisorEnvironment, verdicts: (moduleId: string) => HealthVerdict | undefined) {
    this.#env = env
    this.#roster = new Roster(env, this.#remembered)
    this.#disk = new DiskChanges({
      env,
      roster: this.#roster,
      life: () => this.#life,
      startWanted: (moduleId, because) => this.#startWanted(moduleId, because),
    })
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
      touched: (moduleId) => this.#disk.touched(moduleId),
      settled: (moduleId) => void this.#disk.settled(moduleId).catch(this.#env.onBug),
    })
    const entries = await this.#env.catalog.scan()
    for (const entry of entries) await this.#roster.learn(entry)
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
    const starts = this.#roster
      .order()
      .map((id) => ({ id, settled: this.#startWanted(id, 'the daemon starts') }))
    const critical = starts.filter(({ id }) => this.#roster.get(id)?.manifest?.critical === true)
    void Promise.all(critical.map(({ settled }) => settled)).then(criticalSettled) // none of them rejects
    await Promise.all(starts.map(({ settled }) => settled))
  }

  /** Stops everything in reverse order: what requires others goes before them. */
  async stop(because: string): Promise<void> {
    this.#life = 'stopping'
    this.#disk.stop()
    for (const wave of this.#roster.waves()) {
      await Promise.all(wave.map((id) => this.#roster.get(id)?.stop(because)))
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

  /** @throws NexusError `MODULE_WRONG_STATE` when it is not locked. */
  async unlockModule(
    { module_id, reason }: CommandParams<'unlock_module'>,
    actor: Actor,
  ): Promise<{ module_id: string; state: ModuleState; probation_until: string | null }> {
    const unit = this.unit(module_id)
    const omen = (): ModuleOmen => this.#omen(unit)
    return unlockModule(unit, reason, actor, { omen, append: (draft) => this.#env.append(draft) })
  }

  /**
   * @throws NexusError `RELOAD_ROLLED_BACK`, `MODULE_INVALID`, `MODULE_WRONG_STATE`, `GENERATION_UNKNOWN`,
   *   `NOT_AVAILABLE`.
   */
  async reloadModule(
    params: CommandParams<'reload_module'>,
    actor: Actor,
  ): Promise<ReloadResult | ReloadPlan> {
    const unit = this.unit(params.module_id)
    if (unit.serving === undefined && params.dry_run !== true) await this.#look(unit)
    this.#assertValid(unit)
    return reloadModule(unit, params, actor, this.#reloadBooks(unit))
  }

  /** @throws NexusError as `reloadModule`. */
  async rollbackModule(params: CommandParams<'rollback_module'>, actor: Actor): Promise<ReloadResult> {
    const unit = this.unit(params.module_id)
    return rollbackModule(unit, params, actor, this.#reloadBooks(unit))
  }

  /** @throws NexusError `MODULE_EXCLUSIVE`. */
  async scale(params: CommandParams<'scale_module'>, actor: Actor): Promise<object> {
    const unit = this.unit(params.module_id)
    this.#assertValid(unit)
    return scaleModule(unit, params, actor, this.#books(unit))
  }

  async configure(params: CommandParams<'configure'>, actor: Actor): Promise<object> {
    const unit = this.unit(params.module_id)
    this.#assertValid(unit)
    return unit.change(() => configureModule(unit, params, actor, this.#books(unit)))
  }

  /** @throws NexusError for unknown modules and actions, input that does not fit, and everything a call can end with. */
  async call(call: ActionCall): Promise<ActionAnswer> {
    const unit = this.unit(call.moduleId)
    const spec = this.#spec(unit, call.action)
    const input = this.#inputs.check(unit.id, call.action, spec, call.input)
    return unit.desk.call({ ...call, input }, spec)
  }

  // --- questions ---------------------------------------------------------------------------------------------

  get units(): readonly Unit[] {
    return this.#roster.all
  }

  /** @throws NexusError `MODULE_UNKNOWN` with the nearest name. */
  unit(moduleId: string): Unit {
    return this.#roster.unit(moduleId)
  }

  statuses(): ModuleStatus[] {
    return this.units.map((unit) => this.#status(unit)).sort((a, b) => (a.module_id < b.module_id ? -1 : 1))
  }

  /** In no order. */
  briefs(): ModuleBrief[] {
    const { ports } = this.#env
    return this.units.map((unit) =>
      moduleBrief(unit, this.#verdicts(unit.id), ports.status(unit.id), this.#omen(unit)),
    )
  }

  /** How busy the loops of its processes are. */
  loops(): LoopSubject[] {
    return loopSubjects(this.units, this.#env.ports)
  }

  status(moduleId: string): ModuleStatus {
    return this.#status(this.unit(moduleId))
  }

  explain(moduleId: string): Explanation {
    const unit = this.unit(moduleId)
    return explainModule(unit, {
      omen: this.#omen(unit),
      memory: this.#remembered.of(moduleId),
      find: (id) => this.#roster.get(id),
    })
  }

  action(moduleId: string, action: string): ActionSpecification | undefined {
    return this.#roster.get(moduleId)?.spec(action)
  }

  outlook(moduleId: string): ModuleOutlook {
    const unit = this.#roster.get(moduleId)
    const level = unit === undefined ? 'ignore' : this.#omen(unit).level
    return {
      known: unit?.manifest !== undefined,
      locked: level === 'lock',
      ...MISSIONS_MAX[level],
      callable: unit?.callable ?? false,
      instances: unit?.takers.length ?? 0,
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
    const verdict = this.#verdicts(unit.id)
    const omen = this.#omen(unit)
    return moduleStatus(unit, verdict, hosts.isolation, ports.status(unit.id), omen, clock.now())
  }

  #omen({ id }: Unit): ModuleOmen {
    return this.#env.omenOver?.(id) ?? NO_OMEN
  }

  async #startWanted(moduleId: string, because: string): Promise<void> {
    const unit = this.#roster.get(moduleId)
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

  #books({ id }: Unit): Books {
    return { memory: this.#remembered.of(id), append: (draft) => this.#env.append(draft) }
  }

  #reloadBooks({ id }: Unit): ReloadBooks {
    return {
      env: this.#env,
      memory: this.#remembered.of(id),
      dependants: this.#roster.dependants(id),
    }
  }

  async #look(unit: Unit): Promise<void> {
    const entry = await this.#env.catalog.look(unit.id)
    if (entry !== undefined) await this.#roster.learn(entry)
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
}

/** How many missions may use a module at once, where an omen limits it. */
const MISSIONS_MAX = {
  ignore: {},
  warn: {},
  intervene: { missionsMax: 1 },
  lock: { missionsMax: 0 },
} as const satisfies Record<ModuleOmen['level'], Pick<ModuleOutlook, 'missionsMax'>>
