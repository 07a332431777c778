import type { ModuleId } from '../contracts/ids.ts'
import type { AxisInputs } from './axes.ts'
import type { Estimate } from './estimate.ts'
import type { Evidence } from './evidence.ts'
import { type Obstacle, PROVEN_OUTCOMES } from './gates.ts'
import { harder, type OmenLevel } from './omen-levels.ts'
import type { Question } from './port.ts'
import { DECLARED_WORTH, type Prices } from './prices.ts'

/** Everything around one question that the axes are computed from. */
export interface Circumstances {
  readonly question: Question
  readonly estimate: Estimate
  readonly evidence: Evidence
  readonly levelOf: (moduleId: ModuleId) => OmenLevel
  readonly calibration: number
  readonly prices: Prices
  readonly nowMs: number
}

/** The inputs of the six axes and the gates for one question. */
export function axisInputs(around: Circumstances): AxisInputs {
  const { question, estimate, evidence, levelOf } = around
  const operatorMinutes = estimate.operatorMinutes ?? around.prices.handleMinutes
  return {
    a: estimate.a,
    b: estimate.b,
    outcomes: estimate.weight,
    firstPasses: estimate.firstPasses,
    rework: estimate.rework,
    operatorMinutes,
    operatorLoad: operatorLoad(around),
    worth: worthOf(around, operatorMinutes).ratio,
    variation: estimate.variation ?? VARIATION_UNKNOWN,
    calibration: around.calibration,
    ...loads(around),
    omen: modulesOf(question).map(levelOf).reduce(harder, 'ignore'),
    obstacles: obstaclesOf(question, levelOf),
    unproven: question.modules
      .filter(({ known }) => known)
      .map((module) => ({
        moduleId: module.module_id,
        outcomes: evidence.ownOutcomes(module.module_id, module.generation),
      }))
      .filter(({ outcomes }) => outcomes < PROVEN_OUTCOMES),
  }
}

/** Each module of the plan once, in the order of the steps. */
export function modulesOf({ plan }: Question): ModuleId[] {
  return [...new Set(plan.map(({ module_id: moduleId }) => moduleId))]
}

/** Expected value by expected cost, and where the value comes from. */
export function worthOf(
  { question, estimate, prices }: Circumstances,
  operatorMinutes: number,
): { readonly ratio: number; readonly cost: number; readonly source: 'declared' | 'history' | 'prior' } {
  const guessedSeconds = LOAD_UNKNOWN * question.constraints.max_time_seconds
  const seconds = estimate.durations === undefined ? guessedSeconds : estimate.durations.meanMs / 1_000
  const computed = seconds * prices.slotSecond + operatorMinutes * prices.operatorMinute
  const cost = Math.max(COST_MIN, estimate.cost ?? computed)
  if (question.expected_value !== undefined)
    return { ratio: question.expected_value / cost, cost, source: 'declared' }
  if (estimate.value !== undefined) return { ratio: estimate.value / cost, cost, source: 'history' }
  return { ratio: DECLARED_WORTH[question.category], cost, source: 'prior' }
}

/** Seconds a category has left today; undefined where it has no budget. */
export function secondsLeft({ question, evidence, prices, nowMs }: Circumstances): number | undefined {
  const budget = prices.budgets[question.category]
  if (budget === undefined) return undefined
  return Math.max(SECONDS_LEFT_MIN, budget - evidence.day.secondsUsed(question.category, nowMs))
}

/** What is assumed of the time limit's use until durations are known. */
const LOAD_UNKNOWN = 0.6
/** Half of the greatest unsteadiness, until durations are known. */
const VARIATION_UNKNOWN = 1
/** Nothing is free; this keeps the ratio finite. */
const COST_MIN = 1e-6
/** A budget that is used up, and an operator's day that is over, divide by these. */
const SECONDS_LEFT_MIN = 1
const MINUTES_LEFT_MIN = 1

function loads(around: Circumstances): { load: number; medianLoad: number } {
  const { durations } = around.estimate
  if (durations === undefined) return { load: LOAD_UNKNOWN, medianLoad: LOAD_UNKNOWN }
  const [p50, p90] = [durations.p50Ms / 1_000, durations.p90Ms / 1_000]
  const limit = around.question.constraints.max_time_seconds
  const left = secondsLeft(around) ?? Number.POSITIVE_INFINITY
  // One mission may take a tenth of what is left for the day, but only all of it is a limit.
  return { load: Math.max(p90 / limit, p90 / (0.1 * left)), medianLoad: Math.max(p50 / limit, p50 / left) }
}

function operatorLoad({ evidence, estimate, prices, nowMs }: Circumstances): number {
  const wanted = evidence.day.pendingApprovals * (estimate.handleMinutes ?? prices.handleMinutes)
  const left = prices.operatorMinutesADay - evidence.day.operatorMinutesUsed(nowMs)
  return wanted / Math.max(MINUTES_LEFT_MIN, left)
}

function obstaclesOf(question: Question, levelOf: (moduleId: ModuleId) => OmenLevel): Obstacle[] {
  const { plan, constraints, category, obstacle } = question
  const obstacles: Obstacle[] = []
  if (obstacle !== undefined) {
    const because = obstacle.slice(0, TEXT_MAX)
    obstacles.push({ because, remedy: `remove what is in the way: ${because}` })
  } else if (plan.length === 0) {
    const remedy = `give a plan, or start a module that plans ${category} missions`
    obstacles.push({ because: 'there is no plan', remedy })
  }
  if (plan.length > constraints.max_steps)
    obstacles.push({
      because: `the plan has ${plan.length} steps, the constraint max_steps allows ${constraints.max_steps}`,
      remedy: `raise max_steps to ${plan.length}`,
      current: constraints.max_steps,
      needed: plan.length,
    })
  for (const moduleId of modulesOf(question)) {
    const standing = question.modules.find(({ module_id: id }) => id === moduleId)
    if (standing?.known !== true)
      obstacles.push({
        because: `${moduleId} is not there, is invalid, or lacks the action`,
        remedy: `add or repair the module ${moduleId}`,
      })
    else if (standing.locked || levelOf(moduleId) === 'lock')
      obstacles.push({
        because: `${moduleId} is locked after repeated failures`,
        remedy: `unlock module ${moduleId}`,
      })
  }
  return obstacles
}

/** Long enough for a reason, short enough for a record. */
const TEXT_MAX = 200
