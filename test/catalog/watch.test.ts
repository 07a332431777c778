import { mkdirSync, realpathSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openCatalog } from '../../daemon/catalog/catalog.ts'
import { Quiet } from '../../daemon/catalog/quiet.ts'
import { folderStamp } from '../../daemon/catalog/stamp.ts'
import { systemClock } from '../../daemon/kit/clock.ts'
import { writeModule } from '../support/module-folder.ts'
import { shortDir } from '../support/short-dir.ts'
import { TestClock } from '../support/test-clock.ts'

/** A quiet of 100 ms over things whose stamp the test sets. */
function quietOf() {
  const clock = new TestClock()
  const stamps = new Map<string, string>()
  const told: string[] = []
  const quiet = new Quiet<string>({
    clock,
    quietMs: 100,
    stamp: async (id) => stamps.get(id) ?? 'same',
    touched: (id) => told.push(`touched ${id}`),
    settled: (id) => told.push(`settled ${id} at ${clock.elapsed()}`),
  })
  return { clock, stamps, told, quiet }
}

t.test('tells at the first sign, and once more when all is quiet', async (t) => {
  const { clock, told, quiet } = quietOf()
  quiet.note('a')
  await clock.pass(90)
  quiet.note('a')
  quiet.note('b')
  await clock.pass(99)
  t.strictSame(told, ['touched a', 'touched b'])
  await clock.pass(1)
  t.strictSame(told.slice(2), ['settled a at 190', 'settled b at 190'])
  quiet.note('a')
  await clock.pass(100)
  t.strictSame(told.slice(4), ['touched a', 'settled a at 290'])
  t.equal(clock.waiting, 0)
})

t.test('a storm of ten thousand events is one change', async (t) => {
  const { clock, told, quiet } = quietOf()
  for (let event = 0; event < 10_000; event += 1) quiet.note('a')
  await clock.pass(1_000)
  t.strictSame(told, ['touched a', 'settled a at 100'])
})

t.test('a file that grows without an event keeps its folder restless', async (t) => {
  const { clock, stamps, told, quiet } = quietOf()
  quiet.note('a')
  for (let half = 0; half < 4; half += 1) {
    stamps.set('a', `grown ${half}`)
    await clock.pass(50)
  }
  t.strictSame(told, ['touched a'])
  await clock.pass(50)
  t.strictSame(told, ['touched a', 'settled a at 250'])
})

t.test('a folder that is written to without end is looked at after five seconds', async (t) => {
  const { clock, told, quiet } = quietOf()
  for (let ms = 0; ms < 5_200; ms += 20) {
    quiet.note('a')
    await clock.pass(20)
  }
  t.match(told.slice(0, 2), ['touched a', /^settled a at 50\d\d$/])
})

t.test('says nothing any more once it is closed, not even what was under way', async (t) => {
  const { clock, told, quiet } = quietOf()
  quiet.note('a')
  quiet.close()
  quiet.note('b')
  await clock.pass(1_000)
  t.strictSame([told, clock.waiting], [['touched a'], 0])
})

t.test('a stamp follows sizes, times, inodes, modes and links, and has a word for nothing', async (t) => {
  const dir = shortDir(t)
  const folder = writeModule(dir, 'g/n', {}, { 'src/a.js': '1' })
  const first = await folderStamp(folder)
  writeFileSync(join(folder, 'a.js~'), '')
  mkdirSync(join(folder, 'node_modules'))
  t.equal(await folderStamp(folder), first, 'passing files do not count')
  writeFileSync(join(folder, 'src/b.js'), '1')
  t.not(await folderStamp(folder), first)
  t.equal(await folderStamp(join(dir, 'none')), 'ENOENT')
})

interface Ears {
  readonly modules: string
  /** Resolves with everything told since the last call, each once, as soon as this module has settled. */
  settled(moduleId: string): Promise<string[]>
  close(): Promise<void>
}

async function watching(t: { teardown(undo: () => unknown): void }, ids: readonly string[]): Promise<Ears> {
  const dir = realpathSync(shortDir(t))
  const modules = join(dir, 'modules')
  mkdirSync(modules)
  for (const id of ids) writeModule(modules, id)
  const catalog = await openCatalog({
    dirs: [modules],
    generationsDir: join(dir, 'generations'),
    clock: systemClock,
    quietMs: 100,
    log: () => undefined,
  })
  // The daemon's timers do not keep a process alive; a test that waits must.
  const alive = setInterval(() => undefined, 1_000)
  t.teardown(() => clearInterval(alive))
  t.teardown(() => catalog.close())
  let told: string[] = []
  let wake: () => void = () => undefined
  const tell = (word: string) => (moduleId: string) => {
    told.push(`${word} ${moduleId}`)
    wake()
  }
  await catalog.watch({ touched: tell('touched'), settled: tell('settled') })
  return {
    modules,
    async settled(moduleId) {
      while (!told.includes(`settled ${moduleId}`))
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      const all = [...new Set(told)]
      told = []
      return all
    },
    close: () => catalog.close(),
  }
}

const once = (moduleId: string): string[] => [`touched ${moduleId}`, `settled ${moduleId}`]

