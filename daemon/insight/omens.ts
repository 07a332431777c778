import type { Fact } from '../contracts/fact.ts'
import type { Category, ModuleId } from '../contracts/ids.ts'
import type { ModuleOmen } from '../contracts/status.ts'
import { CALM, type Cusum, levelOfRun, stepCusum, succeeded } from './cusum.ts'
import { isCrash, moduleOf, outcomeOf, textOf, timeOf } from './facts.ts'
import { type Minute, Minutes, type SavedMinutes } from './minutes.ts'
import { count, hardestFirst, type Omen, type OmenChange, type OmenView } from './omen.ts'
import { calm, OmenBook, type SavedBook } from './omen-book.ts'
import { crashOmen, missionOmen, type OmenSubject, sentenceOf, shiftOmen } from './omen-keys.ts'
import { harder, type OmenLevel } from './omen-levels.ts'
import { LIFE, OmenScale } from './omen-scale.ts'
import { causeChange, causeView, changeOf, viewOf } from './omen-view.ts'
import type { Reading } from './port.ts'
import { StepModules } from './step-modules.ts'
import { CommonCause, type SavedCause } from './system-omen.ts'
import { Uptime } from './uptime.ts'

/**
 * Repeated failures, counted: one CUSUM for each way of failing, folded from facts.
 *
 * What a trial is: for failing missions each mission of the module; for crashes and hangs each crash, and each hour
 * up without one; for what takes longer, each minute in which it was used. A success lowers every omen of its module, a
 * failure raises its own and leaves the others alone. Locks, probation and the system omen follow from facts alone.
 */
export class Omens {
  readonly #onChanged: (change: OmenChange) => void
  readonly #book = new OmenBook()
  readonly #steps = new StepModules()
  readonly #durations = new Minutes('ms')
  /** Of the running daemon only: what it led to is on record. */
  readonly #sizes = new Minutes('MB', MB_BYTES)
  readonly #cause = new CommonCause()
  readonly uptime = new Uptime()
  readonly #scale = new OmenScale(this.#book, this.#cause, this.uptime)
  /** Whether the journal knows of the system omen. */
  #causeAnnounced = false
  /** Off while old facts are folded again: what they led to stands in the journal already. */
  #announcing = false

  constructor(onChanged: (change: OmenChange) => void = () => {}) {
    this.#onChanged = onChanged
  }

