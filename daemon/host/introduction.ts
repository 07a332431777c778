import type { InitializeParams } from '../contracts/wire.ts'
import { heartbeatEveryMs } from './heartbeat.ts'
import type { SpawnOrder } from './port.ts'

/** What an instance is told of itself before anything else. */
export function introductionOf(order: SpawnOrder): InitializeParams {
  const reads = [...order.permissions.fs_read, ...order.permissions.fs_write]
  return {
    module_id: order.moduleId,
    instance: order.instance,
    generation: order.generation,
    entry: order.entry,
    config: order.config,
    data_dir: order.dataDir,
    roots: reads.includes('$ROOTS') ? order.roots : [],
    ...(reads.includes('$RECORDS') ? { records: order.records } : {}),
    ...(order.inherited === undefined ? {} : { inherited: order.inherited }),
    listen: order.listen,
    commands: order.permissions.commands,
    heartbeat_ms: heartbeatEveryMs(order.limits.heartbeat_suspect_ms),
  }
}
