import '../support/clean-children.ts'
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { join } from 'node:path'
import t from 'tap'
import { freePort } from '../listen/street.ts'
import { RunningDaemon, writeModule } from '../support/daemon.ts'
import { shortDir } from '../support/short-dir.ts'

/** A server as anybody writes one; its answer names its version and gives back what was sent. */
const server = (version: string): string => `
  import { createServer } from 'node:http'
  let server
  export default {
    async start(ctx) {
      server = createServer((request, response) => {
        let sent = ''
        request.on('data', (piece) => (sent += piece))
        request.on('end', () => {
          const answer = () => response.end('${version}:' + sent)
          if (request.url === '/die') process.kill(process.pid, 'SIGKILL')
          else if (request.url === '/slow') setTimeout(answer, 20)
          else answer()
        })
      })
      await new Promise((resolve, reject) => server.on('error', reject).listen(ctx.listen('web'), resolve))
    },
    async stop() {
      await new Promise((resolve) => server.close(resolve))
    },
  }`

/** What comes back, or the code of the error. */
function ask(port: number, agent: Agent | false, path = '/', sent = ''): Promise<string> {
  return new Promise((resolve) => {
    const call = request({ host: '127.0.0.1', port, path, agent, method: sent === '' ? 'GET' : 'POST' })
    call.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
    call.on('response', (response) => {
      let text = ''
      response.on('data', (piece) => (text += piece))
      response.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
      response.on('end', () => resolve(text))
    })
    call.end(sent)
  })
}

/** Asks without a pause until stopped. */
class Load {
  readonly versions = new Set<string>()
  readonly wrong: string[] = []
  answered = 0
  #isOver = false
  readonly #workers: Promise<void>[]

  constructor(port: number, agent: Agent | false, workers: number) {
    this.#workers = Array.from({ length: workers }, (_, worker) => this.#work(port, agent, worker))
  }

  async #work(port: number, agent: Agent | false, worker: number): Promise<void> {
    for (let count = worker; !this.#isOver; count += 1) {
      const sent = count % 3 === 0 ? `w${count}` : ''
      const [version = '', back] = (await ask(port, agent, count % 4 === 0 ? '/slow' : '/', sent)).split(':')
      if (back === sent) {
        this.versions.add(version)
        this.answered += 1
      } else this.wrong.push(version)
    }
  }

  async stop(): Promise<void> {
    this.#isOver = true
    await Promise.all(this.#workers)
  }
}

t.test(
  'a port of a module outlives its reloads, its crash and its scaling, and ends with its stop',
  async (t) => {
    const dir = shortDir(t)
    const port = await freePort()
    const manifest = { listen: [{ name: 'web', port }], timeouts: { settle_ms: 0 } }
    writeModule(dir, 'demo/web', server('v0'), manifest)
    const daemon = await RunningDaemon.start(dir)
    t.teardown(() => daemon.kill())
    await daemon.until('/v1/status/demo/web', ({ body }) => body.state === 'started')

    const agent = new Agent({ keepAlive: true, maxSockets: 4 })
    t.teardown(() => agent.destroy())
    const loads = [new Load(port, false, 3), new Load(port, agent, 4)]
    for (let round = 1; round <= 8; round += 1) {
      writeModule(dir, 'demo/web', server(`v${round}`), manifest)
      const { body } = await daemon.command('reload_module', {
        module_id: 'demo/web',
        strategy: round === 8 ? 'immediate' : 'graceful',
      })
      t.equal(body.success, true, body.error)
    }
    for (const replicas of [3, 1]) {
      t.equal((await daemon.command('scale_module', { module_id: 'demo/web', replicas })).status, 200)
    }
    await Promise.all(loads.map((load) => load.stop()))
    t.strictSame(
      loads.map(({ wrong }) => wrong),
      [[], []],
    )
    for (const load of loads) t.ok(load.versions.size > 4 && load.answered > 50, `${load.answered} answers`)

    t.match(await ask(port, agent, '/die'), /ECONNRESET|socket hang up/, 'who is served by it sees it die')
    t.equal(await ask(port, agent), 'v8:', 'and nobody after')
    await daemon.until('/v1/status/demo/web', ({ body }) => body.replicas.ready === 1)
    const { body } = await daemon.ask('GET', '/v1/status/demo/web')
    t.match(body.listen, [{ name: 'web', host: '127.0.0.1', port, waiting: 0, refused: 0 }])
    t.ok(body.listen[0].accepted >= 50)
    const { body: metrics } = await daemon.command('get_metrics', { module_id: 'demo/web' })
    t.match(metrics.result.text, `nexus_port_refused_total{module="demo/web",port="${port}"} 0`)

    await daemon.command('stop_module', { module_id: 'demo/web' })
    t.equal(await ask(port, false), 'ECONNREFUSED')
    await daemon.command('start_module', { module_id: 'demo/web' })
    t.equal(await ask(port, false), 'v8:')
  },
)

