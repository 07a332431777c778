import '../support/clean-children.ts'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type Answer, RunningDaemon, writeModule } from '../support/daemon.ts'
import { shortDir } from '../support/short-dir.ts'

// The rows of the catalogue of faults that need a whole daemon and its missions: F9, F10, F12, F14, F45, F119.

const VERIFIER = join(import.meta.dirname, 'verify.py')

/** Writes who did what to a file outside the data folder, slowly or at once. */
const WORKER = `
import { appendFileSync } from 'node:fs'
const note = (ctx, what) => appendFileSync(ctx.config.ledger, what + ' ' + ctx.mission.mission_id + ' ' + ctx.mission.epoch + '\\n')
const wait = (ms, signal) => new Promise((resolve) => {
  const timer = setTimeout(resolve, ms)
  signal?.addEventListener('abort', () => { clearTimeout(timer); resolve() })
})
export default {
  actions: {
    async quick (input, ctx) { if (ctx.mission) note(ctx, 'quick'); return {} },
    async slow (input, ctx) { note(ctx, 'begin'); await wait(input.ms, ctx.signal); if (!ctx.signal.aborted) note(ctx, 'end'); return {} },
    async once (input, ctx) { note(ctx, 'once'); await wait(input.ms, undefined); return {} },
  },
}
`

function withWorker(test: Test): { readonly dir: string; readonly ledger: () => string[] } {
  const dir = shortDir(test)
  const effects = join(dir, 'effects')
  mkdirSync(effects)
  const file = join(effects, 'ledger')
  const input = { type: 'object' }
  const idempotent = { description: 'of a test', input, output: input, idempotent: true, concurrency: 8 }
  writeModule(dir, 'tests/worker', WORKER, {
    permissions: { fs_write: [effects], fs_read: [effects] },
    config: { schema: { type: 'object' }, defaults: { ledger: file } },
    actions: { quick: idempotent, slow: idempotent, once: { ...idempotent, idempotent: false } },
    self_test: [{ action: 'quick', input: {} }],
  })
  const ledger = (): string[] =>
    existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter(Boolean) : []
  return { dir, ledger }
}

function create(daemon: RunningDaemon, action: string, input: object, more: object = {}): Promise<Answer> {
  const plan = [{ id: 'only', uses: `tests/worker/${action}`, with: input }]
  return daemon.ask('POST', '/v1/missions/create', { goal: `${action} it`, category: 'coin', plan, ...more })
}

const ready = (daemon: RunningDaemon): Promise<Answer> =>
  daemon.until('/readyz', ({ status }) => status === 200)

const has =
  (status: string) =>
  ({ body }: Answer): boolean =>
    body.status === status

/** An independent program finds the records whole. */
function verified(test: Test, dir: string): void {
  const { status, stdout } = spawnSync('python3', [VERIFIER, join(dir, 'data')], { encoding: 'utf8' })
  test.equal(status, 0, stdout.trim())
}

t.test('F9: told to stop under load it takes nothing more, loses nothing, and resumes later', async (t) => {
  const { dir, ledger } = withWorker(t)
  const first = await RunningDaemon.start(dir, [], { env: { NEXUS_SHUTDOWN__DRAIN_MS: '300' } })
  await ready(first)
  const running = await Promise.all([
    create(first, 'slow', { ms: 60_000 }, { constraints: { max_time_seconds: 120 } }),
    create(first, 'once', { ms: 60_000 }, { constraints: { max_time_seconds: 120 } }),
  ])
  for (const { body } of running) await first.until(`/v1/missions/${body.mission_id}`, has('running'))
  while (ledger().length < 2) await new Promise((resolve) => setTimeout(resolve, 10))

  let answered = 0
  const asked = Array.from({ length: 100 }, () =>
    create(first, 'quick', {})
      .finally(() => (answered += 1))
      .catch(() => undefined),
  )
  while (answered < 20) await new Promise((resolve) => setTimeout(resolve, 1))
  const gone = first.kill('SIGTERM')
  const answers = await Promise.all(asked)
  t.equal(await gone, 0)
  const taken = answers.filter((answer) => answer?.status === 201).map((answer) => answer?.body.mission_id)
  t.ok(taken.length >= 20, `${taken.length} of 100 were taken`)
  verified(t, dir)

  const second = await RunningDaemon.start(dir)
  t.teardown(() => second.kill())
  await ready(second)
  for (const id of taken) {
    const { body } = await second.until(`/v1/missions/${id}`, has('completed'))
    t.equal(body.status, 'completed')
  }
  const [slow, once] = running.map(({ body }) => body.mission_id as string)
  // Halfway through what may be repeated, it is repeated; halfway through what may not, a person decides.
  const resumed = await second.until(`/v1/missions/${slow}`, has('running'))
  t.equal(resumed.body.epoch, 2)
  t.equal((await second.ask('GET', `/v1/missions/${once}`)).body.status, 'interrupted')
  t.equal(ledger().filter((line) => line.startsWith('once')).length, 1)
})

