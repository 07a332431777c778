import { createServer, type RequestListener, type Server, type ServerOptions } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { FAILURES, NexusError } from '../contracts/failure.ts'
import type { Clock } from '../kit/clock.ts'

/** Headers beyond this are no request of ours: the largest real one has about 1 KiB. */
const HEADER_BYTES_MAX = 16_384
const LIMITS: ServerOptions = {
  /** Who needs longer for a few lines is holding the door open. */
  headersTimeout: 10_000,
  /** The largest body is 256 KiB: this is 9 KiB/s. */
  requestTimeout: 30_000,
  /** Pollers come every few seconds; a connection that waits longer is cheaper opened again. */
  keepAliveTimeout: 5_000,
  connectionsCheckingInterval: 2_500,
  maxHeaderSize: HEADER_BYTES_MAX,
}
/** Ten thousand idle connections cost 110 MB; a few hundred clients are a crowd here. */
const CONNECTIONS_MAX = 1_000
/** A client that never closes may not send requests over one connection for ever. */
const REQUESTS_PER_CONNECTION_MAX = 10_000

export type Address = { readonly host: string; readonly port: number } | { readonly path: string }

/** One listener with limits of its own: a TCP port or a Unix socket. */
export class Door {
  readonly #server: Server
  readonly #clock: Clock
  /** Connections that have not asked for anything yet: Node counts them among the busy ones. */
  readonly #quiet = new Set<Socket>()
  #closing = false

  constructor(answer: RequestListener, clock: Clock, limits: ServerOptions = {}) {
    this.#clock = clock
    this.#server = createServer({ ...LIMITS, ...limits }, (request, response) => {
      this.#quiet.delete(request.socket)
      if (this.#closing) response.setHeader('connection', 'close')
      response.once('close', () => this.#closing && setImmediate(() => this.#server.closeIdleConnections()))
      answer(request, response)
    })
    this.#server.on('connection', (socket) => {
      this.#quiet.add(socket)
      socket.once('close', () => this.#quiet.delete(socket))
    })
    this.#server.maxConnections = CONNECTIONS_MAX
    this.#server.maxRequestsPerSocket = REQUESTS_PER_CONNECTION_MAX
    this.#server.on('clientError', refuseBytes)
  }

  /** The port really listened on; 0 for a Unix socket. */
  get port(): number {
    return (this.#server.address() as AddressInfo | null)?.port ?? 0
  }

  /** @throws NexusError `PORT_UNAVAILABLE`. */
  open(address: Address): Promise<void> {
    return new Promise((resolve, reject) => {
      const fail = (cause: NodeJS.ErrnoException): void => {
        const { host, port } = 'path' in address ? { host: address.path, port: '' } : address
        reject(new NexusError('PORT_UNAVAILABLE', { host, port, reason: reasonOf(cause) }, { cause }))
      }
      this.#server.once('error', fail)
      this.#server.listen({ ...address }, () => {
        this.#server.off('error', fail)
        // Accept errors (no descriptor left) come and go by themselves; without a listener they would end the daemon.
        this.#server.on('error', () => {})
        resolve()
      })
    })
  }

  /** Accepts no more, lets requests in flight end for `graceMs`, then cuts them. Safe to call twice. */
  async close(graceMs: number): Promise<void> {
    if (!this.#server.listening) return
    this.#closing = true
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    this.#server.closeIdleConnections()
    for (const socket of this.#quiet) socket.destroy()
    const cut = this.#clock.after(graceMs, () => this.#server.closeAllConnections())
    await closed
    cut.cancel()
  }
}

function reasonOf(cause: NodeJS.ErrnoException): string {
  if (cause.code === 'EADDRINUSE') return 'another process listens there'
  if (cause.code === 'EACCES') return 'this account may not listen there'
  if (cause.code === 'EADDRNOTAVAIL') return 'this machine has no such address'
  return cause.code ?? cause.message
}

/** Answers bytes that are no request: once, and the connection is over. */
function refuseBytes(cause: NodeJS.ErrnoException, socket: Socket): void {
  if (cause.code === 'ECONNRESET' || !socket.writable) return void socket.destroy()
  const error = failureOf(cause.code)
  const body = JSON.stringify({
    type: `/problems/${error.code}`,
    title: 'the bytes are no request',
    status: error.status,
    detail: error.message,
    code: error.code,
    remedy: FAILURES[error.code].remedy,
  })
  socket.end(
    `HTTP/1.1 ${error.status} Refused\r\nContent-Type: application/problem+json; charset=utf-8\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  )
}

function failureOf(code: string | undefined): NexusError {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return new NexusError('REQUEST_TOO_SLOW')
  if (code === 'HPE_HEADER_OVERFLOW') return new NexusError('HEADERS_TOO_LARGE', { limit: HEADER_BYTES_MAX })
  return new NexusError('BAD_REQUEST', { detail: 'these bytes are no HTTP/1.1 request' })
}
