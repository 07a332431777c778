import '../support/clean-children.ts'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import {
  CommandInterface,
  checkCriticalModules,
  checkLiveness,
  checkReadiness,
  DaemonError,
  DaemonUnreachable,
  type EmbeddedDaemon,
  executeCommand,
  getStatus,
  initInterfaces,
  LivenessProbe,
  PermissionError,
  StatusInterface,
} from '../../aeon-interface/index.ts'
import { exchange, WireFault } from '../../aeon-interface/wire.ts'
import { NexusError } from '../../daemon/contracts/failure.ts'
import type { DaemonStatus } from '../../daemon/contracts/status.ts'
import { FakeNexusd, problem, type Route, rawServer, runProgram } from '../support/fake-nexusd.ts'
import { shortDir } from '../support/short-dir.ts'

// The scripts are started as programs: on a machine that is busy elsewhere that takes its time.
t.setTimeout(180_000)

const STATUS = {
  running: true,
  level: 'level-14.5-basic',
  uptime_seconds: 3.5,
  security: { principal: 'local', roles: ['admin'] },
  features: { cluster: false, tracing: false, compliance: false },
  modules: { total_discovered: 1, total_loaded: 1, by_state: { started: 1 } },
  health: { statistics: { total: 1, healthy: 1, degraded: 0, unhealthy: 0 } },
  busy_loops: [],
  missions: {
    queued: 0,
    running: 0,
    awaiting_approval: 0,
    oldest_approval_seconds: null,
    lanes: { coin: 0, forge: 0, library: 0, sanctuary: 0 },
  },
} as const satisfies DaemonStatus
const LIVE = { live: true, timestamp: 1, daemon_running: true }
const DETAILS = { total_modules: 4, healthy_modules: 1, unhealthy_modules: 3, health_ratio: 0.25 }
const NOT_READY = { ready: false, timestamp: 1, details: DETAILS, reasons: ['3 of 4 are unhealthy'] }
const CRITICAL = {
  critical: true,
  timestamp: 1,
  modules: [{ module_id: 'a/b', state: 'started', healthy: true }],
}

const ROUTES: Record<string, Route> = {
  'GET /livez': { status: 200, json: LIVE },
  'GET /readyz': { status: 503, json: NOT_READY },
  'GET /v1/critical': { status: 200, json: CRITICAL },
  'GET /v1/status': { status: 200, json: STATUS },
  'GET /v1/status/a/b': { status: 200, json: { module_id: 'a/b', state: 'started' } },
  'GET /v1/status/a/c': { status: 404, json: problem('MODULE_UNKNOWN', 'no module is named a/c') },
  'POST /v1/commands/get_metrics': {
    status: 200,
    json: { success: true, result: { content_type: 'text/plain', text: 'nexus_up 1\n' } },
  },
  'POST /v1/commands/stop_module': {
    status: 200,
    json: { success: true, result: { module_id: 'a/b', state: 'stopped' } },
  },
  'POST /v1/commands/reload_module': {
    status: 409,
    json: {
      success: false,
      error: 'rolled back',
      code: 'RELOAD_ROLLED_BACK',
      remedy: 'correct it',
      phase: 'settle',
    },
  },
  'POST /v1/commands/trigger_chaos': {
    status: 403,
    json: { success: false, error: 'you may not', code: 'PERMISSION_DENIED', remedy: 'use another token' },
  },
}

function useSocket(t: { teardown(undo: () => void): void }, socketPath: string): void {
  process.env['NEXUS_SOCKET'] = socketPath
  t.teardown(() => delete process.env['NEXUS_SOCKET'])
}

