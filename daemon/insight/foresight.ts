import type { Fact, FactDraft } from '../contracts/fact.ts'
import type { Clock } from '../kit/clock.ts'
import type { Calibration } from './calibration.ts'
import type { Evidence } from './evidence.ts'
import { isCrash, moduleOf, outcomeOf } from './facts.ts'
import { Gauges } from './gauges.ts'
import { Limits } from './limits.ts'
import type { Reading } from './port.ts'
import type { Found, Prediction, PredictionList } from './prediction.ts'
import { PredictionBook, type SavedBook } from './prediction-book.ts'
import { crashes, deadlineMiss, degradation, missionFailure } from './predictions.ts'
import type { Uptime } from './uptime.ts'

interface ForesightParts {
  readonly clock: Clock
  readonly propose: (draft: FactDraft) => void
  readonly evidence: Evidence
  readonly uptime: Uptime
  readonly calibration: Calibration
}

/**
 * All that is predicted: looked up when asked, put on record when something happened that it depends on.
 *
 * The failure of a mission is predicted in the record of its creation; the other kinds have records of their own.
 */
export class Foresight {
  readonly #parts: ForesightParts
  readonly #gauges = new Gauges()
  readonly #limits = new Limits()
  readonly #book: PredictionBook
  #crashesLookedAtMs = 0

  constructor(parts: ForesightParts) {
    this.#parts = parts
    const { clock, propose, uptime, calibration } = parts
    this.#book = new PredictionBook({
      clock,
      propose,
      upMs: (moduleId, nowMs) => uptime.upMs(moduleId, nowMs),
      cameTrue: (kind, probability, is) => calibration.of(kind).push(probability, is),
      isExhausted: (key, nowMs) => this.#gauges.isExhausted(key, nowMs),
    })
  }

  /** After the evidence and the uptimes it looks at were told the same fact. */
  fold(fact: Fact): void {
    this.#limits.fold(fact)
    this.#book.fold(fact)
    if (fact.type === 'mission.ended') this.#afterMission(fact)
    else if (isCrash(fact)) this.#afterCrash(fact)
  }

  begin(): void {
    this.#book.begin()
  }

  stop(): void {
    this.#book.stop()
  }

  measured(readings: readonly Reading[]): void {
    const { clock, uptime } = this.#parts
    const nowMs = clock.now()
    this.#gauges.take(readings, nowMs)
    this.#book.measured(nowMs)
    this.#make(this.#gauges.lookAtNext(nowMs))
    // Modules that never crash are looked at as well, but nothing about them changes within an hour.
    if (Math.abs(nowMs - this.#crashesLookedAtMs) < CRASHES_EVERY_MS) return
    this.#crashesLookedAtMs = nowMs
    for (const found of crashes(uptime.exposures(nowMs), nowMs)) this.#make(found)
  }

  /** Everything that can be predicted now, likeliest first. */
  list(): PredictionList {
    const { clock, evidence, uptime, calibration } = this.#parts
    const nowMs = clock.now()
    const kinds = [...evidence.kinds.values()]
    const all = [
      ...kinds.map((kind) => missionFailure(evidence, kind, nowMs)),
      ...kinds.flatMap((kind) => {
        const limit = this.#limits.of(kind.category, kind.moduleId)
        return limit === undefined ? [] : deadlineMiss(kind, limit, nowMs)
      }),
      ...crashes(uptime.exposures(nowMs), nowMs),
      ...this.#gauges.all(),
      ...kinds.flatMap((kind) => degradation(kind, nowMs) ?? []),
    ]
    const shown = all.map((found) => advice(found, calibration))
    shown.sort((one, other) => (other.probability ?? -1) - (one.probability ?? -1))
    return {
      predictions: shown.slice(0, LISTED_MAX),
      open: this.#book.open().slice(0, LISTED_MAX),
      skill: calibration.skills(),
      note: noteFor(shown, calibration),
    }
  }

  save(): SavedForesight {
    return { limits: this.#limits.save(), book: this.#book.save() }
  }

  load({ limits, book }: SavedForesight): void {
    this.#limits.load(limits)
    this.#book.load(book)
  }

  #afterMission(fact: Fact): void {
    const { evidence, clock } = this.#parts
    const outcome = outcomeOf(fact)
    if (outcome === undefined) return
    const { category, modules, success } = outcome
    for (const module_id of modules) {
      const subject = { module_id, category }
      const kind = evidence.kind(category, module_id)
      if (kind === undefined) continue
      const limit = this.#limits.of(category, module_id)
      if (limit !== undefined && this.#book.mayMake('deadline_miss', subject))
        this.#book.make(deadlineMiss(kind, limit, clock.now()))
      // A rate can only be found to have risen when something fails.
      if (!success && this.#book.mayMake('degradation', subject))
        this.#book.make(degradation(kind, clock.now()))
    }
  }

  #afterCrash(fact: Fact): void {
    const moduleId = moduleOf(fact)
    if (moduleId === undefined || !this.#book.mayMake('module_crash', { module_id: moduleId })) return
    const nowMs = this.#parts.clock.now()
    const [found] = crashes(this.#parts.uptime.exposures(nowMs), nowMs, moduleId)
    this.#book.make(found)
  }

  #make(found: Found | undefined): void {
    if (found !== undefined && this.#book.mayMake(found.kind, found.subject)) this.#book.make(found)
  }
}

export interface SavedForesight {
  readonly limits: ReturnType<Limits['save']>
  readonly book: SavedBook
}

/** As it is shown: without its number when those before it were worth nothing. */
function advice({ about: _, ...found }: Found, calibration: Calibration): Prediction {
  if (found.status !== 'stated' || !calibration.of(found.kind).muted) return found
  const { eta_hours: _eta, recommended: _recommended, ...bare } = found
  return { ...bare, status: 'muted', probability: null, interval: null }
}

function noteFor(predictions: readonly Prediction[], calibration: Calibration): string {
  if (predictions.length === 0)
    return 'nothing is recorded yet: predictions begin with the first missions and crashes'
  const lacking = predictions.filter(({ status }) => status === 'insufficient_data').length
  const more = predictions.length > LISTED_MAX ? `; the first ${LISTED_MAX} are listed` : ''
  const muted = calibration.skills().filter((skill) => skill.muted)
  const mutes = muted.map(({ kind, n }) => `; ${kind} is muted: no better than the base rate over ${n}`)
  return `${predictions.length} subjects, ${lacking} of them with too little data to state a number${more}${mutes.join('')}`
}

/** The most that a page can show; more are asked for by nobody. */
const LISTED_MAX = 200
const CRASHES_EVERY_MS = 3_600_000
