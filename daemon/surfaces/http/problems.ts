import { FAILURES, type FailureCode, NexusError } from '../../contracts/failure.ts'

/** An answer that says no. */
export interface Refused {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: object
}

export interface Asked {
  readonly requestId: string
  /** Without the query: it may hold what nobody should see again. */
  readonly path: string
}

/** What Fastify refuses by itself, in the daemon's words. */
const TRANSLATED: Readonly<Record<string, readonly [FailureCode, string]>> = {
  FST_ERR_CTP_INVALID_JSON_BODY: ['BAD_REQUEST', 'the body is no JSON, or has forbidden keys'],
  FST_ERR_CTP_EMPTY_JSON_BODY: ['BAD_REQUEST', 'the body is empty, where JSON was announced'],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: ['BAD_REQUEST', 'the body is not as long as its Content-Length says'],
  FST_ERR_BAD_URL: ['BAD_REQUEST', 'the path is not a valid one'],
  FST_ERR_INVALID_URL: ['BAD_REQUEST', 'the path is not a valid one'],
  FST_ERR_MAX_PARAM_LENGTH: ['BAD_REQUEST', 'a part of the path is too long'],
  FST_ERR_CTP_BODY_TOO_LARGE: ['BODY_TOO_LARGE', ''],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: ['MEDIA_TYPE_UNSUPPORTED', ''],
}

/**
 * Translates whatever was thrown to a failure of the table, once, at the door.
 *
 * What the table does not know is a mistake of the daemon: the caller learns a reference and nothing else.
 */
export function failureOf(cause: unknown, facts: { requestId: string; bodyBytesMax: number }): NexusError {
  if (cause instanceof NexusError) return cause
  const { code, statusCode } = (cause ?? {}) as { code?: string; statusCode?: number }
  const known = code === undefined ? undefined : TRANSLATED[code]
  if (known !== undefined) {
    return new NexusError(
      known[0],
      { detail: known[1], limit: facts.bodyBytesMax, given: 'another one' },
      { cause },
    )
  }
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) {
    return new NexusError('BAD_REQUEST', { detail: 'the request cannot be read' }, { cause })
  }
  return new NexusError('INTERNAL', { reference: facts.requestId }, { cause })
}

/** RFC 9457. */
export function problemOf(error: NexusError, asked: Asked): Refused {
  return {
    status: error.status,
    headers: { 'content-type': 'application/problem+json; charset=utf-8', ...hintsOf(error) },
    body: {
      type: `/problems/${error.code}`,
      title: titleOf(error.code),
      status: error.status,
      detail: error.message,
      code: error.code,
      remedy: error.remedy,
      instance: asked.path,
      request_id: asked.requestId,
      ...errorsOf(error),
    },
  }
}

/** The form of commands: the same at every HTTP status. */
export function commandFailureOf(error: NexusError, asked: Asked): Refused {
  return {
    status: error.status,
    headers: { 'content-type': 'application/json; charset=utf-8', ...hintsOf(error) },
    body: {
      success: false,
      error: error.message,
      code: error.code,
      remedy: error.remedy,
      request_id: asked.requestId,
      ...errorsOf(error),
      ...detailsOf(error),
    },
  }
}

/** What the caller of a failed start or reload needs to mend it: the phase it failed in, the reason, the stack. */
function detailsOf({ code, facts }: NexusError): object {
  if (code !== 'RELOAD_ROLLED_BACK' && code !== 'MODULE_START_FAILED') return {}
  const { phase, reason, stack = null } = facts
  return { details: { phase, reason, stack, rolled_back: code === 'RELOAD_ROLLED_BACK' } }
}

/** What `/problems/<code>` tells: the page behind every `type`. */
export function problemPage(code: string): object | undefined {
  if (!Object.hasOwn(FAILURES, code)) return undefined
  const { status, say, remedy } = FAILURES[code as FailureCode]
  return { code, title: titleOf(code), status, say, remedy }
}

/** `MISSION_BLOCKED` is `Mission blocked`: the same for every case of the type. */
function titleOf(code: string): string {
  const words = code.toLowerCase().replaceAll('_', ' ')
  return words.charAt(0).toUpperCase() + words.slice(1)
}

function hintsOf(error: NexusError): Record<string, string> {
  const seconds = error.retryAfterSeconds
  return {
    ...(seconds !== undefined && { 'retry-after': String(seconds) }),
    ...(error.status === 401 && { 'www-authenticate': 'Bearer realm="nexus"' }),
  }
}

function errorsOf(error: NexusError): object {
  return error.issues.length > 0 ? { errors: error.issues } : {}
}
