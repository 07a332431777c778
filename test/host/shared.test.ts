import '../support/clean-children.ts'
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { OutputLine } from '../../daemon/host/output.ts'
import type { Instance } from '../../daemon/host/port.ts'
import { groupOf, seatsIn, sharedProfile } from '../../daemon/host/shared-launch.ts'
import { choosePlace, type HostView, openingWaitMs } from '../../daemon/host/shared-place.ts'
import { seatInTitle } from '../../daemon/host/shared-stall.ts'
import { call, Ear, type OrderChanges, openPool, orderFor } from './bench.ts'

type Test = { teardown(undo: () => unknown): void }
const overheard: { group: string; line: OutputLine }[] = []
const { pool, dataDir } = await openPool(t, {
  overheard: (group, line) => void overheard.push({ group, line }),
})
const ACTOR = readFileSync(join(dataDir, 'generations/actor/index.js'), 'utf8')
let instances = 0

/** Writes a generation of a module: the actor, unless other code is given. Each has content of its own. */
function generationOf(moduleId: string, code = ACTOR): Pick<OrderChanges, 'dir' | 'entry' | 'generation'> {
  const text = `${code}\n// ${moduleId} ${instances}\n`
  const generation = createHash('sha256').update(text).digest('hex')
  const dir = join(dataDir, 'generations', moduleId, generation)
  mkdirSync(dir, { recursive: true })
  writeFileSync(join(dir, 'index.js'), text)
  return { dir, entry: join(dir, 'index.js'), generation }
}

function shared(moduleId: string, changes: OrderChanges & { code?: string } = {}) {
  const { code, ...more } = changes
  instances += 1
  const own = join(dataDir, 'module-data', moduleId)
  mkdirSync(own, { recursive: true })
  return orderFor(dataDir, {
    runtime: 'shared',
    moduleId,
    instance: `${moduleId}#${instances}`,
    dataDir: own,
    ...generationOf(moduleId, code),
    ...more,
  })
}

async function spawn(
  t: Test,
  moduleId: string,
  changes: OrderChanges & { code?: string } = {},
): Promise<Instance> {
  const instance = await pool.spawn(shared(moduleId, changes))
  t.teardown(() => instance.halt(1_000))
  return instance
}

/** Two modules that share a host, in a group of their own. */
async function pair(t: Test, group: string, changes: OrderChanges = {}) {
  const ear = new Ear()
  const [one, other] = [
    await spawn(t, `${group}/one`, { listener: ear.listener, ...changes }),
    await spawn(t, `${group}/other`, changes),
  ]
  await Promise.all([one.start(), other.start()])
  t.teardown(() => undefined)
  return { one, other, ear }
}

t.test(
  'modules of one group share a process, and each has its own settings, folder, calls and log',
  async (t) => {
    const ears = [new Ear(), new Ear()]
    const [a, b] = await Promise.all(
      ears.map(({ listener }, at) => spawn(t, `all/m${at}`, { listener, config: { at } })),
    )
    if (a === undefined || b === undefined) throw new Error('two were ordered')
    t.equal(a.pid, b.pid)
    await Promise.all([a.start(), b.start()])
    t.strictSame([await call(a, 'config'), await call(b, 'config')], [{ at: 0 }, { at: 1 }])
    t.match(await call(b, 'context'), {
      id: 'all/m1',
      instance: b.id,
      dataDir: join(dataDir, 'module-data/all/m1'),
    })
    t.equal(await call(a, 'keepsMany', 100), 100, 'each has its own window of questions')
    t.match(await call(b, 'keeps', { name: 'x', bytes: 3 }), { name: 'x', bytes: 3 })
    await call(b, 'prints', { lines: 2, line: 'hello' })
    await call(a, 'measures')
    await Promise.all([a.halt(1_000), b.halt(1_000)])
    t.strictSame(ears[1]?.logs(), ['started', 'hello', 'hello', 'stopped'])
    t.match(ears[0]?.said.at(-1), { metrics: [{ name: 'seen', values: [3] }, {}, {}] })
    t.match([a.stats.calls, b.stats.calls, a.stats.inFlight], [3, 4, 0])
  },
)

t.test('many that ask at the same time wait for nobody but themselves', async (t) => {
  const many = await Promise.all(Array.from({ length: 6 }, (_, at) => spawn(t, `many/m${at}`)))
  t.equal(new Set(many.map(({ pid }) => pid)).size, 1)
  t.strictSame(await Promise.all(many.map((one) => call(one, 'keepsMany', 200))), Array(6).fill(200))
})

