import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify'
import { NexusError } from '../../contracts/failure.ts'
import type { Chance } from '../../kit/chance.ts'
import type { Clock } from '../../kit/clock.ts'
import { checker, sentenceOf } from '../../kit/schema.ts'
import { readStrictJson } from '../../kit/strict-json.ts'
import type { Log } from '../../telemetry/log.ts'
import { Callers, type Door, routeOf } from './callers.ts'
import { guard } from './guard.ts'
import { addOpenApi } from './openapi.ts'
import type { Daemon } from './port.ts'
import { commandFailureOf, failureOf, problemOf } from './problems.ts'
import { RouteBook } from './route-book.ts'
import { COMMAND_PREFIX, commandRoutes } from './routes/commands.ts'
import { maintenanceRoutes } from './routes/maintenance.ts'
import { missionRoutes } from './routes/missions.ts'
import { probeRoutes } from './routes/probes.ts'
import { streamRoutes } from './routes/streams.ts'
import { systemRoutes } from './routes/system.ts'
import { Streams } from './streams.ts'

/** A goal, a plan of a hundred steps and 32 KiB of input fit many times over. */
const BODY_BYTES_MAX = 262_144
/** The longest name of a file. */
const PARAMETER_CHARS_MAX = 255
/** Deeper and wider than any plan or input needs, and below what validators can take. */
const BODY_LIMITS = { depthMax: 32, keysMax: 10_000, itemsMax: 100_000 }
/** Where a route takes more: many such bodies in a list, within one more object. */
const LARGE_BODY_LIMITS = { depthMax: 34, keysMax: 100_000, itemsMax: 200_000 }
const LOOPBACK_NAMES = ['127.0.0.1', 'localhost', '[::1]']

export interface AppOptions {
  readonly clock: Clock
  readonly chance: Chance
  /** The address listened on, when it is not loopback: requests may name it, too. */
  readonly host?: string
  /** Which door a request came through; TCP unless said. */
  readonly doorOf?: (request: FastifyRequest) => Door
  readonly log?: Pick<Log, 'write'>
  /** Told of every answer, for metrics; must not throw. */
  readonly answered?: (answer: Answer) => void
}

export interface Answer {
  readonly method: string
  /** The pattern of the route: a bounded set. */
  readonly route: string
  readonly status: number
  readonly durationMs: number
  readonly requestId: string
  /** What went wrong, with its cause; present for refusals. */
  readonly error?: NexusError
}

export interface App {
  readonly fastify: FastifyInstance
  /** Ends the answers that would not end by themselves. */
  endStreams(): void
}

declare module 'fastify' {
  interface FastifyRequest {
    /** On the monotonic clock. */
    arrivedMs: number | undefined
    /** What it was answered with, when that was no. */
    refusal: NexusError | undefined
  }
}

