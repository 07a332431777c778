import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { variableOf } from '../../daemon/config-env.ts'
import { type Flags, loadSettings } from '../../daemon/config-load.ts'
import { PRICE_NAMES, WEIGHT_NAMES } from '../../daemon/config-value.ts'
import { SETTINGS, type Setting, type SettingName } from '../../daemon/contracts/config.ts'
import { NexusError } from '../../daemon/contracts/failure.ts'
import { pricesFrom, weightsFrom } from '../../daemon/insight/prices.ts'
import { makeFifo } from '../support/fifo.ts'
import { shortDir } from '../support/short-dir.ts'

interface Case {
  readonly name?: string
  readonly text?: string
  readonly file?: string
  readonly env?: Readonly<Record<string, string>>
  readonly flags?: Flags
}

/** Loads in a new folder with this text as its file. */
async function load(
  t: { teardown(undo: () => void): void },
  { name = 'nexus.yaml', text, file, env = {}, flags = {} }: Case,
) {
  const cwd = shortDir(t)
  if (text !== undefined) writeFileSync(join(cwd, name), text)
  const loaded = await loadSettings({ file, env, flags, cwd })
  return { ...loaded, cwd }
}

/** The lines of the refusal, the folder of the test taken out. */
async function faults(t: { teardown(undo: () => void): void }, given: Case): Promise<string[]> {
  try {
    await load(t, given)
    return []
  } catch (error) {
    if (!(error instanceof NexusError)) throw error
    t.teardown(() => undefined)
    return [`${error.code} ${error.exit}`, ...error.message.split('\n')]
  }
}

t.test('without a file everything is a default, with absolute paths', async (t) => {
  const { settings, origins, cwd, ...rest } = await load(t, {})
  t.strictSame(
    [settings.http, settings.data_dir, settings.modules_dirs, settings.missions.lanes, rest],
    [
      { host: '127.0.0.1', port: 8012 },
      join(cwd, 'data'),
      [join(cwd, 'modules')],
      { coin: 4, forge: 4, library: 4, sanctuary: 4 },
      {},
    ],
  )
  t.strictSame(new Set(Object.values(origins)), new Set(['default']))
  t.strictSame(Object.keys(origins).sort(), Object.keys(SETTINGS).sort())
  t.strictSame(readdirSync(cwd), [], 'nothing was made')
})

t.test(
  'options go before the environment, it before the file, and each says where it came from',
  async (t) => {
    const text = 'http: {port: 1}\nmetrics: {port: 1}\nlog:\n  level: warn\ndata_dir: from-file\n'
    const { settings, origins, cwd } = await load(t, {
      text,
      env: {
        NEXUS_HTTP__PORT: '2',
        NEXUS_METRICS__PORT: '2',
        NEXUS_MODULES_DIRS: 'a:/b',
        NEXUS_LOG__LEVEL: '',
      },
      flags: { 'http.port': '3', allow_read: ['x'] },
    })
    t.strictSame(
      [settings.http.port, settings.metrics.port, settings.log.level, settings.data_dir],
      [3, 2, 'warn', join(cwd, 'from-file')],
    )
    t.strictSame([settings.modules_dirs, settings.allow_read], [[join(cwd, 'a'), '/b'], [join(cwd, 'x')]])
    t.match(origins, {
      'http.port': '--port',
      'metrics.port': 'NEXUS_METRICS__PORT',
      'log.level': 'nexus.yaml:4:10',
      data_dir: 'nexus.yaml:5:11',
      modules_dirs: 'NEXUS_MODULES_DIRS',
      allow_read: '--allow-read',
      'http.host': 'default',
    })
  },
)

t.test('everything that is wrong is told at once, each with its place and the nearest name', async (t) => {
  const text = [
    'http:',
    '  prot: 1',
    '  port: "x"',
    'unknown_key: 1',
    'port: 3',
    'readiness: {max_unhealthy_ratio: 2}',
    'missions:',
    '  lanes: 4',
    'log: {level: loud}',
    'modules_dirs: modules',
    'data_dir: 7',
  ].join('\n')
  const found = await faults(t, {
    text,
    env: { NEXUS_METRICS__PORT: '1.5' },
    flags: { 'journal.segment_mb': '0' },
  })
  t.strictSame(found, [
    'CONFIG_INVALID 78',
    'nexus.yaml:2:3: http.prot is unknown; did you mean http.port?',
    'nexus.yaml:4:1: unknown_key is unknown',
    'nexus.yaml:5:1: port is unknown; did you mean http.port or metrics.port?',
    'nexus.yaml:8:10: missions.lanes must be settings as `name: value`',
    'nexus.yaml:3:9: http.port must be a whole number from 0 to 65535, this is "x"',
    'nexus.yaml:6:34: readiness.max_unhealthy_ratio must be a number from 0 to 1, this is 2',
    'nexus.yaml:9:14: log.level must be one of debug, info, warn, error, this is "loud"',
    'nexus.yaml:10:15: modules_dirs must be a list of paths, this is "modules"',
    'nexus.yaml:11:11: data_dir must be a path, this is 7',
    'NEXUS_METRICS__PORT: metrics.port must be a whole number from 0 to 65535, this is "1.5"',
    '--journal.segment_mb: journal.segment_mb must be a whole number from 1 to 4096, this is "0"',
  ])
})

