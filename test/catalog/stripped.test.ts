import '../support/clean-children.ts'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { openCatalog } from '../../daemon/catalog/catalog.ts'
import { pruneStripped, stripGeneration } from '../../daemon/catalog/stripped.ts'
import { Stripper } from '../../daemon/catalog/stripper.ts'
import { hashTree } from '../../daemon/catalog/tree.ts'
import { closeGeneration } from '../../daemon/host/child/closed.ts'
import { systemClock } from '../../daemon/kit/clock.ts'
import { RunningDaemon } from '../support/daemon.ts'
import { manifestOf, writeModule } from '../support/module-folder.ts'
import { shortDir } from '../support/short-dir.ts'
import { TestClock } from '../support/test-clock.ts'

type Test = { teardown(undo: () => void): void }

const owners = new Set([0, process.getuid?.() ?? 0])

/** Generations of `g/n` made by hand, and a stripper that only says what it was given. */
function byHand(t: Test) {
  const generationsDir = realpathSync(shortDir(t))
  const stripped: string[] = []
  const home = join(generationsDir, '.stripped/g/n')
  return {
    generationsDir,
    home,
    /** What was stripped since the last call. */
    stripped: () => stripped.splice(0),
    make: async (id: string, files: Readonly<Record<string, string>>) => {
      const dir = join(generationsDir, 'g/n', id)
      for (const [path, text] of Object.entries(files)) {
        mkdirSync(dirname(join(dir, path)), { recursive: true })
        writeFileSync(join(dir, path), text)
      }
      return { dir, files: (await hashTree(dir, { owners })).files }
    },
    strip: async (
      id: string,
      { dir, files }: { dir: string; files: Awaited<ReturnType<typeof hashTree>>['files'] },
    ) =>
      stripGeneration('g/n', id, dir, files, {
        generationsDir,
        strip: async (code) => {
          stripped.push(code)
          if (code === 'die') throw new Error('it died')
          return code.startsWith('enum') ? null : `export default 'the copy of ${code.length}'`
        },
      }),
    copies: (id: string) =>
      existsSync(join(home, id)) ? readdirSync(join(home, id), { recursive: true }).sort() : 'none',
  }
}

t.test(
  'each script is stripped once, whichever generation it is in, and what cannot be has no copy',
  async (t) => {
    const { make, strip, stripped, copies } = byHand(t)
    const files = {
      'index.ts': 'index',
      'lib/part.mts': 'part',
      'odd.ts': 'enum A {}',
      'types.d.ts': 'types',
      'node_modules/dep/dep.ts': 'dep',
      'plain.js': 'js',
    }
    const one = await make('1', files)
    await strip('1', one)
    t.strictSame(
      [stripped().sort(), copies('1')],
      [
        ['enum A {}', 'index', 'part'],
        ['index.ts', 'lib', 'lib/part.mts'],
      ],
    )
    await strip('1', one)
    t.strictSame(stripped(), [], 'not a second time')
    await strip('2', await make('2', { ...files, 'index.ts': 'index, changed' }))
    t.strictSame([stripped(), copies('2')], [['index, changed'], copies('1')], 'only what changed')
    await strip('3', await make('3', { 'plain.js': 'js' }))
    t.strictSame([stripped(), copies('3')], [[], 'none'])
  },
)

t.test('a copy that is torn, changed, too many or without its index is made again', async (t) => {
  const { make, strip, stripped, copies, home } = byHand(t)
  const one = await make('1', { 'index.ts': 'index', 'odd.ts': 'enum A {}' })
  await strip('1', one)
  stripped()
  const text = readFileSync(join(home, '1/index.ts'), 'utf8')
  const damages: Record<string, () => void> = {
    torn: () => truncateSync(join(home, '1/index.ts'), 3),
    changed: () => writeFileSync(join(home, '1/index.ts'), text.replace('copy', 'cops')),
    gone: () => rmSync(join(home, '1/index.ts')),
    planted: () => writeFileSync(join(home, '1/odd.ts'), 'export default "planted"'),
    'without index': () => rmSync(join(home, '1.json')),
    'torn index': () => truncateSync(join(home, '1.json'), 10),
  }
  for (const [how, damage] of Object.entries(damages)) {
    damage()
    await strip('1', one)
    stripped()
    t.strictSame([copies('1'), readFileSync(join(home, '1/index.ts'), 'utf8')], [['index.ts'], text], how)
  }
})