t.test('an answer that comes in any pieces is read whole', async (t) => {
  const answers = {
    'with a length': 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"ö":"1"}',
    'in chunks':
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=1\r\n{"\u00c3\r\n7\r\n\u00b6":"1"}\r\n0\r\nx: y\r\n\r\n',
    'to the end of the connection': 'HTTP/1.1 200 OK\r\n\r\n{"ö":"1"}',
    'after an interim one':
      'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{"ö":"1"}',
  }
  for (const [how, text] of Object.entries(answers)) {
    // In chunks the character is cut in two: there the text stands for its bytes.
    const bytes = Buffer.from(text, how === 'in chunks' ? 'latin1' : 'utf8')
    for (const pieces of [[bytes], [...bytes].map((byte) => Buffer.from([byte]))]) {
      const socketPath = await rawServer(t, pieces)
      const { status, body } = await exchange({ socketPath, path: '/', timeoutMs: 5_000 })
      t.strictSame({ status, body }, { status: 200, body: '{"ö":"1"}' }, `${how}, ${pieces.length} pieces`)
    }
  }
})

t.test('what is no whole answer is a fault, not an answer', async (t) => {
  const broken = {
    'cut in the head': 'HTTP/1.1 200 OK\r\nConte',
    'cut in the body': 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"a"',
    'cut in a chunk': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n{"a',
    'another protocol': 'SSH-2.0-OpenSSH_9.2\r\n\r\n',
    'a chunk without a size': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nsix\r\n',
    nothing: '',
  }
  for (const [how, text] of Object.entries(broken)) {
    const asked = exchange({ socketPath: await rawServer(t, [text]), path: '/', timeoutMs: 5_000 })
    await t.rejects(asked, { name: 'WireFault', how: 'broken' }, how)
  }
  const silent = await rawServer(t, [], 'keep')
  await t.rejects(exchange({ socketPath: silent, path: '/', timeoutMs: 20 }), {
    name: 'WireFault',
    how: 'silent',
  })
  const socketPath = join(shortDir(t), 'none')
  await t.rejects(
    exchange({ socketPath, path: '/', timeoutMs: 20 }),
    new WireFault('unreachable', socketPath),
  )
})

t.test('a header value cannot begin another header', async (t) => {
  const fake = await FakeNexusd.open(t, ROUTES)
  const { socketPath } = fake
  await exchange({ socketPath, path: '/livez', timeoutMs: 5_000, headers: { 'x-a': 'b\r\nx-evil: 1' } })
  t.strictSame([fake.asked[0]?.headers['x-a'], fake.asked[0]?.headers['x-evil']], ['b  x-evil: 1', undefined])
})

t.test('without a daemon the checks say no, and what asks for more throws', async (t) => {
  useSocket(t, join(shortDir(t), 'none'))
  const { timestamp: _, ...live } = await checkLiveness()
  t.strictSame(live, { live: false, daemon_running: false })
  t.match(await checkReadiness(), {
    ready: false,
    details: { total_modules: 0 },
    reasons: [/no daemon answers at/],
  })
  t.match(await checkCriticalModules(), { critical: false, modules: [] })
  await t.rejects(getStatus(), { name: 'DaemonUnreachable', code: 'DAEMON_UNREACHABLE', remedy: /nexusd/ })
  const failed = await executeCommand('get_status').catch((error: unknown) => error)
  t.ok(failed instanceof DaemonUnreachable && failed instanceof Error)
})

t.test('a daemon that hangs is running and not alive', async (t) => {
  useSocket(t, await rawServer(t, [], 'keep'))
  t.match(await checkLiveness(), { live: false, daemon_running: true })
})

t.test('a stranger at the socket is not taken for a daemon', async (t) => {
  for (const text of [
    'HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ntrue',
    'HTTP/1.1 200 OK\r\n\r\n{"live":"yes"}',
    'hello',
  ]) {
    useSocket(t, await rawServer(t, [text]))
    t.match(await checkLiveness(), { live: false }, text)
    t.match(await checkReadiness(), { ready: false, reasons: [/is not this daemon/] }, text)
  }
})

t.test(
  'over the socket every function asks its own route, with the local token where it counts',
  async (t) => {
    const fake = await FakeNexusd.open(t, ROUTES)
    useSocket(t, fake.socketPath)
    t.strictSame(await checkLiveness(), LIVE)
    t.strictSame(await checkReadiness(), NOT_READY)
    t.strictSame(await checkCriticalModules(), CRITICAL)
    t.strictSame(await getStatus(), STATUS)
    t.match(await getStatus('a/b'), { module_id: 'a/b' })
    t.strictSame(await executeCommand('stop_module', { module_id: 'a/b' }), {
      success: true,
      result: { module_id: 'a/b', state: 'stopped' },
    })
    t.strictSame(
      fake.asked.map(({ method, url, authorization, body }) => [method, url, authorization, body]),
      [
        ['GET', '/livez', undefined, undefined],
        ['GET', '/readyz', undefined, undefined],
        ['GET', '/v1/critical', 'Bearer nxt_local', undefined],
        ['GET', '/v1/status', 'Bearer nxt_local', undefined],
        ['GET', '/v1/status/a/b', 'Bearer nxt_local', undefined],
        ['POST', '/v1/commands/stop_module', 'Bearer nxt_local', { module_id: 'a/b' }],
      ],
    )
  },
)

t.test('a refusal is an answer with the details, a lacking permission an error', async (t) => {
  useSocket(t, (await FakeNexusd.open(t, ROUTES)).socketPath)
  t.strictSame(await executeCommand('reload_module', { module_id: 'a/b' }), {
    phase: 'settle',
    success: false,
    error: 'rolled back',
    code: 'RELOAD_ROLLED_BACK',
    remedy: 'correct it',
  })
  const denied = await executeCommand('trigger_chaos').catch((error: unknown) => error)
  t.ok(denied instanceof PermissionError && denied instanceof DaemonError)
  t.match(denied, { name: 'PermissionError', status: 403, message: 'you may not' })
  await t.rejects(getStatus('a/c'), { name: 'DaemonError', code: 'MODULE_UNKNOWN', status: 404 })
  await t.rejects(getStatus('../../etc'), { code: 'ROUTE_UNKNOWN' })
})

t.test('after initInterfaces the daemon in this process is asked, until it is taken away', async (t) => {
  useSocket(t, join(shortDir(t), 'none'))
  const asked: unknown[] = []
  const daemon: EmbeddedDaemon = {
    status(moduleId) {
      if (moduleId !== undefined) throw new NexusError('MODULE_UNKNOWN', { module: moduleId })
      return STATUS
    },
    liveness: () => LIVE,
    readiness: () => Promise.resolve(NOT_READY),
    critical: () => ({ critical: true, timestamp: 1, modules: [] }),
    command(name, params) {
      asked.push([name, params])
      if (name === 'stop_module') return { state: 'stopped' }
      throw new NexusError(name === 'reload_module' ? 'MODULE_BUSY' : 'PERMISSION_DENIED', { module: 'a/b' })
    },
  }
  initInterfaces(daemon)
  t.teardown(() => initInterfaces(null))
  const status = new StatusInterface()
  t.strictSame(await status.getStatus(), STATUS)
  t.strictSame(await status.getCapabilityLevel(), STATUS.level)
  t.strictSame(await status.getFeatures(), STATUS.features)
  await t.rejects(status.getModuleStatus('a/c'), { name: 'DaemonError', code: 'MODULE_UNKNOWN' })
  const probe = new LivenessProbe()
  t.strictSame(await probe.checkLiveness(), LIVE)
  t.strictSame(await probe.checkReadiness(), NOT_READY)
  t.match(await probe.checkCriticalModules(), { critical: true })
  const commands = new CommandInterface()
  t.strictSame(await commands.executeCommand('stop_module', { module_id: 'a/b' }), {
    success: true,
    result: { state: 'stopped' },
  })
  t.match(await commands.executeCommand('reload_module'), { success: false, code: 'MODULE_BUSY' })
  await t.rejects(commands.executeCommand('trigger_chaos'), { name: 'PermissionError' })
  t.strictSame(asked, [
    ['stop_module', { module_id: 'a/b' }],
    ['reload_module', {}],
    ['trigger_chaos', {}],
  ])
  initInterfaces(null)
  await t.rejects(getStatus(), { name: 'DaemonUnreachable' })
})

t.test('the scripts print the answer and exit 0 for yes, 1 for no, 2 for usage', async (t) => {
  const fake = await FakeNexusd.open(t, ROUTES)
  const none = join(shortDir(t), 'none')
  const live = (...args: string[]) => runProgram('aeon-interface/live.ts', args)
  const status = (...args: string[]) => runProgram('aeon-interface/status.ts', args)
  const command = (...args: string[]) => runProgram('aeon-interface/command.ts', args)
  const at = ['--socket', fake.socketPath]
  const [yes, no, critical, nobody, bad, noSocket] = await Promise.all([
    live('liveness', ...at),
    live(...at, 'readiness'),
    live('critical', ...at),
    live('liveness', '--socket', none),
    live('lively', ...at),
    live('liveness', '--socket'),
  ])
  t.strictSame([yes.code, JSON.parse(yes.out)], [0, LIVE])
  t.strictSame([no.code, JSON.parse(no.out)], [1, NOT_READY])
  t.strictSame([critical.code, JSON.parse(critical.out)], [0, CRITICAL])
  t.match([nobody.code, JSON.parse(nobody.out)], [1, { live: false, daemon_running: false }])
  t.match([bad.code, bad.out, bad.err], [2, '', /^usage: live\.js/])
  t.match([noSocket.code, noSocket.err], [2, /^usage/])

  const [whole, one, unknown, alone, tooMany] = await Promise.all([
    status(...at),
    status('a/b', ...at),
    status('a/c', ...at),
    status('--socket', none),
    status('a/b', 'a/c', ...at),
  ])
  t.strictSame([whole.code, JSON.parse(whole.out)], [0, STATUS])
  t.match([one.code, JSON.parse(one.out)], [0, { module_id: 'a/b' }])
  t.match([unknown.code, JSON.parse(unknown.out)], [1, { code: 'MODULE_UNKNOWN' }])
  t.match([alone.code, JSON.parse(alone.out)], [1, { running: false, code: 'DAEMON_UNREACHABLE' }])
  t.match([tooMany.code, tooMany.err], [2, /^usage: status\.js/])

  const [metrics, stopped, refused, denied, deaf, noMetrics, notJson, list] = await Promise.all([
    command('get_metrics', ...at),
    command('stop_module', '{"module_id":"a/b"}', ...at),
    command('reload_module', '{"module_id":"a/b"}', ...at),
    command('trigger_chaos', ...at),
    command('get_status', '--socket', none),
    command('get_metrics', '--socket', none),
    command('stop_module', '{', ...at),
    command('stop_module', '[]', ...at),
  ])
  t.strictSame([metrics.code, metrics.out], [0, 'nexus_up 1\n'])
  t.match([stopped.code, JSON.parse(stopped.out)], [0, { success: true, result: { state: 'stopped' } }])
  t.match([refused.code, JSON.parse(refused.out)], [1, { success: false, phase: 'settle' }])
  t.match([denied.code, JSON.parse(denied.out)], [1, { success: false, code: 'PERMISSION_DENIED' }])
  t.match([deaf.code, JSON.parse(deaf.out)], [1, { success: false, code: 'DAEMON_UNREACHABLE' }])
  t.match([noMetrics.code, noMetrics.out, noMetrics.err], [1, '', /DAEMON_UNREACHABLE/])
  t.match([notJson.code, notJson.err], [2, /^usage: command\.js/])
  t.match([list.code, list.err], [2, /^usage: command\.js/])
})

t.test(
  'the scripts find the socket in the environment, then in the working directory, and a token elsewhere',
  async (t) => {
    const fake = await FakeNexusd.open(t, ROUTES)
    const token = join(shortDir(t), 'token')
    writeFileSync(token, 'nxt_other\n')
    const env = { NEXUS_SOCKET: fake.socketPath, NEXUS_TOKEN_FILE: token }
    const cwd = shortDir(t)
    const [named, found] = await Promise.all([
      runProgram('aeon-interface/status.ts', [], { env, cwd }),
      runProgram('aeon-interface/live.ts', ['liveness'], { cwd }),
    ])
    t.strictSame([named.code, fake.asked[0]?.authorization], [0, 'Bearer nxt_other'])
    t.strictSame(found.code, 1)
    rmSync(join(fake.dataDir, 'run', 'local.token'))
    const bare = await runProgram('aeon-interface/status.ts', ['--socket', fake.socketPath])
    t.strictSame([bare.code, fake.asked[1]?.authorization], [0, undefined])
  },
)
