import type { FastifyInstance } from 'fastify'
import { COMMANDS } from '../../../contracts/command.ts'
import type { Callers } from '../callers.ts'
import { describe } from '../openapi.ts'
import type { Daemon } from '../port.ts'

export const COMMAND_PREFIX = '/v1/commands/'

/** Every command of the table by its own route, and one that answers for names no command has. */
export function commandRoutes(app: FastifyInstance, daemon: Daemon, callers: Callers): void {
  const run = async (name: string, request: Parameters<Callers['principal']>[0]) => {
    const principal = await callers.principal(request)
    return { success: true, result: await daemon.gate.command(principal, name, request.body) }
  }
  for (const [name, { say, params }] of Object.entries(COMMANDS)) {
    app.post(`${COMMAND_PREFIX}${name}`, describe.command(name, say, params), (request) => run(name, request))
  }
  app.post(`${COMMAND_PREFIX}:name`, describe.hidden, (request) =>
    run((request.params as { name: string }).name, request),
  )
}
