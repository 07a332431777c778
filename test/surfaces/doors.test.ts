import { spawnSync } from 'node:child_process'
import { existsSync, lstatSync, writeFileSync } from 'node:fs'
import { get, request } from 'node:http'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { NexusError } from '../../daemon/contracts/failure.ts'
import { systemChance } from '../../daemon/kit/chance.ts'
import { systemClock } from '../../daemon/kit/clock.ts'
import { Door } from '../../daemon/surfaces/door.ts'
import { openHttp } from '../../daemon/surfaces/http/http.ts'
import { openMetrics } from '../../daemon/surfaces/metrics/metrics.ts'
import { shortDir } from '../support/short-dir.ts'
import { settle, TestClock } from '../support/test-clock.ts'
import { fakeDaemon } from './fake-daemon.ts'

async function house(t: Test) {
  const socketPath = join(shortDir(t), 'nexus.sock')
  const { daemon, knobs } = fakeDaemon(systemClock)
  const surface = await openHttp(daemon, {
    clock: systemClock,
    chance: systemChance,
    host: '127.0.0.1',
    port: 0,
    socketPath,
  })
  t.teardown(() => surface.close(0))
  return { daemon, knobs, surface, port: surface.port, socketPath }
}

/** Sends bytes as they are and returns all that comes back before the other side closes. */
function raw(where: number | string, bytes: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = typeof where === 'number' ? connect(where, '127.0.0.1') : connect(where)
    let text = ''
    socket.on('data', (piece) => {
      text += piece.toString()
    })
    socket.on('close', () => resolve(text))
    socket.on('error', () => {})
    socket.write(bytes)
  })
}

const statusesOf = (text: string): number[] =>
  [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status))

t.test('one application behind both doors, and the socket needs no Host and no token', async (t) => {
  const { port, socketPath, knobs } = await house(t)
  t.equal(lstatSync(socketPath).mode & 0o777, 0o600)
  const statuses = await Promise.all([
    raw(socketPath, 'GET /livez HTTP/1.1\r\nHost: anything\r\nConnection: close\r\n\r\n'),
    raw(socketPath, 'GET /v1/status HTTP/1.0\r\n\r\n'),
    raw(port, 'GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'),
    raw(port, `GET /v1/status HTTP/1.1\r\nHost: localhost:${port}\r\nConnection: close\r\n\r\n`),
  ])
  t.strictSame(statuses.flatMap(statusesOf), [200, 200, 200, 200])
  t.strictSame(knobs.credentials.map(({ surface }) => surface).sort(), ['socket', 'tcp-loopback'])
})

t.test('over TCP, who calls this daemon by another name is sent away', async (t) => {
  const { port } = await house(t)
  const heads = [
    'GET /livez HTTP/1.1\r\nHost: evil.example\r\n',
    'GET /livez HTTP/1.1\r\nHost: \r\n',
    `GET /livez HTTP/1.1\r\nHost: localhost:${port + 1}\r\n`,
    'GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n',
    'GET http://evil.example/livez HTTP/1.1\r\nHost: localhost\r\n',
    'GET /livez HTTP/1.1\r\n',
    'GET /livez HTTP/1.0\r\n',
    'GET /v1/../livez HTTP/1.1\r\nHost: localhost\r\n',
  ]
  const answers = await Promise.all(heads.map((head) => raw(port, `${head}Connection: close\r\n\r\n`)))
  t.strictSame(answers.map(statusesOf), [[421], [421], [421], [400], [400], [400], [421], [404]])
})

t.test('two requests are never made of one: each smuggling form is answered once, and closed', async (t) => {
  const { port, knobs } = await house(t)
  const head = 'POST /v1/missions/create HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n'
  const inner = 'GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n'
  const forms = [
    `Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${inner}`,
    `Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}   ${inner}`,
    `Content-Length: +5\r\n\r\n{}   ${inner}`,
    `Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n${inner}`,
    `Content-Length : 5\r\n\r\n{}   ${inner}`,
    `X: a\r\n Content-Length: 5\r\n\r\n${inner}`,
    `X: \u0000\r\n\r\n${inner}`,
    `Transfer-Encoding: chunked\r\n\r\n2;${'x'.repeat(20_000)}\r\n{}\r\n0\r\n\r\n${inner}`,
  ]
  const answers = await Promise.all(forms.map((form) => raw(port, head + form)))
  t.strictSame(
    answers.map((text) => statusesOf(text).length),
    forms.map(() => 1),
  )
  t.ok(answers.flatMap(statusesOf).every((status) => status === 400 || status === 413 || status === 431))
  t.ok(answers.every((text) => /application\/problem\+json/.test(text)))
  t.strictSame(knobs.facts, [])
})

