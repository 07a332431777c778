import '../support/clean-children.ts'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import type { Instance } from '../../daemon/host/port.ts'
import { isAlive } from '../support/daemon.ts'
import { noSandbox } from '../support/no-sandbox.ts'
import { call, Ear, type OrderChanges, openPool, orderFor } from './bench.ts'

t.setTimeout(120_000)

/** A module that writes without a pause beats as rarely as one that hangs. */
const patient = { heartbeat_suspect_ms: 50_000, heartbeat_kill_ms: 60_000 }

type Test = { teardown(undo: () => unknown): void }
const { pool, dataDir } = await openPool(t)
const dir = join(dataDir, 'generations/glutton')

async function spawn(t: Test, changes: OrderChanges = {}): Promise<Instance> {
  const files = { dir, entry: join(dir, 'index.js') }
  const instance = await pool.spawn(orderFor(dataDir, { ...files, ...changes }))
  t.teardown(() => instance.halt(100))
  await instance.start()
  return instance
}

/** Runs an action that ends its process; answers how it went, and what this process grew by meanwhile. */
async function ruin(instance: Instance, action: string, input?: unknown) {
  const before = process.memoryUsage.rss()
  void call(instance, action, input, { timeoutMs: 60_000 }).catch(() => undefined)
  const departure = await instance.gone
  return { departure, grownMb: (process.memoryUsage.rss() - before) / 1_048_576 }
}

/** Waits for what other processes do, which no clock of ours can hurry. */
async function until(isSo: () => boolean): Promise<boolean> {
  for (let looks = 0; looks < 2_000 && !isSo(); looks += 1) await pause(5)
  return isSo()
}

/** The processes of a session. */
function sessionOf(pid: number): number[] {
  const pids = readdirSync('/proc').map(Number).filter(Number.isSafeInteger)
  return pids.filter((one) => {
    try {
      const stat = readFileSync(`/proc/${one}/stat`, 'latin1')
      return isAlive(one) && Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[3]) === pid
    } catch {
      return false
    }
  })
}

t.test('a heap that grows ends the instance, and the reason is in the words of the manifest', async (t) => {
  const { departure, grownMb } = await ruin(await spawn(t), 'heap')
  t.match(departure, {
    how: 'killed',
    because:
      /^(it used \d+ MB of memory, |its JavaScript heap was full: it may take 192 MB of )limits\.memory_mb/,
  })
  t.ok(grownMb < 50, `the daemon grew by ${Math.round(grownMb)} MB`)
})

t.test('one that takes memory and says nothing is looked at from outside', async (t) => {
  const { departure, grownMb } = await ruin(await spawn(t, { limits: { memory_mb: 128 } }), 'buffers')
  t.match(departure, { how: 'killed', because: /^it used \d+ MB of memory, limits\.memory_mb is 128$/ })
  t.ok(grownMb < 50, `the daemon grew by ${Math.round(grownMb)} MB`)
})

t.test('four gigabytes at once are refused by the kernel, and cost the module an error', async (t) => {
  const instance = await spawn(t)
  await t.rejects(call(instance, 'atOnce', 4e9), { code: 'ACTION_FAILED', facts: { reason: /allocat/ } })
  t.equal(isAlive(instance.pid), true)
})

t.test('what a module starts uses its memory, and goes with it', async (t) => {
  const instance = await spawn(t, { permissions: { child_process: true } })
  const { departure } = await ruin(instance, 'child')
  t.match(departure, { because: /^it and the process that it started used \d+ MB of memory, limits/ })
  t.equal(await until(() => sessionOf(instance.pid).length === 0), true, 'nothing is left')
})

t.test('a storm of processes ends for its number, and leaves none', async (t) => {
  const instance = await spawn(t, { permissions: { child_process: true }, limits: { memory_mb: 2_048 } })
  const { departure } = await ruin(instance, 'storm', 400)
  t.match(departure, { because: /^it had \d+ processes, and no module may have more than 256$/ })
  t.equal(await until(() => sessionOf(instance.pid).length === 0), true, 'nothing is left')
})

