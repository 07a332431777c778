import type { MissionOutcome } from '../contracts/fact.ts'
import type { MissionId } from '../contracts/ids.ts'
import type { Outcome } from './recent.ts'

/** What is remembered in detail of the `nth` outcome. */
export function detailOf(mid: MissionId, nth: number, atMs: number, outcome: MissionOutcome): Outcome {
  const {
    fingerprint,
    success,
    duration_ms: durationMs,
    operator_minutes: operatorMinutes,
    value,
    cost,
  } = outcome
  return {
    mid,
    nth,
    atMs,
    fingerprint,
    success,
    durationMs,
    timedOut: outcome.error_code === 'MAX_TIME_EXCEEDED',
    operatorMinutes,
    ...(value !== undefined && Number.isFinite(value) && { value }),
    ...(cost !== undefined && Number.isFinite(cost) && { cost }),
  }
}

/** As the snapshot stores it: without the names of the fields, which would be most of it. */
export type SavedOutcome = readonly [
  mid: MissionId,
  nth: number,
  atMs: number,
  fingerprint: string,
  success: 0 | 1,
  durationMs: number,
  timedOut: 0 | 1,
  operatorMinutes: number,
  value: number | null,
  cost: number | null,
]

export function rowOf(outcome: Outcome): SavedOutcome {
  const { mid, nth, atMs, fingerprint, success, durationMs, timedOut, operatorMinutes, value, cost } = outcome
  const flag = (is: boolean): 0 | 1 => (is ? 1 : 0)
  const money = [value ?? null, cost ?? null] as const
  return [mid, nth, atMs, fingerprint, flag(success), durationMs, flag(timedOut), operatorMinutes, ...money]
}

export function fromRow(row: SavedOutcome): Outcome {
  const [mid, nth, atMs, fingerprint, success, durationMs, timedOut, operatorMinutes, value, cost] = row
  return {
    mid,
    nth,
    atMs,
    fingerprint,
    success: success === 1,
    durationMs,
    timedOut: timedOut === 1,
    operatorMinutes,
    ...(value !== null && { value }),
    ...(cost !== null && { cost }),
  }
}
