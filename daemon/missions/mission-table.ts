import type { FactDraft } from '../contracts/fact.ts'
import type { Decision } from '../contracts/ids.ts'
import type { MissionStatus } from '../contracts/mission.ts'
import type { Move, StateTable } from '../kit/state-table.ts'

export type MissionEvent =
  | 'approved'
  | 'rejected'
  | 'expired'
  | 'overridden'
  | 'claimed'
  | 'rejudged'
  | 'released'
  | 'completed'
  | 'failed'
  | 'interrupted'
  | 'resumed'
  | 'cancelled'

/** What the engine does once the fact is durable. */
export type MissionAct = 'enqueue' | 'ask' | 'execute' | 'settle'

/**
 * The life of one mission. Read a row as "while …, on … go to … and …". Every event is a journaled fact; there is no
 * other way from one state to the next.
 *
 * `released` is an attempt that ended while the mission goes on: it failed and is tried again, or was cut. Rows
 * without an event are final: `run` answers what is recorded and never executes again.
 */
// biome-ignore format: a table
export const MISSION_TABLE = {
  suggestion:        { overridden:  { to: 'queued',            act: 'enqueue' },
                       cancelled:   { to: 'cancelled',         act: 'settle' } },
  awaiting_approval: { approved:    { to: 'queued',            act: 'enqueue' },
                       rejected:    { to: 'rejected',          act: 'settle' },
                       expired:     { to: 'expired',           act: 'settle' },
                       cancelled:   { to: 'cancelled',         act: 'settle' } },
  queued:            { claimed:     { to: 'running',           act: 'execute' },
                       rejudged:    { to: 'awaiting_approval', act: 'ask' },
                       cancelled:   { to: 'cancelled',         act: 'settle' } },
  running:           { released:    { to: 'queued',            act: 'enqueue' },
                       completed:   { to: 'completed',         act: 'settle' },
                       failed:      { to: 'failed',            act: 'settle' },
                       interrupted: { to: 'interrupted',       act: 'settle' },
                       cancelled:   { to: 'cancelled',         act: 'settle' } },
  interrupted:       { resumed:     { to: 'queued',            act: 'enqueue' },
                       cancelled:   { to: 'cancelled',         act: 'settle' } },
  completed: {},
  failed:    {},
  cancelled: {},
  rejected:  {},
  expired:   {},
} as const satisfies StateTable<MissionStatus, MissionEvent, MissionAct>

/** Where a mission begins, by its decision. */
export const BIRTH = {
  SAFE: { to: 'queued', act: 'enqueue' },
  BORDERLINE: { to: 'awaiting_approval', act: 'ask' },
  FAILING: { to: 'suggestion', act: 'settle' },
} as const satisfies Record<Decision, Move<MissionStatus, MissionAct>>

/** The event a fact stands for; undefined for facts that leave the status as it is. */
export function eventOf(fact: Pick<FactDraft, 'type' | 'd'>): MissionEvent | undefined {
  if (fact.type === 'mission.ended') return fact.d['status'] === 'completed' ? 'completed' : 'failed'
  return EVENTS[fact.type]
}

const EVENTS: Readonly<Partial<Record<string, MissionEvent>>> = {
  'mission.approved': 'approved',
  'mission.rejected': 'rejected',
  'mission.expired': 'expired',
  'mission.overridden': 'overridden',
  'mission.claimed': 'claimed',
  'mission.rejudged': 'rejudged',
  'mission.attempt_ended': 'released',
  'mission.interrupted': 'interrupted',
  'mission.resumed': 'resumed',
  'mission.cancelled': 'cancelled',
}
