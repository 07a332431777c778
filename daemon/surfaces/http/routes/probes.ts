import type { FastifyInstance } from 'fastify'
import { describe } from '../openapi.ts'
import type { Daemon } from '../port.ts'

/** What orchestrators ask. The status code is the contract, the body is for people. Nobody has to say who they are. */
export function probeRoutes(app: FastifyInstance, daemon: Daemon): void {
  const probe = (id: string, say: string) => describe.read(id, 'probes', say)

  app.get('/livez', probe('livez', "the daemon's own loop turns; depends on nothing else"), (_, reply) => {
    const liveness = daemon.live()
    reply.code(liveness.live ? 200 : 503).send(liveness)
  })
  app.get('/readyz', probe('readyz', 'work may be sent here'), (_, reply) => {
    const readiness = daemon.readiness()
    reply.code(readiness.ready ? 200 : 503).send(readiness)
  })
  app.get('/startupz', probe('startupz', 'the first discovery and start are through'), (_, reply) => {
    const started = daemon.startedUp()
    reply.code(started ? 200 : 503).send({ started, timestamp: daemon.live().timestamp })
  })
  app.get('/v1/critical', probe('critical', 'every critical module has a ready instance'), (_, reply) => {
    const critical = daemon.critical()
    reply.code(critical.critical ? 200 : 503).send(critical)
  })
}
