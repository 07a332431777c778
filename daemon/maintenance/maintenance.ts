import type { Actor, Fact } from '../contracts/fact.ts'
import { NexusError } from '../contracts/failure.ts'
import type { MaintenanceTask, MaintenanceView, ScheduleMaintenance } from '../contracts/maintenance.ts'
import { Alarm } from './alarm.ts'
import { Book, type Entry, isOver, type MaintenanceFacts } from './book.ts'
import { SCHEDULER, write } from './facts.ts'
import type { MaintenancePorts, MissionBrief } from './port.ts'
import { Runs } from './runs.ts'
import { type Due, judgeDue, nextDue } from './timetable.ts'
import { digestOfWish, readWish } from './wish.ts'
import { Work, type WorkAnswer } from './work.ts'

/** More would be a program, and belongs into one. */
export const SCHEDULES_MAX = 100

/** What a schedule or an ordered run is answered with; `mission_id` where it runs at once. */
export interface ScheduleAnswer {
  readonly maintenance_id: string
  readonly task: MaintenanceTask
  readonly next_run: string | null
  readonly mission_id?: string
  readonly decision?: string
  readonly status?: string
}

/**
 * Upkeep of the daemon's own records, once or by the clock. Each run is a sanctuary mission, so it is judged, recorded
 * and visible like all work; what it does is done here, when the mission's module asks for it.
 *
 * `fold` is told of every fact, in a replay as while running; after the replay `recover` takes up what was under way
 * and from then on `heard` is to be told of each fact, too.
 */
export class Maintenance {
  readonly #ports: MaintenancePorts
  readonly #book = new Book()
  readonly #work: Work
  readonly #runs: Runs
  readonly #alarm: Alarm
  /** Entries that are being seen to at this moment, with their task. */
  readonly #busy = new Map<string, MaintenanceTask>()
  #isOpen = false

  constructor(ports: MaintenancePorts) {
    this.#ports = ports
    this.#work = new Work(ports.clock, () => ports.upkeep)
    this.#runs = new Runs(ports, this.#book, this.#work)
    this.#alarm = new Alarm(ports.clock, () => this.#look())
  }

  /**
   * Orders a run, now or later or again and again. The key of this request clears all of them.
   *
   * @throws NexusError `BAD_REQUEST`, `NOT_AVAILABLE`, `MAINTENANCE_FULL`, `MAINTENANCE_UNDER_WAY`, the recorder's.
   */
  async schedule(given: ScheduleMaintenance, actor: Actor): Promise<ScheduleAnswer> {
    const { clock, chance } = this.#ports
    const wish = readWish(given, clock.now())
    this.#work.requireBuilt(wish.task)
    const isNow = wish.schedule === undefined && wish.at === undefined
    if (isNow && this.#isTaken(wish.task)) throw new NexusError('MAINTENANCE_UNDER_WAY', { task: wish.task })
    const waiting = this.#book.entries.filter((entry) => !isOver(entry)).length
    if (waiting >= SCHEDULES_MAX) throw new NexusError('MAINTENANCE_FULL', { limit: SCHEDULES_MAX })
    const id = `mt-${Buffer.from(chance.bytes(6)).toString('hex')}`
    const digest = digestOfWish(wish, id)
    this.#busy.set(id, wish.task)
    try {
      const body = { maintenance_id: id, ...wish, by: actor.name, digest }
      await write(this.#ports, 'maintenance.scheduled', actor, body)
      const entry = this.#entry(id)
      const mission = isNow ? await this.#runs.begin(entry, entry.createdMs) : undefined
      return answerOf(this.#entry(id), mission)
    } finally {
      this.#busy.delete(id)
      this.#look()
    }
  }

  /** What runs of it now runs on; `nexus missions cancel` stops that. @throws NexusError `MAINTENANCE_UNKNOWN`. */
  async remove(id: string, actor: Actor): Promise<{ maintenance_id: string; removed: true }> {
    const { task } = this.#entry(id)
    await write(this.#ports, 'maintenance.removed', actor, { maintenance_id: id, task, by: actor.name })
    this.#look()
    return { maintenance_id: id, removed: true }
  }

  /** Oldest first. */
  list(): { readonly maintenance: readonly MaintenanceView[]; readonly count: number } {
    const maintenance = this.#book.entries.map((entry) => this.#view(entry))
    return { maintenance, count: maintenance.length }
  }

  /** @throws NexusError `MAINTENANCE_UNKNOWN`. */
  get(id: string): MaintenanceView {
    return this.#view(this.#entry(id))
  }

  /**
   * Does the work of a run that is under way, or joins it.
   *
   * @throws NexusError `MAINTENANCE_NOT_DUE` when no run of it is, and as the work does.
   */
  carryOut(task: MaintenanceTask, id: string): Promise<WorkAnswer> {
    const run = this.#book.runs.find(({ maintenanceId }) => maintenanceId === id)
    if (run === undefined || run.task !== task) throw new NexusError('MAINTENANCE_NOT_DUE', { id, task })
    return this.#work.carryOut(run.missionId, task)
  }

  fold(fact: Fact): void {
    this.#book.fold(fact)
  }

  save(): unknown {
    return this.#book.save()
  }

  load(saved: unknown): void {
    this.#book.load(saved)
  }

  /** Once, after the replay and when missions run: goes on with what was under way, and with the clock. */
  async recover(): Promise<void> {
    this.#isOpen = true
    for (const run of this.#book.runs) {
      await this.#runs.look(run).catch((error: unknown) => {
        this.#ports.log('warn', `the run ${run.missionId} of ${run.maintenanceId} was not seen to`, {
          err: error,
        })
      })
    }
    this.#look()
  }

