import '../support/clean-children.ts'
import { spawn as spawnChild } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { HostLedger } from '../../daemon/host/host-process.ts'
import { killLeftovers } from '../../daemon/host/leftovers.ts'
import type { RefusedWay } from '../../daemon/host/machine.ts'
import type { Instance } from '../../daemon/host/port.ts'
import { Spares } from '../../daemon/host/spares.ts'
import { systemClock } from '../../daemon/kit/clock.ts'
import { shortDir } from '../support/short-dir.ts'
import { settle, TestClock } from '../support/test-clock.ts'
import { call, Ear, type OrderChanges, openPool, orderFor, prepareData } from './bench.ts'

type Test = { teardown(undo: () => unknown): void }
const { pool, dataDir } = await openPool(t)

async function spawn(t: Test, changes: OrderChanges = {}): Promise<Instance> {
  const instance = await pool.spawn(orderFor(dataDir, changes))
  t.teardown(() => instance.halt(1_000))
  return instance
}

/** Whether the process runs; one that only waits for its parent to look does not. */
function isAlive(pid: number): boolean {
  if (!existsSync(`/proc/${pid}/stat`)) return false
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  return stat.slice(stat.lastIndexOf(')') + 2)[0] !== 'Z'
}

/** Waits for what other processes do, which no clock of ours can hurry. */
async function until(isSo: () => boolean): Promise<void> {
  for (let looks = 0; looks < 4_000 && !isSo(); looks += 1) await pause(5)
}

t.test('an endless loop is suspected, then killed, and its calls are cut', async (t) => {
  const ear = new Ear()
  const limits = { heartbeat_suspect_ms: 100, heartbeat_kill_ms: 400 }
  const instance = await spawn(t, { listener: ear.listener, limits })
  await t.rejects(call(instance, 'blocks'), {
    code: 'CALL_CUT',
    facts: { module: 'test/actor', action: 'blocks' },
  })
  const departure = await instance.gone
  t.match(departure, { how: 'hung' })
  t.ok(departure.how === 'hung' && departure.missingMs > 400)
  await ear.heard('suspect')
  t.equal(isAlive(instance.pid), false)
})

t.test('a start that never yields is killed long before its deadline', async (t) => {
  const limits = { heartbeat_suspect_ms: 50, heartbeat_kill_ms: 200 }
  const instance = await spawn(t, { limits, config: { start: 'blocks' } })
  await t.rejects(instance.start(), {
    code: 'MODULE_START_FAILED',
    facts: { phase: 'start', reason: /^its process hung: no heartbeat for \d+ ms, blocked in / },
  })
})

t.test('a long pause is suspected and forgiven', async (t) => {
  const ear = new Ear()
  const limits = { heartbeat_suspect_ms: 60, heartbeat_kill_ms: 60_000 }
  const instance = await spawn(t, { listener: ear.listener, limits })
  await call(instance, 'naps', 300)
  await ear.heard('recovered')
  t.match(ear.said[0], { suspect: Number })
  t.equal(await call(instance, 'echo', 1), 1)
  t.match(instance.stats.heartbeat, { rss_bytes: Number, cpu_ms: Number, loop_lag_ms: Number, elu: Number })
})

t.test('a halt climbs from a request over TERM to KILL, and says halted each time', async (t) => {
  const manners: [Record<string, unknown>, number][] = [
    [{}, 10_000],
    [{ stop: 'throws' }, 10_000],
    [{ stop: 'hangs' }, 300],
    [{ stop: 'blocks' }, 300],
    [{ stop: 'hangs', deaf: true }, 300],
  ]
  for (const [config, stopMs] of manners) {
    const ear = new Ear()
    const instance = await spawn(t, { config, listener: ear.listener })
    await instance.start()
    const cut = t.rejects(call(instance, 'ignores'), { code: 'CALL_CUT' })
    const first = instance.halt(stopMs)
    t.equal(instance.halt(stopMs), first, 'twice is once')
    await first
    await cut
    t.strictSame(
      [await instance.gone, isAlive(instance.pid)],
      [{ how: 'halted' }, false],
      JSON.stringify(config),
    )
    t.equal(ear.logs()[1], 'stopped')
    t.equal(ear.logs()[2], config['stop'] === 'throws' ? 'stop threw: no way' : undefined)
  }
})

