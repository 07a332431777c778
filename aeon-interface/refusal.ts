import { NexusError } from '../daemon/contracts/failure.ts'
import type { WireAnswer, WireFault } from './wire.ts'

/** The daemon said no, or failed: the code to branch on, the HTTP status, the sentence, and what to do. */
export class DaemonError extends Error {
  override readonly name: string = 'DaemonError'
  readonly code: string
  readonly status: number
  readonly remedy: string
  /** What else the daemon said, such as the phase and the stack of a reload that was rolled back. */
  readonly details: Readonly<Record<string, unknown>>

  constructor({ message, code, status, remedy, details = {} }: Refusal, options?: ErrorOptions) {
    super(message, options)
    this.code = code
    this.status = status
    this.remedy = remedy
    this.details = details
  }
}

/** Who asks lacks the permission. */
export class PermissionError extends DaemonError {
  override readonly name = 'PermissionError'
}

/** Nobody listens at the socket, or what listens does not answer. */
export class DaemonUnreachable extends Error {
  override readonly name = 'DaemonUnreachable'
  readonly code = 'DAEMON_UNREACHABLE'
  readonly status = 503
  readonly remedy: string
  /** A connection was made, but no whole answer came: a daemon is there and is stuck, or ended meanwhile. */
  readonly connected: boolean

  constructor(fault: WireFault) {
    super(fault.message, { cause: fault })
    this.connected = fault.how !== 'unreachable'
    this.remedy = this.connected
      ? 'see its log, and `live.js liveness` for whether its own loop turns'
      : new NexusError('DAEMON_UNREACHABLE', { where: fault.where }).remedy
  }
}

interface Refusal {
  readonly message: string
  readonly code: string
  readonly status: number
  readonly remedy: string
  readonly details?: Readonly<Record<string, unknown>>
}

/** The error that an answer of the daemon stands for, whether a command's envelope or a problem document. */
export function refusalOf(answer: WireAnswer): DaemonError {
  const { error, detail, title, code, remedy, success, status, type, instance, ...details } = parseObject(
    answer.body,
  )
  return refuse({
    message: text(error ?? detail ?? title ?? `the daemon answered ${answer.status}`),
    code: text(code ?? 'INTERNAL'),
    status: answer.status,
    remedy: text(remedy ?? ''),
    details,
  })
}

/** The same for a failure inside this process. Bugs pass through as they are. */
export function refusalFrom(error: unknown): unknown {
  if (!(error instanceof NexusError)) return error
  const { message, code, status, remedy, facts } = error
  return refuse({ message, code, status, remedy, details: facts }, { cause: error })
}

function refuse(refusal: Refusal, options?: ErrorOptions): DaemonError {
  if (refusal.code === 'PERMISSION_DENIED') return new PermissionError(refusal, options)
  return new DaemonError(refusal, options)
}

function parseObject(body: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(body)
    return typeof value === 'object' && value !== null ? { ...value } : {}
  } catch {
    return {}
  }
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}
