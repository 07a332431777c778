import type { ModuleId } from '../contracts/ids.ts'

/** What one module says it needs before it starts. */
export interface Requirement {
  readonly moduleId: ModuleId
  readonly requires: readonly ModuleId[]
}

export interface StartOrder {
  /** Everything that can ever start, each after what it requires. Members of cycles are left out. */
  readonly order: readonly ModuleId[]
  /** Each as a walk that ends where it began: a, b, c, a. */
  readonly cycles: readonly (readonly ModuleId[])[]
  /** Every member of a cycle, and the cycle it stands in. */
  readonly cycleOf: ReadonlyMap<ModuleId, readonly ModuleId[]>
  /** By module: what it requires that is not there at all. Such a module is in the order and waits. */
  readonly missing: ReadonlyMap<ModuleId, readonly ModuleId[]>
}

/**
 * Puts modules into an order in which each finds what it requires, the same order for the same modules however they
 * are handed in.
 *
 * Tarjan's strongly connected components: one walk, time linear in modules and requirements, and components come out
 * with dependencies first, which is the order itself. With a stack of its own, since chains may be long.
 */
export function startOrder(given: Iterable<Requirement>): StartOrder {
  const requires = new Map<ModuleId, readonly ModuleId[]>()
  const missing = new Map<ModuleId, readonly ModuleId[]>()
  const sorted = [...given].sort((a, b) => (a.moduleId < b.moduleId ? -1 : 1))
  const known = new Set(sorted.map(({ moduleId }) => moduleId))
  for (const { moduleId, requires: wanted } of sorted) {
    const absent = wanted.filter((id) => !known.has(id))
    if (absent.length > 0) missing.set(moduleId, absent)
    requires.set(moduleId, wanted.filter((id) => known.has(id)).sort())
  }

  const order: ModuleId[] = []
  const cycles: ModuleId[][] = []
  const cycleOf = new Map<ModuleId, readonly ModuleId[]>()
  for (const group of components(requires)) {
    const [only] = group
    if (only !== undefined && group.length === 1 && requires.get(only)?.includes(only) !== true) {
      order.push(only)
      continue
    }
    const cycle = walkCycle(group, requires)
    cycles.push(cycle)
    for (const member of group) cycleOf.set(member, cycle)
  }
  return { order, cycles, cycleOf, missing }
}

/**
 * The cycle in which one module stands, if any; the same as `startOrder` names. It costs what the module requires,
 * directly and behind that, however many others there are.
 */
export function cycleThrough(
  moduleId: ModuleId,
  known: ReadonlyMap<ModuleId, Requirement>,
): readonly ModuleId[] | undefined {
  const behind = new Map<ModuleId, Requirement>()
  const open = [moduleId]
  for (let id = open.pop(); id !== undefined; id = open.pop()) {
    const requirement = known.get(id)
    if (requirement === undefined || behind.has(id)) continue
    behind.set(id, requirement)
    open.push(...requirement.requires)
  }
  return startOrder(behind.values()).cycleOf.get(moduleId)
}

interface Visit {
  readonly id: ModuleId
  readonly needs: readonly ModuleId[]
  readonly number: number
  low: number
  next: number
}

/** Groups of modules that require each other, dependencies first. */
function components(requires: ReadonlyMap<ModuleId, readonly ModuleId[]>): ModuleId[][] {
  const visits = new Map<ModuleId, Visit>()
  const open: ModuleId[] = []
  const isOpen = new Set<ModuleId>()
  const path: Visit[] = []
  const groups: ModuleId[][] = []

  const enter = (id: ModuleId): void => {
    const number = visits.size
    const visit = { id, needs: requires.get(id) ?? [], number, low: number, next: 0 }
    visits.set(id, visit)
    open.push(id)
    isOpen.add(id)
    path.push(visit)
  }
  const leave = (visit: Visit): void => {
    path.pop()
    const parent = path.at(-1)
    if (parent !== undefined) parent.low = Math.min(parent.low, visit.low)
    if (visit.low !== visit.number) return
    const group = open.splice(open.lastIndexOf(visit.id))
    for (const id of group) isOpen.delete(id)
    groups.push(group)
  }

  for (const root of requires.keys()) {
    if (!visits.has(root)) enter(root)
    for (let visit = path.at(-1); visit !== undefined; visit = path.at(-1)) {
      const need = visit.needs[visit.next]
      visit.next += 1
      if (need === undefined) leave(visit)
      else if (!visits.has(need)) enter(need)
      else if (isOpen.has(need)) visit.low = Math.min(visit.low, visits.get(need)?.number ?? visit.low)
    }
  }
  return groups
}

/** One concrete way round inside a group, from its first member by name: that is what a person can break. */
function walkCycle(
  group: readonly ModuleId[],
  requires: ReadonlyMap<ModuleId, readonly ModuleId[]>,
): ModuleId[] {
  const members = new Set(group)
  const [first = ''] = [...group].sort()
  const walk: ModuleId[] = []
  const placeOf = new Map<ModuleId, number>()
  for (let at = first; ; ) {
    const met = placeOf.get(at)
    if (met !== undefined) return [...walk.slice(met), at]
    placeOf.set(at, walk.length)
    walk.push(at)
    at = requires.get(at)?.find((id) => members.has(id)) ?? first
  }
}
