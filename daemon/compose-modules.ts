import { mkdir, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { openCatalog } from './catalog/catalog.ts'
import type { ModuleCatalog } from './catalog/port.ts'
import { COMMANDS, type CommandName } from './contracts/command.ts'
import { NexusError } from './contracts/failure.ts'
import type { Principal } from './contracts/roles.ts'
import type { Gate } from './gate/gate.ts'
import { type Ground, recordPaths, rootsOf } from './ground.ts'
import type { HealthWatch } from './health/health.ts'
import { createHostPool } from './host/host.ts'
import type { HostPool } from './host/port.ts'
import type { Insight } from './insight/insight.ts'
import { append, type Late, opened } from './late.ts'
import type { PortKeeper } from './listen/port.ts'
import type { SupervisorEnvironment } from './supervisor/port.ts'
import type { Supervisor } from './supervisor/supervisor.ts'
import type { RecentLines } from './telemetry/recent-lines.ts'

/** Where modules run. */
export async function openHosts({ clock, paths, settings, env, log, stops }: Ground): Promise<HostPool> {
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

/** Everything the supervisor stands on. Its `command` is put in when there is a gate. */
export async function moduleEnvironment(
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

/** What is on disk, and what changes there. */
export async function openModules(ground: Ground, dirs: readonly string[]): Promise<ModuleCatalog> {
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
export function moduleCommand(
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
