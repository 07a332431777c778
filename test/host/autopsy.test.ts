import '../support/clean-children.ts'
import { type ChildProcess, spawn as spawnChild } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { Autopsy } from '../../daemon/host/autopsy.ts'
import { InspectorDoor, isListeningOn, obstacleOf } from '../../daemon/host/autopsy-door.ts'
import { culpritOf, type Frame, findingOf, readFrames } from '../../daemon/host/autopsy-frames.ts'
import {
  describePosture,
  judgePosture,
  type Posture,
  parseStatus,
} from '../../daemon/host/autopsy-posture.ts'
import { lookInside } from '../../daemon/host/autopsy-visit.ts'
import { InspectorWire } from '../../daemon/host/autopsy-wire.ts'
import type { Instance } from '../../daemon/host/port.ts'
import { systemClock } from '../../daemon/kit/clock.ts'
import { makeFifo } from '../support/fifo.ts'
import { shortDir } from '../support/short-dir.ts'
import { TestClock } from '../support/test-clock.ts'
import { call, Ear, type OrderChanges, openPool, orderFor } from './bench.ts'

type Test = { teardown(undo: () => unknown): void }

const DIR = '/data/generations/a/b/1'
const frame = (name: string, file: string, line = 1, column = 2): Frame => ({ name, file, line, column })
const posture = (more: Partial<Posture> = {}): Posture => {
  return { state: 'S', catchesUsr1: true, call: undefined, target: undefined, switches: 7, cpuMs: 0, ...more }
}

t.test('a stack is told from what the module does down to where it was entered', async (t) => {
  const inside = `${DIR}/lib/read.js`
  const frames = [
    frame('readSync', 'node:fs', 700, 11),
    frame('load', inside, 12, 9),
    frame('', `${DIR}/index.ts`, 3, 1),
    frame('act', '/d/host/child/resident.js'),
    frame('listOnTimeout', 'node:internal/timers'),
  ]
  t.strictSame(findingOf(frames, DIR), {
    blockedAt: 'load (lib/read.js:12:9)',
    stack: 'at readSync (node:fs:700:11)\nat load (lib/read.js:12:9)\nat index.ts:3:1',
  })
  t.equal(findingOf(frames.slice(3), DIR), undefined, 'nothing of the module')
  t.equal(
    findingOf([frame('f', `${DIR}0/index.js`)], DIR),
    undefined,
    'a folder whose name is longer is another',
  )
})

t.test('of several modules in one process the innermost is at fault', async (t) => {
  const other = '/data/generations/c/d/2'
  const dirs = new Map([
    ['a/b', DIR],
    ['c/d', other],
  ])
  const frames = [
    frame('now', 'node:perf'),
    frame('spin', `${other}/index.js`),
    frame('call', `${DIR}/index.js`),
  ]
  t.match(culpritOf(frames, dirs), { culprit: 'c/d', finding: { blockedAt: 'spin (index.js:1:2)' } })
  t.equal(culpritOf(frames.slice(0, 1), dirs), undefined)
})

t.test('a process that lies about its stack gets no further than into its own log', async (t) => {
  const urls = new Map([
    ['1', `file://${DIR}/in%20dex.js`],
    ['2', 'file:///%E0%A4%A'],
  ])
  const callFrames = [
    null,
    { functionName: 'a' },
    { functionName: 'esc\u001b[2J\u202e\nb', location: { scriptId: '1', lineNumber: 11, columnNumber: 8 } },
    { functionName: {}, location: { scriptId: '2', lineNumber: 0 } },
    { functionName: 'x'.repeat(10_000), location: { scriptId: '3', lineNumber: 0 } },
  ]
  t.strictSame(readFrames({ callFrames }, urls), [
    frame('esc b', `${DIR}/in dex.js`, 12, 9),
    frame('', 'file:///%E0%A4%A', 1, 1),
    frame('x'.repeat(300), '', 1, 1),
  ])
  t.strictSame(
    [null, 1, {}, { callFrames: 'many' }].map((odd) => readFrames(odd, urls)),
    [[], [], [], []],
  )
  t.equal(readFrames({ callFrames: Array(9_999).fill(callFrames[2]) }, urls).length, 32)
})

