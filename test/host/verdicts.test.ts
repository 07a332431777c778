import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { PassThrough } from 'node:stream'
import t from 'tap'
import { generationDir } from '../../daemon/host/child/closed.ts'
import { heartbeatEveryMs, judgePulse } from '../../daemon/host/heartbeat.ts'
import { DEFAULT_PROFILE, heapMb, type Machine, planLaunch } from '../../daemon/host/isolation.ts'
import { heapSentence, MemoryWatch } from '../../daemon/host/memory-watch.ts'
import { OutputGate, type OutputLine } from '../../daemon/host/output.ts'
import { familyOf, type ProcessEntry } from '../../daemon/host/process-table.ts'
import { outsideOf, withoutFolder } from '../../daemon/host/readable.ts'
import { findRunner } from '../../daemon/host/runner-files.ts'
import { PulseWatch } from '../../daemon/host/watch.ts'
import { settle, TestClock } from '../support/test-clock.ts'

const limits = { suspectMs: 1_000, killMs: 5_000 }

t.test('silence is suspect beyond the first limit, hung beyond the second, and said once', async (t) => {
  const verdicts = [1_000, 1_001, 5_000, 5_001].map((missingMs) => [
    judgePulse(missingMs, false, limits),
    judgePulse(missingMs, true, limits),
  ])
  t.strictSame(verdicts, [
    ['well', 'recovered'],
    ['suspect', 'well'],
    ['suspect', 'well'],
    ['hung', 'hung'],
  ])
})

t.test('hosts beat twice within the patience, and twice a second at least', async (t) => {
  t.strictSame([10, 100, 1_000, 60_000].map(heartbeatEveryMs), [10, 50, 500, 500])
})

function ward() {
  const clock = new TestClock()
  const said: string[] = []
  const patient = {
    limits,
    suspect: (missingMs: number) => void said.push(`suspect ${missingMs}`),
    recovered: () => void said.push('recovered'),
    hung: (missingMs: number) => void said.push(`hung ${missingMs}`),
  }
  return { clock, said, patient, watch: new PulseWatch(clock) }
}

t.test('a silent host is suspected, recovers with a heartbeat, and hangs in the end', async (t) => {
  const { clock, said, patient, watch } = ward()
  watch.admit(patient)
  await clock.pass(1_500)
  watch.heard(patient)
  await clock.pass(6_000)
  t.strictSame(said, ['suspect 1011', 'recovered', 'suspect 1011', 'hung 5011'])
})

t.test('a host that rests is not missed before its rest is over, nor waited for longer', async (t) => {
  const { clock, said, patient, watch } = ward()
  watch.admit(patient)
  watch.heard(patient, 10_000)
  await clock.pass(10_900)
  t.strictSame([said, clock.waiting], [[], 1])
  await clock.pass(200)
  t.strictSame(said, ['suspect 1011'])
})

t.test('a host that rests and is asked something has no more time than any other', async (t) => {
  const { clock, said, patient, watch } = ward()
  watch.admit(patient)
  watch.heard(patient, 10_000)
  await clock.pass(2_000)
  watch.asked(patient)
  watch.asked(patient)
  await clock.pass(1_100)
  watch.asked(patient)
  watch.heard(patient, 10_000)
  await clock.pass(5_000)
  t.strictSame(said, ['suspect 1011', 'recovered'])
})

t.test('one timer serves all, it is not moved by heartbeats, and none runs for nobody', async (t) => {
  const { clock, patient, watch } = ward()
  const patients = [patient, { ...patient }, { ...patient }]
  const leave = patients.map((one) => watch.admit(one))
  let looks = 0
  const { after } = clock
  clock.after = (waitMs, ring) => {
    looks += 1
    return after.call(clock, waitMs, ring)
  }
  for (let beats = 0; beats < 20; beats += 1) {
    for (const one of patients) watch.heard(one)
    await clock.pass(500)
  }
  t.equal(clock.waiting, 1)
  t.ok(looks <= 20, 'two beats, one look at most')
  for (const one of leave) one()
  t.equal(clock.waiting, 0)
})

