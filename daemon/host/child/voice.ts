import type { RpcPeer } from '../rpc.ts'

/** How a module is heard by the daemon. */
export type Voice = Pick<RpcPeer, 'notify' | 'request'>

/** A voice that says whose it is: for one of several modules in a process. */
export function voiceFor(peer: RpcPeer, instance: string): Voice {
  return {
    notify: (method, params) => peer.notify(method, { instance, ...params }),
    request: (method, params, waitMs) => peer.request(method, { instance, ...params }, waitMs),
  }
}