t.test('a stop ends one of them, with the timers it forgot, and the host with the last', async (t) => {
  const ear = new Ear()
  const code = `export default {
    start(ctx) { setInterval(() => ctx.log.info('tick'), 5) },
    actions: { waits: () => new Promise(() => {}) },
  }`
  const ticker = await spawn(t, 'stops/ticker', { code, listener: ear.listener })
  const other = await spawn(t, 'stops/other')
  await ticker.start()
  await ear.heard('log')
  const cut = t.rejects(call(ticker, 'waits'), { code: 'CALL_CUT' })
  await ticker.halt(1_000)
  await cut
  const before = ear.said.length
  for (let calls = 0; calls < 20; calls += 1) await call(other, 'naps', 5)
  t.strictSame([await ticker.gone, ear.said.length], [{ how: 'halted' }, before])
  await t.rejects(call(ticker, 'waits'), { code: 'ACTION_FAILED' })
  await other.halt(1_000)
  t.throws(() => process.kill(other.pid, 0), { code: 'ESRCH' })
})

t.test(
  'whoever exits, throws or rejects where nobody catches it is named, and displaces the others',
  async (t) => {
    const ends: [string, string, unknown, object, RegExp][] = [
      ['exits', 'exits', 7, { how: 'exited', exitCode: 7 }, /^it called process\.exit\(7\)$/],
      ['throws', 'throwsLater', null, { how: 'exited', exitCode: 1 }, /^uncaught TypeError: no way$/],
      ['rejects', 'rejects', null, { how: 'exited', exitCode: 1 }, /^uncaught Error: nobody listens$/],
    ]
    const code = ACTOR.replace('actions: {', 'actions: { rejects: () => ways.rejects(), ')
    for (const [group, action, input, departure, reason] of ends) {
      const ear = new Ear()
      const culprit = await spawn(t, `${group}/one`, { listener: ear.listener, code })
      const other = await spawn(t, `${group}/other`)
      t.equal(culprit.pid, other.pid)
      const cut = t.rejects(call(other, 'waits'), { code: 'CALL_CUT' })
      await t.rejects(call(culprit, action, input), { code: 'CALL_CUT' })
      await cut
      t.match(
        [await culprit.gone, await other.gone],
        [departure, { how: 'displaced', culprit: culprit.id, reason }],
        group,
      )
      t.match(ear.said.at(-1), { log: reason, level: 'error', fields: { stack: new RegExp(`${group}/one`) } })
    }
  },
)

t.test('whoever ended a host lives alone for a while, and hurts nobody the next time', async (t) => {
  const { one, other } = await pair(t, 'alone')
  await t.rejects(call(one, 'exits', 1), { code: 'CALL_CUT' })
  await other.gone
  const [again, calm] = [await spawn(t, 'alone/one'), await spawn(t, 'alone/other')]
  const late = await spawn(t, 'alone/late')
  t.not(again.pid, calm.pid)
  t.equal(late.pid, calm.pid)
  await t.rejects(call(again, 'exits', 1), { code: 'CALL_CUT' })
  t.equal(await call(calm, 'echo', 1), 1)
})

t.test('a host that is shot has nobody to blame, and the next but one waits a little', async (t) => {
  const { one, other } = await pair(t, 'shot')
  process.kill(one.pid, 'SIGKILL')
  const nobody = { how: 'displaced', culprit: undefined, reason: 'it was ended by SIGKILL' }
  t.strictSame([await one.gone, await other.gone], [nobody, nobody])
  const next = await spawn(t, 'shot/one')
  t.equal(await call(next, 'echo', 1), 1)
})

t.test(
  'an endless loop is suspected for all, and its owner is named, be it in a call or in a timer',
  async (t) => {
    const limits = { heartbeat_suspect_ms: 150, heartbeat_kill_ms: 600 }
    const code = `export default {
    actions: { later: () => void setTimeout(() => { Promise.resolve().then(function spin () { for (;;); }) }, 30) },
  }`
    const ear = new Ear()
    const calm = await spawn(t, 'loops/calm', { limits, listener: ear.listener })
    const busy = await spawn(t, 'loops/busy', { limits })
    const timed = await spawn(t, 'loops/timed', { limits, code })
    const waits = t.rejects(call(busy, 'waits'), { code: 'CALL_CUT' })
    await call(timed, 'later')
    const [fate, other] = await Promise.all([timed.gone, calm.gone, busy.gone, waits])
    t.match(fate, { how: 'hung', missingMs: Number })
    t.match(other, { how: 'displaced', culprit: timed.id, reason: /^the event loop was blocked for \d+ ms$/ })
    await ear.heard('suspect')
  },
)

