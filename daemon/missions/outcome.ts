import type { FailureCode, NexusError } from '../contracts/failure.ts'
import type { MissionError } from '../contracts/mission.ts'
import type { EndedBody } from './facts.ts'
import type { Mission } from './mission.ts'

/** Something that ended a step or an attempt badly, with what may be done about it. */
export interface Failure {
  readonly error: MissionError
  /** Trying again may help, and does nothing twice that must happen once. */
  readonly retry: boolean
}

/**
 * What an error of a call means, or `unknown` when nobody can say whether the action did its work.
 *
 * A thrown error is an answer: the action failed. An instance that died, or was stopped, gave none.
 */
export function judgeError(error: NexusError, step: string, idempotent: boolean): Failure | 'unknown' {
  const { code } = error
  // One that only waited for room has done nothing yet.
  const harmless = idempotent || neverBegan(error)
  if (!harmless && UNANSWERED.has(code)) return 'unknown'
  // Out of time: the action may have done its work all the same, so only an idempotent one is called again.
  const retry = !NEVER_HELPS.has(code) && (harmless || code !== 'CALL_EXPIRED')
  return failure(error, retry, step)
}

/** The call ended in the line of callers, before any instance heard of it. */
export function neverBegan({ facts }: NexusError): boolean {
  return facts['waited'] === 1
}

export function failure(error: NexusError, retry: boolean, step?: string): Failure {
  const message = error.message.slice(0, MESSAGE_LENGTH_MAX)
  return { error: { code: error.code, message, ...(step === undefined ? {} : { step }) }, retry }
}

/** The body of `mission.ended`. */
export function endedBody(mission: Mission, spentMs: number, error?: MissionError): EndedBody {
  const { order, steps } = mission
  const { category, fingerprint, tokens, plan_shape } = order
  const success = error === undefined
  const last = steps.at(-1)
  const result = last?.kept === undefined ? last?.output : { artifact: last.kept }
  return {
    status: success ? 'completed' : 'failed',
    category,
    decision: mission.decision,
    modules: mission.modules,
    fingerprint,
    tokens,
    plan_shape,
    success,
    first_pass: success && mission.failedAttempts === 0 && mission.touches === 0,
    duration_ms: Math.round(spentMs),
    steps: steps.filter(({ status }) => status === 'completed').length,
    cpu_seconds: mission.cpuMs / 1_000,
    operator_minutes: mission.touches * TOUCH_MINUTES,
    predicted: mission.validation.predicted,
    ...(error === undefined ? {} : { error_code: error.code, error_message: error.message }),
    ...(error?.step === undefined ? {} : { step: error.step }),
    ...(success && result !== undefined ? { result } : {}),
    ...(error === undefined ? {} : { error }),
  }
}

/** The call was made and nobody answered for it. */
const UNANSWERED: ReadonlySet<FailureCode> = new Set([
  'CALL_CUT',
  'CALL_ABORTED',
  'HOST_PROTOCOL',
  'INTERNAL',
])

/** The same call would be refused in the same way. */
const NEVER_HELPS: ReadonlySet<FailureCode> = new Set([
  'ACTION_INPUT_INVALID',
  'ACTION_UNKNOWN',
  'MODULE_UNKNOWN',
  'MODULE_INVALID',
  'STEP_INPUT_MISSING',
  'MAX_TIME_EXCEEDED',
  'MAX_STEPS_EXCEEDED',
  'RECORD_TOO_LARGE',
  'ARTIFACTS_EXCEEDED',
  'PERMISSION_DENIED',
  'INTERNAL',
])

/** What a record carries of an error; the log has all of it. */
const MESSAGE_LENGTH_MAX = 1_000
/** Nobody measures an operator: what one intervention takes until somebody does. */
const TOUCH_MINUTES = 2
