import '../support/clean-children.ts'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ARTIFACT_BYTES_MAX } from '../../daemon/contracts/wire.ts'
import type { Instance } from '../../daemon/host/port.ts'
import { call, Ear, type OrderChanges, openPool, orderFor } from './bench.ts'

const { pool, dataDir } = await openPool(t)

/** An instance of the actor, halted after the test. */
async function spawn(
  t: { teardown(undo: () => unknown): void },
  changes: OrderChanges = {},
): Promise<Instance> {
  const instance = await pool.spawn(orderFor(dataDir, changes))
  t.teardown(() => instance.halt(1_000))
  return instance
}

/** How spawning or starting fails, as the supervisor would see it. */
async function failure(changes: OrderChanges): Promise<Record<string, unknown>> {
  const instance = pool.spawn(orderFor(dataDir, changes))
  try {
    await (await instance).start()
    return { started: true }
  } catch (error) {
    await instance.then(
      (it) => it.halt(1_000),
      () => undefined,
    )
    const { code, facts } = error as { code: string; facts: Record<string, unknown> }
    return { code, ...facts }
  }
}

function generation(name: string, text: string): string {
  const entry = join(dataDir, 'generations', name)
  writeFileSync(entry, text)
  return entry
}

t.test('code that cannot be loaded fails in phase import, with file and line', async (t) => {
  const broken = {
    'syntax.js': ['export default {\n  start() { const x = ; }\n}\n', "Unexpected token ';' (syntax.js:2)"],
    'inner.js': ["\nimport './syntax.js'\nexport default {}", "Unexpected token ';' (syntax.js:2)"],
    'names.js': ["import { no } from 'node:fs'\nexport default { no }", /named 'no' \(names\.js:1\)$/],
    'missing.js': [
      "import 'no-such-package'\nexport default {}",
      /^Cannot find package 'no-such-package' imported from/,
    ],
    'enum.ts': ['\nenum A { B }\nexport default { A }', /not supported in strip-only mode \(enum\.ts:2\)$/],
    'nothing.js': ['export const start = 1', 'the entry has no default export that is an object'],
    'odd.js': ['export default { stop: 1 }', "the default export's stop is not a function"],
    'action.js': ['export default { actions: { run: 1 } }', 'the action run is not a function'],
  }
  for (const [name, [text, reason]] of Object.entries(broken)) {
    const facts = await failure({ entry: generation(name, String(text)) })
    t.match(
      facts,
      { code: 'MODULE_START_FAILED', phase: 'import', unloadable: 1, config_error: 0, reason },
      name,
    )
  }
  const { stack } = await failure({ entry: join(dataDir, 'generations/inner.js') })
  t.match(stack, /generations\/syntax\.js:2\n {2}start\(\) \{ const x = ; \}\n +\^/)
})

t.test('code that throws while it is imported is not unloadable, and says where', async (t) => {
  const facts = await failure({ entry: generation('throws.js', "\nthrow new Error('boom')\n") })
  t.match(facts, {
    phase: 'import',
    unloadable: 0,
    reason: 'boom (throws.js:2)',
    stack: /^Error: boom\n {4}at file:/,
  })
})

t.test('a start fails with what it threw, what settings it lacked, or how its process ended', async (t) => {
  t.match(await failure({ config: { start: 'throws' } }), {
    phase: 'start',
    reason: /^no way \(index\.js:\d+\)$/,
    stack: /^TypeError: no way\n {4}at .*actor\/index\.js/,
    config_error: 0,
  })
  t.match(await failure({ config: { start: 'misconfigured' } }), { phase: 'start', config_error: 1 })
  t.match(await failure({ config: { start: 'exits' } }), {
    phase: 'start',
    reason: 'its process exited with code 7',
    exit_code: 7,
  })
  t.match(await failure({ config: { start: 'rejects' } }), {
    phase: 'start',
    stack: /nobody listens/,
    exit_code: 1,
  })
})

t.test('a start or an import that does not end fails at its deadline', async (t) => {
  const timeouts = { start_ms: 150 }
  t.match(await failure({ timeouts, config: { start: 'hangs' } }), { phase: 'deadline' })
  const entry = generation('never.js', 'await new Promise(() => {})')
  t.match(await failure({ timeouts, entry }), {
    phase: 'deadline',
    reason: 'import was not done after 150 ms',
  })
  const loop = generation('loop.js', 'for (;;);')
  t.match(await failure({ timeouts, entry: loop }), { phase: 'deadline' })
})

