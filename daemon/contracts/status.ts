import type { Category, GenerationId, InstanceId, ModuleId } from './ids.ts'

export const MODULE_STATES = [
  'discovered',
  'invalid',
  'loaded',
  'waiting',
  'starting',
  'started',
  'reloading',
  'backoff',
  'crashloop',
  'stopping',
  'stopped',
  'failed',
  'locked',
] as const
export type ModuleState = (typeof MODULE_STATES)[number]

const INSTANCE_STATES = ['spawning', 'booting', 'ready', 'notready', 'draining', 'exiting', 'exited'] as const
export type InstanceState = (typeof INSTANCE_STATES)[number]

export type HealthStatus = 'healthy' | 'degraded' | 'unhealthy'

/** What `get_status` answers without a module; these keys exactly, more may follow. */
export interface DaemonStatus {
  readonly running: true
  readonly level: 'level-14.5-basic' | 'level-18-team' | 'level-20-enterprise' | 'level-22-compliance'
  readonly uptime_seconds: number
  /** The caller. */
  readonly security: { readonly principal: string; readonly roles: readonly string[] }
  readonly features: { readonly cluster: boolean; readonly tracing: boolean; readonly compliance: boolean }
  readonly modules: {
    readonly total_discovered: number
    readonly total_loaded: number
    readonly by_state: Readonly<Partial<Record<ModuleState, number>>>
  }
  readonly health: { readonly statistics: HealthStatistics }
  /** Event loops that turn without anything to do, now. */
  readonly busy_loops: readonly { readonly where: string; readonly since: string; readonly seen: string }[]
  readonly missions: MissionsBrief
}

/** What waits and runs now. */
export interface MissionsBrief {
  readonly queued: number
  readonly running: number
  readonly awaiting_approval: number
  /** How long the one waits that has waited longest for an operator; null when none does. */
  readonly oldest_approval_seconds: number | null
  /** Queued and due, by category. */
  readonly lanes: Readonly<Record<Category, number>>
}

export interface HealthStatistics {
  readonly total: number
  readonly healthy: number
  readonly degraded: number
  readonly unhealthy: number
}

/** What `get_status` answers for one module. */
export interface ModuleStatus {
  readonly module_id: ModuleId
  readonly description: string
  readonly state: ModuleState
  readonly desired: 'running' | 'stopped'
  /** RFC 3339. */
  readonly since: string
  readonly because: string
  readonly next_retry_at: string | null
  readonly health: { readonly status: HealthStatus; readonly reason: string | null }
  readonly generation: GenerationId | null
  readonly version: string | null
  readonly runtime: 'process' | 'shared' | 'exec'
  readonly critical: boolean
  /** Ports that the daemon keeps open for it. */
  readonly listen: readonly PortStatus[]
  readonly replicas: { readonly desired: number; readonly ready: number }
  readonly instances: readonly InstanceStatus[]
  readonly restarts: number
  readonly last_reload: ReloadResult | null
  readonly config: Readonly<Record<string, unknown>>
  readonly isolation: 'bwrap' | 'node-permission' | 'none'
  readonly omen: ModuleOmen
  readonly uptime_seconds: number
  readonly actions: readonly string[]
  readonly categories: readonly string[]
}

/** What repeated failures mean for a module now. */
export interface ModuleOmen {
  readonly level: 'ignore' | 'warn' | 'intervene' | 'lock'
  /** Which failure, and how often; null while nothing has been repeated. */
  readonly because: string | null
  /** Since when it stands at this level; RFC 3339. */
  readonly since: string | null
  /** Until then it is locked again at its seventh failure: it was unlocked less than a day before. */
  readonly probation_until: string | null
  /** Many modules fail at once: the cause is not this one, so what its omen asks for is not done. */
  readonly held: boolean
}

/** What is asked of every module at once, and often: by probes, and at each scrape. */
export type ModuleBrief = Pick<
  ModuleStatus,
  'module_id' | 'state' | 'because' | 'health' | 'critical' | 'replicas' | 'listen'
> & { readonly instances: readonly Pick<InstanceStatus, 'memory_bytes' | 'loop_lag_ms'>[] }

/** One TCP port that the daemon owns and forwards to instances of a module. */
export interface PortStatus {
  readonly name: string
  readonly host: string
  readonly port: number
  /** Connections that are forwarded now. */
  readonly open: number
  /** Connections that wait for an instance. */
  readonly waiting: number
  /** Connections since the daemon started. */
  readonly accepted: number
  /** Of them, those that found no instance in time, or no room to wait. */
  readonly refused: number
}

export interface InstanceStatus {
  readonly instance: InstanceId
  readonly pid: number
  readonly state: InstanceState
  readonly generation: GenerationId
  readonly since: string
  readonly memory_bytes: number
  readonly cpu_percent: number
  readonly loop_lag_ms: number
  /** Event loop utilisation of its process, 0..1. */
  readonly elu: number
  /** So long its process has turned without a rest and without being asked for anything. */
  readonly restless_ms: number
  readonly calls: number
  readonly in_flight: number
}

/** The answer of `reload_module` with `dry_run`: what would happen now. Nothing has been changed. */
export interface ReloadPlan {
  readonly module_id: ModuleId
  readonly dry_run: true
  /** What would really be done: modules that are `exclusive` are stopped and started whatever was asked for. */
  readonly strategy: string
  readonly generation: GenerationId
  readonly previous_generation: GenerationId | null
  readonly content_changed: boolean
  /** Sentences, in order; none when it would be refused. */
  readonly would: readonly string[]
  /** Why it would be refused. */
  readonly refused?: string
}

/** The answer of `reload_module` and `rollback_module`. `strategy` is what was really done; `none` when nothing was. */
export interface ReloadResult {
  readonly module_id: ModuleId
  readonly reloaded: boolean
  readonly strategy: string
  readonly generation: GenerationId | null
  readonly previous_generation: GenerationId | null
  readonly rolled_back: boolean
  readonly duration_ms: number
  readonly downtime_ms: number
  /** Why it was rolled back, or not done. */
  readonly phase?: string
  readonly reason?: string
  readonly stack?: string
}

export interface Liveness {
  readonly live: boolean
  /** Seconds since 1970. */
  readonly timestamp: number
  readonly daemon_running: boolean
}

export interface Readiness {
  readonly ready: boolean
  readonly timestamp: number
  readonly details: {
    readonly total_modules: number
    readonly healthy_modules: number
    readonly unhealthy_modules: number
    readonly health_ratio: number
  }
  readonly reasons: readonly string[]
}

export interface CriticalModules {
  readonly critical: boolean
  readonly timestamp: number
  readonly modules: readonly {
    readonly module_id: ModuleId
    readonly state: ModuleState
    readonly healthy: boolean
  }[]
}

/** The answer of `explain`. */
export interface Explanation {
  readonly state: string
  readonly since: string
  readonly because: readonly {
    readonly at: string
    readonly seq: number
    readonly type: string
    readonly say: string
    /** The stack, where the fact has one. */
    readonly detail?: string
  }[]
  readonly blocked_on: string | null
  readonly next: string | null
  readonly remedy: string | null
}
