import '../support/clean-children.ts'
import { existsSync, realpathSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { RunningDaemon } from '../support/daemon.ts'
import { shortDir } from '../support/short-dir.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const MODULES = [
  'autonomic/forge',
  'autonomic/janitor',
  'cortex/analyst',
  'substrate/archivist',
  'substrate/files',
  'vitals/heartbeat-client',
  'vitals/host-metrics',
]

/** A fresh daemon with the modules of this repository. */
async function raise(t: { teardown(undo: () => unknown): void }, flags: readonly string[] = []) {
  const daemon = await RunningDaemon.start(shortDir(t), ['--modules', join(ROOT, 'modules'), ...flags])
  t.teardown(() => daemon.kill())
  await daemon.until(
    '/readyz',
    ({ status, body }) => status === 200 && body.details.health_ratio === 1,
    60_000,
  )
  return daemon
}

/** Creates a mission as a stranger would, lets it run, and gives what it came to. */
async function ends(daemon: RunningDaemon, goal: string, category: string, more: object = {}) {
  const { body: made } = await daemon.ask('POST', '/v1/missions/create', { goal, category, ...more })
  const { body } = await daemon.ask('POST', '/v1/missions/run', {
    mission_id: made.mission_id,
    wait_ms: 30_000,
  })
  return { made, mission: body.mission ?? body }
}

t.test('every module of this repository comes up well at the first start', async (t) => {
  const daemon = await raise(t)
  const { body } = await daemon.ask('GET', '/v1/modules')
  const states = body.modules.map(
    (module: { module_id: string; state: string; health: { status: string } }) => [
      module.module_id,
      module.state,
      module.health.status,
    ],
  )
  t.strictSame(
    states,
    MODULES.map((id) => [id, 'started', 'healthy']),
  )
})

t.test('a fresh daemon runs a mission of each category, on its own plan, to a real end', async (t) => {
  const daemon = await raise(t)
  const example = { constraints: { max_time_seconds: 60, max_steps: 3 } }
  const all = [
    await ends(daemon, 'Optimize lead conversion process', 'coin', example),
    await ends(daemon, 'Find what is known about conversion', 'library', example),
    await ends(daemon, 'Verify the journal and diagnose the host', 'sanctuary', example),
    await ends(daemon, 'Build a module that counts words', 'forge', example),
  ]
  t.strictSame(
    all.map(({ made, mission }) => [made.decision, mission.status, mission.error]),
    all.map(() => ['SAFE', 'completed', undefined]),
  )
  t.ok(Math.abs(all[0]?.made.score - 73.8) < 5, `the specification's example scores ${all[0]?.made.score}`)
  t.ok(
    all.every(({ mission }) => mission.artifacts.length > 0),
    'each leaves something to open',
  )

  const sealed = { mission_id: 'm-0', goal: 'Count quaggas', category: 'coin', status: 'completed' }
  writeFileSync(join(daemon.dir, 'data/missions/00000000.jsonl'), `${JSON.stringify(sealed)}\n`)
  const quaggas = await ends(daemon, 'Where are the quaggas', 'library', { input: { query: 'quagga' } })
  t.match(quaggas.mission, { status: 'completed', result: { hits: 1 } }, 'sealed files are shown too')
  const own = await ends(daemon, 'Optimize lead conversion process', 'coin', example)
  t.match(own.mission.result, { missions: 6 }, 'five that ended, and the one in the sealed file')
})

const shoppers = join(ROOT, '../shared/data/online_shoppers_intention.csv')
const real = existsSync(shoppers) ? {} : { skip: 'the shoppers data is not beside this checkout' }

t.test('a coin mission counts 1,908 of 12,330 visits, by month and visitor type', real, async (t) => {
  const path = realpathSync(shoppers)
  const daemon = await raise(t, ['--allow-read', join(path, '..')])
  const { mission } = await ends(daemon, 'Optimize lead conversion process', 'coin', {
    input: { path, target: 'Revenue' },
  })
  t.match(mission, { status: 'completed', result: { rows: 12_330, converted: 1_908 } })
  const { body } = await daemon.ask('GET', `/v1/missions/${mission.mission_id}/artifacts/findings.md`)
  t.match(body, /15\.47 %/)
  t.match(body, /\| Nov \| 2,998 \|.*25\.35 %.*23\.83.26\.94 %/)
  t.match(body, /\| New_Visitor \| 1,694 \|.*24\.91 %/)
})
