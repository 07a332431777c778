import '../support/clean-children.ts'
import { spawnSync } from 'node:child_process'
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { locateProgram } from '../../daemon/host/exec-program.ts'
import { ExecReport } from '../../daemon/host/exec-report.ts'
import type { Instance, SpawnOrder } from '../../daemon/host/port.ts'
import { isAlive } from '../support/daemon.ts'
import { settle, TestClock } from '../support/test-clock.ts'
import { call, Ear, type OrderChanges, openPool, orderFor } from './bench.ts'

const { pool, dataDir } = await openPool(t, { spares: 0 })
const FIXTURES = fileURLToPath(new URL('../fixtures/exec', import.meta.url))
const NO_PYTHON =
  spawnSync('python3', ['-c', '']).status === 0 ? false : 'there is no python3 on this machine'

const O_CLOEXEC = 0o2000000
const flagsOf = (fd: string): number =>
  Number.parseInt(/^flags:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '', 8)
type Test = { teardown(undo: () => unknown): void }
/** What whoever started this process left open for all its descendants; Node closes those below 16. */
const INHERITED = new Set(
  readdirSync('/proc/self/fdinfo').filter((fd) => {
    const flags = Number(fd) > 15 && existsSync(`/proc/self/fdinfo/${fd}`) ? flagsOf(fd) : O_CLOEXEC
    return (flags & O_CLOEXEC) === 0
  }),
)
let programs = 0

/** A generation that holds these files, each executable. */
function generation(files: Readonly<Record<string, string>>): string {
  const dir = join(dataDir, 'generations', `p${++programs}`)
  mkdirSync(dir)
  for (const [name, text] of Object.entries(files)) {
    writeFileSync(join(dir, name), text)
    chmodSync(join(dir, name), 0o700)
  }
  return dir
}

/** What the supervisor would order for a shell script; `$1` of it is empty. */
function script(text: string, changes: OrderChanges = {}) {
  const dir = generation({ 'run.sh': `#!/bin/sh\n${text}\n` })
  return orderFor(dataDir, { runtime: 'exec', dir, entry: '', command: ['./run.sh'], ...changes })
}

async function spawn(t: Test, text: string, changes: OrderChanges = {}): Promise<Instance> {
  const instance = await pool.spawn(script(text, changes))
  t.teardown(() => instance.halt(100))
  return instance
}

/** How spawning or starting fails, as the supervisor would see it. Nothing is left running. */
async function failure(order: SpawnOrder): Promise<Record<string, unknown>> {
  let instance: Instance | undefined
  try {
    instance = await pool.spawn(order)
    await instance.start()
    return { started: true }
  } catch (error) {
    const { code, facts } = error as { code: string; facts: Record<string, unknown> }
    return { code, ...facts }
  } finally {
    await instance?.halt(100)
  }
}

/** In shell: the daemon's next line is read, and answered as number `id`. */
const answer = (id: number, result: string): string =>
  `read line <&3; echo '{"jsonrpc":"2.0","id":${id},"result":${result}}' >&3`
const tell = (method: string, params: object): string =>
  `echo '${JSON.stringify({ jsonrpc: '2.0', method, params })}' >&3`
const NOTHING = '{"actions":[],"has":{"health":false,"configure":false,"snapshot":false}}'
const WELL = '{"actions":[],"has":{"health":true,"configure":false,"snapshot":false}}'
const WAIT = 'while :; do sleep 1000; done'

