import {
  appendFileSync,
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openCatalog } from '../../daemon/catalog/catalog.ts'
import { findGeneration, makeGeneration } from '../../daemon/catalog/generation.ts'
import type { ModuleCatalog } from '../../daemon/catalog/port.ts'
import { hashTree } from '../../daemon/catalog/tree.ts'
import { NexusError } from '../../daemon/contracts/failure.ts'
import { type Clock, systemClock } from '../../daemon/kit/clock.ts'
import { makeFifo } from '../support/fifo.ts'
import { writeModule } from '../support/module-folder.ts'
import { shortDir } from '../support/short-dir.ts'
import { TestClock } from '../support/test-clock.ts'

interface Place {
  readonly catalog: ModuleCatalog
  readonly modules: string
  readonly generations: string
}

async function open(t: Tap, clock: Clock = systemClock): Promise<Place> {
  const dir = realpathSync(shortDir(t))
  const [modules, generations] = [join(dir, 'modules'), join(dir, 'data/generations')]
  mkdirSync(modules)
  const log = (): undefined => undefined
  const catalog = await openCatalog({ dirs: [modules], generationsDir: generations, clock, quietMs: 0, log })
  t.teardown(() => catalog.close())
  return { catalog, modules, generations }
}
type Tap = { teardown(undo: () => unknown): void }

/** What an expected failure says, or that there was none. */
async function refusal(work: Promise<unknown>): Promise<string> {
  try {
    await work
    return 'accepted'
  } catch (error) {
    if (error instanceof NexusError) return `${error.code}: ${error.message}`
    throw error
  }
}

/** Every file below a folder with its mode and text. */
function contents(dir: string): Record<string, string> {
  const paths = readdirSync(dir, { recursive: true, encoding: 'utf8' }).sort()
  return Object.fromEntries(
    paths.map((path) => {
      const stats = lstatSync(join(dir, path))
      const mode = (stats.mode & 0o7777).toString(8)
      return [
        path,
        stats.isDirectory() ? `${mode} folder` : `${mode} ${readFileSync(join(dir, path), 'utf8').trim()}`,
      ]
    }),
  )
}

function writeSparse(path: string, sizeMiB: number): void {
  writeFileSync(path, '')
  truncateSync(path, sizeMiB * 1_048_576)
}

t.test('a generation holds the text of its folder and nothing of its surroundings', async (t) => {
  const { catalog, modules, generations } = await open(t)
  const folder = writeModule(
    modules,
    'g/n',
    {},
    {
      'index.js': 'one',
      'lib/tool.sh': 'two',
      'node_modules/dep/index.js': 'dep',
      'shared/part.js': 'part',
      'index.js~': 'backup',
      '.index.js.swp': 'vim',
      '.#index.js': 'emacs',
      '4913': '',
      '.git/HEAD': 'ref',
      '.env': 'A=1',
    },
  )
  chmodSync(join(folder, 'lib/tool.sh'), 0o755)
  chmodSync(join(folder, 'index.js'), 0o664)
  symlinkSync('shared/part.js', join(folder, 'link.js'))
  symlinkSync('shared', join(folder, 'also'))

  const umask = process.umask(0)
  t.teardown(() => process.umask(umask))
  const { id, dir, entry, manifest } = await catalog.stage('g/n')
  const { 'module.json': _, ...files } = contents(dir)
  t.strictSame(files, {
    '.env': '600 A=1',
    also: '700 folder',
    'also/part.js': '600 part',
    'index.js': '600 one',
    lib: '700 folder',
    'lib/tool.sh': '700 two',
    'link.js': '600 part',
    node_modules: '700 folder',
    'node_modules/dep': '700 folder',
    'node_modules/dep/index.js': '600 dep',
    'package.json': '600 {"type":"module"}',
    shared: '700 folder',
    'shared/part.js': '600 part',
  })
  t.strictSame(
    { dir, entry, named: manifest.entry, homes: readdirSync(join(generations, 'g/n')) },
    { dir: join(generations, 'g/n', id), entry: join(dir, 'index.js'), named: 'index.js', homes: [id] },
  )
  t.equal((lstatSync(join(generations, 'g')).mode & 0o777).toString(8), '700')
})

