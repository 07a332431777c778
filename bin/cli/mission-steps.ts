import type { MissionDetail, MissionStep, PlanStep } from '../../daemon/contracts/mission.ts'
import { duration, table } from './text.ts'

/**
 * The steps of a plan as the graph they are: each stands further in than what it waits for, and names it. Without
 * `needs` a step follows the one before it.
 */
export function stepsText({ plan, steps }: Pick<MissionDetail, 'plan' | 'steps'>): string {
  const needs = new Map(plan.map((step, place) => [step.id, needsOf(step, plan[place - 1])]))
  const depths = new Map<string, number>()
  for (const { id } of plan) depths.set(id, depthOf(id, needs, depths))
  return table<MissionStep>(
    [
      { head: 'STEP', cell: ({ id }) => `${'  '.repeat(depths.get(id) ?? 0)}${id}` },
      { head: 'AFTER', cell: ({ id }) => needs.get(id)?.join(', ') || '-' },
      { head: 'USES', cell: ({ uses }) => uses },
      { head: 'STATUS', cell: ({ status }) => status },
      { head: 'TOOK', align: 'right', cell: (step) => duration(step.duration_ms) },
      { head: 'ERROR', cell: ({ error }) => (error === undefined ? '' : `${error.code}: ${error.message}`) },
    ],
    steps,
  )
}

function needsOf({ needs }: PlanStep, before: PlanStep | undefined): readonly string[] {
  return needs ?? (before === undefined ? [] : [before.id])
}

/** How many steps must be done before this one, one after the other. A list in a bad order counts from what is known. */
function depthOf(
  id: string,
  needs: ReadonlyMap<string, readonly string[]>,
  known: ReadonlyMap<string, number>,
): number {
  return Math.max(0, ...(needs.get(id) ?? []).map((need) => (known.get(need) ?? 0) + 1))
}
