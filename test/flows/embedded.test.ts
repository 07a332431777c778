import '../support/clean-children.ts'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { executeCommand, initInterfaces, SecurityContext, UniversalDaemon } from '../../index.ts'
import { writeModule } from '../support/daemon.ts'
import { shortDir } from '../support/short-dir.ts'

t.test('a daemon in this process takes the operator key where a command asks for it', async (t) => {
  const dir = shortDir(t)
  writeModule(dir, 'tests/idle', 'export default { async start () {} }')
  const daemon = new UniversalDaemon({
    cwd: dir,
    env: {
      PATH: process.env['PATH'],
      NEXUS_HTTP__PORT: '0',
      NEXUS_METRICS__PORT: '0',
      NEXUS_LOG__LEVEL: 'error',
    },
    securityContext: new SecurityContext({ principal: 'embedder@example.com', roles: ['admin'] }),
  })
  await daemon.initialize()
  t.teardown(() => daemon.stop())
  initInterfaces(daemon)
  t.teardown(() => initInterfaces(null))
  t.strictSame(await daemon.discoverAndLoadModules([join(dir, 'modules')]), ['tests/idle'])
  await daemon.start()

  const unlock = { module_id: 'tests/idle', reason: 'it is well again' }
  const key = readFileSync(join(dir, 'data/operator_pin.txt'), 'utf8').trim()
  const refused = async (params: object): Promise<unknown> =>
    daemon.command('unlock_module', params as Record<string, unknown>).then(
      (result) => result,
      (error: { code?: string }) => error.code,
    )
  t.strictSame(
    [
      await refused(unlock),
      await refused({ ...unlock, operator_key: `${key.slice(0, -1)}_` }),
      await refused({ ...unlock, operator_key: 'nexusmon_sovereign_key' }),
      await refused({ ...unlock, operator_key: key }),
    ],
    ['OPERATOR_KEY_REQUIRED', 'UNAUTHENTICATED', 'PUBLISHED_KEY', 'MODULE_WRONG_STATE'],
    'absent, wrong, published; the right one finds that nothing is locked',
  )
  t.match(await executeCommand('stop_module', { module_id: 'tests/idle' }), { success: true })
  const records = readFileSync(join(dir, 'data/audit.jsonl'), 'utf8')
  t.match(records, /embedder@example\.com\+operator-/, 'the records tell who used the key')
  t.notOk(records.includes(key))
})