t.test(
  'two modules that want one port: the second says whose it is, and gets it when it is free',
  async (t) => {
    const dir = shortDir(t)
    const port = await freePort()
    const manifest = {
      listen: [{ name: 'web', port }],
      restart: { backoff_ms: 20, backoff_max_ms: 20, max: 10_000 },
    }
    writeModule(dir, 'demo/first', server('first'), manifest)
    const daemon = await RunningDaemon.start(dir)
    t.teardown(() => daemon.kill())
    await daemon.until('/v1/status/demo/first', ({ body }) => body.state === 'started')
    writeModule(dir, 'demo/second', server('second'), manifest)
    const { body } = await daemon.until('/v1/status/demo/second', ({ body }) => body.state === 'backoff')
    t.match(body.because, `cannot listen on 127.0.0.1:${port}: it belongs to demo/first ("web")`)
    t.equal(await ask(port, false), 'first:')
    await daemon.command('stop_module', { module_id: 'demo/first' })
    await daemon.until('/v1/status/demo/second', ({ body }) => body.state === 'started')
    t.equal(await ask(port, false), 'second:')
  },
)

const PYTHON = `
import os, socketserver
from http.server import BaseHTTPRequestHandler

class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_GET(self):
        self.send_response(200)
        self.send_header('Content-Length', '6')
        self.end_headers()
        self.wfile.write(b'python')

    def log_message(self, *_):
        pass

Server(os.environ['NEXUS_LISTEN_WEB'], Handler).serve_forever()
`
const hasPython = spawnSync('python3', ['--version']).status === 0

t.test(
  'a program in Python answers on a port, too',
  { skip: !hasPython && 'python3 is not installed' },
  async (t) => {
    const dir = shortDir(t)
    const port = await freePort()
    writeModule(dir, 'demo/python', '', {
      runtime: 'exec',
      command: ['python3', '-u', 'serve.py'],
      listen: [{ name: 'web', port }],
    })
    writeFileSync(join(dir, 'modules/demo/python/serve.py'), PYTHON)
    const daemon = await RunningDaemon.start(dir)
    t.teardown(() => daemon.kill())
    await daemon.until('/v1/status/demo/python', ({ body }) => body.state === 'started')
    t.equal(await ask(port, false), 'python')
  },
)

t.test('a port that the daemon keeps goes with it, and it comes back on the same', async (t) => {
  const dir = shortDir(t)
  const port = await freePort()
  writeModule(dir, 'demo/web', server('v1'), { listen: [{ name: 'web', port }] })
  const first = await RunningDaemon.start(dir)
  t.teardown(() => first.kill())
  await first.until('/v1/status/demo/web', ({ body }) => body.state === 'started')
  const agent = new Agent({ keepAlive: true })
  t.teardown(() => agent.destroy())
  t.equal(await ask(port, agent), 'v1:')
  t.equal(await first.kill('SIGTERM'), 0, 'a connection at rest does not delay the end')
  t.equal(await ask(port, false), 'ECONNREFUSED')
  const second = await RunningDaemon.start(dir)
  t.teardown(() => second.kill())
  await second.until('/v1/status/demo/web', ({ body }) => body.state === 'started')
  t.equal(await ask(port, false), 'v1:')
})
