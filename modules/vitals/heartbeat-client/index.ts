import type { NexusModule } from 'aeon-nexus/module'
import { HeartbeatClient } from './client.ts'
import { systemClock } from './pulse.ts'
import type { Settings } from './settings.ts'

let client: HeartbeatClient | undefined

/** Tells somebody outside, at a steady interval, that this daemon and its modules are alive. */
export default {
  start(ctx) {
    client = new HeartbeatClient(ctx, systemClock)
  },
  async stop() {
    await client?.stop()
    client = undefined
  },
  health() {
    return client?.health() ?? { status: 'unhealthy', reason: 'it was not started' }
  },
  configure(_ctx, change) {
    client?.configure(change.config as unknown as Settings)
    return 'applied'
  },
  snapshot() {
    return client?.snapshot()
  },
  actions: {
    beat: () => running().beatNow(),
    state: () => running().state(),
  },
} satisfies NexusModule

function running(): HeartbeatClient {
  if (client === undefined) throw new Error('the heartbeat was not started')
  return client
}
