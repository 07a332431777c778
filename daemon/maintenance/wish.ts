import { createHash } from 'node:crypto'
import { NexusError } from '../contracts/failure.ts'
import type { MaintenanceTask, ScheduleMaintenance } from '../contracts/maintenance.ts'
import { isTimezone, nextTime, ownTimezone } from './cron.ts'
import { orderOf } from './runs.ts'

/** What was asked for, complete. */
export interface Wish {
  readonly task: MaintenanceTask
  readonly schedule?: string
  readonly timezone?: string
  readonly at?: string
  readonly missed: 'skip' | 'once'
}

/**
 * Checks what the schema cannot see. The time zone is written down with the schedule, so that another machine, or
 * another setting of this one, does not move its runs.
 *
 * @throws NexusError `BAD_REQUEST`.
 */
export function readWish(
  { task, schedule, timezone, at, missed = 'once' }: ScheduleMaintenance,
  nowMs: number,
): Wish {
  if (schedule !== undefined && at !== undefined) {
    throw bad('/at', 'goes without `schedule`: one of the two says when')
  }
  if (schedule === undefined && timezone !== undefined) {
    throw bad('/timezone', 'is for a `schedule`; a time in `at` names its own offset')
  }
  if (schedule !== undefined) {
    const zone = timezone ?? ownTimezone()
    if (!isTimezone(zone))
      throw bad('/timezone', `is no time zone known here: ${clip(zone)}; one is Europe/Berlin`)
    checkPattern(schedule, zone, nowMs)
    return { task, schedule, timezone: zone, missed }
  }
  if (at === undefined) return { task, missed }
  const atMs = Date.parse(at)
  if (Number.isNaN(atMs)) throw bad('/at', 'is no point in time; one is 2027-01-01T02:00:00Z')
  if (atMs <= nowMs) throw bad('/at', 'is over already; without it and without `schedule` it is done now')
  return { task, at: new Date(atMs).toISOString(), missed }
}

/** What the key clears: which mission, and when. A run is cleared only by the schedule that bears its digest. */
export function digestOfWish(wish: Wish, maintenanceId: string): string {
  const order = orderOf(wish.task, maintenanceId)
  return createHash('sha256')
    .update(JSON.stringify([order, wish]))
    .digest('hex')
}

function checkPattern(schedule: string, zone: string, nowMs: number): void {
  let first: number | undefined
  try {
    first = nextTime(schedule, zone, nowMs)
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw bad('/schedule', `cannot be read: ${clip(why)}; "30 2 * * *" is each night at half past two`)
  }
  if (first === undefined) throw bad('/schedule', 'names no time that ever comes; "30 2 * * *" is each night')
}

function bad(pointer: string, detail: string): NexusError {
  return new NexusError('BAD_REQUEST', { detail: `${pointer} ${detail}` }, { issues: [{ pointer, detail }] })
}

function clip(text: string): string {
  return text.slice(0, 200)
}
