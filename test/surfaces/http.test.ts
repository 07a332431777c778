import t, { type Test } from 'tap'
import { COMMANDS } from '../../daemon/contracts/command.ts'
import type { Fact } from '../../daemon/contracts/fact.ts'
import { FAILURES, type FailureCode, NexusError } from '../../daemon/contracts/failure.ts'
import { seededChance } from '../../daemon/kit/chance.ts'
import { readStrictJson } from '../../daemon/kit/strict-json.ts'
import { type Answer, createApp } from '../../daemon/surfaces/http/app.ts'
import { streamFacts } from '../../daemon/surfaces/http/event-stream.ts'
import type { FactReader } from '../../daemon/surfaces/http/port.ts'
import type { OpenStream } from '../../daemon/surfaces/http/streams.ts'
import { settle, TestClock } from '../support/test-clock.ts'
import { fakeDaemon, KEY, MISSION_ID } from './fake-daemon.ts'

const GOAL = { goal: 'Optimize lead conversion process', category: 'coin' }

interface Asked {
  readonly headers?: Record<string, string>
  /** Sent as JSON unless it is text. */
  readonly body?: unknown
}

async function house(t: Test) {
  const clock = new TestClock()
  const { daemon, knobs } = fakeDaemon(clock)
  const answers: Answer[] = []
  const logged: unknown[] = []
  const app = await createApp(daemon, {
    clock,
    chance: seededChance(1),
    answered: (answer) => answers.push(answer),
    log: { write: (...line) => logged.push(line) },
  })
  t.teardown(() => app.fastify.close())
  const ask = async (route: string, { headers = {}, body }: Asked = {}) => {
    const [method = 'GET', url = '/'] = route.split(' ')
    const write = body !== undefined || method === 'POST'
    return app.fastify.inject({
      method: method as 'GET',
      url,
      headers: { host: 'localhost:8012', ...(write && { 'content-type': 'application/json' }), ...headers },
      ...(write && { payload: typeof body === 'string' ? body : JSON.stringify(body ?? {}) }),
    })
  }
  return { app, ask, knobs, answers, logged, clock }
}

t.test('every failure of the table is answered with its status, code and remedy', async (t) => {
  const { ask, knobs } = await house(t)
  const seen: unknown[] = []
  const wanted: unknown[] = []
  for (const [code, entry] of Object.entries(FAILURES) as [FailureCode, (typeof FAILURES)[FailureCode]][]) {
    knobs.failure = new NexusError(code, { detail: 'x', counterfactual: 'x', advice: 'x' })
    const problem = await ask('POST /v1/missions/create', { body: GOAL })
    const command = await ask('POST /v1/commands/get_status')
    const retryAfter = 'retryAfterSeconds' in entry ? String(entry.retryAfterSeconds) : undefined
    seen.push(
      [code, problem.statusCode, problem.json().code, problem.json().status, problem.headers['retry-after']],
      [code, command.statusCode, command.json().code, command.json().success, command.headers['retry-after']],
    )
    wanted.push(
      [code, entry.status, code, entry.status, retryAfter],
      [code, entry.status, code, false, retryAfter],
    )
    t.ok(
      problem.json().remedy && problem.json().detail && command.json().remedy && command.json().error,
      code,
    )
  }
  t.strictSame(seen, wanted)
})

t.test('a mistake of the daemon is a reference for the client and a stack for the log', async (t) => {
  const { ask, knobs, logged } = await house(t)
  knobs.failure = new Error('the secret inside')
  const answer = await ask('POST /v1/missions/create', { body: GOAL })
  t.equal(answer.statusCode, 500)
  t.strictSame(answer.json(), {
    type: '/problems/INTERNAL',
    title: 'Internal',
    status: 500,
    detail: `the daemon made a mistake (reference ${answer.headers['x-request-id']})`,
    code: 'INTERNAL',
    remedy: FAILURES.INTERNAL.remedy,
    instance: '/v1/missions/create',
    request_id: answer.headers['x-request-id'],
  })
  t.notMatch(answer.body, /secret inside|\.ts:/)
  t.match(logged, [
    [
      'error',
      'POST /v1/missions/create 500',
      { request_id: answer.headers['x-request-id'], err: knobs.failure },
    ],
  ])
})

