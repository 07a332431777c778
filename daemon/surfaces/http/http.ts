import { chmodSync } from 'node:fs'
import type { Socket } from 'node:net'
import type { Chance } from '../../kit/chance.ts'
import type { Clock } from '../../kit/clock.ts'
import type { Log } from '../../telemetry/log.ts'
import { Door as Listener } from '../door.ts'
import { type Answer, createApp } from './app.ts'
import type { Daemon } from './port.ts'
import { clearSocketPath } from './unix-path.ts'

export interface HttpOptions {
  readonly clock: Clock
  readonly chance: Chance
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  /** Of the Unix socket; the caller holds the lock on the data folder it lies in. */
  readonly socketPath: string
  readonly log?: Pick<Log, 'write'>
  readonly answered?: (answer: Answer) => void
}

/** The application on its two doors. */
export interface HttpSurface {
  /** The TCP port really listened on. */
  readonly port: number
  /** Accepts no more, ends streams, lets requests in flight end for `graceMs`, then cuts them. Safe to call twice. */
  close(graceMs: number): Promise<void>
}

/**
 * Opens TCP and the Unix socket (mode 0600) for one application.
 *
 * @throws NexusError `PORT_UNAVAILABLE`, `SOCKET_PATH_TOO_LONG`; nothing stays open then.
 */
export async function openHttp(daemon: Daemon, options: HttpOptions): Promise<HttpSurface> {
  const unixSockets = new WeakSet<Socket>()
  const app = await createApp(daemon, {
    ...options,
    doorOf: (request) => (unixSockets.has(request.raw.socket) ? 'socket' : 'tcp'),
  })
  const tcp = new Listener(app.fastify.routing, options.clock)
  const unix = new Listener((request, response) => {
    unixSockets.add(request.socket)
    app.fastify.routing(request, response)
  }, options.clock)

  const close = async (graceMs: number): Promise<void> => {
    app.endStreams()
    await Promise.all([tcp.close(graceMs), unix.close(graceMs)])
    await app.fastify.close()
  }
  try {
    await clearSocketPath(options.socketPath)
    await tcp.open({ host: options.host, port: options.port })
    await openPrivately(unix, options.socketPath)
  } catch (cause) {
    await close(0)
    throw cause
  }
  return { port: tcp.port, close }
}

/** The mask closes the moment between bind and chmod; the mode is set besides, for file systems that ignore masks. */
async function openPrivately(unix: Listener, path: string): Promise<void> {
  const mask = process.umask(0o177)
  try {
    const opened = unix.open({ path })
    process.umask(mask)
    await opened
  } finally {
    process.umask(mask)
  }
  chmodSync(path, 0o600)
}
