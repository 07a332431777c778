import type { Fact } from '../contracts/fact.ts'
import type { Category, ModuleId } from '../contracts/ids.ts'

/** The time limit that the last mission of each category by each module was given. */
export class Limits {
  /** Seconds, by category and module; least recently met first. */
  readonly #seconds = new Map<string, number>()

  fold({ type, d }: Fact): void {
    if (type !== 'mission.created') return
    const { category, constraints, plan } = d
    const seconds = (constraints as { max_time_seconds?: unknown } | undefined)?.max_time_seconds
    if (typeof category !== 'string' || typeof seconds !== 'number' || !Array.isArray(plan)) return
    for (const { uses } of plan as { uses?: unknown }[]) {
      if (typeof uses !== 'string') continue
      const key = `${category} ${uses.slice(0, Math.max(0, uses.lastIndexOf('/')))}`
      if (this.#seconds.get(key) === seconds) continue
      this.#seconds.delete(key)
      this.#seconds.set(key, seconds)
      const oldest = this.#seconds.keys().next().value
      if (this.#seconds.size > KINDS_MAX && oldest !== undefined) this.#seconds.delete(oldest)
    }
  }

  of(category: Category, moduleId: ModuleId): number | undefined {
    return this.#seconds.get(`${category} ${moduleId}`)
  }

  save(): readonly (readonly [string, number])[] {
    return [...this.#seconds]
  }

  load(saved: readonly (readonly [string, number])[]): void {
    for (const [key, seconds] of saved) this.#seconds.set(key, seconds)
  }
}

/** As many kinds as evidence is kept of. */
const KINDS_MAX = 4_000