t.test('a program that cannot be run is named, with what helps, and not tried again', async (t) => {
  const file = (name: string, text: string): [string, Record<string, string>] => [
    `./${name}`,
    { [name]: text },
  ]
  const cases: [string, [string, Record<string, string>], RegExp, RegExp][] = [
    ['on no PATH', ['pythn3', {}], /no program of this name is on PATH/, /install pythn3/],
    ['not there', ['./serve', {}], /it is not there/, /put \.\/serve into/],
    ['interpreter', file('a.py', '#!/usr/bin/pythn3\n'), /names \/usr\/bin\/pythn3, which is not/, /a\.py/],
    ['env', file('b.py', '#!/usr/bin/env -S pythn3 -u\n'), /names pythn3, and no program/, /b\.py/],
    ['Windows', file('c.sh', '#!/bin/sh\r\necho\r\n'), /carriage return/, /Unix line ends/],
    ['folder', ['./', {}], /it is not a file/, /make \.\/ a program/],
  ]
  for (const [name, [program, files], reason, remedy] of cases) {
    const dir = generation(files)
    const facts = await failure(orderFor(dataDir, { runtime: 'exec', dir, command: [program] }))
    t.match(
      facts,
      { code: 'MODULE_START_FAILED', phase: 'spawn', unloadable: 1, file: program, reason, remedy },
      name,
    )
  }
  const dir = generation({ 'run.sh': '#!/bin/sh\n' })
  chmodSync(join(dir, 'run.sh'), 0o600)
  t.match(await failure(orderFor(dataDir, { runtime: 'exec', dir, command: ['./run.sh'] })), {
    unloadable: 1,
    remedy: /chmod u\+x \.\/run\.sh/,
  })
  const here = { moduleId: 'test/actor', dir, command: ['biome'] }
  await t.rejects(locateProgram(here, 'node_modules/.bin:.'), {
    message: /no program of this name/,
  })
  const config = { long: 'x'.repeat(70_000) }
  t.match(await failure(script(WAIT, { config })), {
    phase: 'spawn',
    config_error: 1,
    reason: /NEXUS_CONFIG/,
  })
})

t.test('it runs in its generation, with a clean environment and nothing open but its pipe', async (t) => {
  const ear = new Ear()
  const order = script('env; pwd; ls /proc/self/fd; echo "$@"; echo done', {
    listener: ear.listener,
    config: { unit: 'cel"sius\n' },
    listen: { 'web-api': '/run/w.sock' },
    permissions: { env: ['GIVEN', 'NEXUS_OPERATOR_KEY'] },
  })
  process.env['GIVEN'] = 'yes'
  process.env['WITHHELD'] = process.env['NEXUS_OPERATOR_KEY'] = 'secret'
  const instance = await pool.spawn({ ...order, command: ['./run.sh', 'a b', '$HOME'] })
  t.strictSame(await instance.gone, { how: 'exited', exitCode: 0, signal: null })
  const said = ear.logs().map(String)
  const names = said.filter((line) => /^[A-Z_]+=/.test(line)).map((line) => line.replace(/=.*/, ''))
  const granted = ['GIVEN', 'HOME', 'LANG', 'NODE_ENV', 'OLDPWD', 'PATH', 'PWD', 'SHLVL', 'TZ', '_']
  t.strictSame(names.filter((name) => !granted.includes(name)).sort(), [
    ...['NEXUS_CONFIG', 'NEXUS_DATA_DIR', 'NEXUS_FD', 'NEXUS_INSTANCE', 'NEXUS_LISTEN_WEB_API'],
    ...['NEXUS_MARK', 'NEXUS_MODULE'],
  ])
  t.ok(said.includes('NEXUS_CONFIG={"unit":"cel\\"sius\\n"}'))
  t.ok(said.includes('NEXUS_LISTEN_WEB_API=/run/w.sock'))
  t.ok(said.includes(`NEXUS_DATA_DIR=${join(dataDir, 'own')}`))
  t.ok(said.includes(order.dir))
  t.ok(said.includes('a b $HOME'))
  // 4 is the folder that `ls` itself reads.
  const open = said.slice(said.indexOf(order.dir) + 1, -2).filter((fd) => !INHERITED.has(fd))
  t.strictSame(open, ['0', '1', '2', '3', '4'])
})

t.test('a silent program has started when it runs, is well, and has nothing to hand over', async (t) => {
  const ear = new Ear()
  const instance = await spawn(t, `echo up; ${WAIT}`, { listener: ear.listener })
  await instance.start()
  await instance.start()
  t.strictSame(
    [instance.actions, instance.isolation, await instance.health(1_000), await instance.snapshot(1_000)],
    [[], 'none', { status: 'healthy' }, undefined],
  )
  const change = { key: 'a', value: 1, previous: 0, config: { a: 1 } }
  t.equal(await instance.configure(change, 1_000), 'needs-reload')
  await ear.heard('log')
  t.ok((instance.stats.heartbeat?.rss_bytes ?? 0) > 0, 'the system knows how large it is')
})

