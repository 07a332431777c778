import type { Fact, FactDraft } from '../contracts/fact.ts'
import type { MissionError } from '../contracts/mission.ts'
import { type MissionFacts, type MissionFactType, stepsOf } from './facts.ts'
import {
  ATTEMPTS_KEPT,
  born,
  type Clearance,
  type Mission,
  SAY_LENGTH_MAX,
  type StepRecord,
  TRAIL_KEPT,
  UNTOUCHED,
} from './mission.ts'
import { BIRTH, eventOf, transition } from './mission-table.ts'

/**
 * What a mission is after a fact: the whole state comes from facts alone.
 *
 * A fact that the present status does not understand, or that belongs to another epoch, changes nothing.
 */
export function fold(mission: Mission | undefined, fact: Fact): Mission | undefined {
  if (fact.type === 'mission.created') {
    if (mission !== undefined) return mission
    const order = body<'mission.created'>(fact)
    return born(fact, order, BIRTH[order.validation.decision].to)
  }
  if (mission === undefined || !isOfEpoch(mission, fact)) return mission
  const event = eventOf(fact)
  if (event === undefined) {
    const after = mission.status === 'running' ? withStepFact(mission, fact, fact.ts) : mission
    return after === mission ? mission : { ...after, trail: told(mission, fact), updatedAt: fact.ts }
  }
  const move = transition(mission.status, event)
  if (move === undefined) return mission
  const trail = told(mission, fact)
  return { ...mission, ...changes(mission, fact), status: move.to, since: fact.ts, trail, updatedAt: fact.ts }
}

/** A running mission after the start or the end of a step; also for records that are yet to be written. */
export function withStepFact(mission: Mission, fact: Pick<FactDraft, 'type' | 'd'>, ts: string): Mission {
  if (fact.type === 'mission.step_started') {
    const { step, idempotent } = body<'mission.step_started'>(fact)
    const steps = withStep(mission, step, ({ tries, id, uses }) => ({
      ...{ id, uses, ...UNTOUCHED },
      ...{ status: 'running', tries: tries + 1, idempotent, startedAt: ts },
    }))
    return { ...mission, steps }
  }
  if (fact.type !== 'mission.step_finished') return mission
  const finished = body<'mission.step_finished'>(fact)
  const steps = withStep(mission, finished.step, (step) => ({
    ...step,
    status: finished.status,
    durationMs: finished.duration_ms,
    artifacts: finished.artifacts,
    ...('output' in finished ? { output: finished.output } : {}),
    ...(finished.kept === undefined ? {} : { kept: finished.kept }),
    ...(finished.error === undefined ? {} : { error: finished.error }),
  }))
  const openMs = finished.attempt_ms ?? mission.openMs + finished.duration_ms
  return { ...mission, steps, openMs, cpuMs: mission.cpuMs + finished.cpu_ms }
}

function isOfEpoch(mission: Mission, fact: Fact): boolean {
  if (fact.ep === undefined) return mission.status !== 'running'
  return fact.ep === (fact.type === 'mission.claimed' ? mission.epoch + 1 : mission.epoch)
}

/** What else a transition changes. */
function changes(mission: Mission, fact: Fact): Partial<Mission> {
  switch (fact.type as MissionFactType) {
    case 'mission.approved':
      return cleared(mission, fact, 'approved', body<'mission.approved'>(fact).digest)
    case 'mission.overridden':
      return cleared(mission, fact, 'overridden', body<'mission.overridden'>(fact).digest)
    case 'mission.rejected':
      return { note: body<'mission.rejected'>(fact).reason ?? null }
    case 'mission.rejudged': {
      const { validation } = body<'mission.rejudged'>(fact)
      return { validation, decision: 'BORDERLINE', clearance: null }
    }
    case 'mission.claimed':
      return claimed(mission, fact)
    case 'mission.attempt_ended': {
      const { outcome, error, duration_ms, retry_in_ms } = body<'mission.attempt_ended'>(fact)
      const closed = close(mission, fact, outcome, duration_ms, error)
      const failedAttempts = mission.failedAttempts + (outcome === 'failed' ? 1 : 0)
      return { ...closed, retryInMs: retry_in_ms, failedAttempts }
    }
    case 'mission.interrupted': {
      const { cause, duration_ms, ...unknown } = body<'mission.interrupted'>(fact)
      const steps = withSteps(mission, stepsOf(unknown), 'unknown')
      return { ...close({ ...mission, steps }, fact, 'cut', duration_ms), note: cause }
    }
    case 'mission.resumed': {
      const { mode, digest, ...unknown } = body<'mission.resumed'>(fact)
      const steps = withSteps(mission, stepsOf(unknown), mode === 'skip' ? 'skipped' : 'pending')
      return { ...cleared(mission, fact, 'resumed', digest), steps, note: null }
    }
    case 'mission.cancelled': {
      const { reason, duration_ms } = body<'mission.cancelled'>(fact)
      const note = reason ?? null
      return { ...(fact.ep ? close(mission, fact, 'cancelled', duration_ms ?? 0) : {}), note }
    }
    case 'mission.ended': {
      const outcome = body<'mission.ended'>(fact)
      const spentMs = outcome.duration_ms - mission.spentMs
      const closed = close(mission, fact, outcome.status, spentMs, outcome.error)
      const failedAttempts = mission.failedAttempts + (outcome.success ? 0 : 1)
      return { ...closed, outcome, failedAttempts }
    }
    case 'mission.created':
    case 'mission.expired':
    case 'mission.step_started':
    case 'mission.step_finished':
      return {}
  }
}