t.test('nothing is stripped that is not what was hashed, and nothing half is left', async (t) => {
  const { make, strip, stripped, copies, home } = byHand(t)
  const one = await make('1', { 'a.ts': 'a', 'b.ts': 'b' })
  writeFileSync(join(one.dir, 'b.ts'), 'x')
  await t.rejects(strip('1', one), { message: /b\.ts is not what was hashed/ })
  t.strictSame([stripped(), copies('1'), readdirSync(home)], [['a'], 'none', []])
  const two = await make('2', { 'a.ts': 'a', 'b.ts': 'die' })
  await t.rejects(strip('2', two), { message: 'it died' })
  t.strictSame(readdirSync(home), [])
})

t.test('copies go with their generations', async (t) => {
  const { make, strip, home, generationsDir } = byHand(t)
  for (const id of ['1', '2']) await strip(id, await make(id, { 'index.ts': id }))
  mkdirSync(join(home, '2.tmp-crashed'))
  await pruneStripped('g/n', ['2'], generationsDir)
  t.strictSame(readdirSync(home).sort(), ['2', '2.json'])
  await pruneStripped('g/other', [], generationsDir)
})

t.test(
  'a host imports the copy under the name of the source, and the source where there is none',
  async (t) => {
    const { make, strip } = byHand(t)
    const text = (what: string): string => `export const at = import.meta.url; export default '${what}'`
    const one = await make('1', {
      'index.ts': "export { default as part } from './part.ts'\nexport { default as odd } from './odd.ts'",
      'part.ts': text('part'),
      'odd.ts': `enum A { B }`,
      'package.json': '{"type": "module"}',
    })
    await strip('1', one)
    closeGeneration(one.dir)
    const load = (name: string): Promise<object> => import(pathToFileURL(join(one.dir, name)).href)
    t.match(await load('part.ts'), { default: `the copy of ${text('part').length}` })
    await t.rejects(load('odd.ts'), { code: 'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX', message: /enum/ })
  },
)

/** Children of this process. */
function children(): string[] {
  const pids = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim().split(' ')
  return pids.filter((pid) => pid !== '' && !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')))
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5))
}

t.test('the stripper keeps lines and columns, and is there only while it is needed', async (t) => {
  const clock = new TestClock()
  const stripper = new Stripper(clock)
  t.teardown(() => stripper.close())
  const before = children().length
  stripper.warm()
  const code = 'type A = 1\nconst a: A = 1 as A; export default a + "\u2028\ud83d\ude00"\n'
  const [js, no, again] = await Promise.all([
    stripper.strip(code),
    stripper.strip('const a: = 1'),
    stripper.strip('let x: number'),
  ])
  t.strictSame(
    [js, no, again, children().length - before],
    ['          \nconst a    = 1     ; export default a + "\u2028\ud83d\ude00"\n', null, 'let x        ', 1],
  )
  await clock.pass(10_000)
  await until(() => children().length === before)
  t.equal(await stripper.strip('let x: number'), 'let x        ', 'and comes again')
})

t.test(
  'a stripper that dies or is silent fails who waits for it, and the next one is a new one',
  async (t) => {
    const clock = new TestClock()
    const stripper = new Stripper(clock)
    t.teardown(() => stripper.close())
    const before = new Set(children())
    stripper.warm()
    const mine = (): number => Number(children().find((pid) => !before.has(pid)))
    await until(() => mine() > 0)
    const dying = stripper.strip('let x')
    process.kill(mine(), 'SIGKILL')
    await t.rejects(dying, { message: /the stripper ended/ })

    stripper.warm()
    await until(() => mine() > 0)
    process.kill(mine(), 'SIGSTOP')
    const silent = stripper.strip('let x')
    await Promise.all([t.rejects(silent, { message: 'the stripper is silent' }), clock.pass(20_000)])
    await until(() => !(mine() > 0))
    t.equal(await stripper.strip('let x'), 'let x')
  },
)

