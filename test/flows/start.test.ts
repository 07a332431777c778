import '../support/clean-children.ts'
import { execFile, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { RunningDaemon, writeModule } from '../support/daemon.ts'
import { shortDir } from '../support/short-dir.ts'

const NEXUSD = fileURLToPath(new URL('../../bin/nexusd.ts', import.meta.url))

interface End {
  readonly code: number
  readonly said: string
}

/** Runs `nexusd` to its end. */
function start(
  dir: string,
  args: readonly string[],
  options: { uid?: number; env?: object } = {},
): Promise<End> {
  const env = { PATH: process.env['PATH'], ...options.env }
  const settings = {
    cwd: dir,
    env,
    timeout: 30_000,
    ...(options.uid === undefined ? {} : { uid: options.uid }),
  }
  return new Promise((resolve) => {
    execFile(process.execPath, [NEXUSD, ...args], settings, (error, stdout, stderr) => {
      resolve({
        code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1,
        said: stdout + stderr,
      })
    })
  })
}

t.test('a start that is not possible says what, where and the remedy, with its own exit code', async (t) => {
  const dir = shortDir(t)
  mkdirSync(join(dir, 'modules'))
  writeFileSync(join(dir, 'bad.yaml'), 'http:\n  port: 8012\nwacht: {}\n')
  writeFileSync(join(dir, 'file'), '')
  const taken = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => taken.once('listening', resolve))
  t.teardown(() => taken.close())
  const { port } = taken.address() as { port: number }

  const ends = {
    usage: await start(dir, ['--prot', '1']),
    config: await start(dir, ['--config', 'bad.yaml']),
    port: await start(dir, ['--port', String(port), '--metrics-port', '0']),
    folder: await start(dir, ['--data-dir', 'file', '--port', '0', '--metrics-port', '0']),
    missing: await start(dir, ['--config', 'none.yaml']),
  }
  t.strictSame(
    Object.entries(ends).map(([name, { code }]) => [name, code]),
    [
      ['usage', 64],
      ['config', 78],
      ['port', 69],
      ['folder', 77],
      ['missing', 78],
    ],
  )
  t.match(ends.config.said, /bad\.yaml:3:1: .*wacht.*did you mean watch/s)
  t.match(ends.port.said, new RegExp(`${port}.*\n.*--port`))
})

t.test(
  'a second daemon on the same data folder ends with 75 and names the first, which goes on',
  async (t) => {
    const dir = shortDir(t)
    const first = await RunningDaemon.start(dir)
    t.teardown(() => first.kill())
    const second = await start(dir, ['--port', '0', '--metrics-port', '0'])
    t.strictSame([second.code, (await first.ask('GET', '/livez')).status], [75, 200])
    t.match(second.said, new RegExp(`process ${first.child.pid}`))
  },
)

/** Whether this test can start the daemon as somebody who owns nothing here. */
function whyNotAsNobody(): string | undefined {
  if (process.getuid?.() !== 0) return 'only root can start it as somebody else'
  const probe = spawnSync(process.execPath, ['--check', NEXUSD], { uid: NOBODY })
  return probe.status === 0 ? undefined : 'this checkout or its Node is closed to other accounts'
}

const NOBODY = 65_534
const reason = whyNotAsNobody()
const asRoot = reason === undefined ? {} : { skip: reason }

t.test(
  'a data folder that cannot be written ends with 77 and tells whose it should be',
  asRoot,
  async (t) => {
    const dir = shortDir(t)
    mkdirSync(join(dir, 'modules'))
    mkdirSync(join(dir, 'data'), { mode: 0o700 })
    chmodSync(dir, 0o755)
    const { code, said } = await start(dir, ['--port', '0', '--metrics-port', '0'], { uid: NOBODY })
    t.equal(code, 77)
    t.match(said, /chown -R 65534/)
  },
)

t.test(
  "everything it writes is its own account's alone, whatever the umask, and a stop leaves nothing running",
  async (t) => {
    const dir = shortDir(t)
    const mask = process.umask(0)
    t.teardown(() => process.umask(mask))
    writeModule(dir, 'demo/one', 'export default {}')
    chmodSync(join(dir, 'modules/demo/one'), 0o755)
    for (const file of ['module.json', 'index.js']) chmodSync(join(dir, 'modules/demo/one', file), 0o644)
    chmodSync(join(dir, 'modules/demo'), 0o755)
    chmodSync(join(dir, 'modules'), 0o755)
    const daemon = await RunningDaemon.start(dir)
    process.umask(mask)
    await daemon.until('/v1/status/demo/one', ({ body }) => body.state === 'started')
    const loose = (readdirSync(join(dir, 'data'), { recursive: true }) as string[])
      .filter((name) => !name.startsWith('generations/'))
      .filter((name) => (statSync(join(dir, 'data', name)).mode & 0o077) !== 0)
    t.strictSame([loose, statSync(join(dir, 'data')).mode & 0o777], [[], 0o700])
    const exit = await daemon.kill('SIGTERM')
    t.strictSame(
      [exit, existsSync(daemon.socket), existsSync(join(dir, 'data/run/local.token'))],
      [0, false, false],
    )
    t.match(
      readFileSync(join(dir, 'data/audit.jsonl'), 'utf8').trim().split('\n').at(-1),
      /module.stopped|daemon.stopping/,
    )
  },
)

t.test(
  'the published key opens nothing, and under --dev it does, with a banner and a flag in health',
  async (t) => {
    const dir = shortDir(t)
    const daemon = await RunningDaemon.start(dir, ['--dev'])
    t.teardown(() => daemon.kill())
    const { body } = await daemon.ask('GET', '/v1/system/health')
    t.equal(body.insecure_key, true)
    t.match(daemon.output.join(''), /DEVELOPMENT MODE/)
    const refused = await start(dir, ['--dev', '--port', '0'], { env: { NODE_ENV: 'production' } })
    t.equal(refused.code, 78)
  },
)