t.test('what is wrong with a body is told with pointer and nearest name, and recorded', async (t) => {
  const { ask, knobs } = await house(t)
  const answer = await ask('POST /v1/missions/create', {
    body: { gaol: 'x', category: 'coins', constraints: { max_steps: 0 } },
  })
  t.equal(answer.statusCode, 400)
  t.equal(answer.headers['content-type'], 'application/problem+json; charset=utf-8')
  t.strictSame(answer.json().errors, [
    { pointer: '/goal', detail: 'is missing' },
    { pointer: '/gaol', detail: 'is unknown; did you mean goal?' },
    { pointer: '/category', detail: 'must be one of coin, forge, library, sanctuary' },
    { pointer: '/constraints/max_steps', detail: 'must be >= 1' },
  ])
  t.match(knobs.facts, [{ type: 'command.refused', d: { command: 'mission.create', code: 'BAD_REQUEST' } }])
})

t.test('bodies that a parser would bend are refused before anything is done with them', async (t) => {
  const { ask, knobs } = await house(t)
  const deep = (levels: number): string =>
    `{"goal":"x","category":"coin","input":${'['.repeat(levels)}${']'.repeat(levels)}}`
  const bodies: readonly (readonly [string, number, string])[] = [
    ['', 400, 'BAD_REQUEST'],
    ['{"goal":', 400, 'BAD_REQUEST'],
    ['[]', 400, 'BAD_REQUEST'],
    ['null', 400, 'BAD_REQUEST'],
    ['{"goal":"x","category":"coin","__proto__":{"polluted":1}}', 400, 'BAD_REQUEST'],
    ['{"goal":"x","category":"coin","constructor":{"prototype":{"polluted":1}}}', 400, 'BAD_REQUEST'],
    ['{"goal":"x","category":"coin","input":{"__proto__":{"polluted":1}}}', 400, 'BAD_REQUEST'],
    ['{"goal":"x","category":"coin","input":{"constructor":{"prototype":{}}}}', 400, 'BAD_REQUEST'],
    ['{"goal":"x","goal":"y","category":"coin"}', 400, 'BAD_REQUEST'],
    ['{"goal":"x","category":"coin","input":1e400}', 400, 'BAD_REQUEST'],
    ['{"goal":"x","category":"coin","input":12345678901234567890}', 400, 'BAD_REQUEST'],
    ['\ufeff{"goal":"x","category":"coin"}', 400, 'BAD_REQUEST'],
    [deep(32), 400, 'BAD_REQUEST'],
    [deep(100_000), 400, 'BAD_REQUEST'],
    [JSON.stringify({ ...GOAL, input: 'x'.repeat(262_144) }), 413, 'BODY_TOO_LARGE'],
  ]
  const seen: unknown[] = []
  for (const [body] of bodies) {
    const answer = await ask('POST /v1/missions/create', { body })
    seen.push([body.slice(0, 80), answer.statusCode, answer.json().code])
  }
  t.strictSame(
    seen,
    bodies.map(([body, status, code]) => [body.slice(0, 80), status, code]),
  )
  t.equal(({} as { polluted?: number }).polluted, undefined)
  t.ok(knobs.facts.every(({ type }) => type === 'command.refused'))
  t.equal(
    (await ask('POST /v1/missions/create', { body: deep(31) })).statusCode,
    201,
    'what is deep enough is let in',
  )
})

