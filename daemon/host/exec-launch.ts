import { confine, type Site } from './confine.ts'
import { environment, type Launch, type Machine, type WallProfile } from './isolation.ts'
import type { SpawnOrder } from './port.ts'
import { startFailure } from './start-failure.ts'

/** What holds a program: the part of its profile that may be opened to it, and where it runs. */
export interface ExecWall {
  readonly profile: WallProfile
  readonly site: Site
}

/**
 * How a program is started: in its generation, with a clean environment, and all around it that holds it. Pure.
 *
 * @param program - Full path of what `order.command` names.
 * @throws NexusError `MODULE_START_FAILED`, phase `spawn`, when its settings do not fit into an environment.
 */
export function planExec(machine: Machine, order: SpawnOrder, wall: ExecWall, program: string): Launch {
  const command = [program, ...order.command.slice(1)]
  const site = { ...wall.site, files: [...wall.site.files, program] }
  const { file, args, isolation } = confine(machine, wall.profile, command, site)
  const env = { ...environment(machine.env, order.permissions.env), ...told(order) }
  return { key: order.instance, file, args, env, cwd: order.dir, mayFork: true, isolation }
}

/** What a program is told that never reads its pipe. */
function told(order: SpawnOrder): Record<string, string> {
  const sockets = Object.entries(order.listen).map(([name, path]) => [socketVariable(name), path])
  return {
    NEXUS_MODULE: order.moduleId,
    NEXUS_INSTANCE: order.instance,
    NEXUS_DATA_DIR: order.dataDir,
    NEXUS_CONFIG: settings(order),
    ...Object.fromEntries(sockets),
  }
}

/** The variable that names the socket of a port: `web-api` is in `NEXUS_LISTEN_WEB_API`. */
function socketVariable(name: string): string {
  return `NEXUS_LISTEN_${name.toUpperCase().replaceAll('-', '_')}`
}

function settings({ moduleId, config }: SpawnOrder): string {
  const text = JSON.stringify(config)
  const bytes = Buffer.byteLength(text)
  if (bytes <= CONFIG_BYTES_MAX) return text
  const reason = `its settings have ${bytes} bytes, more than the ${CONFIG_BYTES_MAX} of NEXUS_CONFIG`
  throw startFailure(moduleId, 'spawn', reason, { config_error: 1 })
}

/** Half of what Linux takes in one variable. */
const CONFIG_BYTES_MAX = 65_536
