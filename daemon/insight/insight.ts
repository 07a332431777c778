import type { Fact, FactDraft } from '../contracts/fact.ts'
import type { Category, ModuleId } from '../contracts/ids.ts'
import type { PlanStep } from '../contracts/mission.ts'
import type { ModuleOmen } from '../contracts/status.ts'
import type { Clock } from '../kit/clock.ts'
import type { Weights } from './axes.ts'
import { Calibration } from './calibration.ts'
import { CauseWatch } from './cause-watch.ts'
import { estimate } from './estimate.ts'
import { Evidence, type SavedEvidence } from './evidence.ts'
import { GoalReader, type GoalReading } from './fingerprint.ts'
import { Foresight, type SavedForesight } from './foresight.ts'
import { judge } from './judge.ts'
import type { OmenChange, OmenFilter, OmenView } from './omen.ts'
import type { OmenLevel } from './omen-levels.ts'
import { Omens, type SavedOmens } from './omens.ts'
import { planShape } from './plan-template.ts'
import type { Question, Reading, Verdict } from './port.ts'
import type { PredictionList } from './prediction.ts'
import { type Prices, pricesFrom, weightsFrom } from './prices.ts'
import { type RuneRequest, Runes, type SavedRunes } from './runes.ts'
import type { Skill } from './scores.ts'

export interface InsightParts {
  readonly clock: Clock
  /** Settings `missions.weights` and `missions.prices`; what they leave out keeps its default. */
  readonly weights?: Readonly<Record<string, number>>
  readonly prices?: Readonly<Record<string, number>>
  /** An omen reached another level: to be journaled as `omen.changed`. */
  onOmenChanged?(change: OmenChange): void
  /** A fact that ought to be journaled: a prediction that is made or resolved, a rune that is promoted or stale. */
  propose?(draft: FactDraft): void
}

/**
 * What experience says: judges missions, notices repeated failures, predicts, and learns plans.
 *
 * Folds facts in the order of the journal, each once, and answers from memory. It never writes, and nobody awaits it.
 */
export class Insight {
  readonly #clock: Clock
  readonly #weights: Weights
  readonly #prices: Prices
  readonly #onOmenChanged: (change: OmenChange) => void
  readonly #propose: (draft: FactDraft) => void
  readonly #causeWatch: CauseWatch
  readonly #goals = new GoalReader()
  #memory: Memory
  #appliedSeq = 0

  /** @throws NexusError `CONFIG_INVALID` for weights or prices that are unknown or not numbers. */
  constructor({
    clock,
    weights = {},
    prices = {},
    onOmenChanged = () => {},
    propose = () => {},
  }: InsightParts) {
    this.#clock = clock
    this.#weights = weightsFrom(weights)
    this.#prices = pricesFrom(prices)
    this.#onOmenChanged = onOmenChanged
    this.#propose = propose
    this.#memory = this.#blank()
    this.#causeWatch = new CauseWatch(clock, () => this.#memory.omens)
  }

  /** Takes the next fact. One that was folded before changes nothing. */
  fold(fact: Fact): void {
    if (fact.seq <= this.#appliedSeq) return
    this.#appliedSeq = fact.seq
    const { evidence, omens, calibration, runes, foresight } = this.#memory
    evidence.fold(fact)
    calibration.fold(fact)
    omens.fold(fact)
    runes.fold(fact)
    foresight.fold(fact)
    this.#causeWatch.changed()
  }

  /** To be called once, when the facts of the past are folded: from now on changes of omens are reported. */
  begin(): void {
    this.#memory.omens.announce()
    this.#memory.runes.begin()
    this.#memory.foresight.begin()
    this.#causeWatch.begin()
  }

  /** Ends what waits: it proposes nothing more. */
  stop(): void {
    this.#memory.foresight.stop()
    this.#causeWatch.stop()
  }

  /** What was just measured of what may run out; told now and then by whoever measures anyway. */
  measured(readings: readonly Reading[]): void {
    this.#memory.foresight.measured(readings)
    this.#memory.omens.measured(readings, this.#clock.now())
  }

  judge(question: Question): Verdict {
    const nowMs = this.#clock.now()
    const { evidence, omens, calibration } = this.#memory
    return judge(question, evidence, {
      asOfSeq: this.#appliedSeq,
      readGoal: (goal) => this.#goals.read(goal),
      levelOf: (moduleId) => omens.levelOf(moduleId, nowMs),
      calibration: calibration.factor,
      weights: this.#weights,
      prices: this.#prices,
      nowMs,
    })
  }

  /** What the goal is about: equal for goals that differ in numbers, dates and order only. */
  readGoal(goal: string): GoalReading {
    return this.#goals.read(goal)
  }

  /** What plans have in common that one rune could stand for. */
  planShape(plan: readonly PlanStep[]): string {
    return planShape(plan)
  }

  /** The probability that this module succeeds in this category, whatever the goal. */
  successEstimate(moduleId: ModuleId, category: Category): number {
    const subject = { category, modules: [{ module_id: moduleId }] }
    const { a, b } = estimate(this.#memory.evidence, subject, this.#clock.now())
    return a / (a + b)
  }

  /** The answer of `GET /v1/system/omens`. */
  omens({ module, level, kind }: OmenFilter = {}): { readonly omens: readonly OmenView[] } {
    const omens = this.#memory.omens.list(this.#clock.now()).filter((omen) => {
      const isOf = module === undefined || omen.module_id === module
      return isOf && (level ?? omen.level) === omen.level && (kind ?? omen.kind) === omen.kind
    })
    return { omens }
  }