t.test('a pause is suspected and forgiven for all of them', async (t) => {
  const limits = { heartbeat_suspect_ms: 60, heartbeat_kill_ms: 60_000 }
  const { one, other, ear } = await pair(t, 'pause', { limits })
  await call(other, 'naps', 300)
  await ear.heard('recovered')
  t.equal(await call(one, 'echo', 1), 1)
})

t.test('who breaks the protocol is named when the line says who, and everybody is displaced', async (t) => {
  const { one, other } = await pair(t, 'rules')
  const params = { instance: one.id, level: 'loud', message: 'x' }
  const text = `${JSON.stringify({ jsonrpc: '2.0', method: 'log', params })}\n`
  await t.rejects(call(other, 'says', { text }), { code: 'CALL_CUT' })
  t.match(
    [await one.gone, await other.gone],
    [
      { how: 'killed', because: /log of a wrong shape/ },
      { how: 'displaced', culprit: one.id },
    ],
  )
  const next = await pair(t, 'rubbish')
  await t.rejects(call(next.other, 'says', { text: 'garbage\n' }), { code: 'CALL_CUT' })
  t.match(await next.one.gone, { how: 'displaced', culprit: undefined, reason: /no JSON-RPC/ })
})

t.test(
  'a start that throws ends alone; a start, a stop or an action that does not end takes the host',
  async (t) => {
    const failing = await spawn(t, 'ends/failing', { config: { start: 'throws' } })
    const calm = await spawn(t, 'ends/calm')
    await t.rejects(failing.start(), {
      code: 'MODULE_START_FAILED',
      facts: { phase: 'start', reason: /^no way/ },
    })
    failing.kill('its start failed')
    t.strictSame(await failing.gone, { how: 'killed', because: 'its start failed' })
    t.equal(await call(calm, 'echo', 1), 1, 'nobody else noticed')

    const slow = await spawn(t, 'ends/slow', { config: { start: 'hangs' }, timeouts: { start_ms: 300 } })
    t.equal(slow.pid, calm.pid)
    await t.rejects(slow.start(), { code: 'MODULE_START_FAILED', facts: { phase: 'deadline' } })
    slow.kill('its start failed')
    t.match(await calm.gone, { how: 'displaced', culprit: slow.id, reason: 'its start failed' })

    const { one, other } = await pair(t, 'unending', { config: { stop: 'hangs' } })
    await one.halt(100)
    t.strictSame(
      [await one.gone, await other.gone],
      [
        { how: 'halted' },
        { how: 'displaced', culprit: one.id, reason: 'its stop was not done after 100 ms' },
      ],
    )

    const stuck = await pair(t, 'stuck')
    await t.rejects(call(stuck.one, 'ignores', null, { timeoutMs: 20 }), {
      code: 'CALL_EXPIRED',
      facts: { stuck: 1 },
    })
    stuck.one.kill('an action of it did not end')
    t.match(await stuck.other.gone, { how: 'displaced', culprit: stuck.one.id })
  },
)

t.test('code that cannot be loaded fails with its place, and the others go on', async (t) => {
  const code = 'MODULE_START_FAILED'
  const calm = await spawn(t, 'broken/calm')
  const place = {
    code,
    facts: { phase: 'import', unloadable: 1, reason: "Unexpected token ';' (index.js:2)" },
  }
  const broken = 'export default {\n  start() { const x = ; }\n}\n'
  await t.rejects(pool.spawn(shared('broken/syntax', { code: broken })), place)
  const thrown = { code, facts: { phase: 'import', unloadable: 0, reason: 'boom (index.js:1)' } }
  await t.rejects(pool.spawn(shared('broken/throws', { code: "throw new Error('boom')" })), thrown)
  const path = `../../calm/${calm.generation}/index.js`
  const next = { code, facts: { unloadable: 1, reason: /^'\.\.\/.+' lies outside the module/ } }
  await t.rejects(pool.spawn(shared('broken/next', { code: `import '${path}'\nexport default {}` })), next)
  const outside = { code, facts: { unloadable: 1, reason: /lies outside the module|Cannot find package/ } }
  await t.rejects(pool.spawn(shared('broken/outside', { code: "import 'tap'\nexport default {}" })), outside)
  t.equal(await call(calm, 'echo', 1), 1)
})

