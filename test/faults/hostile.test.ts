import '../support/clean-children.ts'
import { spawn, spawnSync } from 'node:child_process'
import { cpSync, lchownSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { HostProcess } from '../../daemon/host/host-process.ts'
import { ProcessInstance } from '../../daemon/host/instance.ts'
import { planLaunch } from '../../daemon/host/isolation.ts'
import { exploreMachine } from '../../daemon/host/machine.ts'
import { PulseWatch } from '../../daemon/host/watch.ts'
import { systemClock } from '../../daemon/kit/clock.ts'
import { call, orderFor } from '../host/bench.ts'
import { RunningDaemon } from '../support/daemon.ts'
import { noSandbox } from '../support/no-sandbox.ts'
import { shortDir } from '../support/short-dir.ts'

type Test = { teardown(undo: () => unknown): void }
type Tier = 'none' | 'node-permission' | 'bwrap'
type Vector = Record<string, string>

t.setTimeout(120_000)
const FIXTURE = fileURLToPath(new URL('../fixtures/hostile', import.meta.url))
const MANUAL = fileURLToPath(new URL('../../docs/isolation.md', import.meta.url))
const NOBODY = 65_534
const isRoot = process.getuid?.() === 0

/** What docs/isolation.md says of each attempt in this tier. */
function documented(tier: Tier, mayAll: boolean): Vector {
  const rows = [...readFileSync(MANUAL, 'utf8').matchAll(/^\| `(\w+)` \| (\w+) \| (\w+) \| (\w+) \|/gm)]
  const column = ['none', 'node-permission', 'bwrap'].indexOf(tier) + 2
  const words: Vector = {
    account: mayAll ? 'allow' : 'deny',
    since24: Number(process.versions.node.split('.')[0]) >= 24 ? 'allow' : 'deny',
  }
  return Object.fromEntries(
    rows.map((row) => {
      const said = row[column] ?? ''
      return [row[1], words[said] ?? said]
    }),
  )
}

/** A daemon with the hostile module in it twice, and things around it that it is to leave alone. */
async function raise(t: Test, account: { uid?: number; gid?: number }) {
  const dir = shortDir(t)
  const own = (path: string): string => {
    if (account.uid !== undefined) lchownSync(path, account.uid, account.uid)
    return path
  }
  own(dir)
  const names = ['wall', 'box']
  for (const name of names) {
    const folder = join(dir, 'modules/hostile', name)
    cpSync(FIXTURE, folder, { recursive: true })
    const manifest = JSON.parse(readFileSync(join(FIXTURE, 'module.json'), 'utf8'))
    const text = JSON.stringify({ ...manifest, id: `hostile/${name}`, sandbox: name === 'box' })
    writeFileSync(join(folder, 'module.json'), text)
  }
  const env = { NEXUS_TEST_SECRET: 'daemon-secret' }
  const daemon = await RunningDaemon.start(dir, [], { ...account, env })
  t.teardown(() => daemon.kill())
  const data = join(dir, 'data')
  const folder = (...parts: string[]): string => {
    const path = join(data, 'module-data', ...parts)
    mkdirSync(path, { recursive: true })
    return own(path)
  }
  for (const name of names) await daemon.until(`/v1/status/hostile/${name}`, isSettled)
  folder('victim')
  const other = join(folder('victim/other'), 'secret')
  writeFileSync(other, 'x', { mode: 0o600 })
  own(other)
  const outside = join(dir, 'outside.mjs')
  writeFileSync(outside, 'export default 1')
  const server = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as { port: number }
  const [, http] = /"port":(\d+)/.exec(daemon.output.join('')) ?? []
  const [library] = /\/\S*libc\.so\S*/.exec(readFileSync('/proc/self/maps', 'latin1')) ?? []

  /** What the module in that folder may aim at. */
  const targets = (own: string): Record<string, unknown> => {
    const planted = join(own, 'planted')
    symlinkSync(join(data, 'operator_pin.txt'), planted)
    const sleepers = [1, 2].map(() => spawn('sleep', ['60'], { ...account, stdio: 'ignore' }))
    t.teardown(() => sleepers.map((one) => one.kill('SIGKILL')))
    const [victim, bystander] = sleepers.map(({ pid }) => pid)
    const processes = { daemon: daemon.child.pid, victim, bystander }
    return { data, own, other, planted, outside, library, ...processes, socket: daemon.socket, port, http }
  }
  return { daemon, data, targets }
}

function isSettled({ body }: { body: { state: string } }): boolean {
  return ['started', 'failed', 'backoff', 'invalid'].includes(body.state)
}

for (const account of isRoot ? [{}, { uid: NOBODY, gid: NOBODY }] : [{}]) {
  const name = 'uid' in account ? 'an account without rights' : 'the account of this test'
  t.test(`a hostile module reaches exactly what is documented, under ${name}`, async (t) => {
    if (spawnSync(process.execPath, ['-v'], account).error !== undefined) {
      return t.comment(`skipped: ${name} may not run ${process.execPath}`)
    }
    const { daemon, data, targets } = await raise(t, account)
    for (const module of ['wall', 'box']) {
      const { body } = await daemon.ask('GET', `/v1/status/hostile/${module}`)
      const tier: Tier = module === 'wall' ? 'node-permission' : 'bwrap'
      const obstacle = tier === 'bwrap' && noSandbox(account)
      if (obstacle !== false) {
        t.comment(`skipped: ${obstacle}`)
        continue
      }
      t.equal(body.isolation, tier)
      const input = targets(join(data, 'module-data/hostile', module))
      const order = { module_id: `hostile/${module}`, action: 'tries', input, timeout_ms: 30_000 }
      const answer = await daemon.command('call_action', order)
      const { vector } = answer.body.result.output
      t.strictSame(
        vector,
        documented(tier, false),
        `${tier}: ${JSON.stringify(answer.body.result.output.said)}`,
      )
    }
    if (!('uid' in account)) await withoutWall(t, data, targets)
    t.equal((await daemon.ask('GET', '/livez')).status, 200, 'the daemon lives on')
  })
}

/** Node's wall stands wherever its Node knows one; here the module is run as if this one did not. */
async function withoutWall(
  t: Test & {
    equal(a: unknown, b: unknown): unknown
    strictSame(a: unknown, b: unknown, why: string): unknown
  },
  data: string,
  targets: (own: string) => object,
): Promise<void> {
  const ledger = { mark: 'hostile', add: () => {}, remove: () => {} }
  const around = { clock: systemClock, ledger, generationsDir: join(data, 'generations'), env: process.env }
  const { machine, first } = await exploreMachine(around)
  first?.signal('SIGKILL')
  const dataDir = join(data, 'module-data/hostile/none')
  mkdirSync(dataDir)
  const dir = join(data, 'generations/hostile/none/g1')
  cpSync(FIXTURE, dir, { recursive: true })
  writeFileSync(join(dir, 'package.json'), '{"type":"module"}')
  const files = { dir, entry: join(dir, 'index.js'), dataDir }
  const order = orderFor(data, { ...files, permissions: { fs_read: ['$DATA'], fs_write: ['$DATA'] } })
  const host = new HostProcess(planLaunch({ ...machine, walled: false }, order), systemClock, ledger)
  const instance = await ProcessInstance.settle(host, order, systemClock, new PulseWatch(systemClock))
  t.teardown(() => instance.halt(1_000))
  const { vector, said } = (await call(instance, 'tries', targets(dataDir))) as {
    vector: Vector
    said: Vector
  }
  t.equal(instance.isolation, 'none')
  t.strictSame(vector, documented('none', isRoot), JSON.stringify(said))
}
