import '../support/clean-children.ts'
import { readFileSync } from 'node:fs'
import { get } from 'node:http'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { RunningDaemon, writeModule } from '../support/daemon.ts'
import { shortDir } from '../support/short-dir.ts'

// A machine that is busy elsewhere takes its time to start processes.
t.setTimeout(120_000)

type Fact = { type: string; d: Record<string, unknown> }
const factsOf = (dir: string): Fact[] =>
  readFileSync(join(dir, 'data/audit.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))

t.test(
  'F59: real processes that end at once, in each of three ways, are given up after six starts',
  async (t) => {
    const dir = shortDir(t)
    const restart = { backoff_ms: 10 }
    writeModule(dir, 'end/zero', 'export default { start() { process.exit(0) } }', { restart })
    writeModule(dir, 'end/one', 'export default { start() { process.exit(1) } }', { restart })
    writeModule(dir, 'end/killed', 'export default { start() { process.kill(process.pid, 9) } }', { restart })
    writeModule(dir, 'well/alone', 'export default { actions: { ping: () => "pong" } }', {
      actions: { ping: { description: 'answers', idempotent: true } },
    })
    const daemon = await RunningDaemon.start(dir)
    t.teardown(() => daemon.kill())
    const ids = ['end/zero', 'end/one', 'end/killed']
    for (const id of ids) {
      await daemon.until(`/v1/status/${id}`, ({ body }) => body.state === 'crashloop', 60_000)
    }
    const failed = factsOf(dir).filter(({ type }) => type === 'module.start_failed')
    t.strictSame(
      ids.map((id) => failed.filter(({ d }) => d['module_id'] === id).length),
      [6, 6, 6],
    )
    const { body } = await daemon.command('call_action', { module_id: 'well/alone', action: 'ping' })
    t.equal(body.result.output, 'pong')

    writeModule(dir, 'end/one', 'export default { start() {} }', { restart })
    await daemon.until('/v1/status/end/one', ({ body: now }) => now.state === 'started')
    const killed = await daemon.command('explain', { module_id: 'end/killed' })
    t.match(killed.body.result, { blocked_on: /SIGKILL/, next: /one try every five minutes/ })
  },
)

t.test('up, down, to none and back: no call and no connection is lost on the way', async (t) => {
  const dir = shortDir(t)
  const port = await freePort()
  const code = `import http from 'node:http'
    let server
    export default {
      async start (ctx) {
        server = http.createServer((_, answer) => setTimeout(() => answer.end(ctx.instance), 5))
        await new Promise((up) => server.listen(ctx.listen('web'), up))
      },
      stop () { server.close() },
      actions: { work: (_, ctx) => new Promise((end) => setTimeout(end, 20, ctx.instance)) },
    }`
  writeModule(dir, 'web/site', code, {
    permissions: { net: true },
    listen: [{ name: 'web', port }],
    actions: { work: { description: 'takes a moment', concurrency: 4 } },
  })
  const daemon = await RunningDaemon.start(dir)
  t.teardown(() => daemon.kill())
  await daemon.until('/v1/status/web/site', ({ body }) => body.state === 'started')

  const seen = { calls: new Set<string>(), pages: new Set<string>(), wrong: [] as string[] }
  let done = false
  const load = Array.from({ length: 8 }, async () => {
    while (!done) {
      const call = await daemon.command('call_action', { module_id: 'web/site', action: 'work' })
      if (call.status === 200) seen.calls.add(call.body.result.output)
      else seen.wrong.push(`${call.status} ${call.body.code}`)
      const page = await fetchPage(port).catch(String)
      if (page.startsWith('web/site#')) seen.pages.add(page)
      else seen.wrong.push(page)
    }
  })
  const scale = async (replicas: number): Promise<unknown> =>
    (await daemon.command('scale_module', { module_id: 'web/site', replicas })).body.result
  t.match(await scale(4), { replicas: 4, previous: 1, ready: 4, state: 'started' })
  while (seen.calls.size < 4) await new Promise((next) => setTimeout(next, 20))
  t.match(await scale(2), { replicas: 2, previous: 4, ready: 2 })
  await new Promise((next) => setTimeout(next, 200))
  done = true
  await Promise.all(load)
  t.strictSame([seen.wrong, seen.calls.size], [[], 4])

  t.match(await scale(0), { replicas: 0, ready: 0, state: 'waiting' })
  t.match(await fetchPage(port).catch(String), /ECONNREFUSED/)
  const refused = await daemon.command('call_action', { module_id: 'web/site', action: 'work' })
  t.match([refused.status, refused.body.code], [409, 'MODULE_SCALED_TO_NONE'])
  const { body } = await daemon.ask('GET', '/v1/status/web/site')
  t.match(body, { health: { status: 'degraded', reason: 'it is scaled to none' }, instances: [] })
  t.equal((await daemon.ask('GET', '/readyz')).status, 200)

  await daemon.kill('SIGTERM')
  const again = await RunningDaemon.start(dir)
  t.teardown(() => again.kill())
  await again.until('/v1/status/web/site', ({ body: now }) => now.state === 'waiting')
  await again.command('scale_module', { module_id: 'web/site', replicas: 2 })
  t.match(await fetchPage(port), /^web\/site#/)
})

function fetchPage(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = get({ host: '127.0.0.1', port, agent: false }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk) => (text += chunk))
      response.on('end', () => resolve(text)).on('error', reject)
    })
    asked.on('error', reject)
  })
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number }
      server.close(() => resolve(port))
    })
  })
}
