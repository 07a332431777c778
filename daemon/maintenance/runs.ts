import type { Fact } from '../contracts/fact.ts'
import type { MaintenanceOutcome, MaintenanceTask } from '../contracts/maintenance.ts'
import type { MissionCreate } from '../contracts/mission.ts'
import { type Book, type Entry, type OpenRun, runKey } from './book.ts'
import { SCHEDULER, write } from './facts.ts'
import type { MaintenancePorts, MissionBrief } from './port.ts'
import type { Work } from './work.ts'

/** The module whose action does the work, by asking the daemon for it. */
const MAINTAIN = 'autonomic/janitor/maintain'

/** A journal of some hundred gigabytes is read in an hour. */
const TIME_SECONDS_MAX = 3_600

const GOALS: Readonly<Record<MaintenanceTask, string>> = {
  compact: 'Maintenance: compact the journal',
  verify: 'Maintenance: verify the journal',
  snapshot: 'Maintenance: write a snapshot',
  prune: 'Maintenance: remove what is no longer needed',
  rotate: 'Maintenance: begin a new segment of the journal',
}

/** The mission that a run is, but for its time: what the key clears when it orders a run. */
export function orderOf(task: MaintenanceTask, maintenanceId: string): MissionCreate {
  return {
    goal: GOALS[task],
    category: 'sanctuary',
    // The next run is the next try: what fails here is for somebody to look at.
    max_attempts: 1,
    constraints: { max_time_seconds: TIME_SECONDS_MAX, max_steps: 1 },
    plan: [{ id: 'maintain', uses: MAINTAIN, with: { task, maintenance_id: maintenanceId } }],
  }
}

/** The missions that maintenance is done by: makes them, clears them, and sees to their end. */
export class Runs {
  readonly #ports: MaintenancePorts
  readonly #book: Book
  readonly #work: Work
  /** Missions whose end is being written: who looks meanwhile has nothing to add. */
  readonly #ending = new Set<string>()

  constructor(ports: MaintenancePorts, book: Book, work: Work) {
    this.#ports = ports
    this.#book = book
    this.#work = work
  }

  /** Resolves when the mission is on its way, or was blocked and that is on record. */
  async begin(entry: Entry, dueMs: number): Promise<MissionBrief> {
    const { missions } = this.#ports
    const mission = await missions.create(orderOf(entry.task, entry.id), runKey(entry.id, dueMs))
    const run = this.#book.runOf(mission.mission_id)
    if (run !== undefined) await this.look(run, mission)
    return missions.find(mission.mission_id)
  }

  /** What happened to a run's mission may want something: its clearance, or an end. */
  async heard({ mid, type }: Fact): Promise<void> {
    const run = mid === undefined || !TURNS.has(type) ? undefined : this.#book.runOf(mid)
    if (run !== undefined) await this.look(run)
  }

  /** Does what is next for a run, as its mission stands. */
  async look(run: OpenRun, known?: MissionBrief): Promise<void> {
    const mission = known ?? (await this.#ports.missions.find(run.missionId))
    switch (mission.status) {
      case 'awaiting_approval':
        return mission.validation.decision === 'FAILING'
          ? this.#block(run, mission)
          : this.#clear(run, mission)
      case 'suggestion':
        return this.#block(run, mission)
      case 'completed':
      case 'failed':
      case 'cancelled':
      case 'rejected':
      case 'expired':
        return this.#end(run, mission.status, mission.because, reportOf(mission))
      case 'queued':
      case 'running':
      case 'interrupted':
        return undefined
    }
  }

  /** The key that ordered the run cleared it for the case that it is judged BORDERLINE, as long as it is the same. */
  async #clear(run: OpenRun, mission: MissionBrief): Promise<void> {
    const entry = this.#book.entry(run.maintenanceId)
    if (entry === undefined) {
      await this.#ports.missions.cancel(run.missionId, `the schedule ${run.maintenanceId} was removed`)
      return
    }
    const when = new Date(entry.createdMs).toISOString()
    const reason = `cleared when ${entry.id} was ordered at ${when} (digest ${entry.digest.slice(0, 16)}…)`
    await this.#ports.missions.approve(mission.mission_id, entry.by, reason)
  }

  /** FAILING, a locked module say: no standing clearance opens that. */
  async #block(run: OpenRun, { status, validation }: MissionBrief): Promise<void> {
    const because =
      validation.reasons.join('; ') || `it was judged FAILING with a score of ${validation.score}`
    await this.#end(run, 'blocked', because)
    if (status === 'suggestion' || status === 'awaiting_approval') {
      await this.#ports.missions.cancel(
        run.missionId,
        'a run of maintenance is not overridden; order a new one',
      )
    }
  }

  async #end(run: OpenRun, outcome: MaintenanceOutcome, because: string, result?: unknown): Promise<void> {
    const { missionId, maintenanceId, task, dueAt } = run
    if (this.#book.runOf(missionId) === undefined || this.#ending.has(missionId)) return
    this.#work.release(missionId, `its mission is over: ${because}`)
    this.#ending.add(missionId)
    try {
      await write(this.#ports, 'maintenance.ended', SCHEDULER, {
        maintenance_id: maintenanceId,
        task,
        mission_id: missionId,
        due_at: dueAt,
        outcome,
        because,
        ...(result === undefined ? {} : { result }),
      })
    } finally {
      this.#ending.delete(missionId)
    }
  }
}

/** What the task said, without the module's words around it. */
function reportOf({ result }: MissionBrief): unknown {
  return (result as { readonly result?: unknown } | null | undefined)?.result
}

/** Facts after which a run may want something. */
const TURNS: ReadonlySet<string> = new Set([
  'mission.rejudged',
  'mission.ended',
  'mission.cancelled',
  'mission.rejected',
  'mission.expired',
])