t.test('every way to save is one change of one module', async (t) => {
  const { modules, settled } = await watching(t, ['g/a', 'g/b'])
  const entry = join(modules, 'g/a/index.js')

  writeFileSync(entry, 'in place')
  t.strictSame(await settled('g/a'), once('g/a'), 'written in place')

  writeFileSync(join(modules, 'g/a/.index.js.swp'), 'vim')
  writeFileSync(join(modules, 'g/a/4913'), '')
  rmSync(join(modules, 'g/a/4913'))
  renameSync(entry, `${entry}~`)
  writeFileSync(entry, 'as vim does')
  rmSync(`${entry}~`)
  rmSync(join(modules, 'g/a/.index.js.swp'))
  t.strictSame(await settled('g/a'), once('g/a'), 'backup, new file, backup gone')

  writeFileSync(join(modules, 'g/a/.tmp-x'), 'renamed over')
  renameSync(join(modules, 'g/a/.tmp-x'), entry)
  t.strictSame(await settled('g/a'), once('g/a'), 'renamed over')

  mkdirSync(join(modules, 'g/a/src/deep'), { recursive: true })
  writeFileSync(join(modules, 'g/a/src/deep/part.js'), 'new')
  t.strictSame(await settled('g/a'), once('g/a'), 'a new file in new folders')

  rmSync(join(modules, 'g/a/src'), { recursive: true })
  t.strictSame(await settled('g/a'), once('g/a'), 'a folder removed')
})

t.test('passing files, dependencies and hidden folders are no change', async (t) => {
  const { modules, settled } = await watching(t, ['g/a', 'g/b'])
  for (const path of [
    'g/a/index.js~',
    'g/a/.#index.js',
    'g/a/node_modules/dep/x.js',
    'g/a/.git/HEAD',
    'g/.x/y',
  ]) {
    mkdirSync(join(modules, path, '..'), { recursive: true })
    writeFileSync(join(modules, path), 'x')
  }
  writeFileSync(join(modules, 'g/b/index.js'), 'x')
  t.strictSame(await settled('g/b'), once('g/b'))
})

t.test('modules that come, go, move and are swapped for another are all noticed', async (t) => {
  const { modules, settled } = await watching(t, ['g/a'])
  const outside = join(modules, '..')

  writeModule(modules, 'g/new')
  t.strictSame(await settled('g/new'), once('g/new'), 'a module made')
  writeFileSync(join(modules, 'g/new/index.js'), 'again')
  t.strictSame(await settled('g/new'), once('g/new'), 'and changed')
  rmSync(join(modules, 'g/new'), { recursive: true })
  t.strictSame(await settled('g/new'), once('g/new'), 'and removed')

  writeModule(outside, 'h/moved')
  renameSync(join(outside, 'h'), join(modules, 'h'))
  t.match(await settled('h/moved'), once('h/moved'), 'a whole group moved in')
  writeFileSync(join(modules, 'h/moved/index.js'), 'x')
  await settled('h/moved')
  renameSync(join(modules, 'h'), join(outside, 'gone'))
  t.match(await settled('h/moved'), once('h/moved'), 'and out')

  writeModule(outside, 'other/a', {}, { 'index.js': 'other' })
  renameSync(join(modules, 'g/a'), join(outside, 'old'))
  renameSync(join(outside, 'other/a'), join(modules, 'g/a'))
  await settled('g/a')
  writeFileSync(join(modules, 'g/a/index.js'), 'x')
  t.strictSame(
    await settled('g/a'),
    once('g/a'),
    'a folder put in place of another is watched like the first',
  )
})

t.test('a link from release to release is followed, and no link leads the watcher astray', async (t) => {
  const { modules, settled } = await watching(t, ['g/b'])
  const releases = join(modules, '../releases')
  for (const release of ['1', '2']) writeModule(releases, `${release}/a`)
  symlinkSync(join(releases, '1/a'), join(modules, 'g/a'))
  await settled('g/a')

  symlinkSync(join(releases, '2/a'), join(modules, 'g/next'))
  renameSync(join(modules, 'g/next'), join(modules, 'g/a'))
  await settled('g/a')
  writeFileSync(join(releases, '2/a/index.js'), 'x')
  t.strictSame(
    (await settled('g/a')).filter((word) => word.endsWith('g/a')),
    once('g/a'),
    'the new target is watched',
  )

  symlinkSync('/', join(modules, 'g/b/root'))
  symlinkSync('.', join(modules, 'g/b/circle'))
  symlinkSync('/', join(modules, 'g/root'))
  writeFileSync(join(modules, 'g/b/index.js'), 'x')
  t.strictSame(await settled('g/b'), once('g/b'), 'links out, or in a circle, are not even a change')
})

t.test('once closed, nothing is told', async (t) => {
  const ears = await watching(t, ['g/a', 'g/b'])
  writeFileSync(join(ears.modules, 'g/a/index.js'), 'x')
  await ears.settled('g/a')
  await ears.close()
  writeFileSync(join(ears.modules, 'g/b/index.js'), 'x')
  // A second watcher hears of it, so the first one would have.
  const other = await openCatalog({
    dirs: [ears.modules],
    generationsDir: join(ears.modules, '../generations'),
    clock: systemClock,
    quietMs: 100,
    log: () => undefined,
  })
  t.teardown(() => other.close())
  const heard = new Promise<string>((resolve) => {
    void other.watch({ touched: () => undefined, settled: resolve }).then(() => {
      writeFileSync(join(ears.modules, 'g/a/index.js'), 'y')
    })
  })
  t.equal(await heard, 'g/a')
  const silent = await Promise.race([ears.settled('g/b'), Promise.resolve('silence')])
  t.equal(silent, 'silence')
})