t.test('bent JSON is found wherever it hides, and straight JSON is left alone', async (t) => {
  const straight = [
    '{"a":{"a":1},"b":[{"a":1},{"a":2}]}',
    '"{[\\"a\\":1e999"',
    '[1.5,-2e10,0.1,9007199254740991]',
    '{"a":"\\\\"}',
  ]
  t.strictSame(
    straight.map((text) => readStrictJson(Buffer.from(text)).ok),
    straight.map(() => true),
  )
  const bent = ['{"a":{"b":1,"b":2}}', '[-1e999]', '{"a":[9007199254740993]}', '{"a" : 1,\n"a"\t: 2}']
  t.notOk(bent.some((text) => readStrictJson(Buffer.from(text)).ok))
})

t.test('credentials are taken from three places, and a wrong one is never ignored', async (t) => {
  const { ask, knobs } = await house(t)
  const run = { mission_id: MISSION_ID }
  const statuses = [
    await ask('GET /v1/audit', { headers: { authorization: 'Bearer auditor' } }),
    await ask('GET /v1/audit', { headers: { 'x-operator-key': KEY } }),
    await ask('GET /v1/audit', { headers: { authorization: `Bearer ${KEY}` } }),
    await ask('POST /v1/missions/approve', { body: { ...run, operator_key: KEY } }),
    await ask('POST /v1/missions/run', { body: { ...run, operator_key: 'wrong' } }),
    await ask('GET /v1/status', { headers: { authorization: 'Bearer wrong' } }),
    await ask('GET /v1/status', { headers: { authorization: 'Basic dXNlcjpwYXNz' } }),
    await ask('GET /v1/audit'),
  ]
  t.strictSame(
    statuses.map(({ statusCode }) => statusCode),
    [200, 200, 200, 200, 401, 401, 401, 403],
  )
  t.equal(statuses[4]?.headers['www-authenticate'], 'Bearer realm="nexus"')
  t.strictSame(knobs.credentials[0], { surface: 'tcp-loopback', bearer: 'auditor' })
  t.strictSame(
    knobs.facts.map(({ d, actor }) => [d['command'], d['code'], actor.kind]),
    [
      ['/v1/missions/run', 'UNAUTHENTICATED', 'anonymous'],
      ['/v1/status', 'UNAUTHENTICATED', 'anonymous'],
      ['/v1/status', 'UNAUTHENTICATED', 'anonymous'],
      ['/v1/audit', 'PERMISSION_DENIED', 'anonymous'],
    ],
  )
})

t.test('a secret in the address is refused, and stands in no answer, record or log', async (t) => {
  const { ask, knobs, logged, answers } = await house(t)
  for (const name of ['operator_key', 'token', 'access_token']) {
    const answer = await ask(`GET /v1/missions/list?${name}=${KEY}`)
    t.equal(answer.statusCode, 400)
    t.notMatch(answer.body, KEY)
  }
  await ask('POST /v1/missions/run', { body: { mission_id: KEY, operator_key: KEY } })
  await ask(`GET /v1/missions/${KEY}`)
  await ask(`POST /v1/commands/${KEY}`)
  t.equal(answers.length, 6)
  t.notMatch(JSON.stringify([knobs.facts, logged]), KEY)
})