/** The one HTTP application, whichever door a request comes through. */
export async function createApp(daemon: Daemon, options: AppOptions): Promise<App> {
  const prefix = Buffer.from(options.chance.bytes(4)).toString('hex')
  let count = 0
  const app = fastify({
    logger: false,
    bodyLimit: BODY_BYTES_MAX,
    // Our doors are shut by then; what still comes over an open connection deserves its answer.
    return503OnClosing: false,
    routerOptions: { maxParamLength: PARAMETER_CHARS_MAX },
    genReqId: () => `r-${prefix}-${(++count).toString(36)}`,
    frameworkErrors: (cause, request, reply) => {
      refuse(cause, request, reply)
    },
  })
  const doorOf = options.doorOf ?? (() => 'tcp' as const)
  const hosts = new Set([...LOOPBACK_NAMES, ...hostNames(options.host)])
  const streams = new Streams(options.clock)
  const callers = new Callers(daemon, doorOf)
  app.decorateRequest('arrivedMs', undefined)
  app.decorateRequest('refusal', undefined)

  function refuse(cause: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
    const bodyBytesMax = request.routeOptions?.bodyLimit ?? BODY_BYTES_MAX
    const error = failureOf(cause, { requestId: request.id, bodyBytesMax })
    request.refusal = error
    const path = request.url.split('?', 1)[0]?.slice(0, 200) ?? ''
    const asked = { requestId: request.id, path }
    const refused = path.startsWith(COMMAND_PREFIX) ? commandFailureOf(error, asked) : problemOf(error, asked)
    return reply
      .code(refused.status)
      .headers({ ...HEADERS, 'x-request-id': request.id, ...refused.headers })
      .send(JSON.stringify(refused.body))
  }

  acceptStrictJson(app)
  app.setValidatorCompiler(({ schema, httpPart }) => {
    // The gate checks bodies, so that it can record what it refuses; headers are checked where they are read.
    if (httpPart === 'body' || httpPart === 'headers') return () => true
    const check = checker(schema as object, { coerce: true })
    return (value) => {
      const verdict = check({ ...(value as object) })
      if (verdict.ok) return { value: verdict.value }
      const { issues } = verdict
      return { error: new NexusError('BAD_REQUEST', { detail: sentenceOf(issues) }, { issues }) }
    }
  })
  // Response schemas document; a serializer made of them would drop what they do not name.
  app.setSerializerCompiler(() => (data) => JSON.stringify(data))
  app.setErrorHandler(refuse)

  // Neither waits for anything, and a promise for each request would be felt.
  app.addHook('onRequest', (request, reply, done) => {
    request.arrivedMs = options.clock.elapsed()
    reply.headers({ ...HEADERS, 'x-request-id': request.id })
    const overTcp = doorOf(request) === 'tcp'
    done(guard(request.raw, request.query as object, { hosts, overTcp, routed: !request.is404 }))
  })
  app.addHook('onResponse', (request, reply, done) => {
    const nowMs = options.clock.elapsed()
    const { refusal: error, arrivedMs = nowMs } = request
    const answer = {
      method: request.method,
      route: routeOf(request),
      status: reply.statusCode,
      durationMs: nowMs - arrivedMs,
      requestId: request.id,
      ...(error !== undefined && { error }),
    }
    options.answered?.(answer)
    if (options.log !== undefined) logAnswer(options.log, answer)
    done()
  })

  const book = new RouteBook(app)
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?', 1)[0] ?? ''
    const methods = book.methodsOf(path)
    if (methods.length === 0) {
      throw new NexusError('ROUTE_UNKNOWN', { method: request.method, path: path.slice(0, 200) })
    }
    reply.header('allow', methods.join(', '))
    throw new NexusError('METHOD_NOT_ALLOWED', { method: request.method, path: path.slice(0, 200) })
  })

  await addOpenApi(app, daemon.version)
  probeRoutes(app, daemon)
  systemRoutes(app, daemon, callers)
  maintenanceRoutes(app, daemon, callers)
  missionRoutes(app, daemon, callers)
  commandRoutes(app, daemon, callers)
  streamRoutes(app, daemon, callers, streams)
  await app.ready()
  return { fastify: app, endStreams: () => streams.end() }
}

/**
 * What went well is no news: changes stand in the journal with who made them, and counts in the metrics. The path is
 * never written, for a client chose it.
 */
function logAnswer(
  log: Pick<Log, 'write'>,
  { method, route, status, durationMs, requestId, error }: Answer,
): void {
  const level =
    status >= 500 ? 'error' : status >= 400 && method !== 'GET' && method !== 'HEAD' ? 'info' : 'debug'
  log.write(level, `${method} ${route} ${status}`, {
    request_id: requestId,
    duration_ms: Math.round(durationMs),
    ...(error !== undefined && { code: error.code }),
    ...(error?.code === 'INTERNAL' && { err: error.cause }),
  })
}

/** On every answer, refusals included. */
const HEADERS = {
  'x-content-type-options': 'nosniff',
  'cache-control': 'no-store',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'x-frame-options': 'DENY',
} as const

function hostNames(host: string | undefined): readonly string[] {
  if (host === undefined || host === '0.0.0.0' || host === '::') return []
  return [host.includes(':') ? `[${host.toLowerCase()}]` : host.toLowerCase()]
}

function acceptStrictJson(app: FastifyInstance): void {
  app.removeContentTypeParser('text/plain')
  app.addContentTypeParser<Buffer>('application/json', { parseAs: 'buffer' }, (request, bytes, done) => {
    const large = request.routeOptions.bodyLimit > BODY_BYTES_MAX
    const read = readStrictJson(bytes, large ? LARGE_BODY_LIMITS : BODY_LIMITS)
    if (read.ok) return done(null, read.value)
    const detail = `the body ${sentenceOf([read.issue])}`
    return done(new NexusError('BAD_REQUEST', { detail }, { issues: [read.issue] }))
  })
}
