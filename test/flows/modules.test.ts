import '../support/clean-children.ts'
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { isAlive, RunningDaemon, writeModule } from '../support/daemon.ts'
import { shortDir } from '../support/short-dir.ts'

const MANIFEST = {
  actions: {
    say: { description: 'says its version', idempotent: true, concurrency: 32 },
    spin: { description: 'never lets go', idempotent: false, timeout_ms: 60_000 },
  },
  limits: { heartbeat_suspect_ms: 300, heartbeat_kill_ms: 1_000 },
  timeouts: { settle_ms: 400 },
  restart: { max: 100 },
}
const speaking = (version: number): string => `export default {
  actions: { say: async () => ({ version: ${version} }), spin: () => { for (;;); } },
}`

type Test = { teardown(undo: () => unknown): void }

async function raise(t: Test, code = speaking(1), flags: readonly string[] = []): Promise<RunningDaemon> {
  const dir = shortDir(t)
  writeModule(dir, 'demo/voice', code, MANIFEST)
  const daemon = await RunningDaemon.start(dir, flags)
  t.teardown(() => daemon.kill())
  await daemon.until('/v1/status/demo/voice', ({ body }) => body.state === 'started')
  return daemon
}

const voice = (
  daemon: RunningDaemon,
): Promise<{ status: number; body: { result?: { output: { version: number } } } }> =>
  daemon.command('call_action', { module_id: 'demo/voice', action: 'say', input: {} })

const factsOf = async (daemon: RunningDaemon): Promise<{ type: string; d: Record<string, unknown> }[]> =>
  (await daemon.ask('GET', '/v1/audit?limit=500')).body.facts

t.test('a save under load brings the new code, and not one call fails', async (t) => {
  const daemon = await raise(t)
  const seen = { failed: 0, versions: new Set<number>() }
  let saved = false
  let done = false
  const load = Array.from({ length: 4 }, async () => {
    while (!done) {
      const { status, body } = await voice(daemon)
      if (status !== 200) seen.failed += 1
      else seen.versions.add(body.result?.output.version ?? 0)
    }
  })
  const file = join(daemon.dir, 'modules/demo/voice/index.js')
  for (const version of [2, 3, 4]) {
    writeFileSync(`${file}.tmp`, speaking(version))
    renameSync(`${file}.tmp`, file)
    saved = true
    await daemon.until(
      '/v1/status/demo/voice',
      ({ body }) => body.last_reload?.reloaded === true && body.state === 'started',
    )
    while (!seen.versions.has(version)) await new Promise((resolve) => setTimeout(resolve, 20))
  }
  done = true
  await Promise.all(load)
  t.ok(saved)
  t.strictSame([seen.failed, [...seen.versions].sort()], [0, [1, 2, 3, 4]])
})

const BROKEN: readonly [string, string, RegExp, RegExp][] = [
  ['does not parse', 'export default {', /import/, /Unexpected end of input/],
  ['throws when it is imported', 'throw new Error("no luck")', /import/, /no luck/],
  ['exports nothing', 'export const a = 1', /import/, /default/],
  ['never gets ready', 'export default { start: () => { throw new Error("no port") } }', /start/, /no port/],
  [
    'dies while it settles',
    'setTimeout(() => process.exit(3), 150); export default { actions: { say: () => 1, spin: () => 1 } }',
    /settle/,
    /code 3/,
  ],
]

t.test('broken code never serves: the old code goes on, and the answer tells phase and reason', async (t) => {
  const daemon = await raise(t)
  for (const [how, code, phase, reason] of BROKEN) {
    writeModule(daemon.dir, 'demo/voice', code, MANIFEST)
    const { status, body } = await daemon.command('reload_module', { module_id: 'demo/voice' })
    const { body: said } = await voice(daemon)
    t.strictSame([status, body.code, said.result?.output.version], [409, 'RELOAD_ROLLED_BACK', 1], how)
    t.match(body.error, phase, how)
    t.match(body.error, reason, how)
  }
  const { body } = await daemon.ask('GET', '/v1/status/demo/voice')
  t.match(body.last_reload, { rolled_back: true, phase: 'settle' })
  const told = (await factsOf(daemon)).filter(({ type }) => type === 'module.rolled_back')
  t.strictSame(
    told.map(({ d }) => [d['phase'], d['reason']]).length,
    BROKEN.length,
    JSON.stringify(told, null, 1),
  )
})