t.test('pages of other sites can change nothing', async (t) => {
  const { ask, knobs } = await house(t)
  const create = (headers: Record<string, string>) => ask('POST /v1/missions/create', { body: GOAL, headers })
  const refused = [
    await create({ origin: 'http://evil.example' }),
    await create({ origin: 'null' }),
    await create({ origin: 'http://localhost:3000' }),
    await create({ 'sec-fetch-site': 'cross-site' }),
    await create({ 'content-type': 'text/plain' }),
    await create({ 'content-type': 'application/x-www-form-urlencoded' }),
    await create({ 'content-type': 'multipart/form-data; boundary=x' }),
    await create({ 'content-type': 'application/json; charset=utf-16' }),
    await create({ 'content-encoding': 'gzip' }),
    await create({ host: 'evil.example' }),
    await create({ host: '127.0.0.1.evil.example' }),
    await create({ host: 'localhost.' }),
    await create({ host: '0.0.0.0:8012' }),
    await create({ host: '2130706433' }),
  ]
  t.strictSame(
    refused.map(({ statusCode }) => statusCode),
    [403, 403, 403, 403, 415, 415, 415, 415, 415, 421, 421, 421, 421, 421],
  )
  t.strictSame(knobs.facts, [], 'nothing was recorded, since nothing came as far as the gate')
  t.ok(refused.every(({ headers }) => headers['access-control-allow-origin'] === undefined))
  const taken = [
    await create({ origin: 'http://localhost:8012' }),
    await create({ host: '[::1]:8012' }),
    await create({ host: '127.0.0.1' }),
    await create({ 'content-type': 'application/json;charset=UTF-8' }),
  ]
  t.strictSame(
    taken.map(({ statusCode }) => statusCode),
    [201, 201, 201, 201],
  )
})

t.test('unknown paths, wrong methods and strange spellings reach no handler', async (t) => {
  const { ask } = await house(t)
  const asked: readonly (readonly [string, number])[] = [
    ['GET /nothing', 404],
    ['POST /nothing', 404],
    ['GET //v1//status', 404],
    ['GET /V1/status', 404],
    ['GET /v1/status/', 404],
    ['GET /v1/status;x', 404],
    ['GET /v1/%2e%2e/status', 404],
    ['DELETE /v1/missions/list', 405],
    ['GET /v1/missions/create', 404],
    ['PUT /v1/missions/create', 405],
    ['GET /v1/commands/get_status', 405],
    ['OPTIONS /v1/missions/create', 405],
    ['TRACE /livez', 405],
    ['GET /%zz', 400],
    [`GET /v1/status/${'x'.repeat(300)}/y`, 400],
  ]
  const seen: unknown[] = []
  for (const [route] of asked) seen.push([route, (await ask(route)).statusCode])
  t.strictSame(seen, asked)
  t.equal((await ask('DELETE /v1/missions/list')).headers['allow'], 'GET, HEAD')
})

t.test('every answer carries the same few protective headers', async (t) => {
  const { ask } = await house(t)
  const routes = [
    'GET /livez',
    'GET /nothing',
    'GET /%zz',
    'POST /v1/missions/create',
    'GET /docs',
    'GET /v1/events?types=x',
  ]
  for (const route of routes) {
    const { headers } = await ask(route)
    t.match(headers, {
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-store',
      'x-frame-options': 'DENY',
      'x-request-id': /^r-/,
    })
    t.equal(headers['content-security-policy'] !== undefined, route === 'GET /docs', route)
  }
})

t.test('create is 201 once and 200 under a known key; run tells how it stands', async (t) => {
  const { ask, knobs } = await house(t)
  const create = (key: string) =>
    ask('POST /v1/missions/create', { body: GOAL, headers: { 'idempotency-key': key } })
  const statuses = [(await create('new')).statusCode, (await create('known')).statusCode]
  for (const bad of ['', ' ', 'x'.repeat(257), 'tab\there']) statuses.push((await create(bad)).statusCode)
  t.strictSame(statuses, [201, 200, 400, 400, 400, 400])
  const runs: unknown[] = []
  for (const outcome of ['ok', 'failed', 'accepted'] as const) {
    knobs.run = outcome
    const { statusCode, ...answer } = await ask('POST /v1/missions/run', { body: { mission_id: MISSION_ID } })
    runs.push([statusCode, answer.json().status])
  }
  t.strictSame(runs, [
    [200, 'ok'],
    [200, 'failed'],
    [202, 'accepted'],
  ])
})