t.test('TERM ends a script and all that it has started; one that does not listen is killed', async (t) => {
  const ear = new Ear()
  const instance = await spawn(t, 'sleep 1000 & echo $!; sleep 1000 & echo $!; trap "exit 3" TERM; wait', {
    listener: ear.listener,
  })
  await instance.start()
  await ear.until(() => ear.logs().length === 2)
  await instance.halt(10_000)
  t.strictSame(await instance.gone, { how: 'halted' })
  t.strictSame([instance.pid, ...ear.logs().map(Number)].map(isAlive), [false, false, false])

  const deaf = await spawn(t, `trap "" TERM; echo up; ${WAIT}`, { listener: ear.listener })
  await ear.until(() => ear.logs().length === 3)
  await deaf.halt(50)
  t.equal(isAlive(deaf.pid), false)
})

t.test('between TERM and KILL it has the time that its manifest gives', async (t) => {
  const ear = new Ear()
  const tidy = 'trap "sleep 0.7; echo tidied up; exit" TERM; echo up; while :; do sleep 0.1; done'
  const instance = await spawn(t, tidy, { listener: ear.listener })
  await ear.heard('log')
  await instance.halt(10_000)
  t.equal(ear.logs().at(-1), 'tidied up')
})

t.test(
  'the reason of an exit is what was written just before it, with the place in its own files',
  async (t) => {
    const clock = new TestClock()
    const said = async (lines: readonly [string, number][], how: object = {}): Promise<unknown> => {
      const report = new ExecReport('/gen/abc', clock)
      for (const [message, afterMs] of lines) {
        report.hear({ level: 'warn', message, stream: 'stderr' })
        await clock.pass(afterMs)
      }
      return report.explain({ how: 'exited', exitCode: 1, signal: null, ...how })
    }
    const exit = { how: 'exited', exitCode: 1, signal: null }
    const python: [string, number][] = [
      ['  File "/gen/abc/lib/a.py", line 12, in run', 0],
      ['  File "/usr/lib/python3/json.py", line 3, in load', 0],
      ['ValueError: no number', 10],
    ]
    t.match(await said(python), {
      ...exit,
      said: 'ValueError: no number (lib/a.py:12)',
      stack: /line 12.*\n.*\nValue/,
    })
    t.match(
      await said([
        ['    at run (/gen/abc/x.js:7:9)', 0],
        ['gone', 0],
      ]),
      { said: 'gone (x.js:7)' },
    )
    t.match(
      await said([
        ['gone', 0],
        ['  ', 0],
      ]),
      { said: 'gone' },
    )
    t.strictSame(await said([['an old complaint', 2_000]]), exit)
    t.strictSame(await said([['all is well', 0]], { exitCode: 0 }), { ...exit, exitCode: 0 })
    const killed = { exitCode: null, signal: 'SIGKILL' }
    t.strictSame(await said([['busy', 0]], killed), { ...exit, ...killed })
    t.match(await said([['stack smashed', 0]], { exitCode: null, signal: 'SIGABRT' }), {
      said: 'stack smashed',
    })
  },
)

t.test('what it starts goes with it, however it ends', async (t) => {
  const ear = new Ear()
  const instance = await spawn(t, 'sleep 1000 & echo $!; echo "no luck" >&2; exit 78', {
    listener: ear.listener,
  })
  t.match(await instance.gone, { how: 'exited', exitCode: 78, signal: null })
  t.equal(isAlive(Number(ear.logs()[0])), false)
})

