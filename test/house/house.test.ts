import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'
import { SETTINGS } from '../../daemon/contracts/config.ts'
import { FAILURES } from '../../daemon/contracts/failure.ts'
import { pages } from '../../docs/generate.ts'
import { climbs, mayAskTheSystem, opensPackage, PACKAGES, passesDoor, UNOWNED } from './rules.ts'
import { functionsOf, type Import, importsOf, linesWith, readSources, sourceOf } from './source.ts'

const sources = readSources(['daemon', 'bin', 'aeon-interface', 'modules'])
const imports = sources.flatMap((source) => importsOf(source))
const own = imports.filter(({ isOwn }) => isOwn)

/** What a rule has to say about all imports. */
const complaints = (rule: (given: Import) => string | undefined): string[] =>
  imports.flatMap((given) => rule(given) ?? [])

t.test('the checks see the house at all, and understand what they see', async (t) => {
  t.ok(sources.length > 100 && own.length > 300, `${sources.length} files, ${own.length} imports`)
  t.strictSame(
    own.filter(({ target }) => !existsSync(target)).map(({ file, target }) => `${file}: ${target}`),
    [],
  )
  const lopsided = sources.filter(({ code }) => code.split('{').length !== code.split('}').length)
  t.strictSame(
    lopsided.map(({ file }) => file),
    [],
    'every brace has its partner once text is blanked',
  )
})

t.test('imports only go down', async (t) => {
  t.strictSame(complaints(climbs), [])
})

t.test('rooms are entered by their door', async (t) => {
  const inward = own.filter(
    ({ target }) => target.endsWith('/catalog/catalog.ts') || target.endsWith('/port.ts'),
  )
  t.ok(inward.length > 0, 'some go through a door')
  t.strictSame(complaints(passesDoor), [])
})

t.test('each package has one door, and every door is used', async (t) => {
  t.strictSame(complaints(opensPackage), [])
  const used = new Set(imports.map(({ target }) => target))
  t.strictSame(
    PACKAGES.filter((name) => ![...used].some((target) => target === name || target.startsWith(`${name}/`))),
    [],
  )
  const { dependencies } = JSON.parse(readFileSync('package.json', 'utf8')) as { dependencies: object }
  t.strictSame(Object.keys(dependencies).sort(), [...PACKAGES].sort(), 'and nothing else is installed')
})

t.test('clients know the contracts and nothing else of the daemon', async (t) => {
  const client = own.filter(({ file }) => /^aeon-interface\/(?:live|status|command|wire)\.ts$/.test(file))
  t.ok(client.length > 0, 'the check sees the clients at all')
  const strange = client.filter(
    ({ target }) => target.startsWith('daemon/') && !target.startsWith('daemon/contracts/'),
  )
  t.strictSame(
    strange.map(({ file, target }) => `${file}: ${target}`),
    [],
  )
})

t.test('time and chance come through the ports', async (t) => {
  const found = sources.flatMap((source) => linesWith(source, UNOWNED))
  t.ok(found.length > 0, 'the check sees the ports themselves')
  t.strictSame(
    found.filter((line) => !mayAskTheSystem(line.split(':')[0] ?? '')),
    [],
  )
})

t.test('nobody only passes things on', async (t) => {
  const barrels = sources.filter(({ file, code }) => {
    const statements = code.split('\n').filter((line) => line.trim() !== '')
    const isEntry = file === 'aeon-interface/index.ts'
    return !isEntry && statements.length > 0 && statements.every((line) => /^export\s.*\sfrom\s/.test(line))
  })
  t.strictSame(
    barrels.map(({ file }) => file),
    [],
  )
})

t.test('sizes are told, not enforced', async (t) => {
  const functions = sources.flatMap((source) => functionsOf(source))
  t.ok(functions.length > 500, 'the check sees functions at all')
  for (const { file, line, lines } of functions)
    if (lines > 70) t.comment(`${file}:${line} has ${lines} lines`)
  for (const { file, text } of sources) {
    const lines = text.split('\n').length - 1
    if (lines > 260) t.comment(`${file} has ${lines} lines`)
  }
})

/** Rows of a Markdown table: the first cell without its backquotes, then the others. */
function rowsOf(page: string): string[][] {
  return readFileSync(`docs/${page}`, 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) =>
      line
        .slice(2, -2)
        .split(/ \| /)
        .map((cell) => cell.replaceAll('\\|', '|').trim()),
    )
}

t.test('every failure is documented, and every documented one exists', async (t) => {
  const rows = rowsOf('failures.md')
  t.ok(rows.length > 30, 'the check sees the table at all')
  t.strictSame(
    rows.map(([code = '', status, exit, say, remedy]) => [
      code.slice(1, -1),
      Number(status),
      exit,
      say,
      remedy,
    ]),
    Object.entries(FAILURES).map(([code, entry]) => {
      return [code, entry.status, 'exit' in entry ? String(entry.exit) : '', entry.say, entry.remedy]
    }),
    'run `node docs/generate.ts`',
  )
})