t.test('the id follows content, names and the execute bit, and nothing else', async (t) => {
  const { catalog, modules } = await open(t)
  const folder = writeModule(modules, 'g/n', {}, { 'a.txt': 'x' })
  const ids: Record<string, string> = {}
  const note = async (what: string, change: () => void): Promise<void> => {
    change()
    ids[what] = (await catalog.stage('g/n')).id
  }
  await note('first', () => undefined)
  await note('touched, with a backup beside', () => {
    utimesSync(join(folder, 'a.txt'), 1, 1)
    chmodSync(join(folder, 'a.txt'), 0o640)
    writeFileSync(join(folder, 'a.txt~'), 'old')
    mkdirSync(join(folder, 'empty'))
  })
  await note('the package.json it would get anyway', () => {
    writeFileSync(join(folder, 'package.json'), '{"type":"module"}\n')
  })
  await note('executable', () => chmodSync(join(folder, 'a.txt'), 0o744))
  await note('renamed', () => renameSync(join(folder, 'a.txt'), join(folder, 'b.txt')))
  await note('other bytes', () => writeFileSync(join(folder, 'b.txt'), 'y'))
  const first = ids['first']
  t.strictSame(
    Object.entries(ids).map(([what, id]) => [what, id === first]),
    [
      ['first', true],
      ['touched, with a backup beside', true],
      ['the package.json it would get anyway', true],
      ['executable', false],
      ['renamed', false],
      ['other bytes', false],
    ],
  )
  t.equal(new Set(Object.values(ids)).size, 4)
})

t.test('two trees whose texts run together the same way have two ids', async (t) => {
  const [one, two] = [shortDir(t), shortDir(t)]
  writeFileSync(join(one, 'a'), 'b - 1 c')
  writeFileSync(join(two, 'a'), '')
  writeFileSync(join(two, 'b'), 'c')
  const rules = { owners: new Set([0, process.getuid?.() ?? 0]) }
  t.not((await hashTree(one, rules)).hash, (await hashTree(two, rules)).hash)
})

t.test('what may not become a generation is refused with its name, and leaves nothing behind', async (t) => {
  const { catalog, modules, generations } = await open(t)
  const outside = shortDir(t)
  writeFileSync(join(outside, 'secret'), 'key')
  const spoil: Record<string, (folder: string) => void> = {
    'a link out': (folder) => symlinkSync(join(outside, 'secret'), join(folder, 'x')),
    'a folder link out': (folder) => symlinkSync('/etc', join(folder, 'x')),
    'a link to the root': (folder) => symlinkSync('/', join(folder, 'x')),
    'a circle': (folder) => symlinkSync('..', join(folder, 'x')) ?? mkdirSync(join(folder, 'y')),
    'a circle within': (folder) => {
      mkdirSync(join(folder, 'x'))
      symlinkSync('.', join(folder, 'x/self'))
    },
    'a link to nowhere': (folder) => symlinkSync('gone', join(folder, 'x')),
    'a fifo': (folder) => makeFifo(join(folder, 'x')),
    'a hard link': (folder) => linkSync(join(folder, 'index.js'), join(folder, 'x')),
    'a world-writable file': (folder) => {
      writeFileSync(join(folder, 'x'), '')
      chmodSync(join(folder, 'x'), 0o666)
    },
    'a world-writable folder': (folder) => {
      mkdirSync(join(folder, 'x'))
      chmodSync(join(folder, 'x'), 0o777)
    },
    'a large file': (folder) => writeSparse(join(folder, 'x'), 65),
    'files too large together': (folder) => {
      for (const name of ['x', 'y', 'z']) writeSparse(join(folder, name), 30)
    },
  }
  const said: Record<string, string> = {}
  for (const [what, change] of Object.entries(spoil)) {
    const folder = writeModule(modules, 'g/n')
    change(folder)
    const found = await refusal(catalog.stage('g/n'))
    said[what] = found.replace('g/n: its folder cannot become a generation: ', '').replace(folder, 'FOLDER')
    rmSync(folder, { recursive: true })
  }
  t.strictSame(said, {
    'a link out': 'GENERATION_REFUSED: x is a link that leads out of the folder',
    'a folder link out': 'GENERATION_REFUSED: x is a link that leads out of the folder',
    'a link to the root': 'GENERATION_REFUSED: x is a link that leads out of the folder',
    'a circle': 'GENERATION_REFUSED: x is a link that leads out of the folder',
    'a circle within': 'GENERATION_REFUSED: x/self is a link that leads in a circle',
    'a link to nowhere': 'GENERATION_REFUSED: x is a link that leads nowhere',
    'a fifo': 'GENERATION_REFUSED: x is a FIFO, not a plain file',
    'a hard link':
      'MODULE_INVALID: g/n is invalid: FOLDER/module.json: /entry index.js has a second name elsewhere (a hard link); put a copy of its own there',
    'a world-writable file': 'GENERATION_REFUSED: x may be written by everybody; run `chmod o-w` on it',
    'a world-writable folder': 'GENERATION_REFUSED: x may be written by everybody; run `chmod o-w` on it',
    'a large file': 'GENERATION_REFUSED: the folder has more than 64 MiB',
    'files too large together': 'GENERATION_REFUSED: the folder has more than 64 MiB',
  })
  t.strictSame(readdirSync(join(generations, 'g/n')), [])
})

