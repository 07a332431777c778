import type { Actor, FactDraft } from '../contracts/fact.ts'
import type { Decision } from '../contracts/ids.ts'
import type { MissionStatus } from '../contracts/mission.ts'
import { type Move, moveOf, type StateTable } from '../kit/state-table.ts'

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
 * Who causes a transition. `key`: a request with the operator key. `principal`: any caller whose role permits the
 * request, the operator among them. `daemon`: its timers, its lanes, its recovery after a crash. `attempt`: whoever
 * holds the mission's present epoch.
 */
export type MissionCause = 'key' | 'principal' | 'daemon' | 'attempt'

export interface MissionMove extends Move<MissionStatus, MissionAct> {
  readonly by: readonly MissionCause[]
}

type MissionTable = StateTable<MissionStatus, MissionEvent, MissionAct> & {
  readonly [S in MissionStatus]: { readonly [E in MissionEvent]?: MissionMove }
}

/**
 * The life of one mission. Read a row as "while …, on … go to … and …, and only … may cause it". Every event is a
 * journaled fact; there is no other way from one state to the next.
 *
 * `released` is an attempt that ended while the mission goes on: it failed and is tried again, or was cut. A running
 * mission that somebody cancels is told so, and its attempt records the end. Rows without an event are final: `run`
 * answers what is recorded and never executes again.
 */
// biome-ignore format: a table
export const MISSION_TABLE = {
  suggestion:        { overridden:  { to: 'queued',            act: 'enqueue', by: ['key'] },
                       cancelled:   { to: 'cancelled',         act: 'settle',  by: ['principal'] } },
  awaiting_approval: { approved:    { to: 'queued',            act: 'enqueue', by: ['key'] },
                       rejected:    { to: 'rejected',          act: 'settle',  by: ['principal'] },
                       expired:     { to: 'expired',           act: 'settle',  by: ['daemon'] },
                       cancelled:   { to: 'cancelled',         act: 'settle',  by: ['principal'] } },
  queued:            { claimed:     { to: 'running',           act: 'execute', by: ['daemon'] },
                       rejudged:    { to: 'awaiting_approval', act: 'ask',     by: ['daemon'] },
                       cancelled:   { to: 'cancelled',         act: 'settle',  by: ['principal'] } },
  running:           { released:    { to: 'queued',            act: 'enqueue', by: ['attempt', 'daemon'] },
                       completed:   { to: 'completed',         act: 'settle',  by: ['attempt'] },
                       failed:      { to: 'failed',            act: 'settle',  by: ['attempt'] },
                       interrupted: { to: 'interrupted',       act: 'settle',  by: ['attempt', 'daemon'] },
                       cancelled:   { to: 'cancelled',         act: 'settle',  by: ['attempt'] } },
  interrupted:       { resumed:     { to: 'queued',            act: 'enqueue', by: ['key'] },
                       cancelled:   { to: 'cancelled',         act: 'settle',  by: ['principal'] } },
  completed: {},
  failed:    {},
  cancelled: {},
  rejected:  {},
  expired:   {},
} as const satisfies MissionTable

/** Where a mission begins, by its decision. */
export const BIRTH = {
  SAFE: { to: 'queued', act: 'enqueue' },
  BORDERLINE: { to: 'awaiting_approval', act: 'ask' },
  FAILING: { to: 'suggestion', act: 'settle' },
} as const satisfies Record<Decision, Move<MissionStatus, MissionAct>>

/** The transition for an event, or undefined when a mission in this state does not understand it. */
export function transition(status: MissionStatus, event: MissionEvent): MissionMove | undefined {
  return moveOf<MissionStatus, MissionEvent, MissionAct>(MISSION_TABLE, status, event) as
    | MissionMove
    | undefined
}

/** Whether this cause may bring a transition about: an operator is a principal too, and nobody else is anybody else. */
export function mayCause({ by }: MissionMove, cause: MissionCause): boolean {
  return by.includes(cause) || (cause === 'key' && by.includes('principal'))
}

/** Who stands behind a request or a timer, as the record names them. */
export function causeOf({ kind }: Actor): MissionCause {
  if (kind === 'key') return 'key'
  return kind === 'daemon' ? 'daemon' : 'principal'
}

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
