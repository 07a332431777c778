import type { FastifyInstance } from 'fastify'
import { NexusError } from '../../../contracts/failure.ts'
import type { Callers } from '../callers.ts'
import { describe } from '../openapi.ts'
import type { Daemon, OmenFilter } from '../port.ts'
import { problemPage } from '../problems.ts'

const AUDIT_LIMIT_DEFAULT = 100

/** The daemon itself: its health, its modules, what it has noticed, what it has recorded. */
export function systemRoutes(app: FastifyInstance, daemon: Daemon, callers: Callers): void {
  for (const [id, path] of [
    ['health', '/health'],
    ['v1_health', '/v1/health'],
    ['system_health', '/v1/system/health'],
  ] as const) {
    app.get(path, describe.read(id, 'system', 'how the daemon is'), () => healthOf(daemon))
  }

  app.get('/v1/system/omens', describe.omens, async (request) => {
    await callers.allowed(request, 'status.read')
    return daemon.insight.omens(request.query as OmenFilter)
  })
  for (const what of ['predictions', 'templates'] as const) {
    app.get(`/v1/system/${what}`, describe.read(`system_${what}`, 'system', WHAT[what]), async (request) => {
      await callers.allowed(request, 'status.read')
      return daemon.insight[what]()
    })
  }

  app.get('/v1/status', describe.read('status', 'system', 'the state of the daemon'), async (request) =>
    daemon.status(await callers.allowed(request, 'status.read')),
  )
  app.get(
    '/v1/modules',
    describe.read('modules', 'modules', 'the state of every module'),
    async (request) => {
      await callers.allowed(request, 'status.read')
      const modules = daemon.modules()
      return { modules, count: modules.length }
    },
  )
  const moduleStatus = describe.read('module_status', 'modules', 'the state of one module')
  app.get('/v1/status/:group/:name', moduleStatus, async (request) => {
    await callers.allowed(request, 'status.read')
    const { group, name } = request.params as { group: string; name: string }
    return daemon.moduleStatus(`${group}/${name}`)
  })

  app.get('/v1/audit', describe.audit(AUDIT_LIMIT_DEFAULT), async (request) => {
    await callers.allowed(request, 'audit.read')
    const { after = 0, limit = AUDIT_LIMIT_DEFAULT } = request.query as { after?: number; limit?: number }
    const facts = await daemon.facts.read(after, limit)
    return { facts, count: facts.length, head: daemon.facts.head(), next: facts.at(-1)?.seq ?? null }
  })

  app.get('/metrics', describe.read('metrics', 'system', 'Prometheus text'), async (request, reply) => {
    await callers.allowed(request, 'metrics.read')
    const { contentType, text } = await daemon.metricsText()
    return reply.header('content-type', contentType).send(text)
  })

  app.get('/problems/:code', describe.hidden, (request) => {
    const page = problemPage((request.params as { code: string }).code)
    if (page === undefined) throw new NexusError('ROUTE_UNKNOWN', { method: 'GET', path: '/problems/…' })
    return Promise.resolve(page)
  })
}

const WHAT = {
  predictions: 'stated probabilities, open and scored',
  templates: 'learned plans (runes)',
} as const

function healthOf(daemon: Daemon): Promise<object> {
  const { ready, details, reasons } = daemon.readiness()
  return Promise.resolve({
    status: ready ? 'ok' : 'degraded',
    uptime_seconds: daemon.uptimeSeconds(),
    version: daemon.version,
    ready,
    reasons,
    modules: details,
    ...(daemon.insecureKey() && { insecure_key: true }),
  })
}
