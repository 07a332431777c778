import { readFileSync } from 'node:fs'
import { NexusError } from '../contracts/failure.ts'
import type { InstanceId, ModuleId } from '../contracts/ids.ts'
import type { Manifest } from '../contracts/manifest.ts'
import type { PortStatus } from '../contracts/status.ts'
import type { Chance } from '../kit/chance.ts'
import type { Exchange } from './exchange.ts'
import { COUNT, COUNTS_BYTES } from './open-port.ts'
import type { PortKeeper } from './port.ts'
import { startExchange } from './remote-exchange.ts'
import { SocketFolder } from './socket-folder.ts'

export interface PortKeeperOptions {
  /** For the sockets of instances; the caller holds the lock on the data folder it lies in. */
  readonly runDir: string
  readonly chance: Chance
  /** Whether a module may open a port on this address. */
  mayOpen(host: string): boolean
  /** The forwarding has ended by itself. */
  onBug(error: unknown): void
  /** Where connections are forwarded; a thread of its own, started with the first port, when absent. */
  readonly exchange?: Exchange
}

/** Keeps the TCP ports of modules. Nothing runs for it until a module has one. */
export function createPortKeeper(options: PortKeeperOptions): PortKeeper {
  return new Keeper(options)
}

interface HeldPort {
  readonly key: string
  /** More than one while a reload gives it another; the newest comes last. */
  readonly names: readonly string[]
  readonly host: string
  readonly port: number
  readonly counts: SharedArrayBuffer
}

interface Holding {
  ports: readonly HeldPort[]
  /** Sockets of instances, by the names of ports. */
  readonly sockets: Map<InstanceId, ReadonlyMap<string, string>>
  directed: readonly InstanceId[]
  /** Of every port that it has had, by key: a stop does not begin them anew. */
  readonly counts: Map<string, SharedArrayBuffer>
}

class Keeper implements PortKeeper {
  readonly #options: PortKeeperOptions
  readonly #folder: SocketFolder
  readonly #holdings = new Map<ModuleId, Holding>()
  #started: (Exchange & { close?(): Promise<void> }) | undefined

  constructor(options: PortKeeperOptions) {
    this.#options = options
    this.#folder = new SocketFolder(options.runDir, options.chance)
  }

