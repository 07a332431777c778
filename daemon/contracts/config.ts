const SECOND_MS = 1_000
const MINUTE_MS = 60 * SECOND_MS

interface NumberSetting {
  readonly kind: 'integer' | 'number'
  readonly default: number
  readonly min: number
  readonly max: number
  readonly why: string
}
interface TextSetting {
  readonly kind: 'text' | 'path'
  readonly default: string
  readonly why: string
  readonly choices?: readonly string[]
}
interface ListSetting {
  readonly kind: 'paths'
  readonly default: readonly string[]
  readonly why: string
}
/** Checked by a schema of its own in the configuration loader. */
interface TreeSetting {
  readonly kind: 'tree'
  readonly default: Readonly<Record<string, unknown>> | readonly unknown[]
  readonly why: string
}
export type Setting = NumberSetting | TextSetting | ListSetting | TreeSetting

/**
 * Every setting of the daemon. The key is its name everywhere: nested in `nexus.yaml`, dotted in `nexus config`, and as
 * `NEXUS_HTTP__PORT` in the environment. The unit is the last word of the name.
 */
export const SETTINGS = {
  'http.host': {
    kind: 'text',
    default: '127.0.0.1',
    why: 'nobody else on the network may command this daemon',
  },
  'http.port': {
    kind: 'integer',
    default: 8012,
    min: 0,
    max: 65_535,
    why: 'the port the specification names',
  },
  'metrics.host': {
    kind: 'text',
    default: '127.0.0.1',
    why: 'a scraper elsewhere is a decision, not a default',
  },
  'metrics.port': {
    kind: 'integer',
    default: 9090,
    min: 0,
    max: 65_535,
    why: 'the port the specification names',
  },
  'listen.hosts': {
    kind: 'tree',
    default: [],
    why: 'modules open ports on loopback; an address that others reach is the decision of the operator',
  },
  data_dir: { kind: 'path', default: 'data', why: 'beside the modules, as the specification has it' },
  modules_dirs: { kind: 'paths', default: ['modules'], why: 'where the specification has them' },
  allow_read: {
    kind: 'paths',
    default: [],
    why: 'modules read the working directory and what is named here',
  },
  tokens: { kind: 'tree', default: [], why: 'nobody but the local account and the operator key until named' },
  modules: { kind: 'tree', default: {}, why: 'a module runs as its manifest says until overridden' },
  'readiness.max_unhealthy_ratio': {
    kind: 'number',
    default: 0.2,
    min: 0,
    max: 1,
    why: "the specification's healing rule",
  },
  'missions.concurrency': {
    kind: 'integer',
    default: 16,
    min: 1,
    max: 1_024,
    why: 'four lanes of four keep two cores busy',
  },
  'missions.lanes.coin': {
    kind: 'integer',
    default: 4,
    min: 1,
    max: 1_024,
    why: 'no category starves another',
  },
  'missions.lanes.forge': {
    kind: 'integer',
    default: 4,
    min: 1,
    max: 1_024,
    why: 'no category starves another',
  },
  'missions.lanes.library': {
    kind: 'integer',
    default: 4,
    min: 1,
    max: 1_024,
    why: 'no category starves another',
  },
  'missions.lanes.sanctuary': {
    kind: 'integer',
    default: 4,
    min: 1,
    max: 1_024,
    why: 'no category starves another',
  },
  'missions.queue_max': {
    kind: 'integer',
    default: 10_000,
    min: 1,
    max: 1_000_000,
    why: 'a full backlog refuses; it never grows without end',
  },
  'missions.lane_queue_max': {
    kind: 'integer',
    default: 8_000,
    min: 1,
    max: 1_000_000,
    why: 'the flood of one category leaves a fifth of the queue to the others',
  },
  'missions.module_queue_max': {
    kind: 'integer',
    default: 8_000,
    min: 1,
    max: 1_000_000,
    why: 'what waits for one module leaves a fifth of the queue to the others',
  },
  'missions.rate_per_second': {
    kind: 'number',
    default: 20_000,
    min: 0.01,
    max: 1_000_000,
    why: 'several times what two cores take: a brake for those who share a daemon, not for one alone',
  },
  'missions.rate_burst': {
    kind: 'integer',
    default: 20_000,
    min: 1,
    max: 1_000_000,
    why: 'twenty whole batches at once, then a steady stream',
  },
  'missions.free_space_mb': {
    kind: 'integer',
    default: 64,
    min: 0,
    max: 1_000_000,
    why: 'what runs can still write how it ended, and its files; 0 keeps nothing back',
  },
  'missions.approval_days': {
    kind: 'number',
    default: 7,
    min: 0.001,
    max: 365,
    why: 'who has not answered in a week will not',
  },
  'missions.keep_days': {
    kind: 'integer',
    default: 365,
    min: 1,
    max: 36_500,
    why: 'what nobody asked for in a year is a matter for the archive; the task prune lets go of it',
  },
  'missions.keep_max': {
    kind: 'integer',
    default: 2_000_000,
    min: 1_000,
    max: 20_000_000,
    why: 'a million takes about 80 MB of memory and 2 GB of disk; the task prune lets go of the oldest',
  },
  'missions.weights': {
    kind: 'tree',
    default: {},
    why: "INSIGHT's weights unless the operator weighs otherwise",
  },
  'missions.prices': { kind: 'tree', default: {}, why: "INSIGHT's prices unless the operator knows better" },
  'journal.segment_mb': {
    kind: 'integer',
    default: 256,
    min: 1,
    max: 4_096,
    why: 'a sealed segment is copied and verified in seconds',
  },
  'journal.snapshot_every': {
    kind: 'integer',
    default: 100_000,
    min: 100,
    max: 10_000_000,
    why: 'replaying this many records takes about a second',
  },
  'journal.snapshot_mb': {
    kind: 'integer',
    default: 128,
    min: 1,
    max: 16_384,
    why: 'reading so much of the journal at a start takes about a second',
  },
  'journal.keep_days': {
    kind: 'integer',
    default: 90,
    min: 1,
    max: 36_500,
    why: "a quarter's records stay at hand; the task compact moves older ones away",
  },
  'journal.keep_mb': {
    kind: 'integer',
    default: 16_384,
    min: 1,
    max: 16_777_216,
    why: 'millions of missions; a journal beyond it would eat the disk of its daemon',
  },
  'journal.old_segments': {
    kind: 'text',
    default: 'archive',
    choices: ['archive', 'remove'],
    why: 'compressed they take a tenth of the room, and an auditor may still ask',
  },
  'watch.quiet_ms': {
    kind: 'integer',
    default: 100,
    min: 0,
    max: 10 * SECOND_MS,
    why: 'editors and git write in bursts',
  },
  'hosts.spares': {
    kind: 'integer',
    default: 1,
    min: 0,
    max: 3,
    why: 'a spare hides 50 ms of boot and costs 11 MB',
  },
  'hosts.starts_per_minute': {
    kind: 'integer',
    default: 20,
    min: 1,
    max: 10_000,
    why: 'crashing modules together may not eat the machine',
  },
  'shutdown.drain_ms': {
    kind: 'integer',
    default: 20 * SECOND_MS,
    min: 0,
    max: 60 * MINUTE_MS,
    why: "below Kubernetes' thirty seconds of grace",
  },
  'log.level': {
    kind: 'text',
    default: 'info',
    choices: ['debug', 'info', 'warn', 'error'],
    why: 'what the person on call wants to have read',
  },
} as const satisfies Record<string, Setting>

