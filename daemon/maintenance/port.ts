import type { Fact, FactDraft } from '../contracts/fact.ts'
import type { MaintenanceTask } from '../contracts/maintenance.ts'
import type { MissionCreate, MissionStatus, Validation } from '../contracts/mission.ts'
import type { Chance } from '../kit/chance.ts'
import type { Clock } from '../kit/clock.ts'

/** All that maintenance needs from others. */
export interface MaintenancePorts {
  readonly clock: Clock
  readonly chance: Chance
  /** Resolves once the fact is durable and folded. @throws NexusError `JOURNAL_*`. */
  append(draft: FactDraft): Promise<Fact>
  readonly missions: MissionClerk
  readonly upkeep: Upkeep
  log(level: 'info' | 'warn' | 'error', message: string, fields?: object): void
  onBug(error: unknown): void
}

/** Missions, asked for by the principal `scheduler`: judged, permitted and recorded like anybody's. */
export interface MissionClerk {
  /** With a key that was used before it answers the mission which that made. */
  create(body: MissionCreate, idempotencyKey: string): Promise<MissionBrief>
  /** Approves in the name of the key that cleared the schedule. @throws NexusError `MISSION_WRONG_STATE`. */
  approve(missionId: string, keyId: string, reason: string): Promise<void>
  /** @throws NexusError `MISSION_WRONG_STATE`. */
  cancel(missionId: string, reason: string): Promise<void>
  /** @throws NexusError `MISSION_UNKNOWN`. */
  find(missionId: string): Promise<MissionBrief>
}

export interface MissionBrief {
  readonly mission_id: string
  readonly status: MissionStatus
  readonly because: string
  readonly validation: Pick<Validation, 'decision' | 'reasons' | 'score'>
  readonly result?: unknown
}

/**
 * The work itself, by task; a task that is not there is not built yet. Each stops soon after its signal aborts, leaves
 * the records whole whenever it stops, and may be done again at any time. Resolves with plain JSON.
 */
export type Upkeep = { readonly [Task in MaintenanceTask]?: (signal: AbortSignal) => Promise<object> }
