import { busyStatus, watchBusyLoops } from './busy.ts'
import { makeInsight, makeMissions, watchResources } from './compose-missions.ts'
import { moduleCommand, moduleEnvironment, openHosts, openModules } from './compose-modules.ts'
import type { Fact } from './contracts/fact.ts'
import type { Principal } from './contracts/roles.ts'
import type { DaemonStatus } from './contracts/status.ts'
import { Gate } from './gate/gate.ts'
import { type Ground, openTelemetry } from './ground.ts'
import { commandHandlers, missionDesk } from './handlers.ts'
import { HealthWatch } from './health/health.ts'
import { DAY_MS, historyRoom } from './history-room.ts'
import type { Insight } from './insight/insight.ts'
import { append, type Late, opened } from './late.ts'
import { createPortKeeper } from './listen/listen.ts'
import type { Maintenance } from './maintenance/maintenance.ts'
import { Memory } from './memory.ts'
import type { Missions } from './missions/missions.ts'
import { daemonStatus, metersOf } from './report.ts'
import { isLoopback } from './security/loopback.ts'
import { nodeDisk } from './storage/node-disk.ts'
import { Supervisor } from './supervisor/supervisor.ts'
import type { Meters } from './telemetry/meters.ts'
import { RecentLines } from './telemetry/recent-lines.ts'
import type { TelemetryRecorder } from './telemetry/recorder.ts'
import { makeMaintenance } from './upkeep.ts'

/** The parts of a running daemon, wired; nothing of it listens yet, and no module runs. */
export interface Parts {
  readonly supervisor: Supervisor
  readonly missions: Missions
  readonly insight: Insight
  readonly gate: Gate
  readonly maintenance: Maintenance
  readonly memory: Memory
  readonly meters: Meters
  readonly lines: RecentLines
  readonly telemetry: TelemetryRecorder
  /** Opens the folders with modules; to be called once, before anything is discovered. */
  openModules(dirs: readonly string[]): Promise<void>
  /** Calls `listener` for each fact once it is durable and folded. Returns the undoing. */
  onFact(listener: (fact: Fact) => void): () => void
  status(principal: Principal): DaemonStatus
}