t.test('headers without end and a body shorter than it says do not get far', async (t) => {
  const { port } = await house(t)
  const long = await raw(port, `GET /livez HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(17_000)}\r\n\r\n`)
  t.strictSame(statusesOf(long), [431])
  t.match(long, '"code":"HEADERS_TOO_LARGE"')
  const large = await raw(
    port,
    'POST /v1/missions/create HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 999999999\r\n\r\n',
  )
  t.strictSame(statusesOf(large), [413])
})

t.test('who sends headers drop by drop is told so and cut', async (t) => {
  const door = new Door(() => t.fail('no request came'), systemClock, {
    headersTimeout: 1,
    connectionsCheckingInterval: 1,
  })
  await door.open({ host: '127.0.0.1', port: 0 })
  t.teardown(() => door.close(0))
  const text = await raw(door.port, 'GET /livez HTTP/1.1\r\nHost: loc')
  t.strictSame(statusesOf(text), [408])
  t.match(text, '"code":"REQUEST_TOO_SLOW"')
})

t.test('pipelined requests are answered in order', async (t) => {
  const { port } = await house(t)
  const one = 'GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n'
  const last = 'GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'
  t.strictSame(statusesOf(await raw(port, one.repeat(100) + last)), [
    ...Array.from({ length: 100 }, () => 200),
    404,
  ])
})

t.test('a dead socket is taken over; a living one, a file and a long path are not', async (t) => {
  const { daemon } = fakeDaemon(systemClock)
  const open = (socketPath: string) =>
    openHttp(daemon, { clock: systemClock, chance: systemChance, host: '127.0.0.1', port: 0, socketPath })
  const failureOf = async (socketPath: string): Promise<string> =>
    open(socketPath).then(
      () => 'opened',
      (cause) => (cause instanceof NexusError ? cause.code : String(cause)),
    )
  const dir = shortDir(t)
  const { socketPath: living } = await house(t)
  const file = join(dir, 'file')
  writeFileSync(file, 'precious')
  t.strictSame(
    [await failureOf(living), await failureOf(file), await failureOf(join(dir, 'x'.repeat(108)))],
    ['PORT_UNAVAILABLE', 'PORT_UNAVAILABLE', 'SOCKET_PATH_TOO_LONG'],
  )
  t.ok(existsSync(file) && existsSync(living))

  const dead = join(dir, 'dead')
  const code = `require('net').createServer().listen(${JSON.stringify(dead)}, () => process.kill(process.pid, 'SIGKILL'))`
  spawnSync(process.execPath, ['-e', code])
  t.ok(lstatSync(dead).isSocket(), 'somebody died there')
  const surface = await open(dead)
  t.strictSame(statusesOf(await raw(dead, 'GET /livez HTTP/1.0\r\n\r\n')), [200])
  await surface.close(0)
})

t.test('a port in use is named, and nothing stays open', async (t) => {
  const other = createServer()
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
  t.teardown(() => other.close())
  const { port } = other.address() as { port: number }
  const socketPath = join(shortDir(t), 'nexus.sock')
  const { daemon } = fakeDaemon(systemClock)
  const opened = openHttp(daemon, {
    clock: systemClock,
    chance: systemChance,
    host: '127.0.0.1',
    port,
    socketPath,
  })
  await t.rejects(opened, {
    code: 'PORT_UNAVAILABLE',
    message: `cannot listen on 127.0.0.1:${port}: another process listens there`,
    exit: 69,
  })
  t.notOk(existsSync(socketPath))
})

/** Follows a stream of events over the Unix socket. */
function follow(socketPath: string, path: string, headers: Record<string, string> = {}) {
  let text = ''
  let ended = false
  const asked = get({ socketPath, path, headers }, (answer) => {
    answer.on('data', (piece: Buffer) => {
      text += piece.toString()
    })
    answer.on('end', () => {
      ended = true
    })
  })
  asked.on('error', () => {})
  return {
    ids: () => [...text.matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id)),
    text: () => text,
    ended: () => ended,
    gone: () => asked.destroy(),
  }
}

/** Lets sockets flow, for as many turns as anything here could need. */
async function until(reached: () => boolean): Promise<void> {
  for (let turn = 0; turn < 20_000 && !reached(); turn += 1) await settle()
}

