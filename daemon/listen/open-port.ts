import { createServer, type Server, type Socket } from 'node:net'
import { NexusError } from '../contracts/failure.ts'
import type { Clock, Timer } from '../kit/clock.ts'
import { Bond, type BondPort } from './bond.ts'
import { Line } from './line.ts'
import { Waiting } from './waiting.ts'

/** Where new connections of a port go. */
export interface Target {
  readonly instance: string
  /** Its Unix socket. */
  readonly path: string
}

/** Counts of a port, in memory that two threads see: only the forwarding one writes. */
export const COUNT = { open: 0, waiting: 1, accepted: 2, refused: 3 } as const
export const COUNTS_BYTES = Object.keys(COUNT).length * Float64Array.BYTES_PER_ELEMENT

export interface PortOptions {
  readonly host: string
  readonly port: number
  readonly counts: Float64Array
  readonly clock: Clock
  /** Connections that there is room for, over all ports. */
  readonly room: { left: number }
}

/** One TCP port: takes connections for as long as it is open, whoever answers on them. */
export class OpenPort implements BondPort {
  readonly clock: Clock
  /** Resolves when it is shut and its last connection has ended. */
  readonly ended: Promise<void>
  readonly #options: PortOptions
  readonly #server: Server
  readonly #bonds = new Set<Bond>()
  readonly #lines = new Map<string, Line<Bond>>()
  readonly #waiting: Waiting
  /** Lines that took no connection a moment ago. */
  readonly #deaf = new Set<Line<Bond>>()
  #isShut = false
  #retry: Timer | undefined
  #turn = 0

