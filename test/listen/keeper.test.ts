import '../support/clean-children.ts'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { NexusError } from '../../daemon/contracts/failure.ts'
import { seededChance } from '../../daemon/kit/chance.ts'
import { createExchange } from '../../daemon/listen/exchange.ts'
import { createPortKeeper } from '../../daemon/listen/listen.ts'
import { shortDir } from '../support/short-dir.ts'
import { TestClock } from '../support/test-clock.ts'
import { Client, freePort, MODULE, Street, until } from './street.ts'

const failureOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'it was taken',
    (error: unknown) => (error instanceof NexusError ? `${error.code} ${error.message}` : String(error)),
  )

/** Whether anything takes connections there. */
async function answers(port: number, host = '127.0.0.1'): Promise<boolean> {
  const socket = connect({ port, host })
  const [event] = await Promise.race([once(socket, 'connect').then(() => ['yes']), once(socket, 'error')])
  socket.destroy()
  return event === 'yes'
}

t.test('a port that cannot be had is named, with who wants it and why not', async (t) => {
  const street = await Street.open(t)
  const other = 'demo/other'
  const foreign = createServer().listen(0, '127.0.0.1')
  await once(foreign, 'listening')
  t.teardown(() => foreign.close())
  const taken = (foreign.address() as { port: number }).port
  const hold = (host: string, port: number): Promise<string> =>
    failureOf(street.keeper.hold(other, [{ name: 'api', host, port }]))

  t.strictSame(
    [
      await hold('localhost', street.port),
      await hold('127.0.0.1', taken),
      await hold('192.0.2.1', 8080),
      await hold('127.0.0.1', street.port).then(() => street.keeper.status(other)),
    ],
    [
      `PORT_UNAVAILABLE cannot listen on 127.0.0.1:${street.port}: it belongs to demo/web ("web"); demo/other wants it for "api"`,
      `PORT_UNAVAILABLE cannot listen on 127.0.0.1:${taken}: something else listens there already; demo/other wants it for "api"`,
      'PORT_UNAVAILABLE cannot listen on 192.0.2.1:8080: the network may reach it there; the operator allows that with `listen.hosts`; demo/other wants it for "api"',
      [],
    ],
  )
})

const LOW = 81
const mayOpenLow =
  process.getuid?.() === 0 ||
  Number(readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'latin1')) <= LOW

t.test(
  'a port that only root may open is refused with a way out',
  { skip: mayOpenLow && 'this account may' },
  async (t) => {
    const street = await Street.open(t)
    t.match(
      await failureOf(street.keeper.hold('demo/low', [{ name: 'web', host: '127.0.0.1', port: LOW }])),
      'this account may not open a port below 1024; choose another than 81, or grant CAP_NET_BIND_SERVICE',
    )
  },
)

t.test('an address of all addresses belongs to one module only', async (t) => {
  const keeper = createPortKeeper({
    runDir: shortDir(t),
    chance: seededChance(1),
    mayOpen: () => true,
    onBug: () => {},
    exchange: createExchange(new TestClock(), 100),
  })
  t.teardown(() => keeper.close())
  const port = await freePort()
  await keeper.hold('a/all', [{ name: 'web', host: '0.0.0.0', port }])
  t.match(
    await failureOf(keeper.hold('b/one', [{ name: 'web', host: '127.0.0.1', port }])),
    'it belongs to a/all ("web"); b/one wants it',
  )
})

t.test('a module gets all of its ports or none that it had not', async (t) => {
  const street = await Street.open(t)
  const free = await freePort()
  const own = { name: 'web', host: '127.0.0.1', port: street.port }
  const foreign = createServer().listen(0, '127.0.0.1')
  await once(foreign, 'listening')
  t.teardown(() => foreign.close())
  const taken = (foreign.address() as { port: number }).port
  t.match(
    await failureOf(
      street.keeper.hold(MODULE, [
        { name: 'free', host: '127.0.0.1', port: free },
        { name: 'taken', host: '127.0.0.1', port: taken },
      ]),
    ),
    `127.0.0.1:${taken}: something else`,
  )
  t.strictSame(
    [await answers(street.port), await answers(free), street.keeper.status(MODULE).map(({ name }) => name)],
    [true, false, ['web']],
  )
  await street.keeper.hold(MODULE, [own])
  t.equal(await answers(street.port), true)
})

