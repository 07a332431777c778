import type { Category, GenerationId, ModuleId } from '../contracts/ids.ts'
import { betaQuantile } from './beta.ts'
import type { Evidence } from './evidence.ts'
import type { GoalReading } from './fingerprint.ts'
import type { Details } from './recent.ts'
import { type SelfTest, selfTestSums, selfTestVariation, speaksFor } from './self-tests.ts'
import { addFaded, effective, noSums, type Sums } from './sums.ts'

/**
 * What experience says about one kind of mission. Durations and what follows are of missions only: a self-test's input is
 * tiny, so it tells success and steadiness, not size.
 */
export interface Estimate extends Omit<Details, 'goals'> {
  /** The Beta of the probability of success. */
  readonly a: number
  readonly b: number
  /** The module this stands on: the least reliable one of the plan; undefined for a plan without modules. */
  readonly moduleId: ModuleId | undefined
  /** Outcomes of that module in the category, self-tests included. */
  readonly n: number
  readonly nEff: number
  /** Their fading weight, of all and of the first passes; and the share of successes that came again. */
  readonly weight: number
  readonly firstPasses: number
  readonly rework: number
  readonly selfTests: number
  /** Outcomes with a similar goal among them. */
  readonly similar: number
}

export interface Subject {
  readonly category: Category
  /** Absent where any goal is meant: then the estimate ends with the module. */
  readonly goal?: GoalReading
  readonly modules: readonly { readonly module_id: ModuleId; readonly generation?: GenerationId }[]
}

/**
 * Estimates a mission from the evidence: all outcomes, those of its category, of its module in the category, of
 * similar goals among these, each level a Beta around what the level before it expects.
 *
 * With several modules the least reliable one counts: a chain is as strong as its weakest link.
 */
export function estimate(evidence: Evidence, subject: Subject, nowMs: number): Estimate {
  const each = subject.modules.map((module) => ofModule(evidence, subject, module, nowMs))
  const careful = (candidate: Estimate): number => betaQuantile(0.1, candidate.a, candidate.b)
  const [first, ...others] = each
  if (first === undefined) return ofModule(evidence, subject, undefined, nowMs)
  return others.reduce((worst, next) => (careful(next) < careful(worst) ? next : worst), first)
}

/** Strength of the prior at each level below the first: how many outcomes the level above it is worth. */
const STRENGTH = { category: 8, module: 8, goal: 4 }
/** Before anything is known: two successes and one failure. */
const TOP = { a: 2, b: 1 }

interface Beta {
  readonly a: number
  readonly b: number
}

/** The Beta of one level, around the mean of the level above it. */
function shrink(parent: Beta, strength: number, level: Pick<Sums, 'weight' | 'successes'>): Beta {
  const expected = parent.a / (parent.a + parent.b)
  return {
    a: level.successes + strength * expected,
    b: Math.max(0, level.weight - level.successes) + strength * (1 - expected),
  }
}

function ofModule(
  evidence: Evidence,
  { category, goal }: Subject,
  module: Subject['modules'][number] | undefined,
  nowMs: number,
): Estimate {
  const test = module && evidence.selfTests.latest(module.module_id, module.generation)
  const own = test !== undefined && speaksFor(test, category) ? test : undefined
  const kind = module && evidence.kind(category, module.module_id)

  const together = (sums: Sums | undefined, tested: SelfTest | undefined): Sums => {
    const total = { ...noSums(), atMs: nowMs }
    if (sums !== undefined) addFaded(total, sums, 1)
    if (tested !== undefined) addFaded(total, selfTestSums(tested), 1)
    return total
  }
  const everything = together(evidence.total, test)
  const top = { a: TOP.a + everything.successes, b: TOP.b + everything.weight - everything.successes }
  const ofCategory = shrink(top, STRENGTH.category, together(evidence.byCategory.get(category), own))
  const ofKind = together(kind?.sums, own)
  const alike = goal === undefined ? NO_GOALS : evidence.goals.like(goal.fingerprint, goal.tokens)
  const details = kind?.recent.details(goal?.fingerprint ?? '', alike, nowMs)
  const ofGoals = together(details?.goals, undefined)
  const ofModules = shrink(ofCategory, STRENGTH.module, ofKind)
  const beta = goal === undefined ? ofModules : shrink(ofModules, STRENGTH.goal, ofGoals)

  return {
    ...beta,
    moduleId: module?.module_id,
    n: ofKind.n,
    nEff: effective(ofKind),
    weight: ofKind.weight,
    firstPasses: ofKind.firstPasses,
    rework: ofKind.successes > 0 ? Math.min(1, ofKind.reworked / ofKind.successes) : 0,
    selfTests: own?.runs.length ?? 0,
    similar: ofGoals.n,
    durations: details?.durations,
    variation: details?.variation ?? selfTestVariation(own),
    operatorMinutes: details?.operatorMinutes,
    handleMinutes: details?.handleMinutes,
    value: details?.value,
    cost: details?.cost,
    missions: details?.missions ?? [],
  }
}

const NO_GOALS: ReadonlyMap<string, number> = new Map()