t.test('commands answer in one form at every status', async (t) => {
  const { ask } = await house(t)
  const status = await ask('POST /v1/commands/get_status', { body: {} })
  t.strictSame(
    [status.statusCode, status.json()],
    [200, { success: true, result: { command: 'get_status', params: {} } }],
  )
  const unknown = await ask('POST /v1/commands/get_statu', { body: {} })
  t.strictSame(
    [unknown.statusCode, unknown.headers['content-type'], unknown.json()],
    [
      404,
      'application/json; charset=utf-8',
      {
        success: false,
        error: 'no command is named get_statu; did you mean get_status?',
        code: 'COMMAND_UNKNOWN',
        remedy: FAILURES.COMMAND_UNKNOWN.remedy,
        request_id: unknown.headers['x-request-id'],
      },
    ],
  )
  const others = [
    await ask('POST /v1/commands/get_status', { body: '{' }),
    await ask('POST /v1/commands/get_status', { headers: { 'content-type': 'text/plain' } }),
    await ask('POST /v1/commands/stop_module', { body: { module_id: 'vitals/beat' } }),
    await ask('POST /v1/commands/trigger_chaos', {
      body: { experiment: 'kill' },
      headers: { authorization: 'Bearer admin' },
    }),
  ]
  t.strictSame(
    others.map((answer) => [answer.statusCode, answer.json().success]),
    [
      [400, false],
      [415, false],
      [403, false],
      [501, false],
    ],
  )
})

t.test('probes: the status code is the contract, and liveness asks nobody', async (t) => {
  const { ask, knobs } = await house(t)
  const probes = ['/livez', '/readyz', '/startupz', '/v1/critical']
  const codes = async () => Promise.all(probes.map(async (path) => (await ask(`GET ${path}`)).statusCode))
  t.strictSame(await codes(), [200, 200, 200, 200])
  knobs.ready = knobs.started = knobs.critical = false
  t.strictSame(await codes(), [200, 503, 503, 503])
  knobs.live = false
  t.strictSame(await codes(), [503, 503, 503, 503])
  t.strictSame(knobs.credentials, [])
  t.strictSame((await ask('GET /livez')).json(), {
    live: false,
    timestamp: 1_795_341_600,
    daemon_running: true,
  })
})

t.test('artifacts are shown only where nothing in them can run', async (t) => {
  const { ask } = await house(t)
  const shown = await ask(`GET /v1/missions/${MISSION_ID}/artifacts/report.md`)
  const kept = await ask(`GET /v1/missions/${MISSION_ID}/artifacts/page.html`)
  const other = await ask(`GET /v1/missions/${MISSION_ID}/artifacts/report.pdf`)
  t.strictSame(
    [shown, kept, other].map(({ headers, body }) => [
      headers['content-type'],
      headers['content-disposition'],
      body,
    ]),
    [
      ['text/markdown; charset=utf-8', 'inline; filename="report.md"', '# Report\n'],
      ['application/octet-stream', 'attachment; filename="page.html"', '<script>'],
      ['application/pdf', 'attachment; filename="report.pdf"', '%PDF'],
    ],
  )
  t.equal((await ask(`GET /v1/missions/${MISSION_ID}/artifacts/none`)).statusCode, 404)
})

t.test('queries are checked and typed', async (t) => {
  const { ask } = await house(t)
  const list = await ask('GET /v1/missions/list?limit=5&category=coin')
  t.strictSame(list.json().filter, { limit: 5, category: 'coin' })
  const refused: unknown[] = []
  for (const query of [
    'limit=-1',
    'limit=501',
    'limit=x',
    'categry=coin',
    'limit=1&limit=2',
    'after=../../x',
  ]) {
    const answer = await ask(`GET /v1/missions/list?${query}`)
    refused.push([query, answer.statusCode, answer.json().errors?.[0]?.pointer])
  }
  t.strictSame(refused, [
    ['limit=-1', 400, '/limit'],
    ['limit=501', 400, '/limit'],
    ['limit=x', 400, '/limit'],
    ['categry=coin', 400, '/categry'],
    ['limit=1&limit=2', 400, '/limit'],
    ['after=../../x', 400, '/after'],
  ])
})