t.test('a module with actions must introduce itself, in time and in shape', async (t) => {
  const actions = ['run']
  const fails = (text: string, start_ms = 10_000) =>
    failure(script(text, { actions, timeouts: { start_ms } }))
  const [mute, closed] = await Promise.all([fails(WAIT, 100), fails(`exec 3>&-; ${WAIT}`)])
  t.match(mute, {
    phase: 'deadline',
    reason: /did not answer `initialize` on descriptor 3 within 100 ms/,
  })
  t.match(closed, { phase: 'import', reason: /closed descriptor 3/ })
  t.match(await fails('echo "no such library" >&2; exit 4'), {
    phase: 'import',
    reason: /exited with code 4/,
    stack: 'no such library',
    exit_code: 4,
  })
  t.match(await fails(`${answer(1, '{"actions":"run"}')}; ${WAIT}`), {
    phase: 'import',
    unloadable: 1,
    reason: /wrong shape/,
  })
  t.match(await fails(`${answer(1, NOTHING)}; ${answer(2, 'null')}; ${WAIT}`), { started: true })
  const wrong = `{"jsonrpc":"2.0","id":2,"error":{"code":-32000,"message":"no port","data":{"config_error":true}}}`
  t.match(await fails(`${answer(1, NOTHING)}; read line <&3; echo '${wrong}' >&3; ${WAIT}`), {
    phase: 'start',
    reason: 'no port',
    config_error: 1,
  })
})

t.test('one that speaks late is asked to start then, and ends when that fails', async (t) => {
  const ear = new Ear()
  const { listener } = ear
  const late = await spawn(t, `sleep 0.1; ${answer(1, WELL)}; read line <&3; echo "$line"; ${WAIT}`, {
    listener,
  })
  await late.start()
  t.strictSame(late.has, { health: true, configure: false, snapshot: false }, 'nobody knows yet')
  await ear.heard('log')
  t.match(JSON.parse(String(ear.logs()[0])), { id: 2, method: 'start' })

  const error = '{"jsonrpc":"2.0","id":2,"error":{"code":-32000,"message":"no port"}}'
  const wrong = await spawn(t, `sleep 0.1; ${answer(1, WELL)}; read line <&3; echo '${error}' >&3; ${WAIT}`)
  await wrong.start()
  t.match(await wrong.gone, { how: 'killed', because: /did not start \(start\): no port/ })
})

t.test('heartbeats are watched from the first one on, also of one that never answers', async (t) => {
  const limits = { heartbeat_suspect_ms: 100, heartbeat_kill_ms: 300 }
  const beats = [
    tell('heartbeat', { rss_bytes: 7, cpu_ms: 0, loop_lag_ms: 0, elu: 0 }),
    `echo '{"jsonrpc":"2.0","method":"heartbeat"}' >&3`,
  ]
  const ear = new Ear()
  const words = [tell('notready', { reason: 'warming up' }), tell('log', { level: 'warn', message: 'ouch' })]
  const instance = await spawn(
    t,
    `sleep 0.5; ${[...words, tell('ready', {}), ...beats].join('; ')}; ${WAIT}`,
    {
      limits,
      listener: ear.listener,
    },
  )
  await instance.start()
  t.match(await instance.gone, { how: 'hung' })
  t.equal(instance.stats.heartbeat?.rss_bytes, 7)
  t.match(ear.said, [
    { notReady: 'warming up' },
    { log: 'ouch', level: 'warn' },
    { ready: true },
    { suspect: Number },
  ])
})

t.test(
  'a broken line ends it, an unknown answer does not, and only a silent one may close its pipe',
  async (t) => {
    const ear = new Ear()
    const stray = `echo '{"jsonrpc":"2.0","id":99,"result":1}' >&3`
    const fine = await spawn(t, `${stray}; exec 3>&-; sleep 1.3; echo still here; ${WAIT}`, {
      listener: ear.listener,
    })
    const faults: readonly [string, RegExp][] = [
      [`echo 'hello?' >&3; ${WAIT}`, /no JSON-RPC 2\.0 message: "hello\?"/],
      [`${tell('heartbeat', { rss_bytes: -1 })}; ${WAIT}`, /heartbeat of a wrong shape/],
      [`${answer(1, WELL)}; exec 3>&-; ${WAIT}`, /closed descriptor 3/],
      [`head -c 1200000 /dev/zero | tr '\\0' x >&3; ${WAIT}`, /a line of more than 1048576 bytes/],
    ]
    const departures = await Promise.all(faults.map(async ([text]) => (await spawn(t, text)).gone))
    t.match(
      departures,
      faults.map(([, because]) => ({ how: 'killed', because })),
    )
    await ear.heard('log')
    t.equal(isAlive(fine.pid), true)
  },
)

