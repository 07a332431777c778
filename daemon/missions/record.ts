import { isDeepStrictEqual } from 'node:util'
import type { MissionDetail } from '../contracts/mission.ts'
import type { EndedBody, MissionOrder } from './facts.ts'
import type { Mission, StepRecord } from './mission.ts'
import { detailOf } from './view.ts'

/**
 * The line of a mission that has come to rest: what every surface shows of it, and under `kept` what the daemon needs
 * besides to take it up again. Nothing stands in it twice.
 */
export interface MissionRecord extends MissionDetail {
  /** The last fact that is in it. */
  readonly seq: number
  readonly kept: Kept
}

interface Kept {
  readonly order: Partial<MissionOrder>
  readonly outcome: Partial<EndedBody> | null
  readonly steps: readonly Partial<StepRecord>[]
  readonly mission: Partial<Mission>
}

export function recordOf(mission: Mission, seq: number): MissionRecord {
  const detail = detailOf(mission)
  const { id, order, modules, status, decision, validation, createdAt, updatedAt, epoch, ...rest } = mission
  const { steps, attempts, outcome, ...others } = rest
  const kept = {
    order: orderKept(mission),
    outcome: outcome === null ? null : outcomeKept(outcome, mission),
    steps: steps.map(stepKept),
    mission: others,
  }
  return { ...detail, seq, kept }
}

/** The mission that `recordOf` was given. */
export function missionOf(record: MissionRecord): Mission {
  const { kept } = record
  const { goal, category, constraints, plan, plan_source, input, priority, principal, validation } = record
  const order = {
    ...{ goal, category, constraints, plan, plan_source, priority, principal, validation },
    ...('input' in record ? { input } : {}),
    ...('retry_of' in record ? { retry_of: record.retry_of } : {}),
    ...kept.order,
  } as MissionOrder
  const mission = {
    id: record.mission_id,
    order,
    modules: record.modules,
    status: record.status,
    decision: record.decision,
    validation,
    createdAt: record.created_at,
    updatedAt: record.updated_at,
    epoch: record.epoch,
    steps: record.steps.map((step, place) => stepOf(step, kept.steps[place] ?? {})),
    attempts: record.attempts,
    outcome: null,
    ...kept.mission,
  } as Mission
  return kept.outcome === null ? mission : { ...mission, outcome: outcomeOf(record, kept.outcome, mission) }
}

/** What the detail does not tell of the order. The first judgement stands here only when there was a second. */
function orderKept({ order, validation }: Mission): Partial<MissionOrder> {
  const { goal, category, constraints, plan, plan_source, input, priority, principal, ...rest } = order
  const { retry_of, validation: first, ...kept } = rest
  const isSame = first === validation || isDeepStrictEqual(first, validation)
  return isSame ? kept : { ...kept, validation: first }
}

/** An outcome repeats the mission for those who read facts alone; here only what differs stands. */
function outcomeKept(outcome: EndedBody, mission: Mission): Partial<EndedBody> {
  const { result, error, ...told } = outcome
  const known: Readonly<Record<string, unknown>> = repeated(mission)
  const kept = Object.entries(told).filter(([name, value]) => !isSame(value, known[name]))
  return Object.fromEntries(kept)
}

/** Equal words, or equal lists of words: what a mission repeats is one of the two. */
function isSame(one: unknown, other: unknown): boolean {
  if (!Array.isArray(one) || !Array.isArray(other)) return one === other
  return one.length === other.length && one.every((word, place) => word === other[place])
}

function outcomeOf(record: MissionRecord, kept: Partial<EndedBody>, mission: Mission): EndedBody {
  return {
    ...repeated(mission),
    ...('result' in record ? { result: record.result } : {}),
    ...('error' in record ? { error: record.error } : {}),
    ...kept,
  } as EndedBody
}

function repeated({ order, modules, decision }: Mission) {
  const { category, fingerprint, tokens, plan_shape } = order
  return { category, decision, modules, fingerprint, tokens, plan_shape }
}

function stepKept(step: StepRecord): Partial<StepRecord> {
  const { id, uses, status, startedAt, durationMs, output, error, ...rest } = step
  // The detail shows a kept output by its name alone.
  return step.kept !== undefined && 'output' in step ? { ...rest, output } : rest
}

function stepOf(shown: MissionDetail['steps'][number], kept: Partial<StepRecord>): StepRecord {
  return {
    id: shown.id,
    uses: shown.uses,
    status: shown.status,
    startedAt: shown.started_at,
    durationMs: shown.duration_ms,
    ...('output' in shown && kept.kept === undefined ? { output: shown.output } : {}),
    ...('error' in shown ? { error: shown.error } : {}),
    ...kept,
  } as StepRecord
}