t.test('the documentation lists every route, and each answers as it says', async (t) => {
  const { ask, app } = await house(t)
  const document = (await ask('GET /openapi.json')).json() as {
    openapi: string
    paths: Record<string, Record<string, { operationId: string; responses: Record<string, unknown> }>>
  }
  t.match(document.openapi, /^3\.1\./)
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      path,
      method: method.toUpperCase(),
      ...operation,
    })),
  )
  t.ok(operations.length > 35, `${operations.length} operations`)
  t.equal(new Set(operations.map(({ operationId }) => operationId)).size, operations.length, 'ids are unique')
  for (const name of Object.keys(COMMANDS)) t.ok(document.paths[`/v1/commands/${name}`], name)

  const values: Record<string, string> = { group: 'vitals', name: 'beat', mission_id: MISSION_ID }
  for (const { path, method, responses } of operations) {
    if (path === '/v1/events') continue
    const url = path.replace(/\{(\w+)\}/g, (_, name: string) => values[name] ?? 'x')
    const { statusCode } = await ask(`${method} ${url.replace('artifacts/beat', 'artifacts/report.md')}`, {
      headers: { authorization: 'Bearer admin' },
    })
    const said = [String(statusCode), `${String(statusCode)[0]}XX`]
    t.ok(
      said.some((status) => status in responses),
      `${method} ${path} answers ${statusCode}`,
    )
  }
  t.equal(app.fastify.hasRoute({ method: 'GET', url: '/docs/' }), true)
})

t.test('the documentation page asks nobody else for anything', async (t) => {
  const { ask } = await house(t)
  const page = await ask('GET /docs')
  t.equal(page.statusCode, 200)
  t.match(page.headers['content-security-policy'], /^default-src 'self';/)
  const addresses = [...page.body.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, address]) => address ?? '')
  t.ok(addresses.length >= 4, 'the page loads something')
  t.ok(addresses.every((address) => address.startsWith('/docs/static/')))
  for (const address of addresses) t.equal((await ask(`GET ${address}`)).statusCode, 200, address)
})

t.test('a problem type leads to its page', async (t) => {
  const { ask } = await house(t)
  t.match((await ask('GET /problems/MISSION_BLOCKED')).json(), { code: 'MISSION_BLOCKED', status: 409 })
  t.strictSame(
    [(await ask('GET /problems/NONE')).statusCode, (await ask('GET /problems/constructor')).statusCode],
    [404, 404],
  )
})

/** Reads an answer that does not end by itself. */
async function follow(
  app: Awaited<ReturnType<typeof createApp>>,
  url: string,
  headers: Record<string, string> = {},
) {
  const answer = await app.fastify.inject({
    method: 'GET',
    url,
    headers: { host: 'localhost', ...headers },
    payloadAsStream: true,
  })
  const stream = answer.stream()
  let text = ''
  stream.on('data', (piece: Buffer) => {
    text += piece.toString()
  })
  return { answer, stream, text: () => text }
}

t.test('a fact that is read and announced at once is sent once', async (t) => {
  const sent: number[] = []
  const stream = {
    closed: false,
    write: (piece: string) => {
      sent.push(Number(/^id: (\d+)/.exec(piece)?.[1]))
      return 'sent'
    },
    drained: async () => true,
    onClose: () => {},
    end: () => t.fail('nothing lags'),
  } as unknown as OpenStream
  const facts: Fact[] = []
  let tell = (_: Fact): void => {}
  const put = (): void => {
    const seq = facts.length + 1
    const fact = { seq, type: 'mission.created' } as Fact
    facts.push(fact)
    tell(fact)
  }
  put()
  const reader: FactReader = {
    read: async (after, limit) => {
      if (facts.length < 3) put()
      const page = facts.slice(after, after + limit)
      if (facts.length < 3) put()
      return page
    },
    subscribe: (listener) => {
      tell = listener
      return () => {}
    },
    head: () => facts.length,
  }
  await streamFacts(stream, reader, 0, () => true)
  put()
  t.strictSame(sent, [1, 2, 3, 4])
})

