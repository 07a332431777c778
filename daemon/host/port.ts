import type { Manifest } from '../contracts/manifest.ts'
import type {
  ArtifactRef,
  ConfigChange,
  ConfigureAnswer,
  HealthAnswer,
  MissionContext,
  RecordPaths,
} from '../contracts/module.ts'
import type { HeartbeatParams, MetricsParams } from '../contracts/wire.ts'
import type { Restless } from './figures.ts'
import type { OutputLine } from './output.ts'

/**
 * Where module code runs. The supervisor knows only this file: the host process and the in-memory host of the tests
 * are adapters of one port.
 */
export interface HostPool {
  /**
   * Gives an instance a host (a spare where one of its profile waits) and imports the generation's entry.
   *
   * The instance is up but has not started: call `start` next. Nothing is left running when this rejects.
   *
   * @throws NexusError `MODULE_START_FAILED` with `phase` `spawn`, `import` (what the code threw; `facts.stack`) or
   *   `deadline` (after `timeouts.start_ms`).
   */
  spawn(order: SpawnOrder): Promise<Instance>
  /** Boots a spare for the order's profile ahead of need, within the limit; never rejects. */
  prepare(order: SpawnProfile): void
  /** Which wall really stands between modules of the usual kind and the machine. */
  readonly isolation: Isolation
  /** Ends spares; instances are halted by their owner before. */
  close(): Promise<void>
}

export type Isolation = 'bwrap' | 'node-permission' | 'none'

/** What is fixed when a host process starts: hosts of equal profiles are interchangeable. */
export interface SpawnProfile {
  readonly moduleId: string
  readonly runtime: Manifest['runtime']
  /** Behind bubblewrap, or not at all. */
  readonly sandbox: boolean
  readonly permissions: Manifest['permissions']
  readonly limits: Manifest['limits']
  /** `$DATA`: absolute, real. */
  readonly dataDir: string
  /** `$ROOTS`: absolute, real. */
  readonly roots: readonly string[]
  /** `$RECORDS`. */
  readonly records: RecordPaths
}

export interface SpawnOrder extends SpawnProfile {
  readonly instance: string
  readonly generation: string
  /** Real path of the generation. */
  readonly dir: string
  /** Real path of the generation's entry file; empty for `exec`. */
  readonly entry: string
  /** The program of an `exec` module and its arguments. */
  readonly command: readonly string[]
  /** Names of the actions its manifest lists. */
  readonly actions: readonly string[]
  /** Unix sockets it is to listen on, by the names of `listen`. */
  readonly listen: Readonly<Record<string, string>>
  readonly config: Readonly<Record<string, unknown>>
  readonly timeouts: Manifest['timeouts']
  readonly inherited?: unknown
  readonly listener: InstanceListener
}

/** What an instance says of its own accord. Called in order; must not throw. */
export interface InstanceListener {
  log(line: OutputLine): void
  metrics(params: MetricsParams): void
  /** It said `notReady`, or took it back. */
  notReady(reason: string, retryInMs: number | undefined): void
  ready(): void
  /** No heartbeat for `missingMs` (the daemon's own lag subtracted). The host is killed later if it stays away. */
  suspect(missingMs: number): void
  recovered(): void
  /** It asks for a daemon command; the answer or the `NexusError` goes back to it. */
  command(name: string, params: Readonly<Record<string, unknown>>): Promise<unknown>
}

/** A running generation. Its owner must call `halt`, also after `gone` settled. */
export interface Instance {
  readonly id: string
  readonly generation: string
  readonly pid: number
  /** The wall this one really stands behind. */
  readonly isolation: Isolation
  /** Names of the actions that the code exports. */
  readonly actions: readonly string[]
  readonly has: { readonly health: boolean; readonly configure: boolean; readonly snapshot: boolean }
  readonly stats: InstanceStats
  /** Runs the module's `start`. @throws NexusError `MODULE_START_FAILED`, phase `start` or `deadline`. */
  start(): Promise<void>
  /**
   * Calls one action. The signal aborts it: the module's own signal fires, and the call rejects `CALL_ABORTED` after
   * a grace of one second at most; the host lives on. After `timeoutMs` it rejects `CALL_EXPIRED` likewise.
   *
   * @throws NexusError `ACTION_FAILED` (it threw), `CALL_CUT` (the instance ended), `CALL_EXPIRED`, `CALL_ABORTED`.
   */
  call(order: CallOrder): Promise<CallAnswer>
  /** @throws NexusError when it throws, or is silent for `timeoutMs`. */
  health(timeoutMs: number): Promise<HealthAnswer>
  configure(change: ConfigChange, timeoutMs: number): Promise<ConfigureAnswer>
  snapshot(timeoutMs: number): Promise<unknown>
  /** Asks it to stop, waits `stopMs`, then TERM, then KILL of the whole process group. Never rejects; safe to call twice. */
  halt(stopMs: number): Promise<void>
  /** KILL at once. */
  kill(because: string): void
  /** Settles exactly once, when the process is no longer there, whoever caused it. */
  readonly gone: Promise<Departure>
}

export interface CallAnswer {
  readonly output: unknown
  /** CPU time of the whole instance while the call ran, measured by itself; calls beside it count too. */
  readonly cpuMs: number
}

export interface CallOrder {
  readonly action: string
  readonly input: unknown
  readonly timeoutMs: number
  readonly signal?: AbortSignal
  readonly mission?: MissionContext
  progress?(fraction: number, note: string | undefined): void
  artifact(name: string, mediaType: string, bytes: Uint8Array): Promise<ArtifactRef>
}

export interface InstanceStats {
  /** The last heartbeat, if one came yet; of a program that sends none, what the system says of it. */
  readonly heartbeat: HeartbeatParams | undefined
  /** Of one processor, between the last two heartbeats; 0 until there are two. */
  readonly cpuPercent: number
  /** Its process has not rested for a while; all that share it say the same. */
  readonly restless: Restless | undefined
  readonly calls: number
  readonly inFlight: number
}

export type Departure =
  | { readonly how: 'halted' }
  /** `said` is the last that it wrote about its end, `stack` all of that. */
  | {
      readonly how: 'exited'
      readonly exitCode: number | null
      readonly signal: string | null
      readonly said?: string
      readonly stack?: string
    }
  /** `blockedAt` (`function (file:line:column)`) and `stack` when the blocked code could be seen. */
  | { readonly how: 'hung'; readonly missingMs: number; readonly blockedAt?: string; readonly stack?: string }
  /** Its shared host ended; by the fault of `culprit`, an instance beside it, when that could be told. */
  | { readonly how: 'displaced'; readonly culprit: string | undefined; readonly reason: string }
  | { readonly how: 'killed'; readonly because: string }
