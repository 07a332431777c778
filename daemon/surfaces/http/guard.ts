import type { IncomingMessage } from 'node:http'
import { NexusError } from '../../contracts/failure.ts'

export interface Guarded {
  /** Names that TCP requests may call this daemon by, lower case, IPv6 in brackets. */
  readonly hosts: ReadonlySet<string>
  /** Came over TCP; file permissions guard the Unix socket, and browsers cannot reach it. */
  readonly overTcp: boolean
  /** The route exists: what is not there is answered 404 before anything is asked of the body. */
  readonly routed: boolean
}

/** In a query string a secret ends up in logs and histories. */
const SECRET_PARAMETERS = ['operator_key', 'token', 'access_token', 'bearer']
const SAFE_METHODS = new Set(['GET', 'HEAD', 'OPTIONS'])

/**
 * Judges a request by its head alone, before any of its body is read.
 *
 * Host: a page of another site can make its own name resolve to 127.0.0.1 and would then be of "the same origin"; it
 * cannot make the browser send another Host. Origin and content type: a page of another site can post a form here,
 * but not JSON, and not without saying whose it is.
 */
export function guard(
  request: IncomingMessage,
  query: object,
  { hosts, overTcp, routed }: Guarded,
): NexusError | undefined {
  const { headers, method = 'GET', url = '/' } = request
  if (!url.startsWith('/') && url !== '*') return bad('the request line must name a path, not an address')
  if (countOf(request, 'host') > 1) return bad('there is more than one Host header')
  const host = headers.host ?? ''
  if (overTcp && !names(hosts, host, request.socket.localPort))
    return new NexusError('HOST_REFUSED', { host: clip(host) })
  const secret = SECRET_PARAMETERS.find((name) => Object.hasOwn(query, name))
  if (secret !== undefined)
    return bad(`a secret may not stand in the address (${secret}); send it as a header or in the body`)
  if (SAFE_METHODS.has(method) || !routed) return undefined
  return judgeOrigin(headers, host) ?? judgeType(headers)
}

/** `localhost`, `localhost:8012`; a port, when named, must be the one that was reached. */
function names(hosts: ReadonlySet<string>, host: string, port: number | undefined): boolean {
  const match = /^(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::(\d{1,5}))?$/i.exec(host)
  if (match === null || !hosts.has((match[1] ?? '').toLowerCase())) return false
  return match[2] === undefined || port === undefined || Number(match[2]) === port
}

function judgeOrigin(headers: IncomingMessage['headers'], host: string): NexusError | undefined {
  const { origin } = headers
  const site = headers['sec-fetch-site']
  const foreign = site === 'cross-site' || site === 'same-site'
  if (!foreign && (origin === undefined || origin === `http://${host}`)) return undefined
  return new NexusError('ORIGIN_REFUSED', { origin: clip(origin ?? 'another site') })
}

function judgeType(headers: IncomingMessage['headers']): NexusError | undefined {
  const given = headers['content-type'] ?? ''
  if (!/^application\/json\s*(;\s*charset="?utf-8"?\s*)?$/i.test(given)) {
    return new NexusError('MEDIA_TYPE_UNSUPPORTED', { given: given === '' ? 'none' : clip(given) })
  }
  const encoding = headers['content-encoding']
  if (encoding === undefined || encoding === 'identity') return undefined
  return new NexusError('MEDIA_TYPE_UNSUPPORTED', { given: `encoded as ${clip(encoding)}` })
}

function countOf({ rawHeaders }: IncomingMessage, name: string): number {
  let count = 0
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const text = rawHeaders[at] ?? ''
    if (text.length === name.length && text.toLowerCase() === name) count += 1
  }
  return count
}

function bad(detail: string): NexusError {
  return new NexusError('BAD_REQUEST', { detail })
}

function clip(text: string): string {
  return text.slice(0, 100)
}
