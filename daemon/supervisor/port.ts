import type { ModuleCatalog } from '../catalog/port.ts'
import type { ModuleOverride } from '../contracts/config.ts'
import type { Actor, Fact, FactDraft } from '../contracts/fact.ts'
import type { Manifest } from '../contracts/manifest.ts'
import type { ArtifactRef, MissionContext, RecordPaths } from '../contracts/module.ts'
import type { ModuleOmen } from '../contracts/status.ts'
import type { LogParams, MetricsParams } from '../contracts/wire.ts'
import type { HostPool, Instance } from '../host/port.ts'
import type { Chance } from '../kit/chance.ts'
import type { Clock } from '../kit/clock.ts'
import type { PortKeeper } from '../listen/port.ts'

/** Everything the supervisor stands on, handed in once. */
export interface SupervisorEnvironment {
  readonly catalog: ModuleCatalog
  readonly hosts: HostPool
  readonly ports: PortKeeper
  readonly clock: Clock
  readonly chance: Chance
  /** Resolves once the fact is on stable storage and folded. */
  append(draft: FactDraft): Promise<Fact>
  /** Keeps bytes for ever, by content. */
  keep(bytes: Uint8Array): Promise<{ readonly sha256: string; readonly bytes: number }>
  /** A module asks for a daemon command. */
  command(moduleId: string, name: string, params: Readonly<Record<string, unknown>>): Promise<unknown>
  /** What an instance said. */
  said(
    moduleId: string,
    instance: string,
    line: LogParams & { readonly stream?: 'stdout' | 'stderr'; readonly dropped?: number },
  ): void
  measured(moduleId: string, params: MetricsParams): void
  /** A unit is no longer what it was: state, replicas or settings. */
  changed(subject: UnitView): void
  log(level: 'debug' | 'info' | 'warn' | 'error', message: string, fields?: object): void
  /** What omens say of a module; nothing, where nobody looks for them. */
  omenOver?(moduleId: string): ModuleOmen
  /** A bug in the supervisor itself: the daemon must not limp on. */
  onBug(error: unknown): void
  /** `modules` of the configuration. */
  readonly overrides: Readonly<Record<string, ModuleOverride>>
  /** Why modules that should run are not started unless somebody asks for it; undefined when they are. */
  readonly restsBecause?: string
  /** `$ROOTS`: what the operator lets modules read, absolute and real. */
  readonly roots: readonly string[]
  readonly records: RecordPaths
  /** Where a module's `$DATA` is. */
  dataDirOf(moduleId: string): string
  /** Makes it when it is missing; returns its real path. */
  makeDataDir(moduleId: string): Promise<string>
  readonly startsPerMinute: number
}

/** A unit as its watchers see it. */
interface UnitView {
  readonly id: string
  readonly manifest: Manifest | undefined
  readonly serving: { readonly ready: readonly { readonly instance: Instance | undefined }[] } | undefined
}

export interface ActionCall {
  readonly moduleId: string
  readonly action: string
  readonly input: unknown
  /** Waiting included; the action's own `timeout_ms` when absent. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
  readonly mission?: MissionContext
  /** Kill the instance when the action ignores its abort signal for the grace. */
  readonly killWhenStuck?: boolean
  /** What it may keep as files; the caller's own limit. */
  readonly artifactsMax?: { readonly count: number; readonly bytes: number }
  progress?(fraction: number, note: string | undefined): void
}

export interface ActionAnswer {
  readonly output: unknown
  readonly artifacts: readonly ArtifactRef[]
  readonly instance: string
  readonly generation: string
  readonly durationMs: number
  readonly cpuMs: number
}

/** What others may know of a module before they call it. */
export interface ModuleOutlook {
  /** It is on disk with a valid manifest. */
  readonly known: boolean
  readonly locked: boolean
  /** So many missions may use it at once; as many as lanes and actions allow when absent. */
  readonly missionsMax?: number
  /** A call would be taken, at once or after a wait. */
  readonly callable: boolean
  /** How many instances take calls now. */
  readonly instances: number
  readonly generation: string | undefined
}

export interface ReloadOrder {
  readonly strategy?: 'graceful' | 'rolling' | 'canary' | 'immediate'
  /** A kept generation, by its hash or the beginning of it; the folder's content when absent. */
  readonly generation?: string
  /** A saved file: the same content is no reason to reload. */
  readonly onlyIfChanged: boolean
  /** The named generation is to stay: what the folder holds instead is not brought up by itself. */
  readonly abandons?: boolean
  /** What is configured, instead of what is remembered: settings that are tried out. */
  readonly configured?: Readonly<Record<string, unknown>>
  /** Told when calls go to the next code, whatever comes of it later. */
  switched?(): void
  readonly actor: Actor
}