  fold(fact: Fact): void {
    const atMs = timeOf(fact)
    this.look(atMs)
    this.uptime.fold(fact)
    switch (fact.type) {
      case 'mission.step_started':
        this.#steps.fold(fact)
        break
      case 'mission.step_finished':
        this.#step(fact, atMs)
        break
      case 'mission.ended':
        this.#mission(fact, atMs)
        this.#steps.forget(fact)
        break
      case 'mission.cancelled':
        this.#steps.forget(fact)
        break
      case 'omen.changed':
        this.#announced(fact, atMs)
        break
      case 'daemon.started':
        for (const omen of this.#book.all) this.#forgetMemory(omen, atMs)
        break
      default:
        if (fact.type.startsWith('module.')) this.#module(fact, atMs)
    }
  }

  /** To be called once the replay is over: reports what a crash kept from the journal, and from now on every change. */
  announce(): void {
    this.#announcing = true
    for (const omen of this.#book.all) this.#report(omen)
    this.#reportCause()
  }

  /**
   * What modules hold of memory now. Nothing changes here: a shift is put on record, with its figures, and becomes an
   * omen when that is folded.
   */
  measured(readings: readonly Reading[], nowMs: number): void {
    for (const { moduleId, resource, used } of readings) {
      if (resource !== 'memory' || moduleId === undefined) continue
      const minute = this.#sizes.sample(moduleId, used, nowMs)
      if (minute !== undefined) this.#proposeMemory(moduleId, minute, nowMs)
    }
  }

  /** Ends the system omen when it has been quiet for long enough by this time. */
  look(nowMs: number): void {
    const untilMs = this.#cause.untilMs
    if (untilMs !== undefined && this.#cause.isOver(nowMs)) this.#closeCause(untilMs)
  }

  /** Until when the system omen stands if nothing more happens; undefined when none does. */
  get untilMs(): number | undefined {
    return this.#cause.untilMs
  }

  /** The hardest level over a module, of those that are in force. */
  levelOf(moduleId: ModuleId, nowMs: number): OmenLevel {
    return this.#hardest(moduleId, nowMs)[0]
  }

  /** What omens say of a module now. */
  over(moduleId: ModuleId, nowMs: number): ModuleOmen {
    const [level, hardest] = this.#hardest(moduleId, nowMs)
    const held = hardest === undefined ? this.#heldOver(moduleId, nowMs) : undefined
    const shown = hardest ?? held
    const probationMs = this.#scale.probationMs(moduleId, nowMs)
    return {
      level,
      because: shown === undefined ? null : sentenceOf(shown, this.#scale.stateAt(shown, nowMs).count),
      since: shown === undefined ? null : new Date(shown.levelMs).toISOString(),
      probation_until: probationMs === undefined ? null : new Date(probationMs).toISOString(),
      held: held !== undefined,
    }
  }

  /** The system omen, then every other that has not calmed down, the hardest and newest first. */
  list(nowMs: number): OmenView[] {
    const scale = this.#scale
    const views = [...this.#book.all]
      .filter((omen) => omen.locked || scale.stateAt(omen, nowMs).count > 0)
      .map((omen) => viewOf(omen, scale.stateAt(omen, nowMs), scale.outlook(omen, nowMs)))
    const cause = this.#cause.standing(nowMs)
    return [...(cause === undefined ? [] : [causeView(cause)]), ...views.sort(hardestFirst)]
  }

  save(): SavedOmens {
    return {
      book: this.#book.save(),
      probation: this.#scale.save(),
      steps: this.#steps.save(),
      durations: this.#durations.save(),
      cause: this.#cause.save(),
      cause_announced: this.#causeAnnounced,
      uptime: this.uptime.save(),
    }
  }

  load(saved: SavedOmens): void {
    this.#book.load(saved.book)
    this.#scale.load(saved.probation)
    this.#steps.load(saved.steps)
    this.#durations.load(saved.durations)
    this.#cause.load(saved.cause)
    this.#causeAnnounced = saved.cause_announced
    this.uptime.load(saved.uptime)
  }

  // --- facts -------------------------------------------------------------------------------------------------

  #module(fact: Fact, atMs: number): void {
    const { type } = fact
    const moduleId = moduleOf(fact)
    if (moduleId === undefined) return
    if (type === 'module.removed') this.#cause.forget(moduleId)
    if (type === 'module.discovered' || type === 'module.started') this.#cause.learn(moduleId)
    // Other code has other figures, and a process that is new has other memory.
    if (NEW_CODE.has(type)) this.#forgetUsual(moduleId)
    if (NEW_PROCESS.has(type)) {
      this.#sizes.forget((name) => name === moduleId)
      for (const omen of this.#book.of(moduleId)) this.#forgetMemory(omen, atMs)
    }
    if (isCrash(fact)) this.#crash(fact, moduleId, atMs)
    if (type === 'module.unlocked') this.#unlock(moduleId, atMs)
  }

  #mission(fact: Fact, atMs: number): void {
    const outcome = outcomeOf(fact)
    if (outcome === undefined || fact.mid === undefined) return
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
    const usual = this.#scale.usual(scope, 'missions')
    for (const omen of this.#book.of(scope)) {
      if (omen.kind === 'mission_failed') this.#become(omen, succeeded(omen, usual, 1), atMs)
    }
    count(this.#book.history(scope, 'missions'), atMs, { trials: 1, failures: 0 })
    if (this.#cause.succeeded(scope)) this.#closeCause(atMs)
  }

  #crash(fact: Fact, moduleId: ModuleId, atMs: number): void {
    const cleanHours = this.#scale.cleanHours(moduleId, atMs)
    const usual = this.#scale.usual(moduleId, 'life')
    for (const omen of this.#book.of(moduleId)) {
      if (LIFE.has(omen.kind)) this.#become(omen, succeeded(omen, usual, cleanHours), atMs)
    }
    const history = this.#book.history(moduleId, 'life')
    count(history, atMs, { trials: cleanHours, failures: 0 })
    // Counted from this crash on: what is left of the hour was not a clean one.
    history.countedUpMs = this.uptime.upMs(moduleId, atMs)
    this.#fail(crashOmen(fact, moduleId), `seq:${fact.seq}`, atMs)
  }

  #fail(subject: OmenSubject, example: string, atMs: number): void {
    const family = LIFE.has(subject.kind) ? 'life' : 'missions'
    const omen = this.#book.take(subject, atMs)
    const next = stepCusum(omen, true, this.#scale.usual(subject.scope, family))
    count(this.#book.history(subject.scope, family), atMs, { trials: 1, failures: 1 })
    cite(omen, example, atMs)
    this.#become(omen, next, atMs)
    if (omen.moduleId !== null) this.#cause.failed(omen.moduleId, atMs)
  }

  /** A step that has ended tells what it took; the minute before is looked at when the next one begins. */
  #step({ mid, d }: Fact, atMs: number): void {
    const uses = mid === undefined ? undefined : this.#steps.usedBy(mid, textOf(d, 'step'))
    const durationMs = Number(d['duration_ms'])
    if (uses === undefined || d['status'] !== 'completed' || !Number.isFinite(durationMs)) return
    const minute = this.#durations.sample(uses, durationMs, atMs)
    if (minute === undefined) return
    const cut = uses.lastIndexOf('/')
    const subject = shiftOmen('slow', uses.slice(0, cut), uses.slice(cut + 1))
    if (minute.run === 0 && this.#book.get(subject.key) === undefined) return
    const omen = this.#book.take(subject, atMs)
    if (minute.run > 0) cite(omen, minute.evidence, atMs)
    this.#become(omen, minute.run > 0 ? { score: minute.score, count: minute.run } : CALM, atMs)
  }

  #announced({ d }: Fact, atMs: number): void {
    const [level, moduleId] = [textOf(d, 'level') as OmenLevel, textOf(d, 'module_id')]
    if (d['kind'] === 'system') this.#causeAnnounced = level !== 'ignore'
    if (d['kind'] === 'memory' && moduleId !== undefined) this.#book.take(shiftOmen('memory', moduleId), atMs)
    const omen = this.#book.get(String(d['key']))
    if (omen === undefined) return
    omen.announced = level
    omen.announcedHeld = d['held'] === true
    if (omen.kind !== 'memory') return
    // Nothing else knows of it: the figures were seen by the daemon that ran then.
    if (omen.count === 0) omen.firstMs = atMs
    omen.lastMs = atMs
    omen.evidence = Array.isArray(d['evidence']) ? d['evidence'].map(String) : []
    this.#become(omen, { score: Number(d['score']), count: Number(d['count']) }, atMs)
  }

  /** Only this opens a lock: every omen of the module begins anew, and locks sooner for a day. */
  #unlock(moduleId: ModuleId, atMs: number): void {
    this.#scale.beginProbation(moduleId, atMs)
    this.#forgetUsual(moduleId)
    this.#sizes.forget((name) => name === moduleId)
    for (const omen of this.#book.of(moduleId)) {
      calm(omen, atMs)
      this.#report(omen)
    }
  }

  #proposeMemory(moduleId: ModuleId, { run, score, evidence }: Minute, nowMs: number): void {
    const subject = shiftOmen('memory', moduleId)
    const omen = this.#book.get(subject.key)
    const level = levelOfRun(run, this.#scale.probationMs(moduleId, nowMs) !== undefined)
    const previous = omen === undefined ? 'ignore' : this.#scale.levelAt(omen, nowMs)
    if (!this.#announcing || level === previous || previous === 'lock') return
    const examples = run > 0 ? [evidence, ...(omen?.evidence ?? [])].slice(0, EXAMPLES_MAX) : []
    const figures = { held: omen?.held ?? false, count: run, score, evidence: examples }
    this.#onChanged(changeOf(subject, figures, { level, previous }))
  }

  // --- one omen ----------------------------------------------------------------------------------------------

  #become(omen: Omen, state: Cusum, atMs: number): void {
    // A lock keeps what it stands on until it is opened.
    if (omen.locked && state.count < omen.count) return
    const before = this.#scale.levelAt(omen, atMs)
    omen.score = state.score
    omen.count = state.count
    const after = this.#scale.levelAt(omen, atMs)
    if (after !== before) omen.levelMs = atMs
    if (before === 'ignore' && after !== 'ignore' && omen.moduleId !== null) this.#hold(omen.moduleId, atMs)
    // What no module is to blame for nobody could unlock: it stays at what score and count say.
    omen.locked ||= omen.moduleId !== null && after === 'lock' && !omen.held
    this.#report(omen)
  }

  /** A module has reached warn; when it is one of many, their omens of the last minute are held from now on. */
  #hold(moduleId: ModuleId, atMs: number): void {
    for (const id of this.#cause.rose(moduleId, atMs)) {
      for (const omen of this.#book.of(id)) {
        const isRecent = atMs - omen.levelMs < RECENT_MS && this.#scale.levelAt(omen, atMs) !== 'ignore'
        if (omen.locked || omen.held || !isRecent) continue
        omen.held = true
        if (id !== moduleId) this.#report(omen)
      }
    }
    this.#reportCause()
  }

  /** What was counted meanwhile is explained: those that go on failing begin anew. */
  #closeCause(atMs: number): void {
    this.#cause.close()
    for (const omen of this.#book.all) {
      if (!omen.held) continue
      calm(omen, atMs)
      this.#report(omen)
    }
    this.#reportCause()
  }

  #forgetMemory(omen: Omen, atMs: number): void {
    if (omen.kind !== 'memory' || omen.locked || omen.count === 0) return
    calm(omen, atMs)
    this.#report(omen)
  }

  #forgetUsual(moduleId: ModuleId): void {
    this.#durations.forget((uses) => uses.startsWith(`${moduleId}/`))
  }

