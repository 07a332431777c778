import type { FastifyRequest } from 'fastify'
import type { Permission, Principal } from '../../contracts/roles.ts'
import type { Credentials, Daemon, Door } from './port.ts'

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

function credentialsOf(request: FastifyRequest, surface: Door): Credentials {
  const bearer = /^Bearer +([^\s]+) *$/i.exec(request.headers.authorization ?? '')?.[1]
  const header = request.headers['x-operator-key']
  const bodyKey = (request.body as { operator_key?: unknown } | null | undefined)?.operator_key
  return {
    surface,
    ...(bearer !== undefined && { bearer }),
    // Another scheme is wrong, not absent.
    ...(bearer === undefined && request.headers.authorization !== undefined && { bearer: '' }),
    ...(typeof header === 'string' && { operatorKeyHeader: header }),
    ...(typeof bodyKey === 'string' && { bodyKey }),
  }
}