  async hold(moduleId: ModuleId, listen: Manifest['listen']): Promise<void> {
    const held = this.#holdings.get(moduleId)
    if (listen.length === 0 && held === undefined) return
    const holding: Holding = held ?? { ports: [], sockets: new Map(), directed: [], counts: new Map() }
    const former = holding.ports
    const wanted = portsOf(moduleId, listen, holding.counts)
    const added = wanted.filter(({ key }) => !former.some((port) => port.key === key))
    for (const port of added) this.#judge(moduleId, port)

    this.#holdings.set(moduleId, holding)
    // Claimed before they are open: nobody else may ask for them meanwhile.
    holding.ports = [...former, ...added]
    try {
      this.#folder.open(moduleId)
      await this.#open(moduleId, added)
    } catch (error) {
      holding.ports = former
      if (former.length === 0) this.#holdings.delete(moduleId)
      throw error
    }
    holding.ports = wanted
    const dropped = former.filter(({ key }) => !wanted.some((port) => port.key === key))
    await Promise.all(dropped.map(({ key }) => this.#exchange.shut(key)))
    this.direct(moduleId, holding.directed)
  }

  paths(moduleId: ModuleId, instance: InstanceId): Readonly<Record<string, string>> {
    const holding = this.#holdings.get(moduleId)
    if (holding === undefined) return {}
    const known = holding.sockets.get(instance)
    const names = new Set(holding.ports.flatMap(({ names }) => names))
    const sockets = known ?? new Map([...names].map((name) => [name, this.#folder.next(moduleId)]))
    holding.sockets.set(instance, sockets)
    return Object.fromEntries(sockets)
  }

  direct(moduleId: ModuleId, instances: readonly InstanceId[]): void {
    const holding = this.#holdings.get(moduleId)
    if (holding === undefined) return
    holding.directed = instances
    for (const { key, names } of holding.ports) {
      const targets = instances.flatMap((instance) => {
        const sockets = holding.sockets.get(instance)
        const path = names.map((name) => sockets?.get(name)).findLast((one) => one !== undefined)
        return path === undefined ? [] : [{ instance, path }]
      })
      void this.#exchange.direct(key, targets) // never rejects
    }
  }

  async drain(moduleId: ModuleId, instance: InstanceId, waitMs: number): Promise<void> {
    if (this.#holdings.get(moduleId)?.sockets.has(instance) !== true) return
    await this.#exchange.drain(instance, waitMs)
  }

  forget(moduleId: ModuleId, instance: InstanceId): void {
    const sockets = this.#holdings.get(moduleId)?.sockets
    const own = sockets?.get(instance)
    if (own === undefined) return
    sockets?.delete(instance)
    void this.#exchange.forget(instance) // never rejects
    for (const path of own.values()) this.#folder.remove(path)
  }

  async release(moduleId: ModuleId): Promise<void> {
    const holding = this.#holdings.get(moduleId)
    if (holding === undefined) return
    const { ports } = holding
    holding.ports = []
    await Promise.all(ports.map(({ key }) => this.#exchange.shut(key)))
  }

  status(moduleId: ModuleId): readonly PortStatus[] {
    const ports = this.#holdings.get(moduleId)?.ports ?? []
    return ports.map(({ names, host, port, counts }) => {
      const count = new Float64Array(counts)
      const read = (what: keyof typeof COUNT): number => count[COUNT[what]] ?? 0
      return {
        name: names.at(-1) ?? '',
        host,
        port,
        open: read('open'),
        waiting: read('waiting'),
        accepted: read('accepted'),
        refused: read('refused'),
      }
    })
  }

  all(): readonly (PortStatus & { readonly module: ModuleId })[] {
    return [...this.#holdings.keys()].flatMap((module) =>
      this.status(module).map((status) => ({ module, ...status })),
    )
  }

  async close(): Promise<void> {
    await Promise.all([...this.#holdings.keys()].map((moduleId) => this.release(moduleId)))
    this.#holdings.clear()
    await this.#started?.close?.()
    this.#folder.close()
  }

  get #exchange(): Exchange {
    const { exchange, onBug } = this.#options
    this.#started ??= exchange ?? startExchange(roomMax(), onBug)
    return this.#started
  }

  /** @throws NexusError `PORT_UNAVAILABLE` when it must not be opened. */
  #judge(moduleId: ModuleId, wanted: HeldPort): void {
    const { host, port } = wanted
    const refuse = (reason: string): never => {
      throw unavailable(moduleId, wanted, reason)
    }
    if (!this.#options.mayOpen(host)) {
      refuse(`the network may reach it there; the operator allows that with \`listen.hosts\``)
    }
    for (const [other, { ports }] of this.#holdings) {
      const rival = ports.find((held) => held.port === port && overlaps(held.host, host))
      if (rival !== undefined) refuse(`it belongs to ${other} ("${rival.names.join()}")`)
    }
  }

  async #open(moduleId: ModuleId, ports: readonly HeldPort[]): Promise<void> {
    const opened: string[] = []
    try {
      for (const port of ports) {
        await this.#exchange.open(port)
        opened.push(port.key)
      }
    } catch (error) {
      await Promise.all(opened.map((key) => this.#exchange.shut(key)))
      const port = ports[opened.length]
      if (!(error instanceof NexusError) || port === undefined) throw error
      throw unavailable(moduleId, port, String(error.facts['reason']), error)
    }
  }
}

/** A port that is held already stays what it is, whatever it is called now. */
function portsOf(
  moduleId: ModuleId,
  listen: Manifest['listen'],
  known: Map<string, SharedArrayBuffer>,
): HeldPort[] {
  const ports = new Map<string, HeldPort>()
  for (const { name, port, host: written } of listen) {
    const host = written === 'localhost' ? '127.0.0.1' : written
    const key = `${moduleId} ${host} ${port}`
    const counts = known.get(key) ?? new SharedArrayBuffer(COUNTS_BYTES)
    known.set(key, counts)
    const names = [...(ports.get(key)?.names ?? []), name]
    ports.set(key, { key, names, host, port, counts })
  }
  return [...ports.values()]
}

function unavailable(
  moduleId: ModuleId,
  { names, host, port }: HeldPort,
  reason: string,
  cause?: NexusError,
): NexusError {
  const facts = { host, port, reason: `${reason}; ${moduleId} wants it for "${names.join()}"` }
  return new NexusError('PORT_UNAVAILABLE', facts, { cause })
}

function overlaps(one: string, other: string): boolean {
  return one === other || ANY.has(one) || ANY.has(other)
}
const ANY: ReadonlySet<string> = new Set(['0.0.0.0', '::'])

/** Half of the descriptors that this process may have, two for each connection; the rest is for everything else. */
function roomMax(): number {
  const limits = readFileSync('/proc/self/limits', 'latin1')
  const files = Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? 1_024)
  return Math.floor(files / 4)
}
