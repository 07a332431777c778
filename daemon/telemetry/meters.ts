import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { Fact } from '../contracts/fact.ts'
import type { ModuleBrief, PortStatus } from '../contracts/status.ts'
import type { MetricsParams } from '../contracts/wire.ts'
import { CustomMeters } from './custom-meters.ts'
import { FACT_METERS } from './fact-meters.ts'
import { watchLoopLag } from './loop-lag.ts'

/** What gauges show, read at the moment of a scrape. Each must be quick and must not throw. */
export interface MeterSources {
  readonly version: string
  modules(): readonly ModuleBrief[]
  /** The ports that the daemon keeps for modules. */
  ports(): readonly (PortStatus & { readonly module: string })[]
  /** Missions waiting, by lane. */
  queueDepth(): Readonly<Record<string, number>>
  approvalsPending(): number
  /** How long the one waits that has waited longest for an operator; 0 when none does. */
  approvalsOldestSeconds(): number
  /** Answers and writes of attempts that were over. */
  staleWrites(): number
  /** Omens that stand, by level. */
  omens(): Readonly<Record<string, number>>
  /** Mean Brier score of what was predicted and came to an end, by kind. */
  briers(): Readonly<Record<string, number>>
  publishedKeyActive(): boolean
}

/** prom-client would wake the process a hundred times a second to measure what `nexus_event_loop_lag_seconds` tells. */
const NEVER_MS = 2 ** 30
const UNMEASURED = ['min', 'max', 'mean', 'stddev', 'p50', 'p90', 'p99'].map(
  (part) => `nodejs_eventloop_lag_${part}_seconds`,
)
/** prom-client's own names that `promtool check metrics` refuses: gauges that end in `_total`. */
const OFFENDERS = [
  'nodejs_active_handles_total',
  'nodejs_active_requests_total',
  'nodejs_active_resources_total',
]

const SHORT_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]
const LONG_SECONDS = [0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 1_800, 7_200]

/** Everything that is counted, and its Prometheus text. Labels come from fixed sets, never from goals or ids of missions. */
export class Meters {
  readonly #registry = new Registry()
  #modules: readonly ModuleBrief[] | undefined
  #answers = 0
  readonly #custom = new CustomMeters(this.#registry)
  readonly #counters: ReturnType<typeof makeCounters>
  readonly #histograms: ReturnType<typeof makeHistograms>

