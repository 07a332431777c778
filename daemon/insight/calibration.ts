import type { Fact } from '../contracts/fact.ts'
import { outcomeOf } from './facts.ts'
import { rounded } from './numbers.ts'

/** How good the stated probabilities were. */
export interface Skill {
  readonly kind: string
  readonly n: number
  /** Mean squared error, of ours and of somebody who always states the base rate; null before anything is scored. */
  readonly brier: number | null
  readonly base_brier: number | null
  /** 1 − brier/base_brier: above 0 is better than the base rate. Null where the base rate is never wrong. */
  readonly skill: number | null
  /** Expected calibration error over ten bins. */
  readonly calibration_error: number | null
  readonly sentence: string
}

/**
 * Our own predictions against what then happened: each mission carries the probability of success it was judged with,
 * and its outcome says whether it came true.
 */
export class Calibration {
  /** The newest last. */
  #scored: (readonly [predicted: number, success: 0 | 1])[] = []
  #error: number | undefined

  fold(fact: Fact): void {
    if (fact.type !== 'mission.ended') return
    const outcome = outcomeOf(fact)
    if (outcome === undefined) return
    this.#error = undefined
    this.#scored.push([Math.min(1, Math.max(0, outcome.predicted)), outcome.success ? 1 : 0])
    if (this.#scored.length > SCORED_MAX + SLACK) this.#scored = this.#scored.slice(-SCORED_MAX)
  }

  /** For the axis of confidence: 1 − error/0.25, and 1 until there is enough to tell. */
  get factor(): number {
    // Asked for with each judgement, changed with each outcome only.
    this.#error ??= this.#scored.length < ENOUGH ? 0 : calibrationError(this.#newest())
    return 1 - Math.min(1, this.#error / 0.25)
  }

  skill(): Skill {
    const scored = this.#newest()
    const n = scored.length
    const kind = 'mission_failure'
    if (n === 0) {
      const nothing = { brier: null, base_brier: null, skill: null, calibration_error: null }
      return { kind, n, ...nothing, sentence: 'no prediction has been scored yet' }
    }
    const rate = meanOf(scored.map(([, success]) => success))
    const brier = meanOf(scored.map(([predicted, success]) => (predicted - success) ** 2))
    const base = rate * (1 - rate)
    const skill = base > 0 ? 1 - brier / base : null
    return {
      kind,
      n,
      brier: rounded(brier, 4),
      base_brier: rounded(base, 4),
      skill: skill === null ? null : rounded(skill, 2),
      calibration_error: rounded(calibrationError(scored), 4),
      sentence: say(skill, n),
    }
  }

  save(): readonly (readonly [number, 0 | 1])[] {
    return [...this.#newest()]
  }

  load(saved: readonly (readonly [number, 0 | 1])[]): void {
    this.#scored = [...saved]
    this.#error = undefined
  }

  #newest(): readonly (readonly [number, 0 | 1])[] {
    return this.#scored.slice(-SCORED_MAX)
  }
}

/** The mean gap between what was stated and what happened, over ten bins of the stated probability. */
function calibrationError(scored: readonly (readonly [number, 0 | 1])[]): number {
  const bins = Map.groupBy(scored, ([predicted]) => Math.min(9, Math.floor(predicted * 10)))
  const gaps = [...bins.values()].map((bin) =>
    Math.abs(bin.reduce((sum, [predicted, success]) => sum + predicted - success, 0)),
  )
  return scored.length === 0 ? 0 : gaps.reduce((sum, gap) => sum + gap, 0) / scored.length
}

function say(skill: number | null, n: number): string {
  const over = `over ${n} prediction${n === 1 ? '' : 's'}`
  if (skill === null) return `all outcomes were alike ${over}: the base rate cannot be beaten`
  if (skill <= 0) return `no better than the base rate ${over}`
  return `skill +${skill.toFixed(2)} ${over}`
}

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

/** Below this a calibration error is mostly chance. */
const ENOUGH = 30
/** What was wrong longer ago was another scorer's fault; a thousand tell an error of three in a hundred. */
const SCORED_MAX = 1_000
const SLACK = 200
