import type { Fact } from '../contracts/fact.ts'
import type { MaintenanceOutcome, MaintenanceRun, MaintenanceTask } from '../contracts/maintenance.ts'
import type { Timetable } from './timetable.ts'

/** One schedule, or one run that was ordered. */
export interface Entry extends Timetable {
  readonly id: string
  readonly task: MaintenanceTask
  /** Who ordered it, by the name of the key. */
  readonly by: string
  /** Of all that the key cleared with it. */
  readonly digest: string
  readonly last: MaintenanceRun | null
  readonly missedRuns: number
}

/** A mission that is at it. */
export interface OpenRun {
  readonly missionId: string
  readonly maintenanceId: string
  readonly task: MaintenanceTask
  readonly dueAt: string
}

interface Saved {
  readonly entries: readonly Entry[]
  readonly runs: readonly OpenRun[]
}

/** Bodies of the facts that maintenance writes. */
export interface MaintenanceFacts {
  'maintenance.scheduled': {
    readonly maintenance_id: string
    readonly task: MaintenanceTask
    readonly schedule?: string
    readonly timezone?: string
    readonly at?: string
    readonly missed: 'skip' | 'once'
    readonly by: string
    readonly digest: string
  }
  'maintenance.removed': {
    readonly maintenance_id: string
    readonly task: MaintenanceTask
    readonly by: string
  }
  /** `count` runs from `due_at` on did not begin in time; `until` is when that was found. */
  'maintenance.missed': {
    readonly maintenance_id: string
    readonly task: MaintenanceTask
    readonly did: 'skip' | 'once'
    readonly count: number
    readonly due_at: string
    readonly until: string
  }
  'maintenance.ended': {
    readonly maintenance_id: string
    readonly task: MaintenanceTask
    readonly mission_id: string
    readonly due_at: string
    readonly outcome: MaintenanceOutcome
    readonly because: string
    readonly result?: unknown
  }
}

/** Runs that were ordered once and have ended stay visible; the journal knows the others. */
const ENDED_MAX = 100

/** What is scheduled and under way, folded from facts alone. */
export class Book {
  readonly #entries = new Map<string, Entry>()
  /** By mission. */
  readonly #runs = new Map<string, OpenRun>()

  get entries(): readonly Entry[] {
    return [...this.#entries.values()]
  }

  get runs(): readonly OpenRun[] {
    return [...this.#runs.values()]
  }

  entry(id: string): Entry | undefined {
    return this.#entries.get(id)
  }

  runOf(missionId: string): OpenRun | undefined {
    return this.#runs.get(missionId)
  }

  fold(fact: Fact): void {
    if (fact.type.startsWith('maintenance.')) this.#foldOwn(fact)
    else if (fact.type === 'mission.created' && fact.actor.kind === 'scheduler') this.#foldRun(fact)
  }

  save(): Saved {
    return { entries: this.entries, runs: this.runs }
  }

  load(saved: unknown): void {
    const { entries, runs } = saved as Saved
    for (const entry of entries) this.#entries.set(entry.id, entry)
    for (const run of runs) this.#runs.set(run.missionId, run)
  }

  #foldOwn(fact: Fact): void {
    switch (fact.type as keyof MaintenanceFacts) {
      case 'maintenance.scheduled': {
        const d = bodyOf(fact, 'maintenance.scheduled')
        const { maintenance_id: id, task, schedule, timezone, at, missed, by, digest } = d
        this.#entries.set(id, {
          ...{ id, task, schedule, timezone, missed, by, digest, last: null, missedRuns: 0 },
          atMs: at === undefined ? undefined : Date.parse(at),
          createdMs: Date.parse(fact.ts),
        })
        break
      }
      case 'maintenance.removed':
        this.#entries.delete(bodyOf(fact, 'maintenance.removed').maintenance_id)
        break
      case 'maintenance.missed': {
        const { maintenance_id: id, count, until } = bodyOf(fact, 'maintenance.missed')
        const missedRuns = (this.#entries.get(id)?.missedRuns ?? 0) + count
        this.#change(id, { missedRuns, seenMs: Date.parse(until) })
        break
      }
      case 'maintenance.ended': {
        const { task: _, maintenance_id: id, ...run } = bodyOf(fact, 'maintenance.ended')
        this.#runs.delete(run.mission_id)
        this.#change(id, { last: { ...run, ended_at: fact.ts } })
        this.#forgetOldest()
      }
    }
  }

  /** The mission's own record says whose run it is: one fact, so neither can be there without the other. */
  #foldRun(fact: Fact): void {
    const { mid: missionId, d } = fact
    const key = (d['idempotency'] as { readonly key: string } | undefined)?.key ?? ''
    const [maintenanceId = '', dueAt = ''] = key.split('@')
    const entry = this.#entries.get(maintenanceId)
    if (missionId === undefined || entry === undefined) return
    this.#runs.set(missionId, { missionId, maintenanceId, task: entry.task, dueAt })
    this.#change(maintenanceId, { seenMs: Date.parse(dueAt) })
  }

  #change(id: string, part: Partial<Entry>): void {
    const entry = this.#entries.get(id)
    if (entry !== undefined) this.#entries.set(id, { ...entry, ...part })
  }

  #forgetOldest(): void {
    const ended = this.entries.filter(isOver)
    for (const { id } of ended.slice(0, Math.max(0, ended.length - ENDED_MAX))) this.#entries.delete(id)
  }
}

/** It was to be done once, and that has been seen to. */
export function isOver({ schedule, seenMs }: Entry): boolean {
  return schedule === undefined && seenMs !== undefined
}

/** Under which a run's mission is made once, however often a crash has it made. */
export function runKey(maintenanceId: string, dueMs: number): string {
  return `${maintenanceId}@${new Date(dueMs).toISOString()}`
}

function bodyOf<Type extends keyof MaintenanceFacts>(fact: Fact, _: Type): MaintenanceFacts[Type] {
  return fact.d as unknown as MaintenanceFacts[Type]
}