t.test('one that never reads its pipe fails its callers, and nobody else', async (t) => {
  const actions = ['run']
  const instance = await spawn(t, `${answer(1, NOTHING)}; ${WAIT}`, {
    actions,
    timeouts: { start_ms: 10_000 },
  })
  const input = 'x'.repeat(500_000)
  const ends = await Promise.all(
    Array.from({ length: 60 }, () =>
      call(instance, 'run', input, { timeoutMs: 100 }).catch((error) => error.code as string),
    ),
  )
  t.equal(
    ends.filter((code) => code === 'ACTION_FAILED').length > 20,
    true,
    'beyond 16 MiB nothing is queued',
  )
  t.equal(
    ends.every((code) => code === 'ACTION_FAILED' || code === 'CALL_EXPIRED'),
    true,
  )
})

t.test('one with ports has started when each of its sockets accepts connections', async (t) => {
  const [web, api] = [join(dataDir, 'w.sock'), join(dataDir, 'a.sock')]
  const listen = { web, api }
  const late = await failure(script(WAIT, { listen, timeouts: { start_ms: 100 } }))
  t.match(late, { phase: 'deadline', reason: 'nothing accepted connections on web, api within 100 ms' })

  const seen: string[] = []
  const serve = (name: string, path: string): Server =>
    createServer((socket) => {
      seen.push(name)
      socket.destroy()
    }).listen(path)
  const instance = await spawn(t, WAIT, { listen })
  const starting = instance.start().then(() => seen.push('started'))
  const first = serve('web', web)
  await new Promise((resolve) => first.once('connection', resolve))
  await settle()
  t.strictSame(seen, ['web'], 'one of two is not enough')
  const second = serve('api', api)
  await starting
  await settle()
  t.strictSame([...seen].sort(), ['api', 'started', 'web'], 'each is asked once, and none for the late one')
  await (await spawn(t, WAIT, { listen })).start()
  first.close()
  second.close()

  t.match(await failure(script('exit 9', { listen })), { phase: 'import', exit_code: 9 })
  t.match(await failure(script(`${answer(1, NOTHING)}; ${answer(2, 'null')}; ${WAIT}`, { listen })), {
    started: true,
  })
})

t.test('a socket that is there but not listened on yet is waited for', { skip: NO_PYTHON }, async (t) => {
  const listen = { web: join(dataDir, 'slow.sock') }
  const python = `import os, socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.bind(os.environ["NEXUS_LISTEN_WEB"])
time.sleep(0.2)
s.listen()
time.sleep(1000)`
  const instance = await spawn(t, `exec python3 -c '${python}'`, { listen })
  await instance.start()
  const socket = connect(listen.web)
  t.equal(await new Promise((resolve) => socket.once('connect', resolve).once('error', resolve)), undefined)
  socket.destroy()
})

