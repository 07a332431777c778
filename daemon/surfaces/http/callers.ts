import type { FastifyRequest } from 'fastify'
import type { Permission, Principal } from '../../contracts/roles.ts'
import type { Credentials } from '../../security/authenticate.ts'
import { isLoopback } from '../../security/loopback.ts'
import type { Daemon } from './port.ts'

/** Which door a request came through. */
export type Door = 'tcp' | 'socket'

/** Finds out who asks, and whether they may. */
export class Callers {
  readonly #daemon: Daemon
  readonly #doorOf: (request: FastifyRequest) => Door

  constructor(daemon: Daemon, doorOf: (request: FastifyRequest) => Door) {
    this.#daemon = daemon
    this.#doorOf = doorOf
  }

  /** @throws NexusError when what was presented is wrong: never ignored, also where nothing was needed. */
  async principal(request: FastifyRequest): Promise<Principal> {
    try {
      return await this.#daemon.authenticate(credentialsOf(request, this.#doorOf(request)))
    } catch (cause) {
      await this.#daemon.gate.turnedAway(routeOf(request), cause)
      throw cause
    }
  }

  /** @throws NexusError `PERMISSION_DENIED`, besides. */
  async allowed(request: FastifyRequest, permission: Permission): Promise<Principal> {
    const principal = await this.principal(request)
    await this.#daemon.gate.allow(principal, permission, routeOf(request))
    return principal
  }
}

/** The pattern of the route, not the path: paths hold ids without end, and whatever a client writes. */
export function routeOf(request: FastifyRequest): string {
  return request.routeOptions.url ?? 'none'
}

function credentialsOf(request: FastifyRequest, door: Door): Credentials {
  const header = request.headers['x-operator-key']
  const bodyKey = (request.body as { operator_key?: unknown } | null | undefined)?.operator_key
  return {
    surface: door === 'socket' ? door : tcpFrom(request.raw.socket.remoteAddress ?? ''),
    ...(typeof header === 'string' && { operatorKeyHeader: header }),
    ...authorizationOf(request.headers.authorization),
    ...(typeof bodyKey === 'string' && { bodyKey }),
  }
}

/** An operator key may come as a bearer; its first letters say what it is. Another scheme is wrong, not absent. */
function authorizationOf(header: string | undefined): Partial<Credentials> {
  if (header === undefined) return {}
  const bearer = /^Bearer +(\S+) *$/i.exec(header)?.[1] ?? ''
  return bearer.startsWith('nxk_') ? { operatorKeyHeader: bearer } : { bearer }
}

/** Listening on `::`, Node shows IPv4 callers in IPv6's clothes. */
function tcpFrom(address: string): Credentials['surface'] {
  return isLoopback(address.replace(/^::ffff:/, '')) ? 'tcp-loopback' : 'tcp'
}
