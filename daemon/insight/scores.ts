import { rounded } from './numbers.ts'

/** How good the stated probabilities of one kind were. */
export interface Skill {
  readonly kind: PredictionKind
  readonly n: number
  /** Mean squared error, of ours and of somebody who always states the base rate; null before anything is scored. */
  readonly brier: number | null
  readonly base_brier: number | null
  /** 1 − brier/base_brier: above 0 is better than the base rate. Null where the base rate is never wrong. */
  readonly skill: number | null
  /** Expected calibration error over ten bins. */
  readonly calibration_error: number | null
  /** Scored often enough, and no better than the base rate: still made and scored, not shown as advice. */
  readonly muted: boolean
  readonly sentence: string
}

export const PREDICTION_KINDS = [
  'mission_failure',
  'deadline_miss',
  'module_crash',
  'exhaustion',
  'degradation',
] as const
export type PredictionKind = (typeof PREDICTION_KINDS)[number]

/** A stated probability in ten-thousandths, and whether it came true. */
export type Scored = readonly [stated: number, cameTrue: 0 | 1]

/**
 * The newest thousand predictions of one kind against what happened.
 *
 * Probabilities are kept in ten-thousandths, so all sums are whole numbers: what was added and taken away again leaves
 * no trace, and a loaded score equals one that was never saved.
 */
export class Scores {
  readonly #kind: PredictionKind
  #scored: Scored[] = []
  #first = 0
  #came = 0
  #squares = 0
  readonly #bins = new Float64Array(10)

  constructor(kind: PredictionKind) {
    this.#kind = kind
  }

  get n(): number {
    return this.#scored.length - this.#first
  }

  /** `probability` of what then came true, or did not. */
  push(probability: number, cameTrue: boolean): void {
    this.#take([Math.round(Math.min(1, Math.max(0, probability)) * SCALE), cameTrue ? 1 : 0])
  }

  /** The mean gap between what was stated and what happened, over ten bins of the stated probability. */
  get calibrationError(): number {
    if (this.n === 0) return 0
    return this.#bins.reduce((sum, gap) => sum + Math.abs(gap), 0) / SCALE / this.n
  }

  /** No better than always stating the base rate, and seen often enough to say so. */
  get muted(): boolean {
    const { n } = this
    // brier >= base, in whole numbers; where the base rate was never wrong nothing can be told from it.
    const base = (this.#came * (n - this.#came)) / n
    return n >= ENOUGH && base > 0 && this.#squares / SCALE / SCALE >= base
  }

  skill(): Skill {
    const { n } = this
    const kind = this.#kind
    if (n === 0) {
      const nothing = { brier: null, base_brier: null, skill: null, calibration_error: null, muted: false }
      return { kind, n, ...nothing, sentence: 'no prediction has been scored yet' }
    }
    const rate = this.#came / n
    const brier = this.#squares / SCALE / SCALE / n
    const base = rate * (1 - rate)
    const skill = base > 0 ? 1 - brier / base : null
    return {
      kind,
      n,
      brier: rounded(brier, 4),
      base_brier: rounded(base, 4),
      skill: skill === null ? null : rounded(skill, 2),
      calibration_error: rounded(this.calibrationError, 4),
      muted: this.muted,
      sentence: say(skill, n, this.muted),
    }
  }

  save(): readonly Scored[] {
    return this.#scored.slice(this.#first)
  }

  load(saved: readonly Scored[]): void {
    this.#scored = []
    this.#first = this.#came = this.#squares = 0
    this.#bins.fill(0)
    for (const [stated, cameTrue] of saved) this.#take([stated, cameTrue])
  }

  #take(scored: Scored): void {
    this.#count(scored, 1)
    this.#scored.push(scored)
    if (this.n <= SCORED_MAX) return
    const oldest = this.#scored[this.#first]
    if (oldest !== undefined) this.#count(oldest, -1)
    this.#first += 1
    if (this.#first < SCORED_MAX) return
    this.#scored = this.#scored.slice(this.#first)
    this.#first = 0
  }

  #count([stated, cameTrue]: Scored, sign: 1 | -1): void {
    const gap = stated - cameTrue * SCALE
    const bin = Math.min(9, Math.floor((stated * 10) / SCALE))
    this.#came += sign * cameTrue
    this.#squares += sign * gap * gap
    this.#bins[bin] = (this.#bins[bin] ?? 0) + sign * gap
  }
}

function say(skill: number | null, n: number, muted: boolean): string {
  const over = `over ${n} prediction${n === 1 ? '' : 's'}`
  if (skill === null) return `all outcomes were alike ${over}: the base rate cannot be beaten`
  if (skill <= 0) return `no better than the base rate ${over}${muted ? ', so it is muted' : ''}`
  return `skill +${skill.toFixed(2)} ${over}`
}

/** Below this a calibration error or a skill is mostly chance. */
export const ENOUGH = 30
/** What was wrong longer ago was another scorer's fault; a thousand tell an error of three in a hundred. */
const SCORED_MAX = 1_000
const SCALE = 10_000
