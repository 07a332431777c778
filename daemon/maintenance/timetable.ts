import { nextTime } from './cron.ts'

/** When something is to be done: by a pattern, again and again, or once. */
export interface Timetable {
  readonly schedule?: string | undefined
  readonly timezone?: string | undefined
  /** Milliseconds since 1970; only without a schedule. */
  readonly atMs?: number | undefined
  readonly missed: 'skip' | 'once'
  readonly createdMs: number
  /** Wall time up to which all that was due has been seen to; undefined before the first time. */
  readonly seenMs?: number | undefined
}

/** What is to be done now about a timetable. */
export type Due =
  /** Nothing before `nextMs`; never again when it is undefined. */
  | { readonly now: 'nothing'; readonly nextMs: number | undefined }
  | { readonly now: 'run'; readonly dueMs: number }
  /** `count` runs could not begin in time: none of them is made up for, or one for all. */
  | { readonly now: 'skip' | 'once'; readonly dueMs: number; readonly count: number }

/**
 * Later than this it is no longer "then": the daemon was down, the clock was put forward, or another run of the task
 * took its time.
 */
const LATE_MS = 60_000
/** Counting on tells nobody more, and a pattern of each minute has half a million a year. */
const COUNT_MAX = 1_000

/**
 * Judges a timetable at a moment of the wall clock. Pure: what was due is told from the last time that was seen to, so
 * a clock that is put back brings nothing a second time, and one that is put forward makes its runs late, not lost.
 */
export function judgeDue(table: Timetable, nowMs: number): Due {
  const dueMs = nextDue(table)
  if (dueMs === undefined || dueMs > nowMs) return { now: 'nothing', nextMs: dueMs }
  if (nowMs - dueMs <= LATE_MS) return { now: 'run', dueMs }
  let count = 1
  let after = nextDue({ ...table, seenMs: dueMs })
  while (after !== undefined && after <= nowMs && count < COUNT_MAX) {
    count += 1
    after = nextDue({ ...table, seenMs: after })
  }
  return { now: table.missed, dueMs, count }
}

/** The first time it names that was not seen to. */
export function nextDue({ schedule, timezone, atMs, createdMs, seenMs }: Timetable): number | undefined {
  if (schedule !== undefined) return nextTime(schedule, timezone ?? 'UTC', seenMs ?? createdMs)
  return seenMs === undefined ? (atMs ?? createdMs) : undefined
}
