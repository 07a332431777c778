/**
 * What a module author writes against: types only, erased at run time.
 *
 * ```ts
 * import type { NexusModule } from 'aeon-nexus/module'
 * export default { async start(ctx) { … }, actions: { … } } satisfies NexusModule
 * ```
 */
export interface NexusModule {
  /** Resolve when ready; a throw is a failed start, `ctx.notReady` is not a crash. Bounded by `timeouts.start_ms`. */
  start?(ctx: ModuleContext): Promise<void> | void
  /** Called after the calls in flight have drained. Bounded by `timeouts.stop_ms`. */
  stop?(ctx: ModuleContext): Promise<void> | void
  health?(ctx: ModuleContext): Promise<HealthAnswer> | HealthAnswer
  /** Takes a changed setting while running, or asks for a reload. Without it every change is a reload. */
  configure?(ctx: ModuleContext, change: ConfigChange): Promise<ConfigureAnswer> | ConfigureAnswer
  /** State for the next generation, which finds it in `ctx.inherited`. JSON, at most 256 KiB. */
  snapshot?(ctx: ModuleContext): Promise<unknown> | unknown
  actions?: Readonly<Record<string, Action>>
}

// biome-ignore lint/suspicious/noExplicitAny: the manifest's schema has checked the input; its type is the author's.
export type Action = (input: any, ctx: ActionContext) => Promise<unknown> | unknown

export interface HealthAnswer {
  readonly status: 'healthy' | 'degraded' | 'unhealthy'
  readonly reason?: string
}

export interface ConfigChange {
  /** Dotted. */
  readonly key: string
  readonly value: unknown
  readonly previous: unknown
  /** The whole configuration as it would be. */
  readonly config: Readonly<Record<string, unknown>>
}

export type ConfigureAnswer = 'applied' | 'needs-reload'

export interface ModuleContext {
  readonly id: string
  readonly instance: string
  readonly generation: string
  // biome-ignore lint/suspicious/noExplicitAny: the manifest's schema has checked it; its type is the author's.
  readonly config: any
  readonly log: ModuleLog
  /** Aborts when the instance stops; inside an action also at its deadline or when its mission is cancelled. */
  readonly signal: AbortSignal
  /** What the former generation's `snapshot` returned, if it did. */
  readonly inherited?: unknown
  /** Its own folder; writable when `permissions.fs_write` lists `$DATA`. */
  readonly dataDir: string
  /** The folders the operator lets modules read; empty unless `permissions.fs_read` lists `$ROOTS`. */
  readonly roots: readonly string[]
  /** Where the daemon's own records lie; absent unless `permissions.fs_read` lists `$RECORDS`. */
  readonly records?: RecordPaths
  /** Path of the Unix socket to listen on for the port of this name in the manifest's `listen`. */
  listen(name: string): string
  /** Says why it cannot work yet and when to look again; the instance stays up and takes no calls meanwhile. */
  notReady(reason: string, retryInMs?: number): void
  /** Takes back `notReady`. */
  ready(): void
  readonly metrics: ModuleMetrics
  readonly nexus: {
    /** Runs a daemon command as `module:<id>`; only those that `permissions.commands` lists. */
    command(name: string, params?: Readonly<Record<string, unknown>>): Promise<unknown>
  }
}

export interface ActionContext extends ModuleContext {
  /** Present when the action runs as a step of a mission. */
  readonly mission?: MissionContext
  /** `fraction` 0..1. */
  progress(fraction: number, note?: string): void
  /**
   * Keeps a file that the action produced, under `name`, with the mission or the call. At most 640 KiB each.
   *
   * @returns Its content hash and size once it is on stable storage.
   */
  artifact(name: string, content: string | Uint8Array, mediaType?: string): Promise<ArtifactRef>
}

export interface MissionContext {
  readonly mission_id: string
  readonly epoch: number
  readonly step: string
  /** The same for every repetition of this step: hand it to whatever must not act twice. */
  readonly idempotency_token: string
}

export interface ArtifactRef {
  readonly name: string
  readonly sha256: string
  readonly bytes: number
  readonly media_type: string
}

export interface RecordPaths {
  readonly missions: string
  /** The folder of the older files of missions, sealed ones named by their number. */
  readonly mission_segments: string
  readonly journal: string
  readonly segments: string
  readonly telemetry: string
  readonly runtime_metrics: string
  readonly generations: string
  readonly artifacts: string
  readonly quarantine: string
}

export interface ModuleLog {
  debug(message: string, fields?: object): void
  info(message: string, fields?: object): void
  warn(message: string, fields?: object): void
  error(message: string, fields?: object): void
}

/** Names become `nexus_module_custom_<name>`; each instrument may be asked for again by name. */
export interface ModuleMetrics {
  counter(name: string, help: string): { inc(by?: number): void }
  gauge(name: string, help: string): { set(value: number): void }
  histogram(name: string, help: string): { observe(value: number): void }
}
