import '../support/clean-children.ts'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { RunningDaemon, writeModule } from '../support/daemon.ts'
import { shortDir } from '../support/short-dir.ts'

t.setTimeout(120_000)

const ID = 'demo/voice'
const MANIFEST = {
  replicas: 3,
  actions: {
    say: { description: 'says its version', idempotent: true, concurrency: 32 },
    count: { description: 'counts', idempotent: true, concurrency: 32 },
  },
  timeouts: { settle_ms: 400 },
  limits: { heartbeat_suspect_ms: 300, heartbeat_kill_ms: 1_000 },
  restart: { max: 100 },
}
const speaking = (version: number, more = ''): string => `${more}
let calls = 0
export default {
  start (ctx) { calls = ctx.inherited?.calls ?? 0 },
  snapshot: () => ({ calls }),
  actions: { say: async () => ({ version: ${version} }), count: async () => ({ calls: ++calls }) },
}`

type Test = { teardown(undo: () => unknown): void }

async function raise(t: Test, manifest: object = MANIFEST): Promise<RunningDaemon> {
  const dir = shortDir(t)
  writeModule(dir, ID, speaking(1), manifest)
  const daemon = await RunningDaemon.start(dir)
  t.teardown(() => daemon.kill())
  await rested(daemon)
  return daemon
}

const rested = (daemon: RunningDaemon) =>
  daemon.until(
    `/v1/status/${ID}`,
    ({ body }) => body.state === 'started' && body.replicas.ready === body.replicas.desired,
  )

const say = async (daemon: RunningDaemon): Promise<number | string> => {
  const { status, body } = await daemon.command('call_action', { module_id: ID, action: 'say', input: {} })
  return status === 200 ? body.result.output.version : body.code
}

/** Calls without a pause until it is told to stop; answers what came back, each once. */
function load(daemon: RunningDaemon): () => Promise<(number | string)[]> {
  const seen = new Set<number | string>()
  let done = false
  const callers = Array.from({ length: 4 }, async () => {
    while (!done) seen.add(await say(daemon))
  })
  return async () => {
    done = true
    await Promise.all(callers)
    return [...seen].sort()
  }
}

t.test('three replicas are reloaded in each way under load, and not one call fails', async (t) => {
  const daemon = await raise(t)
  const end = load(daemon)
  let version = 1
  for (const reload of ['graceful', 'rolling', 'immediate']) {
    version += 1
    writeModule(daemon.dir, ID, speaking(version), { ...MANIFEST, reload })
    const { status, body } = await daemon.command('reload_module', { module_id: ID, strategy: reload })
    t.match([status, body.result], [200, { reloaded: true, strategy: reload }])
    if (reload !== 'immediate') t.equal(body.result.downtime_ms, 0)
    while ((await say(daemon)) !== version) await new Promise((resolve) => setTimeout(resolve, 20))
  }
  t.strictSame(await end(), [1, 2, 3, 4])
  const { body } = await rested(daemon)
  t.strictSame([body.instances.length, daemon.hosts().length <= 5], [3, true], 'three, and spares')
})

const BROKEN: readonly [string, string, object][] = [
  ['does not parse', 'export default {', { phase: 'import', reason: /end of input/, stack: /index\.js/ }],
  ['throws', 'throw new Error("no luck")', { phase: 'import', reason: /no luck/, stack: /no luck/ }],
  [
    'dies while it settles',
    speaking(0, 'setTimeout(function late () { throw new Error("too late") }, 150)'),
    { phase: /start|settle/, reason: /code 1/, stack: /late/ },
  ],
  [
    'hangs while it settles',
    speaking(0, 'setTimeout(function spin () { for (;;); }, 100)'),
    { phase: /start|settle/, reason: /heartbeat stopped|blocked/ },
  ],
]

t.test(
  'F73: broken code is taken back in each way, the answer tells why, and not one idempotent call fails',
  async (t) => {
    const daemon = await raise(t)
    for (const reload of ['graceful', 'rolling', 'immediate']) {
      for (const [how, code, told] of BROKEN) {
        const end = load(daemon)
        writeModule(daemon.dir, ID, `${code}\n// ${reload}`, { ...MANIFEST, reload })
        const { status, body } = await daemon.command('reload_module', { module_id: ID, strategy: reload })
        t.match([status, body.code, body.details], [409, 'RELOAD_ROLLED_BACK', told], `${reload}: ${how}`)
        await rested(daemon)
        t.strictSame(
          (await end()).filter((answer) => answer !== 0),
          [1],
          `${reload}: ${how}`,
        )
      }
    }
  },
)

