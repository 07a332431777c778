import { createSocket } from 'node:dgram'
import { isIPv6 } from 'node:net'
import type { ModuleLog } from 'aeon-nexus/module'
import type { Settings } from './settings.ts'

/** What every beat says. */
export interface BeatBody {
  readonly module: string
  readonly instance: string
  /** One more with each beat, across reloads. */
  readonly seq: number
  /** RFC 3339. */
  readonly ts: string
  /** Of the instance. */
  readonly uptime_seconds: number
}

/** Sends one beat. Resolves when it has gone out: over HTTP that means answered with a 2xx. @throws Error that says why not. */
export async function send(
  body: BeatBody,
  settings: Settings,
  log: ModuleLog,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted()
  switch (settings.target) {
    case 'console':
      return log.info('heartbeat', { ...body })
    case 'udp':
      return sendDatagram(JSON.stringify(body), settings.udp, signal)
    case 'http':
      return post(JSON.stringify(body), settings.http.url ?? '', signal)
  }
}

/** A socket for each beat: it is cheap, and nothing is left behind when host or port change. */
async function sendDatagram(
  text: string,
  { host, port }: Settings['udp'],
  signal: AbortSignal,
): Promise<void> {
  const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4')
  try {
    await new Promise<void>((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true })
      socket.once('error', reject)
      socket.send(text, port ?? 0, host, (error) => (error === null ? resolve() : reject(error)))
    })
  } finally {
    socket.close()
  }
}

async function post(body: string, url: string, signal: AbortSignal): Promise<void> {
  const headers = { 'content-type': 'application/json' }
  // A redirect would turn the POST into a GET that somebody answers kindly: not what was configured.
  const answer = await fetch(url, { method: 'POST', headers, body, signal, redirect: 'manual' })
  await answer.body?.cancel()
  if (!answer.ok) throw new Error(`it answered ${answer.status}`)
}

/** The cause that tells something: `fetch failed` does not. */
export function reasonOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown)
  const { cause } = thrown
  if (cause instanceof AggregateError && cause.errors.length > 0) return reasonOf(cause.errors[0])
  if (cause instanceof Error) return reasonOf(cause)
  return thrown.message === '' ? String((thrown as NodeJS.ErrnoException).code) : thrown.message
}
