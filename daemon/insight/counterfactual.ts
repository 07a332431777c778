import {
  AXES,
  type Axis,
  type AxisInputs,
  loadFor,
  neededFor60,
  type Score,
  scoreAxes,
  type Weights,
} from './axes.ts'
import { type GateName, PROVEN_OUTCOMES } from './gates.ts'
import { type Circumstances, secondsLeft, worthOf } from './inputs.ts'
import { rounded } from './numbers.ts'
import type { Counterfactual } from './port.ts'

/**
 * The cheapest change found that would help a mission that is not SAFE: for a gate what lifts it, for a low score the
 * axis that needs the smallest lift to bring it to 60. Null for a SAFE one.
 */
export function counterfactual(
  score: Score,
  inputs: AxisInputs,
  weights: Weights,
  around: Circumstances,
): Counterfactual | null {
  if (score.decision === 'SAFE') return null
  const hit = LIFTS.filter(({ gate }) => score.gates.some((each) => each.gate === gate))
  const [first, second] = hit.map(({ gate, lift }) => ({ gate, ...lift({ score, inputs, weights, around }) }))
  if (first === undefined) return ofAxis({ score, inputs, weights, around })
  // What blocks altogether comes alone; of the others two often stand together.
  const both = second !== undefined && first.gate !== 'G0'
  return { ...first, sentence: both ? `${first.sentence}; besides, ${second.sentence}` : first.sentence }
}

interface Case {
  readonly score: Score
  readonly inputs: AxisInputs
  readonly weights: Weights
  readonly around: Circumstances
}

type Lift = (given: Case) => Omit<Counterfactual, 'gate'>

/** What lifts each gate; where several are hit, the earlier one is the one to begin with. */
const LIFTS: readonly { readonly gate: GateName; readonly lift: Lift }[] = [
  { gate: 'G0', lift: removeObstacles },
  { gate: 'G3', lift: moreTime },
  { gate: 'G4', lift: (given) => moreSuccesses(given, 'prediction_confidence', ({ q90 }) => q90 >= 0.35) },
  { gate: 'G6', lift: proveModules },
  { gate: 'G2', lift: moreTime },
  { gate: 'G5', lift: calmOmen },
  { gate: 'G1', lift: (given) => moreSuccesses(given, 'trust', ({ q10 }) => q10 >= 0.5) },
]

function removeObstacles({ inputs }: Case): Omit<Counterfactual, 'gate'> {
  const [first, second, ...others] = inputs.obstacles
  const more = others.length > 0 ? `, and ${others.length} more` : ''
  return {
    axis: null,
    current: first?.current ?? null,
    needed: first?.needed ?? null,
    sentence: [first?.remedy, second?.remedy].filter((remedy) => remedy !== undefined).join('; ') + more,
  }
}

/** A limit that leaves the P90 some room: one that just fits it would be missed one time in ten. */
function moreTime({ score, around }: Case): Omit<Counterfactual, 'gate'> {
  const current = around.question.constraints.max_time_seconds
  const p90Seconds = (around.estimate.durations?.p90Ms ?? 0) / 1_000
  const left = secondsLeft(around)
  const overBudget = left !== undefined && p90Seconds >= 0.1 * left
  const axis: Axis = 'compute_cost'
  if (overBudget && p90Seconds < current)
    return {
      axis,
      current: rounded(score.values[axis], 1),
      needed: 50,
      sentence: `wait until midnight UTC: ${rounded(left, 0)} s are left of today's ${around.question.category} budget`,
    }
  const needed = Math.ceil(p90Seconds * 1.25)
  return { axis, current, needed, sentence: `raise max_time_seconds to ${needed}` }
}

function proveModules({ inputs }: Case): Omit<Counterfactual, 'gate'> {
  const [first, ...others] = inputs.unproven
  const lacking = PROVEN_OUTCOMES - (first?.outcomes ?? 0)
  const outcomes = lacking === 1 ? '1 more outcome' : `${lacking} more outcomes`
  const more = others.length > 0 ? ` (and of ${others.length} more modules)` : ''
  return {
    axis: null,
    current: first?.outcomes ?? null,
    needed: PROVEN_OUTCOMES,
    sentence: `approve it once; ${outcomes} of ${first?.moduleId}${more} would lift the cap`,
  }
}

