import { mkdir, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { openCatalog } from './catalog/catalog.ts'
import type { ModuleCatalog } from './catalog/port.ts'
import { COMMANDS, type CommandName } from './contracts/command.ts'
import type { Settings } from './contracts/config.ts'
import type { Fact, FactDraft } from './contracts/fact.ts'
import { NexusError } from './contracts/failure.ts'
import type { RecordPaths } from './contracts/module.ts'
import type { Principal } from './contracts/roles.ts'
import type { DaemonStatus } from './contracts/status.ts'
import { Gate } from './gate/gate.ts'
import { commandHandlers, missionDesk } from './handlers.ts'
import { HealthWatch, statisticsOf } from './health/health.ts'
import { createHostPool } from './host/host.ts'
import { Insight } from './insight/insight.ts'
import type { Chance } from './kit/chance.ts'
import type { Clock } from './kit/clock.ts'
import type { StopStack } from './kit/stop-stack.ts'
import { Memory } from './memory.ts'
import { Missions } from './missions/missions.ts'
import { VERSION } from './product.ts'
import type { DataPaths } from './storage/data-folder.ts'
import { LossyLog } from './storage/lossy-log.ts'
import { nodeDisk } from './storage/node-disk.ts'
import { Supervisor } from './supervisor/supervisor.ts'
import type { RootLog } from './telemetry/log.ts'
import { Meters } from './telemetry/meters.ts'
import { RecentLines } from './telemetry/recent-lines.ts'
import { processSampler, TelemetryRecorder } from './telemetry/recorder.ts'

export interface Ground {
  readonly clock: Clock
  readonly chance: Chance
  readonly log: RootLog
  readonly settings: Settings
  readonly paths: DataPaths
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  readonly stops: StopStack
  publishedKeyActive(): boolean
  /** Something must not go on: the daemon ends with this failure. */
  fatal(error: unknown): void
}

/** The parts of a running daemon, wired; nothing of it listens yet, and no module runs. */
export interface Parts {
  readonly supervisor: Supervisor
  readonly missions: Missions
  readonly insight: Insight
  readonly health: HealthWatch
  readonly gate: Gate
  readonly memory: Memory
  readonly meters: Meters
  readonly lines: RecentLines
  readonly telemetry: TelemetryRecorder
  /** Opens the folders with modules; to be called once, before anything is discovered. */
  openModules(dirs: readonly string[]): Promise<void>
  onFact(listener: (fact: Fact) => void): () => void
  status(principal: Principal): DaemonStatus
}

/** Knows everybody and decides nothing: builds each room and hands it what it needs from above. */
export async function compose(ground: Ground): Promise<Parts> {
  const { clock, chance, log, settings, paths, stops } = ground
  const listeners = new Set<(fact: Fact) => void>()
  const lines = new RecentLines()
  // The rooms are built before the journal, which folds the past into them; nobody writes before it is open.
  let memory: Memory | undefined
  const recorded = (): Memory => {
    if (memory === undefined) throw new Error('the journal is not open yet')
    return memory
  }
  const append = (draft: FactDraft): Promise<Fact> => recorded().append(draft)
  const startedMs = clock.elapsed()

  const insight = new Insight({
    clock,
    weights: settings.missions.weights,
    prices: settings.missions.prices,
    onOmenChanged: (change) => {
      const actor = { kind: 'daemon', name: 'insight' } as const
      append({ type: 'omen.changed', actor, d: { ...change } }).catch((error: unknown) =>
        log.error('an omen was not recorded', { err: error }),
      )
    },
  })

  let catalog: ModuleCatalog | undefined
  const hosts = await createHostPool({
    clock,
    runDir: paths.run,
    generationsDir: paths.generations,
    closedDir: paths.root,
    spares: settings.hosts.spares,
    env: ground.env,
    leftovers: (pids) => log.warn(`killed ${pids.length} hosts that a former daemon left behind`, { pids }),
  })
  stops.push('hosts', () => hosts.close())

  const health = new HealthWatch({ clock, append, onBug: ground.fatal })
  stops.push('health', () => health.stop())
  const moduleData = join(paths.root, 'module-data')
  const supervisor: Supervisor = new Supervisor(
    {
      get catalog() {
        if (catalog === undefined) throw new Error('no folder with modules has been opened')
        return catalog
      },
      hosts,
      clock,
      chance,
      append,
      keep: (bytes) => recorded().artifacts.put(bytes),
      command: (moduleId, name, params) => moduleCommand(moduleId, name, params),
      said: (moduleId, instance, { level, message, fields, stream }) => {
        const line = { module: moduleId, instance, ...(stream === undefined ? {} : { stream }), ...fields }
        log.write(level, message, line)
        lines.keep(moduleId, { time: new Date(clock.now()).toISOString(), level, msg: message, ...line })
      },
      measured: (moduleId, params) => meters.measured(moduleId, params),
      changed: (unit) => health.changed(unit),
      log: (level, message, fields) => log.write(level, message, fields),
      onBug: ground.fatal,
      overrides: settings.modules,
      roots: await roots(ground),
      records: recordPaths(paths),
      dataDirOf: (moduleId) => join(moduleData, moduleId),
      makeDataDir: async (moduleId) => {
        const dir = join(moduleData, moduleId)
        await mkdir(dir, { recursive: true, mode: 0o700 })
        return realpath(dir)
      },
      startsPerMinute: settings.hosts.starts_per_minute,
    },
    (moduleId) => health.verdict(moduleId),
  )

  const missions = new Missions({
    recorder: { append, appendAll: (drafts) => recorded().appendAll(drafts) },
    calls: {
      action: (moduleId, action) => supervisor.action(moduleId, action),
      module: (moduleId) => supervisor.outlook(moduleId),
      planners: (category) => supervisor.planners(category),
      call: async (order) => {
        const answer = await supervisor.call(order)
        meters.called(order.moduleId, order.action, answer.durationMs)
        return answer
      },
    },
    judge: insight,
    runes: { best: (goal, category, input) => insight.bestRune({ goal, category, input }) },
    successEstimate: (moduleId, category) => insight.successEstimate(moduleId, category),
    blobs: {
      put: (bytes) => recorded().artifacts.put(bytes),
      get: (sha256) => recorded().artifacts.get(sha256),
    },
    clock,
    chance,
    log: (level, message, fields) => log.write(level, message, fields),
    settings: settings.missions,
  })

  const meters = new Meters({
    version: VERSION,
    modules: () => supervisor.statuses(),
    queueDepth: () => missions.counters().depth,
    approvalsPending: () => missions.pendingApprovals,
    omens: () => omensByLevel(insight),
    briers: () => briersByKind(insight),
    publishedKeyActive: ground.publishedKeyActive,
  })
  const metricsText = async (moduleId?: string): Promise<{ contentType: string; text: string }> => ({
    contentType: meters.contentType,
    text: await meters.text(moduleId),
  })
  const status = (principal: Principal): DaemonStatus =>
    daemonStatus(supervisor, settings, principal, (clock.elapsed() - startedMs) / 1_000)

  const gate = new Gate({
    clock,
    recorder: { append },
    handlers: commandHandlers(supervisor, missions, {
      status,
      moduleStatus: (moduleId) => supervisor.status(moduleId),
      metricsText,
      called: (moduleId, action, durationMs) => meters.called(moduleId, action, durationMs),
    }),
    missions: missionDesk(missions),
    passed: (passage) => meters.passed(passage),
    complain: (cause) => log.error('a refusal was not recorded', { err: cause }),
  })
  const moduleCommand = (moduleId: string, name: string, params: object): Promise<object> => {
    const listed = supervisor.unit(moduleId).manifest?.permissions.commands ?? []
    const principal = moduleOf(moduleId, listed)
    if (listed.includes(name)) return gate.command(principal, name, params)
    throw new NexusError('PERMISSION_DENIED', { principal: principal.name, permission: name })
  }

  const telemetry = openTelemetry(ground)
  memory = await Memory.open({
    disk: nodeDisk,
    clock,
    paths,
    segmentBytesMax: settings.journal.segment_mb * 1_048_576,
    snapshotEvery: settings.journal.snapshot_every,
    projections: {
      // First the one that may refuse what was saved: after it, all load or none.
      insight,
      modules: { ...bound(supervisor), load: (saved) => whole(() => supervisor.load(saved)) },
      missions: { ...bound(missions), load: (saved) => whole(() => missions.load(saved)) },
      gate: { ...bound(gate), load: (saved) => whole(() => gate.load(saved)) },
    },
    missionLine: ({ mid }) => (mid === undefined ? undefined : { ...missions.get(mid) }),
    missionLines: () => missions.lines().map(({ seq, body }) => ({ seq, body: { ...body } })),
    runes: () => insight.runes(),
    announced: (fact) => {
      meters.fold(fact)
      telemetry.fold(fact)
      for (const listener of listeners) listener(fact)
    },
    batched: ({ durationMs, records }) => meters.journalSynced(durationMs, records),
    warn: (message, fields) => log.warn(message, fields),
    onBug: ground.fatal,
  })
  const opened = memory
  opened.onFailed(ground.fatal)
  stops.push('journal', () => opened.close())
  for (const cut of opened.recovery.cuts) log.warn('a torn end of the journal was set aside', { ...cut })

  return {
    supervisor,
    missions,
    insight,
    health,
    gate,
    memory: opened,
    meters,
    lines,
    telemetry,
    openModules: async (dirs) => {
      const opened = await openCatalog({
        dirs,
        generationsDir: paths.generations,
        clock,
        quietMs: settings.watch.quiet_ms,
        log: (level, message, facts) => log.write(level, message, facts),
      })
      catalog = opened
      stops.push('catalog', () => opened.close())
    },
    onFact: (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    status,
  }
}

function bound(room: { fold(fact: Fact): void; save(): unknown }) {
  return { fold: (fact: Fact) => room.fold(fact), save: () => room.save() }
}

function whole(load: () => void): true {
  load()
  return true
}

/** `$ROOTS`: the working directory and what the operator allows besides. */
async function roots({ cwd, settings, log }: Ground): Promise<string[]> {
  const found = await Promise.all(
    [cwd, ...settings.allow_read].map((dir) =>
      realpath(dir).catch(() => {
        log.warn(`modules may read ${dir}, but it is not there`)
        return undefined
      }),
    ),
  )
  return [...new Set(found.filter((dir) => dir !== undefined))]
}

function recordPaths(paths: DataPaths): RecordPaths {
  const { missions, journal, segments, telemetry, generations, artifacts, quarantine } = paths
  const runtime_metrics = paths.runtimeMetrics
  return { missions, journal, segments, telemetry, runtime_metrics, generations, artifacts, quarantine }
}

function openTelemetry({ clock, paths, stops }: Ground): TelemetryRecorder {
  const telemetry = new LossyLog({ disk: nodeDisk, path: paths.telemetry })
  const runtimeMetrics = new LossyLog({ disk: nodeDisk, path: paths.runtimeMetrics })
  stops.push('telemetry', async () => {
    await telemetry.close()
    await runtimeMetrics.close()
  })
  return new TelemetryRecorder({
    clock,
    telemetry: { append: (line) => telemetry.write({ ...line }) },
    runtimeMetrics: { append: (line) => runtimeMetrics.write({ ...line }) },
    sample: processSampler(),
  })
}

/** What the manifest lists, and nothing else. */
function moduleOf(moduleId: string, commands: readonly string[]): Principal {
  const listed = commands.filter((name): name is CommandName => Object.hasOwn(COMMANDS, name))
  const permissions = listed.map((name) => COMMANDS[name].permission)
  return { kind: 'module', name: `module:${moduleId}`, roles: [], permissions }
}

function daemonStatus(
  supervisor: Supervisor,
  { tokens }: Settings,
  { name, roles }: Principal,
  uptimeSeconds: number,
): DaemonStatus {
  const modules = supervisor.statuses()
  const byState: Partial<Record<string, number>> = {}
  for (const { state } of modules) byState[state] = (byState[state] ?? 0) + 1
  return {
    running: true,
    level: tokens.length > 0 ? 'level-18-team' : 'level-14.5-basic',
    uptime_seconds: Math.round(uptimeSeconds * 1_000) / 1_000,
    security: { principal: name, roles },
    // None of the three is built yet; they say so as long as that is true.
    features: { cluster: false, tracing: false, compliance: false },
    modules: {
      total_discovered: modules.length,
      total_loaded: modules.filter(({ state }) => state !== 'discovered' && state !== 'invalid').length,
      by_state: byState,
    },
    health: { statistics: statisticsOf(modules) },
  }
}

function omensByLevel(insight: Insight): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { level } of insight.omens().omens) counts[level] = (counts[level] ?? 0) + 1
  return counts
}

function briersByKind(insight: Insight): Record<string, number> {
  const { skill } = insight.predictions()
  return Object.fromEntries(skill.flatMap(({ kind, brier }) => (brier === null ? [] : [[kind, brier]])))
}
