import type { Category, MissionId, ModuleId } from '../contracts/ids.ts'
import { type Mission, moduleOf } from './mission.ts'

/** What of a mission matters here. */
type Claimant = Pick<Mission, 'id' | 'clearance'> & {
  readonly order: Pick<Mission['order'], 'category' | 'priority' | 'plan'>
}

/**
 * How many missions use each module now, and which of them wait because an omen limits that.
 *
 * They wait here and not in their lanes, so that they take no place from missions of other modules.
 */
export class ModuleSlots {
  readonly #maxOf: (moduleId: ModuleId) => number | undefined
  readonly #again: (id: MissionId) => void
  readonly #users = new Map<ModuleId, number>()
  readonly #waiting = new Map<MissionId, Waiting>()
  /** In which order they came first; one that is sent back keeps its place. */
  readonly #since = new Map<MissionId, number>()
  #count = 0

  /**
   * @param maxOf - How many missions may use a module at once; undefined where nothing limits it.
   * @param again - Told of a mission that may try again to be claimed.
   */
  constructor(maxOf: (moduleId: ModuleId) => number | undefined, again: (id: MissionId) => void) {
    this.#maxOf = maxOf
    this.#again = again
  }

  /**
   * Takes a place in every module of the plan.
   *
   * @returns How to give them back, once the attempt is over or came to nothing. Undefined when a module has no place:
   *   the mission waits here from now on.
   */
  take(mission: Claimant): (() => void) | undefined {
    const { id, order } = mission
    const modules = [...new Set(order.plan.map(({ uses }) => moduleOf(uses)))]
    const full = modules.find((moduleId) => !this.#hasRoom(moduleId, mission.clearance === null))
    if (full !== undefined) {
      const { category, priority } = order
      this.#count += 1
      if (!this.#since.has(id)) this.#since.set(id, this.#count)
      this.#waiting.set(id, { moduleId: full, category, priority })
      return undefined
    }
    this.#since.delete(id)
    for (const moduleId of modules) this.#users.set(moduleId, this.#usersOf(moduleId) + 1)
    return () => this.#release(modules.splice(0))
  }

  /** It is not to be claimed any more. */
  drop(id: MissionId): void {
    this.#waiting.delete(id)
    this.#since.delete(id)
  }

  /** Lets as many try again as there is room for: the limit may be another one now. */
  look(moduleId: ModuleId): void {
    if (this.#waiting.size === 0) return
    const max = this.#maxOf(moduleId)
    const room = max === undefined ? Number.POSITIVE_INFINITY : max - this.#usersOf(moduleId)
    if (room <= 0) return
    const next = [...this.#waiting]
      .filter(([, waiting]) => waiting.moduleId === moduleId)
      .sort(([one, { priority }], [other, { priority: otherPriority }]) => {
        return otherPriority - priority || this.#sinceOf(one) - this.#sinceOf(other)
      })
    for (const [id] of next.slice(0, room)) {
      this.#waiting.delete(id)
      this.#again(id)
    }
  }

  /** The module whose place it waits for, and how many missions that takes now. */
  waitsFor(id: MissionId): { readonly moduleId: ModuleId; readonly max: number } | undefined {
    const moduleId = this.#waiting.get(id)?.moduleId
    return moduleId === undefined ? undefined : { moduleId, max: this.#maxOf(moduleId) ?? 0 }
  }

  /** How many wait here, of each category. */
  depth(): Partial<Record<Category, number>> {
    const depth: Partial<Record<Category, number>> = {}
    for (const { category } of this.#waiting.values()) depth[category] = (depth[category] ?? 0) + 1
    return depth
  }

  /**
   * A module that takes none is closed to all. Where an omen only limits it, what nobody has approved need not wait:
   * it is judged when it is claimed, and goes back to an operator for this omen.
   */
  #hasRoom(moduleId: ModuleId, isJudgedFirst: boolean): boolean {
    const max = this.#maxOf(moduleId)
    if (max === undefined || (isJudgedFirst && max > 0)) return true
    return this.#usersOf(moduleId) < max
  }

  #release(modules: readonly ModuleId[]): void {
    for (const moduleId of modules) {
      const left = this.#usersOf(moduleId) - 1
      if (left > 0) this.#users.set(moduleId, left)
      else this.#users.delete(moduleId)
    }
    for (const moduleId of modules) this.look(moduleId)
  }

  #usersOf(moduleId: ModuleId): number {
    return this.#users.get(moduleId) ?? 0
  }

  #sinceOf(id: MissionId): number {
    return this.#since.get(id) ?? 0
  }
}

interface Waiting {
  readonly moduleId: ModuleId
  readonly category: Category
  readonly priority: number
}
