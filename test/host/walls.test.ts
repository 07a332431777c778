import '../support/clean-children.ts'
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import type { HostPool, Instance } from '../../daemon/host/port.ts'
import { isAlive } from '../support/daemon.ts'
import { noSandbox } from '../support/no-sandbox.ts'
import { shortDir } from '../support/short-dir.ts'
import { call, Ear, type OrderChanges, openPool, orderFor } from './bench.ts'

type Test = { teardown(undo: () => unknown): void }
t.setTimeout(120_000)
const PATH = String(process.env['PATH'])
const { pool, dataDir } = await openPool(t)

const skip = noSandbox()

async function spawn(t: Test, changes: OrderChanges = {}, from = { pool, dataDir }): Promise<Instance> {
  const instance = await from.pool.spawn(orderFor(from.dataDir, { sandbox: true, ...changes }))
  t.teardown(() => instance.halt(1_000))
  return instance
}

/** A pool on a machine whose `bwrap` is this shell script. */
async function poolWith(t: Test, script: string): Promise<{ pool: HostPool; dataDir: string }> {
  const bin = shortDir(t)
  writeFileSync(join(bin, 'bwrap'), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
  return await openPool(t, { env: { PATH: `${bin}${delimiter}${PATH}` } })
}

/** The program in the sandbox that `keeper` keeps, seen from outside. */
function programOf(keeper: number): number {
  const child = (pid: number): number =>
    Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim().split(' ')[0])
  return child(child(keeper))
}

t.test(
  'a module that asks for a sandbox is not started without one, and the reason says what to do',
  async (t) => {
    const without = await openPool(t, { env: { PATH: '/nonexistent' } })
    const refusals: [{ pool: HostPool; dataDir: string }, RegExp][] = [
      [without, /there is no `bwrap` on PATH; install bubblewrap .* or remove `sandbox`/],
      [
        await poolWith(t, 'echo "bwrap: No permissions to create new namespace" >&2; exit 1'),
        /No permissions to/,
      ],
      // Two that start the program, and put nothing around it.
      [
        await poolWith(t, 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"'),
        /cannot be seen from outside/,
      ],
      [
        await poolWith(t, 'while [ "$1" != -- ]; do shift; done; shift; sh -c \'"$@"; :\' - "$@"; exit'),
        /cannot be seen/,
      ],
    ]
    for (const [from, reason] of refusals) {
      await t.rejects(spawn(t, {}, from), {
        code: 'MODULE_START_FAILED',
        facts: { phase: 'spawn', unloadable: 1, reason },
      })
      const other = await spawn(t, { sandbox: false }, from)
      t.equal(other.isolation, 'node-permission', 'others start')
    }
  },
)

t.test(
  'in a sandbox there are only its own processes, and nothing of the data folder but its own',
  { skip },
  async (t) => {
    const permissions = { fs_read: ['$DATA'], fs_write: ['$DATA'] }
    const instance = await spawn(t, { permissions })
    t.equal(instance.isolation, 'bwrap')
    await call(instance, 'writes', join(dataDir, 'own/state'))
    t.equal(readFileSync(join(dataDir, 'own/state'), 'utf8'), 'x')
    const root = `/proc/${programOf(instance.pid)}/root`
    t.strictSame(
      [readdirSync(join(root, dataDir)).sort(), readdirSync(join(root, dataDir, 'own'))],
      [['generations', 'own'], ['state']],
    )
    t.strictSame(
      readdirSync(join(root, 'etc')).filter((name) => !['ld.so.cache', 'localtime'].includes(name)),
      [],
    )
    t.strictSame(
      readdirSync(join(root, 'proc')).filter((name) => /^\d+$/.test(name)),
      ['1', '2'],
    )
  },
)

t.test('a sandboxed instance works, logs, stops and ends as any other', { skip }, async (t) => {
  const ear = new Ear()
  const instance = await spawn(t, { listener: ear.listener })
  await instance.start()
  t.strictSame([await call(instance, 'echo', 7), ear.logs()], [7, ['started']])
  await instance.halt(1_000)
  t.strictSame([await instance.gone, isAlive(instance.pid)], [{ how: 'halted' }, false])

  const exits = await spawn(t)
  await t.rejects(call(exits, 'exits', 78), { code: 'CALL_CUT' })
  t.strictSame(await exits.gone, { how: 'exited', exitCode: 78, signal: null })
})

t.test('whatever it has started in a sandbox ends with it, wherever that went', { skip }, async (t) => {
  const dir = join(dataDir, 'generations/glutton')
  const files = { dir, entry: join(dir, 'index.js') }
  const instance = await spawn(t, { ...files, permissions: { child_process: true } })
  await call(instance, 'scatter')
  const inside = familyOf(instance.pid)
  t.ok(inside.length >= 4, 'it saw them')
  instance.kill('a test')
  await instance.gone
  for (let looks = 0; looks < 400 && inside.some(isAlive); looks += 1) await pause(5)
  t.strictSame(inside.filter(isAlive), [])
})

function familyOf(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1')
    .trim()
    .split(' ')
    .filter(Boolean)
  return children.flatMap((child) => [Number(child), ...familyOf(Number(child))])
}

t.test('a host has no descriptor that leads anywhere but to the daemon', async (t) => {
  for (const sandbox of skip === false ? [false, true] : [false]) {
    const instance = await spawn(t, { sandbox })
    const pid = sandbox ? programOf(instance.pid) : instance.pid
    const targets = readdirSync(`/proc/${pid}/fd`).map((name) => [
      name,
      readlinkSync(`/proc/${pid}/fd/${name}`),
    ])
    const own = /^(anon_inode:|pipe:|\/dev\/null$)/
    const foreign = targets.filter(
      ([name, target]) => !own.test(target ?? '') && !['1', '2', '3'].includes(name ?? ''),
    )
    t.strictSame(foreign, [])
    const limits = readFileSync(`/proc/${pid}/limits`, 'latin1')
    t.match(limits, /^Max open files +256 +256 /m)
    t.match(limits, /^Max core file size +0 +0 /m)
  }
})

t.test('the kernel takes modules before the daemon', async (t) => {
  const score = (pid: number | string): number => Number(readFileSync(`/proc/${pid}/oom_score_adj`, 'latin1'))
  const instance = await spawn(t, { sandbox: false })
  t.ok(score(instance.pid) > score('self'))
})