  /** Takes facts as they become durable; not those of a replay. */
  heard(fact: Fact): void {
    if (!this.#isOpen) return
    if (fact.type === 'maintenance.ended') this.#look()
    else if (fact.mid !== undefined && this.#book.runOf(fact.mid) !== undefined) {
      void this.#orWarn(this.#runs.heard(fact), fact.mid) // Its failures are told there.
    }
  }

  /** Begins nothing more, stops what works, and resolves when it has stopped. */
  async stop(): Promise<void> {
    this.#isOpen = false
    this.#alarm.cancel()
    await this.#work.close('the daemon stops')
  }

  /** Begins what is due, and sets the alarm for what comes next. */
  #look(): void {
    if (!this.#isOpen) return
    const nowMs = this.#ports.clock.now()
    let nextMs = Number.POSITIVE_INFINITY
    for (const entry of this.#book.entries) {
      if (this.#busy.has(entry.id)) continue
      const due = judgeDue(entry, nowMs)
      if (due.now === 'nothing') nextMs = Math.min(nextMs, due.nextMs ?? Number.POSITIVE_INFINITY)
      // It is looked at again when the run that is in the way has ended.
      else if (due.now === 'skip' || !this.#isTaken(entry.task)) void this.#see(entry, due, nowMs) // Never rejects.
    }
    this.#alarm.set(nextMs)
  }

  async #see(entry: Entry, due: Exclude<Due, { now: 'nothing' }>, nowMs: number): Promise<void> {
    this.#busy.set(entry.id, entry.task)
    const work = due.now === 'run' ? this.#runs.begin(entry, due.dueMs) : this.#seeMissed(entry, due, nowMs)
    const done = await this.#orWarn(work, entry.id)
    this.#busy.delete(entry.id)
    // A queue that is full, say, has room again soon. And what was not seen to must not be looked at in a circle.
    const seenTo = this.#book.entry(entry.id)?.seenMs !== entry.seenMs
    if (done && seenTo) this.#look()
    else this.#alarm.setBy(nowMs + RETRY_MS)
  }

  /** The one run for all comes first: were the note first, a crash between the two would cost that run. */
  async #seeMissed(entry: Entry, due: Due & { now: 'skip' | 'once' }, nowMs: number): Promise<void> {
    const { id, task } = entry
    if (due.now === 'once') await this.#runs.begin(entry, nowMs)
    await write(this.#ports, 'maintenance.missed', SCHEDULER, {
      ...{ maintenance_id: id, task, did: due.now, count: due.count },
      due_at: new Date(due.dueMs).toISOString(),
      until: new Date(nowMs).toISOString(),
    } satisfies MaintenanceFacts['maintenance.missed'])
  }

  async #orWarn(work: Promise<unknown>, what: string): Promise<boolean> {
    try {
      await work
      return true
    } catch (error) {
      if (!(error instanceof NexusError)) this.#ports.onBug(error)
      else this.#ports.log('warn', `maintenance ${what}: ${error.message}`, { code: error.code })
      return false
    }
  }

  /** Never two runs of one task: one is under way, or about to be. */
  #isTaken(task: MaintenanceTask): boolean {
    return this.#book.runs.some((run) => run.task === task) || [...this.#busy.values()].includes(task)
  }

  #entry(id: string): Entry {
    const entry = this.#book.entry(id)
    if (entry === undefined) throw new NexusError('MAINTENANCE_UNKNOWN', { id })
    return entry
  }

  #view(entry: Entry): MaintenanceView {
    const running = this.#book.runs.find(({ maintenanceId }) => maintenanceId === entry.id)
    return {
      maintenance_id: entry.id,
      task: entry.task,
      schedule: entry.schedule ?? null,
      timezone: entry.timezone ?? null,
      missed: entry.missed,
      next_run: nextRunOf(entry),
      running: running?.missionId ?? null,
      last: entry.last,
      missed_runs: entry.missedRuns,
      created_at: new Date(entry.createdMs).toISOString(),
      created_by: entry.by,
    }
  }
}

/** A queue with no room, a journal that is busy: these pass. */
const RETRY_MS = 10_000

function nextRunOf(entry: Entry): string | null {
  const nextMs = nextDue(entry)
  return nextMs === undefined ? null : new Date(nextMs).toISOString()
}

function answerOf(entry: Entry, mission: MissionBrief | undefined): ScheduleAnswer {
  const { id: maintenance_id, task } = entry
  if (mission === undefined) return { maintenance_id, task, next_run: nextRunOf(entry) }
  const { mission_id, status, validation } = mission
  const next_run = new Date(entry.createdMs).toISOString()
  return { maintenance_id, task, next_run, mission_id, decision: validation.decision, status }
}