t.test('time in which the daemon itself stood still counts for nobody', async (t) => {
  const { clock, said, patient } = ward()
  let awayMs = 0
  const slow = {
    now: () => clock.now(),
    elapsed: () => clock.elapsed() + awayMs,
    after: (waitMs: number, ring: () => void) => clock.after(waitMs, ring),
  }
  const watch = new PulseWatch(slow)
  watch.admit(patient)
  awayMs = 60_000
  await clock.pass(1_005)
  t.strictSame(said, [])
  await clock.pass(20)
  t.strictSame(said, ['suspect 1011'])
})

t.test('a heartbeat that lay in the pipe is heard before anybody is judged', async (t) => {
  const { clock, said, patient, watch } = ward()
  watch.admit(patient)
  await clock.pass(1_005)
  watch.heard(patient)
  await clock.pass(900)
  t.strictSame(said, [])
})

t.test('a short-lived patience is looked at in time beside a long one', async (t) => {
  const { clock, said, patient, watch } = ward()
  watch.admit(patient)
  watch.admit({ ...patient, limits: { suspectMs: 40, killMs: 100 } })
  await clock.pass(60)
  t.strictSame(said, ['suspect 51'])
})

const machine: Machine = {
  node: '/bin/node',
  setpriv: '/bin/setpriv',
  prlimit: '/bin/prlimit',
  bwrap: '/bin/bwrap',
  walled: true,
  deniesNet: false,
  closesInspector: false,
  runner: { entry: '/d/runner.js', files: ['/d/runner.js', '/d/rpc.js'] },
  generationsDir: '/data/generations',
  env: {
    PATH: '/bin',
    HOME: '/root',
    NODE_OPTIONS: '--inspect',
    NEXUS_OPERATOR_KEY: 'secret',
    A: 'a',
    B: 'b',
  },
}
const records = {
  ...DEFAULT_PROFILE.records,
  missions: '/data/missions.jsonl',
  mission_segments: '/data/missions',
  journal: '/data/audit.jsonl',
}

t.test('a module that asks for nothing gets its code, and nothing of the environment', async (t) => {
  const { key, ...launch } = planLaunch(machine, DEFAULT_PROFILE)
  t.strictSame(launch, {
    file: '/bin/setpriv',
    args: [
      ...['--pdeathsig', 'KILL', '--', '/bin/prlimit'],
      ...['--nofile=256:256', '--core=0:0', '--data=2415919104:2415919104', '--', '/bin/node'],
      ...[
        '--disable-warning=ExperimentalWarning',
        '--disable-warning=SecurityWarning',
        '--max-old-space-size=192',
        '--max-semi-space-size=8',
        '--inspect-port=127.0.0.1:0',
        '--inspect-publish-uid=stderr',
      ],
      ...['--permission', '--allow-fs-read=/d/runner.js', '--allow-fs-read=/d/rpc.js'],
      ...['--allow-fs-read=/data/generations/*', '/d/runner.js', 'close-gaps'],
    ],
    env: { PATH: '/bin', HOME: '/root', NEXUS_FD: '3' },
    mayFork: false,
    isolation: 'node-permission',
  })
  t.ok(key.length > 0)
})

t.test('paths, children and names of the environment are opened one by one', async (t) => {
  const { args, env, mayFork } = planLaunch(machine, {
    ...DEFAULT_PROFILE,
    permissions: {
      ...DEFAULT_PROFILE.permissions,
      fs_read: ['$ROOTS', '/etc/hosts'],
      fs_write: ['$DATA'],
      child_process: true,
      env: ['A', 'NODE_OPTIONS', 'NEXUS_OPERATOR_KEY', 'MISSING'],
    },
    dataDir: '/own',
    roots: ['/r1', '/r2/'],
  })
  t.strictSame(
    args.filter((arg) => arg.startsWith('--allow-') && !arg.includes('/d/')),
    [
      '--allow-fs-read=/data/generations/*',
      ...['/r1', '/r1/*', '/r2', '/r2/*', '/etc/hosts', '/etc/hosts/*', '/own', '/own/*'].map(
        (path) => `--allow-fs-read=${path}`,
      ),
      ...['--allow-fs-write=/own', '--allow-fs-write=/own/*', '--allow-child-process'],
    ],
  )
  t.strictSame([env, mayFork], [{ PATH: '/bin', HOME: '/root', A: 'a', NEXUS_FD: '3' }, true])
})

