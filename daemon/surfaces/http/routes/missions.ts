import type { FastifyInstance, FastifyRequest } from 'fastify'
import { NexusError } from '../../../contracts/failure.ts'
import {
  ApproveSchema,
  CancelSchema,
  CreateSchema,
  IDEMPOTENCY_KEY_PATTERN,
  ListSchema,
  type MissionFilter,
  RetrySchema,
  RunSchema,
} from '../../../contracts/mission.ts'
import type { BatchEnd, MissionOperation } from '../../../gate/port.ts'
import type { Callers } from '../callers.ts'
import { describe } from '../openapi.ts'
import type { Daemon } from '../port.ts'
import { problemOf } from '../problems.ts'
import { BatchBody } from '../shapes.ts'

/** A batch of a thousand missions with some input each. */
const BATCH_BYTES_MAX = 8 * 1_048_576
/** Types a browser shows without running anything; everything else is a download. */
const SHOWN_TYPES = /^(text\/(plain|markdown|csv)|application\/(json|x-ndjson)|image\/png)\b/

/** What could run something in a browser that ignored `attachment` is not even called by its name. */
const ACTIVE_TYPES = /(html|xml|script)/i

/** Everything about missions. */
export function missionRoutes(app: FastifyInstance, daemon: Daemon, callers: Callers): void {
  const ask = async (operation: MissionOperation, request: FastifyRequest, key?: string) =>
    daemon.gate.mission(operation, await callers.principal(request), request.body, key)

  app.post('/v1/missions/create', describe.create(CreateSchema), async (request, reply) => {
    const { replayed, answer } = await ask('create', request, idempotencyKeyOf(request))
    return reply.code(replayed ? 200 : 201).send(answer)
  })

  app.post('/v1/missions/run', describe.run(RunSchema), async (request, reply) => {
    const { answer } = await ask('run', request)
    return reply.code((answer as { status?: string }).status === 'accepted' ? 202 : 200).send(answer)
  })

  for (const operation of ['approve', 'reject', 'cancel'] as const) {
    const schema = operation === 'approve' ? ApproveSchema : CancelSchema
    app.post(`/v1/missions/${operation}`, describe.decide(operation, schema), async (request) => {
      const { answer } = await ask(operation, request)
      return answer
    })
  }

  app.post('/v1/missions/retry', describe.retry(RetrySchema), async (request, reply) => {
    const { replayed, answer } = await ask('retry', request, idempotencyKeyOf(request))
    return reply.code(replayed ? 200 : 201).send(answer)
  })

  const batch = { ...describe.batch(BatchBody), bodyLimit: BATCH_BYTES_MAX }
  app.post('/v1/missions/batch', batch, async (request, reply) => {
    const principal = await callers.principal(request)
    if (request.headers['idempotency-key'] !== undefined) {
      const detail = 'a batch has no Idempotency-Key of its own; give each mission its `idempotency_key`'
      throw new NexusError('BAD_REQUEST', { detail })
    }
    const ends = await daemon.gate.missions(principal, request.body)
    return reply.code(207).send({ results: ends.map((end) => resultOf(end, request)) })
  })

  app.get('/v1/missions/list', describe.list(ListSchema), async (request) => {
    await callers.allowed(request, 'mission.read')
    return daemon.missions.list(request.query as MissionFilter)
  })

  app.get(
    '/v1/missions/:mission_id',
    describe.read('mission_get', 'missions', 'one mission'),
    async (request) => {
      await callers.allowed(request, 'mission.read')
      return daemon.missions.get((request.params as { mission_id: string }).mission_id)
    },
  )

  const artifact = describe.read('mission_artifact', 'missions', 'a file that a mission produced')
  app.get('/v1/missions/:mission_id/artifacts/:name', artifact, async (request, reply) => {
    await callers.allowed(request, 'mission.read')
    const { mission_id, name } = request.params as { mission_id: string; name: string }
    const { mediaType, bytes } = await daemon.missions.artifact(mission_id, name)
    const shown = SHOWN_TYPES.test(mediaType)
    const file = name.replace(/[^A-Za-z0-9._-]/g, '_')
    return reply
      .header('content-type', ACTIVE_TYPES.test(mediaType) ? 'application/octet-stream' : mediaType)
      .header('content-disposition', `${shown ? 'inline' : 'attachment'}; filename="${file}"`)
      .send(Buffer.from(bytes))
  })
}

/** What create would have answered. */
function resultOf(end: BatchEnd, { id, url }: FastifyRequest): object {
  if (!(end instanceof NexusError)) return { status: end.replayed ? 200 : 201, mission: end.answer }
  const { status, body } = problemOf(end, { requestId: id, path: url.split('?', 1)[0] ?? '' })
  const seconds = end.retryAfterSeconds
  return { status, problem: { ...body, ...(seconds !== undefined && { retry_after_seconds: seconds }) } }
}

function idempotencyKeyOf(request: FastifyRequest): string | undefined {
  const key = request.headers['idempotency-key']
  if (key === undefined) return undefined
  if (typeof key === 'string' && IDEMPOTENCY_KEY_PATTERN.test(key)) return key
  throw new NexusError('BAD_REQUEST', {
    detail: 'the Idempotency-Key must have 1 to 256 printable characters',
  })
}
