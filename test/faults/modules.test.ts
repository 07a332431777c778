import '../support/clean-children.ts'
import t from 'tap'
import { isAlive, RunningDaemon, writeModule } from '../support/daemon.ts'
import { shortDir } from '../support/short-dir.ts'

/*
 * What modules do to themselves, to the pipe, and to the daemon: FAULTS F56-F58, F66, F67, F70, F71. One daemon takes
 * all of it, with a well-behaved module that is called all the while: whatever happens, that one must not notice.
 */

type Test = Parameters<Parameters<typeof t.test>[0]>[0]

interface FactLike {
  readonly type: string
  readonly seq: number
  readonly d: Readonly<Record<string, unknown>>
}

const ACTIONS = {
  go: { description: 'misbehaves', timeout_ms: 20_000, concurrency: 64 },
  echo: { description: 'says what it hears', idempotent: true, timeout_ms: 20_000, concurrency: 64 },
}
/** Suspected and killed soon; nothing is looked at twice, and nothing settles. */
const HASTY = {
  actions: ACTIONS,
  // Long enough for a stack to be seen when four loops and their inspectors share two processors.
  limits: { heartbeat_suspect_ms: 300, heartbeat_kill_ms: 3_000 },
  timeouts: { start_ms: 1_000, stop_ms: 300, drain_ms: 100, settle_ms: 0 },
  restart: { max: 1, backoff_ms: 100, backoff_max_ms: 100 },
}
const SPIN = 'function spin() { for (;;); }\n'
const WELL = 'export default { actions: { go: (input) => input, echo: (input) => input } }'
const WRITE = `import { writeSync } from 'node:fs'
/** The pipe is not a blocking one: when it is full it says so. */
function write(text) {
  for (let bytes = Buffer.from(text); bytes.length > 0; ) {
    try { bytes = bytes.subarray(writeSync(3, bytes)) } catch (error) { if (error.code !== 'EAGAIN') throw error }
  }
}
`
const misbehaving = (go: string, head = ''): string =>
  `${head}export default { actions: { echo: (input) => input, async go (input, ctx) { ${go} } } }`

const dir = shortDir(t)
const hasInspector = process.allowedNodeEnvironmentFlags.has('--allow-inspector')
const modules: Readonly<Record<string, string>> = {
  'well/behaved': WELL,
  'loop/start': `${SPIN}export default { start() { spin() } }`,
  'loop/tick': misbehaving('setTimeout(spin, 10); await new Promise(() => {})', SPIN),
  'loop/call': misbehaving('spin()', SPIN),
  'loop/stop': `${SPIN}export default { stop() { spin() } }`,
  'loop/health': `${SPIN}let sick = false
    export default { health() { if (sick) spin(); return { status: 'healthy' } }, actions: {
      echo: (input) => input, go() { sick = true; return new Promise(() => {}) } } }`,
  'never/starts': 'export default { start: () => new Promise(() => {}) }',
  'never/stops': 'export default { stop: () => new Promise(() => {}) }',
  'deaf/stops': "process.on('SIGTERM', () => {})\nexport default { stop: () => new Promise(() => {}) }",
  'bad/syntax': 'export default {\n  actions: {\n    go( { return 1 },\n  },\n}',
  'bad/empty': 'export const nothing = 1',
  'bad/import': "import { missing } from 'node:fs'\nexport default { missing }",
  'bad/throws':
    'const a = 1\n\nfunction boot() {\n  throw new TypeError("no luck")\n}\nboot()\nexport default {}',
  'pipe/garbage': misbehaving("write('this is no JSON\\n'); await new Promise(() => {})", WRITE),
  'pipe/partial': misbehaving(`write('{"jsonrpc":"2.0","meth'); await new Promise(() => {})`, WRITE),
  'pipe/oversize': misbehaving("write('x'.repeat(2_000_000)); await new Promise(() => {})", WRITE),
  'pipe/schema': misbehaving(
    `write('{"jsonrpc":"2.0","method":"heartbeat","params":{"rss_bytes":"many"}}\\n'); await new Promise(() => {})`,
    WRITE,
  ),
  'pipe/flood': misbehaving(
    `const many = '{"jsonrpc":"2.0","method":"ready"}\\n'.repeat(1_000)
     for (let sent = 0; sent < 1_000_000; sent += 1_000) write(many)
     await new Promise(() => {})`,
    WRITE,
  ),
  'pipe/forger': misbehaving(
    `// Downwards: its own call is answered when those that are to come have been forged already.
     const ids = ['x', null, -1, 1e9, ...[...Array(2_000).keys()].reverse()]
     for (const id of ids) write(JSON.stringify({ jsonrpc: '2.0', id, result: { output: 'forged' } }) + '\\n')
     return 'honest'`,
    WRITE,
  ),
  'late/answers': misbehaving('await new Promise((done) => setTimeout(done, 1_600)); return "late"'),
  'stuck/work': misbehaving('await new Promise(() => {})'),
}
for (const [id, code] of Object.entries(modules)) {
  const quick = id === 'loop/health' ? { health: { interval_ms: 100, timeout_ms: 10_000 } } : {}
  const patient = id === 'loop/start' ? { timeouts: { ...HASTY.timeouts, start_ms: 10_000 } } : {}
  // These loop in their start, or never get through it: the test starts them when it looks.
  const autostart = !['loop/start', 'never/starts'].includes(id)
  writeModule(dir, id, code, { ...HASTY, ...quick, ...patient, autostart })
}