/** Knows everybody and decides nothing: builds each room and hands it what it needs from above. */
export async function compose(ground: Ground): Promise<Parts> {
  const { clock, settings, stops } = ground
  const late: Late = {}
  const lines = new RecentLines()
  const startedMs = clock.elapsed()

  const insight = makeInsight(ground, late)
  const health = new HealthWatch({ clock, append: (draft) => append(late, draft), onBug: ground.fatal })
  stops.push('health', () => health.stop())
  const hosts = await openHosts(ground)
  const ports = createPortKeeper({
    runDir: ground.paths.run,
    chance: ground.chance,
    mayOpen: (host) => isLoopback(host) || settings.listen.hosts.includes(host),
    onBug: ground.fatal,
  })
  stops.push('ports', () => ports.close())
  const environment = await moduleEnvironment(ground, late, { hosts, ports, health, lines, insight })
  const supervisor = new Supervisor(environment, (moduleId) => health.verdict(moduleId))
  const missions = makeMissions(ground, late, supervisor, insight)
  const maintenance = makeMaintenance(ground, {
    missions,
    gate: () => gate,
    upkeep: () => opened(late.memory, 'the journal').upkeep,
    append: (draft) => append(late, draft),
  })
  const meters = metersOf(supervisor, ports, missions, insight, ground.publishedKeyActive)
  const status = (principal: Principal): DaemonStatus =>
    daemonStatus(
      { supervisor, missions, busyLoops: busyStatus(late.busy?.episodes ?? []) },
      settings,
      principal,
      (clock.elapsed() - startedMs) / 1_000,
    )
  const gate = makeGate(ground, late, { supervisor, missions, maintenance, meters, status })
  environment.command = (moduleId, name, params) => moduleCommand(supervisor, gate, moduleId, name, params)
  late.meters = meters

  const telemetry = openTelemetry(ground, (lines) => meters.telemetryLost(lines))
  const listeners = new Set<(fact: Fact) => void>()
  const rooms = { insight, supervisor, missions, maintenance, gate, meters }
  const memory = await openMemory(ground, late, rooms, (fact) => {
    meters.fold(fact)
    telemetry.fold(fact)
    maintenance.heard(fact)
    const { module_id: omened } = fact.d
    if (OMEN_FACTS.has(fact.type) && typeof omened === 'string') missions.moduleChanged(omened)
    for (const listener of listeners) listener(fact)
  })
  late.memory = memory
  stops.push('maintenance', () => maintenance.stop())
  late.busy = watchBusyLoops(ground, {
    supervisor,
    telemetry,
    workDone: () => memory.head + meters.answers,
    append: (draft) => memory.append(draft),
  })
  watchResources(ground, { supervisor, missions, insight, telemetry })
  stops.push('insight', () => insight.stop())

  return {
    supervisor,
    missions,
    insight,
    gate,
    maintenance,
    memory,
    meters,
    lines,
    telemetry,
    status,
    openModules: async (dirs) => {
      late.catalog = await openModules(ground, dirs)
    },
    onFact: (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}

function makeGate(
  { clock, log, settings }: Ground,
  late: Late,
  rooms: Pick<Parts, 'supervisor' | 'missions' | 'maintenance' | 'meters' | 'status'>,
): Gate {
  const { supervisor, missions, maintenance, meters, status } = rooms
  return new Gate({
    clock,
    recorder: { append: (draft) => append(late, draft) },
    handlers: commandHandlers(supervisor, missions, maintenance, {
      status,
      moduleStatus: (moduleId) => supervisor.status(moduleId),
      metricsText: async (moduleId) => ({
        contentType: meters.contentType,
        text: await meters.text(moduleId),
      }),
      called: (moduleId, action, durationMs) => meters.called(moduleId, action, durationMs),
    }),
    missions: missionDesk(missions),
    rate: { perSecond: settings.missions.rate_per_second, burst: settings.missions.rate_burst },
    passed: (passage) => meters.passed(passage),
    complain: (cause) => log.error('a refusal was not recorded', { err: cause }),
  })
}

async function openMemory(
  ground: Ground,
  late: Late,
  rooms: Pick<Parts, 'insight' | 'supervisor' | 'missions' | 'maintenance' | 'gate' | 'meters'>,
  announced: (fact: Fact) => void,
): Promise<Memory> {
  const { clock, settings, paths, log, stops } = ground
  const { insight, supervisor, missions, maintenance, gate, meters } = rooms
  const memory = await Memory.open({
    disk: nodeDisk,
    clock,
    paths,
    segmentBytesMax: settings.journal.segment_mb * 1_048_576,
    afresh: ground.afresh === true,
    snapshotEvery: settings.journal.snapshot_every,
    snapshotBytes: settings.journal.snapshot_mb * 1_048_576,
    retention: {
      keepMs: settings.journal.keep_days * DAY_MS,
      keepBytes: settings.journal.keep_mb * 1_048_576,
      archive: settings.journal.old_segments === 'archive',
    },
    // First the one that may refuse what was saved: after it, all load or none.
    projections: {
      insight,
      modules: projection(supervisor),
      maintenance: projection(maintenance),
      gate: projection(gate),
    },
    history: historyRoom(missions, settings.missions),
    recordsOpened: (records) => {
      late.records = records
    },
    runes: () => insight.runes(),
    announced,
    batched: ({ durationMs, records }) => meters.journalSynced(durationMs, records),
    warn: (message, fields) => log.warn(message, fields),
    onBug: ground.fatal,
  })
  memory.onFailed(ground.fatal)
  stops.push('journal', () => memory.close())
  for (const cut of memory.recovery.cuts) log.warn('a torn end of the journal was set aside', { ...cut })
  return memory
}

function projection(room: { fold(fact: Fact): void; save(): unknown; load(saved: unknown): void }) {
  return {
    fold: (fact: Fact) => room.fold(fact),
    save: () => room.save(),
    load: (saved: unknown) => {
      room.load(saved)
      return true
    },
  }
}

/** After these, other missions of the module may run than before. */
const OMEN_FACTS: ReadonlySet<string> = new Set(['omen.changed', 'module.unlocked'])
