import { NexusError } from '../contracts/failure.ts'
import type { Category, MissionId, ModuleId } from '../contracts/ids.ts'
import type { MissionStatus } from '../contracts/mission.ts'
import type { Clock } from '../kit/clock.ts'
import type { Mission } from './mission.ts'

export interface BacklogLimits {
  readonly queue_max: number
  readonly lane_queue_max: number
  readonly module_queue_max: number
}

/** What a mission takes up while it waits. */
export interface Waiting {
  readonly category: Category
  readonly modules: readonly ModuleId[]
}

type Kind = 'queued' | 'awaiting_approval'

/**
 * What waits, for its turn or for an operator, and whether there is room for more: in all, in a lane, for a module. The
 * two lines have the same limits and do not share them, so that what nobody approves keeps nothing from running.
 *
 * The limits hold for creations, and exactly: a place is taken before the record is written. What waits already may go
 * from one line to the other, and back from an attempt, without asking for room.
 */
export class Backlog {
  readonly #limits: BacklogLimits
  readonly #clock: Clock
  readonly #lines: Record<Kind, Line> = { queued: new Line(), awaiting_approval: new Line() }
  readonly #departures = new Map<Category, Departures>()

  constructor(limits: BacklogLimits, clock: Clock) {
    this.#limits = limits
    this.#clock = clock
  }

  /** Takes in where a mission stands now. */
  take({ id, status, order, modules, since }: Mission): void {
    const { queued, awaiting_approval } = this.#lines
    if (isKind(status)) this.#lines[status].put(id, order.category, modules, since)
    if (status !== 'queued' && queued.drop(id)) this.#leftOf(order.category).note(this.#clock.elapsed())
    if (status !== 'awaiting_approval') awaiting_approval.drop(id)
  }

  /** Takes the place of a mission that is about to be written, if it needs one, or says why there is none. */
  reserve(id: MissionId, status: MissionStatus, waiting: Waiting): NexusError | undefined {
    if (!isKind(status)) return undefined
    const full = this.#fullFor(status, waiting)
    if (full === undefined) this.#lines[status].put(id, waiting.category, waiting.modules, '')
    return full
  }

  /** Gives back a place that `reserve` took: nothing was written. */
  release(id: MissionId): void {
    for (const line of Object.values(this.#lines)) line.drop(id)
  }

  /** Says so early when a creation would be refused however it is judged. @throws NexusError `QUEUE_FULL`. */
  requireRoom(category: Category): void {
    const waiting = { category, modules: [] }
    const full = this.#fullFor('queued', waiting)
    if (full !== undefined && this.#fullFor('awaiting_approval', waiting) !== undefined) throw full
  }

  count(kind: Kind): number {
    return this.#lines[kind].size
  }

  /** Since when the one waits that has waited longest (RFC 3339); undefined when none does. */
  oldest(kind: Kind): string | undefined {
    return this.#lines[kind].oldest
  }

  #fullFor(kind: Kind, { category, modules }: Waiting): NexusError | undefined {
    const { queue_max, lane_queue_max, module_queue_max } = this.#limits
    const line = this.#lines[kind]
    if (line.size >= queue_max) return this.#full(kind, category, 'the queue', queue_max, 'queue_max')
    if (line.of(category) >= lane_queue_max) {
      return this.#full(kind, category, `the lane ${category}`, lane_queue_max, 'lane_queue_max')
    }
    const module = modules.find((id) => line.of(id) >= module_queue_max)
    if (module === undefined) return undefined
    return this.#full(kind, category, `the queue for ${module}`, module_queue_max, 'module_queue_max')
  }

  #full(kind: Kind, category: Category, what: string, limit: number, setting: string): NexusError {
    const waiting = kind === 'queued' ? 'that wait to run' : 'that wait for approval'
    const facts = { what, limit, waiting, setting: `missions.${setting}` }
    const seconds =
      kind === 'queued' ? this.#leftOf(category).secondsFor(limit / 10, this.#clock.elapsed()) : undefined
    return new NexusError('QUEUE_FULL', facts, seconds === undefined ? {} : { retryAfterSeconds: seconds })
  }

  #leftOf(category: Category): Departures {
    const known = this.#departures.get(category)
    if (known !== undefined) return known
    const departures = new Departures()
    this.#departures.set(category, departures)
    return departures
  }
}

interface Place extends Waiting {
  /** Empty while it is not on record yet. */
  since: string
}

/** Missions that wait for the same thing, in the order in which they began to. */
class Line {
  readonly #places = new Map<MissionId, Place>()
  /** By category and by module: neither can be named like one of the other. */
  readonly #counts = new Map<Category | ModuleId, number>()

  get size(): number {
    return this.#places.size
  }

  get oldest(): string | undefined {
    for (const { since } of this.#places.values()) if (since !== '') return since
    return undefined
  }

  of(name: Category | ModuleId): number {
    return this.#counts.get(name) ?? 0
  }

  put(id: MissionId, category: Category, modules: readonly ModuleId[], since: string): void {
    const known = this.#places.get(id)
    if (known !== undefined) {
      known.since = since
      return
    }
    const place = { category, modules, since }
    this.#places.set(id, place)
    this.#add(place, 1)
  }

  drop(id: MissionId): boolean {
    const place = this.#places.get(id)
    if (place === undefined) return false
    this.#places.delete(id)
    this.#add(place, -1)
    return true
  }

  #add({ category, modules }: Waiting, by: 1 | -1): void {
    this.#counts.set(category, this.of(category) + by)
    for (const id of modules) {
      const count = this.of(id) + by
      if (count === 0) this.#counts.delete(id)
      else this.#counts.set(id, count)
    }
  }
}

/** When the last missions left a lane: how fast it moves. */
class Departures {
  readonly #atMs: number[] = []
  #next = 0

  note(nowMs: number): void {
    this.#atMs[this.#next] = nowMs
    this.#next = (this.#next + 1) % DEPARTURES_KEPT
  }

  /** Whole seconds until so many more will have left, as fast as it went lately; undefined when nothing has moved. */
  secondsFor(places: number, nowMs: number): number | undefined {
    if (this.#atMs.length === 0) return undefined
    const oldestMs = this.#atMs.length < DEPARTURES_KEPT ? this.#atMs[0] : this.#atMs[this.#next]
    const perSecond = (this.#atMs.length * 1_000) / Math.max(1, nowMs - (oldestMs ?? nowMs))
    return Math.min(RETRY_SECONDS_MAX, Math.max(1, Math.ceil(Math.max(1, places) / perSecond)))
  }
}

function isKind(status: MissionStatus): status is Kind {
  return status === 'queued' || status === 'awaiting_approval'
}

/** Enough to smooth a burst, and few enough to notice soon that a lane stands still. */
const DEPARTURES_KEPT = 32
/** Who comes back after a minute learns soon enough that nothing has moved. */
const RETRY_SECONDS_MAX = 60