t.test('the module in Python does all that a module can do', { skip: NO_PYTHON }, async (t) => {
  const ear = new Ear()
  const dir = join(dataDir, 'generations/thermometer')
  cpSync(join(FIXTURES, 'thermometer'), dir, { recursive: true })
  const { config, actions } = JSON.parse(readFileSync(join(dir, 'module.json'), 'utf8'))
  const instance = await pool.spawn(
    orderFor(dataDir, {
      ...{ runtime: 'exec', dir, command: ['./thermometer.py'], actions: Object.keys(actions) },
      ...{ config: { ...config.defaults, warmup_ms: 1 }, inherited: { measured: 5 } },
      ...{ permissions: { commands: ['get_status'] }, listener: ear.listener },
      limits: { heartbeat_suspect_ms: 200 },
    }),
  )
  t.teardown(() => instance.halt(1_000))
  await instance.start()
  t.strictSame([...instance.actions].sort(), Object.keys(actions).sort())
  t.strictSame(instance.has, { health: true, configure: true, snapshot: true })

  const steps: [number, string | undefined][] = []
  const progress = (fraction: number, note: string | undefined): void => void steps.push([fraction, note])
  t.match(await call(instance, 'measure', { count: 2 }, { progress }), {
    unit: 'celsius',
    readings: [Number, Number],
  })
  t.strictSame(steps, [
    [0.5, '1 of 2'],
    [1, '2 of 2'],
  ])
  t.match(await call(instance, 'record', { readings: [1] }), { name: 'readings.csv', bytes: 2 })
  t.match(await call(instance, 'status'), { ran: 'get_status', params: { module_id: 'test/actor' } })
  await t.rejects(call(instance, 'misbehave', { how: 'throw' }), {
    code: 'ACTION_FAILED',
    facts: { reason: 'the sensor is wet', stack: /thermometer\.py", line \d+, in misbehave/ },
  })
  const stop = new AbortController()
  const endless = call(instance, 'measure', { count: 1e6, pause_ms: 5 }, { signal: stop.signal })
  stop.abort('enough')
  await t.rejects(endless, { code: 'CALL_ABORTED', facts: { stuck: 0 } })

  t.strictSame(await instance.health(1_000), { status: 'healthy' })
  const change = { key: 'offset', value: 60, previous: 0, config: { unit: 'celsius', offset: 60 } }
  t.equal(await instance.configure(change, 1_000), 'applied')
  t.match(await instance.health(1_000), { status: 'degraded' })
  t.equal(await instance.configure({ ...change, key: 'warmup_ms' }, 1_000), 'needs-reload')
  t.match(await instance.snapshot(1_000), { measured: Number })
  while ((instance.stats.heartbeat?.cpu_ms ?? 0) === 0) await call(instance, 'measure', { pause_ms: 20 })
  await instance.halt(5_000)
  t.match(ear.said, [{ notReady: 'the sensor warms up' }])
  t.ok(ear.logs().includes('thermometer is on') && ear.logs().includes('thermometer is off'))
  t.match(await instance.gone, { how: 'halted' })
})

t.test('the examples of the documentation are what is tested', { skip: NO_PYTHON }, async (t) => {
  const text = readFileSync(new URL('../../docs/exec-modules.md', import.meta.url), 'utf8')
  const blocks = (language: string): string[] =>
    [...text.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, 'gms'))].map(([, block = '']) => block)
  const fixture = (name: string): string => readFileSync(join(FIXTURES, 'greeter', name), 'utf8')
  t.strictSame(blocks('python'), [fixture('greeter.py')])
  t.equal(blocks('json')[1], fixture('module.json'))
  const [ticker, , tell] = blocks('sh')

  const { config, actions } = JSON.parse(fixture('module.json'))
  const greeter = await pool.spawn(
    orderFor(dataDir, {
      ...{ runtime: 'exec', dir: generation({ 'greeter.py': blocks('python')[0] ?? '' }) },
      ...{ command: ['./greeter.py'], actions: Object.keys(actions), config: config.defaults },
    }),
  )
  t.teardown(() => greeter.halt(1_000))
  await greeter.start()
  t.equal(await call(greeter, 'greet', { name: 'Ada' }), 'hello, Ada')
  await t.rejects(call(greeter, 'greet', {}), {
    code: 'ACTION_FAILED',
    facts: { reason: "KeyError('name')" },
  })
  await greeter.halt(5_000)

  const ear = new Ear()
  await spawn(t, `${tell}${ticker?.replace('#!/bin/sh\n', '')}`, { listener: ear.listener })
  await ear.heard('log')
  await ear.heard('notReady')
  const said = (key: string): unknown => ear.said.find((one) => key in one)
  t.match(said('notReady'), { notReady: 'waits for the database' })
  t.match(said('log'), { level: 'info', stream: 'stdout' })
})