  constructor(sources: MeterSources) {
    collectDefaultMetrics({ register: this.#registry, eventLoopMonitoringPrecision: NEVER_MS })
    for (const name of [...OFFENDERS, ...UNMEASURED]) this.#registry.removeSingleMetric(name)
    this.#counters = makeCounters(this.#registry)
    this.#histograms = makeHistograms(this.#registry)
    addGauges(this.#registry, { ...sources, modules: () => this.#census(sources) })
    addPorts(this.#registry, sources)
  }

  /** HTTP requests answered so far. */
  get answers(): number {
    return this.#answers
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  /** Takes facts as they become durable; not those of a replay, which were counted before. */
  fold(fact: Fact): void {
    this.#counters.facts.inc()
    const seen = FACT_METERS[fact.type]?.(fact.d)
    if (seen === undefined) return
    for (const [name, labels] of seen.counts ?? []) this.#counters[name].inc(labels)
    for (const [name, labels, value] of seen.measures ?? []) {
      if (Number.isFinite(value)) this.#histograms[name].observe(labels, value)
    }
  }

  /** One batch of the journal came to rest. */
  journalSynced(durationMs: number, records: number): void {
    this.#histograms.journalSync.observe(durationMs / 1_000)
    this.#histograms.journalBatch.observe(records)
  }

  /** Something came to the gate. */
  passed({ command, outcome }: { readonly command: string; readonly outcome: string }): void {
    this.#counters.commands.inc({ command, outcome })
  }

  /** Lines of a module that were beyond its limit. */
  dropped(module: string, lines: number): void {
    this.#counters.dropped.inc({ module }, lines)
  }

  /** Lines of telemetry that the disk did not take. */
  telemetryLost(lines: number): void {
    this.#counters.telemetryLost.inc(lines)
  }

  called(module: string, action: string, durationMs: number): void {
    this.#histograms.action.observe({ module, action }, durationMs / 1_000)
  }

  answered({ method, route, status, durationMs }: HttpAnswer): void {
    this.#answers += 1
    const labels = {
      method: METHODS.has(method) ? method : 'other',
      route,
      status: `${Math.floor(status / 100)}xx`,
    }
    this.#counters.http.inc(labels)
    this.#histograms.http.observe({ method: labels.method, route }, durationMs / 1_000)
  }

  /** What a module counts itself, as `nexus_module_custom_<name>`. */
  measured(module: string, params: MetricsParams): void {
    for (const sample of params.samples) this.#custom.take(module, sample)
  }

  /** The modules are asked once for each scrape, not once for each gauge. */
  #census(sources: MeterSources): readonly ModuleBrief[] {
    this.#modules ??= sources.modules()
    return this.#modules
  }

  /** Prometheus text; of one module's series only when it is named. */
  async text(moduleId?: string): Promise<string> {
    this.#modules = undefined
    if (moduleId === undefined) return this.#registry.metrics()
    const blocks = await Promise.all(
      this.#registry.getMetricsAsArray().map(({ name }) => this.#registry.getSingleMetricAsString(name)),
    )
    const label = `module="${moduleId}"`
    return `${blocks.flatMap((block) => onlyWith(label, block)).join('\n\n')}\n`
  }
}

interface HttpAnswer {
  readonly method: string
  readonly route: string
  readonly status: number
  readonly durationMs: number
}

const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])

function onlyWith(label: string, block: string): string[] {
  const [help, type, ...series] = block.split('\n')
  const kept = series.filter((line) => line.includes(`{${label}`) || line.includes(`,${label}`))
  return kept.length === 0 ? [] : [[help, type, ...kept].join('\n')]
}

function makeCounters(registry: Registry) {
  const counter = (name: string, help: string, labelNames: string[] = []) =>
    new Counter({ name: `nexus_${name}_total`, help, labelNames, registers: [registry] })
  return {
    facts: counter('journal_appends', 'Facts that became durable.'),
    restarts: counter('module_restarts', 'Instances that ended without being asked to.', [
      'module',
      'reason',
    ]),
    reloads: counter('module_reloads', 'Reloads that were tried.', ['module', 'strategy', 'outcome']),
    missions: counter('missions', 'Missions that entered a status.', ['category', 'decision', 'status']),
    commands: counter('gate_commands', 'Commands and mission operations that came to the gate.', [
      'command',
      'outcome',
    ]),
    dropped: counter('module_log_lines_dropped', 'Lines beyond limits.log_lines_per_s.', ['module']),
    maintenance: counter('maintenance_runs', 'Runs of maintenance that came to an end.', ['task', 'outcome']),
    telemetryLost: counter('telemetry_lines_lost', 'Lines of telemetry that the disk did not take.'),
    http: counter('http_requests', 'HTTP requests answered.', ['method', 'route', 'status']),
  }
}

function makeHistograms(registry: Registry) {
  const histogram = (name: string, help: string, labelNames: string[], buckets: number[]) =>
    new Histogram({ name: `nexus_${name}`, help, labelNames, buckets, registers: [registry] })
  return {
    reload: histogram(
      'module_reload_duration_seconds',
      'From the wish to the verdict.',
      ['module'],
      LONG_SECONDS,
    ),
    action: histogram('action_duration_seconds', 'Calls of actions.', ['module', 'action'], SHORT_SECONDS),
    mission: histogram('mission_duration_seconds', 'Execution of missions.', ['category'], LONG_SECONDS),
    wait: histogram('mission_queue_wait_seconds', 'From queued to claimed.', [], LONG_SECONDS),
    journalSync: histogram('journal_sync_duration_seconds', 'One fdatasync.', [], SHORT_SECONDS),
    journalBatch: histogram(
      'journal_batch_records',
      'Records in one sync.',
      [],
      [1, 2, 4, 8, 16, 32, 64, 128, 256, 512],
    ),
    http: histogram('http_request_duration_seconds', 'HTTP requests.', ['method', 'route'], SHORT_SECONDS),
  }
}

/** Each scrape begins empty, so that a module that is gone leaves no series behind. */
function addGauges(registry: Registry, sources: MeterSources): void {
  const gauge = (name: string, help: string, labelNames: string[], read: (gauge: Gauge) => void) =>
    new Gauge({
      name: `nexus_${name}`,
      help,
      labelNames,
      registers: [registry],
      collect() {
        this.reset()
        read(this)
      },
    })
  const eachModule = (name: string, help: string, value: (status: ModuleBrief) => number) =>
    gauge(name, help, ['module'], (it) => {
      for (const status of sources.modules()) it.set({ module: status.module_id }, value(status))
    })
  const each = (name: string, help: string, label: string, read: () => Readonly<Record<string, number>>) =>
    gauge(name, help, [label], (it) => {
      for (const [key, value] of Object.entries(read())) it.set({ [label]: key }, value)
    })

  gauge('build_info', 'Always 1.', ['version', 'node'], (it) =>
    it.set({ version: sources.version, node: process.versions.node }, 1),
  )
  const lag = watchLoopLag()
  gauge('event_loop_lag_seconds', "P99 of the daemon's own event loop lag since the last scrape.", [], (it) =>
    it.set(lag.readMs() / 1_000),
  )
  gauge('module_state', 'The state a module is in: 1.', ['module', 'state'], (it) => {
    for (const { module_id, state } of sources.modules()) it.set({ module: module_id, state }, 1)
  })
  gauge('module_health', 'The health a module has: 1.', ['module', 'status'], (it) => {
    for (const { module_id, health } of sources.modules())
      it.set({ module: module_id, status: health.status }, 1)
  })
  eachModule('module_memory_bytes', 'Resident memory of its instances together.', ({ instances }) =>
    instances.reduce((sum, { memory_bytes }) => sum + memory_bytes, 0),
  )
  eachModule('module_event_loop_lag_seconds', 'The worst of its instances.', ({ instances }) =>
    instances.reduce((worst, { loop_lag_ms }) => Math.max(worst, loop_lag_ms / 1_000), 0),
  )
  eachModule('module_ready_replicas', 'Instances that take calls.', ({ replicas }) => replicas.ready)
  each('mission_queue_depth', 'Missions that wait.', 'lane', () => sources.queueDepth())
  gauge('approvals_pending', 'BORDERLINE missions that wait for an operator.', [], (it) =>
    it.set(sources.approvalsPending()),
  )
  gauge('approvals_oldest_seconds', 'How long the oldest of them has waited.', [], (it) =>
    it.set(sources.approvalsOldestSeconds()),
  )
  new Counter({
    name: 'nexus_stale_writes_total',
    help: 'Answers and writes of attempts that were over; refused.',
    registers: [registry],
    collect() {
      this.reset()
      this.inc(sources.staleWrites())
    },
  })
  each('omens_active', 'Repeated patterns that stand.', 'level', () => sources.omens())
  each('prediction_brier', 'Mean squared error of probabilities; 0 is right, 0.25 a coin.', 'kind', () =>
    sources.briers(),
  )
  gauge('published_key_active', '1 while the key of the documentation opens this daemon.', [], (it) =>
    it.set(sources.publishedKeyActive() ? 1 : 0),
  )
}

/** Counted where connections are taken, read at each scrape. */
function addPorts(registry: Registry, { ports }: MeterSources): void {
  const labelNames = ['module', 'port']
  const labelsOf = ({ module, port }: { readonly module: string; readonly port: number }) => ({
    module,
    port: String(port),
  })
  const gauge = (name: string, help: string, what: 'open' | 'waiting') =>
    new Gauge({
      name: `nexus_port_${name}`,
      help,
      labelNames,
      registers: [registry],
      collect() {
        this.reset()
        for (const status of ports()) this.set(labelsOf(status), status[what])
      },
    })
  const counter = (what: 'accepted' | 'refused', help: string) =>
    new Counter({
      name: `nexus_port_${what}_total`,
      help,
      labelNames,
      registers: [registry],
      collect() {
        this.reset()
        for (const status of ports()) this.inc(labelsOf(status), status[what])
      },
    })
  gauge('connections', 'Connections that are let in.', 'open')
  gauge('waiting', 'Connections that wait for an instance.', 'waiting')
  counter('accepted', 'Connections that came.')
  counter('refused', 'Connections that found no instance in time, or no room to wait.')
}
