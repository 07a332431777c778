import type { ModuleContext, ModuleMetrics } from '../../contracts/module.ts'
import type { InitializeParams } from '../../contracts/wire.ts'
import type { Clock } from '../../kit/clock.ts'
import type { Asking } from './asking.ts'
import { createLog } from './say.ts'
import type { Voice } from './voice.ts'

export interface ContextParts {
  readonly voice: Voice
  readonly clock: Clock
  readonly order: InitializeParams
  readonly asking: Asking
  readonly metrics: ModuleMetrics
  readonly signal: AbortSignal
}

/** What `start`, `stop` and the others get; an action gets this and some more. */
export function createContext({ voice, clock, order, asking, metrics, signal }: ContextParts): ModuleContext {
  return {
    id: order.module_id,
    instance: order.instance,
    generation: order.generation,
    config: order.config,
    log: createLog(clock, (line) => voice.notify('log', line)),
    signal,
    ...(order.inherited === undefined ? {} : { inherited: order.inherited }),
    dataDir: order.data_dir,
    roots: order.roots,
    ...(order.records === undefined ? {} : { records: order.records as never }),
    listen: (name) => {
      const path = Object.hasOwn(order.listen, name) ? order.listen[name] : undefined
      if (path === undefined) throw new Error(`no port is named ${name} in \`listen\` of the manifest`)
      return path
    },
    notReady: (reason, retryInMs) =>
      voice.notify('notready', { reason: String(reason), retry_in_ms: retryInMs }),
    ready: () => voice.notify('ready', {}),
    metrics,
    nexus: {
      async command(name, params = {}) {
        return await asking.ask('command', { name, params })
      },
    },
  }
}
