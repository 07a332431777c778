import { betaQuantile } from './beta.ts'
import { type GateHit, type GateInputs, hitGates } from './gates.ts'
import { sharesInTenths } from './numbers.ts'
import { OMEN_FACTOR } from './omen-levels.ts'

/** Stored with each judgement. Raised whenever the same evidence would give another score. */
export const SCORER_VERSION = 1

export const AXES = [
  'compute_cost',
  'maintainability',
  'attention',
  'economic_value',
  'trust',
  'prediction_confidence',
] as const
export type Axis = (typeof AXES)[number]

/** How much each axis counts; the sum is 1. */
export type Weights = Readonly<Record<Axis, number>>

export const WEIGHTS: Weights = {
  compute_cost: 0.15,
  maintainability: 0.15,
  attention: 0.1,
  economic_value: 0.25,
  trust: 0.2,
  prediction_confidence: 0.15,
}

/** Everything the score is made of, already estimated: nothing else enters it. */
export interface AxisInputs extends GateInputs {
  /** The Beta of the probability of success. */
  readonly a: number
  readonly b: number
  /** Weight of the outcomes of this kind, and of those that succeeded at the first attempt without a human. */
  readonly outcomes: number
  readonly firstPasses: number
  /** Share of the successes whose goal came again within a day, 0..1. */
  readonly rework: number
  /** Expected operator minutes, and how busy the operator is: minutes wanted by minutes left. */
  readonly operatorMinutes: number
  readonly operatorLoad: number
  /** Expected value by expected cost, should it succeed. */
  readonly worth: number
  /** Coefficient of variation of the durations. */
  readonly variation: number
  /** How well earlier predictions held, 0..1. */
  readonly calibration: number
}

export interface Score {
  /** After the gates, 0..100, one place behind the point. */
  readonly score: number
  /** Before the gates. */
  readonly ungated: number
  readonly decision: 'SAFE' | 'BORDERLINE' | 'FAILING'
  readonly values: Readonly<Record<Axis, number>>
  /** What each axis costs: they add up to 100 − `ungated`. */
  readonly pointsLost: Readonly<Record<Axis, number>>
  /** The gates that were hit, the one that holds the score down first. */
  readonly gates: readonly GateHit[]
  readonly pHat: number
  readonly q10: number
  readonly q90: number
}

/** The six axes, their weighted geometric mean, and the gates. */
export function scoreAxes(inputs: AxisInputs, weights: Weights = WEIGHTS): Score {
  const { a, b } = inputs
  const success = { pHat: a / (a + b), q10: betaQuantile(0.1, a, b), q90: betaQuantile(0.9, a, b) }
  const values = axisValues(inputs, success)
  const ungated = Math.exp(
    AXES.reduce((sum, axis) => sum + weights[axis] * Math.log(Math.max(1, values[axis])), 0),
  )
  const gates = hitGates(inputs, success)
  // Decided on what is shown: a 60.0 that is BORDERLINE would be a riddle.
  const score = tenth(Math.min(ungated, ...gates.map(({ cap }) => cap)))
  return {
    score,
    ungated: tenth(ungated),
    decision: decisionFor(score),
    values,
    pointsLost: pointsLost(values, weights, tenth(ungated)),
    gates,
    ...success,
  }
}

/** SAFE runs by itself, BORDERLINE waits for an operator, FAILING is only a suggestion. */
function decisionFor(score: number): 'SAFE' | 'BORDERLINE' | 'FAILING' {
  if (score >= 60) return 'SAFE'
  return score >= 30 ? 'BORDERLINE' : 'FAILING'
}

/** The value at which this axis alone would lift `score` to 60; above 100 it cannot. */
export function neededFor60(axis: Axis, value: number, score: number, weights: Weights): number {
  return Math.max(1, value) * (60 / score) ** (1 / weights[axis])
}

/** The share of its limits that work may use before compute cost falls to `value`: the inverse of the axis. */
export function loadFor(value: number): number {
  return Math.sqrt(Math.max(0, 100 / value - 1))
}

function axisValues(
  inputs: AxisInputs,
  { pHat, q10, q90 }: { pHat: number; q10: number; q90: number },
): Record<Axis, number> {
  const { outcomes: n, firstPasses, rework, load, operatorMinutes, operatorLoad } = inputs
  const firstPassYield = (1 + firstPasses) / (2 + n)
  const worth = pHat * inputs.worth
  const steadiness = 1 - Math.min(1, inputs.variation / 2)
  return {
    compute_cost: 100 / (1 + load * load),
    maintainability: 100 * (0.5 * firstPassYield + 0.3 * (1 - rework) + (0.2 * n) / (n + 5)),
    attention: 100 * 2 ** ((-operatorMinutes * (1 + operatorLoad)) / 10),
    economic_value: (100 * worth) / (1 + worth),
    trust: 100 * (0.8 * q10 + 0.2 * steadiness) * OMEN_FACTOR[inputs.omen],
    prediction_confidence: 100 * (1 - (q90 - q10)) * (0.5 + 0.5 * inputs.calibration),
  }
}

function pointsLost(values: Record<Axis, number>, weights: Weights, shown: number): Record<Axis, number> {
  const logs = AXES.map((axis) => weights[axis] * Math.log(100 / Math.max(1, Math.min(100, values[axis]))))
  const sum = logs.reduce((total, log) => total + log, 0)
  const shares = sharesInTenths(
    logs.map((log) => (sum === 0 ? 0 : ((100 - shown) * log) / sum)),
    100 - shown,
  )
  return Object.fromEntries(AXES.map((axis, index) => [axis, shares[index] ?? 0])) as Record<Axis, number>
}

function tenth(value: number): number {
  return Math.round(value * 10) / 10
}