t.test('trees are checked down to their leaves', async (t) => {
  const text = [
    'tokens:',
    '  - principal: admin@company.com',
    '    roles: [admn]',
    '    sha256: short',
    '    secret: x',
    '  - {principal: a}',
    'modules:',
    '  a/b: {replicas: 99, config: {any: thing}}',
    '  Bad/Name: {}',
    'missions:',
    '  weights: {trust: 0, trsut: 1}',
    '  prices: {slot_second: -1}',
  ].join('\n')
  t.strictSame(await faults(t, { text }), [
    'CONFIG_INVALID 78',
    'nexus.yaml:5:5: tokens/0/secret is unknown',
    'nexus.yaml:3:13: tokens/0/roles/0 must be one of viewer, submitter, operator, aeon, auditor, admin',
    'nexus.yaml:4:5: tokens/0/sha256 must match pattern "^[0-9a-f]{64}$"',
    'nexus.yaml:6:5: tokens/1/roles is missing',
    'nexus.yaml:6:5: tokens/1/sha256 is missing',
    'nexus.yaml:9:3: modules/Bad~1Name is no module id: <group>/<name> in small letters, digits and -',
    'nexus.yaml:8:9: modules/a~1b/replicas must be <= 64',
    'nexus.yaml:11:23: missions.weights/trsut is unknown; did you mean trust?',
    'nexus.yaml:11:13: missions.weights/trust must be > 0',
    'nexus.yaml:12:12: missions.prices/slot_second must be >= 0',
  ])
})

t.test('a good tree arrives as it was written, also from the environment', async (t) => {
  const tokens = [{ principal: 'admin@company.com', roles: ['admin'], sha256: 'a'.repeat(64) }]
  const { settings } = await load(t, {
    text: 'modules:\n  a/b: {enabled: false, replicas: 2, config: {x: [1]}}\nmissions:\n  weights:\nallow_read:\n',
    env: { NEXUS_TOKENS: JSON.stringify(tokens) },
  })
  t.strictSame(
    [settings.tokens, settings.modules, settings.missions.weights, settings.allow_read],
    [tokens, { 'a/b': { enabled: false, replicas: 2, config: { x: [1] } } }, {}, []],
  )
})

t.test('listening where others can reach it is refused, the metrics apart', async (t) => {
  t.match(await faults(t, { env: { NEXUS_HTTP__HOST: '0.0.0.0' } }), [
    'CONFIG_INVALID 78',
    /^NEXUS_HTTP__HOST: http.host must be 127.0.0.1, ::1 or localhost: .* needs TLS and tokens/,
  ])
  const { settings } = await load(t, { flags: { 'metrics.host': '0.0.0.0', 'http.host': '::1' } })
  t.strictSame([settings.metrics.host, settings.http.host], ['0.0.0.0', '::1'])
})

t.test('a variable that was meant for us is a fault, a neighbour of Kubernetes is not', async (t) => {
  t.strictSame(
    await faults(t, {
      env: { NEXUS_HTTP_PORT: '1', NEXUS_FOO__BAR: '1', NEXUS_DATADIR: 'x', NEXUS_TOKENS: 'not json' },
    }),
    [
      'CONFIG_INVALID 78',
      'NEXUS_DATADIR: is no setting; did you mean NEXUS_DATA_DIR?',
      'NEXUS_FOO__BAR: is no setting',
      'NEXUS_HTTP_PORT: is no setting; did you mean NEXUS_HTTP__PORT?',
      'NEXUS_TOKENS: tokens must be array',
    ],
  )
  const env = {
    NEXUS_SOCKET: 's',
    NEXUS_TOKEN_FILE: 't',
    NEXUS_OPERATOR_KEY_FILE: 'k',
    NEXUS_FD: '3',
    NEXUS_TOKEN: 't',
    NEXUS_SERVICE_HOST: '10.0.0.1',
    NEXUS_PORT: 'tcp://10.0.0.1:80',
    NEXUS_HTTP_PORT_80_TCP_ADDR: '10.0.0.1',
    NEXUS_HTTP_SERVICE_PORT: '80',
    NEXUS_SOMETHING_OF_ITS_OWN: 'x',
    PATH: '/bin',
  }
  t.strictSame(await faults(t, { env }), [])
})