function cleared(mission: Mission, fact: Fact, kind: Clearance['kind'], digest: string): Partial<Mission> {
  const { by, reason } = body<'mission.approved'>(fact)
  const clearance = { kind, by, at: fact.ts, digest, ...(reason === undefined ? {} : { reason }) }
  return { clearance, touches: mission.touches + 1, retryInMs: 0 }
}

function claimed(mission: Mission, fact: Fact): Partial<Mission> {
  const epoch = mission.epoch + 1
  const attempt = { epoch, started_at: fact.ts, ended_at: null, outcome: null }
  const kept = mission.attempts.length < ATTEMPTS_KEPT ? mission.attempts : mission.attempts.slice(1)
  return { epoch, attempts: [...kept, attempt], openMs: 0, retryInMs: 0 }
}

/** Ends the open attempt, and the steps it was at. */
function close(
  mission: Mission,
  fact: Fact,
  outcome: 'completed' | 'failed' | 'cut' | 'cancelled',
  durationMs: number,
  error?: MissionError,
): Partial<Mission> {
  const ended = { ended_at: fact.ts, outcome, ...(error === undefined ? {} : { error }) }
  const attempts = mission.attempts.map((attempt) =>
    attempt.epoch === mission.epoch ? { ...attempt, ...ended } : attempt,
  )
  const isLeft = (step: StepRecord): boolean => step.status === 'running' || step.id === error?.step
  const steps = mission.steps.some(isLeft)
    ? mission.steps.map((step) => (isLeft(step) ? left(step, fact, outcome, error) : step))
    : mission.steps
  return { attempts, steps, spentMs: mission.spentMs + durationMs, openMs: 0 }
}

function left(step: StepRecord, fact: Fact, outcome: string, error: MissionError | undefined): StepRecord {
  if (outcome === 'failed' && (error?.step === undefined || error.step === step.id)) {
    // Only for people to read: the wall clock may have jumped in between.
    const sinceMs = Math.max(0, Date.parse(fact.ts) - Date.parse(step.startedAt ?? fact.ts))
    const durationMs = step.status === 'running' ? sinceMs : (step.durationMs ?? sinceMs)
    return { ...step, status: 'failed', durationMs, ...(error ? { error } : {}) }
  }
  // Beside the one that failed, or when the attempt was cut: one that may be called twice is as if it never began.
  const isOpen = outcome === 'cancelled' || (outcome === 'failed' && !step.idempotent)
  return { ...step, status: isOpen ? 'unknown' : 'pending' }
}

function withSteps(
  mission: Mission,
  ids: readonly string[],
  status: StepRecord['status'],
): readonly StepRecord[] {
  return mission.steps.map((step) => (ids.includes(step.id) ? { ...step, status } : step))
}

function withStep(
  mission: Mission,
  id: string,
  change: (step: StepRecord) => StepRecord,
): readonly StepRecord[] {
  return mission.steps.map((step) => (step.id === id ? change(step) : step))
}

/** The trail with one entry more: the first stays, of the others the last ones. */
function told({ trail }: Mission, fact: Fact): Mission['trail'] {
  const entry = { at: fact.ts, seq: fact.seq, type: fact.type, say: sentenceOf(fact) }
  if (trail.length < TRAIL_KEPT) return [...trail, entry]
  return [...trail.slice(0, 1), ...trail.slice(2), entry]
}

function sentenceOf({ type, d, ep }: Fact): string {
  const error = d['error'] as MissionError | undefined
  const steps = d['step'] ?? (Array.isArray(d['steps']) ? d['steps'].join(', ') : undefined)
  const outcome = d['outcome'] ?? d['status'] ?? d['mode']
  const cause = error?.message ?? d['cause'] ?? d['reason']
  let say = type.slice('mission.'.length).replaceAll('_', ' ')
  if (ep !== undefined) say += `, attempt ${ep}`
  if (d['by'] !== undefined) say += `, by ${d['by']}`
  if (steps !== undefined) say += `, step ${steps}`
  if (outcome !== undefined) say += `, ${outcome}`
  if (cause !== undefined) say += `, ${cause}`
  return say.slice(0, SAY_LENGTH_MAX)
}

/** Bodies of `mission.*` facts are written by this room alone. */
function body<Type extends MissionFactType>(fact: Pick<FactDraft, 'd'>): MissionFacts[Type] {
  return fact.d as unknown as MissionFacts[Type]
}