t.test('a halt of one that never started, or is gone, does not ask it to stop', async (t) => {
  const ear = new Ear()
  const instance = await spawn(t, { listener: ear.listener, config: { start: 'hangs' } })
  const start = t.rejects(instance.start(), { code: 'MODULE_START_FAILED' })
  await ear.heard('log')
  await instance.halt(1_000)
  await start
  t.strictSame(ear.logs(), ['started'])

  const dead = await spawn(t)
  dead.kill('a test')
  await dead.gone
  await dead.halt(1_000)
  t.strictSame(await dead.gone, { how: 'killed', because: 'a test' })
  await t.rejects(call(dead, 'echo'), { code: 'CALL_CUT' })
})

t.test('an exit is told with its code, an uncaught error with its stack', async (t) => {
  const exits = await spawn(t)
  await t.rejects(call(exits, 'exits', 78), { code: 'CALL_CUT' })
  t.strictSame(await exits.gone, { how: 'exited', exitCode: 78, signal: null })

  const ear = new Ear()
  const throws = await spawn(t, { listener: ear.listener })
  await t.rejects(call(throws, 'throwsLater'), { code: 'CALL_CUT' })
  const said = /^TypeError: no way \(index\.js:\d+\)$/
  t.match(await throws.gone, { how: 'exited', exitCode: 1, signal: null, said, stack: /at ways\.|index\.js/ })
  t.match(ear.said, [
    { log: 'uncaught TypeError: no way', level: 'error', fields: { stack: /actor\/index\.js/ } },
  ])

  const shot = await spawn(t)
  process.kill(shot.pid, 'SIGSEGV')
  t.strictSame(await shot.gone, { how: 'exited', exitCode: null, signal: 'SIGSEGV' })
})

t.test('who breaks the protocol loses its process, with the reason', async (t) => {
  const message = (method: string, params: unknown) =>
    `${JSON.stringify({ jsonrpc: '2.0', method, params })}\n`
  const violations: [string, number, RegExp][] = [
    ['garbage\n', 1, /no JSON-RPC 2\.0 message: "garbage"/],
    ['x', 1_048_577, /a line of more than 1048576 bytes/],
    // Four times as many as may come, because a second may end amidst.
    [message('ready', {}), 80_000, /more than 20000 messages in a second that/],
    [message('heartbeat', { rss_bytes: 'many' }), 1, /heartbeat of a wrong shape/],
    [message('log', { level: 'loud', message: 'x' }), 1, /log of a wrong shape/],
    [message('metrics', { samples: [{}] }), 1, /metrics of a wrong shape/],
  ]
  for (const [text, times, reason] of violations) {
    const ear = new Ear()
    const instance = await spawn(t, { listener: ear.listener })
    await t.rejects(call(instance, 'says', { text, times }), { code: 'CALL_CUT' })
    t.match(await instance.gone, { how: 'killed', because: reason })
    t.ok(
      ear.logs().some((line) => reason.test(String(line))),
      'its log says so',
    )
  }
})

t.test('answers that nobody asked for, and words nobody knows, are let pass', async (t) => {
  const instance = await spawn(t)
  const words = [
    { jsonrpc: '2.0', id: 12_345, result: 'stray' },
    { jsonrpc: '2.0', id: null, error: { code: -32700, message: 'what?' } },
    { jsonrpc: '2.0', method: 'gossip', params: {} },
    { jsonrpc: '2.0', method: 'progress', params: { id: 999, fraction: 0.5 } },
    { jsonrpc: '2.0', id: 'q', method: 'gossip' },
  ]
  const text = words.map((word) => `${JSON.stringify(word)}\n`).join('')
  await call(instance, 'says', { text })
  t.equal(await call(instance, 'echo', 1), 1)
})