const daemon = await RunningDaemon.start(dir)
t.teardown(() => daemon.kill())
await daemon.until(
  '/readyz',
  ({ body }) => Array.isArray(body.reasons) && !JSON.stringify(body).includes('starting'),
)

const go = (id: string, input: unknown = {}, action = 'go') =>
  daemon.command('call_action', { module_id: id, action, input })
const status = async (id: string) => (await daemon.ask('GET', `/v1/status/${id}`)).body
const settled = (id: string, ...states: string[]) =>
  daemon.until(`/v1/status/${id}`, ({ body }) => states.includes(body.state))

async function factsOf(id: string, type?: string): Promise<FactLike[]> {
  const all: FactLike[] = []
  for (let after = 0; ; ) {
    const { body } = await daemon.ask('GET', `/v1/audit?after=${after}&limit=1000`)
    all.push(...body.facts)
    if (body.facts.length < 1_000) break
    after = body.facts.at(-1).seq
  }
  return all.filter((fact) => fact.d['module_id'] === id && (type === undefined || fact.type === type))
}

async function factOf(id: string, type: string): Promise<FactLike> {
  for (let turn = 0; turn < 500; turn += 1) {
    const [first] = await factsOf(id, type)
    if (first !== undefined) return first
    await new Promise((done) => setTimeout(done, 20))
  }
  throw new Error(`${id} has no ${type}: ${JSON.stringify(await factsOf(id))}`)
}

/** Calls the well-behaved module and the liveness probe until `work` is done; every answer must be right. */
async function unnoticed(t: Test, work: Promise<unknown>): Promise<void> {
  let done = false
  const wrong: unknown[] = []
  let answered = 0
  const watching = (async () => {
    for (let n = 0; !done; n += 1) {
      const [live, echo] = await Promise.all([daemon.ask('GET', '/livez'), go('well/behaved', { n }, 'echo')])
      if (live.status !== 200 || echo.body.result?.output.n !== n) wrong.push([live.body, echo.body])
      answered += 1
      await new Promise((next) => setTimeout(next, 10))
    }
  })()
  await work.finally(() => {
    done = true
  })
  await watching
  t.strictSame(wrong, [], 'nobody else noticed')
  t.ok(answered > 1, `looked ${answered} times`)
}

t.test(
  'F56: an endless loop in start, tick, call and health is killed, named, and nobody else notices',
  async (t) => {
    const loops = ['loop/start', 'loop/tick', 'loop/call', 'loop/health']
    const hangs = async (id: string): Promise<void> => {
      const { pid } = (await status(id)).instances?.[0] ?? {}
      const asked = id === 'loop/start' ? daemon.command('start_module', { module_id: id }) : go(id)
      const type = id === 'loop/start' ? 'module.start_failed' : 'module.hung'
      const fact = await factOf(id, type)
      const reason = hasInspector
        ? /blocked.* in spin \(index\.js:1:\d+\)|hung.*spin \(index\.js:1:\d+\)/
        : /blocked|hung/
      t.match(fact.d, { reason }, id)
      const { body } = await asked
      t.match(body.code, id === 'loop/start' ? 'MODULE_START_FAILED' : 'CALL_CUT', id)
      if (pid !== undefined) t.equal(isAlive(pid), false, `${id}: its process is gone`)
    }
    await unnoticed(t, Promise.all(loops.map(hangs)))
  },
)

