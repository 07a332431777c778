import { DaemonError, DaemonUnreachable } from '../../aeon-interface/refusal.ts'
import { WireFault } from '../../aeon-interface/wire.ts'
import { NexusError } from '../../daemon/contracts/failure.ts'

/** The exit codes of `nexus`. Scripts branch on them, so a number never changes its meaning. */
export const EXIT = {
  ok: 0,
  /** It failed, or the answer is no. */
  failed: 1,
  usage: 2,
  /** No daemon runs there. */
  unreachable: 3,
  /** No such module, mission, action or artifact. */
  unknown: 4,
  /** Not permitted, or an operator must approve first. */
  denied: 5,
  /** It stands in the way of what is now: another state, a lock. */
  conflict: 6,
  timeout: 124,
  interrupted: 130,
} as const

export type ExitName = keyof typeof EXIT

/** What the command line itself finds wrong. */
export class CliError extends Error {
  override readonly name = 'CliError'
  readonly exit: ExitName
  readonly remedy: string

  constructor(exit: ExitName, message: string, remedy = '', options?: ErrorOptions) {
    super(message, options)
    this.exit = exit
    this.remedy = remedy
  }
}

/** The exit code for whatever a command threw. */
export function exitFor(error: unknown): number {
  return EXIT[nameFor(error)]
}

/** What is said about it on standard error: a sentence, and what to do. Bugs show where they are. */
export function tell(error: unknown): string {
  if (!isExpected(error)) return error instanceof Error ? (error.stack ?? error.message) : String(error)
  const remedy = error.remedy === '' ? '' : `\n  ${error.remedy}`
  return `nexus: ${error.message}${remedy}`
}

/** The same for programs. */
export function tellJson(error: unknown): { error: string; code: unknown; remedy: string } {
  const message = error instanceof Error ? error.message : String(error)
  const code = error instanceof Error && 'code' in error ? error.code : 'CLI'
  const details = error instanceof DaemonError ? error.details : {}
  return { ...details, error: message, code, remedy: isExpected(error) ? error.remedy : '' }
}

/** Statuses of HTTP and what they mean here; any other is a failure. */
const BY_STATUS: Readonly<Record<number, ExitName>> = {
  400: 'usage',
  401: 'denied',
  403: 'denied',
  404: 'unknown',
  409: 'conflict',
  423: 'conflict',
  504: 'timeout',
}

/** Where the status alone would mislead: it was tried and failed; nothing stood in its way. */
const BY_CODE: Readonly<Record<string, ExitName>> = {
  RELOAD_ROLLED_BACK: 'failed',
  MODULE_START_FAILED: 'failed',
  CALL_ABORTED: 'failed',
  ROUTE_UNKNOWN: 'failed',
  COMMAND_UNKNOWN: 'failed',
}

function nameFor(error: unknown): ExitName {
  if (error instanceof CliError) return error.exit
  if (error instanceof DaemonUnreachable) {
    return error.cause instanceof WireFault && error.cause.how === 'silent' ? 'timeout' : 'unreachable'
  }
  if (error instanceof DaemonError) return BY_CODE[error.code] ?? BY_STATUS[error.status] ?? 'failed'
  if (error instanceof NexusError && error.code === 'CONFIG_INVALID') return 'usage'
  return 'failed'
}

function isExpected(error: unknown): error is Error & { readonly remedy: string } {
  return (
    error instanceof CliError ||
    error instanceof DaemonError ||
    error instanceof DaemonUnreachable ||
    error instanceof NexusError
  )
}