t.test('a folder with more files than a module has is refused before it is read', async (t) => {
  const folder = writeModule(shortDir(t), 'g/n', {}, { a: '', b: '' })
  const rules = { owners: new Set([process.getuid?.() ?? 0]), filesMax: 3 }
  await t.rejects(hashTree(folder, rules), { message: 'the folder has more than 3 files' })
})

t.test(
  'a file that changes during the copy is noticed, and the copy is of a state the folder had',
  async (t) => {
    const { modules, generations } = await open(t)
    const folder = writeModule(modules, 'g/n', {}, { 'a.txt': 'first', 'z.txt': 'first' })
    const clock = new TestClock()
    let reads = 0
    // Trusted owners are asked for each file: a way to be there at every read.
    const owners = {
      has: () => {
        reads += 1
        // Five for the first reading; the seventh is this file's in the copy, before its bytes are read.
        if (reads === 7) writeFileSync(join(folder, 'a.txt'), 'second')
        return true
      },
    } as unknown as ReadonlySet<number>
    mkdirSync(generations, { recursive: true })
    const making = makeGeneration('g/n', folder, { owners, clock, quietMs: 0, generationsDir: generations })
    while (clock.waiting === 0) await new Promise((resolve) => setImmediate(resolve))
    await clock.pass(50)
    const { id, dir } = await making
    t.equal(reads, 20, 'one copy was thrown away')
    t.strictSame(
      [readFileSync(join(dir, 'a.txt'), 'utf8'), readFileSync(join(dir, 'z.txt'), 'utf8')],
      ['second', 'first'],
    )
    t.equal((await hashTree(folder, { owners })).hash, id)
    t.strictSame(readdirSync(join(generations, 'g/n')), [id])
  },
)

t.test('a file that was saved a moment ago is not copied before it has been quiet', async (t) => {
  const { modules, generations } = await open(t)
  const clock = new TestClock(Date.now() + 60_000)
  const folder = writeModule(modules, 'g/n', {}, { 'code.js': '' })
  const save = (content: string, agoMs: number): void => {
    writeFileSync(join(folder, 'code.js'), content)
    utimesSync(join(folder, 'code.js'), (clock.now() - agoMs) / 1_000, (clock.now() - agoMs) / 1_000)
  }
  save('', 10)
  mkdirSync(generations, { recursive: true })
  const owners = new Set([0, process.getuid?.() ?? 0])
  const making = makeGeneration('g/n', folder, { owners, clock, quietMs: 100, generationsDir: generations })
  while (clock.waiting === 0) await new Promise((resolve) => setImmediate(resolve))
  save('export default {}', 200)
  await clock.pass(90)
  const { dir } = await making
  t.equal(readFileSync(join(dir, 'code.js'), 'utf8'), 'export default {}')
})