t.test('the records are named one by one, and only read', async (t) => {
  const permissions = { ...DEFAULT_PROFILE.permissions, fs_read: ['$RECORDS'] }
  const { args } = planLaunch(machine, { ...DEFAULT_PROFILE, permissions, records })
  t.ok(args.includes('--allow-fs-read=/data/audit.jsonl*'))
  t.strictSame(
    args.filter((arg) => arg.includes('/data/missions')),
    ['--allow-fs-read=/data/missions*'],
    'beside a longer path that begins the same, Node would not let the folder be listed',
  )
  t.strictSame(
    args.filter((arg) => arg.includes('-fs-write') || arg === '--allow-fs-read=/*'),
    [],
    'a path that is not known opens nothing',
  )
})

t.test('the network is opened by name where the wall denies it', async (t) => {
  const flags = [true, false].map((net) => {
    const permissions = { ...DEFAULT_PROFILE.permissions, net }
    const { args } = planLaunch({ ...machine, deniesNet: true }, { ...DEFAULT_PROFILE, permissions })
    return args.includes('--allow-net')
  })
  t.strictSame(flags, [true, false])
})

t.test(
  'the inspector is let through where the wall would close it, so that a hang can be seen',
  async (t) => {
    const flags = [true, false].map((closesInspector) =>
      planLaunch({ ...machine, closesInspector }, DEFAULT_PROFILE).args.includes('--allow-inspector'),
    )
    t.strictSame(flags, [true, false])
  },
)

const site = { dir: '/data/generations/a/b/g', files: ['/s'], socketDirs: ['/run/p'], programs: false }
const boxed = { ...DEFAULT_PROFILE, sandbox: true, dataDir: '/own' }

/** The part of a command line that bubblewrap reads, in groups that each begin with an option. */
function optionsOf(args: readonly string[]): string[] {
  const text = args.slice(args.indexOf('/bin/bwrap') + 1, args.lastIndexOf('--')).join(' ')
  return text.split(/ (?=--)/)
}

t.test('in a sandbox there is the program, its generation, and what the manifest names', async (t) => {
  const permissions = {
    ...DEFAULT_PROFILE.permissions,
    fs_read: ['/r', '/own/deep'],
    fs_write: ['$DATA', '/r'],
  }
  const { args, isolation, mayFork } = planLaunch(machine, { ...boxed, permissions }, site)
  const ro = (...paths: string[]) => paths.map((path) => `--ro-bind-try ${path} ${path}`)
  t.strictSame(optionsOf(args), [
    ...[
      '--die-with-parent',
      '--new-session',
      '--unshare-user',
      '--unshare-pid',
      '--unshare-ipc',
      '--unshare-uts',
    ],
    ...['--unshare-cgroup-try', '--unshare-net', '--cap-drop ALL'],
    ...['--size 67108864', '--tmpfs /tmp'],
    ...ro('/lib', '/lib32', '/lib64', '/s'),
    ...['--bind-try /r /r', '--bind-try /own /own', '--proc /proc', '--dev /dev'],
    ...ro('/usr/lib', '/usr/lib32', '/usr/lib64', '/etc/ld.so.cache', '/etc/localtime'),
    ...ro('/bin/node', '/d/runner.js', '/d/rpc.js'),
    ...['--bind-try /run/p /run/p'],
    ...ro('/data/generations/a/b/g'),
    ...['--remount-ro /', '--chdir /data/generations/a/b/g'],
  ])
  t.strictSame([isolation, mayFork, args.includes('close-gaps')], ['bwrap', false, false])
  t.ok(args.includes('--permission'), "Node's wall stands inside it")
})

t.test('a sandbox opens the network and the programs of the machine when they are asked for', async (t) => {
  const permissions = { ...DEFAULT_PROFILE.permissions, net: true, child_process: true }
  const plain = optionsOf(planLaunch(machine, boxed, site).args)
  const open = optionsOf(planLaunch(machine, { ...boxed, permissions }, { ...site, programs: true }).args)
  const added = open.filter((option) => !plain.includes(option)).map((option) => option.split(' ')[1])
  t.strictSame(
    [
      plain.filter((option) => !open.includes(option)),
      added.includes('/usr'),
      added.includes('/etc/resolv.conf'),
    ],
    [['--unshare-net'], true, true],
  )
})