t.test('it tells what it is, runs actions, and keeps its settings', async (t) => {
  const instance = await spawn(t, { config: { health: { status: 'degraded', reason: 'thin' }, port: 1 } })
  await instance.start()
  const { id, generation, has, actions } = instance
  t.match(
    { id, generation, has },
    {
      id: 'test/actor#1',
      generation: 'g1',
      has: { health: true, configure: true, snapshot: true },
    },
  )
  t.ok(actions.includes('echo'))
  t.strictSame(await call(instance, 'echo', { deep: [1, 'é\n', null] }), { deep: [1, 'é\n', null] })
  t.equal(await call(instance, 'nothing'), null)
  t.strictSame(await instance.health(1_000), { status: 'degraded', reason: 'thin' })
  t.strictSame(await instance.snapshot(1_000), { kept: 1 })
  const config = { port: 2 }
  t.equal(await instance.configure({ key: 'port', value: 2, previous: 1, config }, 1_000), 'applied')
  t.strictSame(await call(instance, 'config'), config)
  t.match(instance.stats, { calls: 3, inFlight: 0 })
})

t.test('an action that throws fails the call and nothing else', async (t) => {
  const instance = await spawn(t, { config: { health: 'fine', snapshotBytes: 300_000 } })
  await t.rejects(call(instance, 'fails'), {
    code: 'ACTION_FAILED',
    facts: { reason: 'no way', stack: /index\.js/ },
  })
  await t.rejects(call(instance, 'oddly'), { code: 'ACTION_FAILED', facts: { reason: 'null' } })
  await t.rejects(call(instance, 'circular'), { code: 'ACTION_FAILED', facts: { reason: /circular/ } })
  await t.rejects(call(instance, 'toString'), {
    code: 'ACTION_FAILED',
    facts: { reason: 'no action toString' },
  })
  await t.rejects(call(instance, 'echo', 'x'.repeat(1_100_000)), {
    code: 'ACTION_FAILED',
    facts: { reason: /megabyte/ },
  })
  await t.rejects(instance.health(1_000), {
    code: 'ACTION_FAILED',
    facts: { reason: 'it answered no status' },
  })
  await t.rejects(instance.snapshot(1_000), {
    code: 'ACTION_FAILED',
    facts: { reason: /^the snapshot has 300002/ },
  })
  t.equal(await call(instance, 'echo', 1), 1)
})

t.test('an abort or a deadline ends an action that listens at once', async (t) => {
  const instance = await spawn(t)
  const abort = new AbortController()
  const progress = (): void => abort.abort(new Error('the mission was cancelled'))
  const aborted = call(instance, 'waits', null, { signal: abort.signal, progress })
  await t.rejects(aborted, { code: 'CALL_ABORTED', facts: { reason: 'the mission was cancelled', stuck: 0 } })
  await t.rejects(call(instance, 'waits', null, { signal: abort.signal }), { code: 'CALL_ABORTED' })
  await t.rejects(call(instance, 'waits', null, { timeoutMs: 20 }), {
    code: 'CALL_EXPIRED',
    facts: { timeout_ms: 20, stuck: 0 },
  })
  t.equal(await call(instance, 'echo', 1), 1)
})

t.test('an action that ignores its signal is given up, and known to be stuck', async (t) => {
  const instance = await spawn(t)
  await t.rejects(call(instance, 'ignores', null, { timeoutMs: 20 }), {
    code: 'CALL_EXPIRED',
    facts: { stuck: 1 },
  })
  t.equal(await call(instance, 'echo', 1), 1)
})

t.test('progress, metrics, logs and readiness reach their listeners', async (t) => {
  const ear = new Ear()
  const instance = await spawn(t, { listener: ear.listener, inherited: { kept: 1 } })
  await instance.start()
  const progress: unknown[] = []
  await call(instance, 'notReady')
  await call(instance, 'measures')
  await t.rejects(
    call(instance, 'waits', null, { timeoutMs: 10, progress: (...said) => void progress.push(said) }),
    { code: 'CALL_EXPIRED' },
  )
  await instance.halt(1_000)
  t.strictSame(progress, [[0.5, 'waiting']])
  t.match(ear.said, [
    { log: 'started', level: 'info', fields: { inherited: { kept: 1 } } },
    { notReady: 'no peer', retryInMs: 100 },
    { ready: true },
    { log: 'stopped', fields: { aborted: true } },
    {
      metrics: [
        { kind: 'counter', name: 'seen', help: 'what was seen', values: [3] },
        { kind: 'gauge', name: 'depth', values: [4] },
        { kind: 'histogram', name: 'took', values: [0.5] },
      ],
    },
  ])
})