t.test('events refuse names of no fact and ids of no record', async (t) => {
  const { ask } = await house(t)
  const unknown = await ask('GET /v1/events?types=mission.create')
  t.strictSame(
    [unknown.statusCode, unknown.json().errors],
    [400, [{ pointer: '/types', detail: 'is no type of fact; did you mean mission.created?' }]],
  )
  t.equal((await ask('GET /v1/events', { headers: { 'last-event-id': 'x' } })).statusCode, 400)
  t.equal((await ask('GET /v1/events', { headers: { authorization: 'Bearer auditor' } })).statusCode, 403)
})

t.test('progress is sent to those who ask for it by name, without an id', async (t) => {
  const { app, knobs } = await house(t)
  const asked = await follow(app, '/v1/events?types=mission.progress,mission.ended')
  const { text } = await follow(app, '/v1/events?types=mission.*')
  for (const tell of knobs.progress) tell('m-1', { step: 'a', fraction: 0.5, note: 'half', at: 'now' })
  await settle()

  t.equal(
    asked.text(),
    'event: mission.progress\ndata: {"mission_id":"m-1","step":"a","fraction":0.5,"note":"half","at":"now"}\n\n',
  )
  t.equal(text(), '')
  app.endStreams()
  await settle()
  t.equal(knobs.progress.size, 0)
})

t.test('a silent stream beats every fifteen seconds, and leaves no timer behind', async (t) => {
  const { app, clock } = await house(t)
  const { text, stream } = await follow(app, '/v1/events')
  await clock.pass(31_000)
  t.equal(text(), ':\n\n:\n\n')
  const ended = new Promise((resolve) => stream.on('end', resolve))
  app.endStreams()
  await ended
  await settle()
  t.equal(clock.waiting, 0)
})

t.test('log lines come as they are, and follow', async (t) => {
  const { app, ask, knobs } = await house(t)
  t.equal((await ask('GET /v1/logs/vitals/beat?limit=1')).body, '{"msg":"two"}\n')
  t.equal((await ask('GET /v1/logs/vitals/none')).statusCode, 404)
  const { text } = await follow(app, '/v1/logs/vitals/beat?follow=1')
  for (const listener of knobs.followers) listener({ msg: 'three' })
  await settle()
  t.equal(text(), '{"msg":"one"}\n{"msg":"two"}\n{"msg":"three"}\n')
  app.endStreams()
  await settle()
  t.equal(knobs.followers.size, 0)
})

t.test(
  'a batch answers for each mission what create would have, and only as a whole for the whole',
  async (t) => {
    const { ask, knobs } = await house(t)
    const missions = [
      GOAL,
      { ...GOAL, idempotency_key: 'known' },
      { ...GOAL, idempotency_key: 'conflict' },
      { goal: 'x' },
    ]
    const answer = await ask('POST /v1/missions/batch', { body: { missions } })
    t.equal(answer.statusCode, 207)
    t.match(answer.json().results, [
      { status: 201, mission: { mission_id: MISSION_ID } },
      { status: 200, mission: { mission_id: MISSION_ID } },
      { status: 409, problem: { code: 'IDEMPOTENCY_CONFLICT', status: 409, instance: '/v1/missions/batch' } },
      { status: 400, problem: { code: 'BAD_REQUEST', errors: [{ pointer: '/category' }] } },
    ])
    knobs.failure = new NexusError('JOURNAL_FULL', { reason: 'ENOSPC' })
    const whole = [
      await ask('POST /v1/missions/batch', { body: { missions } }),
      await ask('POST /v1/missions/batch', { body: { missions }, headers: { 'idempotency-key': 'k' } }),
      await ask('POST /v1/missions/batch', { body: { missions, operator_key: 'wrong' } }),
      await ask('POST /v1/missions/batch', { body: missions }),
    ]
    t.strictSame(
      whole.map((refused) => [refused.statusCode, refused.json().code, refused.headers['retry-after']]),
      [
        [503, 'JOURNAL_FULL', '5'],
        [400, 'BAD_REQUEST', undefined],
        [401, 'UNAUTHENTICATED', undefined],
        [400, 'BAD_REQUEST', undefined],
      ],
    )
  },
)