function calmOmen(): Omit<Counterfactual, 'gate'> {
  return {
    axis: 'trust',
    current: null,
    needed: null,
    sentence: 'approve it once, and find the cause of the repeated failure (`nexus omens`)',
  }
}

/** How many successes in a row would do. */
function moreSuccesses(
  { score, inputs, weights, around }: Case,
  axis: Axis,
  enough: (score: Score) => boolean,
): Omit<Counterfactual, 'gate'> {
  const who = around.estimate.moduleId ?? 'this kind of mission'
  const after = (successes: number): Score => scoreAxes(withSuccesses(inputs, successes), weights)
  const count = smallest(enough, after)
  const current = rounded(score.values[axis], 1)
  if (count === undefined)
    return {
      axis,
      current,
      needed: null,
      sentence: `repair ${who} or change the plan: ${SUCCESSES_MAX} successes would not be enough`,
    }
  return {
    axis,
    current,
    needed: rounded(after(count).values[axis], 1),
    sentence: `${count === 1 ? 'one more success' : `${count} more successes`} of ${who} would lift the estimate enough`,
  }
}

function ofAxis(given: Case): Counterfactual {
  const { score, weights } = given
  const lifts = AXES.map((axis) => {
    const current = score.values[axis]
    return { axis, current, needed: neededFor60(axis, current, score.ungated, weights) }
  })
  const [best] = lifts
    .filter(({ needed }) => needed <= 100)
    .sort((one, other) => one.needed - one.current - (other.needed - other.current))
  const [worst] = AXES.toSorted((one, other) => score.pointsLost[other] - score.pointsLost[one])
  if (best === undefined)
    return {
      gate: null,
      axis: null,
      current: null,
      needed: null,
      sentence: `no single axis could lift it to 60; ${worst} costs most (${score.pointsLost[worst ?? 'trust']} points)`,
    }
  // Rounded up: the number shown has to be enough.
  const needed = Math.ceil(best.needed * 10) / 10
  const current = rounded(best.current, 1)
  const how = howTo(given, best.axis, needed)
  return {
    gate: null,
    axis: best.axis,
    current,
    needed,
    sentence: `${best.axis} at ${needed} instead of ${current} would reach 60${how === undefined ? '' : `: ${how}`}`,
  }
}

/** The change behind an axis's number, where there is one to name. */
function howTo({ inputs, score, weights, around }: Case, axis: Axis, needed: number): string | undefined {
  const p90Ms = around.estimate.durations?.p90Ms
  if (axis === 'compute_cost' && p90Ms !== undefined && secondsLeft(around) === undefined)
    return `raise max_time_seconds to ${Math.ceil(p90Ms / 1_000 / loadFor(needed))}`
  if (axis === 'economic_value' && needed < 100) {
    const { cost } = worthOf(around, inputs.operatorMinutes)
    return `a value of at least ${rounded((needed / (100 - needed) / score.pHat) * cost, 2)} for its cost`
  }
  if (axis === 'attention') return 'fewer waiting approvals, or less handling'
  const count = smallest(
    ({ values }) => values[axis] >= needed,
    (successes) => scoreAxes(withSuccesses(inputs, successes), weights),
  )
  return count === undefined
    ? undefined
    : `${count} more successes of ${around.estimate.moduleId ?? 'its kind'}`
}

function withSuccesses(inputs: AxisInputs, count: number): AxisInputs {
  return {
    ...inputs,
    a: inputs.a + count,
    outcomes: inputs.outcomes + count,
    firstPasses: inputs.firstPasses + count,
  }
}

/** The smallest number of successes that is enough; by halving, since more are never worse. */
function smallest(
  enough: (score: Score) => boolean,
  after: (successes: number) => Score,
): number | undefined {
  if (!enough(after(SUCCESSES_MAX))) return undefined
  let low = 0
  let high = SUCCESSES_MAX
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2)
    if (enough(after(middle))) high = middle
    else low = middle
  }
  return high
}

/** Beyond this, "more successes" is no advice. */
const SUCCESSES_MAX = 32