t.test("nobody sees the machine's own processes and devices, whatever a manifest names", async (t) => {
  const permissions = { ...DEFAULT_PROFILE.permissions, fs_read: ['/proc', '/dev', '/', '/tmp'] }
  const options = optionsOf(planLaunch(machine, { ...boxed, permissions }, site).args)
  const outer = options.filter((option) => / \/(proc|dev|tmp)?$/.test(option))
  t.strictSame(outer, [
    '--ro-bind-try / /',
    '--ro-bind-try /tmp /tmp',
    '--proc /proc',
    '--dev /dev',
    '--remount-ro /',
  ])
})

t.test('what is not there to hold a program is left out, and not claimed', async (t) => {
  const bare = { ...machine, setpriv: undefined, prlimit: undefined, bwrap: undefined, walled: false }
  const { file, isolation } = planLaunch(bare, boxed, site)
  t.strictSame([file, isolation], ['/bin/node', 'none'])
})

t.test('hosts are interchangeable when nothing that was fixed at their start differs', async (t) => {
  const key = (more: object) => planLaunch(machine, { ...DEFAULT_PROFILE, ...more }).key
  const permissions = { ...DEFAULT_PROFILE.permissions, commands: ['get_status'], net: true }
  t.equal(key({ permissions, dataDir: '/other', roots: ['/r'] }), key({}))
  t.not(key({ limits: { memory_mb: 512, open_files: 256 } }), key({}))
  t.not(key({ limits: { memory_mb: 256, open_files: 512 } }), key({}))
  t.not(key({ permissions: { ...permissions, env: ['A'] } }), key({}))
})

t.test('without setpriv and without a wall it is Node alone, and its group is swept', async (t) => {
  const { file, args, mayFork } = planLaunch(
    { ...machine, setpriv: undefined, prlimit: undefined, walled: false },
    DEFAULT_PROFILE,
  )
  t.equal(file, '/bin/node')
  t.notOk(args.some((arg) => arg.startsWith('--permission') || arg.startsWith('--allow')))
  t.equal(mayFork, true)
})

t.test('the wall lets a host read exactly the files that its program imports', async (t) => {
  const { entry, files } = findRunner()
  const found = new Set<string>()
  const visit = (file: string): void => {
    if (found.has(file)) return
    found.add(file)
    for (const [, clause = '', from = ''] of readFileSync(file, 'utf8').matchAll(IMPORT)) {
      const names = clause
        .replace(/^\{|\}$/g, '')
        .split(',')
        .filter((name) => name.trim() !== '')
      const isErased = clause.startsWith('type ') || names.every((name) => name.trim().startsWith('type '))
      if (!isErased) visit(resolve(dirname(file), from))
    }
  }
  visit(entry)
  t.ok(found.size > 5, 'it saw the imports')
  t.strictSame([...files].sort(), [...found].sort())
})

