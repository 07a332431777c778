import { chmodSync, existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { openCli } from '../../bin/cli/cli.ts'
import { doctor, doctorText, type Line } from '../../bin/cli/doctor.ts'
import * as judge from '../../bin/cli/doctor-judge.ts'
import {
  countFolders,
  holderOf,
  kernelNumber,
  lookAtEntry,
  lookAtPort,
  tryTool,
} from '../../bin/cli/doctor-look.ts'
import { shortDir } from '../support/short-dir.ts'

type Verdict = judge.Diagnosis['verdict']

/** What a judge says of each case: the verdict and a part of the sentence; who is not well is told what to do. */
function judges<Seen>(
  t: { match(a: unknown, b: unknown): unknown; ok(is: unknown, why: string): unknown },
  how: (seen: Seen) => judge.Diagnosis,
  cases: readonly (readonly [Seen, Verdict, RegExp])[],
): void {
  const found = cases.map(([seen]) => how(seen))
  t.match(
    found.map(({ verdict, say }) => [verdict, say]),
    cases.map(([, verdict, say]) => [verdict, say]),
  )
  for (const { verdict, say, remedy } of found) t.ok((verdict === 'ok') === (remedy === undefined), say)
}

t.test('a Node that the daemon does not run on is a failure', async (t) => {
  judges(t, judge.judgeNode, [
    ...['v20.20.2', 'v22.21.9', 'v23.11.0', 'nonsense'].map(
      (version) => [{ version }, 'fail', /not supported/] as const,
    ),
    ...['v22.22.0', 'v24.0.0', 'v25.1.0'].map((version) => [{ version }, 'ok', /^Node v/] as const),
  ])
})

t.test('root and NODE_OPTIONS are warned of', async (t) => {
  judges(t, judge.judgeAccount, [
    [{ uid: 0 }, 'warn', /as root/],
    [{ uid: 1000 }, 'ok', /1000/],
  ])
  judges(t, judge.judgeEnvironment, [
    [{ nodeOptions: '--inspect' }, 'warn', /--inspect/],
    [{ nodeOptions: '' }, 'ok', /not set/],
    [{ nodeOptions: undefined }, 'ok', /not set/],
  ])
  judges(t, judge.judgeSettings, [
    [
      { file: undefined, fault: { message: 'nexus.yaml:1:1: unknown', remedy: 'correct it' } },
      'fail',
      /unknown/,
    ],
    [{ file: '/n.yaml' }, 'ok', /n\.yaml/],
  ])
})

const folder = (mode: number, uid = 7): judge.Entry => ({ kind: 'folder', uid, mode })
const file = (mode: number, uid = 7): judge.Entry => ({ kind: 'file', uid, mode })

t.test('a data folder must be ours, and lie where nobody can replace it', async (t) => {
  const seen = { path: '/a/data', uid: 7, entry: folder(0o700), canBeMade: false, above: [] }
  const above = (mode: number) => [{ path: '/a', entry: folder(mode, 0) }]
  judges(t, judge.judgeDataFolder, [
    [seen, 'ok', /private/],
    [{ ...seen, above: above(0o777) }, 'fail', /\/a, where everybody/],
    [{ ...seen, above: above(0o1777) }, 'ok', /private/],
    [{ ...seen, entry: undefined, canBeMade: true }, 'ok', /first start/],
    [{ ...seen, entry: undefined }, 'fail', /cannot be made/],
    [{ ...seen, entry: file(0o700) }, 'fail', /not a folder/],
    [{ ...seen, entry: folder(0o700, 8) }, 'fail', /belongs to account 8/],
    [{ ...seen, entry: folder(0o750) }, 'warn', /mode 0750/],
  ])
})

t.test('keys that others can read are a failure, records a warning', async (t) => {
  const seen = { path: '/k', uid: 7, entry: file(0o600) }
  judges(t, judge.judgeSecret, [
    [seen, 'ok', /private/],
    [{ ...seen, entry: undefined }, 'ok', /makes it/],
    [{ ...seen, entry: file(0o640) }, 'fail', /mode 0640/],
    [{ ...seen, entry: file(0o600, 0) }, 'fail', /account 0/],
    [{ ...seen, entry: { kind: 'other', uid: 7, mode: 0o777 } }, 'fail', /no plain file/],
  ])
  judges(t, judge.judgeRecords, [
    [[seen, { ...seen, entry: undefined }], 'ok', /^1 files/],
    [[seen, { ...seen, path: '/j', entry: file(0o644) }], 'warn', /\/j .*0644/],
    [[{ ...seen, entry: file(0o600, 3) }], 'fail', /account 3/],
  ])
})

t.test('room is judged by what the journal needs, and by inodes where they are counted', async (t) => {
  const MIB = 1_048_576
  const seen = {
    path: '/d',
    freeBytes: 500_000 * MIB,
    totalBytes: 900_000 * MIB,
    freeInodes: 0,
    totalInodes: 0,
  }
  judges(t, judge.judgeRoom, [
    [seen, 'ok', /500000 MiB free/],
    [{ ...seen, freeBytes: 63 * MIB }, 'fail', /only 63 MiB/],
    [{ ...seen, freeBytes: 900 * MIB }, 'warn', /only 900 MiB/],
    [{ ...seen, freeBytes: 900 * MIB, totalBytes: 1_000 * MIB }, 'ok', /900 MiB free/],
    [{ ...seen, freeInodes: 999, totalInodes: 1_000_000 }, 'fail', /999 inodes/],
  ])
})

t.test('a journal is damaged, torn, too long to read in passing, or well', async (t) => {
  const report = { ok: true, records: 3, damage: undefined, openTailBytes: 0 }
  const seen = { bytes: 100, report, aheadMs: 0, isRunning: false }
  const damage = { message: 'line 3 is damaged', remedy: 'restore it' }
  judges(t, judge.judgeJournal, [
    [seen, 'ok', /3 records holds/],
    [{ ...seen, bytes: 0 }, 'ok', /no journal yet/],
    [{ bytes: 2 ** 30, aheadMs: 0, isRunning: false }, 'ok', /1024 MiB, not read/],
    [{ ...seen, report: { ...report, ok: false, damage } }, 'fail', /line 3/],
    [{ ...seen, report: { ...report, openTailBytes: 5 } }, 'warn', /torn \(5 bytes\)/],
    [{ ...seen, report: { ...report, openTailBytes: 5 }, isRunning: true }, 'ok', /holds/],
  ])
  judges(t, judge.judgeClock, [
    [{ nowMs: Date.UTC(2027, 0, 1), aheadMs: 59_000 }, 'ok', /2027/],
    [{ nowMs: Date.UTC(1970, 0, 2), aheadMs: 0 }, 'fail', /1970/],
    [{ nowMs: Date.UTC(2027, 0, 1), aheadMs: 61_000 }, 'warn', /61 s in the future/],
  ])
})

t.test('a lock is held by the one that answers, or by one that should', async (t) => {
  judges(t, judge.judgeLock, [
    [{ holder: 4, noted: 4, isAnswering: true }, 'ok', /process 4/],
    [{ holder: 4, noted: 4, isAnswering: false }, 'fail', /process 4 holds/],
    [{ holder: undefined, noted: 4, isAnswering: false }, 'ok', /process 4 ended/],
    [{ holder: undefined, noted: undefined, isAnswering: false }, 'ok', /nobody/],
  ])
  const locks =
    '1: POSIX  ADVISORY  READ 5 fe:01:131 0 EOF\n2: POSIX  ADVISORY  WRITE 6 fe:01:131 0 EOF\n3: x'
  t.strictSame(
    [131, 31, 13].map((inode) => holderOf(locks, inode)),
    [6, undefined, undefined],
  )
  const socket = { path: '/s', bytes: 2, isThere: false, isHeld: false, isAnswering: false }
  judges(t, judge.judgeSocket, [
    [socket, 'ok', /no daemon listens/],
    [{ ...socket, isThere: true }, 'ok', /left behind/],
    [{ ...socket, isThere: true, isHeld: true }, 'ok', /see the lock/],
    [{ ...socket, isAnswering: true }, 'ok', /a daemon answers/],
    [{ ...socket, bytes: 108 }, 'fail', /108 bytes/],
  ])
})

t.test('a port is free, ours, or somebody else\u2019s, who is named', async (t) => {
  const seen: judge.PortSeen = {
    host: '::1',
    port: 80,
    purpose: 'http',
    rival: undefined,
    state: 'free',
    isOurs: false,
    isRunning: false,
  }
  const taken: judge.PortSeen = { ...seen, state: 'taken', holder: { pid: 9, name: 'nginx' } }
  judges<judge.PortSeen>(t, judge.judgePort, [
    [seen, 'ok', /free/],
    [{ ...seen, port: 0 }, 'ok', /any free port/],
    [taken, 'fail', /nginx \(process 9\)/],
    [{ ...taken, holder: undefined }, 'fail', /another program/],
    [{ ...taken, isOurs: true, isRunning: true }, 'ok', /ours/],
    [{ ...taken, isRunning: true }, 'warn', /nginx/],
    [{ ...seen, state: 'denied' }, 'fail', /may not be listened on/],
    [{ ...seen, state: 'no such address' }, 'fail', /no such address/],
    [{ ...seen, rival: 'metrics' }, 'fail', /wanted for metrics, too/],
  ])
  t.match(judge.judgePort({ ...taken, purpose: 'listen web of a/b' }).remedy, /module\.json/)
})

t.test('modules that everybody may change, or that are invalid, are failures', async (t) => {
  const seen = { dir: '/m', entry: folder(0o755), valid: 2, invalid: [], warnings: [] }
  const invalid = [
    { moduleId: 'a/b', reason: '/id is missing' },
    { moduleId: 'a/c', reason: 'x' },
  ]
  judges<judge.ModulesSeen>(t, judge.judgeModules, [
    [seen, 'ok', /2 modules/],
    [{ ...seen, entry: undefined }, 'warn', /not there/],
    [{ ...seen, entry: folder(0o757) }, 'fail', /everybody may write/],
    [{ ...seen, invalid }, 'fail', /a\/b is invalid: \/id is missing, and 1 more/],
    [{ ...seen, warnings: ['a group may write to a/b'] }, 'warn', /a group may write/],
  ])
})

t.test('tools are judged by what they do here', async (t) => {
  const works = { found: true, works: true, said: '' }
  const fails = { found: true, works: false, said: 'unrecognized option' }
  const missing = { found: false, works: false, said: '' }
  for (const how of [judge.judgeSetpriv, judge.judgePrlimit]) {
    judges(t, how, [
      [works, 'ok', /works/],
      [fails, 'warn', /unrecognized option/],
      [missing, 'warn', /not installed/],
    ])
  }
  judges<Parameters<typeof judge.judgeBwrap>[0]>(t, judge.judgeBwrap, [
    [{ ...works, wantedBy: ['a/b'] }, 'ok', /works/],
    [{ ...missing, wantedBy: [] }, 'ok', /no module asks/],
    [{ ...missing, wantedBy: ['a/b'] }, 'fail', /a\/b cannot start/],
    [{ ...fails, wantedBy: ['a/b'] }, 'fail', /unrecognized option/],
  ])
  t.match(await tryTool('no-such-tool-anywhere', []), { found: false, works: false })
  t.match(await tryTool(process.execPath, ['-e', 'process.exit(3)']), { found: true, works: false })
  t.match(await tryTool(process.execPath, ['-e', '']), { found: true, works: true })
})

t.test('limits of the kernel are held against what is wanted', async (t) => {
  const seen = { folders: 10, watchesMax: 100, instancesMax: 8, instancesUsed: 2 }
  judges(t, judge.judgeWatches, [
    [seen, 'ok', /10 folders/],
    [{ ...seen, folders: 101 }, 'fail', /101 folders/],
    [{ ...seen, folders: 51 }, 'warn', /51 of 100/],
    [{ ...seen, instancesUsed: 8 }, 'fail', /all 8 inotify/],
  ])
  judges(t, judge.judgeOpenFiles, [
    [{ limit: 1_024, modules: 10 }, 'ok', /1024/],
    [{ limit: 500, modules: 10 }, 'warn', /only 500/],
    [{ limit: 300, modules: 10 }, 'fail', /needs 336/],
    [{ limit: Number.POSITIVE_INFINITY, modules: 9_999 }, 'ok', /Infinity/],
  ])
})

t.test('a daemon is absent, ready, or not, for reasons', async (t) => {
  const seen = {
    isAnswering: true,
    ready: true,
    reasons: [],
    version: '1',
    ownVersion: '1',
    insecureKey: false,
  }
  judges<Parameters<typeof judge.judgeDaemon>[0]>(t, judge.judgeDaemon, [
    [seen, 'ok', /ready/],
    [{ ...seen, isAnswering: false, ready: false }, 'ok', /no daemon/],
    [{ ...seen, ready: false, reasons: ['a/b failed', 'full'] }, 'fail', /a\/b failed; full/],
    [{ ...seen, insecureKey: true }, 'warn', /published/],
    [{ ...seen, ownVersion: '2' }, 'warn', /version 1, this program is 2/],
  ])
})

t.test('a look changes nothing and says what is there', async (t) => {
  const dir = shortDir(t)
  writeFileSync(join(dir, 'f'), '')
  chmodSync(join(dir, 'f'), 0o640)
  symlinkSync('/etc', join(dir, 'l'))
  mkdirSync(join(dir, 'a/node_modules/x'), { recursive: true })
  t.match(await lookAtEntry(join(dir, 'f')), { kind: 'file', mode: 0o640 })
  t.match(await lookAtEntry(join(dir, 'l')), { kind: 'other' })
  t.equal(await lookAtEntry(join(dir, 'none/x')), undefined)
  t.equal(await countFolders([dir, '/no/such/folder']), 2)
  t.equal(await kernelNumber('/no/such/file'), Number.POSITIVE_INFINITY)

  const server = createServer().listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as { port: number }
  const wanted = { host: '127.0.0.1', port, purpose: 'http', rival: undefined }
  t.match(await lookAtPort(wanted, undefined), {
    state: 'taken',
    holder: { pid: process.pid },
    isOurs: false,
  })
  t.match(await lookAtPort(wanted, process.pid), { state: 'taken', isOurs: true })
  t.match(await lookAtPort({ ...wanted, host: '192.0.2.1' }, undefined), { state: 'no such address' })
  await new Promise((resolve) => server.close(resolve))
  t.match(await lookAtPort(wanted, undefined), { state: 'free' })
})

t.test('without a daemon everything is looked at, and nothing is made', async (t) => {
  const dir = shortDir(t)
  const modules = join(dir, 'modules')
  mkdirSync(join(modules, 'a/b'), { recursive: true })
  writeFileSync(join(modules, 'a/b/module.json'), '{"id": "a/b"}')
  writeFileSync(join(dir, 'nexus.json'), JSON.stringify({ modules_dirs: [modules], http: { port: 0 } }))
  const printed: string[] = []
  const seen = async (config: string): Promise<{ code: number; status: string; checks: Line[] }> => {
    const cli = {
      ...openCli({ dataDir: join(dir, 'data'), json: true }, {}),
      printJson: (one: unknown) => printed.push(JSON.stringify(one)),
    }
    const code = await doctor(cli, { config })
    return { code, ...JSON.parse(printed.pop() ?? '{}') }
  }
  const { code, status, checks } = await seen(join(dir, 'nexus.json'))
  t.strictSame([code, status], [1, 'fail'])
  const names = [...new Set(checks.map(({ check }) => check))]
  t.equal(names.length, 20, names.join())
  const failed = checks.filter(({ verdict }) => verdict === 'fail')
  t.match(failed, [{ check: 'modules', say: /a\/b is invalid/, remedy: String }])
  t.strictSame(readdirSync(dir).sort(), ['modules', 'nexus.json'], 'no data folder was made')

  const { checks: unreadable } = await seen(join(dir, 'none.json'))
  t.match(
    unreadable.find(({ check }) => check === 'settings'),
    { verdict: 'fail', say: /is not there/ },
  )
  t.equal(existsSync(join(dir, 'data')), false)
})

t.test('people read the remedy below what is wrong, and nothing that could move their cursor', async (t) => {
  const lines: Line[] = [
    { check: 'node', verdict: 'ok', say: 'Node v24' },
    { check: 'disk', verdict: 'fail', say: 'only \u001b[2Jlittle', remedy: 'make room' },
    { check: 'clock', verdict: 'warn', say: 'late', remedy: 'set it' },
  ]
  t.strictSame(doctorText(lines).split('\n'), [
    'ok    node   Node v24',
    'FAIL  disk   only little',
    '             → make room',
    'WARN  clock  late',
    '             → set it',
    '',
    '3 checks: 1 failed, 1 warnings',
    '',
  ])
})