t.test('F56, F57: a stop that loops, never ends, or will not hear TERM is over all the same', async (t) => {
  const stubborn = ['loop/stop', 'never/stops', 'deaf/stops']
  const stops = async (id: string): Promise<void> => {
    await settled(id, 'started')
    const [{ pid }] = (await status(id)).instances
    const { body } = await daemon.command('stop_module', { module_id: id })
    t.match(body, { success: true, result: { state: 'stopped' } }, id)
    t.equal(isAlive(pid), false, `${id}: its process is gone`)
  }
  await unnoticed(t, Promise.all(stubborn.map(stops)))
})

t.test('F57: a start that never resolves fails at its deadline, and nothing is left of it', async (t) => {
  const before = daemon.hosts().length
  const { body } = await daemon.command('start_module', { module_id: 'never/starts' })
  t.match(body, { code: 'MODULE_START_FAILED', error: /start was not done after 1000 ms/ })
  t.match((await factOf('never/starts', 'module.start_failed')).d, { phase: 'deadline' })
  await daemon.command('stop_module', { module_id: 'never/starts' })
  t.ok(daemon.hosts().length <= before + 1, 'but for a spare that was called for')
})

t.test(
  'F58: code that cannot be loaded is failed at once, with file and line, and is not tried again',
  async (t) => {
    const places: Readonly<Record<string, RegExp>> = {
      'bad/syntax': /index\.js:3/,
      'bad/empty': /no default export/,
      'bad/import': /missing.*index\.js:1/s,
    }
    for (const [id, place] of Object.entries(places)) {
      const { body } = await settled(id, 'failed')
      t.match(body, { because: place, next_retry_at: null }, id)
      t.equal((await factsOf(id, 'module.start_failed')).length, 1, `${id}: tried once`)
    }
    // What threw while it was imported ran, and may run better the next time: a few times, ever more slowly.
    await settled('bad/throws', 'crashloop')
    const failures = await factsOf('bad/throws', 'module.start_failed')
    t.match(failures[0]?.d, { reason: /no luck \(index\.js:4/ })
    t.equal(failures.length, 2, 'as its manifest lets it')
  },
)

t.test('F66: whoever breaks the protocol loses its process, and the daemon its patience only', async (t) => {
  const violations: Readonly<Record<string, RegExp>> = {
    'pipe/garbage': /no JSON-RPC 2\.0 message: "this is no JSON"/,
    'pipe/partial': /no JSON-RPC 2\.0 message/,
    'pipe/oversize': /a line of more than 1048576 bytes/,
    'pipe/schema': /heartbeat of a wrong shape/,
    'pipe/flood': /more than 20000 messages in a second/,
  }
  const breaks = async ([id, reason]: [string, RegExp]): Promise<void> => {
    const [{ pid }] = (await status(id)).instances
    const { body } = await go(id)
    t.equal(body.code, 'CALL_CUT', id)
    t.match((await factOf(id, 'module.crashed')).d, { how: 'killed', reason }, id)
    t.equal(isAlive(pid), false, id)
  }
  await unnoticed(t, Promise.all(Object.entries(violations).map(breaks)))
  const { body } = await daemon.command('get_metrics', {})
  const counted = [
    ...String(body.result.text).matchAll(
      /^nexus_module_restarts_total\{module="(pipe\/[^"]+)",reason="killed"\} 1$/gm,
    ),
  ]
  t.strictSame(counted.map(([, id]) => id).sort(), Object.keys(violations).sort(), 'each is counted')
})

t.test('F67: answers that nobody waits for are let pass, and none reaches another call', async (t) => {
  const id = 'pipe/forger'
  // The ids of a host count from 1: most of these are used up, or will be; none of them waits now.
  t.equal((await go(id)).body.success, true)
  const answers = await Promise.all(Array.from({ length: 60 }, (_, n) => go(id, { n }, 'echo')))
  t.strictSame(
    answers.map(({ body }) => body.result?.output.n ?? body),
    answers.map((_, n) => n),
  )
  t.strictSame(await factsOf(id, 'module.crashed'), [])
})

t.test('F67: an answer that comes after its call has ended is nobody\u2019s', async (t) => {
  const late = await daemon.command('call_action', {
    module_id: 'late/answers',
    action: 'go',
    input: {},
    timeout_ms: 100,
  })
  t.match([late.status, late.body.code], [504, 'CALL_EXPIRED'])
  const echoes: unknown[] = []
  for (let n = 0; n < 40; n += 1) {
    echoes.push((await go('late/answers', { n }, 'echo')).body.result?.output.n)
    await new Promise((done) => setTimeout(done, 20))
  }
  t.strictSame(echoes, [...Array(40).keys()])
  t.strictSame((await factsOf('late/answers', 'module.crashed')).length, 0)
})

