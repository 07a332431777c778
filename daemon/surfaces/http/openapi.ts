import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { FastifyInstance } from 'fastify'
import { type TSchema, Type } from 'typebox'
import { BatchAnswer, CommandFailure, CreateAnswer, Problem, RunAnswer } from './shapes.ts'

/** `/docs` may show itself and nothing from elsewhere. The page sets a few styles inline. */
const DOCS_CSP =
  "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; " +
  "form-action 'self'; frame-ancestors 'none'"

/** Makes `/openapi.json` and `/docs` from the schemas of the routes; to be called before the first of them. */
export async function addOpenApi(app: FastifyInstance, version: string): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'NEXUS',
        version,
        description:
          'Keeps modules alive and runs governed missions. Without credentials a local caller may read and submit.',
      },
      tags: ['missions', 'commands', 'modules', 'system', 'admin', 'probes'].map((name) => ({ name })),
      components: {
        securitySchemes: {
          bearer: { type: 'http', scheme: 'bearer', description: 'a token, or the operator key' },
          operator_key: { type: 'apiKey', in: 'header', name: 'X-Operator-Key' },
        },
      },
      security: [{}, { bearer: [] }, { operator_key: [] }],
    },
    refResolver: {
      buildLocalReference: (json, _base, _fragment, index) => String(json['$id'] ?? `def-${index}`),
    },
  })
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: DOCS_CSP,
    uiConfig: { deepLinking: false, validatorUrl: null },
  })
  app.get('/openapi.json', describe.hidden, () => Promise.resolve(app.swagger()))
}

type Tag = 'missions' | 'commands' | 'modules' | 'system' | 'admin' | 'probes'

const problem = { description: 'refused', content: { 'application/problem+json': { schema: Problem } } }
const json = (description: string, schema: TSchema = Type.Unknown()) => ({
  description,
  content: { 'application/json': { schema } },
})
const route = (operationId: string, tag: Tag, summary: string, rest: object) => ({
  schema: { operationId, tags: [tag], summary, ...rest },
})

/** What the documentation says of each kind of route. Bodies are shown here and checked by the gate. */
export const describe = {
  hidden: { schema: { hide: true } },
  read: (id: string, tag: Tag, say: string) =>
    route(id, tag, say, { response: { 200: { description: say }, '4xx': problem, '5xx': problem } }),
  later: (id: string, tag: Tag) =>
    route(id, tag, 'not built yet', { response: { 501: problem, '4xx': problem } }),
  create: (body: TSchema) =>
    route('mission_create', 'missions', 'judges a goal and, when it is SAFE, queues it', {
      body,
      headers: Type.Object({
        'idempotency-key': Type.Optional(
          Type.String({ description: 'the same key and body make one mission' }),
        ),
      }),
      response: {
        201: json('recorded', CreateAnswer),
        200: json('recorded before, under the same Idempotency-Key', CreateAnswer),
        '4xx': problem,
        '5xx': problem,
      },
    }),
  batch: (body: TSchema) =>
    route('mission_batch', 'missions', 'creates up to 1,000 missions with one sync', {
      body,
      response: {
        207: json('for each mission, in order, what create would have answered', BatchAnswer),
        '4xx': problem,
        '5xx': problem,
      },
    }),
  retry: (body: TSchema) =>
    route('mission_retry', 'missions', 'orders a failed or expired mission once more, judged afresh', {
      body,
      headers: Type.Object({ 'idempotency-key': Type.Optional(Type.String()) }),
      response: {
        201: json('a new mission, with `retry_of`', CreateAnswer),
        200: json('made before, under the same Idempotency-Key', CreateAnswer),
        '4xx': problem,
        '5xx': problem,
      },
    }),
  run: (body: TSchema) =>
    route('mission_run', 'missions', 'waits for a mission; with the key it approves first', {
      body,
      response: {
        200: json('ended', RunAnswer),
        202: json('still going', RunAnswer),
        '4xx': problem,
        '5xx': problem,
      },
    }),
  decide: (operation: string, body: TSchema) =>
    route(`mission_${operation}`, 'missions', `${operation}s a mission`, {
      body,
      response: { 200: json('the mission'), '4xx': problem, '5xx': problem },
    }),
  list: (querystring: TSchema) =>
    route('mission_list', 'missions', 'newest first', {
      querystring,
      response: { 200: json('`{missions, count, next}`'), '4xx': problem },
    }),
  change: (id: string, tag: Tag, say: string, status: 200 | 201) => (body: TSchema) =>
    route(id, tag, say, { body, response: { [status]: json('done'), '4xx': problem, '5xx': problem } }),
  command: (name: string, say: string, body: TSchema) =>
    route(`command_${name}`, 'commands', say, {
      body,
      response: {
        200: json('done', Type.Object({ success: Type.Literal(true), result: Type.Unknown() })),
        '4xx': json('refused', CommandFailure),
        '5xx': json('failed', CommandFailure),
      },
    }),
  omens: route('system_omens', 'system', 'repeated patterns, counted, with what they lead to', {
    querystring: Type.Object(
      {
        module: Type.Optional(Type.String({ maxLength: 127, description: '<group>/<name>' })),
        level: Type.Optional(Type.Enum(['ignore', 'warn', 'intervene', 'lock'])),
        kind: Type.Optional(Type.Enum(['mission_failed', 'crashed', 'hung', 'slow', 'memory', 'system'])),
      },
      { additionalProperties: false },
    ),
    response: { 200: json('`{omens}`'), '4xx': problem },
  }),
  audit: (limit: number) =>
    route('audit', 'system', 'what is recorded, oldest first', {
      querystring: Type.Object(
        {
          after: Type.Optional(Type.Integer({ minimum: 0, description: 'sequence number' })),
          limit: Type.Optional(
            Type.Integer({ minimum: 1, maximum: 1_000, description: `${limit} unless said` }),
          ),
        },
        { additionalProperties: false },
      ),
      response: { 200: json('`{facts, count, head, next}`'), '4xx': problem },
    }),
  events: route('events', 'system', 'facts as they become durable (text/event-stream)', {
    querystring: Type.Object(
      {
        types: Type.Optional(Type.String({ maxLength: 2_000, examples: ['mission.created,module.*'] })),
        after: Type.Optional(
          Type.Integer({ minimum: 0, description: 'sequence number; the newest unless said' }),
        ),
      },
      { additionalProperties: false },
    ),
    response: { 200: { description: 'events' }, '4xx': problem },
  }),
  logs: route('module_logs', 'modules', 'recent log lines of a module, one JSON object a line', {
    querystring: Type.Object(
      {
        follow: Type.Optional(Type.Enum(['0', '1', 'true', 'false'])),
        limit: Type.Optional(Type.Integer({ minimum: 0, maximum: 1_000 })),
      },
      { additionalProperties: false },
    ),
    response: { 200: { description: 'lines' }, '4xx': problem },
  }),
}