t.test('no module starts processes that has not asked for it', async (t) => {
  const instance = await spawn(t)
  await t.rejects(call(instance, 'child'), { code: 'ACTION_FAILED', facts: { reason: /restricted/ } })
})

t.test('what went into a session of its own goes with its host, however that goes', async (t) => {
  const ends = [
    (instance: Instance) => instance.kill('a test'),
    (instance: Instance) => void instance.halt(1_000),
    (instance: Instance) => process.kill(instance.pid, 'SIGSEGV'),
  ]
  for (const end of ends) {
    const instance = await spawn(t, { permissions: { child_process: true } })
    const pids = (await call(instance, 'scatter')) as number[]
    t.strictSame(pids.map(isAlive), [true, true])
    end(instance)
    await instance.gone
    t.strictSame(pids.filter(isAlive), [])
  }
})

t.test('a stop ends children that ignore TERM, with all of theirs', async (t) => {
  const obstacle = noSandbox()
  if (obstacle !== false) t.comment(`skipped in a sandbox: ${obstacle}`)
  for (const sandbox of obstacle === false ? [false, true] : [false]) {
    const config = { deaf: true, children: 3 }
    const instance = await spawn(t, { sandbox, config, permissions: { child_process: true } })
    const before = sandbox ? [] : sessionOf(instance.pid)
    await instance.halt(200)
    t.strictSame([await instance.gone, sessionOf(instance.pid)], [{ how: 'halted' }, []])
    t.ok(sandbox || before.length >= 4, 'it saw them')
  }
})

t.test('files are limited, and the fewest that a manifest may ask for are enough to start', async (t) => {
  const answers = []
  for (const open_files of [64, 256, 2_000]) {
    answers.push(
      await call(
        await spawn(t, { limits: { open_files }, permissions: { fs_read: ['/dev/null'] } }),
        'opens',
        1_000,
      ),
    )
  }
  t.strictSame(answers, ['EMFILE', 'EMFILE', 'all'])
})

t.test('a flood of lines is dropped, counted, and costs no memory', async (t) => {
  const ear = new Ear()
  const instance = await spawn(t, { listener: ear.listener, limits: { ...patient, log_lines_per_s: 5 } })
  const before = process.memoryUsage.rss()
  await call(
    instance,
    'flood',
    { text: '\u0007\u001b[31mred\u001b[0m \u202eder\n', bytes: 20_000_000 },
    { timeoutMs: 60_000 },
  )
  await instance.halt(1_000)
  const grownMb = (process.memoryUsage.rss() - before) / 1_048_576
  t.ok(grownMb < 100, `the daemon grew by ${Math.round(grownMb)} MB`)
  const lines = ear.said.filter((one) => one['stream'] === 'stdout')
  t.strictSame(new Set(lines.map((one) => one['log'])), new Set(['red der']))
  const dropped = ear.said.reduce((sum, one) => sum + Number(one['dropped'] ?? 0), 0)
  t.ok(lines.length >= 5 && lines.length < 1_000, `${lines.length} lines were told`)
  t.ok(dropped + lines.length > 900_000, `${dropped} were counted`)
})

t.test('a line of 40 MB is one line of 16 KiB', async (t) => {
  const ear = new Ear()
  const instance = await spawn(t, { listener: ear.listener, limits: patient })
  const before = process.memoryUsage.rss()
  await call(instance, 'flood', { text: 'x', bytes: 40_000_000 }, { timeoutMs: 60_000 })
  await instance.halt(1_000)
  const grownMb = (process.memoryUsage.rss() - before) / 1_048_576
  t.ok(grownMb < 100, `the daemon grew by ${Math.round(grownMb)} MB`)
  t.strictSame(
    ear.said.filter((one) => one['stream'] === 'stdout').map((one) => String(one['log']).length),
    [16_384],
  )
})

t.test('nobody is left of all that', async (t) => {
  const list = (): { hosts: object[] } => JSON.parse(readFileSync(join(dataDir, 'run/hosts.json'), 'utf8'))
  t.equal(await until(() => list().hosts.length <= 1), true, 'but the spare')
})
