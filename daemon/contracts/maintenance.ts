import { type Static, Type } from 'typebox'

const closed = { additionalProperties: false }
const Key = Type.Optional(
  Type.String({ minLength: 1, maxLength: 256, description: 'the operator key, here or as a header' }),
)

/** What can be done for the daemon's own records. */
export const MAINTENANCE_TASKS = ['compact', 'verify', 'snapshot', 'prune', 'rotate'] as const
export type MaintenanceTask = (typeof MAINTENANCE_TASKS)[number]

const TASK = Type.Enum([...MAINTENANCE_TASKS])
const MaintenanceRef = Type.String({ pattern: '^mt-[0-9a-f]{12}$', examples: ['mt-3f9a01c2d4e5'] })

/** `POST /v1/admin/maintenance`. Neither `schedule` nor `at`: once, now. */
export const ScheduleMaintenanceSchema = Type.Object(
  {
    task: TASK,
    schedule: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 100,
        description:
          'five fields of cron: minute, hour, day of month, month, day of week; or @daily and the like',
        examples: ['30 2 * * *'],
      }),
    ),
    timezone: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 64,
        description: "IANA name, for `schedule`; the daemon's own unless said",
        examples: ['Europe/Berlin'],
      }),
    ),
    at: Type.Optional(
      Type.String({
        format: 'date-time',
        description: 'once, at this time',
        examples: ['2027-01-01T02:00:00Z'],
      }),
    ),
    missed: Type.Optional(
      Type.Enum(['skip', 'once'], {
        description:
          'what to do about runs that could not begin in time: nothing, or one for all; `once` unless said',
      }),
    ),
    operator_key: Key,
  },
  closed,
)
export type ScheduleMaintenance = Static<typeof ScheduleMaintenanceSchema>

export const CancelMaintenanceSchema = Type.Object(
  { maintenance_id: MaintenanceRef, operator_key: Key },
  closed,
)

/** The body of `DELETE /v1/admin/maintenance/:id`. */
export const RemoveMaintenanceSchema = Type.Object({ operator_key: Key }, closed)

/** What the module that does the work says; only of a run that is under way. */
export const MaintainSchema = Type.Object({ task: TASK, maintenance_id: MaintenanceRef }, closed)

/** `completed`, `failed` and so on are the mission's; `blocked` never ran, and `because` says why. */
export type MaintenanceOutcome = 'completed' | 'failed' | 'cancelled' | 'rejected' | 'expired' | 'blocked'

export interface MaintenanceRun {
  readonly mission_id: string
  readonly due_at: string
  readonly ended_at: string
  readonly outcome: MaintenanceOutcome
  readonly because: string
  /** What the task reported. */
  readonly result?: unknown
}

/** One schedule, or one run that was ordered, as every surface shows it. */
export interface MaintenanceView {
  readonly maintenance_id: string
  readonly task: MaintenanceTask
  readonly schedule: string | null
  readonly timezone: string | null
  readonly missed: 'skip' | 'once'
  readonly next_run: string | null
  /** The mission that is at it now. */
  readonly running: string | null
  readonly last: MaintenanceRun | null
  /** Runs that could not begin in time, since it was scheduled. */
  readonly missed_runs: number
  readonly created_at: string
  readonly created_by: string
}