t.test('children of a host go with it, however it goes', async (t) => {
  const ends = [
    (instance: Instance) => instance.kill('a test'),
    (instance: Instance) => void call(instance, 'exits', 0).catch(() => undefined),
  ]
  for (const end of ends) {
    const instance = await spawn(t, { permissions: { child_process: true } })
    const pid = Number(await call(instance, 'forks'))
    t.ok(isAlive(pid))
    end(instance)
    await instance.gone
    await until(() => !isAlive(pid))
    t.equal(isAlive(pid), false)
  }
})

/** A daemon of its own, up to the moment in which it has an instance. */
async function raise(t: Test, dir: string, start: string, path: string) {
  const program = fileURLToPath(new URL('../fixtures/host/parent.ts', import.meta.url))
  const daemon = spawnChild(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', program, dir, start, path],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  )
  const exit = new Promise((resolve) => daemon.once('exit', resolve))
  t.teardown(() => daemon.kill('SIGKILL'))
  const line = await new Promise((resolve) => daemon.stdout.once('data', resolve))
  const kill = async (): Promise<void> => {
    daemon.kill('SIGKILL')
    await exit
  }
  const hosts = (): number[] =>
    JSON.parse(readFileSync(join(dir, 'run/hosts.json'), 'utf8')).hosts.map(({ pid }: { pid: number }) => pid)
  await until(() => hosts().length === 2)
  return { pid: Number(line), hosts: hosts(), kill }
}

t.test('kill -9 of the daemon leaves no host, be it busy or not, with setpriv or without', async (t) => {
  const path = String(process.env['PATH'])
  for (const [start, search] of [
    ['stays', path],
    ['blocks', path],
    ['stays', '/nonexistent'],
  ] as const) {
    const daemon = await raise(t, prepareData(t), start, search)
    t.ok(daemon.hosts.includes(daemon.pid) && daemon.hosts.length === 2, 'it saw the instance and the spare')
    await daemon.kill()
    await until(() => !daemon.hosts.some(isAlive))
    t.strictSame(daemon.hosts.filter(isAlive), [])
  }
})

t.test('without setpriv the hosts that can hear leave, and the next start kills the others', async (t) => {
  const dir = prepareData(t)
  const daemon = await raise(t, dir, 'blocks', '/nonexistent')
  await daemon.kill()
  await until(() => daemon.hosts.filter(isAlive).length === 1)
  t.strictSame(daemon.hosts.filter(isAlive), [daemon.pid], 'only the one in a loop is left')
  t.strictSame(await killLeftovers(join(dir, 'run'), systemClock), [daemon.pid])
  t.equal(isAlive(daemon.pid), false)
})

t.test('a process that merely has the number of a former host is not touched', async (t) => {
  const run = join(prepareData(t), 'run')
  mkdirSync(run)
  // Not a child of this process: those are never leftovers.
  const shell = spawnChild('sh', ['-c', 'setsid sleep 60 >/dev/null & echo $!'])
  const pid = Number(await new Promise((resolve) => shell.stdout.once('data', resolve)))
  t.teardown(() => process.kill(pid, 'SIGKILL'))
  await until(() => existsSync(`/proc/${pid}/exe`) && readlinkSync(`/proc/${pid}/exe`).endsWith('sleep'))
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  const startTicks = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19])
  const lists = [
    { boot, hosts: [{ pid, startTicks: startTicks - 1 }] },
    { boot: 'another', hosts: [{ pid, startTicks }] },
    { boot, hosts: [{ pid: -1, startTicks }, null, {}, { pid: 0, startTicks: 0 }] },
    { boot, hosts: 7 },
    'torn',
  ]
  for (const list of lists) {
    writeFileSync(join(run, 'hosts.json'), typeof list === 'string' ? list : JSON.stringify(list))
    t.strictSame(await killLeftovers(run, systemClock), [])
  }
  t.equal(isAlive(pid), true)
})

