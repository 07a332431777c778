import { createServer, type Server, type Socket } from 'node:net'
import { NexusError } from '../contracts/failure.ts'
import type { Clock, Timer } from '../kit/clock.ts'
import { Bond, type BondPort } from './bond.ts'
import { Line } from './line.ts'

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
  /** In order of arrival; those that had an instance before come first. */
  readonly #returned = new Set<Bond>()
  readonly #waiting = new Set<Bond>()
  /** Lines that took no connection a moment ago. */
  readonly #deaf = new Set<Line<Bond>>()
  #isShut = false
  #deadline: Timer | undefined
  #retry: Timer | undefined
  #turn = 0

  constructor(options: PortOptions) {
    this.#options = options
    this.clock = options.clock
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
    for (const bond of this.#inOrder()) this.#refuse(bond)
    for (const bond of this.#bonds) bond.settle()
    this.#deadline?.cancel()
    this.#retry?.cancel()
    this.#server.close()
  }

  // --- what connections ask ----------------------------------------------------------------------------------

  queue(bond: Bond): void {
    const isNew = !this.#bonds.has(bond)
    if (isNew && this.#waiting.size >= WAITING_MAX) {
      this.#refuse(bond)
      return
    }
    if (isNew) this.#waiting.add(bond)
    else this.#returned.add(bond)
    this.#bonds.add(bond)
    this.#pump()
  }

  unqueue(bond: Bond): void {
    this.#waiting.delete(bond)
    this.#returned.delete(bond)
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
    for (const bond of this.#inOrder()) {
      const line = this.#leastBusy()
      if (line === undefined) break
      this.#returned.delete(bond)
      this.#waiting.delete(bond)
      bond.dial(line)
    }
    this.#tally()
    this.#arm()
  }

  *#inOrder(): Iterable<Bond> {
    yield* this.#returned
    yield* this.#waiting
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

  /** While somebody waits: for the first to have waited too long, and for lines that were deaf. */
  #arm(): void {
    const [first] = this.#inOrder()
    this.#deadline?.cancel()
    if (first === undefined) return
    const { clock } = this
    const waitMs = Math.max(0, first.sinceMs + WAIT_MS_MAX - clock.elapsed())
    this.#deadline = clock.after(waitMs, () => this.#expire())
    if (this.#deaf.size === 0 || this.#retry !== undefined) return
    this.#retry = clock.after(RETRY_MS, () => {
      this.#retry = undefined
      this.#deaf.clear()
      this.#pump()
    })
  }

  #expire(): void {
    const dueMs = this.clock.elapsed() - WAIT_MS_MAX
    for (const bond of this.#inOrder()) if (bond.sinceMs <= dueMs) this.#refuse(bond)
    this.#arm()
  }

  #tally(): void {
    const { counts } = this.#options
    const waiting = this.#waiting.size + this.#returned.size
    counts[COUNT.waiting] = waiting
    counts[COUNT.open] = this.#bonds.size - waiting
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
/** As many as calls may wait for a module. */
const WAITING_MAX = 1_000
/** Clients give up about then, and a module that is not back by now will be longer. */
const WAIT_MS_MAX = 10_000
/** A program that has just started listens within a few of these. */
const RETRY_MS = 25
/** A burst may come in while this thread is busy; the kernel lowers it to its own limit. */
const BACKLOG = 4_096
/** Finds clients that are gone without a word, two minutes later. */
const KEEP_ALIVE_MS = 60_000