t.test('events resume behind the last one read, without gap or doubling, while more arrive', async (t) => {
  const { knobs, socketPath } = await house(t)
  const put = (type: string) => knobs.append({ type, actor: { kind: 'daemon', name: 'x' }, d: {} })
  for (let n = 0; n < 1_200; n += 1) await put(n % 2 === 0 ? 'mission.created' : 'module.crashed')

  const live = follow(socketPath, '/v1/events')
  const resumed = follow(socketPath, '/v1/events', { 'last-event-id': '1190' })
  const all = follow(socketPath, '/v1/events?after=0&types=module.*')
  await until(() => all.ids().length > 0)
  await put('mission.created')
  await until(() => live.ids().length > 0)
  await put('module.crashed')
  await until(() => all.ids().at(-1) === 1_202)

  t.strictSame(live.ids(), [1_201, 1_202])
  t.strictSame(
    resumed.ids(),
    Array.from({ length: 12 }, (_, n) => 1_191 + n),
  )
  t.strictSame(all.ids(), [...Array.from({ length: 600 }, (_, n) => 2 * n + 2), 1_202])
  t.match(live.text(), `event: module.crashed\ndata: ${JSON.stringify(knobs.facts[1_201])}\n\n`)
})

t.test(
  'a client that does not read is let go with less than a few mebibytes, and told where to resume',
  async (t) => {
    const { knobs, socketPath } = await house(t)
    const text: Buffer[] = []
    const socket = await new Promise<Socket>((resolve) => {
      const opened = connect(socketPath, () => resolve(opened))
    })
    const closed = new Promise((resolve) => socket.on('close', resolve))
    socket.on('data', (piece) => text.push(Buffer.from(piece)))
    socket.write('GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n')
    await until(() => text.length > 0)
    socket.pause()
    const d = { filler: 'x'.repeat(16_384) }
    for (let n = 0; n < 400; n += 1)
      await knobs.append({ type: 'mission.created', actor: { kind: 'daemon', name: 'x' }, d })
    await settle()
    socket.resume()
    await closed
    const body = Buffer.concat(text).toString()
    const last = Number([...body.matchAll(/^id: (\d+)$/gm)].at(-1)?.[1])
    t.ok(body.length < 4_000_000, `${body.length} bytes`)
    t.ok(last < 400)
    t.match(body, `event: lagged\ndata: ${JSON.stringify({ resume_after: last })}\n\n`)
  },
)

t.test('closing answers what is in flight, ends streams, and leaves no door', async (t) => {
  const { daemon, surface, socketPath } = await house(t)
  let release = (): void => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  const { metricsText } = daemon
  Object.assign(daemon, { metricsText: async () => held.then(() => metricsText()) })
  const answered = raw(socketPath, 'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n')
  const stream = follow(socketPath, '/v1/events')
  const idle = connect(socketPath)
  await until(() => idle.readyState === 'open')
  await settle()
  const closed = surface.close(3_600_000)
  await settle()
  release()
  await closed
  await until(stream.ended)
  t.strictSame(statusesOf(await answered), [200])
  t.ok(stream.ended())
  t.notOk(existsSync(socketPath))
  await surface.close(0)
})

t.test('the metrics port answers scrapers under any name, and nothing else', async (t) => {
  const { daemon, knobs } = fakeDaemon(systemClock)
  const complaints: unknown[] = []
  const surface = await openMetrics(daemon, {
    clock: new TestClock(),
    host: '127.0.0.1',
    port: 0,
    complain: (cause) => complaints.push(cause),
  })
  t.teardown(() => surface.close(0))
  const ask = (path: string, method = 'GET'): Promise<readonly [number, string]> =>
    new Promise((resolve, reject) => {
      const asked = request(
        { port: surface.port, path, method, headers: { host: '10.1.2.3:9090' } },
        (answer) => {
          let text = ''
          answer.on('data', (piece) => {
            text += piece
          })
          answer.on('end', () => resolve([answer.statusCode ?? 0, text]))
        },
      )
      asked.on('error', reject)
      asked.end()
    })
  const seen: unknown[] = []
  for (const path of ['/metrics', '/livez', '/readyz', '/startupz?x=1', '/v1/status', '/docs', '/']) {
    seen.push([path, (await ask(path))[0]])
  }
  t.strictSame(seen, [
    ['/metrics', 200],
    ['/livez', 200],
    ['/readyz', 200],
    ['/startupz?x=1', 200],
    ['/v1/status', 404],
    ['/docs', 404],
    ['/', 404],
  ])
  t.strictSame([(await ask('/metrics', 'POST'))[0], await ask('/livez', 'HEAD')], [405, [200, '']])
  t.equal((await ask('/metrics'))[1], 'up 1\n')
  knobs.ready = false
  t.equal((await ask('/readyz'))[0], 503)
  Object.assign(daemon, { metricsText: () => Promise.reject(new Error('broken')) })
  t.equal((await ask('/metrics'))[0], 500)
  t.equal(complaints.length, 1)
})