t.test('an instance that is killed is back, with the fact', async (t) => {
  const daemon = await raise(t)
  const { body } = await daemon.ask('GET', '/v1/status/demo/voice')
  process.kill(body.instances[0].pid, 'SIGKILL')
  await daemon.until('/v1/status/demo/voice', (now) => {
    const [instance] = now.body.instances
    return now.body.state === 'started' && instance !== undefined && instance.pid !== body.instances[0].pid
  })
  t.match((await factsOf(daemon)).find(({ type }) => type === 'module.crashed')?.d, {
    module_id: 'demo/voice',
    signal: 'SIGKILL',
  })
})

t.test(
  'a module in an endless loop is suspected, killed and started again, and the daemon answers all the while',
  async (t) => {
    const daemon = await raise(t)
    const spinning = daemon.command('call_action', { module_id: 'demo/voice', action: 'spin', input: {} })
    let answered = 0
    const ended = spinning.then(() => true)
    while (
      !(await Promise.race([ended, new Promise<false>((resolve) => setTimeout(() => resolve(false), 25))]))
    ) {
      const { status } = await daemon.ask('GET', '/livez')
      if (status === 200) answered += 1
    }
    t.match((await spinning).body, { success: false, code: 'CALL_CUT' })
    t.ok(answered > 3, 'liveness answered while the module hung')
    await daemon.until('/v1/status/demo/voice', ({ body }) => body.state === 'started')
    t.equal((await voice(daemon)).status, 200)
    const types = (await factsOf(daemon)).map(({ type }) => type)
    t.ok(types.indexOf('module.suspected') < types.indexOf('module.hung'))
  },
)

t.test(
  'what was started, stopped and configured is the same after a kill of the daemon, and no host survives it',
  async (t) => {
    const daemon = await raise(t)
    await daemon.command('stop_module', { module_id: 'demo/voice' })
    writeModule(daemon.dir, 'demo/other', 'export default {}', {
      config: { schema: { type: 'object', properties: { n: { type: 'integer' } } }, defaults: { n: 1 } },
      timeouts: { settle_ms: 100 },
    })
    await daemon.until(
      '/v1/status/demo/other',
      ({ status, body }) => status === 200 && body.state === 'started',
    )
    const { body } = await daemon.command('configure', { module_id: 'demo/other', key: 'n', value: 7 })
    t.match(body, { success: true, result: { applied: 'reload', previous: 1 } })
    const hosts = daemon.hosts()
    await daemon.kill()
    const gone = async (): Promise<boolean> => {
      for (let turn = 0; turn < 100 && hosts.some(isAlive); turn += 1)
        await new Promise((done) => setTimeout(done, 20))
      return !hosts.some(isAlive)
    }
    t.ok(hosts.length > 0, 'there were hosts')
    t.ok(await gone(), 'none of them is left')

    const again = await RunningDaemon.start(daemon.dir)
    t.teardown(() => again.kill())
    await again.until('/v1/status/demo/other', (now) => now.body.state === 'started')
    const { body: voiceStatus } = await again.ask('GET', '/v1/status/demo/voice')
    const { body: otherStatus } = await again.ask('GET', '/v1/status/demo/other')
    t.match([voiceStatus, otherStatus], [{ state: 'stopped', desired: 'stopped' }, { config: { n: 7 } }])
  },
)

t.test('a broken manifest makes its module invalid, with the pointer, and the others load', async (t) => {
  const daemon = await raise(t)
  writeModule(daemon.dir, 'demo/odd', 'export default {}', { autstart: true })
  const { body } = await daemon.until('/v1/status/demo/odd', ({ status }) => status === 200)
  t.match(body, { state: 'invalid', because: /autstart.*did you mean autostart/ })
  writeModule(daemon.dir, 'demo/odd', 'export default {}')
  await daemon.until('/v1/status/demo/odd', (now) => now.body.state === 'started')
  rmSync(join(daemon.dir, 'modules/demo/odd'), { recursive: true })
  t.equal((await voice(daemon)).status, 200)
})
