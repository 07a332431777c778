import { mkdir, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { type BusyWatch, busyStatus, watchBusyLoops } from './busy.ts'
import { openCatalog } from './catalog/catalog.ts'
import type { ModuleCatalog } from './catalog/port.ts'
import { COMMANDS, type CommandName } from './contracts/command.ts'
import type { Fact, FactDraft } from './contracts/fact.ts'
import { NexusError } from './contracts/failure.ts'
import type { Principal } from './contracts/roles.ts'
import type { DaemonStatus } from './contracts/status.ts'
import { Gate } from './gate/gate.ts'
import { type Ground, openTelemetry, recordPaths, rootsOf } from './ground.ts'
import { commandHandlers, missionDesk } from './handlers.ts'
import { HealthWatch } from './health/health.ts'
import { DAY_MS, historyRoom } from './history-room.ts'
import { createHostPool } from './host/host.ts'
import type { HostPool } from './host/port.ts'
import { Insight } from './insight/insight.ts'
import { createPortKeeper } from './listen/listen.ts'
import type { PortKeeper } from './listen/port.ts'
import type { Maintenance } from './maintenance/maintenance.ts'
import { Memory } from './memory.ts'
import { Missions } from './missions/missions.ts'
import { resourceReadings } from './readings.ts'
import { daemonStatus, metersOf } from './report.ts'
import { isLoopback } from './security/loopback.ts'
import { nodeDisk } from './storage/node-disk.ts'
import type { RecordLog } from './storage/record-log.ts'
import type { SupervisorEnvironment } from './supervisor/port.ts'
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

/** What is there only once it has been opened; the rooms above are built before. */
interface Late {
  memory?: Memory
  records?: RecordLog
  catalog?: ModuleCatalog
  meters?: Meters
  busy?: BusyWatch
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
    daemonStatus({ supervisor, missions, busyLoops: busyStatus(late.busy?.episodes ?? []) }, settings, principal, (clock.elapsed() - startedMs) / 1_000)
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

function makeInsight({ clock, settings, log }: Ground, late: Late): Insight {
  const { weights, prices } = settings.missions
  return new Insight({
    clock,
    weights,
    prices,
    onOmenChanged: (change) => {
      const { level, module_id: module, because } = change
      if (level === 'lock') log.error(`${module} is locked: ${because}`, { module })
      else log.info(`an omen is at ${level}: ${because}`, { module: module ?? undefined, held: change.held })
      const actor = { kind: 'daemon', name: 'insight' } as const
      append(late, { type: 'omen.changed', actor, d: { ...change } }).catch((error: unknown) =>
        log.error('an omen was not recorded', { err: error }),
      )
    },
    propose: (draft) => {
      // What is not recorded is proposed again.
      append(late, draft).catch((error: unknown) =>
        log.warn(`${draft.type} was not recorded`, { err: error }),
      )
    },
  })
}

/** Rides on the sample that is taken anyway, so that nothing wakes up for it. */
function watchResources(
  { settings, paths, log }: Ground,
  rooms: Pick<Parts, 'supervisor' | 'missions' | 'insight' | 'telemetry'>,
): void {
  const { supervisor, missions, insight, telemetry } = rooms
  const { queue_max: queueMax } = settings.missions
  const read = resourceReadings({ supervisor, missions, queueMax, dataDir: paths.root })
  telemetry.onSample(({ rss_bytes: rssBytes }) => {
    read(rssBytes).then(
      (readings) => insight.measured(readings),
      (error: unknown) => log.warn('resources could not be looked at', { err: error }),
    )
  })
}

async function openHosts({ clock, paths, settings, env, log, stops }: Ground): Promise<HostPool> {
  const hosts = await createHostPool({
    clock,
    runDir: paths.run,
    generationsDir: paths.generations,
    closedDir: paths.root,
    spares: settings.hosts.spares,
    env,
    refused: (way) => log.warn('a way to start hosts does not work here; a lesser one is tried', { ...way }),
    overheard: (group, { level, message, fields }) => log.write(level, message, { group, ...fields }),
    leftovers: (pids) => log.warn(`killed ${pids.length} hosts that a former daemon left behind`, { pids }),
  })
  stops.push('hosts', () => hosts.close())
  return hosts
}

type ModuleEnvironment = { -readonly [Key in keyof SupervisorEnvironment]: SupervisorEnvironment[Key] }

async function moduleEnvironment(
  ground: Ground,
  late: Late,
  {
    hosts,
    ports,
    health,
    lines,
    insight,
  }: { hosts: HostPool; ports: PortKeeper; health: HealthWatch; lines: RecentLines; insight: Insight },
): Promise<ModuleEnvironment> {
  const { clock, chance, log, settings, paths } = ground
  const moduleData = join(paths.root, 'module-data')
  return {
    get catalog() {
      return opened(late.catalog, 'the folders with modules')
    },
    hosts,
    ports,
    clock,
    chance,
    append: (draft) => append(late, draft),
    keep: (bytes) => opened(late.memory, 'the journal').artifacts.put(bytes),
    command: () => Promise.reject(new NexusError('NOT_AVAILABLE', { what: 'a command during the start' })),
    said: (moduleId, instance, { level, message, fields, stream, dropped }) => {
      if (dropped !== undefined) late.meters?.dropped(moduleId, dropped)
      const line = { module: moduleId, instance, ...(stream === undefined ? {} : { stream }), ...fields }
      log.write(level, message, line)
      lines.keep(moduleId, { time: new Date(clock.now()).toISOString(), level, msg: message, ...line })
    },
    measured: (moduleId, params) => late.meters?.measured(moduleId, params),
    changed: (unit) => health.changed(unit),
    omenOver: (moduleId) => insight.omenOver(moduleId),
    log: (level, message, fields) => log.write(level, message, fields),
    onBug: ground.fatal,
    overrides: settings.modules,
    ...(ground.safe ? { restsBecause: 'safe mode: no module is started but by hand' } : {}),
    roots: await rootsOf(ground),
    records: recordPaths(paths),
    dataDirOf: (moduleId) => join(moduleData, moduleId),
    makeDataDir: async (moduleId) => {
      const dir = join(moduleData, moduleId)
      await mkdir(dir, { recursive: true, mode: 0o700 })
      return realpath(dir)
    },
    startsPerMinute: settings.hosts.starts_per_minute,
  }
}

function makeMissions(ground: Ground, late: Late, supervisor: Supervisor, insight: Insight): Missions {
  const { clock, chance, log, settings, paths } = ground
  const memory = (): Memory => opened(late.memory, 'the journal')
  return new Missions({
    recorder: {
      append: (draft) => append(late, draft),
      appendAll: (drafts) => memory().appendAll(drafts),
    },
    calls: {
      action: (moduleId, action) => supervisor.action(moduleId, action),
      module: (moduleId) => supervisor.outlook(moduleId),
      planners: (category) => supervisor.planners(category),
      call: async (order) => {
        const answer = await supervisor.call(order)
        late.meters?.called(order.moduleId, order.action, answer.durationMs)
        return answer
      },
    },
    judge: insight,
    runes: { best: (goal, category, input) => insight.bestRune({ goal, category, input }) },
    successEstimate: (moduleId, category) => insight.successEstimate(moduleId, category),
    blobs: {
      put: (bytes) => memory().artifacts.put(bytes),
      get: (sha256) => memory().artifacts.get(sha256),
    },
    records: {
      append: (line) => opened(late.records, 'the records of missions').append(line),
      read: (places) => opened(late.records, 'the records of missions').read(places),
      trouble: (error) => log.error('the record of a mission cannot be read', { err: error }),
    },
    clock,
    chance,
    log: (level, message, fields) => log.write(level, message, fields),
    settings: settings.missions,
    freeBytes: () => nodeDisk.freeBytes(paths.root),
  })
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

async function openModules(ground: Ground, dirs: readonly string[]): Promise<ModuleCatalog> {
  const { clock, settings, paths, log, stops } = ground
  const catalog = await openCatalog({
    dirs,
    generationsDir: paths.generations,
    clock,
    quietMs: settings.watch.quiet_ms,
    log: (level, message, facts) => log.write(level, message, facts),
  })
  stops.push('catalog', () => catalog.close())
  return catalog
}

/** A module may run what its manifest lists, and nothing else. */
function moduleCommand(
  supervisor: Supervisor,
  gate: Gate,
  moduleId: string,
  name: string,
  params: object,
): Promise<object> {
  const commands: readonly string[] = supervisor.unit(moduleId).manifest?.permissions.commands ?? []
  const listed = commands.filter((known): known is CommandName => Object.hasOwn(COMMANDS, known))
  const permissions = listed.map((known) => COMMANDS[known].permission)
  const principal: Principal = { kind: 'module', name: `module:${moduleId}`, roles: [], permissions }
  if (commands.includes(name)) return gate.command(principal, name, params)
  throw new NexusError('PERMISSION_DENIED', { principal: principal.name, permission: name })
}

function append(late: Late, draft: FactDraft): Promise<Fact> {
  return opened(late.memory, 'the journal').append(draft)
}

function opened<T>(part: T | undefined, name: string): T {
  if (part === undefined) throw new Error(`${name} must be opened first`)
  return part
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
