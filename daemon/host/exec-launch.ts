import { environment, type Launch, type Machine } from './isolation.ts'
import type { SpawnOrder } from './port.ts'
import { startFailure } from './start-failure.ts'

/**
 * How a program is started: in its generation, with a clean environment, ended by the kernel with the daemon. Pure.
 *
 * @param program - Full path of what `order.command` names.
 * @throws NexusError `MODULE_START_FAILED`, phase `spawn`, when its settings do not fit into an environment.
 */
export function planExec(machine: Machine, order: SpawnOrder, program: string): Launch {
  const command = [program, ...order.command.slice(1)]
  const [file = program, ...args] =
    machine.setpriv === undefined ? command : [machine.setpriv, '--pdeathsig', 'KILL', '--', ...command]
  return {
    key: order.instance,
    file,
    args,
    env: { ...environment(machine.env, order.permissions.env), ...told(order) },
    cwd: order.dir,
    mayFork: true,
    isolation: 'none',
  }
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
export function socketVariable(name: string): string {
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
