import type { FastifyInstance, FastifyRequest } from 'fastify'
import { FACT_TYPES, type Fact } from '../../../contracts/fact.ts'
import { NexusError } from '../../../contracts/failure.ts'
import type { MissionProgress } from '../../../contracts/mission.ts'
import { didYouMean } from '../../../kit/nearest.ts'
import type { Callers } from '../callers.ts'
import { streamFacts } from '../event-stream.ts'
import { describe } from '../openapi.ts'
import type { Daemon } from '../port.ts'
import type { OpenStream, Streams } from '../streams.ts'

const PROGRESS = 'mission.progress'
const LOG_LINES_DEFAULT = 100
const NDJSON = 'application/x-ndjson; charset=utf-8'

/** Answers that go on: facts as they become durable, log lines as they are written. */
export function streamRoutes(app: FastifyInstance, daemon: Daemon, callers: Callers, streams: Streams): void {
  app.get('/v1/events', { ...describe.events, exposeHeadRoute: false }, async (request, reply) => {
    await callers.allowed(request, 'status.read')
    const wanted = wantedOf(request)
    const after = afterOf(request) ?? daemon.facts.head()
    const stream = streams.open(reply, { 'content-type': 'text/event-stream; charset=utf-8' }, ':\n\n')
    if (asksForProgress(request)) stream.onClose(daemon.missions.onProgress(progressTo(stream)))
    try {
      await streamFacts(stream, daemon.facts, after, wanted)
    } catch (cause) {
      // The headers are gone, so no status can tell: the client comes back by itself and finds out then.
      stream.end()
      throw cause
    }
  })

  app.get('/v1/logs/:group/:name', { ...describe.logs, exposeHeadRoute: false }, async (request, reply) => {
    await callers.allowed(request, 'status.read')
    const { group, name } = request.params as { group: string; name: string }
    const moduleId = daemon.moduleStatus(`${group}/${name}`).module_id
    const { follow, limit = LOG_LINES_DEFAULT } = request.query as { follow?: string; limit?: number }
    const recent = daemon.logs.recent(moduleId, limit)
    if (follow !== '1' && follow !== 'true') {
      return reply.header('content-type', NDJSON).send(recent.map(lineOf).join(''))
    }
    const stream = streams.open(reply, { 'content-type': NDJSON })
    const send = (line: object): void => {
      if (stream.write(lineOf(line)) === 'full') stream.end()
    }
    for (const line of recent) send(line)
    stream.onClose(daemon.logs.subscribe(moduleId, send))
    return reply
  })
}

function lineOf(line: object): string {
  return `${JSON.stringify(line)}\n`
}

/** `types=mission.created,module.*`; nothing named is everything. */
function wantedOf(request: FastifyRequest): (fact: Fact) => boolean {
  const { types } = request.query as { types?: string }
  if (types === undefined) return () => true
  const exact = new Set<string>()
  const prefixes: string[] = []
  for (const name of types.split(',')) {
    const prefix = name.endsWith('.*') ? name.slice(0, -1) : undefined
    if (prefix !== undefined && FACT_TYPES.some((type) => type.startsWith(prefix))) prefixes.push(prefix)
    else if ((FACT_TYPES as readonly string[]).includes(name)) exact.add(name)
    else if (name !== PROGRESS) throw unknownType(name)
  }
  return ({ type }) => exact.has(type) || prefixes.some((prefix) => type.startsWith(prefix))
}

/** Only by its name: it is no fact, has no id, and nobody who reads facts would expect it. */
function asksForProgress(request: FastifyRequest): boolean {
  const { types } = request.query as { types?: string }
  return types?.split(',').includes(PROGRESS) === true
}

/** Lossy by nature: what a slow reader misses, the next word makes good. */
function progressTo(stream: OpenStream): (missionId: string, progress: MissionProgress) => void {
  return (mission_id, progress) => {
    if (
      stream.write(`event: ${PROGRESS}\ndata: ${JSON.stringify({ mission_id, ...progress })}\n\n`) === 'full'
    ) {
      stream.end()
    }
  }
}

function unknownType(name: string): NexusError {
  const detail = `is no type of fact${didYouMean(name, FACT_TYPES)}`
  const issues = [{ pointer: '/types', detail }]
  return new NexusError('BAD_REQUEST', { detail: `/types: ${name.slice(0, 64)} ${detail}` }, { issues })
}

/** Where the client stopped reading: a reconnecting EventSource says it in a header, a first request in the query. */
function afterOf(request: FastifyRequest): number | undefined {
  const header = request.headers['last-event-id']
  const { after } = request.query as { after?: number }
  if (header === undefined) return after
  if (typeof header === 'string' && /^\d{1,15}$/.test(header)) return Number(header)
  throw new NexusError('BAD_REQUEST', { detail: 'the Last-Event-ID is no sequence number' })
}