t.test('what is no file of settings is refused with its reason', async (t) => {
  const cwd = shortDir(t)
  mkdirSync(join(cwd, 'folder'))
  makeFifo(join(cwd, 'fifo'))
  writeFileSync(join(cwd, 'latin.yaml'), Buffer.from([0x61, 0x3a, 0xff]))
  const say = async (file: string): Promise<string> =>
    (await faults(t, { file: join(cwd, file) }))[1]?.replace(`${cwd}/`, '') ?? ''
  t.strictSame(
    [await say('folder'), await say('fifo'), await say('missing.yaml'), await say('latin.yaml')],
    [
      'folder: is a folder, not a file',
      'fifo: is no plain file',
      'missing.yaml: is not there',
      'latin.yaml: is not UTF-8 text',
    ],
  )
  const [, viaEnv] = await faults(t, { env: { NEXUS_CONFIG: 'gone.yaml' } })
  t.match(viaEnv, /gone\.yaml: is not there$/)
})

t.test('broken, doubled, poisoned and explosive texts name their line', async (t) => {
  // Nine times nine times nine …: a kilobyte that means terabytes.
  const levels = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']
  const lines = levels.map((level, index) => {
    const below = index === 0 ? 'x' : `*${levels[index - 1]}`
    return `      ${level}: &${level} [${Array(9).fill(below)}]`
  })
  const bomb = `modules:\n  a/b:\n    config:\n${lines.join('\n')}\n`
  const texts = {
    empty: '',
    comments: '# nothing yet\n',
    section: 'http:\n',
    twice: 'http: {port: 1}\nhttp: {port: 2}\n',
    broken: 'http: [\n',
    list: '- 1\n',
    two: 'http: {}\n---\nhttp: {}\n',
    proto: 'modules:\n  a/b:\n    config: {__proto__: {x: 1}}\n',
    bomb,
    circle: 'modules: &m {a/b: *m}\n',
  }
  const found: Record<string, string> = {}
  for (const [name, text] of Object.entries(texts)) found[name] = (await faults(t, { text }))[1] ?? 'accepted'
  t.match(found, {
    empty: 'accepted',
    comments: 'accepted',
    section: 'accepted',
    twice: /^nexus\.yaml:2:1: Map keys must be unique/,
    broken: /^nexus\.yaml:[12]:\d+: Flow sequence/,
    list: 'nexus.yaml:1:1: the file must be settings as `name: value`',
    two: /^nexus\.yaml:2:1: Source contains multiple documents/,
    proto: 'nexus.yaml:3:14: __proto__ is a key that no file may have',
    bomb: /^nexus\.yaml:2:3: Excessive alias count/,
    circle: /^nexus\.yaml:1:/,
  })
  t.equal(({} as { x?: unknown }).x, undefined)
})

t.test('a .json file is JSON, with places all the same', async (t) => {
  const say = async (text: string): Promise<string> =>
    (await faults(t, { name: 'nexus.json', text }))[1] ?? 'accepted'
  t.match(
    [
      await say('{"http": {"port": 1}}'),
      await say('# no\n{}'),
      await say('{\n\t"http": {\n\t\t"prt": 1}}'),
      await say('{"http": {"port": 1, "port": 2}}'),
    ],
    [
      'accepted',
      /^nexus\.json: is not JSON/,
      'nexus.json:3:3: http.prt is unknown; did you mean http.port?',
      /^nexus\.json:1:22: Map keys must be unique/,
    ],
  )
})

t.test('every setting can be given by its variable, within its bounds and not beyond', async (t) => {
  const bounded = (Object.entries(SETTINGS) as [SettingName, Setting][]).flatMap(([name, setting]) =>
    setting.kind === 'integer' || setting.kind === 'number' ? [{ name, ...setting }] : [],
  )
  t.ok(bounded.length > 10, 'the check sees numbers at all')
  for (const side of ['min', 'max'] as const) {
    const env = Object.fromEntries(
      bounded.map((setting) => [variableOf(setting.name), String(setting[side])]),
    )
    t.strictSame(await faults(t, { env }), [], side)
  }
  const beyond = Object.fromEntries(bounded.map(({ name, max }) => [variableOf(name), String(max + 1)]))
  t.equal((await faults(t, { env: beyond })).length, bounded.length + 1)
})

t.test('the weights and prices that may be set are those that are understood', async (t) => {
  const all = (names: readonly string[]): Record<string, number> =>
    Object.fromEntries(names.map((name) => [name, 1]))
  t.doesNotThrow(() => weightsFrom(all(WEIGHT_NAMES)))
  t.doesNotThrow(() => pricesFrom(all(PRICE_NAMES)))
  t.throws(() => weightsFrom(all([...WEIGHT_NAMES, 'luck'])))
})