t.test('a folder that never rests is refused after five copies', async (t) => {
  const { modules, generations } = await open(t)
  const folder = writeModule(modules, 'g/n', {}, { 'log.txt': '' })
  const clock = new TestClock()
  const owners = {
    has: () => {
      appendFileSync(join(folder, 'log.txt'), 'x')
      return true
    },
  } as unknown as ReadonlySet<number>
  mkdirSync(generations, { recursive: true })
  const making = refusal(
    makeGeneration('g/n', folder, { owners, clock, quietMs: 0, generationsDir: generations }),
  )
  let done = false
  void making.then(() => {
    done = true
  })
  while (!done) await clock.pass(1_000)
  t.equal(
    await making,
    'GENERATION_REFUSED: g/n: its folder cannot become a generation: its files changed during each of 5 copies (log.txt)',
  )
  t.strictSame(readdirSync(join(generations, 'g/n')), [])
})

t.test('a folder that goes while it is copied is refused as gone', async (t) => {
  const { modules, generations } = await open(t)
  const folder = writeModule(modules, 'g/n')
  const clock = new TestClock()
  const owners = {
    has: () => {
      rmSync(folder, { recursive: true, force: true })
      return true
    },
  } as unknown as ReadonlySet<number>
  mkdirSync(generations, { recursive: true })
  const rules = { owners, clock, quietMs: 0, generationsDir: generations }
  const making = refusal(makeGeneration('g/n', folder, rules))
  let done = false
  void making.then(() => {
    done = true
  })
  while (!done) await clock.pass(1_000)
  t.equal(await making, 'GENERATION_REFUSED: g/n: its folder cannot become a generation: it is gone')
})

t.test('swapping a file for a link and back never copies what the link leads to', async (t) => {
  const { modules, generations } = await open(t)
  const folder = writeModule(modules, 'g/n', {}, { part: 'mine' })
  const secret = join(shortDir(t), 'secret')
  writeFileSync(secret, 'theirs')
  const path = join(folder, 'part')
  let turn = 0
  const owners = {
    has: () => {
      turn += 1
      rmSync(path, { force: true })
      if (turn % 3 === 0) symlinkSync(secret, path)
      else writeFileSync(path, 'mine')
      return true
    },
  } as unknown as ReadonlySet<number>
  mkdirSync(generations, { recursive: true })
  const outcomes: string[] = []
  for (let round = 0; round < 20; round += 1) {
    outcomes.push(
      await refusal(
        makeGeneration('g/n', folder, {
          owners,
          clock: systemClock,
          quietMs: 0,
          generationsDir: generations,
        }),
      ),
    )
  }
  const kept = readdirSync(join(generations, 'g/n')).map((id) =>
    readFileSync(join(generations, 'g/n', id, 'part'), 'utf8'),
  )
  t.ok(outcomes.length === 20 && turn > 40, 'the swaps happened')
  t.notOk(kept.includes('theirs'))
})

t.test('the same content is copied once, and what was damaged is copied again', async (t) => {
  const { catalog, modules } = await open(t)
  writeModule(modules, 'g/n', {}, { 'a.txt': 'whole' })
  const first = await catalog.stage('g/n')
  const inode = lstatSync(first.dir).ino
  await catalog.stage('g/n')
  t.equal(lstatSync(first.dir).ino, inode, 'reused')

  for (const dir of [first.dir, join(modules, 'g/n')]) {
    mkdirSync(join(dir, '__pycache__'))
    writeFileSync(join(dir, '__pycache__/a.pyc'), 'compiled')
  }
  const [same, kept] = [await catalog.stage('g/n'), await catalog.kept('g/n', first.id)]
  t.strictSame([same.id, kept.id], [first.id, first.id], 'what Python leaves there is no change')
  t.equal(lstatSync(first.dir).ino, inode, 'and no damage')

  writeFileSync(join(first.dir, 'a.txt'), 'torn')
  t.equal(
    await refusal(catalog.kept('g/n', first.id)),
    `GENERATION_UNKNOWN: g/n has no generation ${first.id}`,
    'an old one is hashed again before it runs',
  )
  const again = await catalog.stage('g/n')
  t.strictSame([again.id, readFileSync(join(again.dir, 'a.txt'), 'utf8')], [first.id, 'whole'])
})