t.test(
  'F70: work that is stuck ends at its deadline though the heart beats, and in a mission with its process',
  async (t) => {
    const id = 'stuck/work'
    const [{ pid }] = (await status(id)).instances
    const call = await daemon.command('call_action', {
      module_id: id,
      action: 'go',
      input: {},
      timeout_ms: 200,
    })
    t.match([call.status, call.body.code], [504, 'CALL_EXPIRED'])
    t.equal(isAlive(pid), true, 'who asked for a call lives with what it left')

    const plan = [{ id: 'work', uses: `${id}/go`, with: {}, timeout_ms: 200 }]
    const body = { goal: 'get stuck', category: 'forge', constraints: { max_time_seconds: 5 }, plan }
    const { body: created } = await daemon.ask('POST', '/v1/missions/create', body)
    const key = { operator_key: daemon.key, override: true, reason: 'a test', wait_ms: 20_000 }
    await daemon.ask('POST', '/v1/missions/run', { mission_id: created.mission_id, ...key })
    t.match((await factOf(id, 'module.crashed')).d, { reason: /its action go ignored the end of its time/ })
    t.equal(isAlive(pid), false)
    const { body: mission } = await daemon.until(
      `/v1/missions/${created.mission_id}`,
      (now) => !['queued', 'running'].includes(now.body.status),
    )
    t.not(mission.status, 'completed')
  },
)

t.test('after all that it is the same daemon, and it stops in order', async (t) => {
  t.equal((await daemon.ask('GET', '/livez')).status, 200)
  t.match((await go('well/behaved', { n: 1 }, 'echo')).body, { result: { output: { n: 1 } } })
  t.equal((await factsOf('well/behaved')).filter(({ type }) => type === 'module.suspected').length, 0)
  const hosts = daemon.hosts()
  t.equal(await daemon.kill('SIGTERM'), 0)
  t.strictSame(hosts.filter(isAlive), [])
})

t.test(
  'F71: with every module dead the daemon lives, says that it is not ready and why, and answers',
  async (t) => {
    const grave = shortDir(t)
    for (const name of ['one', 'two', 'three']) {
      writeModule(grave, `dead/${name}`, 'export default {', { critical: name === 'one' })
    }
    const lonely = await RunningDaemon.start(grave)
    t.teardown(() => lonely.kill())
    await lonely.until('/v1/status', ({ body }) => body.modules?.by_state?.failed === 3)
    const live = await lonely.ask('GET', '/livez')
    const ready = await lonely.ask('GET', '/readyz')
    const all = await lonely.ask('GET', '/v1/status')
    t.match([live.status, live.body], [200, { live: true }])
    t.match(
      [ready.status, ready.body.ready, ready.body.details],
      [503, false, { unhealthy_modules: 3, health_ratio: 0 }],
    )
    t.match(ready.body.reasons.join('\n'), /dead\/one/)
    t.match(all.body.health.statistics, { total: 3, unhealthy: 3 })
    const { body } = await lonely.command('call_action', { module_id: 'dead/two', action: 'go', input: {} })
    t.match(body, { success: false, code: String, remedy: String })
  },
)

t.test('in safe mode no module starts but by hand, and everybody says so', async (t) => {
  const calm = shortDir(t)
  for (const name of ['one', 'two']) writeModule(calm, `calm/${name}`, WELL, HASTY)
  const safe = await RunningDaemon.start(calm, ['--safe'])
  t.teardown(() => safe.kill())
  const said = 'safe mode: no module is started but by hand'
  const { body: before } = await safe.ask('GET', '/v1/status/calm/one')
  t.match(before, { state: 'loaded', desired: 'running', because: said, instances: [] })
  const ready = await safe.ask('GET', '/readyz')
  t.match([ready.status, ready.body.reasons], [503, [`the daemon runs in ${said}`, /2 of 2/]])
  t.equal((await safe.ask('GET', '/livez')).status, 200)
  const { body: explained } = await safe.command('explain', { module_id: 'calm/two' })
  t.match(explained.result, { blocked_on: said, remedy: '`nexus start calm/two`' })

  const { body: started } = await safe.command('start_module', { module_id: 'calm/one' })
  t.match(started, { success: true, result: { state: 'started' } })
  // A save is no wish to have it started, and neither is a new module.
  writeModule(calm, 'calm/two', `${WELL}\n`, HASTY)
  writeModule(calm, 'calm/three', WELL, HASTY)
  await safe.until('/v1/status/calm/three', ({ status }) => status === 200)
  const { body: all } = await safe.ask('GET', '/v1/status')
  t.strictSame(all.modules.by_state, { started: 1, loaded: 2 })
})
