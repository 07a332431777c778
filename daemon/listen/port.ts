import type { InstanceId, ModuleId } from '../contracts/ids.ts'
import type { Manifest } from '../contracts/manifest.ts'
import type { PortStatus } from '../contracts/status.ts'

/**
 * TCP ports that stay open while what answers on them changes. The daemon owns the ports; instances listen on Unix
 * sockets, and a connection is forwarded to one of those it is directed to, or waits for one.
 */
export interface PortKeeper {
  /**
   * Takes the ports of a module, or goes on with those it has; what `listen` names no longer is closed.
   *
   * @throws NexusError `PORT_UNAVAILABLE` naming the port; nothing that was not held before is held then.
   */
  hold(moduleId: ModuleId, listen: Manifest['listen']): Promise<void>
  /** Where this instance is to listen, by the names of `listen`; nothing is there yet. */
  paths(moduleId: ModuleId, instance: InstanceId): Readonly<Record<string, string>>
  /** From now on new connections go to these instances, the least busy first; none: they wait. */
  direct(moduleId: ModuleId, instances: readonly InstanceId[]): void
  /**
   * Nothing new goes to the instance. Connections of HTTP leave it between two requests.
   *
   * Resolves when none leads to it any more, after `waitMs` at most. What is open then is left to the module's `stop`,
   * which may take its leave, and is cut some seconds after `forget`.
   */
  drain(moduleId: ModuleId, instance: InstanceId, waitMs: number): Promise<void>
  /** The instance is gone: its last words are heard, what leads to it then is cut, and its sockets are removed. */
  forget(moduleId: ModuleId, instance: InstanceId): void
  /** Closes the ports of a module. Connections that wait are cut, those that lead to an instance may end. */
  release(moduleId: ModuleId): Promise<void>
  status(moduleId: ModuleId): readonly PortStatus[]
  /** Of all modules. */
  all(): readonly (PortStatus & { readonly module: ModuleId })[]
  close(): Promise<void>
}
