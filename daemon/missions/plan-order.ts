import type { PlanStep } from '../contracts/mission.ts'

/**
 * What each step waits for. One that does not say follows the one before it, so that a plan without any `needs` runs
 * from top to bottom; `needs: []` waits for nothing.
 */
export function needsOf(plan: readonly PlanStep[]): ReadonlyMap<string, readonly string[]> {
  const needs = new Map<string, readonly string[]>()
  let before = NOTHING
  for (const { id, needs: said } of plan) {
    needs.set(id, said ?? before)
    before = [id]
  }
  return needs
}

/** Steps that are done before this one begins, whatever the others do. */
export function ancestorsOf(id: string, needs: ReadonlyMap<string, readonly string[]>): ReadonlySet<string> {
  const found = new Set<string>()
  const open = [...(needs.get(id) ?? [])]
  for (let need = open.pop(); need !== undefined; need = open.pop()) {
    if (found.has(need)) continue
    found.add(need)
    open.push(...(needs.get(need) ?? []))
  }
  return found
}

/** A way through `needs` that comes back to where it began, as in `a, b, a`; undefined when there is none. */
export function cycleIn(needs: ReadonlyMap<string, readonly string[]>): readonly string[] | undefined {
  const clear = new Set<string>()
  const follow = (id: string, path: readonly string[]): readonly string[] | undefined => {
    if (path.includes(id)) return [...path.slice(path.indexOf(id)), id]
    if (clear.has(id)) return undefined
    for (const need of needs.get(id) ?? []) {
      const cycle = follow(need, [...path, id])
      if (cycle !== undefined) return cycle
    }
    clear.add(id)
    return undefined
  }
  for (const id of needs.keys()) {
    const cycle = follow(id, [])
    if (cycle !== undefined) return cycle
  }
  return undefined
}

/** Where the steps of a plan stand, for the question which may begin. */
export interface Standing {
  isDone(id: string): boolean
  /** It goes on, or has had its turn. */
  isTaken(id: string): boolean
  /** How many calls of an action go on. */
  live(uses: string): number
  /** How many the module takes at a time. */
  room(uses: string): number
  /** How many steps go on. */
  readonly liveAll: number
}

/** The steps that may begin now, in the order of the list. */
export function startable(
  plan: readonly PlanStep[],
  needs: ReadonlyMap<string, readonly string[]>,
  standing: Standing,
): readonly PlanStep[] {
  const starting: PlanStep[] = []
  for (const step of plan) {
    if (standing.liveAll + starting.length >= PARALLEL_MAX) break
    if (standing.isDone(step.id) || standing.isTaken(step.id)) continue
    if (!(needs.get(step.id) ?? []).every((need) => standing.isDone(need))) continue
    const beside = starting.filter(({ uses }) => uses === step.uses).length
    if (standing.live(step.uses) + beside >= Math.max(1, standing.room(step.uses))) continue
    starting.push(step)
  }
  return starting
}

const NOTHING: readonly string[] = []

/** Half of the missions that may run at once: one wide plan leaves room at the modules for the others. */
export const PARALLEL_MAX = 8