  constructor(options: PortOptions) {
    this.#options = options
    this.clock = options.clock
    this.#waiting = new Waiting(options.clock, (bond) => this.#refuse(bond))
    this.#server = createServer({
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_MS,
    })
    this.ended = new Promise((resolve) => this.#server.once('close', resolve))
    this.#server.maxConnections = OPEN_MAX
    this.#server.on('connection', (client) => this.#accept(client))
    this.#server.on('drop', () => {
      this.#count('accepted', 1)
      this.#count('refused', 1)
    })
  }

  get isShut(): boolean {
    return this.#isShut
  }

  /** @throws NexusError `PORT_UNAVAILABLE`. */
  open(): Promise<void> {
    const { host, port } = this.#options
    return new Promise((resolve, reject) => {
      const fail = (cause: NodeJS.ErrnoException): void =>
        reject(new NexusError('PORT_UNAVAILABLE', { host, port, reason: reasonOf(cause, port) }, { cause }))
      this.#server.once('error', fail)
      this.#server.listen({ host, port, backlog: BACKLOG }, () => {
        this.#server.off('error', fail)
        // Accept errors (no descriptor left) come and go by themselves; without a listener they would end the daemon.
        this.#server.on('error', () => {})
        resolve()
      })
    })
  }

  direct(targets: readonly Target[]): void {
    const wanted = new Map(targets.map(({ instance, path }) => [instance, path]))
    for (const line of this.#lines.values()) line.isDirected = wanted.has(line.instance)
    for (const [instance, path] of wanted) {
      if (!this.#lines.has(instance)) this.#lines.set(instance, new Line(instance, path))
    }
    this.#deaf.clear()
    for (const line of this.#lines.values()) if (!line.isDirected) this.#clear(line)
    this.#pump()
  }

  /** Resolves when nothing leads to the instance any more. */
  async left(instance: string): Promise<void> {
    const line = this.#lines.get(instance)
    if (line === undefined) return
    line.isDirected = false
    this.#clear(line)
    await line.empty()
  }

  /** Ends what still leads to the instance. */
  cut(instance: string): void {
    for (const bond of this.#lines.get(instance)?.bonds ?? []) bond.cut()
  }

  /** Takes no more connections, and cuts those that wait; what is under way may end. The port is free at once. */
  shut(): void {
    this.#isShut = true
    for (const bond of this.#waiting) this.#refuse(bond)
    for (const bond of this.#bonds) bond.settle()
    this.#retry?.cancel()
    this.#server.close()
  }

  // --- what connections ask ----------------------------------------------------------------------------------

  queue(bond: Bond): void {
    const isNew = !this.#bonds.has(bond)
    if (this.#isShut || (isNew && this.#waiting.isFull)) {
      this.#refuse(bond)
      return
    }
    this.#bonds.add(bond)
    const line = this.#leastBusy()
    if (line === undefined) this.#waiting.add(bond, !isNew)
    else bond.dial(line)
    this.#tally()
    this.#listenAgain()
  }

  unqueue(bond: Bond): void {
    this.#waiting.remove(bond)
    this.#tally()
  }

  refused(line: Line<Bond>): void {
    this.#deaf.add(line)
  }

  over(bond: Bond): void {
    this.#options.room.left += 1
    this.#bonds.delete(bond)
    this.#tally()
  }

  // --- inside ------------------------------------------------------------------------------------------------

  #accept(client: Socket): void {
    this.#count('accepted', 1)
    const { room } = this.#options
    room.left -= 1
    if (room.left >= 0) return void new Bond(client, this)
    room.left += 1
    this.#count('refused', 1)
    client.resetAndDestroy()
  }

  #refuse(bond: Bond): void {
    this.unqueue(bond)
    this.#count('refused', 1)
    bond.cut()
  }

  /** Sends everybody who can go away from a line that is not directed. */
  #clear(line: Line<Bond>): void {
    for (const bond of line.bonds) bond.settle()
    if (line.bonds.size === 0) this.#lines.delete(line.instance)
    else void line.empty().then(() => this.#forget(line)) // never rejects
  }

  #forget(line: Line<Bond>): void {
    if (!line.isDirected && this.#lines.get(line.instance) === line) this.#lines.delete(line.instance)
  }

  #pump(): void {
    for (const bond of this.#waiting) {
      const line = this.#leastBusy()
      if (line === undefined) break
      this.#waiting.remove(bond)
      bond.dial(line)
    }
    this.#tally()
    this.#listenAgain()
  }

  /** While somebody waits, lines that were deaf are tried again. */
  #listenAgain(): void {
    if (this.#waiting.size === 0 || this.#deaf.size === 0) return
    this.#retry ??= this.clock.after(RETRY_MS, () => {
      this.#retry = undefined
      this.#deaf.clear()
      this.#pump()
    })
  }

  /** Among equals they take turns. */
  #leastBusy(): Line<Bond> | undefined {
    let best: Line<Bond> | undefined
    const lines = [...this.#lines.values()].filter((line) => line.isDirected && !this.#deaf.has(line))
    this.#turn += 1
    for (let index = 0; index < lines.length; index += 1) {
      const line = lines[(index + this.#turn) % lines.length]
      if (line !== undefined && (best === undefined || line.bonds.size < best.bonds.size)) best = line
    }
    return best
  }

  #tally(): void {
    const { counts } = this.#options
    counts[COUNT.waiting] = this.#waiting.size
    counts[COUNT.open] = this.#bonds.size - this.#waiting.size
  }

  #count(name: keyof typeof COUNT, by: number): void {
    const { counts } = this.#options
    counts[COUNT[name]] = (counts[COUNT[name]] ?? 0) + by
  }
}

function reasonOf(cause: NodeJS.ErrnoException, port: number): string {
  if (cause.code === 'EADDRINUSE') return 'something else listens there already'
  if (cause.code === 'EADDRNOTAVAIL') return 'this machine has no such address'
  if (cause.code === 'EACCES') {
    return `this account may not open a port below 1024; choose another than ${port}, or grant CAP_NET_BIND_SERVICE`
  }
  return cause.code ?? cause.message
}

/** A crowd for one module; each costs two descriptors and 10 KiB. */
const OPEN_MAX = 10_000
/** A program that has just started listens within a few of these. */
const RETRY_MS = 25
/** A burst may come in while this thread is busy; the kernel lowers it to its own limit. */
const BACKLOG = 4_096
/** Finds clients that are gone without a word, two minutes later. */
const KEEP_ALIVE_MS = 60_000
