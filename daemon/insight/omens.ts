import type { Fact } from '../contracts/fact.ts'
import type { Category, ModuleId } from '../contracts/ids.ts'
import { CALM, type Cusum, levelAt, nextLevel, stepCusum, succeeded, usualRate } from './cusum.ts'
import { isCrash, moduleOf, outcomeOf, textOf } from './facts.ts'
import { rounded } from './numbers.ts'
import {
  count,
  fresh,
  type History,
  hardestFirst,
  type Omen,
  type OmenChange,
  type OmenView,
} from './omen.ts'
import { crashOmen, missionOmen, type OmenSubject } from './omen-keys.ts'
import { harder, type OmenLevel } from './omen-levels.ts'
import { StepModules } from './step-modules.ts'
import { Uptime } from './uptime.ts'

/**
 * Repeated failures, counted: one CUSUM for each way of failing, folded from facts.
 *
 * What a trial is: for failing missions each mission of the module; for crashes and hangs each crash, and each hour
 * up without one. A success lowers every omen of its module, a failure raises its own and leaves the others alone.
 */
export class Omens {
  readonly #onChanged: (change: OmenChange) => void
  readonly #omens = new Map<string, Omen>()
  readonly #histories = new Map<string, History>()
  readonly #probation = new Map<ModuleId, number>()
  readonly #unlocking = new Map<number, ModuleId>()
  readonly #steps = new StepModules()
  readonly uptime = new Uptime()
  /** Off while old facts are folded again: what they led to stands in the journal already. */
  #announcing = false

  constructor(onChanged: (change: OmenChange) => void = () => {}) {
    this.#onChanged = onChanged
  }

  fold(fact: Fact): void {
    this.uptime.fold(fact)
    this.#steps.fold(fact)
    if (fact.type === 'mission.ended') this.#mission(fact)
    if (isCrash(fact)) this.#crash(fact)
    if (fact.type === 'omen.changed') this.#announced(fact)
    if (fact.type === 'command.intended' || fact.type === 'command.done') this.#unlock(fact)
    this.#steps.forget(fact)
  }