t.test('only a process that a signal does not disturb is asked where it is', async (t) => {
  const read = '0 0x14 0x1 0xa'
  const cases: [Posture, Posture, string][] = [
    [posture({ state: 'R' }), posture({ state: 'R' }), 'ask'],
    [posture({ call: '202 0x1' }), posture({ call: '202 0x1' }), 'ask'],
    [posture({ call: '281 0xd' }), posture({ call: '281 0xd' }), 'ask'],
    [posture({ call: read }), posture({ call: read }), 'leave'],
    [posture({ call: read }), posture({ call: read, switches: 8 }), 'ask'],
    [posture({ call: read }), posture({ call: '0 0x15 0x1 0xa' }), 'ask'],
    [posture({ state: 'T' }), posture({ state: 'T' }), 'leave'],
    [posture({ state: 'D' }), posture({ state: 'D' }), 'leave'],
  ]
  t.strictSame(
    cases.map(([first, second]) => judgePosture(first, second, 'x64')),
    cases.map(([, , verdict]) => verdict),
  )
  t.equal(
    judgePosture(posture({ call: '63 0x14' }), posture({ call: '63 0x14' }), 'arm64'),
    'leave',
    'read there',
  )
})

t.test('where there is no stack, the kernel knows what the process does', async (t) => {
  const said = [
    posture({ state: 'T' }),
    posture({ state: 'D' }),
    posture({ state: 'R' }),
    posture(),
    posture({ call: '0 0x14 0x1', target: '/run/pipe' }),
    posture({ call: '281 0xd' }),
    posture({ call: '333 0xd' }),
  ].map((one) => describePosture(one, 'code outside JavaScript', 'x64'))
  t.strictSame(said, [
    'a stop: somebody sent it SIGSTOP',
    'the kernel, waiting for a disk or another device',
    'code outside JavaScript that uses the processor',
    'code outside JavaScript that waits',
    'the system call read of /run/pipe',
    'the system call epoll_pwait, as execSync and spawnSync wait for a child',
    'the system call number 333',
  ])
})

t.test('the status of a process tells whether it would survive the signal', async (t) => {
  const status = (caught: string): string =>
    `Name:\tnode\nState:\tS (sleeping)\nSigCgt:\t${caught}\nvoluntary_ctxt_switches:\t4\nnonvoluntary_ctxt_switches:\t3\n`
  t.strictSame(
    ['0000000100004602', '0000000100004402', ''].map((caught) => parseStatus(status(caught))),
    [true, false, false].map((catchesUsr1) => ({ state: 'S', catchesUsr1, switches: 7 })),
  )
  t.match(parseStatus(''), { state: '', catchesUsr1: false })
})

t.test('who cannot be asked is known before', async (t) => {
  const node = ['--inspect-port=127.0.0.1:0']
  const launches: Parameters<typeof obstacleOf>[0][] = [
    { args: node, isolation: 'none' },
    { args: [...node, '--permission', '--allow-inspector'], isolation: 'node-permission' },
    { args: [...node, '--permission'], isolation: 'node-permission' },
    { args: [...node], isolation: 'bwrap' },
    { args: ['script.py'], isolation: 'none' },
  ]
  t.strictSame(launches.map(obstacleOf), [
    undefined,
    undefined,
    'this Node cannot open its inspector behind the wall',
    'its sandbox keeps the inspector in',
    'it runs no Node that this daemon started',
  ])
})