t.test('what a manifest no longer lists is closed, what it lists still is not touched', async (t) => {
  const street = await Street.open(t)
  const instance = await street.instance((socket) => socket.pipe(socket))
  street.direct(instance)
  const client = await street.client()
  await client.ask('x', 'x')
  const more = await freePort()
  const host = '127.0.0.1'
  await street.keeper.hold(MODULE, [
    { name: 'api', host, port: more },
    { name: 'web', host, port: street.port },
  ])
  t.strictSame(
    [await answers(more), street.keeper.status(MODULE).map(({ name, accepted }) => [name, accepted > 0])],
    [
      true,
      [
        ['api', true],
        ['web', true],
      ],
    ],
  )
  await street.keeper.hold(MODULE, [{ name: 'site', host, port: street.port }])
  t.strictSame([await answers(more), await answers(street.port)], [false, true])
  await client.ask('y', 'y')
  t.equal(client.over, undefined, 'the connection has outlived both')
  await street.counts({ open: 1 })
  t.equal(street.keeper.status(MODULE)[0]?.name, 'site')
})

t.test('a second port is served by who served the first under that name', async (t) => {
  const street = await Street.open(t)
  const instance = await street.instance((socket) => socket.end('hello'))
  street.direct(instance)
  const host = '127.0.0.1'
  const other = await freePort()
  await street.keeper.hold(MODULE, [
    { name: 'web', host, port: street.port },
    { name: 'web', host, port: other },
  ])
  street.port = other
  await (await street.client()).hears('hello')
})

t.test('while a reload renames a port, each generation is reached by its own name', async (t) => {
  const street = await Street.open(t)
  const host = '127.0.0.1'
  const listen = (name: string) => ({ name, host, port: street.port })
  const old = await street.instance((socket) => socket.end('old'))
  street.direct(old)
  await street.keeper.hold(MODULE, [listen('web'), listen('site')])
  const paths = street.keeper.paths(MODULE, 'new')
  t.strictSame(Object.keys(paths), ['web', 'site'])
  const server = createServer((socket) => socket.end('new')).listen(paths['site'])
  await once(server, 'listening')
  t.teardown(() => server.close())
  await (await street.client()).hears('old')
  street.direct({ id: 'new' })
  await (await street.client()).hears('new')
})

t.test('a release frees the port at once; what is under way may end', async (t) => {
  const street = await Street.open(t)
  let answer: (() => void) | undefined
  const instance = await street.instance((socket) => {
    socket.on('data', (bytes) => {
      if (String(bytes).startsWith('GET')) answer = () => socket.write('HTTP/1.1 204 No Content\r\n\r\n')
      else socket.write(bytes)
    })
  })
  street.direct(instance)
  const joined = await street.client()
  await joined.ask('x', 'x')
  const answered = await street.client()
  answered.socket.write('GET / HTTP/1.1\r\n\r\n')
  await until(
    () => answer !== undefined,
    () => 'it was not asked',
  )
  await street.keeper.release(MODULE)
  t.equal(await answers(street.port), false)
  await joined.ask('y', 'y')
  answer?.()
  await answered.hears('204')
  street.keeper.forget(MODULE, instance.id)
  await street.clock.pass(5_000)
  t.equal(await joined.ends(), 'ECONNRESET')
  t.equal(await answered.ends(), 'end', 'after its answer there is nothing more to come')

  await street.keeper.hold(MODULE, [{ name: 'web', host: '127.0.0.1', port: street.port }])
  const waiting = await street.client()
  await street.counts({ waiting: 1, accepted: 3 })
  await street.keeper.release(MODULE)
  t.equal(await waiting.ends(), 'ECONNRESET')
})