t.test('a batch may have 8 MiB and as many keys as its missions, and no other route may', async (t) => {
  const { ask } = await house(t)
  const rich = { ...GOAL, input: Object.fromEntries(Array.from({ length: 90 }, (_, at) => [`k${at}`, at])) }
  const many = { missions: Array(1_000).fill(rich) }
  const large = (bytes: number) => ({ missions: [{ ...GOAL, input: 'x'.repeat(bytes) }] })
  const nested = (levels: number): string =>
    `{"missions":[{"goal":"x","category":"coin","input":${'['.repeat(levels)}${']'.repeat(levels)}}]}`
  const answers = [
    await ask('POST /v1/missions/batch', { body: many }),
    await ask('POST /v1/missions/batch', { body: large(8_000_000) }),
    await ask('POST /v1/missions/batch', { body: large(8_400_000) }),
    await ask('POST /v1/missions/batch', { body: nested(31) }),
    await ask('POST /v1/missions/batch', { body: nested(32) }),
    await ask('POST /v1/missions/batch', { body: `{"missions":[${'1.0,'.repeat(200_000)}1]}` }),
    await ask('POST /v1/missions/retry', { body: { mission_id: MISSION_ID, x: 'x'.repeat(300_000) } }),
  ]
  t.strictSame(
    answers.map((answer) => answer.statusCode),
    [207, 207, 413, 207, 400, 400, 413],
  )
  t.match(answers[2]?.json().detail, /8388608 bytes/)
  t.match(answers[6]?.json().detail, /262144 bytes/)
})

t.test('a retry is a create: 201 with whose retry it is, 200 when its key was known', async (t) => {
  const { ask, knobs } = await house(t)
  const body = { mission_id: MISSION_ID }
  const fresh = await ask('POST /v1/missions/retry', { body })
  const known = await ask('POST /v1/missions/retry', { body, headers: { 'idempotency-key': 'known' } })
  const denied = await ask('POST /v1/missions/retry', { body, headers: { authorization: 'Bearer viewer' } })
  t.match(
    [fresh, known, denied].map((answer) => [answer.statusCode, answer.json().retry_of, answer.json().code]),
    [
      [201, MISSION_ID, undefined],
      [200, MISSION_ID, undefined],
      [403, undefined, 'PERMISSION_DENIED'],
    ],
  )
  t.match(knobs.facts, [{ d: { command: 'mission.retry', code: 'PERMISSION_DENIED' } }])
})

t.test('a wait that was measured stands in the header and in the problem of a batch', async (t) => {
  const { ask, knobs } = await house(t)
  knobs.failure = new NexusError('QUEUE_FULL', { limit: 1 }, { retryAfterSeconds: 17 })
  const answer = await ask('POST /v1/missions/create', { body: GOAL })
  t.strictSame([answer.statusCode, answer.headers['retry-after']], [429, '17'])
})

t.test('the documentation shows the bodies of batch and retry', async (t) => {
  const { ask } = await house(t)
  const { paths } = (await ask('GET /openapi.json')).json()
  const batch = paths['/v1/missions/batch'].post
  const entry = batch.requestBody.content['application/json'].schema.properties.missions.items
  t.strictSame(Object.keys(batch.responses).sort(), ['207', '4XX', '5XX'])
  t.ok(entry.properties.idempotency_key && entry.properties.goal && entry.properties.plan)
  t.strictSame(Object.keys(paths['/v1/missions/retry'].post.responses).sort(), ['200', '201', '4XX', '5XX'])
})