t.test('lines of stderr are the inspector\u2019s only once it was asked for, and only its own', async (t) => {
  const address = 'ws://127.0.0.1:4711/7a6f4da8-ae2c-44ed-b06f-459b68b7787c'
  let signals = 0
  const door = new InspectorDoor(undefined, () => {
    signals += 1
    return true
  })
  t.equal(door.take(`Debugger listening on ${address}`), false, 'a module may write what it likes')
  const opened: unknown[] = []
  door.knock((where) => opened.push(where))
  door.knock((where) => opened.push(where))
  t.equal(signals, 1, 'one that has not opened yet is not asked again')
  const lines = [
    'nothing to see',
    'Debugger listening on ws://10.0.0.1:80/7a6f4da8-ae2c-44ed-b06f-459b68b7787c',
    `Debugger listening on ${address}`,
    'For help, see: https://nodejs.org/learn/getting-started/debugging',
    'Debugger attached.',
    `Debugger ending on ${address}`,
    `Debugger listening on ${address.replace('4711', '80')}`,
  ]
  t.strictSame(
    lines.map((line) => door.take(line)),
    [false, true, true, true, true, true, true],
  )
  const where = { port: 4711, path: '/7a6f4da8-ae2c-44ed-b06f-459b68b7787c' }
  t.strictSame(opened, [where, { ...where, port: 80 }], 'the running code and the loop open it')
  for (const _ of [3, 4, 5]) door.take(`Debugger listening on ${address}`)
  t.equal(opened.length, 3, 'whoever says so for ever is not believed for ever')
})

t.test('the daemon connects to nobody but the process that it asked', async (t) => {
  const other = await blockedNode(t, 'for (;;);')
  const server = createServer(() => t.fail('nobody should come')).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  t.strictSame(
    [
      await isListeningOn(process.pid, port),
      await isListeningOn(other.pid ?? 0, port),
      await isListeningOn(process.pid, 1),
    ],
    [true, false, false],
  )
  const door = new InspectorDoor(undefined, () => true)
  const autopsy = new Autopsy({
    pid: () => other.pid,
    door,
    clock: new TestClock(),
    doing: () => undefined,
    read: () => undefined,
    found: () => t.fail('nothing to be found'),
  })
  autopsy.begin()
  // Only when it has asked does it hear what looks like an answer.
  await new Promise(setImmediate)
  t.equal(
    door.take(`Debugger listening on ws://127.0.0.1:${port}/7a6f4da8-ae2c-44ed-b06f-459b68b7787c`),
    true,
  )
  while (!(await isListeningOn(process.pid, port))) await new Promise(setImmediate)
  autopsy.close()
})

t.test('a process that was paused goes on when whoever paused it is gone', async (t) => {
  const writes = "for (;;) { const end = Date.now() + 5; while (Date.now() < end); fs.writeSync(1, '.') }"
  const { child, address } = await opened(t, writes)
  await new Promise<void>((resolve) => {
    const wire = new InspectorWire(address, {
      open: () => {
        wire.say('Debugger.enable')
        wire.say('Debugger.pause')
      },
      event: (method) => {
        if (method === 'Debugger.paused') wire.destroy()
      },
      closed: resolve,
    })
  })
  // What it wrote before the pause may still lie in the pipe, but not that much.
  let bytes = 0
  for await (const chunk of child.stdout ?? []) {
    bytes += (chunk as Buffer).length
    if (bytes > 200) break
  }
  t.ok(bytes > 200)
})

t.test('a visit sees the stack, and leaves nobody an open door', async (t) => {
  const { child, address } = await opened(t, 'function spin() { for (;;); }\nspin()')
  const order = {
    clock: systemClock,
    waitMs: 10_000,
    signal: new AbortController().signal,
    enough: (seen: readonly Frame[]) => seen.some(({ name }) => name === 'spin'),
  }
  const frames = await lookInside(address, order)
  t.match(frames, [{ name: 'spin', line: 1 }])
  while (await isListeningOn(child.pid ?? 0, address.port)) await new Promise(setImmediate)
  t.strictSame(await lookInside(address, order), [], 'closed')
})

