import '../support/clean-children.ts'
import { spawnSync } from 'node:child_process'
import { appendFileSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { RunningDaemon, writeModule } from '../support/daemon.ts'
import { shortDir } from '../support/short-dir.ts'

const MANIFEST = {
  categories: ['forge'],
  actions: {
    plan: { description: 'plans', idempotent: true },
    work: { description: 'works', idempotent: true, concurrency: 8 },
  },
  self_test: [{ action: 'work', input: {}, expect: { done: true } }],
}
const CODE = `export default { actions: {
  plan: () => ({ plan: [{ id: 'one', uses: 'demo/hand/work' }] }), work: () => ({ done: true }) } }`

async function withMissions(t: { teardown(undo: () => unknown): void }, count: number) {
  const dir = shortDir(t)
  writeModule(dir, 'demo/hand', CODE, MANIFEST)
  const daemon = await RunningDaemon.start(dir)
  t.teardown(() => daemon.kill())
  await daemon.until('/v1/status/demo/hand', ({ body }) => body.state === 'started')
  const ids: string[] = []
  for (let n = 0; n < count; n += 1) {
    const { body } = await daemon.ask('POST', '/v1/missions/create', {
      goal: `do thing ${n}`,
      category: 'forge',
    })
    await daemon.ask('POST', '/v1/missions/run', { mission_id: body.mission_id, operator_key: daemon.key })
    ids.push(body.mission_id)
  }
  return { dir, daemon, ids, data: (name: string) => join(dir, 'data', name) }
}

const known = async (daemon: RunningDaemon): Promise<[string, string][]> =>
  (await daemon.ask('GET', '/v1/missions/list')).body.missions
    .map(({ mission_id: id, status }: { mission_id: string; status: string }) => [id, status])
    .reverse()

t.test('derived files are made again from the journal, whatever became of them', async (t) => {
  const { dir, daemon, ids, data } = await withMissions(t, 3)
  t.equal(await daemon.kill('SIGTERM'), 0)
  const before = lastLines(data('missions.jsonl'))
  rmSync(data('missions.jsonl'))
  writeFileSync(data('runes.json'), '{')
  const again = await RunningDaemon.start(dir)
  t.teardown(() => again.kill())
  t.strictSame(
    await known(again),
    ids.map((id) => [id, 'completed']),
  )
  await again.kill('SIGTERM')
  t.strictSame(lastLines(data('missions.jsonl')), before, 'the same missions, in the same state')
  t.strictSame(Object.keys(before).sort(), [...ids].sort())
})

t.test('a rebuild tells the same as the daemon had left, and a running daemon keeps it out', async (t) => {
  const { dir, daemon, data } = await withMissions(t, 3)
  const rebuild = () => {
    const program = fileURLToPath(new URL('../../bin/nexus.ts', import.meta.url))
    const args = [program, 'journal', 'rebuild', '--json', '--data-dir', join(dir, 'data')]
    return spawnSync(process.execPath, args, { cwd: dir, encoding: 'utf8' })
  }
  const refused = rebuild()
  t.match([refused.status, refused.stderr + refused.stdout], [1, /in use by another daemon/])
  t.equal(await daemon.kill('SIGTERM'), 0)
  const first = JSON.parse(rebuild().stdout)
  t.match(first, { same: true, from_seq: 1, missions: 3, lost: 0, digest: /^[0-9a-f]{64}$/ })

  // Records of another mind: the journal tells what they really are.
  const lines = readFileSync(data('missions.jsonl'), 'utf8')
  writeFileSync(data('missions.jsonl'), lines.replace('do thing 1', 'do thing 9'))
  const second = JSON.parse(rebuild().stdout)
  t.match(second, { same: false, digest: first.digest, lost: 0 })
  t.equal(readFileSync(data('missions.jsonl'), 'utf8'), lines)
})

t.test('a snapshot that is garbage is left out, and everything is read from the journal', async (t) => {
  const { dir, daemon, ids, data } = await withMissions(t, 2)
  await daemon.kill('SIGTERM')
  t.ok(statSync(data('system_state.json')).size > 0, 'a clean stop leaves a snapshot')
  appendFileSync(data('system_state.json'), 'x')
  const again = await RunningDaemon.start(dir)
  t.teardown(() => again.kill())
  t.strictSame(
    await known(again),
    ids.map((id) => [id, 'completed']),
  )
  t.match(again.output.join(''), /snapshot is left out/)
})

t.test(
  'a torn end goes to quarantine and the daemon starts; damage before it ends the start with 74',
  async (t) => {
    const { dir, daemon, ids, data } = await withMissions(t, 2)
    await daemon.kill()
    const next = readFileSync(data('audit.jsonl'), 'utf8').split('\n').length
    appendFileSync(data('audit.jsonl'), `{"v":1,"seq":${next},"b":${next},"ts":"2026`)
    const again = await RunningDaemon.start(dir)
    t.teardown(() => again.kill())
    t.strictSame(
      (await known(again)).map(([id]) => id),
      ids,
    )
    t.match(again.output.join(''), /torn end/)
    await again.kill()

    const bytes = readFileSync(data('audit.jsonl'))
    bytes[300] = (bytes[300] ?? 0) ^ 1
    writeFileSync(data('audit.jsonl'), bytes)
    rmSync(data('system_state.json'), { force: true })
    const refused = await RunningDaemon.start(dir).catch((error: Error) => error.message)
    t.match(refused, /ended with 74.*journal is damaged.*audit\.jsonl line \d+/s)
    t.strictSame(readFileSync(data('audit.jsonl')), bytes, 'the file is untouched')
    truncateSync(data('audit.jsonl'), 0)
  },
)

t.test(
  'a journal that was rolled back ends the start with 74; put back it goes on, or a repair keeps what is known',
  async (t) => {
    const { dir, daemon, ids, data } = await withMissions(t, 2)
    await daemon.kill('SIGTERM')
    const newer = readFileSync(data('audit.jsonl'), 'utf8')
    const older = newer
      .split(/(?<=\n)/)
      .slice(0, 9)
      .join('')
    const all = ids.map((id) => [id, 'completed'])

    writeFileSync(data('audit.jsonl'), older)
    const byMark = await RunningDaemon.start(dir).catch((error: Error) => error.message)
    t.match(byMark, /ended with 74.*older or another one: run\/journal.wm knows record/s)
    rmSync(data('run/journal.wm'))
    const bySnapshot = await RunningDaemon.start(dir).catch((error: Error) => error.message)
    t.match(bySnapshot, /ended with 74.*older or another one: system_state.json knows record/s)
    const verified = nexus(dir, 'journal', 'verify')
    t.match(
      [verified.status, verified.stdout],
      [1, /older or another one: system_state.json[\s\S]*put the newer/],
    )
    t.strictSame(nexus(dir, 'audit', 'verify').stdout, verified.stdout)

    writeFileSync(data('audit.jsonl'), newer)
    const third = await RunningDaemon.start(dir)
    t.teardown(() => third.kill())
    t.strictSame(await known(third), all, 'the newer one is all that it takes')
    await third.kill('SIGTERM')

    writeFileSync(data('audit.jsonl'), older)
    const plan = nexus(dir, 'journal', 'repair')
    t.match([plan.status, plan.stdout], [1, /from a snapshot; what came later did not happen/])
    t.equal(nexus(dir, 'journal', 'repair', '--accept-loss').status, 0)
    const fourth = await RunningDaemon.start(dir)
    t.teardown(() => fourth.kill())
    t.strictSame(await known(fourth), all, 'the state is that of the snapshot')
    t.match((await fourth.ask('GET', '/v1/audit?limit=5')).body.facts, [
      { type: 'journal.segment_opened' },
      { type: 'journal.repaired', d: { how: 'snapshot' } },
    ])
    await fourth.kill('SIGTERM')
    t.equal(nexus(dir, 'journal', 'verify').status, 0)
  },
)

function nexus(dir: string, ...args: readonly string[]) {
  const cli = fileURLToPath(new URL('../../bin/nexus.ts', import.meta.url))
  const command = [cli, ...args, '--data-dir', join(dir, 'data')]
  return spawnSync(process.execPath, command, { encoding: 'utf8', timeout: 30_000 })
}

function lastLines(file: string): Record<string, string> {
  const lines = readFileSync(file, 'utf8').trim().split('\n')
  return Object.fromEntries(
    lines.map((line) => JSON.parse(line)).map(({ mission_id: id, status }) => [id, status]),
  )
}
