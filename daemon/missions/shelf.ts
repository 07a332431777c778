import type { Fact } from '../contracts/fact.ts'
import type { MissionId } from '../contracts/ids.ts'
import type { MissionFilter, MissionStatus } from '../contracts/mission.ts'
import { fold } from './fold.ts'
import type { Mission } from './mission.ts'

/** All missions, as the facts tell them, with the ways in which they are looked for. */
export class Shelf {
  readonly #missions = new Map<MissionId, Mission>()
  /** Ascending: ids carry their time. */
  readonly #ids: MissionId[] = []
  readonly #byKey = new Map<string, MissionId>()
  readonly #counts = new Map<MissionStatus, number>()

  get(id: MissionId): Mission | undefined {
    return this.#missions.get(id)
  }

  /** In full, wherever it is kept. */
  async find(id: MissionId): Promise<Mission | undefined> {
    return this.get(id)
  }

  count(status: MissionStatus): number {
    return this.#counts.get(status) ?? 0
  }

  /** The greatest id there is. */
  get newest(): MissionId | undefined {
    return this.#ids.at(-1)
  }

  all(): Iterable<Mission> {
    return this.#missions.values()
  }

  /** The mission that was created under this key by this principal; undefined at once when there can be none. */
  byIdempotencyKey(principal: string, key: string): Promise<Mission | undefined> | undefined {
    const id = this.#byKey.get(scoped(principal, key))
    return id === undefined ? undefined : this.find(id)
  }

  /** Takes in one fact, and returns the mission it changed; undefined when it changed none. */
  fold(fact: Fact): Mission | undefined {
    if (fact.mid === undefined) return undefined
    const before = this.#missions.get(fact.mid)
    const mission = fold(before, fact)
    if (mission === undefined || mission === before) return undefined
    this.#put(mission, before)
    return mission
  }

  /** Newest first; `after` is the last id of the page before. */
  async list(
    filter: MissionFilter,
  ): Promise<{ readonly missions: readonly Mission[]; readonly next: MissionId | null }> {
    const limit = filter.limit ?? LIMIT
    const missions: Mission[] = []
    const from = filter.after === undefined ? this.#ids.length : this.#placeOf(filter.after)
    for (let place = from - 1; place >= 0; place -= 1) {
      const mission = this.#missions.get(this.#ids[place] ?? '')
      if (mission === undefined || !fits(mission, filter)) continue
      if (missions.length === limit) return { missions, next: missions.at(-1)?.id ?? null }
      missions.push(mission)
    }
    return { missions, next: null }
  }

  save(): readonly Mission[] {
    return this.#ids.flatMap((id) => this.#missions.get(id) ?? [])
  }

  load(missions: readonly Mission[]): void {
    for (const mission of missions) this.#put(mission, this.#missions.get(mission.id))
  }

  #put(mission: Mission, before: Mission | undefined): void {
    this.#missions.set(mission.id, mission)
    if (before?.status !== mission.status) {
      if (before !== undefined) this.#counts.set(before.status, this.count(before.status) - 1)
      this.#counts.set(mission.status, this.count(mission.status) + 1)
    }
    if (before !== undefined) return
    this.#ids.splice(this.#placeOf(mission.id), 0, mission.id)
    const { idempotency } = mission.order
    if (idempotency) this.#byKey.set(scoped(idempotency.principal, idempotency.key), mission.id)
  }

  /** Where an id stands or would stand; nearly always at the end. */
  #placeOf(id: MissionId): number {
    let low = 0
    let high = this.#ids.length
    if (high > 0 && id > (this.#ids[high - 1] ?? '')) return high
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#ids[middle] ?? '') < id) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** A page that a terminal shows. */
const LIMIT = 50

function fits(mission: Mission, { status, category, decision, module }: MissionFilter): boolean {
  return (
    (status === undefined || mission.status === status) &&
    (category === undefined || mission.order.category === category) &&
    (decision === undefined || mission.decision === decision) &&
    (module === undefined || mission.modules.includes(module))
  )
}

function scoped(principal: string, key: string): string {
  return JSON.stringify([principal, key])
}
