import type { ModuleId } from '../contracts/ids.ts'
import {
  AXES,
  type Axis,
  type AxisInputs,
  SCORER_VERSION,
  type Score,
  scoreAxes,
  type Weights,
} from './axes.ts'
import { betaQuantile } from './beta.ts'
import { counterfactual } from './counterfactual.ts'
import { type Estimate, estimate } from './estimate.ts'
import type { Evidence } from './evidence.ts'
import type { GoalReading } from './fingerprint.ts'
import { axisInputs, type Circumstances, modulesOf, worthOf } from './inputs.ts'
import { rounded } from './numbers.ts'
import type { OmenLevel } from './omen-levels.ts'
import type { AxisView, Question, Verdict } from './port.ts'
import type { Prices } from './prices.ts'

/** What a judgement stands on besides the question and the evidence. */
export interface Bench {
  /** The last fact the evidence knows of. */
  readonly asOfSeq: number
  readonly readGoal: (goal: string) => GoalReading
  readonly levelOf: (moduleId: ModuleId) => OmenLevel
  /** How well earlier predictions held, 0..1. */
  readonly calibration: number
  readonly weights: Weights
  readonly prices: Prices
  readonly nowMs: number
}

/** Judges a mission: six axes from recorded outcomes, their score, the gates, and what would help. */
export function judge(question: Question, evidence: Evidence, bench: Bench): Verdict {
  const { plan, category, modules } = question
  const generations = new Map(modules.map(({ module_id: id, generation }) => [id, generation]))
  const subject = {
    category,
    goal: bench.readGoal(question.goal),
    modules: modulesOf({ ...question, plan }).map((moduleId) => {
      const generation = generations.get(moduleId)
      return { module_id: moduleId, ...(generation !== undefined && { generation }) }
    }),
  }
  const found = estimate(evidence, subject, bench.nowMs)
  const around: Circumstances = { question, evidence, estimate: found, ...bench }
  const inputs = axisInputs(around)
  const score = scoreAxes(inputs, bench.weights)
  return {
    decision: score.decision,
    score: score.score,
    ungated_score: score.ungated,
    axes: axisViews(score, inputs, bench.weights, around),
    gates: score.gates,
    reasons: reasons(score, found, around),
    counterfactual: counterfactual(score, inputs, bench.weights, around),
    predicted: rounded(score.pHat, 4),
    scorer_version: SCORER_VERSION,
    as_of: { seq: bench.asOfSeq, at: new Date(bench.nowMs).toISOString() },
  }
}

function axisViews(
  score: Score,
  inputs: AxisInputs,
  weights: Weights,
  around: Circumstances,
): Record<Axis, AxisView> {
  const views: Partial<Record<Axis, AxisView>> = {}
  for (const axis of AXES) {
    const value = rounded(score.values[axis], 1)
    const weight = rounded(weights[axis], 4)
    views[axis] = {
      value,
      weight,
      points_lost: score.pointsLost[axis],
      ...backing(axis, score, inputs, around),
    }
  }
  return views as Record<Axis, AxisView>
}

/** What each axis's number stands on. */
function backing(
  axis: Axis,
  score: Score,
  inputs: AxisInputs,
  around: Circumstances,
): Omit<AxisView, 'value' | 'weight' | 'points_lost'> {
  const { n, nEff, selfTests, durations, missions, moduleId, operatorMinutes } = around.estimate
  const ofMissions = Math.max(0, n - selfTests)
  const all = { n, n_eff: rounded(nEff, 1) }
  const evidence = selfTests > 0 ? [`self_test:${moduleId}`, ...missions].slice(0, 5) : missions
  const source = n > 0 ? ('history' as const) : ('prior' as const)
  const success = interval(score.q10, score.q90)
  switch (axis) {
    case 'compute_cost': {
      const known = durations !== undefined
      const used = known ? interval(inputs.medianLoad, inputs.load) : null
      const counted = { n: durations?.n ?? 0, n_eff: durations?.n ?? 0 }
      const measure = 'P50 and P90 of use by limit'
      return { ...counted, interval: used, measure, source: known ? 'history' : 'prior', evidence: missions }
    }
    case 'maintainability': {
      const [good, bad] = [1 + inputs.firstPasses, 1 + Math.max(0, inputs.outcomes - inputs.firstPasses)]
      const yieldRange = interval(betaQuantile(0.1, good, bad), betaQuantile(0.9, good, bad))
      return { ...all, interval: yieldRange, measure: 'first-pass yield', source, evidence }
    }
    case 'attention': {
      const known = operatorMinutes !== undefined
      const measure = 'operator minutes'
      return {
        n: ofMissions,
        n_eff: ofMissions,
        interval: null,
        measure,
        source: known ? 'history' : 'prior',
        evidence: missions,
      }
    }
    case 'economic_value': {
      const { source: from } = worthOf(around, inputs.operatorMinutes)
      return { ...all, interval: success, measure: 'success', source: from, evidence }
    }
    case 'trust':
    case 'prediction_confidence':
      return { ...all, interval: success, measure: 'success', source, evidence }
  }
}

/** Why it was judged so: gates first, then what the estimate stands on, then where the points went. */
function reasons(score: Score, found: Estimate, { question }: Circumstances): string[] {
  const success = `success is estimated at ${percent(score.pHat)} (${percent(score.q10)} to ${percent(score.q90)})`
  const tests = found.selfTests > 0 ? `, ${found.selfTests} of them self-tests` : ''
  const basis =
    found.moduleId === undefined || found.n === 0
      ? `no outcomes are recorded for ${found.moduleId ?? 'this'} on ${question.category} missions: ${success}`
      : `${found.n} outcomes of ${found.moduleId} on ${question.category} missions${tests}: ${success}`
  const losses = AXES.toSorted((one, other) => score.pointsLost[other] - score.pointsLost[one])
    .slice(0, 2)
    .filter((axis) => score.pointsLost[axis] > 0)
    .map(
      (axis) => `${axis} costs ${score.pointsLost[axis]} points (it is at ${rounded(score.values[axis], 1)})`,
    )
  const rune = question.rune === undefined ? [] : [`the plan is the rune ${question.rune}`]
  return [...score.gates.map(({ because }) => because), basis, ...losses, ...rune]
}

function interval(low: number, high: number): readonly [number, number] {
  return [rounded(low, 3), rounded(high, 3)]
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`
}