t.test('a catalog makes copies when it stages or hands out a generation, by content', async (t) => {
  const dir = realpathSync(shortDir(t))
  const folder = writeModule(join(dir, 'modules'), 'g/n', {}, { 'index.ts': 'export default {} as object' })
  rmSync(join(folder, 'index.js'))
  const warnings: string[] = []
  const catalog = await openCatalog({
    dirs: [join(dir, 'modules')],
    generationsDir: join(dir, 'data/generations'),
    clock: systemClock,
    quietMs: 0,
    log: (_, message) => warnings.push(message),
  })
  t.teardown(() => catalog.close())
  const { id, dir: generation } = await catalog.stage('g/n')
  const copy = join(dir, 'data/generations/.stripped/g/n', id, 'index.ts')
  t.equal(readFileSync(copy, 'utf8'), 'export default {}          ')
  t.equal(readFileSync(join(generation, 'index.ts'), 'utf8'), 'export default {} as object')
  writeFileSync(copy, 'export default { planted: true }')
  await catalog.kept('g/n', id)
  t.equal(readFileSync(copy, 'utf8'), 'export default {}          ', 'one that was changed is not handed out')
  await catalog.prune('g/n', [])
  t.notOk(existsSync(copy))
  t.strictSame(warnings, [])
})

t.test('in a daemon TypeScript starts, fails with file and line, and is rolled back as ever', async (t) => {
  const dir = shortDir(t)
  const folder = join(dir, 'modules/g/ts')
  mkdirSync(folder, { recursive: true })
  const more = { actions: { say: { description: 'says', idempotent: true } }, timeouts: { settle_ms: 100 } }
  writeFileSync(join(folder, 'module.json'), JSON.stringify(manifestOf('g/ts', more)))
  const code = (extra: string): string => `interface Said { readonly at: string }

export default { actions: { say: (): Said => ({ at: new Error('here').stack?.split('\\n')[1] ?? '' }) }, ${extra} }
`
  const save = (text: string): void => writeFileSync(join(folder, 'index.ts'), text)
  save(code(''))
  const daemon = await RunningDaemon.start(dir)
  t.teardown(() => daemon.kill())
  const { body: status } = await daemon.until('/v1/status/g/ts', ({ body }) => body.state === 'started')
  const { body } = await daemon.command('call_action', { module_id: 'g/ts', action: 'say', input: {} })
  t.match(body.result.output.at, /\/index\.ts:3:53\b/)
  const copy = join(dir, 'data/generations/.stripped/g/ts', status.generation, 'index.ts')
  const [js, ts] = [readFileSync(copy, 'utf8'), code('')]
  t.strictSame(
    [js.length, js.split('\n').length, js.includes('Said')],
    [ts.length, ts.split('\n').length, false],
  )

  const broken: Readonly<Record<string, [string, RegExp]>> = {
    'an enum': [`${code('')}\nenum A { B }\n`, /enum is not supported.*index\.ts:5/s],
    'what does not parse': [`${code('')}const a: = 1\n`, /index\.ts:4/],
    'a decorator': [`${code('')}@sealed class A {}\n`, /index\.ts:4/],
    'a throw in its start': [code('start () {\n  throw new Error("no luck") } '), /no luck.*index\.ts:4/s],
  }
  for (const [what, [text, told]] of Object.entries(broken)) {
    save(text)
    const { status: code, body } = await daemon.command('reload_module', { module_id: 'g/ts' })
    t.equal(code, 409, what)
    t.match(body.error, told, what)
  }
})