t.test(
  'an older generation is found by its id or by its beginning, and pruned when nobody keeps it',
  async (t) => {
    const { catalog, modules, generations } = await open(t)
    const folder = writeModule(modules, 'g/n', {}, { v: '1' })
    const one = await catalog.stage('g/n')
    writeFileSync(join(folder, 'v'), '2')
    const two = await catalog.stage('g/n')
    mkdirSync(join(generations, 'g/n', `${one.id}.tmp-crashed`))

    t.strictSame(await catalog.kept('g/n', one.id), one)
    t.strictSame(await catalog.kept('g/n', one.id.slice(0, 12)), one)
    await catalog.prune('g/n', [two.id])
    t.strictSame(readdirSync(join(generations, 'g/n')), [two.id])
    t.match(await refusal(catalog.kept('g/n', one.id)), /^GENERATION_UNKNOWN/)
    t.match(await refusal(catalog.kept('g/n', '')), /^GENERATION_UNKNOWN/)
    t.match(await refusal(catalog.kept('../..', one.id)), /^MODULE_UNKNOWN/)
  },
)

t.test('an ambiguous beginning of an id names no generation', async (t) => {
  const { modules, generations } = await open(t)
  for (const end of ['a', 'b']) mkdirSync(join(generations, 'g/n', '0'.repeat(63) + end), { recursive: true })
  const rules = { owners: new Set([0]), clock: systemClock, quietMs: 0, generationsDir: generations }
  t.match(await refusal(findGeneration('g/n', '0'.repeat(8), rules)), /^GENERATION_UNKNOWN/)
  t.ok(modules)
})

t.test('an invalid, an unknown and a circular module are refused by name', async (t) => {
  const { catalog, modules } = await open(t)
  writeModule(modules, 'g/good')
  writeModule(modules, 'g/broken', {}, { 'module.json': '{"id": 1}' })
  writeModule(modules, 'g/a', { requires: ['g/b'] })
  writeModule(modules, 'g/b', { requires: ['g/a'] })
  writeModule(modules, 'g/user', { requires: ['g/a', 'g/nobody'] })

  const entries = await catalog.scan()
  t.strictSame(
    entries.map((entry) => [entry.moduleId, entry.kind === 'valid' ? 'valid' : entry.issues[0]?.detail]),
    [
      ['g/a', 'form a circle: g/a → g/b → g/a; take one of them out'],
      ['g/b', 'form a circle: g/a → g/b → g/a; take one of them out'],
      ['g/broken', 'is missing'],
      ['g/good', 'valid'],
      ['g/user', 'valid'],
    ],
  )
  t.match(await refusal(catalog.stage('g/a')), /^MODULE_INVALID: g\/a is invalid: .*form a circle/)
  t.match(await refusal(catalog.stage('g/broken')), /^MODULE_INVALID: .*\/version is missing/)
  t.equal(
    await refusal(catalog.stage('g/god')),
    'MODULE_UNKNOWN: no module is named g/god; did you mean g/good?',
  )

  writeModule(modules, 'g/b')
  t.match(await catalog.look('g/b'), { kind: 'valid' })
  t.match(await catalog.look('g/a'), { kind: 'valid' }, 'the circle is broken')
  rmSync(join(modules, 'g/b'), { recursive: true })
  t.equal(await catalog.look('g/b'), undefined)
})

t.test('a module folder may be a link, and runs from where it leads', async (t) => {
  const { catalog, modules } = await open(t)
  const releases = shortDir(t)
  writeModule(releases, 'g/n', {}, { v: '1' })
  mkdirSync(join(modules, 'g'))
  symlinkSync(join(releases, 'g/n'), join(modules, 'g/n'))
  symlinkSync('/', join(modules, 'g/evil'))
  const entries = await catalog.scan()
  t.match(entries, [
    { moduleId: 'g/evil', kind: 'invalid' },
    { moduleId: 'g/n', kind: 'valid' },
  ])
  const { dir } = await catalog.stage('g/n')
  t.equal(readFileSync(join(dir, 'v'), 'utf8'), '1')
})
