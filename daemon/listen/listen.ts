import { NexusError } from '../contracts/failure.ts'
import type { PortKeeper } from './port.ts'

/** Keeps the TCP ports of modules. */
export function createPortKeeper(): PortKeeper {
  return {
    async hold(_, listen) {
      if (listen.length > 0) throw new NexusError('NOT_AVAILABLE', { what: '`listen` of a manifest' })
    },
    paths: () => ({}),
    direct() {},
    async drain() {},
    forget() {},
    async release() {},
    status: () => [],
    async close() {},
  }
}
