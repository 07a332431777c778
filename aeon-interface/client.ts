import type { CommandName } from '../daemon/contracts/command.ts'
import type {
  CriticalModules,
  DaemonStatus,
  Liveness,
  ModuleStatus,
  Readiness,
} from '../daemon/contracts/status.ts'
import { findSocket, probe, readToken } from './live.ts'
import { DaemonError, DaemonUnreachable, PermissionError, refusalFrom, refusalOf } from './refusal.ts'
import { exchange, type WireAnswer, WireFault } from './wire.ts'

/** A daemon in this very process, as these functions use it. Refusals are thrown as `NexusError`. */
export interface EmbeddedDaemon {
  status(moduleId?: string): Awaitable<DaemonStatus | ModuleStatus>
  liveness(): Awaitable<Liveness>
  readiness(): Awaitable<Readiness>
  critical(): Awaitable<CriticalModules>
  /** Resolves to the command's result. */
  command(name: string, params: Params): Awaitable<unknown>
}
type Awaitable<T> = T | Promise<T>
type Params = Readonly<Record<string, unknown>>

let embedded: EmbeddedDaemon | null = null

/** From now on every function here asks `daemon`, in this process; null goes back to the socket. */
export function initInterfaces(daemon: EmbeddedDaemon | null): void {
  embedded = daemon
}

/**
 * The state of the daemon, or of one module.
 *
 * @throws DaemonUnreachable when nothing listens, PermissionError, or a DaemonError such as `MODULE_UNKNOWN`.
 */
export function getStatus(): Promise<DaemonStatus>
export function getStatus(moduleId: string): Promise<ModuleStatus>
export function getStatus(moduleId?: string): Promise<DaemonStatus | ModuleStatus>
export async function getStatus(moduleId?: string): Promise<DaemonStatus | ModuleStatus> {
  if (embedded !== null) return inProcess(embedded.status.bind(embedded, moduleId))
  const answer = await ask(moduleId === undefined ? '/v1/status' : `/v1/status/${pathOf(moduleId)}`)
  return read(answer)
}

/** Whether the daemon's own loop turns. Never rejects. */
export async function checkLiveness(): Promise<Liveness> {
  return embedded === null ? probe('liveness') : embedded.liveness()
}

/** Whether the daemon can take work, and if not, why. Never rejects. */
export async function checkReadiness(): Promise<Readiness> {
  return embedded === null ? probe('readiness') : embedded.readiness()
}

/** Whether every module that is marked critical has a ready instance. Never rejects. */
export async function checkCriticalModules(): Promise<CriticalModules> {
  return embedded === null ? probe('critical') : embedded.critical()
}

/** What a command came to. */
export type CommandOutcome =
  | { readonly success: true; readonly result: unknown }
  | { readonly success: false; readonly error: string; readonly code: string; readonly remedy: string }

/**
 * Executes one command of the daemon. A refusal is an answer (`success: false`), with two exceptions.
 *
 * @throws DaemonUnreachable when nothing listens.
 * @throws PermissionError when the caller may not.
 */
export async function executeCommand(
  name: CommandName | (string & {}),
  params: Params = {},
): Promise<CommandOutcome> {
  try {
    return { success: true, result: await resultOf(name, params) }
  } catch (error) {
    if (!(error instanceof DaemonError) || error instanceof PermissionError) throw error
    const { message, code, remedy, details } = error
    return { ...details, success: false, error: message, code, remedy }
  }
}

/** Read-only status, as the specification's class of this name. */
export class StatusInterface {
  getStatus(): Promise<DaemonStatus> {
    return getStatus()
  }

  getModuleStatus(moduleId: string): Promise<ModuleStatus> {
    return getStatus(moduleId)
  }

  async getCapabilityLevel(): Promise<DaemonStatus['level']> {
    return (await getStatus()).level
  }

  async getFeatures(): Promise<DaemonStatus['features']> {
    return (await getStatus()).features
  }
}

/** The health checks, as the specification's class of this name. */
export class LivenessProbe {
  checkLiveness(): Promise<Liveness> {
    return checkLiveness()
  }

  checkReadiness(): Promise<Readiness> {
    return checkReadiness()
  }

  checkCriticalModules(): Promise<CriticalModules> {
    return checkCriticalModules()
  }
}

/** The commands, as the specification's class of this name. */
export class CommandInterface {
  executeCommand(name: CommandName | (string & {}), params: Params = {}): Promise<CommandOutcome> {
    return executeCommand(name, params)
  }
}

/** How a request differs from a plain GET to the default socket. */
export interface AskOptions {
  readonly socketPath?: string | undefined
  readonly method?: 'GET' | 'POST'
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
  readonly timeoutMs?: number | undefined
  readonly signal?: AbortSignal | undefined
  /** Called when a stream begins: from here on nothing is missed. */
  readonly onOpen?: () => void
}

/**
 * Any request to the daemon at the socket, with the local account's token.
 *
 * @param onChunk - Takes the body of a successful answer as it comes.
 * @returns The answer, whatever its status.
 * @throws DaemonUnreachable
 */
export async function ask(
  path: string,
  options: AskOptions = {},
  onChunk?: (chunk: Buffer) => void,
): Promise<WireAnswer> {
  const socketPath = findSocket(options.socketPath)
  const timeoutMs = options.timeoutMs ?? READ_MS
  try {
    return await exchange({ ...options, path, socketPath, timeoutMs, token: readToken(socketPath) }, onChunk)
  } catch (error) {
    if (error instanceof WireFault) throw new DaemonUnreachable(error)
    throw error
  }
}

/** The JSON of a good answer. @throws DaemonError, or PermissionError, for any other. */
export function read<T>(answer: WireAnswer): T {
  if (answer.status >= 300) throw refusalOf(answer)
  return JSON.parse(answer.body)
}

/** A module id as part of a path. What is no id stays one segment, so the daemon can say so. */
export function pathOf(moduleId: string): string {
  const [group = '', ...rest] = moduleId.split('/')
  return `${encodeURIComponent(group)}/${encodeURIComponent(rest.join('/'))}`
}

/** Everything that only reads is answered from memory; a daemon that needs longer is stuck. */
const READ_MS = 10_000
/** A start may take 30 s, draining 10, settling 3, and a queue stands before it. */
const COMMAND_MS = 120_000

/** @throws DaemonUnreachable, PermissionError, DaemonError. */
async function resultOf(name: string, params: Params): Promise<unknown> {
  if (embedded !== null) return inProcess(embedded.command.bind(embedded, name, params))
  const answer = await ask(`/v1/commands/${encodeURIComponent(name)}`, {
    method: 'POST',
    body: params,
    timeoutMs: COMMAND_MS + Number(params['timeout_ms'] ?? 0),
  })
  return read<{ result: unknown }>(answer).result
}

async function inProcess<T>(work: () => Awaitable<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw refusalFrom(error)
  }
}