  /** To be called once the replay is over: reports what a crash kept from the journal, and from now on every change. */
  announce(): void {
    this.#announcing = true
    for (const omen of this.#omens.values()) this.#report(omen)
  }

  /** The hardest level over a module. */
  levelOf(moduleId: ModuleId, nowMs: number): OmenLevel {
    let level: OmenLevel = 'ignore'
    for (const omen of this.#omens.values())
      if (omen.moduleId === moduleId) level = harder(level, this.#levelNow(omen, nowMs))
    return level
  }

  /** Every omen that has not calmed down, the hardest and newest first. */
  list(nowMs: number): OmenView[] {
    const standing = [...this.#omens.values()].filter(
      (omen) => omen.locked || this.#stateNow(omen, nowMs).count > 0,
    )
    return standing.map((omen) => this.#view(omen, nowMs)).sort(hardestFirst)
  }

  save(): SavedOmens {
    return {
      omens: [...this.#omens.values()].map((omen) => ({ ...omen })),
      histories: [...this.#histories].map(([name, history]) => [name, { ...history }]),
      probation: [...this.#probation],
      unlocking: [...this.#unlocking],
      steps: this.#steps.save(),
      uptime: this.uptime.save(),
    }
  }

  load(saved: SavedOmens): void {
    for (const omen of saved.omens) this.#omens.set(omen.key, { ...omen })
    for (const [name, history] of saved.histories) this.#histories.set(name, { ...history })
    for (const [moduleId, untilMs] of saved.probation) this.#probation.set(moduleId, untilMs)
    for (const [seq, moduleId] of saved.unlocking) this.#unlocking.set(seq, moduleId)
    this.#steps.load(saved.steps)
    this.uptime.load(saved.uptime)
  }

  #mission(fact: Fact): void {
    const outcome = outcomeOf(fact)
    if (outcome === undefined || fact.mid === undefined) return
    const atMs = Date.parse(fact.ts)
    const { modules, category } = outcome
    if (outcome.success) {
      for (const scope of new Set([...modules, category])) this.#succeed(scope, atMs)
      return
    }
    const moduleId =
      this.#steps.moduleOf(fact.mid, outcome.step) ?? (modules.length === 1 ? modules[0] : null)
    this.#fail(missionOmen(outcome, moduleId ?? null), fact.mid, atMs)
  }

  #succeed(scope: ModuleId | Category, atMs: number): void {
    const history = this.#history(scope, 'missions')
    const usual = usualRate(history.failures, history.trials)
    for (const omen of this.#omens.values()) {
      if (omen.scope !== scope || omen.kind !== 'mission_failed') continue
      Object.assign(omen, succeeded(omen, usual, 1))
      this.#report(omen)
    }
    count(history, atMs, { trials: 1, failures: 0 })
  }

  #crash(fact: Fact): void {
    const moduleId = moduleOf(fact)
    if (moduleId === undefined) return
    const atMs = Date.parse(fact.ts)
    const history = this.#history(moduleId, 'life')
    const cleanHours = this.#cleanHours(moduleId, atMs)
    const usual = usualRate(history.failures, history.trials)
    for (const omen of this.#omens.values()) {
      if (omen.moduleId !== moduleId || omen.kind === 'mission_failed') continue
      Object.assign(omen, succeeded(omen, usual, cleanHours))
    }
    count(history, atMs, { trials: cleanHours, failures: 0 })
    // Counted from this crash on: what is left of the hour was not a clean one.
    history.countedUpMs = this.uptime.upMs(moduleId, atMs)
    this.#fail(crashOmen(fact, moduleId), `seq:${fact.seq}`, atMs)
  }

  #fail(subject: OmenSubject, example: string, atMs: number): void {
    const history = this.#history(subject.scope, subject.kind === 'mission_failed' ? 'missions' : 'life')
    const omen = this.#omens.get(subject.key) ?? fresh(subject, atMs)
    const state = stepCusum(omen, true, usualRate(history.failures, history.trials))
    // A calm one begins anew: it is first seen when its present run began.
    const firstMs = omen.count === 0 ? atMs : omen.firstMs
    const evidence = [example, ...(omen.count === 0 ? [] : omen.evidence)].slice(0, EXAMPLES_MAX)
    Object.assign(omen, state, { firstMs, lastMs: atMs, evidence })
    // What no module is to blame for nobody could unlock: it stays at what score and count say.
    omen.locked ||= omen.moduleId !== null && this.#levelNow(omen, atMs) === 'lock'
    this.#omens.delete(omen.key)
    this.#omens.set(omen.key, omen)
    count(history, atMs, { trials: 1, failures: 1 })
    this.#report(omen)
    if (this.#omens.size > OMENS_MAX) this.#dropOne()
  }

  /** Only `unlock_module` opens a lock: every omen of the module begins anew, and locks sooner for a day. */
  #unlock(fact: Fact): void {
    if (fact.type === 'command.intended') {
      const params = fact.d['params'] as Fact['d'] | undefined
      const moduleId = params && textOf(params, 'module_id')
      if (textOf(fact.d, 'command') !== 'unlock_module' || moduleId === undefined) return
      this.#unlocking.set(fact.seq, moduleId)
      return
    }
    const intent = Number(fact.d['intent'])
    const moduleId = this.#unlocking.get(intent)
    this.#unlocking.delete(intent)
    if (moduleId === undefined || textOf(fact.d, 'outcome') !== 'done') return
    this.#probation.set(moduleId, Date.parse(fact.ts) + PROBATION_MS)
    for (const omen of this.#omens.values()) {
      if (omen.moduleId !== moduleId) continue
      Object.assign(omen, CALM, { locked: false })
      this.#report(omen)
    }
  }

  #announced(fact: Fact): void {
    const omen = this.#omens.get(String(fact.d['key']))
    const level = textOf(fact.d, 'level')
    if (omen !== undefined && level !== undefined) omen.announced = level as OmenLevel
  }

  #report(omen: Omen): void {
    const level = this.#levelNow(omen, omen.lastMs)
    if (!this.#announcing || level === omen.announced) return
    const previous = omen.announced
    omen.announced = level
    const { key, moduleId, kind, count: failures, score, evidence } = omen
    const told = { key, module_id: moduleId, kind, count: failures, score: rounded(score, 2), evidence }
    this.#onChanged({ ...told, level, previous })
  }

  /** Whole hours up since the last crash, or since the module was first met. */
  #cleanHours(moduleId: ModuleId, nowMs: number): number {
    const counted = this.#histories.get(`life ${moduleId}`)?.countedUpMs ?? 0
    return Math.floor((this.uptime.upMs(moduleId, nowMs) - counted) / HOUR_MS)
  }

  #stateNow(omen: Omen, nowMs: number): Cusum {
    if (omen.kind === 'mission_failed' || omen.moduleId === null) return omen
    const history = this.#history(omen.moduleId, 'life')
    const usual = usualRate(history.failures, history.trials)
    return succeeded(omen, usual, Math.max(0, this.#cleanHours(omen.moduleId, nowMs)))
  }

  #levelNow(omen: Omen, nowMs: number): OmenLevel {
    if (omen.locked) return 'lock'
    return levelAt(this.#stateNow(omen, nowMs), this.#onProbation(omen.moduleId, nowMs))
  }

  #view(omen: Omen, nowMs: number): OmenView {
    const level = this.#levelNow(omen, nowMs)
    const { count: failures, score } = this.#stateNow(omen, nowMs)
    return {
      key: omen.key,
      module_id: omen.moduleId,
      kind: omen.kind,
      level,
      count: failures,
      score: rounded(score, 2),
      first_seen: new Date(omen.firstMs).toISOString(),
      last_seen: new Date(omen.lastMs).toISOString(),
      evidence: omen.evidence,
      next_level: nextLevel(level, this.#onProbation(omen.moduleId, nowMs)) ?? null,
    }
  }

  #onProbation(moduleId: ModuleId | null, nowMs: number): boolean {
    return moduleId !== null && nowMs < (this.#probation.get(moduleId) ?? 0)
  }

  #history(scope: string, family: 'missions' | 'life'): History {
    const name = `${family} ${scope}`
    const history = this.#histories.get(name) ?? { atMs: 0, trials: 0, failures: 0, countedUpMs: 0 }
    this.#histories.set(name, history)
    return history
  }

  /** The longest calm one, else the one with the lowest score; a lock is never forgotten. */
  #dropOne(): void {
    let least: Omen | undefined
    for (const omen of this.#omens.values()) {
      if (omen.locked) continue
      if (least === undefined || omen.score < least.score) least = omen
    }
    if (least !== undefined) this.#omens.delete(least.key)
  }
}

export interface SavedOmens {
  readonly omens: readonly Omen[]
  readonly histories: readonly (readonly [string, History])[]
  readonly probation: readonly (readonly [ModuleId, number])[]
  readonly unlocking: readonly (readonly [number, ModuleId])[]
  readonly steps: ReturnType<StepModules['save']>
  readonly uptime: ReturnType<Uptime['save']>
}

const HOUR_MS = 3_600_000
const PROBATION_MS = 24 * HOUR_MS
const EXAMPLES_MAX = 5
/** Every success walks over them; a module that fails in more ways than this has one cause behind them. */
const OMENS_MAX = 1_000
