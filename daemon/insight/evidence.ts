import type { Fact, MissionOutcome } from '../contracts/fact.ts'
import type { Category, GenerationId, MissionId, ModuleId } from '../contracts/ids.ts'
import { DayBook } from './day-book.ts'
import { outcomeOf, selfTestOf, timeOf } from './facts.ts'
import { detailOf, fromRow, rowOf, type SavedOutcome } from './outcome-rows.ts'
import { Recent } from './recent.ts'
import { type SelfTest, SelfTests } from './self-tests.ts'
import { Goals } from './similarity.ts'
import { addOutcome, addRework, loadSums, noSums, type SavedSums, type Sums, saveSums } from './sums.ts'

/** The outcomes of one category by one module. */
export interface Kind {
  readonly category: Category
  readonly moduleId: ModuleId
  readonly sums: Sums
  readonly recent: Recent
}

/**
 * What is known from experience: one outcome per executed mission, the modules' self-tests, and, counted apart, what
 * is nobody's failure. Folded from facts only, so that the journal alone gives every number again.
 *
 * Fading sums hold all outcomes at every level of the estimate; only durations, money and examples need detail, and
 * that is bounded.
 */
export class Evidence {
  readonly total: Sums = noSums()
  readonly byCategory = new Map<Category, Sums>()
  readonly kinds = new Map<string, Kind>()
  readonly goals: Goals
  readonly selfTests = new SelfTests()
  readonly day = new DayBook()
  /** Missions of any category, by module. */
  readonly #missionsOf = new Map<ModuleId, number>()
  /** The last success of a goal, until it came again. */
  readonly #lastSuccess = new Map<
    string,
    { atMs: number; category: Category; modules: readonly ModuleId[] }
  >()
  /** How many outcomes there ever were. */
  #count = 0
  /** What ended without being a failure. */
  readonly apart = { cancelled: 0, interrupted: 0, daemon_starts: 0, unreadable: 0 }

  constructor() {
    this.goals = new Goals(GOALS_MAX, (fingerprint) => {
      this.#lastSuccess.delete(fingerprint)
      for (const { recent } of this.kinds.values()) recent.byGoal.delete(fingerprint)
    })
  }

  fold(fact: Fact): void {
    this.day.fold(fact)
    if (fact.type === 'mission.ended') {
      const outcome = outcomeOf(fact)
      if (outcome === undefined || fact.mid === undefined) this.apart.unreadable += 1
      else this.#record(fact.mid, timeOf(fact), outcome)
    }
    if (fact.type === 'module.self_tested') {
      const test = selfTestOf(fact)
      if (test === undefined) this.apart.unreadable += 1
      else this.selfTests.record(test)
    }
    if (fact.type === 'mission.cancelled') this.apart.cancelled += 1
    if (fact.type === 'mission.interrupted') this.apart.interrupted += 1
    if (fact.type === 'daemon.started') this.apart.daemon_starts += 1
  }

