/**
 * What the daemon and a host say to each other: newline-delimited JSON-RPC 2.0 on descriptor 3.
 *
 * A line has at most `LINE_BYTES_MAX` bytes. A violation kills the host, never the daemon. A program in any language
 * can speak this. The daemon asks; a host asks only `command` and `artifact`; everything else it says is a
 * notification.
 *
 * In a host that several modules share (`seat` in `initialize`), `params` of every request and notification name the
 * `instance` they are for or from, beside what is written here. `hello` and `heartbeat` are the host's own and name
 * none; neither does a `log` of which nobody knows whose it is. `progress` and `$/cancel` go by the id of a request.
 */
export const LINE_BYTES_MAX = 1_048_576

/** Largest artifact: its base64 and the frame around it stay below a line. */
export const ARTIFACT_BYTES_MAX = 655_360

/**
 * Below the folder of generations, like it `<group>/<name>/<generation>/…`: the daemon keeps JavaScript made of a
 * generation's TypeScript here, and hosts read it in place of the source.
 */
export const STRIPPED_FOLDER = '.stripped'

/** `hello`, host → daemon, once after boot: the host is a spare now. */
export interface HelloParams {
  readonly pid: number
  readonly node: string
}

/** `initialize`, daemon → host: makes a spare the host of one instance, imports the entry. Answers `InitializeAnswer`. */
export interface InitializeParams {
  readonly module_id: string
  readonly instance: string
  readonly generation: string
  /** Real path of the entry file. */
  readonly entry: string
  readonly config: unknown
  readonly data_dir: string
  readonly roots: readonly string[]
  readonly records?: object
  readonly inherited?: unknown
  /** Unix sockets to listen on, by the names of `listen`. */
  readonly listen: Readonly<Record<string, string>>
  readonly commands: readonly string[]
  /** So often the host says that its event loop turns. */
  readonly heartbeat_ms: number
  /**
   * Present when other instances may live in this host: its number among them. `initialize` may then come again, with
   * another instance; after its `stop` is answered an instance is no more, and the host lives on.
   */
  readonly seat?: number
}

export interface InitializeAnswer {
  /** Names of the actions the code exports. */
  readonly actions: readonly string[]
  readonly has: { readonly health: boolean; readonly configure: boolean; readonly snapshot: boolean }
}

/** `action`, daemon → host. Answers `{output, cpu_ms}` (CPU time of the process meanwhile). `$/cancel` with `{id}` aborts its signal. */
export interface ActionParams {
  readonly name: string
  readonly input: unknown
  readonly timeout_ms: number
  readonly mission?: { mission_id: string; epoch: number; step: string; idempotency_token: string }
}

/**
 * `heartbeat`, host → daemon, from the instance's own event loop. Without params it says only that the loop turns, so
 * most of them are the same few bytes; the figures come with one of every few.
 */
export interface HeartbeatParams {
  readonly rss_bytes: number
  readonly cpu_ms: number
  readonly loop_lag_ms: number
  /** Event loop utilisation since the last figures, 0..1. */
  readonly elu: number
  /**
   * Nothing goes on in this process: the next heartbeat comes when something does, before any code of a module runs,
   * and within this time in any case. A request ends the rest.
   */
  readonly rests_ms?: number
}

/** `log`, host → daemon. */
export interface LogParams {
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  readonly message: string
  readonly fields?: object
  /** It was written there, by one of several modules in the host. */
  readonly stream?: 'stdout' | 'stderr'
}

/** `progress`, host → daemon: `id` is that of the action call. */
export interface ProgressParams {
  readonly id: number
  readonly fraction: number
  readonly note?: string
}

/** `notready` and `ready`, host → daemon. */
export interface NotReadyParams {
  readonly reason: string
  readonly retry_in_ms?: number
}

/** `metrics`, host → daemon, at most once a second: what changed since. */
export interface MetricsParams {
  readonly samples: readonly {
    readonly kind: 'counter' | 'gauge' | 'histogram'
    readonly name: string
    readonly help: string
    /** Added to a counter, set on a gauge, observed by a histogram. */
    readonly values: readonly number[]
  }[]
}

/** `artifact`, host → daemon, a request. Answers an `ArtifactRef`. */
export interface ArtifactParams {
  /** Id of the action call that produced it. */
  readonly call: number
  readonly name: string
  readonly media_type: string
  readonly base64: string
}

/** `command`, host → daemon, a request. Answers the command's result. */
export interface CommandParams {
  readonly name: string
  readonly params: Readonly<Record<string, unknown>>
}

/** `error.code` of JSON-RPC answers, beyond the standard ones (-32700, -32600, -32601, -32602, -32603). */
export const RPC_CODES = {
  /** The module's code threw. `data` is `ThrownData`. */
  threw: -32000,
  /** The entry is missing, does not parse, or exports no module: nothing changes until the code does. */
  unloadable: -32001,
  /** Aborted by `$/cancel`, deadline or stop. */
  aborted: -32002,
  /** Not among `permissions.commands`, or refused by the gate. `data` is `{code, remedy}`. */
  refused: -32003,
} as const

export interface ThrownData {
  readonly name: string
  readonly message: string
  readonly stack: string
  /** `ConfigError`: the code is well, its settings are not. */
  readonly config_error: boolean
}