t.test('F10: each signal has its meaning, and none opens a debugger', async (t) => {
  const { dir } = withWorker(t)
  const daemon = await RunningDaemon.start(dir)
  t.teardown(() => daemon.kill())
  await ready(daemon)
  for (const signal of ['SIGHUP', 'SIGUSR1', 'SIGPIPE'] as const) {
    daemon.child.kill(signal)
    await new Promise((resolve) => setTimeout(resolve, 50))
    t.equal((await daemon.ask('GET', '/livez')).status, 200, `it goes on after ${signal}`)
  }
  t.notMatch(daemon.output.join(''), /Debugger listening/)
  const begun = await create(daemon, 'slow', { ms: 60_000 })
  await daemon.until(`/v1/missions/${begun.body.mission_id}`, has('running'))
  daemon.child.kill('SIGTERM')
  await new Promise((resolve) => setTimeout(resolve, 100))
  t.equal(await daemon.kill('SIGTERM'), 0, 'a second one does not wait for the mission')
  verified(t, dir)
})

t.test('F12: a daemon that was frozen goes on, and no mission runs twice', async (t) => {
  const { dir, ledger } = withWorker(t)
  const daemon = await RunningDaemon.start(dir)
  t.teardown(() => daemon.kill())
  await ready(daemon)
  const kept = await create(daemon, 'once', { ms: 500 })
  while (ledger().length < 1) await new Promise((resolve) => setTimeout(resolve, 10))
  process.kill(daemon.child.pid as number, 'SIGSTOP')
  await new Promise((resolve) => setTimeout(resolve, 2_500))
  process.kill(daemon.child.pid as number, 'SIGCONT')
  const { body } = await daemon.until(`/v1/missions/${kept.body.mission_id}`, has('completed'))
  t.strictSame([body.status, body.epoch, ledger().length], ['completed', 1, 1])
  const status = await daemon.ask('GET', '/v1/status/tests/worker')
  t.equal(status.body.restarts, 0, 'its own absence is not held against the module')
})

t.test('F14: a daemon that dies of a signal leaves whole records and no core', async (t) => {
  const { dir } = withWorker(t)
  const first = await RunningDaemon.start(dir)
  await ready(first)
  const { body } = await create(first, 'quick', {})
  t.equal(await first.kill('SIGSEGV'), null)
  t.strictSame(
    readdirSync(join(dir, 'data')).filter((name) => /core/.test(name)),
    [],
  )
  verified(t, dir)
  const second = await RunningDaemon.start(dir)
  t.teardown(() => second.kill())
  t.equal((await second.until(`/v1/missions/${body.mission_id}`, has('completed'))).status, 200)
})

t.test('F45, F119: no time that is none, and one line for each record whatever a field holds', async (t) => {
  const { dir } = withWorker(t)
  const daemon = await RunningDaemon.start(dir)
  t.teardown(() => daemon.kill())
  await ready(daemon)
  for (const not_before of ['2026-02-30T00:00:00Z', '2016-12-31T23:59:61Z', 'tomorrow', '2026-11-22T10:00']) {
    const refused = await create(daemon, 'quick', {}, { not_before })
    t.match(refused, { status: 400, body: { code: 'BAD_REQUEST', detail: /not_before/ } }, not_before)
  }
  const nasty = 'a\n{"v":1,"seq":1}\r\u2028\u001b[31mred\u0000"}\\'
  const { status, body } = await create(daemon, 'quick', { text: nasty }, { goal: nasty })
  t.equal(status, 201)
  await daemon.until(`/v1/missions/${body.mission_id}`, has('completed'))
  t.equal((await daemon.ask('GET', `/v1/missions/${body.mission_id}`)).body.goal, nasty)
  t.equal(await daemon.kill('SIGTERM'), 0)
  verified(t, dir)
  const lines = readFileSync(join(dir, 'data/audit.jsonl'), 'utf8').trimEnd().split('\n')
  const created = lines.filter((line) => JSON.parse(line).mid === body.mission_id)
  t.ok(created.length >= 3, 'each record is a line of its own')
  t.notOk(
    lines.some((line) => /\p{Cc}/u.test(line)),
    'and nothing in it commands a terminal',
  )
  t.notOk(
    daemon.output.some((text) => text.includes('\u001b[31m')),
    'nor in what it says',
  )
})
