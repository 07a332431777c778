import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { seededChance } from '../../daemon/kit/chance.ts'
import { createExchange } from '../../daemon/listen/exchange.ts'
import { createPortKeeper } from '../../daemon/listen/listen.ts'
import type { PortKeeper } from '../../daemon/listen/port.ts'
import { shortDir } from '../support/short-dir.ts'
import { TestClock } from '../support/test-clock.ts'

export const MODULE = 'demo/web'

interface Test {
  teardown(undo: () => unknown): void
}

/** A port of the machine that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** A keeper with one open port in this thread, on a clock that stands still, and instances that are servers of the test. */
export class Street {
  readonly clock = new TestClock()
  readonly dir: string
  readonly keeper: PortKeeper
  readonly #t: Test
  port = 0
  #instances = 0

  private constructor(t: Test, roomMax: number) {
    this.#t = t
    this.dir = shortDir(t)
    this.keeper = createPortKeeper({
      runDir: this.dir,
      chance: seededChance(1),
      mayOpen: (host) => host.startsWith('127.'),
      onBug: (error) => {
        throw error
      },
      exchange: createExchange(this.clock, roomMax),
    })
    t.teardown(() => this.keeper.close())
  }

  static async open(t: Test, roomMax = 100_000): Promise<Street> {
    const street = new Street(t, roomMax)
    street.port = await freePort()
    await street.keeper.hold(MODULE, [{ name: 'web', host: '127.0.0.1', port: street.port }])
    return street
  }

  /** An instance that listens; it is not directed yet. */
  async instance(serve: (socket: Socket) => void, server: Server = createServer({ allowHalfOpen: true })) {
    this.#instances += 1
    const id = `${MODULE}#${this.#instances}`
    const path = this.keeper.paths(MODULE, id)['web'] ?? ''
    const sockets = new Set<Socket>()
    server.on('connection', (socket: Socket) => {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.once('close', () => sockets.delete(socket))
      serve(socket)
    })
    server.listen(path)
    await once(server, 'listening')
    /** As a process that is killed: nothing is read any more, all is closed at once. */
    const kill = (): void => {
      server.close()
      for (const socket of sockets) socket.destroy()
    }
    this.#t.teardown(kill)
    return { id, path, sockets, kill }
  }

  direct(...instances: { readonly id: string }[]): void {
    this.keeper.direct(
      MODULE,
      instances.map(({ id }) => id),
    )
  }

  /** A client that is connected; what it hears is collected. */
  async client(): Promise<Client> {
    const socket = connect({ port: this.port, host: '127.0.0.1', allowHalfOpen: true })
    const client = new Client(socket)
    this.#t.teardown(() => socket.destroy())
    await until(
      () => !socket.connecting,
      () => 'no connection came about',
    )
    return client
  }

  get status() {
    const [status] = this.keeper.status(MODULE)
    if (status === undefined) throw new Error('no port is held')
    const { open, waiting, accepted, refused } = status
    return { open, waiting, accepted, refused }
  }

  /** Resolves once the port's numbers are these: sockets tell each other through the kernel, a turn or two later. */
  async counts(wanted: Partial<Street['status']>): Promise<void> {
    const fits = (): boolean =>
      Object.entries(wanted).every(([key, value]) => this.status[key as 'open'] === value)
    await until(fits, () => `${JSON.stringify(this.status)}, wanted ${JSON.stringify(wanted)}`)
  }
}

/** Bounded by turns of the event loop, not by time. */
export async function until(fits: () => boolean, told: () => string): Promise<void> {
  for (let turn = 0; turn < 20_000; turn += 1) {
    if (fits()) return
    await new Promise((resolve) => setImmediate(resolve))
  }
  throw new Error(told())
}

export class Client {
  readonly socket: Socket
  heard = ''
  /** How it ended: `end` for an orderly end, else the code of the error. */
  over: string | undefined

  constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (bytes) => {
      this.heard += bytes.toString('latin1')
    })
    socket.once('end', () => {
      this.over ??= 'end'
    })
    socket.once('error', (error: NodeJS.ErrnoException) => {
      this.over ??= error.code ?? error.message
    })
  }

  /** Says something, and resolves once `expected` has been heard since. */
  async ask(text: string, expected: string): Promise<void> {
    this.heard = ''
    this.socket.write(text)
    await this.hears(expected)
  }

  async hears(expected: string): Promise<void> {
    await until(
      () => this.heard.includes(expected),
      () => `heard ${JSON.stringify(this.heard)}, over ${this.over}, wanted ${JSON.stringify(expected)}`,
    )
  }

  async ends(): Promise<string> {
    await until(
      () => this.over !== undefined,
      () => `it goes on, heard ${JSON.stringify(this.heard)}`,
    )
    return this.over ?? ''
  }
}

export const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'

/** An answer of HTTP with this text. */
export function http(text: string, status = '200 OK'): string {
  return `HTTP/1.1 ${status}\r\nContent-Length: ${text.length}\r\n\r\n${text}`
}