  /** Outcomes of a module's own: missions of any category, and the self-tests of its current generation. */
  ownOutcomes(moduleId: ModuleId, generation?: GenerationId): number {
    const tested = this.selfTests.latest(moduleId, generation)?.runs.length ?? 0
    return (this.#missionsOf.get(moduleId) ?? 0) + tested
  }

  kind(category: Category, moduleId: ModuleId): Kind | undefined {
    return this.kinds.get(`${category} ${moduleId}`)
  }

  /** For the snapshot. */
  save(): SavedEvidence {
    return {
      total: saveSums(this.total),
      by_category: [...this.byCategory].map(([category, sums]) => [category, saveSums(sums)]),
      kinds: [...this.kinds.values()].map(({ category, moduleId, sums, recent }) => ({
        category,
        module_id: moduleId,
        sums: saveSums(sums),
        by_goal: [...recent.byGoal].map(([fingerprint, goal]) => [fingerprint, saveSums(goal)]),
        recent: recent.outcomes.map(rowOf),
      })),
      goals: this.goals.save(),
      self_tests: this.selfTests.save(),
      missions_of: [...this.#missionsOf],
      last_success: [...this.#lastSuccess],
      count: this.#count,
      day: this.day.save(),
      apart: { ...this.apart },
    }
  }

  /** Evidence as it was saved. */
  static load(saved: SavedEvidence): Evidence {
    const evidence = new Evidence()
    for (const [fingerprint, tokens] of saved.goals) evidence.goals.meet(fingerprint, tokens)
    Object.assign(evidence.total, loadSums(saved.total))
    for (const [category, sums] of saved.by_category) evidence.byCategory.set(category, loadSums(sums))
    for (const { category, module_id: moduleId, sums, by_goal: byGoal, recent: rows } of saved.kinds) {
      const recent = new Recent()
      for (const [fingerprint, goal] of byGoal) recent.byGoal.set(fingerprint, loadSums(goal))
      for (const row of rows) recent.add(fromRow(row))
      evidence.kinds.set(`${category} ${moduleId}`, { category, moduleId, sums: loadSums(sums), recent })
    }
    for (const test of saved.self_tests) evidence.selfTests.record(test)
    for (const [moduleId, count] of saved.missions_of) evidence.#missionsOf.set(moduleId, count)
    for (const [fingerprint, last] of saved.last_success) evidence.#lastSuccess.set(fingerprint, last)
    evidence.#count = saved.count
    evidence.day.load(saved.day)
    Object.assign(evidence.apart, saved.apart)
    return evidence
  }

  #record(mid: MissionId, atMs: number, outcome: MissionOutcome): void {
    const { category, fingerprint, tokens, success, first_pass: firstPass } = outcome
    const modules = [...new Set(outcome.modules)]
    this.goals.meet(fingerprint, tokens)
    this.#noteRework(fingerprint, atMs)
    const told = { success, firstPass: success && firstPass }
    addOutcome(this.total, atMs, told)
    addOutcome(entry(this.byCategory, category, noSums), atMs, told)
    this.#count += 1
    const detail = detailOf(mid, this.#count, atMs, outcome)
    for (const moduleId of modules) {
      const kind = this.#touch(category, moduleId)
      addOutcome(kind.sums, atMs, told)
      addOutcome(entry(kind.recent.byGoal, fingerprint, noSums), atMs, told)
      kind.recent.add(detail)
      this.#missionsOf.set(moduleId, (this.#missionsOf.get(moduleId) ?? 0) + 1)
    }
    if (success) this.#lastSuccess.set(fingerprint, { atMs, category, modules })
    if (this.#count % SWEEP_EVERY === 0)
      for (const { recent } of this.kinds.values()) recent.dropBefore(this.#count - OUTCOMES_MAX)
  }

  /** A goal that comes again within a day was not done the first time: the success before it counts as reworked. */
  #noteRework(fingerprint: string, atMs: number): void {
    const last = this.#lastSuccess.get(fingerprint)
    if (last === undefined) return
    this.#lastSuccess.delete(fingerprint)
    if (atMs - last.atMs > REWORK_WITHIN_MS) return
    for (const moduleId of last.modules) {
      const kind = this.kind(last.category, moduleId)
      if (kind !== undefined) addRework(kind.sums, last.atMs)
    }
  }

  /** The kind, made when new; the one least recently met leaves when there are too many. */
  #touch(category: Category, moduleId: ModuleId): Kind {
    const key = `${category} ${moduleId}`
    const kind = this.kinds.get(key) ?? {
      category,
      moduleId,
      sums: noSums(),
      recent: new Recent(),
    }
    this.kinds.delete(key)
    this.kinds.set(key, kind)
    const oldest = this.kinds.keys().next().value
    if (this.kinds.size > KINDS_MAX && oldest !== undefined) this.kinds.delete(oldest)
    return kind
  }
}

export interface SavedEvidence {
  readonly total: SavedSums
  readonly by_category: readonly (readonly [Category, SavedSums])[]
  readonly kinds: readonly {
    readonly category: Category
    readonly module_id: ModuleId
    readonly sums: SavedSums
    readonly by_goal: readonly (readonly [string, SavedSums])[]
    readonly recent: readonly SavedOutcome[]
  }[]
  readonly goals: readonly (readonly [string, readonly string[]])[]
  readonly self_tests: readonly SelfTest[]
  readonly missions_of: readonly (readonly [ModuleId, number])[]
  readonly last_success: readonly (readonly [
    string,
    { readonly atMs: number; readonly category: Category; readonly modules: readonly ModuleId[] },
  ])[]
  readonly count: number
  readonly day: ReturnType<DayBook['save']>
  readonly apart: Evidence['apart']
}

function entry<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const known = map.get(key)
  if (known !== undefined) return known
  const made = make()
  map.set(key, made)
  return made
}

const REWORK_WITHIN_MS = 24 * 3_600_000

/** About 200 bytes each, so some 4 MB: what a daemon may spend on remembering, and a snapshot can carry. */
const OUTCOMES_MAX = 20_000
/** Kinds that get no more outcomes let go of old ones now and then: it costs a look at each kind. */
const SWEEP_EVERY = 1_000
/** As many goals as outcomes: in the worst case each outcome had its own. */
const GOALS_MAX = 20_000
/** Four categories for a thousand modules. */
const KINDS_MAX = 4_000
