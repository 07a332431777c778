import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openCatalog } from '../../daemon/catalog/catalog.ts'
import type { ModuleCatalog } from '../../daemon/catalog/port.ts'
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

t.test('the longer something does not rest, the more rarely it is looked at', async (t) => {
  const { clock, told, quiet } = quietOf()
  for (let ms = 0; ms < 80_000; ms += 40) {
    quiet.note('a')
    await clock.pass(40)
  }
  const times = told.flatMap((word) => /^settled a at (\d+)$/.exec(word)?.[1] ?? []).map(Number)
  t.strictSame(
    times.map((ms, index) => Math.round((ms - (times[index - 1] ?? 0)) / 1_000)),
    [5, 10, 20, 40],
  )
  await clock.pass(1_000_000)
  quiet.note('a')
  await clock.pass(100)
  for (let ms = 0; ms < 6_000; ms += 40) {
    quiet.note('a')
    await clock.pass(40)
  }
  t.match(told.at(-2), /^settled a/, 'and once it has rested, as soon as ever')
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
  readonly catalog: ModuleCatalog
  /** Resolves with everything told since the last call, each once, as soon as this module has settled. */
  settled(moduleId: string): Promise<string[]>
  /** How often each settled. Changes `g/sentinel` twice, and waits for it: whatever came before has been told then. */
  counts(): Promise<Record<string, number>>
  close(): Promise<void>
}

async function watching(
  t: { teardown(undo: () => unknown): void },
  ids: readonly string[],
  modules = join(realpathSync(shortDir(t)), 'modules'),
): Promise<Ears> {
  const dir = realpathSync(shortDir(t))
  if (!existsSync(modules)) mkdirSync(modules)
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
  const isRestless = (): boolean => {
    const last = new Map(told.map((word) => word.split(' ').reverse() as [string, string]))
    return [...last.values()].includes('touched')
  }
  const heard = async (moduleId: string): Promise<string[]> => {
    while (!told.includes(`settled ${moduleId}`) || isRestless())
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    const all = told
    told = []
    return all
  }
  let turn = 0
  return {
    modules,
    catalog,
    settled: async (moduleId) => [...new Set(await heard(moduleId))],
    async counts() {
      const words: string[] = []
      for (const end = turn + 2; turn < end; turn += 1) {
        writeFileSync(join(modules, 'g/sentinel/index.js'), `// ${turn}`)
        words.push(...(await heard('g/sentinel')))
      }
      const counted: Record<string, number> = {}
      for (const word of words) {
        const [what, moduleId = ''] = word.split(' ')
        if (what === 'settled' && moduleId !== 'g/sentinel') counted[moduleId] = (counted[moduleId] ?? 0) + 1
      }
      return counted
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

/** Each a way to save `index.js`, from the traces of real editors. */
const EDITORS: Readonly<Record<string, (folder: string, text: string) => void>> = {
  'vim, with a backup': (folder, text) => {
    const file = join(folder, 'index.js')
    writeFileSync(join(folder, '.index.js.swp'), 'b0VIM')
    writeFileSync(join(folder, '4913'), '')
    rmSync(join(folder, '4913'))
    renameSync(file, `${file}~`)
    writeFileSync(file, text)
    rmSync(`${file}~`)
    rmSync(join(folder, '.index.js.swp'))
  },
  'emacs, with a lock and its own saving': (folder, text) => {
    symlinkSync('me@host.4711:1700000000', join(folder, '.#index.js'))
    writeFileSync(join(folder, '#index.js#'), text)
    renameSync(join(folder, 'index.js'), join(folder, 'index.js~'))
    writeFileSync(join(folder, 'index.js'), text)
    rmSync(join(folder, '#index.js#'))
    rmSync(join(folder, '.#index.js'))
    rmSync(join(folder, 'index.js~'))
  },
  'JetBrains, by a safe write': (folder, text) => {
    const file = join(folder, 'index.js')
    writeFileSync(`${file}___jb_tmp___`, text)
    renameSync(file, `${file}___jb_old___`)
    renameSync(`${file}___jb_tmp___`, file)
    rmSync(`${file}___jb_old___`)
  },
  'VS Code, emptied and written': (folder, text) => {
    writeFileSync(join(folder, 'index.js'), '')
    writeFileSync(join(folder, 'index.js'), text)
  },
  'sed -i, renamed over': (folder, text) => {
    writeFileSync(join(folder, 'sedA1b2C3'), text)
    renameSync(join(folder, 'sedA1b2C3'), join(folder, 'index.js'))
  },
}

t.test('a save by any editor is one change, and its passing files alone are none', async (t) => {
  const { modules, catalog, counts } = await watching(t, ['g/a', 'g/sentinel'])
  const folder = join(modules, 'g/a')
  const ids = new Set<string>()
  for (const [how, save] of Object.entries(EDITORS)) {
    save(folder, `export default {} // ${how}`)
    t.strictSame(await counts(), { 'g/a': 1 }, how)
    ids.add((await catalog.stage('g/a')).id)
  }
  t.equal(ids.size, Object.keys(EDITORS).length, 'each left another text')
  for (const name of ['.index.js.swp', '4913', '#index.js#', 'index.js~', 'index.js___jb_tmp___']) {
    writeFileSync(join(folder, name), 'x')
    rmSync(join(folder, name))
  }
  t.strictSame(await counts(), {})
})

t.test('a touch settles once and leaves the generation what it was', async (t) => {
  const { modules, catalog, counts } = await watching(t, ['g/a', 'g/sentinel'])
  const { id } = await catalog.stage('g/a')
  for (const name of ['index.js', 'module.json']) utimesSync(join(modules, 'g/a', name), 1, 1)
  t.strictSame(await counts(), { 'g/a': 1 })
  t.equal((await catalog.stage('g/a')).id, id)
})

t.test('ten thousand real events in one folder are one change', async (t) => {
  const { modules, counts } = await watching(t, ['g/a', 'g/sentinel'])
  for (let event = 0; event < 10_000; event += 1) {
    appendFileSync(join(modules, 'g/a', event % 2 === 0 ? 'index.js' : 'other.js'), '/')
  }
  t.strictSame(await counts(), { 'g/a': 1 })
})

t.test('what the kernel dropped in a flood is found all the same, and nothing else is told', async (t) => {
  const { modules, settled, counts } = await watching(t, ['g/a', 'g/b', 'g/c', 'g/sentinel'])
  await counts() // by now the first stamps are there
  const limit = Number(readFileSync('/proc/sys/fs/inotify/max_queued_events', 'utf8'))
  // Equal events in a row are one for the kernel, so two files take turns. The loop turns not once meanwhile.
  const noise = ['index.js', 'module.json'].map((name) => join(modules, 'g/a', name))
  for (let event = 0; event < limit + 1_000; event += 1) utimesSync(noise[event % 2] as string, event, event)
  writeFileSync(join(modules, 'g/b/index.js'), 'dropped')
  await settled('g/b')
  t.strictSame(await counts(), {})
})

t.test('a ConfigMap that is mounted anew is one change, and none when only its date is new', async (t) => {
  const { modules, catalog, settled, counts } = await watching(t, ['g/sentinel'])
  const folder = join(modules, 'g/cm')
  const manifest = JSON.stringify({ id: 'g/cm', version: '1.0.0', description: 'from a ConfigMap' })
  /** As the kubelet does: a new folder, a new link to it, renamed over the old one; then the old folder goes. */
  const mount = (version: string, code: string, former?: string): void => {
    mkdirSync(join(folder, `..${version}`), { recursive: true })
    writeFileSync(join(folder, `..${version}/module.json`), manifest)
    writeFileSync(join(folder, `..${version}/index.js`), code)
    symlinkSync(`..${version}`, join(folder, '..data_tmp'))
    renameSync(join(folder, '..data_tmp'), join(folder, '..data'))
    if (former !== undefined) rmSync(join(folder, `..${former}`), { recursive: true })
    else for (const name of ['module.json', 'index.js']) symlinkSync(`..data/${name}`, join(folder, name))
  }
  mount('2026_01', 'export default {} // 1')
  await settled('g/cm')
  const first = await catalog.stage('g/cm')
  mount('2026_02', 'export default {} // 2', '2026_01')
  t.strictSame(await counts(), { 'g/cm': 1 })
  const second = await catalog.stage('g/cm')
  mount('2026_03', 'export default {} // 2', '2026_02')
  t.strictSame(await counts(), { 'g/cm': 1 })
  const third = await catalog.stage('g/cm')
  t.not(second.id, first.id)
  t.equal(third.id, second.id)
  mount('2026_04', 'export default {} // 4', '2026_03')
  t.strictSame(await counts(), { 'g/cm': 1 }, 'and so it goes on')
})

t.test('a folder with modules that is reached by links, or exchanged as a whole, is followed', async (t) => {
  const root = realpathSync(shortDir(t))
  const release = (name: string, text: string): void => {
    writeModule(join(root, name, 'modules'), 'g/a', {}, { 'index.js': text })
    writeModule(join(root, name, 'modules'), 'g/same')
    writeModule(join(root, name, 'modules'), 'g/sentinel')
  }
  release('r1', 'one')
  release('r2', 'two')
  release('r3', 'three')
  symlinkSync('r1', join(root, 'current'))
  const { catalog, settled, counts, modules } = await watching(t, [], join(root, 'current/modules'))
  const [one, same] = [await catalog.stage('g/a'), await catalog.stage('g/same')]

  symlinkSync('r2', join(root, 'next'))
  renameSync(join(root, 'next'), join(root, 'current'))
  await settled('g/a')
  t.not((await catalog.stage('g/a')).id, one.id, 'the link was turned')
  t.equal((await catalog.stage('g/same')).id, same.id, 'what is the same stays the same')
  await counts()
  writeFileSync(join(root, 'r1/modules/g/a/index.js'), 'nobody runs this any more')
  writeFileSync(join(root, 'r2/modules/g/same/index.js'), 'saved')
  t.strictSame(await counts(), { 'g/same': 1 }, 'and the new place is watched, not the old one')

  renameSync(join(root, 'r2/modules'), join(root, 'old'))
  renameSync(join(root, 'r3/modules'), join(root, 'r2/modules'))
  await settled('g/a')
  t.equal(readFileSync((await catalog.stage('g/a')).entry, 'utf8'), 'three', 'the folder was exchanged')
  await counts()
  writeFileSync(join(modules, 'g/a/index.js'), 'four')
  t.strictSame(await counts(), { 'g/a': 1 })
})

t.test('a link behind a link that is turned is noticed as well', async (t) => {
  const { modules, catalog, settled, counts } = await watching(t, ['g/sentinel'])
  const outside = join(modules, '..')
  for (const name of ['r1', 'r2']) writeModule(join(outside, name), 'a', { id: 'g/a' }, { 'index.js': name })
  symlinkSync('r1', join(outside, 'current'))
  symlinkSync('../../current/a', join(modules, 'g/a'))
  await settled('g/a')
  await counts()
  symlinkSync('r2', join(outside, 'next'))
  renameSync(join(outside, 'next'), join(outside, 'current'))
  await settled('g/a')
  t.equal(readFileSync((await catalog.stage('g/a')).entry, 'utf8'), 'r2')
})

t.test('a checkout changes each module once, and one back and forth leaves what was', async (t) => {
  const root = realpathSync(shortDir(t))
  const git = (...args: string[]): string =>
    execFileSync('git', ['-C', root, '-c', 'user.name=t', '-c', 'user.email=t@t', ...args], {
      encoding: 'utf8',
      stdio: 'pipe',
    })
  try {
    git('init', '-q', '-b', 'one')
  } catch {
    t.pass('# skipped: git is not installed')
    return
  }
  const ids = Array.from({ length: 30 }, (_, index) => `g/m${index}`)
  const commit = (text: string): void => {
    for (const id of ids) {
      writeModule(join(root, 'modules'), id, {}, { 'index.js': text, 'lib/a.js': text })
    }
    git('add', '.')
    git('commit', '-q', '-m', text)
  }
  writeFileSync(join(root, '.gitignore'), 'sentinel\n')
  commit('one')
  git('checkout', '-q', '-b', 'two')
  commit('two')
  git('checkout', '-q', 'one')
  const { catalog, counts } = await watching(t, ['g/sentinel'], join(root, 'modules'))
  const generations = async (): Promise<string[]> => {
    const all: string[] = []
    for (const id of ids) all.push((await catalog.stage(id)).id)
    return all
  }
  const onceEach = Object.fromEntries(ids.map((id) => [id, 1]))
  const one = await generations()

  git('checkout', '-q', 'two')
  t.strictSame(await counts(), onceEach)
  const two = await generations()
  t.equal(two.filter((id) => one.includes(id)).length, 0, 'everything changed')
  git('checkout', '-q', 'one')
  git('checkout', '-q', 'two')
  t.strictSame(await counts(), onceEach)
  t.strictSame(await generations(), two)
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