t.test('who is displaced while it is imported is given another place', async (t) => {
  const reason = 'its process exited with code 3'
  const bad = t.rejects(pool.spawn(shared('young/bad', { code: 'process.exit(3)\nexport default {}' })), {
    code: 'MODULE_START_FAILED',
    facts: { phase: 'import', reason, exit_code: 3 },
  })
  const good = await spawn(t, 'young/good')
  await bad
  t.equal(await call(good, 'echo', 1), 1)
})

t.test('no host has two of one module, and none imports a generation twice', async (t) => {
  const order = shared('twice/one')
  const first = await pool.spawn(order)
  const replica = await pool.spawn({ ...order, instance: 'twice/one#second' })
  const other = await spawn(t, 'twice/other')
  t.not(first.pid, replica.pid)
  await first.halt(1_000)
  const again = await pool.spawn({ ...order, instance: 'twice/one#third' })
  const next = await spawn(t, 'twice/one')
  t.not(again.pid, other.pid, 'it would find the variables of the first')
  t.ok(next.pid !== replica.pid && next.pid !== again.pid)
  await Promise.all([replica, again].map((one) => one.halt(1_000)))
})

t.test('files are closed to them but those of their group', async (t) => {
  const permissions = { fs_write: ['$DATA/mine'] }
  const one = await spawn(t, 'files/one', { permissions })
  const other = await spawn(t, 'files/other', { permissions: { fs_write: ['$DATA'] } })
  t.equal(one.pid, other.pid)
  await call(other, 'writes', join(dataDir, 'module-data/files/other/x'))
  const denied = { code: 'ACTION_FAILED', facts: { reason: /restricted/ } }
  await t.rejects(call(one, 'writes', join(dataDir, 'module-data/all/m0/x')), denied)
  const shut = await spawn(t, 'files/shut')
  t.not(shut.pid, one.pid, 'other permissions, another host')
})

t.test('a place is sought by key, room, age and company', async (t) => {
  const host = (more: Partial<HostView> = {}): HostView => ({
    ...{
      key: 'k',
      isOpen: true,
      modules: new Set(['g/a']),
      seen: new Set(['/a']),
      seats: 1,
      seatsMax: 10,
      fullness: 0,
    },
    ...more,
  })
  const wish = { key: 'k', moduleId: 'g/b', dir: '/b', isTroublemaker: false }
  const many = new Set(Array.from({ length: 101 }, (_, at) => `/${at}`))
  const found = [
    [host()],
    [host({ key: 'other' })],
    [host({ isOpen: false })],
    [host({ seats: 10 })],
    [host({ seen: many })],
    [host({ fullness: 0.5 })],
    [host({ modules: new Set(['g/b']) })],
    [host({ seen: new Set(['/b']) })],
  ].map((hosts) => choosePlace(hosts, wish) !== undefined)
  t.strictSame(found, [true, false, false, false, false, false, false, false])
  t.equal(choosePlace([host()], { ...wish, isTroublemaker: true }), undefined)
  const fullest = host({ seats: 3 })
  t.equal(choosePlace([host({ seats: 2 }), fullest, host()], wish), fullest)
})

t.test('a group that goes on dying by nobody’s fault comes back ever more slowly', async (t) => {
  const waits = [[], [0], [0, 10], [0, 10, 20], Array.from({ length: 20 }, () => 20), [-130_000, 20]]
  t.strictSame(
    waits.map((deaths) => openingWaitMs(deaths, 20)),
    [0, 0, 490, 1_000, 30_000, 0],
  )
})

t.test('what a host is started with is the same for the whole group', async (t) => {
  const profile = orderFor('/d', {
    dataDir: '/d/module-data/g/one',
    permissions: { fs_read: ['$DATA/x', '$DATA'] },
  })
  const { dataDir: dir, permissions, limits } = sharedProfile(profile)
  t.match(
    { dir, fs_read: permissions.fs_read, limits },
    {
      dir: '/d/module-data/g',
      fs_read: ['$DATA'],
      limits: { memory_mb: 2_048, open_files: 2_048, log_lines_per_s: 200 },
    },
  )
  t.strictSame([groupOf('g/one'), seatsIn({ memory_mb: 2_048 })], ['g', 1_024])
})

t.test('the title of a process tells who has its loop', async (t) => {
  const titles = ['nexus 12 g/one#1', 'nexus 12 g/one\n', 'nexus', 'nexus 1x', 'node', '']
  t.strictSame(titles.map(seatInTitle), [12, 12, undefined, undefined, undefined, undefined])
})