const IMPORT = /^import ([^']*?)\s*from '(\.[^']+)'/gm

function gate(linesMax: number) {
  const clock = new TestClock()
  const lines: OutputLine[] = []
  return { clock, lines, gate: new OutputGate(clock, linesMax, (line) => lines.push(line)) }
}

t.test('lines beyond the limit are counted, told, and forgiven in the next second', async (t) => {
  const { clock, lines, gate: out } = gate(2)
  for (const message of ['1', '2', '3', '4']) out.pass({ level: 'info', message })
  await clock.pass(1_000)
  out.pass({ level: 'info', message: '5' })
  t.strictSame(
    lines.map((line) => line.message),
    ['1', '2', '2 lines were dropped: more than 2 within a second', '5'],
  )
  await clock.pass(1_000)
  t.equal(clock.waiting, 0)
})

t.test('output is cut into lines that are short, printable, and say where they came from', async (t) => {
  const { lines, gate: out } = gate(10)
  const source = new PassThrough()
  out.capture(source, 'stderr')
  source.end(`\u001b[31mred\u001b[0m\u0000\u0007\n${'x'.repeat(20_000)}\nno newline`)
  await settle()
  t.strictSame(lines, [
    { level: 'warn', message: 'red', stream: 'stderr' },
    { level: 'warn', message: 'x'.repeat(16_384), stream: 'stderr' },
    { level: 'warn', message: 'no newline', stream: 'stderr' },
  ])
})

t.test('a flood is not read beyond its bytes until the next second', async (t) => {
  const { clock, lines, gate: out } = gate(10)
  const source = new PassThrough({ highWaterMark: 1_024 })
  out.capture(source, 'stdout')
  const chunk = Buffer.from(`${'x'.repeat(1_048_575)}\n`)
  for (let written = 0; written < 17; written += 1) source.write(chunk)
  await settle()
  t.equal(source.isPaused(), true)
  await clock.pass(1_000)
  t.equal(source.isPaused(), false)
  t.match(lines.at(-1), { level: 'warn', fields: { dropped: 7 } })
})

t.test('no line is made of the ends of two, when what lay between was dropped', async (t) => {
  const { clock, lines, gate: out } = gate(1)
  const source = new PassThrough()
  out.capture(source, 'stdout')
  const write = async (text: string): Promise<void> => {
    source.write(text)
    await settle()
  }
  await write('first\nsecond\nbegin')
  await write(' lost\nlost ')
  await clock.pass(1_000)
  await write('all of it')
  await write(' lost\nwhole\n')
  t.strictSame(
    lines.map((line) => line.message),
    ['first', '2 lines were dropped: more than 1 within a second', 'whole'],
  )
})

t.test('a stream that breaks is no error of the daemon', async (t) => {
  const { lines, gate: out } = gate(1)
  const source = new PassThrough()
  out.capture(source, 'stdout')
  source.destroy(new Error('EIO'))
  await settle()
  t.strictSame(lines, [])
})

t.test(
  'a folder with the keys in it is opened around them, and never by way of a parent or a child',
  async (t) => {
    const disk: Record<string, string[]> = {
      '/srv': ['data', 'docs', 'notes.md'],
      '/srv/data': ['operator_pin.txt'],
      '/': ['etc', 'srv'],
    }
    const list = (folder: string): string[] => disk[folder] ?? []
    t.strictSame(
      [
        withoutFolder(['/srv'], '/srv/data', list),
        withoutFolder(['/'], '/srv/data', list),
        withoutFolder(['/srv/data', '/srv/data/artifacts', '/srv/database'], '/srv/data', list),
      ],
      [['/srv/docs', '/srv/notes.md'], ['/etc', '/srv/docs', '/srv/notes.md'], ['/srv/database']],
    )
  },
)

t.test('no manifest opens the data folder, but for what has a word of its own', async (t) => {
  const list = (folder: string): string[] => (folder === '/srv' ? ['data', 'docs'] : [])
  const permissions = {
    ...DEFAULT_PROFILE.permissions,
    fs_read: ['/srv', '/srv/data/run', '$RECORDS', '/opt', '$ROOTS'],
    fs_write: ['/srv/data', '$DATA'],
  }
  const open = outsideOf('/srv/data', { ...DEFAULT_PROFILE, permissions, roots: ['/srv'] }, list)
  t.strictSame(
    [open.permissions.fs_read, open.permissions.fs_write, open.roots],
    [['/srv/docs', '$RECORDS', '/opt', '$ROOTS'], ['$DATA'], ['/srv/docs']],
  )
})

const entry = (pid: number, parent: number, more: Partial<ProcessEntry> = {}): ProcessEntry => ({
  ...{ pid, state: 'S', parent, group: pid, session: pid, startTicks: 1, residentBytes: 0 },
  ...more,
})

t.test('kin are those of a group, of a session, and all their descendants', async (t) => {
  const table = [
    entry(10, 1),
    entry(11, 10, { group: 10, session: 10 }),
    entry(12, 1, { group: 10, session: 10 }),
    entry(13, 1, { session: 10 }),
    entry(14, 13),
    entry(15, 14),
    entry(16, 10, { state: 'Z' }),
    entry(20, 1),
    entry(21, 20),
  ]
  t.strictSame(
    familyOf(10, table)
      .map(({ pid }) => pid)
      .sort(),
    [10, 11, 12, 13, 14, 15],
  )
})

const MB = 1_048_576

/** A machine whose processes a test makes up, and a watch that looks at it. */
function tenancy(hasFamily: boolean) {
  const clock = new TestClock()
  const seen = { table: [entry(10, 1, { residentBytes: 10 * MB })], newest: 10, looks: 0, lists: 0 }
  const watch = new MemoryWatch(clock, {
    one: (pid) => {
      seen.looks += 1
      return seen.table.find((one) => one.pid === pid)
    },
    all: () => {
      seen.lists += 1
      return seen.table
    },
    own: (pid) => seen.table.find((one) => one.pid === pid)?.residentBytes ?? 0,
    newest: () => seen.newest,
  })
  const said: string[] = []
  const tenant = { pid: 10, limitMb: 100, hasFamily, over: (because: string) => void said.push(because) }
  return { clock, seen, watch, said, tenant, leave: watch.admit(tenant) }
}

t.test(
  'one whose heartbeats come is not looked at; a silent one is, and is judged within two seconds',
  async (t) => {
    const { clock, seen, watch, said, tenant } = tenancy(false)
    for (let beats = 0; beats < 4; beats += 1) {
      await clock.pass(500)
      watch.heard(tenant, 100 * MB, 0)
    }
    t.strictSame([seen.looks, said], [0, []])
    seen.table = [entry(10, 1, { residentBytes: 101 * MB })]
    await clock.pass(1_500)
    t.strictSame(said, ['it used 101 MB of memory, limits.memory_mb is 100'])
    t.equal(clock.waiting, 0, 'nobody is left to be watched')
  },
)

t.test('one that rests is left alone until it wakes, and then no longer than another', async (t) => {
  const { clock, seen, watch, said, tenant } = tenancy(true)
  await clock.pass(100)
  watch.heard(tenant, 10 * MB, 10_000)
  const { looks, lists } = seen
  seen.newest += 1
  await clock.pass(9_000)
  t.strictSame([seen.looks - looks, seen.lists - lists], [0, 0])
  seen.table = [entry(10, 1, { residentBytes: 101 * MB })]
  watch.heard(tenant, undefined, 0)
  await clock.pass(1_500)
  t.strictSame(said, ['it used 101 MB of memory, limits.memory_mb is 100'])
})

t.test('a heartbeat that says too much is enough', async (t) => {
  const { watch, said, tenant } = tenancy(false)
  watch.heard(tenant, 300 * MB, 0)
  watch.heard(tenant, 300 * MB, 0)
  t.strictSame(said, ['it used 300 MB of memory, limits.memory_mb is 100'])
})

t.test('what a process starts counts as its own', async (t) => {
  const { clock, seen, watch, said, tenant } = tenancy(true)
  seen.table.push(entry(11, 10, { residentBytes: 91 * MB }))
  seen.newest = 11
  watch.heard(tenant, 10 * MB, 0)
  await clock.pass(1_000)
  t.strictSame(said, ['it and the process that it started used 101 MB of memory, limits.memory_mb is 100'])
})

t.test('processes are not counted while nothing is started on the machine', async (t) => {
  const { clock, seen, watch, tenant, leave } = tenancy(true)
  for (let beats = 0; beats < 20; beats += 1) {
    await clock.pass(500)
    watch.heard(tenant, 10 * MB, 0)
  }
  t.equal(seen.lists, 1)
  seen.newest += 1
  await clock.pass(3_000)
  t.equal(seen.lists, 2)
  leave()
  t.equal(clock.waiting, 0)
})

t.test('a fork bomb is noticed at the next glance, and ends for its number', async (t) => {
  const { clock, seen, said } = tenancy(true)
  await clock.pass(1_000)
  for (let pid = 11; pid <= 300; pid += 1) seen.table.push(entry(pid, 1, { session: 10 }))
  seen.newest = 300
  await clock.pass(100)
  t.strictSame(said, ['it had 291 processes, and no module may have more than 256'])
})

t.test('what V8 says when it gives up is told in the words of the manifest', async (t) => {
  const report = 'FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory'
  t.strictSame(
    [heapSentence(report, 256), heapSentence(report, undefined), heapSentence('Aborted', 256)],
    [
      'its JavaScript heap was full: it may take 192 MB of limits.memory_mb, 256',
      'its JavaScript heap was full',
      undefined,
    ],
  )
  t.strictSame([64, 256, 1_024].map(heapMb), [48, 192, 960])
})

t.test('the folder of a generation is found from its entry, however deep that lies', async (t) => {
  const hash = 'ab'.repeat(32)
  t.strictSame(
    [`/g/a/b/${hash}/index.js`, `/g/a/b/${hash}/src/deep/index.ts`].map((entry) =>
      generationDir(entry, hash),
    ),
    [`/g/a/b/${hash}`, `/g/a/b/${hash}`],
  )
})