t.test('state goes from each replica to the one that takes its place', async (t) => {
  const daemon = await raise(t, { ...MANIFEST, replicas: 1 })
  const count = async (): Promise<number> =>
    (await daemon.command('call_action', { module_id: ID, action: 'count', input: {} })).body.result.output
      .calls
  const counted = [await count()]
  for (const strategy of ['graceful', 'rolling', 'immediate']) {
    await daemon.command('reload_module', { module_id: ID, strategy })
    counted.push(await count())
  }
  t.strictSame(counted, [1, 2, 3, 4])
})

t.test(
  'a roll-back outlives the daemon, and ends with the next save; both generations stay on disk',
  async (t) => {
    const daemon = await raise(t)
    await new Promise((resolve) => setTimeout(resolve, 600))
    const first = (await rested(daemon)).body.generation
    writeModule(daemon.dir, ID, speaking(2), MANIFEST)
    await daemon.until(
      `/v1/status/${ID}`,
      ({ body }) => body.generation !== first && body.state === 'started',
    )
    const { status, body } = await daemon.command('rollback_module', { module_id: ID })
    t.match([status, body.result, await say(daemon)], [200, { reloaded: true, generation: first }, 1])
    const refused = await daemon.command('reload_module', { module_id: ID })
    t.match([refused.status, refused.body.code], [409, 'RELOAD_REFUSED'])
    await daemon.kill()

    const again = await RunningDaemon.start(daemon.dir)
    t.teardown(() => again.kill())
    await rested(again)
    t.equal(await say(again), 1)
    const kept = readdirSync(join(again.dir, 'data/generations', ID)).filter((name) =>
      /^[0-9a-f]{64}$/.test(name),
    )
    t.equal(kept.length, 2)
    writeModule(again.dir, ID, speaking(3), MANIFEST)
    await again.until(
      `/v1/status/${ID}`,
      (now) => now.body.last_reload?.reloaded === true && now.body.state === 'started',
    )
    t.equal(await say(again), 3)
  },
)

t.test('a dry run tells the steps and leaves no trace', async (t) => {
  const daemon = await raise(t)
  await new Promise((resolve) => setTimeout(resolve, 600))
  const traces = async () => [
    readdirSync(join(daemon.dir, 'data/generations', ID)).sort(),
    (await daemon.ask('GET', `/v1/status/${ID}`)).body.instances.map(({ pid }: { pid: number }) => pid),
  ]
  const before = await traces()
  const { status, body } = await daemon.command('reload_module', {
    module_id: ID,
    strategy: 'rolling',
    dry_run: true,
  })
  t.match(
    [status, body.result],
    [200, { dry_run: true, strategy: 'rolling', content_changed: false, would: [/3 times/] }],
  )
  t.strictSame(await traces(), before)
  const canary = await daemon.command('reload_module', { module_id: ID, strategy: 'canary' })
  t.match([canary.status, canary.body.code], [501, 'NOT_AVAILABLE'])
})

t.test(
  'a checkout of several modules is carried out in the order of starts, and a dependant waits for a stopped one',
  async (t) => {
    const daemon = await raise(t)
    const quick = { timeouts: { settle_ms: 300 } }
    const telling = (version: number): string =>
      `export default { start: () => new Promise((resolve) => setTimeout(resolve, 100)) } // ${version}`
    writeModule(daemon.dir, 'z/base', telling(1), quick)
    writeModule(daemon.dir, 'a/web', telling(1), { ...quick, requires: ['z/base'] })
    const started = (id: string) =>
      daemon.until(`/v1/status/${id}`, ({ status, body }) => status === 200 && body.state === 'started')
    await started('z/base')
    await started('a/web')
    writeModule(daemon.dir, 'a/web', telling(2), { ...quick, requires: ['z/base'] })
    writeModule(daemon.dir, 'z/base', telling(2), quick)
    for (const id of ['a/web', 'z/base']) {
      await daemon.until(
        `/v1/status/${id}`,
        ({ body }) => body.last_reload?.reloaded === true && body.state === 'started',
      )
    }
    const since = async (id: string): Promise<number> =>
      Date.parse((await daemon.ask('GET', `/v1/status/${id}`)).body.instances[0].since)
    t.ok((await since('z/base')) <= (await since('a/web')))

    const { body: before } = await daemon.ask('GET', '/v1/status/a/web')
    await daemon.command('stop_module', { module_id: 'z/base' })
    const { body } = await daemon.until('/v1/status/a/web', (now) => now.body.state === 'waiting')
    t.match(body.because, /requires z\/base, which is stopped/)
    await daemon.command('start_module', { module_id: 'z/base' })
    const { body: after } = await started('a/web')
    t.equal(after.instances[0].pid, before.instances[0].pid)
  },
)
