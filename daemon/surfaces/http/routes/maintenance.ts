import type { FastifyInstance } from 'fastify'
import { RemoveMaintenanceSchema, ScheduleMaintenanceSchema } from '../../../contracts/maintenance.ts'
import type { Callers } from '../callers.ts'
import { describe } from '../openapi.ts'
import type { Daemon } from '../port.ts'

const PATH = '/v1/admin/maintenance'

/** Upkeep of the daemon's own records. The two changes are commands like any other, under names that read well. */
export function maintenanceRoutes(app: FastifyInstance, daemon: Daemon, callers: Callers): void {
  const { read, change } = describe

  const order = change('maintenance_order', 'admin', 'runs a task now, at a time, or by cron', 201)
  app.post(PATH, order(ScheduleMaintenanceSchema), async (request, reply) => {
    const principal = await callers.principal(request)
    const answer = await daemon.gate.command(principal, 'schedule_maintenance', request.body)
    return reply.code(201).send(answer)
  })

  app.get(
    PATH,
    read('maintenance_list', 'admin', 'what is scheduled, and how it ended last'),
    async (request) => {
      await callers.allowed(request, 'status.read')
      return daemon.maintenance.list()
    },
  )

  app.get(`${PATH}/:id`, read('maintenance_get', 'admin', 'one schedule or run'), async (request) => {
    await callers.allowed(request, 'status.read')
    return daemon.maintenance.get((request.params as { id: string }).id)
  })

  const remove = change('maintenance_remove', 'admin', 'removes a schedule; what runs of it goes on', 200)
  app.delete(`${PATH}/:id`, remove(RemoveMaintenanceSchema), async (request) => {
    const principal = await callers.principal(request)
    const { id: maintenance_id } = request.params as { id: string }
    const params = { ...(request.body as object | undefined), maintenance_id }
    return daemon.gate.command(principal, 'cancel_maintenance', params)
  })
}