  /** What repeated failures mean for a module now. */
  omenOver(moduleId: ModuleId): ModuleOmen {
    return this.#memory.omens.over(moduleId, this.#clock.now())
  }

  /** The hardest omen over a module. */
  levelOf(moduleId: ModuleId): OmenLevel {
    return this.#memory.omens.levelOf(moduleId, this.#clock.now())
  }

  /** The answer of `GET /v1/system/predictions`. */
  predictions(): PredictionList {
    return this.#memory.foresight.list()
  }

  /** How good the predictions of each kind were. */
  skills(): readonly Skill[] {
    return this.#memory.calibration.skills()
  }

  /** The answer of `GET /v1/system/templates`, and the content of `runes.json`. */
  runes(): ReturnType<Runes['list']> {
    return this.#memory.runes.list()
  }

  /** The plan learned for goals like this one with input like this, if any fits. */
  bestRune(request: RuneRequest): ReturnType<Runes['best']> {
    const { evidence, runes } = this.#memory
    return runes.best(request, this.#goals.read(request.goal), (token) => evidence.goals.idf(token))
  }

  /** What `save` gave does not change with later facts. */
  readonly savesCopy = true

  /** For the snapshot: plain data, complete with the last fact it knows. */
  save(): unknown {
    const { evidence, omens, calibration, runes, foresight } = this.#memory
    const saved: SavedInsight = {
      version: SAVED_VERSION,
      applied_seq: this.#appliedSeq,
      evidence: evidence.save(),
      omens: omens.save(),
      calibration: calibration.save(),
      runes: runes.save(),
      foresight: foresight.save(),
    }
    return saved
  }

  /** False when it cannot be used; nothing has changed then, and all facts have to be folded from the first on. */
  load(saved: unknown): boolean {
    const { version } = (saved ?? {}) as Partial<SavedInsight>
    if (version !== SAVED_VERSION) return false
    const { applied_seq: appliedSeq, evidence, omens, calibration, runes, foresight } = saved as SavedInsight
    try {
      const memory = this.#blank(Evidence.load(evidence))
      memory.omens.load(omens)
      memory.calibration.load(calibration)
      memory.runes.load(runes)
      memory.foresight.load(foresight)
      this.#memory = memory
    } catch (error) {
      // A snapshot is only a short cut: one with holes in it is as good as none.
      if (error instanceof TypeError) return false
      throw error
    }
    this.#appliedSeq = appliedSeq
    return true
  }

  #blank(evidence = new Evidence()): Memory {
    const omens = new Omens(this.#onOmenChanged)
    const calibration = new Calibration()
    const around = { clock: this.#clock, propose: this.#propose, evidence, uptime: omens.uptime, calibration }
    return { evidence, omens, calibration, runes: new Runes(this.#propose), foresight: new Foresight(around) }
  }
}

interface Memory {
  readonly evidence: Evidence
  readonly omens: Omens
  readonly calibration: Calibration
  readonly runes: Runes
  readonly foresight: Foresight
}

interface SavedInsight {
  readonly version: number
  readonly applied_seq: number
  readonly evidence: SavedEvidence
  readonly omens: SavedOmens
  readonly calibration: ReturnType<Calibration['save']>
  readonly runes: SavedRunes
  readonly foresight: SavedForesight
}

/** Raised when the shape of what is saved changes. */
const SAVED_VERSION = 2
