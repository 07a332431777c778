import '../support/clean-children.ts'
import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { type Answer, RunningDaemon, writeModule } from '../support/daemon.ts'
import { shortDir } from '../support/short-dir.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const code = `export default { actions: {
  fail: () => { throw new Error('it cannot') },
  say: (input) => input,
} }`
const action = { description: 'for a test', idempotent: true }

async function raise(
  t: { teardown(undo: () => unknown): void },
  env: Record<string, string> = {},
): Promise<RunningDaemon> {
  const dir = shortDir(t)
  writeModule(dir, 'demo/worker', code, {
    actions: { fail: action, say: action },
    self_test: [{ action: 'say', input: {} }],
  })
  const daemon = await RunningDaemon.start(dir, [], { env })
  t.teardown(() => daemon.kill())
  await daemon.until('/v1/status/demo/worker', ({ body }) => body.state === 'started')
  return daemon
}

/** The command line, as its user has it. */
function nexus(
  daemon: RunningDaemon,
  ...args: string[]
): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) => {
    const all = [join(ROOT, 'bin/nexus.ts'), '--data-dir', join(daemon.dir, 'data'), ...args]
    execFile(process.execPath, all, (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out, err })
    })
  })
}

const goal = (uses: string, more: object = {}): object => ({
  goal: 'Say something',
  category: 'coin',
  plan: [{ id: 'a', uses: `demo/worker/${uses}` }],
  ...more,
})

t.test('the examples of docs/admission.md are answered as the page says', async (t) => {
  const daemon = await raise(t)
  const page = readFileSync(join(ROOT, 'docs/admission.md'), 'utf8')
  const examples = [
    ...page.matchAll(
      /# (\d{3})\ncurl -s http:\/\/127\.0\.0\.1:8012(\S+)[^']*'content-type[\s\S]*?-d '([^']+)'/g,
    ),
  ]
  for (const [, status, path = '', body = ''] of examples) {
    const answer = await daemon.ask('POST', path, JSON.parse(body))
    t.equal(answer.status, Number(status), path)
  }
  t.equal(examples.length, 2)
})

t.test('a file of missions becomes one batch, and each line is told what became of it', async (t) => {
  const daemon = await raise(t)
  const file = join(daemon.dir, 'missions.jsonl')
  const lines = [
    goal('say'),
    'no json',
    '',
    goal('say', { idempotency_key: 'k' }),
    goal('say', { priority: 10 }),
    goal('say', { idempotency_key: 'k' }),
  ]
  writeFileSync(
    file,
    lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line))).join('\n'),
  )
  const told = await nexus(daemon, 'missions', 'create', '--batch', file)
  const again = await nexus(daemon, '--json', 'missions', 'create', '--batch', file)
  const first = told.out.split('\n').map((line) => line.replace(/m-\w{26}/, 'm-…'))

  t.equal(told.code, 1)
  t.match(first, [
    /^1 {2}m-… {2}queued {2}SAFE \d/,
    /^2 {2}refused {2}BAD_REQUEST: the line is not JSON/,
    /^4 {2}m-… {2}queued {2}SAFE/,
    /^5 {2}refused {2}BAD_REQUEST: \/priority must be <= 9/,
    /^6 {2}m-… /,
    '',
  ])
  t.strictSame(
    JSON.parse(again.out).results.map(({ line, status }: { line: number; status: number }) => [line, status]),
    [
      [1, 201],
      [2, 400],
      [4, 200],
      [5, 400],
      [6, 200],
    ],
  )
  t.equal((await nexus(daemon, 'missions', 'create', 'goal', '--batch', file)).code, 2)
  t.equal((await nexus(daemon, 'missions', 'create', 'goal')).code, 2)
})

t.test('a failed mission is retried by name, and one that is not failed is not', async (t) => {
  const daemon = await raise(t)
  const { body } = await daemon.ask('POST', '/v1/missions/create', goal('fail', { max_attempts: 1 }))
  const ran = await daemon.ask('POST', '/v1/missions/run', { mission_id: body.mission_id })
  const again = await nexus(daemon, '--json', 'missions', 'retry', body.mission_id)
  const made = JSON.parse(again.out)
  const shown = await daemon.ask('GET', `/v1/missions/${made.mission_id}`)
  const fine = await daemon.ask('POST', '/v1/missions/create', goal('say'))
  await daemon.ask('POST', '/v1/missions/run', { mission_id: fine.body.mission_id })
  const refused = await nexus(daemon, 'missions', 'retry', fine.body.mission_id)

  t.match(ran.body, { status: 'failed' })
  t.match([again.code, made.retry_of], [0, body.mission_id])
  t.match(shown.body, { retry_of: body.mission_id, plan_source: 'given' })
  t.match([refused.code, refused.err], [6, /it cannot be retried/])
})

t.test('a daemon without room, and one that is asked too fast, refuse with a remedy and go on', async (t) => {
  const full = await raise(t, { NEXUS_MISSIONS__FREE_SPACE_MB: '1000000' })
  const low = await full.ask('POST', '/v1/missions/create', goal('say'))
  const slow = await raise(t, { NEXUS_MISSIONS__RATE_PER_SECOND: '0.01', NEXUS_MISSIONS__RATE_BURST: '2' })
  const asked: Answer[] = []
  for (let at = 0; at < 3; at += 1) asked.push(await slow.ask('POST', '/v1/missions/create', goal('say')))
  const read = await slow.ask('GET', '/v1/missions/list')
  const status = await slow.ask('GET', '/v1/status')

  t.match(low, { status: 507, body: { code: 'SPACE_LOW', remedy: /free_space_mb/ } })
  t.strictSame(
    asked.map(({ status }) => status),
    [201, 201, 429],
  )
  t.match(asked[2]?.body, { code: 'RATE_LIMITED', detail: /local changes more than 0\.01 missions/ })
  t.equal(read.status, 200, 'reading is not limited')
  t.match(status.body.missions, { awaiting_approval: 0, oldest_approval_seconds: null, lanes: { coin: 0 } })
})

t.test('an approval at the command line is for what show has shown, and for nothing else', async (t) => {
  const daemon = await raise(t)
  writeModule(daemon.dir, 'demo/fresh', code, { actions: { say: action, fail: action } })
  await daemon.until('/v1/status/demo/fresh', ({ body }) => body.state === 'started')
  const plan = [{ id: 'a', uses: 'demo/fresh/say' }]
  const { body } = await daemon.ask('POST', '/v1/missions/create', goal('say', { plan }))
  const shown = await nexus(daemon, 'missions', 'show', body.mission_id)
  const listed = await nexus(daemon, 'missions', 'list', '--status', 'awaiting_approval')
  const digest = /would approve .*digest ([0-9a-f]{64})/.exec(shown.out)?.[1] ?? ''
  const other = await nexus(daemon, 'missions', 'approve', body.mission_id, '--digest', '0'.repeat(64))
  const fine = await nexus(daemon, 'missions', 'approve', body.mission_id, '--digest', digest)
  const twice = await nexus(daemon, 'missions', 'approve', body.mission_id, '--digest', digest)

  t.match(body, { status: 'awaiting_approval' })
  t.match(listed.out, /EXPIRES.*\n.* in 6d /)
  t.match([other.code, other.err], [6, /no longer what was looked at/])
  t.match([fine.code, fine.out], [0, /queued|running|completed/])
  t.equal(twice.code, 6)
})
