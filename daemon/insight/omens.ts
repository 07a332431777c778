import type { Fact } from '../contracts/fact.ts'
import type { Category, ModuleId } from '../contracts/ids.ts'
import type { ModuleOmen } from '../contracts/status.ts'
import { CALM, type Cusum, levelAt, levelOfRun, nextLevel, stepCusum, succeeded, usualRate } from './cusum.ts'
import { isCrash, moduleOf, outcomeOf, textOf } from './facts.ts'
import { Minutes, type SavedMinutes } from './minutes.ts'
import { rounded } from './numbers.ts'
import { count, hardestFirst, type Omen, type OmenChange, type OmenView } from './omen.ts'
import { calm, OmenBook, type SavedBook } from './omen-book.ts'
import { crashOmen, missionOmen, type OmenSubject, sentenceOf, shiftOmen, systemOmen } from './omen-keys.ts'
import { harder, type OmenLevel } from './omen-levels.ts'
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
  readonly #probation = new Map<ModuleId, number>()
  readonly #steps = new StepModules()
  readonly #durations = new Minutes('ms')
  readonly #cause = new CommonCause()
  /** Whether the journal knows of the system omen. */
  #causeAnnounced = false
  readonly uptime = new Uptime()
  /** Off while old facts are folded again: what they led to stands in the journal already. */
  #announcing = false

  constructor(onChanged: (change: OmenChange) => void = () => {}) {
    this.#onChanged = onChanged
  }

  fold(fact: Fact): void {
    const atMs = Date.parse(fact.ts)
    this.look(atMs)
    this.uptime.fold(fact)
    this.#steps.fold(fact)
    this.#meet(fact, atMs)
    if (fact.type === 'mission.ended') this.#mission(fact, atMs)
    if (fact.type === 'mission.step_finished') this.#step(fact, atMs)
    if (isCrash(fact)) this.#crash(fact, atMs)
    if (fact.type === 'omen.changed') this.#announced(fact, atMs)
    if (fact.type === 'module.unlocked') this.#unlock(fact, atMs)
    this.#steps.forget(fact)
  }

  /** To be called once the replay is over: reports what a crash kept from the journal, and from now on every change. */
  announce(): void {
    this.#announcing = true
    for (const omen of this.#book.all) this.#report(omen)
    this.#reportCause()
  }

  /** Ends the system omen when it has been quiet for long enough by this time. */
  look(nowMs: number): void {
    const untilMs = this.#cause.untilMs
    if (untilMs !== undefined && this.#cause.isOver(nowMs)) this.#closeCause(untilMs)
  }

  /** Until when the system omen stands if nothing more happens. */
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
    const waiting = hardest === undefined ? this.#heldOver(moduleId, nowMs) : undefined
    const shown = hardest ?? waiting
    const probationMs = this.#probationMs(moduleId, nowMs)
    return {
      level,
      because: shown === undefined ? null : sentenceOf(shown, this.#stateNow(shown, nowMs).count),
      since: shown === undefined ? null : new Date(shown.levelMs).toISOString(),
      probation_until: probationMs === undefined ? null : new Date(probationMs).toISOString(),
      held: waiting !== undefined,
    }
  }

  /** Every omen that has not calmed down, the hardest and newest first. */
  list(nowMs: number): OmenView[] {
    const standing = [...this.#book.all].filter(
      (omen) => omen.locked || this.#stateNow(omen, nowMs).count > 0,
    )
    return [...this.#causeView(nowMs), ...standing.map((omen) => this.#view(omen, nowMs)).sort(hardestFirst)]
  }

  save(): SavedOmens {
    return {
      book: this.#book.save(),
      probation: [...this.#probation],
      steps: this.#steps.save(),
      durations: this.#durations.save(),
      cause: this.#cause.save(),
      cause_announced: this.#causeAnnounced,
      uptime: this.uptime.save(),
    }
  }

  load(saved: SavedOmens): void {
    this.#book.load(saved.book)
    for (const [moduleId, untilMs] of saved.probation) this.#probation.set(moduleId, untilMs)
    this.#steps.load(saved.steps)
    this.#durations.load(saved.durations)
    this.#cause.load(saved.cause)
    this.#causeAnnounced = saved.cause_announced
    this.uptime.load(saved.uptime)
  }

  // --- facts -------------------------------------------------------------------------------------------------

  #meet(fact: Fact, atMs: number): void {
    if (fact.type === 'daemon.started') for (const omen of this.#book.all) this.#forgetMemory(omen, atMs)
    const moduleId = moduleOf(fact)
    if (moduleId === undefined) return
    if (fact.type === 'module.removed') this.#cause.forget(moduleId)
    if (fact.type === 'module.discovered' || fact.type === 'module.started') this.#cause.learn(moduleId)
    // Other code has other figures, and a process that is new has other memory.
    if (NEW_CODE.has(fact.type)) this.#durations.forget((uses) => uses.startsWith(`${moduleId}/`))
    if (NEW_PROCESS.has(fact.type)) for (const omen of this.#book.of(moduleId)) this.#forgetMemory(omen, atMs)
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
    const history = this.#book.history(scope, 'missions')
    const usual = usualRate(history.failures, history.trials)
    for (const omen of this.#book.of(scope)) {
      if (omen.kind === 'mission_failed') this.#become(omen, succeeded(omen, usual, 1), atMs)
    }
    count(history, atMs, { trials: 1, failures: 0 })
    if (this.#cause.succeeded(scope)) this.#closeCause(atMs)
  }

  #crash(fact: Fact, atMs: number): void {
    const moduleId = moduleOf(fact)
    if (moduleId === undefined) return
    const history = this.#book.history(moduleId, 'life')
    const cleanHours = this.#cleanHours(moduleId, atMs)
    const usual = usualRate(history.failures, history.trials)
    for (const omen of this.#book.of(moduleId)) {
      if (LIFE.has(omen.kind)) this.#become(omen, succeeded(omen, usual, cleanHours), atMs)
    }
    count(history, atMs, { trials: cleanHours, failures: 0 })
    // Counted from this crash on: what is left of the hour was not a clean one.
    history.countedUpMs = this.uptime.upMs(moduleId, atMs)
    this.#fail(crashOmen(fact, moduleId), `seq:${fact.seq}`, atMs)
  }

  #fail(subject: OmenSubject, example: string, atMs: number): void {
    const history = this.#book.history(subject.scope, LIFE.has(subject.kind) ? 'life' : 'missions')
    const omen = this.#book.take(subject, atMs)
    const next = stepCusum(omen, true, usualRate(history.failures, history.trials))
    count(history, atMs, { trials: 1, failures: 1 })
    this.#cite(omen, example, atMs)
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
    if (minute.run > 0) this.#cite(omen, minute.evidence, atMs)
    this.#become(omen, minute.run > 0 ? { score: minute.score, count: minute.run } : CALM, atMs)
  }

  /** What is on record is known; and memory, which only the daemon that ran could see, is known by nothing else. */
  #announced({ d }: Fact, atMs: number): void {
    const [level, moduleId] = [textOf(d, 'level'), textOf(d, 'module_id')]
    if (d['kind'] === 'system') this.#causeAnnounced = level !== 'ignore'
    if (d['kind'] === 'memory' && moduleId !== undefined) {
      const omen = this.#book.take(shiftOmen('memory', moduleId), atMs)
      if (Array.isArray(d['evidence'])) this.#cite(omen, d['evidence'].map(String), atMs)
      omen.announced = level as OmenLevel
      this.#become(omen, { score: Number(d['score']), count: Number(d['count']) }, atMs)
      return
    }
    const omen = this.#book.get(String(d['key']))
    if (omen === undefined || level === undefined) return
    omen.announced = level as OmenLevel
    omen.announcedHeld = d['held'] === true
  }

  /** Only this opens a lock: every omen of the module begins anew, and locks sooner for a day. */
  #unlock(fact: Fact, atMs: number): void {
    const moduleId = moduleOf(fact)
    if (moduleId === undefined) return
    this.#probation.set(moduleId, atMs + PROBATION_MS)
    this.#durations.forget((uses) => uses.startsWith(`${moduleId}/`))
    for (const omen of this.#book.of(moduleId)) {
      calm(omen, atMs)
      this.#report(omen)
    }
  }

  // --- one omen ----------------------------------------------------------------------------------------------

  #cite(omen: Omen, examples: string | readonly string[], atMs: number): void {
    // A calm one begins anew: it is first seen when its present run began.
    const isNew = omen.count === 0
    omen.firstMs = isNew ? atMs : omen.firstMs
    omen.lastMs = atMs
    omen.evidence = [examples, isNew ? [] : omen.evidence].flat().slice(0, EXAMPLES_MAX)
  }

  #become(omen: Omen, state: Cusum, atMs: number): void {
    const before = this.#levelNow(omen, atMs)
    Object.assign(omen, state)
    const after = this.#levelNow(omen, atMs)
    if (after !== before) omen.levelMs = atMs
    if (before === 'ignore' && after !== 'ignore' && omen.moduleId !== null) this.#hold(omen.moduleId, atMs)
    // What no module is to blame for nobody could unlock: it stays at what score and count say.
    omen.locked ||= omen.moduleId !== null && after === 'lock' && !omen.held
    this.#report(omen)
  }

  #hold(moduleId: ModuleId, atMs: number): void {
    const members = this.#cause.rose(moduleId, atMs)
    for (const id of members) {
      for (const omen of this.#book.of(id)) {
        const isRecent = atMs - omen.levelMs < RECENT_MS && this.#levelNow(omen, atMs) !== 'ignore'
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
    this.#reportCause(atMs)
  }

  #forgetMemory(omen: Omen, atMs: number): void {
    if (omen.kind !== 'memory' || omen.locked || omen.count === 0) return
    calm(omen, atMs)
    this.#report(omen)
  }

  #report(omen: Omen): void {
    const level = this.#levelNow(omen, omen.lastMs)
    if (!this.#announcing || (level === omen.announced && omen.held === omen.announcedHeld)) return
    const previous = omen.announced
    omen.announced = level
    omen.announcedHeld = omen.held
    const { key, moduleId, kind, held, count: failures, score, evidence } = omen
    const because = sentenceOf(omen, failures)
    const told = { key, module_id: moduleId, kind, held, count: failures, score: rounded(score, 2), because }
    this.#onChanged({ ...told, level, previous, evidence })
  }

  #reportCause(nowMs = Number.NEGATIVE_INFINITY): void {
    const standing = this.#cause.standing(nowMs)
    if (!this.#announcing || (standing !== undefined) === this.#causeAnnounced) return
    this.#causeAnnounced = standing !== undefined
    const members = standing?.members ?? []
    const { key, kind } = systemOmen(0)
    const [level, previous] =
      standing === undefined ? (['ignore', 'warn'] as const) : (['warn', 'ignore'] as const)
    const because = standing === undefined ? 'the common cause is over' : systemOmen(members.length).what
    const told = { key, module_id: null, kind, held: false, count: members.length, score: 0, because }
    this.#onChanged({ ...told, level, previous, evidence: members.slice(0, MEMBERS_TOLD) })
  }

  // --- now ---------------------------------------------------------------------------------------------------

  #hardest(moduleId: ModuleId, nowMs: number): [OmenLevel, Omen | undefined] {
    let [level, hardest]: [OmenLevel, Omen | undefined] = ['ignore', undefined]
    for (const omen of this.#book.of(moduleId)) {
      if (omen.held) continue
      const each = this.#levelNow(omen, nowMs)
      if (each === 'ignore' || harder(level, each) === level) continue
      level = each
      hardest = omen
    }
    return [level, hardest]
  }

  #heldOver(moduleId: ModuleId, nowMs: number): Omen | undefined {
    for (const omen of this.#book.of(moduleId))
      if (omen.held && this.#levelNow(omen, nowMs) !== 'ignore') return omen
    return undefined
  }

  /** Whole hours up since the last crash, or since the module was first met. */
  #cleanHours(moduleId: ModuleId, nowMs: number): number {
    const counted = this.#book.history(moduleId, 'life').countedUpMs
    return Math.max(0, Math.floor((this.uptime.upMs(moduleId, nowMs) - counted) / HOUR_MS))
  }

  #stateNow(omen: Omen, nowMs: number): Cusum {
    if (omen.held && this.#cause.isOver(nowMs)) return CALM
    if (!LIFE.has(omen.kind) || omen.moduleId === null) return omen
    const history = this.#book.history(omen.moduleId, 'life')
    const usual = usualRate(history.failures, history.trials)
    return succeeded(omen, usual, this.#cleanHours(omen.moduleId, nowMs))
  }

  #levelNow(omen: Omen, nowMs: number): OmenLevel {
    if (omen.locked) return 'lock'
    const onProbation = omen.moduleId !== null && this.#probationMs(omen.moduleId, nowMs) !== undefined
    const state = this.#stateNow(omen, nowMs)
    return SHIFTS.has(omen.kind) ? levelOfRun(state.count, onProbation) : levelAt(state, onProbation)
  }

  #view(omen: Omen, nowMs: number): OmenView {
    const level = this.#levelNow(omen, nowMs)
    const { count: failures, score } = this.#stateNow(omen, nowMs)
    const probationMs = omen.moduleId === null ? undefined : this.#probationMs(omen.moduleId, nowMs)
    return {
      key: omen.key,
      module_id: omen.moduleId,
      kind: omen.kind,
      level,
      held: omen.held,
      count: failures,
      score: rounded(score, 2),
      because: sentenceOf(omen, failures),
      first_seen: new Date(omen.firstMs).toISOString(),
      last_seen: new Date(omen.lastMs).toISOString(),
      evidence: omen.evidence,
      next_level: nextLevel(level, probationMs !== undefined) ?? null,
      probation_until: probationMs === undefined ? null : new Date(probationMs).toISOString(),
    }
  }

  #causeView(nowMs: number): OmenView[] {
    const standing = this.#cause.standing(nowMs)
    if (standing === undefined) return []
    const { members, openedMs, lastFailureMs } = standing
    const { key, kind, what } = systemOmen(members.length)
    const seen = {
      first_seen: new Date(openedMs).toISOString(),
      last_seen: new Date(lastFailureMs).toISOString(),
    }
    const told = { key, module_id: null, kind, level: 'warn', held: false, count: members.length } as const
    const rest = { evidence: members.slice(0, MEMBERS_TOLD), next_level: null, probation_until: null }
    return [{ ...told, score: 0, because: what, ...seen, ...rest }]
  }

  #probationMs(moduleId: ModuleId, nowMs: number): number | undefined {
    const untilMs = this.#probation.get(moduleId)
    return untilMs !== undefined && nowMs < untilMs ? untilMs : undefined
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

const LIFE: ReadonlySet<string> = new Set(['crashed', 'hung'])
const SHIFTS: ReadonlySet<string> = new Set(['slow', 'memory'])
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
const HOUR_MS = 3_600_000
const PROBATION_MS = 24 * HOUR_MS
/** An omen that rose within this is the common cause's. */
const RECENT_MS = 60_000
const EXAMPLES_MAX = 5
/** Enough to see what they have in common; all of them are listed as held. */
const MEMBERS_TOLD = 20
