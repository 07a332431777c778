import { dirname, join } from 'node:path'
import { type AskOptions, ask, read } from '../../aeon-interface/client.ts'
import { type Clock, systemClock } from '../../daemon/kit/clock.ts'
import { StopStack } from '../../daemon/kit/stop-stack.ts'
import { parseDuration } from './arguments.ts'

/** The options that every command takes. */
export interface GlobalOptions {
  readonly socket?: string
  readonly dataDir?: string
  readonly json?: boolean
  readonly timeout?: string
  readonly keyFile?: string
  readonly keyStdin?: boolean
}

/** What a command works with: where the daemon is, how to speak to it, and how to speak to the caller. */
export interface Cli {
  readonly socketPath: string
  readonly dataDir: string
  /** Somebody named the data folder, so it is the one that is meant also when no daemon runs. */
  readonly dataDirNamed: boolean
  readonly json: boolean
  /** What the caller is willing to wait for one answer. */
  readonly timeoutMs: number | undefined
  readonly keyFile: string | undefined
  readonly keyStdin: boolean
  readonly clock: Clock
  /** Undone when the command ends, and when it is interrupted. */
  readonly stops: StopStack
  /** @throws DaemonUnreachable, DaemonError. */
  get<T>(path: string, options?: AskOptions): Promise<T>
  post<T>(path: string, body: unknown, options?: AskOptions): Promise<T>
  /** The result of a command of the daemon. */
  command<T>(name: string, params: Readonly<Record<string, unknown>>, timeoutMs?: number): Promise<T>
  print(text: string): void
  printJson(value: unknown): void
  /** For people, on standard error. */
  note(text: string): void
}

/** A start may take 30 s, draining 10, settling 3, and others may be waiting before it. */
const COMMAND_MS = 120_000

export function openCli(options: GlobalOptions, environment: NodeJS.ProcessEnv = process.env): Cli {
  const { socketPath, dataDir, dataDirNamed } = findPlaces(options, environment)
  const timeoutMs = options.timeout === undefined ? undefined : parseDuration(options.timeout)
  const post = async <T>(path: string, body: unknown, more: AskOptions = {}): Promise<T> =>
    read(await ask(path, { timeoutMs, ...more, socketPath, method: 'POST', body }))
  return {
    socketPath,
    dataDir,
    dataDirNamed,
    json: options.json === true,
    timeoutMs,
    keyFile: options.keyFile,
    keyStdin: options.keyStdin === true,
    clock: systemClock,
    stops: new StopStack(),
    get: async (path, more = {}) => read(await ask(path, { timeoutMs, ...more, socketPath })),
    post,
    command: async <T>(name: string, params: object, waitMs = COMMAND_MS): Promise<T> => {
      const options = { timeoutMs: timeoutMs ?? waitMs }
      return (await post<{ result: T }>(`/v1/commands/${name}`, params, options)).result
    },
    print: (text) => void process.stdout.write(text),
    printJson: (value) => void process.stdout.write(`${JSON.stringify(value, null, 2)}\n`),
    note: (text) => void process.stderr.write(`${text}\n`),
  }
}

/**
 * Where the daemon listens and where its data lies. Flags win over the environment, the nearer name over the wider.
 *
 * The socket lies in `run/` of the data folder, so that each tells the other.
 */
export function findPlaces(
  { socket, dataDir }: GlobalOptions,
  environment: NodeJS.ProcessEnv,
): Pick<Cli, 'socketPath' | 'dataDir' | 'dataDirNamed'> {
  const named = socket || (dataDir ? undefined : environment['NEXUS_SOCKET'])
  const folder = dataDir || (named ? dirname(dirname(named)) : environment['NEXUS_DATA_DIR'])
  return {
    socketPath: named || join(folder || 'data', 'run', 'nexus.sock'),
    dataDir: folder || 'data',
    dataDirNamed: Boolean(folder),
  }
}