t.test('artifacts go to the call that made them, and have a limit', async (t) => {
  const instance = await spawn(t)
  t.strictSame(await call(instance, 'keeps', { name: 'a.txt', bytes: ARTIFACT_BYTES_MAX }), {
    ...{ name: 'a.txt', media_type: 'text/plain', bytes: ARTIFACT_BYTES_MAX, sha256: 'h' },
  })
  await t.rejects(call(instance, 'keeps', { name: 'b', bytes: ARTIFACT_BYTES_MAX + 1 }), {
    code: 'ACTION_FAILED',
    facts: { reason: /^artifact b has 655361 bytes/ },
  })
  t.equal(await call(instance, 'keepsMany', 100), 100, 'a hundred at a time wait for each other')
})

t.test('commands run when the manifest lists them, and are refused with a remedy when not', async (t) => {
  const { listener } = new Ear()
  const instance = await spawn(t, { listener, permissions: { commands: ['get_status'] } })
  t.strictSame(await call(instance, 'commands', 'get_status'), { ran: 'get_status', params: { a: 1 } })
  t.match(await call(instance, 'commands', 'stop_module'), {
    code: 'PERMISSION_DENIED',
    message: 'module:test/actor lacks the permission permissions.commands stop_module',
    remedy: /role/,
  })
})

t.test('the environment is clean, and the group is its own', async (t) => {
  process.env['NEXUS_TEST_SECRET'] = 'secret'
  const instance = await spawn(t)
  const { env, group } = (await call(instance, 'environment')) as { env: object; group: number }
  const allowed = new Set(['PATH', 'HOME', 'TZ', 'LANG', 'NODE_ENV', 'NEXUS_FD', 'NEXUS_MARK'])
  t.strictSame(
    Object.keys(env).filter((name) => !allowed.has(name)),
    [],
  )
  t.match(env, { NEXUS_FD: '3' })
  t.equal(group, instance.pid)
})

t.test('files are closed to it but those its manifest names', async (t) => {
  t.equal(pool.isolation, 'node-permission')
  const own = join(dataDir, 'own', 'state')
  writeFileSync(join(dataDir, 'audit.jsonl'), '{}\n')
  const shut = await spawn(t)
  const denied = { code: 'ACTION_FAILED', facts: { reason: /restricted/ } }
  await t.rejects(call(shut, 'reads', '/etc/hostname'), denied)
  await t.rejects(call(shut, 'reads', join(dataDir, 'audit.jsonl')), denied)
  await t.rejects(call(shut, 'writes', own), denied)
  await t.rejects(call(shut, 'forks'), denied)

  const open = await spawn(t, {
    permissions: { fs_read: ['$RECORDS', '/etc/hostname'], fs_write: ['$DATA'] },
  })
  t.equal(await call(open, 'reads', join(dataDir, 'audit.jsonl')), 3)
  t.ok(await call(open, 'reads', '/etc/hostname'))
  await call(open, 'writes', own)
  t.equal(await call(open, 'reads', own), 1)
  await t.rejects(call(open, 'writes', join(dataDir, 'audit.jsonl')), denied)
})

t.test('it is told its folders and its mission', async (t) => {
  const mission = { mission_id: 'm-1', epoch: 2, step: 's1', idempotency_token: 'tok' }
  const roots = ['/tmp']
  const instance = await spawn(t, { roots, permissions: { fs_read: ['$ROOTS'] } })
  t.strictSame(await call(instance, 'context', null, { mission }), {
    ...{ id: 'test/actor', instance: 'test/actor#1', generation: 'g1' },
    ...{ dataDir: join(dataDir, 'own'), roots, mission },
  })
})

t.test('a module in TypeScript runs as it is', async (t) => {
  const instance = await spawn(t, { entry: join(dataDir, 'generations/typed/index.ts') })
  t.equal(await call(instance, 'twice', 21), 42)
})

t.test('output and log lines are capped together, and the loss is told', async (t) => {
  const ear = new Ear()
  const instance = await spawn(t, { listener: ear.listener, limits: { log_lines_per_s: 10 } })
  await call(instance, 'prints', { lines: 20_000, line: 'x'.repeat(1_000) })
  await call(instance, 'logs', 5_000)
  await instance.halt(1_000)
  const dropped = ear.said.filter((one) => /lines were dropped/.test(String(one['log']))).length
  t.ok(dropped > 0, 'it tells')
  t.ok(ear.logs().length <= 12 * (dropped + 1), 'it caps')
})