/** Counts what is started and what is gone. */
function countingLedger(): HostLedger & { started: number[]; gone: number[] } {
  const started: number[] = []
  const gone: number[] = []
  return {
    mark: 'm',
    started,
    gone,
    add: (pid) => void started.push(pid),
    remove: (pid) => void gone.push(pid),
  }
}

const launch = (file: string, ...args: string[]) => {
  return {
    key: JSON.stringify([file, args]),
    file,
    args,
    env: {},
    mayFork: false,
    isolation: 'none' as const,
  }
}

t.test('a spare that dies again and again is replaced ever more slowly', async (t) => {
  const clock = new TestClock()
  const ledger = countingLedger()
  const spares = new Spares(clock, ledger, launch('/bin/false'), 1)
  const waits: number[] = []
  for (let deaths = 1; deaths <= 8; deaths += 1) {
    await until(() => ledger.gone.length === deaths)
    await settle()
    const before = clock.elapsed()
    while (ledger.started.length === deaths) await clock.pass(1_000)
    waits.push(clock.elapsed() - before)
  }
  await spares.close()
  t.strictSame(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000])
  t.equal(clock.waiting, 0)
})

t.test('a spare that is taken is replaced, and at most three wait', async (t) => {
  const clock = new TestClock()
  const ledger = countingLedger()
  const standard = launch('/bin/sleep', '60')
  const spares = new Spares(clock, ledger, standard, 1)
  const taken = spares.take(standard)
  t.strictSame([taken.pid, ledger.started.length], [ledger.started[0], 1])
  await clock.pass(50)
  t.equal(ledger.started.length, 2)

  for (const seconds of ['61', '62', '62', '63']) spares.prepare(launch('/bin/sleep', seconds))
  await until(() => ledger.gone.length > 0)
  t.strictSame(
    [ledger.started.length, ledger.gone],
    [5, [ledger.started[2]]],
    'the oldest of the others went',
  )
  t.equal(spares.take(launch('/bin/sleep', '63')).pid, ledger.started[4])

  await spares.close()
  t.strictSame(ledger.gone.length, 3)
  for (const pid of [taken.pid, ledger.started[4]]) process.kill(Number(pid), 'SIGKILL')
})

t.test('a program that cannot be started fails the spawn, not the daemon', async (t) => {
  const spares = new Spares(new TestClock(), countingLedger(), launch('/nonexistent/node'), 0)
  const host = spares.take(launch('/nonexistent/node'))
  await t.rejects(host.hello, { message: /ENOENT/ })
  await host.ended
  await spares.close()
})

t.test(
  'a setpriv that knows no --pdeathsig costs the tether, told with its words, and not the wall',
  async (t) => {
    const bin = shortDir(t)
    writeFileSync(join(bin, 'setpriv'), '#!/bin/sh\necho "setpriv: unrecognized option" >&2\nexit 1\n', {
      mode: 0o755,
    })
    const refused: RefusedWay[] = []
    const own = await openPool(t, { env: { PATH: bin }, refused: (way) => void refused.push(way) })
    t.equal(own.pool.isolation, 'node-permission')
    t.match(refused, [
      { tethered: true, walled: true, report: /unrecognized option/ },
      { tethered: true, walled: false },
    ])
  },
)

t.test('the pool leaves nothing behind when it closes', async (t) => {
  const own = await openPool(t)
  own.pool.prepare(orderFor(own.dataDir, { limits: { memory_mb: 64 } }))
  const list = (): { hosts: { pid: number }[] } =>
    JSON.parse(readFileSync(join(own.dataDir, 'run/hosts.json'), 'utf8'))
  await until(() => list().hosts.length === 2)
  const pids = list().hosts.map(({ pid }) => pid)
  await own.pool.close()
  t.strictSame([pids.length, pids.filter(isAlive), list().hosts], [2, [], []])
})
