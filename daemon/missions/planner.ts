import { NexusError } from '../contracts/failure.ts'
import type { Category, ModuleId } from '../contracts/ids.ts'
import type { Constraints, MissionCreate, PlanStep } from '../contracts/mission.ts'
import { withDeadline } from '../kit/deadline.ts'
import { checkGivenPlan, readMadePlan } from './plan.ts'
import type { MissionPorts } from './port.ts'

export interface Planned {
  readonly plan: readonly PlanStep[]
  readonly plan_source: 'given' | 'rune' | 'module' | 'none'
  readonly rune?: string
  /** Why there is no plan. */
  readonly obstacle?: string
}

/**
 * Finds the plan of a mission: the given one, else the best rune's, else what the best planner of the category makes.
 *
 * @throws NexusError `PLAN_INVALID` for a given plan; that nobody can plan is no failure but a reason to be judged by.
 */
export async function planFor(
  body: MissionCreate,
  constraints: Constraints,
  ports: Pick<MissionPorts, 'calls' | 'runes' | 'successEstimate' | 'clock' | 'log'>,
): Promise<Planned> {
  const world = { input: body.input, calls: ports.calls }
  if (body.plan !== undefined) {
    checkGivenPlan(body.plan, world)
    return { plan: body.plan, plan_source: 'given' }
  }
  const rune = ports.runes.best(body.goal, body.category, body.input)
  if (rune !== undefined) {
    const learned = readMadePlan({ plan: rune.plan }, world)
    if ('plan' in learned) return { plan: learned.plan, plan_source: 'rune', rune: rune.rune }
    ports.log('warn', 'a rune has no usable plan', { rune: rune.rune, reason: learned.wrong })
  }
  return askPlanner(body, constraints, ports)
}

async function askPlanner(
  { goal, category, input }: MissionCreate,
  constraints: Constraints,
  ports: Pick<MissionPorts, 'calls' | 'successEstimate' | 'clock'>,
): Promise<Planned> {
  const moduleId = bestPlanner(category, ports)
  if (moduleId === undefined) return unplanned(category, 'no module lists it')
  const order = { moduleId, action: 'plan', timeoutMs: PLAN_TIMEOUT_MS }
  const request = { goal, category, constraints, ...(input === undefined ? {} : { input }) }
  try {
    // The supervisor keeps this deadline too; an answer to create does not depend on it.
    const answer = await withDeadline(
      ports.clock,
      PLAN_TIMEOUT_MS + PLAN_GRACE_MS,
      ports.calls.call({ ...order, input: request }),
      () => new NexusError('CALL_EXPIRED', { module: moduleId, action: 'plan', timeout_ms: PLAN_TIMEOUT_MS }),
    )
    const made = readMadePlan(answer.output, { input, calls: ports.calls })
    if ('plan' in made) return { plan: made.plan, plan_source: 'module' }
    return unplanned(category, `${moduleId}: ${made.wrong}`)
  } catch (error) {
    if (error instanceof NexusError) return unplanned(category, error.message)
    throw error
  }
}

/** The one with the highest success estimate among those that take calls; ties by id. */
function bestPlanner(
  category: Category,
  { calls, successEstimate }: Pick<MissionPorts, 'calls' | 'successEstimate'>,
): ModuleId | undefined {
  const ranked = calls
    .planners(category)
    .map((id) => ({ id, callable: calls.module(id).callable, estimate: successEstimate(id, category) }))
    .sort((a, b) => b.estimate - a.estimate || (a.id < b.id ? -1 : 1))
  return (ranked.find(({ callable }) => callable) ?? ranked[0])?.id
}

function unplanned(category: Category, reason: string): Planned {
  const { code, message } = new NexusError('PLAN_UNAVAILABLE', { category, reason })
  return { plan: [], plan_source: 'none', obstacle: `${code}: ${message}`.slice(0, OBSTACLE_LENGTH_MAX) }
}

/** Creating a mission is an answer somebody waits for. */
const PLAN_TIMEOUT_MS = 2_000
/** What the supervisor may take to say that the time is up. */
const PLAN_GRACE_MS = 1_500
const OBSTACLE_LENGTH_MAX = 500