t.test('sockets lie in private folders, one for each module, and go with their instance', async (t) => {
  const runDir = shortDir(t)
  mkdirSync(join(runDir, 'p', 'old'), { recursive: true })
  writeFileSync(join(runDir, 'p', 'old', '0'), 'left by a former daemon')
  const keeper = createPortKeeper({
    runDir,
    chance: seededChance(1),
    mayOpen: () => true,
    onBug: () => {},
    exchange: createExchange(new TestClock(), 100),
  })
  t.equal(existsSync(join(runDir, 'p')), false)
  t.strictSame(keeper.paths('a/a', '1'), {}, 'a module without ports has no sockets')
  const [one, two] = [await freePort(), await freePort()]
  await keeper.hold('a/a', [{ name: 'web', host: '127.0.0.1', port: one }])
  await keeper.hold('b/b', [{ name: 'web', host: '127.0.0.1', port: two }])
  const paths = [keeper.paths('a/a', '1'), keeper.paths('a/a', '2'), keeper.paths('b/b', '1')].map(
    ({ web = '' }) => web,
  )
  t.strictSame(keeper.paths('a/a', '1'), { web: paths[0] }, 'asked again they are the same')
  t.equal(new Set(paths).size, 3)
  t.strictSame([readdirSync(join(runDir, 'p')).length, statSync(join(runDir, 'p')).mode & 0o777], [2, 0o700])
  for (const path of paths) {
    t.ok(path.length <= `${runDir}/nexus.sock`.length, path)
    t.equal(statSync(join(path, '..')).mode & 0o777, 0o700)
    writeFileSync(path, '')
  }
  keeper.forget('a/a', '1')
  t.strictSame(paths.map(existsSync), [false, true, true])
  await keeper.close()
  t.equal(existsSync(join(runDir, 'p')), false)
})

t.test('a data folder too deep for a socket is refused with its length', async (t) => {
  const runDir = join(shortDir(t), 'x'.repeat(100))
  const keeper = createPortKeeper({
    runDir,
    chance: seededChance(1),
    mayOpen: () => true,
    onBug: () => {},
    exchange: createExchange(new TestClock(), 100),
  })
  t.teardown(() => keeper.close())
  await keeper.hold('a/a', [{ name: 'web', host: '127.0.0.1', port: await freePort() }])
  t.throws(() => keeper.paths('a/a', '1'), { code: 'SOCKET_PATH_TOO_LONG' })
})

t.test('in a thread of its own it does the same, and says what it cannot', async (t) => {
  const bugs: unknown[] = []
  const keeper = createPortKeeper({
    runDir: shortDir(t),
    chance: seededChance(1),
    mayOpen: () => true,
    onBug: (error) => bugs.push(error),
  })
  const port = await freePort()
  const listen = [{ name: 'web', host: '127.0.0.1', port }]
  await keeper.hold(MODULE, listen)
  t.match(
    await failureOf(keeper.hold('demo/far', [{ name: 'web', host: '192.0.2.1', port }])),
    /PORT_UNAVAILABLE.*no such address/,
  )
  const { web = '' } = keeper.paths(MODULE, '1')
  const server = createServer((socket) => socket.pipe(socket)).listen(web)
  await once(server, 'listening')
  const client = new Client(connect({ port, host: '127.0.0.1' }))
  client.socket.write('hello')
  await client.hears('')
  keeper.direct(MODULE, ['1'])
  await client.hears('hello')
  t.match(keeper.status(MODULE), [{ name: 'web', port, open: 1, waiting: 0, accepted: 1, refused: 0 }])
  client.socket.end()
  await keeper.drain(MODULE, '1', 10_000)
  server.close()
  await keeper.release(MODULE)
  t.equal(await answers(port), false)
  await keeper.close()
  t.strictSame(bugs, [])
})

t.test(
  'behind the permission wall a module listens, and takes its socket away, without a flag for it',
  async (t) => {
    const dir = shortDir(t)
    const program = join(dir, 'module.mjs')
    const path = join(dir, 'p')
    writeFileSync(
      program,
      `import { createServer } from 'node:http'
     const server = createServer((_, response) => response.end('hello')).listen(${JSON.stringify(path)}, () => console.log('up'))
     process.stdin.once('data', () => server.close())`,
    )
    const child = spawn(process.execPath, ['--permission', `--allow-fs-read=${program}`, program], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: {},
    })
    t.teardown(() => child.kill('SIGKILL'))
    await once(child.stdout, 'data')
    const client = new Client(connect(path))
    await client.ask('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n', 'hello')
    t.equal(existsSync(path), true)
    child.stdin.end('stop')
    const [code] = await once(child, 'exit')
    t.strictSame([code, existsSync(path)], [0, false])
    await until(
      () => client.over !== undefined || client.socket.destroyed,
      () => 'it goes on',
    )
  },
)