t.test('every failure that somebody says is in the table, and every remedy says something', async (t) => {
  const entries: [string, { readonly say: string; readonly remedy: string }][] = Object.entries(FAILURES)
  const spoken = sources.filter(({ file }) => file !== 'daemon/contracts/failure.ts').map(({ text }) => text)
  const idle = entries.filter(([code]) => !spoken.some((text) => text.includes(`'${code}'`)))
  t.ok(idle.length < entries.length / 2, 'the check sees failures thrown')
  for (const [code] of idle) t.comment(`nobody says ${code}`)
  t.strictSame(
    entries.filter(([, { say, remedy }]) => say === '' || remedy === ''),
    [],
  )
})

t.test('every setting is documented, and every documented one exists', async (t) => {
  const rows = rowsOf('settings.md')
  t.ok(rows.length > 20, 'the check sees the table at all')
  t.strictSame(
    rows.map(([name = '', , standard = '', , why]) => [
      name.slice(1, -1),
      JSON.parse(standard.slice(1, -1)),
      why,
    ]),
    Object.entries(SETTINGS).map(([name, setting]) => [name, setting.default, setting.why]),
    'run `node docs/generate.ts`',
  )
})

t.test('the written pages are what the generator writes', async (t) => {
  for (const [name, text] of Object.entries(pages()))
    t.equal(readFileSync(`docs/${name}`, 'utf8'), text, name)
})

t.test('the checks find what is planted', async (t) => {
  const planted = sourceOf(
    'daemon/catalog/planted.ts',
    [
      "import { readFile } from 'node:fs/promises'",
      "import type { Unit } from '../supervisor/unit.ts'",
      "import { openHosts } from '../host/host.ts'",
      "import 'chokidar'",
      'import {',
      '  many,',
      '  names,',
      "} from '../kit/clock.ts'",
      "export { x } from '../missions/missions.ts'",
      "const late = await import('../gate/gate.ts')",
      "// import { no } from '../insight/insight.ts'",
      'const text = `',
      "import { no } from '../insight/insight.ts'",
      '\u0024{`\u0024{"}"}`} Date.now()',
      '`',
      "const words = 'setTimeout(' + /setTimeout|[/\"]/.source",
      'const now = Date.now() / 2 / new Date().getTime()',
      'setTimeout(() => undefined, 1)',
    ].join('\n'),
  )
  const found = importsOf(planted)
  t.strictSame(
    found.map(({ line, target, isType }) => [line, target, isType]),
    [
      [1, 'node:fs/promises', false],
      [2, 'daemon/supervisor/unit.ts', true],
      [3, 'daemon/host/host.ts', false],
      [4, 'chokidar', false],
      [5, 'daemon/kit/clock.ts', false],
      [9, 'daemon/missions/missions.ts', false],
      [10, 'daemon/gate/gate.ts', false],
    ],
  )
  t.strictSame(
    found.map((given) => [given.line, climbs(given) !== undefined, opensPackage(given) !== undefined]),
    [
      [1, false, false],
      [2, true, false],
      [3, true, false],
      [4, false, true],
      [5, false, false],
      [9, true, false],
      [10, true, false],
    ],
  )
  t.strictSame(linesWith(planted, UNOWNED), [
    'daemon/catalog/planted.ts:17 Date.now',
    'daemon/catalog/planted.ts:17 new Date()',
    'daemon/catalog/planted.ts:18 setTimeout',
  ])

  const reach = (file: string, target: string, isType = false): boolean =>
    passesDoor({ file, line: 1, target, isOwn: true, isType }) !== undefined
  t.strictSame(
    [
      reach('daemon/supervisor/unit.ts', 'daemon/catalog/watch.ts'),
      reach('daemon/supervisor/unit.ts', 'daemon/catalog/watch.ts', true),
      reach('daemon/supervisor/unit.ts', 'daemon/catalog/catalog.ts'),
      reach('daemon/compose.ts', 'daemon/surfaces/http/app.ts'),
      reach('daemon/compose.ts', 'daemon/surfaces/http/http.ts'),
      reach('bin/nexusd.ts', 'daemon/missions/lanes.ts'),
      reach('daemon/supervisor/unit.ts', 'daemon/storage/line.ts'),
      reach('daemon/catalog/scan.ts', 'daemon/catalog/watch.ts'),
    ],
    [true, false, false, true, false, true, false, false],
  )

  const sized = sourceOf(
    'x.ts',
    [
      'function f(',
      '  a: string,',
      '): Promise<void> {',
      '  if (a) {',
      '    b()',
      '  }',
      '}',
      'const g = (): number => {',
      '}',
      'class C {',
      '  m(): void {',
      '  }',
      '}',
    ].join('\n'),
  )
  t.strictSame(
    functionsOf(sized).map(({ line, lines }) => [line, lines]),
    [
      [3, 5],
      [8, 2],
      [11, 2],
    ],
  )
})