  #report(omen: Omen): void {
    const level = this.#scale.levelAt(omen, omen.lastMs)
    if (!this.#announcing || (level === omen.announced && omen.held === omen.announcedHeld)) return
    const previous = omen.announced
    omen.announced = level
    omen.announcedHeld = omen.held
    this.#onChanged(changeOf(omen, omen, { level, previous }))
  }

  #reportCause(): void {
    const members = this.#cause.members
    if (!this.#announcing || (members !== undefined) === this.#causeAnnounced) return
    this.#causeAnnounced = members !== undefined
    this.#onChanged(causeChange(members))
  }

  // --- now ---------------------------------------------------------------------------------------------------

  #hardest(moduleId: ModuleId, nowMs: number): [OmenLevel, Omen | undefined] {
    let [level, hardest]: [OmenLevel, Omen | undefined] = ['ignore', undefined]
    for (const omen of this.#book.of(moduleId)) {
      const each = omen.held ? 'ignore' : this.#scale.levelAt(omen, nowMs)
      if (harder(level, each) === level) continue
      level = each
      hardest = omen
    }
    return [level, hardest]
  }

  #heldOver(moduleId: ModuleId, nowMs: number): Omen | undefined {
    for (const omen of this.#book.of(moduleId))
      if (omen.held && this.#scale.levelAt(omen, nowMs) !== 'ignore') return omen
    return undefined
  }
}

export interface SavedOmens {
  readonly book: SavedBook
  readonly probation: readonly (readonly [ModuleId, number])[]
  readonly steps: ReturnType<StepModules['save']>
  readonly durations: SavedMinutes
  readonly cause: SavedCause
  readonly cause_announced: boolean
  readonly uptime: ReturnType<Uptime['save']>
}

/** The newest examples of what an omen stands on. A calm one begins anew: it is first seen when its present run began. */
function cite(omen: Omen, example: string, atMs: number): void {
  const isNew = omen.count === 0
  omen.firstMs = isNew ? atMs : omen.firstMs
  omen.lastMs = atMs
  omen.evidence = [example, ...(isNew ? [] : omen.evidence)].slice(0, EXAMPLES_MAX)
}

const NEW_CODE: ReadonlySet<string> = new Set([
  'module.reloaded',
  'module.generation_accepted',
  'module.configured',
])
const NEW_PROCESS: ReadonlySet<string> = new Set([
  'module.stopped',
  'module.crashed',
  'module.hung',
  'module.reloaded',
])
const MB_BYTES = 1_048_576
/** An omen that rose within this is the common cause's. */
const RECENT_MS = 60_000
const EXAMPLES_MAX = 5