export type SettingName = keyof typeof SETTINGS

/** What `modules.<id>` of the configuration may override. */
export interface ModuleOverride {
  readonly enabled?: boolean
  readonly replicas?: number
  readonly config?: Readonly<Record<string, unknown>>
}

/** One entry of `tokens`: the secret itself is never in the configuration. */
export interface TokenEntry {
  readonly principal: string
  readonly roles: readonly string[]
  readonly sha256: string
}

/** The effective settings, typed; built by the configuration loader from `SETTINGS`. */
export interface Settings {
  readonly http: { readonly host: string; readonly port: number }
  readonly metrics: { readonly host: string; readonly port: number }
  /** Addresses off loopback that modules may open ports on. */
  readonly listen: { readonly hosts: readonly string[] }
  /** Absolute. */
  readonly data_dir: string
  /** Absolute. */
  readonly modules_dirs: readonly string[]
  /** Absolute; the working directory is added by the daemon. */
  readonly allow_read: readonly string[]
  readonly tokens: readonly TokenEntry[]
  readonly modules: Readonly<Record<string, ModuleOverride>>
  readonly readiness: { readonly max_unhealthy_ratio: number }
  readonly missions: {
    readonly concurrency: number
    readonly lanes: Readonly<Record<'coin' | 'forge' | 'library' | 'sanctuary', number>>
    /** How many may wait to run, and as many for approval: of all, of one lane, for one module. */
    readonly queue_max: number
    readonly lane_queue_max: number
    readonly module_queue_max: number
    /** Changes of missions by one principal. */
    readonly rate_per_second: number
    readonly rate_burst: number
    /** Below this, nothing new is taken. */
    readonly free_space_mb: number
    readonly approval_days: number
    readonly keep_days: number
    readonly keep_max: number
    readonly weights: Readonly<Record<string, number>>
    readonly prices: Readonly<Record<string, number>>
  }
  readonly journal: {
    readonly segment_mb: number
    readonly snapshot_every: number
    readonly snapshot_mb: number
    readonly keep_days: number
    readonly keep_mb: number
    readonly old_segments: 'archive' | 'remove'
  }
  readonly watch: { readonly quiet_ms: number }
  readonly hosts: { readonly spares: number; readonly starts_per_minute: number }
  readonly shutdown: { readonly drain_ms: number }
  readonly log: { readonly level: 'debug' | 'info' | 'warn' | 'error' }
}
