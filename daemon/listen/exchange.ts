import { type Clock, sleep } from '../kit/clock.ts'
import { OpenPort, type Target } from './open-port.ts'

interface PortOrder {
  /** Names the port towards its owner. */
  readonly key: string
  readonly host: string
  readonly port: number
  /** `COUNTS_BYTES` of shared memory. */
  readonly counts: SharedArrayBuffer
}

/** All open ports, and the connections that go through them. Lives in a thread of its own. */
export interface Exchange {
  /** @throws NexusError `PORT_UNAVAILABLE`. */
  open(order: PortOrder): Promise<void>
  direct(key: string, targets: readonly Target[]): Promise<void>
  /** Nothing new goes to the instance; resolves when nothing leads to it, or after `waitMs`. */
  drain(instance: string, waitMs: number): Promise<void>
  /** Nothing new goes to the instance, and what it has not ended by itself in a while is cut. */
  forget(instance: string): Promise<void>
  /** Resolves when the port is free. Connections under way may end. */
  shut(key: string): Promise<void>
}

/** @param roomMax - Connections, all ports together. */
export function createExchange(clock: Clock, roomMax: number): Exchange {
  const ports = new Map<string, OpenPort>()
  /** Shut, but connections under way still lead through them. */
  const closing = new Set<OpenPort>()
  const room = { left: roomMax }
  const all = (): OpenPort[] => [...ports.values(), ...closing]
  const left = async (instance: string, waitMs: number): Promise<void> => {
    const over = new AbortController()
    const late = sleep(clock, waitMs, over.signal).catch(() => {}) // aborted when everybody has left
    await Promise.race([Promise.all(all().map((port) => port.left(instance))), late])
    over.abort()
  }

  return {
    async open({ key, host, port: number, counts }) {
      const port = new OpenPort({ host, port: number, counts: new Float64Array(counts), clock, room })
      await port.open()
      ports.set(key, port)
    },
    direct: async (key, targets) => ports.get(key)?.direct(targets),
    drain: left,
    async forget(instance) {
      // What it said last may still be on its way; the kernel ends the sockets of a process that is gone.
      await left(instance, LINGER_MS)
      for (const port of all()) port.cut(instance)
    },
    async shut(key) {
      const port = ports.get(key)
      if (port === undefined) return
      ports.delete(key)
      closing.add(port)
      void port.ended.then(() => closing.delete(port)) // never rejects
      port.shut()
    },
  }
}

/** For a descendant that keeps the sockets of an instance that is gone, or a client that reads slowly. */
const LINGER_MS = 5_000