t.test('whatever answers instead of an inspector is left alone', async (t) => {
  const answers = [
    'HTTP/1.1 400 Bad\r\n\r\n',
    'HTTP/1.1 101 OK\r\n\r\n\x81\x04nope',
    'HTTP/1.1 101 OK\r\n\r\n\x88\x00',
  ]
  for (const answer of [
    ...answers,
    `HTTP/1.1 101 OK\r\n\r\n${'\x81\x7e\xff\xff'}${'x'.repeat(20_000_000)}`,
  ]) {
    const server = createServer((socket) => {
      socket.on('error', () => undefined)
      socket.write(Buffer.from(answer, 'latin1'))
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as { port: number }
    const clock = systemClock
    const signal = new AbortController().signal
    const path = '/7a6f4da8-ae2c-44ed-b06f-459b68b7787c'
    const seen = await lookInside({ port, path }, { clock, waitMs: 10_000, signal, enough: () => true })
    t.strictSame(seen, [], JSON.stringify(answer.slice(0, 40)))
    server.close()
  }
})

const { pool, dataDir } = await openPool(t)
/** Suspected soon, and never killed for it: the tests end them. */
const PATIENT = { heartbeat_suspect_ms: 150, heartbeat_kill_ms: 60_000 }
const hasInspector = process.allowedNodeEnvironmentFlags.has('--allow-inspector')
const unseen = hasInspector ? false : 'this Node does not open its inspector behind the wall'

async function spawn(t: Test, ear: Ear, changes: OrderChanges = {}): Promise<Instance> {
  const instance = await pool.spawn(
    orderFor(dataDir, { listener: ear.listener, limits: PATIENT, ...changes }),
  )
  t.teardown(async () => {
    instance.kill('the test is over')
    await instance.gone
  })
  return instance
}

t.test(
  'each kind of endless JavaScript is named with function, file and line',
  { skip: unseen },
  async (t) => {
    const kinds: [string, unknown, RegExp][] = [
      ['blocks', null, /ms in forever \(index\.js:\d+:\d+\)$/],
      ['matches', 40, /ms in matches \(index\.js:\d+:\d+\)$/],
      ['naps', 60_000, /ms in naps \(index\.js:\d+:\d+\)$/],
      ['ticks', null, /ms in ticks? \(index\.js:\d+:\d+\)$/],
    ]
    await Promise.all(
      kinds.map(async ([action, input, where]) => {
        const ear = new Ear()
        const instance = await spawn(t, ear)
        call(instance, action, input).catch(() => undefined)
        // On a machine that is busy itself the kernel's word comes first.
        while (ear.said.at(-1)?.['fields'] === undefined) await new Promise(setImmediate)
        t.match(ear.said.at(-1), { level: 'warn', log: where, fields: { stack: /^at / } }, action)
      }),
    )
  },
)

t.test('what hangs too long departs with where it was', { skip: unseen }, async (t) => {
  const ear = new Ear()
  const limits = { heartbeat_suspect_ms: 150, heartbeat_kill_ms: 2_500 }
  const instance = await spawn(t, ear, { limits, config: { start: 'blocks' } })
  await t.rejects(instance.start(), { code: 'MODULE_START_FAILED' })
  t.match(await instance.gone, {
    how: 'hung',
    missingMs: Number,
    blockedAt: /^forever \(index\.js:\d+:\d+\)$/,
    stack: /^at forever \(index\.js:\d+:\d+\)\nat start \(index\.js:\d+:\d+\)$/,
  })
})

t.test('an import that loops is named when its time is up', { skip: unseen }, async (t) => {
  const dir = join(dataDir, 'generations/loops')
  mkdirSync(dir)
  writeFileSync(join(dir, 'index.js'), '\nfunction spin() { for (;;); }\nspin()\nexport default {}\n')
  const order = orderFor(dataDir, { dir, entry: join(dir, 'index.js'), timeouts: { start_ms: 500 } })
  await t.rejects(pool.spawn(order), {
    code: 'MODULE_START_FAILED',
    facts: {
      phase: 'deadline',
      reason: /^import was not done after 500 ms: it is blocked in spin \(index\.js:2:\d+\)$/,
      stack: /^at spin \(index\.js:2:\d+\)\nat index\.js:3:1$/,
    },
  })
})

t.test('who comes back has where it was in its log, twice, and no door open', { skip: unseen }, async (t) => {
  const ear = new Ear()
  const instance = await spawn(t, ear)
  for (const _ of [1, 2]) await call(instance, 'naps', 1_200)
  const isBack = (line: unknown): boolean => /goes on/.test(String(line))
  while (ear.logs().filter(isBack).length < 2) await new Promise(setImmediate)
  const seen = /^its event loop has been blocked for \d+ ms in naps \(index\.js:\d+:\d+\)$/
  const back = /^its event loop goes on; it was blocked for \d+ ms in naps \(index\.js:\d+:\d+\)$/
  t.match(ear.logs(), [seen, back, seen, back], 'and not a word of the inspector')
  // It closes a moment after it beats again.
  while (portsOf(instance.pid).length > 0) await new Promise(setImmediate)
})

t.test('a read that waits is told, not broken', async (t) => {
  const path = join(realpathSync(shortDir(t)), 'pipe')
  makeFifo(path)
  const pipe = openSync(path, 'r+')
  const ear = new Ear()
  const instance = await spawn(t, ear, { permissions: { fs_read: [path] } })
  const reading = call(instance, 'readsSome', path)
  await ear.heard('log')
  t.match(ear.logs(), [new RegExp(`ms in the system call read of ${path}, during the action readsSome`)])
  writeSync(pipe, 'abc')
  closeSync(pipe)
  t.equal(await reading, 3, 'no EINTR')
})

t.test('code outside JavaScript is named by the action that it runs in', async (t) => {
  const ear = new Ear()
  const instance = await spawn(t, ear)
  call(instance, 'derives', 1_000_000_000).catch(() => undefined)
  await ear.heard('log')
  t.match(ear.logs(), [/ms in code .*that uses the processor, during the action derives/])
})

t.test('one that stalls again and again is looked into six times a minute', async (t) => {
  const clock = new TestClock()
  let found = 0
  const autopsy = new Autopsy({
    pid: () => process.pid,
    door: new InspectorDoor('a test', () => true),
    clock,
    doing: () => undefined,
    read: () => undefined,
    found: () => {
      found += 1
    },
  })
  const stall = (): void => {
    autopsy.begin()
    autopsy.forgive()
  }
  for (let times = 0; times < 10; times += 1) stall()
  t.equal(found, 6)
  await clock.pass(60_000)
  stall()
  t.equal(found, 7)
})

/** A Node outside any wall that runs `code`. */
async function blockedNode(t: Test, code: string): Promise<ChildProcess> {
  const flags = ['--inspect-port=127.0.0.1:0', '--inspect-publish-uid=stderr']
  const child = spawnChild(process.execPath, [...flags, '-e', `console.log('up');${code}`], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {},
  })
  t.teardown(() => child.kill('SIGKILL'))
  await once(child.stdout as NodeJS.ReadableStream, 'data')
  return child
}

/** The same, with its inspector open. */
async function opened(t: Test, code: string) {
  const child = await blockedNode(t, code)
  const door = new InspectorDoor(undefined, () => child.kill('SIGUSR1'))
  child.stderr?.on('data', (chunk) => {
    for (const line of String(chunk).split('\n')) door.take(line)
  })
  const address = await new Promise<Parameters<Parameters<typeof door.knock>[0]>[0]>((resolve) =>
    door.knock(resolve),
  )
  return { child, address }
}

/** TCP ports that a process listens on. */
function portsOf(pid: number): string[] {
  const links = readdirSync(`/proc/${pid}/fd`).map((name) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${name}`)
    } catch {
      return ''
    }
  })
  const rows = readFileSync('/proc/net/tcp', 'latin1')
    .split('\n')
    .map((row) => row.trim().split(/\s+/))
  return rows
    .filter((row) => row[3] === '0A' && links.includes(`socket:[${row[9]}]`))
    .map((row) => String(row[1]))
}
