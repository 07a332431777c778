import type { Fact } from '../contracts/fact.ts'
import { CATEGORIES, type Category, type MissionId } from '../contracts/ids.ts'
import { decisionOf, outcomeOf, timeOf } from './facts.ts'

/** What was used since midnight (UTC), and which missions wait for an operator now. */
export class DayBook {
  #day = 0
  #operatorMinutes = 0
  #seconds = new Map<Category, number>()
  #waiting = new Set<MissionId>()

  fold(fact: Fact): void {
    const { type, mid } = fact
    if (type === 'mission.ended') this.#use(fact)
    if (mid === undefined || !type.startsWith('mission.')) return
    if (type === 'mission.created' || type === 'mission.rejudged') {
      if (decisionOf(fact.d) === 'BORDERLINE') this.#wait(mid)
      else this.#waiting.delete(mid)
    } else this.#waiting.delete(mid)
  }

  get pendingApprovals(): number {
    return this.#waiting.size
  }

  operatorMinutesUsed(nowMs: number): number {
    return dayOf(nowMs) === this.#day ? this.#operatorMinutes : 0
  }

  secondsUsed(category: Category, nowMs: number): number {
    return dayOf(nowMs) === this.#day ? (this.#seconds.get(category) ?? 0) : 0
  }

  save(): SavedDay {
    return {
      day: this.#day,
      operator_minutes: this.#operatorMinutes,
      seconds: CATEGORIES.map((category) => [category, this.#seconds.get(category) ?? 0]),
      waiting: [...this.#waiting],
    }
  }

  load(saved: SavedDay): void {
    this.#day = saved.day
    this.#operatorMinutes = saved.operator_minutes
    this.#seconds = new Map(saved.seconds)
    this.#waiting = new Set(saved.waiting)
  }

  #use(fact: Fact): void {
    const outcome = outcomeOf(fact)
    if (outcome === undefined) return
    const day = dayOf(timeOf(fact))
    if (day > this.#day) {
      this.#day = day
      this.#operatorMinutes = 0
      this.#seconds = new Map()
    }
    this.#operatorMinutes += outcome.operator_minutes
    const { category, duration_ms: durationMs } = outcome
    this.#seconds.set(category, (this.#seconds.get(category) ?? 0) + durationMs / 1_000)
  }

  #wait(mid: MissionId): void {
    if (this.#waiting.size < WAITING_MAX) this.#waiting.add(mid)
  }
}

interface SavedDay {
  readonly day: number
  readonly operator_minutes: number
  readonly seconds: readonly (readonly [Category, number])[]
  readonly waiting: readonly MissionId[]
}

function dayOf(atMs: number): number {
  return Math.floor(atMs / 86_400_000)
}

/** No operator sees the difference between this many waiting and more. */
const WAITING_MAX = 10_000
