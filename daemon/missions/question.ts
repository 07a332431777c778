import type { ModuleId } from '../contracts/ids.ts'
import type { PlanStep, Validation } from '../contracts/mission.ts'
import type { MissionOrder } from './facts.ts'
import { actionOf, moduleOf } from './mission.ts'
import type { ModuleCalls, ModuleStanding, Question } from './port.ts'

/** What the judge is asked about a mission, with its modules as they stand now. */
export function questionOf(
  order: Omit<MissionOrder, 'validation' | 'fingerprint' | 'tokens' | 'plan_shape' | 'principal'>,
  calls: ModuleCalls,
): Question {
  const { goal, category, constraints, plan, expected_value, rune, obstacle } = order
  return {
    goal,
    category,
    constraints,
    plan: plan.map(({ id, uses }) => ({ id, module_id: moduleOf(uses), action: actionOf(uses) })),
    modules: [...new Set(plan.map(({ uses }) => moduleOf(uses)))].map((id) => standingOf(id, plan, calls)),
    ...(expected_value === undefined ? {} : { expected_value }),
    ...(rune === undefined ? {} : { rune }),
    ...(obstacle === undefined ? {} : { obstacle }),
  }
}

/** SAFE is judged again when it is claimed; this is where it loses its right to run by itself. */
export function losesSafety({ score, gates }: Validation): boolean {
  return score < SAFE_UNTIL || gates.length > 0
}

function standingOf(moduleId: ModuleId, plan: readonly PlanStep[], calls: ModuleCalls): ModuleStanding {
  const { known, locked, generation } = calls.module(moduleId)
  const wanted = plan.filter(({ uses }) => moduleOf(uses) === moduleId)
  const hasAll = wanted.every(({ uses }) => calls.action(moduleId, actionOf(uses)) !== undefined)
  return {
    module_id: moduleId,
    known: known && hasAll,
    locked,
    ...(generation === undefined ? {} : { generation }),
  }
}

/** Five points below SAFE, so that a mission on the edge does not go back and forth. */
const SAFE_UNTIL = 55
