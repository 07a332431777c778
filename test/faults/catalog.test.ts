import '../support/clean-children.ts'
import { execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import t from 'tap'
import { openCatalog } from '../../daemon/catalog/catalog.ts'
import type { CatalogEntry, ModuleCatalog } from '../../daemon/catalog/port.ts'
import { NexusError } from '../../daemon/contracts/failure.ts'
import { systemClock } from '../../daemon/kit/clock.ts'
import { RunningDaemon, writeModule as writeRunning } from '../support/daemon.ts'
import { makeFifo } from '../support/fifo.ts'
import { manifestOf, writeModule } from '../support/module-folder.ts'
import { shortDir } from '../support/short-dir.ts'

/*
 * The rows F75 to F84 of the fault catalogue: what lies on disk is text from strangers. Each test names its row.
 * `NEXUS_FAULT_RUNS` takes the random ones further than every run of the suite does.
 */

const RUNS = Number(process.env['NEXUS_FAULT_RUNS'] ?? 0)
const isRoot = process.getuid?.() === 0
t.setTimeout(RUNS > 0 ? 3_600_000 : 170_000)

interface Place {
  readonly dir: string
  readonly modules: string
  readonly generations: string
  readonly catalog: ModuleCatalog
  readonly warnings: string[]
  /** `group/name`, and `valid` or what is wrong. */
  verdicts(): Promise<Record<string, string>>
}

async function open(t: Test): Promise<Place> {
  const dir = realpathSync(shortDir(t))
  const [modules, generations] = [join(dir, 'modules'), join(dir, 'data/generations')]
  mkdirSync(modules)
  const warnings: string[] = []
  const catalog = await openCatalog({
    dirs: [modules],
    generationsDir: generations,
    clock: systemClock,
    quietMs: 0,
    log: (_, message) => warnings.push(message),
  })
  t.teardown(() => catalog.close())
  const verdicts = async () => Object.fromEntries((await catalog.scan()).map(verdictOf))
  return { dir, modules, generations, catalog, warnings, verdicts }
}

type Test = { teardown(undo: () => unknown): void }

function verdictOf(entry: CatalogEntry): [string, string] {
  if (entry.kind === 'valid') return [entry.moduleId, 'valid']
  return [entry.moduleId, entry.issues.map(({ pointer, detail }) => `${pointer} ${detail}`.trim()).join('; ')]
}

/** What staging says against a module. */
async function refusal(staging: Promise<unknown>): Promise<string> {
  try {
    await staging
    return 'accepted'
  } catch (error) {
    if (!(error instanceof NexusError)) throw error
    return `${error.code}: ${error.message.replace(/^.*?(cannot become a generation|is invalid): /, '')}`
  }
}

/** Everything below a folder: names, sizes, times. */
function picture(dir: string): string[] {
  const names = readdirSync(dir, { recursive: true, encoding: 'utf8' }).sort()
  return names.map((name) => {
    const { size, mtimeMs, ino, mode } = lstatSync(join(dir, name))
    return [name, size, mtimeMs, ino, mode].join(' ')
  })
}

const WHOLE = JSON.stringify({
  ...manifestOf('g/bad'),
  config: { schema: { type: 'object' }, defaults: {} },
  actions: { say: { description: 'says', idempotent: true } },
  restart: { policy: 'permanent' },
})

/** Texts that are no manifest, or nearly one. */
const garbage = fc.oneof(
  fc.constantFrom(
    '',
    ' ',
    '{',
    '[]',
    'null',
    '"x"',
    `\ufeff${WHOLE}`,
    `// why\n${WHOLE}`,
    `${WHOLE},`,
    `${WHOLE}${WHOLE}`,
    WHOLE.replace('{', '{"id":"g/bad",'),
    WHOLE.replace('{', '{"__proto__":{"polluted":1},'),
    WHOLE.replace('{', '{"constructor":{"prototype":{"polluted":1}},'),
    WHOLE.replace('1.0.0"', '1.0.0","replicas":NaN'),
    WHOLE.replace('1.0.0"', '1.0.0","replicas":1e999'),
    `{"a":${'['.repeat(5_000)}`,
    `${'{"a":'.repeat(5_000)}1${'}'.repeat(5_000)}`,
    WHOLE.padEnd(65_537),
  ),
  fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
  fc.json({ maxDepth: 4 }),
  fc.nat(WHOLE.length - 1).map((end) => WHOLE.slice(0, end)),
  fc.tuple(fc.nat(WHOLE.length), fc.uint8Array({ minLength: 1, maxLength: 4 })).map(([at, bytes]) => {
    const text = Buffer.from(WHOLE)
    return Buffer.concat([text.subarray(0, at), Buffer.from(bytes), text.subarray(at)])
  }),
  fc
    .tuple(fc.constantFrom(...Object.keys(JSON.parse(WHOLE))), fc.jsonValue({ maxDepth: 3 }))
    .map(([key, value]) => {
      return JSON.stringify({ ...JSON.parse(WHOLE), [key]: value })
    }),
)

t.test(
  'F75: no garbage is a manifest by accident, each has a place and a reason, and others load',
  async (t) => {
    const { modules, verdicts, catalog } = await open(t)
    writeModule(modules, 'g/good')
    const folder = writeModule(modules, 'g/bad')
    const kinds = { valid: 0, invalid: 0 }
    await fc.assert(
      fc.asyncProperty(garbage, async (text) => {
        writeFileSync(join(folder, 'module.json'), text)
        const entries = await catalog.scan()
        const [bad, good] = entries
        if (entries.length !== 2 || good?.kind !== 'valid') throw new Error('the other module did not load')
        if (bad === undefined || Object.hasOwn(Object.prototype, 'polluted')) throw new Error('polluted')
        kinds[bad.kind] += 1
        if (bad.kind === 'valid') {
          // Then it is one by every measure.
          const parsed = JSON.parse(String(text)) as Record<string, unknown>
          if (parsed['id'] !== 'g/bad' || bad.manifest.version !== parsed['version'])
            throw new Error(String(text))
          return
        }
        const [issue] = bad.issues
        if (issue === undefined || issue.detail === '' || !/^(\/|$)/.test(issue.pointer))
          throw new Error(bad.reason)
        if (!bad.reason.startsWith(join(folder, 'module.json'))) throw new Error(bad.reason)
      }),
      { numRuns: RUNS || 400 },
    )
    t.ok(kinds.invalid > 100, `${kinds.invalid} were refused, ${kinds.valid} were fine`)
    writeFileSync(join(folder, 'module.json'), WHOLE)
    t.strictSame(await verdicts(), { 'g/bad': 'valid', 'g/good': 'valid' })
  },
)

t.test(
  'F76: a cycle is named to its members and to nobody else; chains, diamonds and gaps are fine',
  async (t) => {
    const { modules, verdicts, catalog } = await open(t)
    const needs: Record<string, readonly string[]> = {
      'two/a': ['two/b'],
      'two/b': ['two/a'],
      'three/a': ['three/b'],
      'three/b': ['three/c', 'fine/base'],
      'three/c': ['three/a'],
      'one/self': ['one/self'],
      'fine/user': ['two/a'],
      'fine/top': ['fine/left', 'fine/right'],
      'fine/left': ['fine/base'],
      'fine/right': ['fine/base'],
      'fine/base': [],
      'fine/lost': ['nobody/there'],
    }
    for (let link = 0; link < 1_000; link += 1)
      needs[`chain/m${link}`] = link === 999 ? [] : [`chain/m${link + 1}`]
    for (const [id, requires] of Object.entries(needs)) writeModule(modules, id, { requires })

    const told = await verdicts()
    const circle = (...walk: string[]) => `/requires form a circle: ${walk.join(' → ')}; take one of them out`
    t.strictSame(Object.fromEntries(Object.entries(told).filter(([, verdict]) => verdict !== 'valid')), {
      'one/self': circle('one/self', 'one/self'),
      'three/a': circle('three/a', 'three/b', 'three/c', 'three/a'),
      'three/b': circle('three/a', 'three/b', 'three/c', 'three/a'),
      'three/c': circle('three/a', 'three/b', 'three/c', 'three/a'),
      'two/a': circle('two/a', 'two/b', 'two/a'),
      'two/b': circle('two/a', 'two/b', 'two/a'),
    })
    t.equal(Object.keys(told).length, Object.keys(needs).length)
    for (const id of ['one/self', 'three/b', 'two/b']) {
      const look = await catalog.look(id)
      t.equal(look && verdictOf(look)[1], told[id], 'a look at one alone says the same')
    }
    writeModule(modules, 'chain/m999', { requires: ['chain/m0'] })
    const closing = await catalog.look('chain/m999')
    t.match(closing, { kind: 'invalid', reason: /form a circle: chain\/m0 → chain\/m1 → / })
  },
)

t.test(
  'F77: links that lead in circles, out, or home are refused, as are second names of a secret',
  async (t) => {
    const { dir, modules, catalog, verdicts } = await open(t)
    const secret = join(dir, 'data/operator_pin.txt')
    writeFileSync(secret, 'nxk_secret', { mode: 0o600 })
    const traps: Record<string, (path: string) => void> = {
      itself: (path) => symlinkSync(path, path),
      loop: (path) => {
        mkdirSync(path)
        symlinkSync('../trap/b', join(path, 'a'))
        symlinkSync('../trap', join(path, 'b'))
      },
      above: (path) => symlinkSync('..', path),
      root: (path) => symlinkSync('/', path),
      etc: (path) => symlinkSync('/etc', path),
      passwd: (path) => symlinkSync('/etc/passwd', path),
      data: (path) => symlinkSync(join(dir, 'data'), path),
      'hard link': (path) => linkSync(secret, path),
    }
    const said: Record<string, string> = {}
    for (const [what, set] of Object.entries(traps)) {
      const folder = writeModule(modules, 'g/n')
      set(join(folder, 'trap'))
      said[what] = (await refusal(catalog.stage('g/n'))).replace(/trap.[ab]/, 'trap/…')
      rmSync(folder, { recursive: true })
    }
    const out = 'GENERATION_REFUSED: trap is a link that leads out of the folder'
    t.strictSame(said, {
      itself: 'GENERATION_REFUSED: trap is a link that leads in a circle',
      loop: 'GENERATION_REFUSED: trap/… is a link that leads in a circle',
      above: out,
      root: out,
      etc: out,
      passwd: out,
      data: out,
      'hard link':
        'GENERATION_REFUSED: trap has a second name elsewhere (a hard link); put a copy of its own there',
    })

    for (const [what, target] of [
      ['root', '/'],
      ['home', dir],
      ['modules', modules],
      ['data', join(dir, 'data')],
    ]) {
      symlinkSync(target as string, join(modules, what as string))
    }
    writeModule(modules, 'g/n')
    t.strictSame(await verdicts(), { 'g/n': 'valid' }, 'nor does a whole group lead there')
    const before = handles()
    await catalog.watch({ touched: () => {}, settled: () => {} })
    t.ok(handles() - before < 50, 'and no watcher wanders off')
  },
)

/** Folders that this process watches. */
function handles(): number {
  const texts = readdirSync('/proc/self/fdinfo').map((fd) => {
    try {
      return readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')
    } catch {
      return '' // closed meanwhile
    }
  })
  return texts.join('').match(/^inotify /gm)?.length ?? 0
}

t.test('F78: what is no plain file is refused by its kind, and nobody waits for it', async (t) => {
  const { modules, catalog, verdicts } = await open(t)
  const listen = async (path: string): Promise<void> => {
    const server = createServer()
    t.teardown(() => server.close())
    await new Promise<void>((resolve) => server.listen(path, resolve))
  }
  const kinds: Record<string, (path: string) => unknown> = {
    fifo: makeFifo,
    folder: (path) => mkdirSync(path),
    socket: listen,
    zero: (path) => symlinkSync('/dev/zero', path),
  }
  if (isRoot) kinds['device'] = (path) => execFileSync('mknod', [path, 'c', '1', '5'])
  else t.pass('# skipped: only root makes a device node')
  // Were one of them opened as a file is, this test would never end.
  for (const [what, make] of Object.entries(kinds)) {
    const said: string[] = []
    for (const name of ['module.json', 'index.js', 'data.bin']) {
      const folder = writeModule(modules, 'g/n')
      rmSync(join(folder, name), { force: true })
      await make(join(folder, name))
      said.push((await verdicts())['g/n'] ?? '', await refusal(catalog.stage('g/n')))
      rmSync(folder, { recursive: true })
    }
    const kind = { fifo: 'a FIFO', folder: 'a folder', socket: 'a socket' }[what] ?? 'a device'
    const verdict = `is ${kind}, not a plain file`
    const isFolder = what === 'folder'
    const leadsOut = what === 'zero' ? 'is a device, not a plain file' : verdict
    t.match(
      said,
      [
        verdict,
        new RegExp(verdict),
        `/entry index.js ${verdict}`,
        new RegExp(verdict),
        'valid',
        isFolder ? 'accepted' : `GENERATION_REFUSED: data.bin ${leadsOut}`,
      ],
      what,
    )
  }
})

/** SHA-256 as the documentation of `daemon/catalog/tree.ts` describes it, written a second time. */
function hashOf(dir: string): string {
  const paths = readdirSync(dir, { recursive: true, encoding: 'utf8' }).filter((path) =>
    lstatSync(join(dir, path)).isFile(),
  )
  const hash = createHash('sha256')
  for (const path of paths.sort()) {
    const bytes = readFileSync(join(dir, path))
    const mark = (lstatSync(join(dir, path)).mode & 0o100) === 0 ? '-' : 'x'
    hash.update(`${Buffer.byteLength(path)} ${path} ${mark} ${bytes.length} `).update(bytes)
  }
  return hash.digest('hex')
}

const WITNESS = `import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import part from 'part'
const read = readFileSync(new URL('./node_modules/part/part.js', import.meta.url))
export default { actions: { who: (_, ctx) => ({
  part, generation: ctx.generation, read: createHash('sha256').update(read).digest('hex'),
}) } }
`

t.test('F79: what runs is what was hashed, however a file is swapped for a link meanwhile', async (t) => {
  const dir = realpathSync(shortDir(t))
  const secret = join(dir, 'secret.js')
  writeFileSync(secret, "export default 'theirs'\n")
  writeRunning(dir, 'g/n', WITNESS, {
    actions: { who: { description: 'says what it is made of', idempotent: true } },
    timeouts: { settle_ms: 0, drain_ms: 100 },
  })
  // A dependency, since those are hashed and not watched: only the commands reload.
  const folder = join(dir, 'modules/g/n/node_modules/part')
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'package.json'), '{"type": "module", "exports": "./part.js"}')
  writeFileSync(join(folder, 'other.js'), "export default 'mine, by a link'\n")
  writeFileSync(join(folder, 'part.js'), "export default 'mine'\n")
  const daemon = await RunningDaemon.start(dir)
  t.teardown(() => daemon.kill())
  await daemon.until('/v1/status/g/n', ({ body }) => body.state === 'started')

  const program = fileURLToPath(new URL('../fixtures/faults/swap.ts', import.meta.url))
  const swapper = spawn(process.execPath, [program, folder, secret], { stdio: ['pipe', 'pipe', 'inherit'] })
  t.teardown(() => swapper.kill('SIGKILL'))
  await new Promise((resolve) => swapper.stdout.once('data', resolve))
  const outcomes: Record<string, number> = {}
  const lies: unknown[] = []
  const generations = new Set<string>()
  for (let reload = 0; reload < (RUNS || 100); reload += 1) {
    const { body } = await daemon.command('reload_module', { module_id: 'g/n' })
    const outcome = body.success === true ? 'reloaded' : body.code
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
    const { body: called } = await daemon.command('call_action', {
      module_id: 'g/n',
      action: 'who',
      input: {},
    })
    const { output, generation } = called.result
    const home = join(dir, 'data/generations/g/n', generation)
    generations.add(generation)
    const text = readFileSync(join(home, 'node_modules/part/part.js'), 'utf8')
    const isTrue =
      generation === output.generation &&
      hashOf(home) === generation &&
      createHash('sha256').update(text).digest('hex') === output.read &&
      text === `export default '${output.part}'\n` &&
      output.part.startsWith('mine')
    if (!isTrue) lies.push({ called, text })
  }
  t.strictSame(lies, [])
  t.strictSame(
    Object.keys(outcomes).filter((code) => !['reloaded', 'RELOAD_ROLLED_BACK'].includes(code)),
    [],
  )
  t.ok((outcomes['reloaded'] ?? 0) > 10 && generations.size > 5, JSON.stringify([outcomes, generations.size]))

  const { body } = await daemon.ask('GET', '/v1/audit?limit=1000')
  const audited = new Set(body.facts.map(({ d }: { d: Record<string, string> }) => d['generation']))
  t.strictSame(
    [...generations].filter((id) => !audited.has(id)),
    [],
    'and each is on record',
  )
})

t.test(
  'F82: five thousand modules are found while the loop turns; too many files, or names too long, are an error',
  async (t) => {
    const { modules, catalog } = await open(t)
    for (let index = 0; index < 5_000; index += 1) writeModule(modules, `g${index % 20}/m${index}`)
    let turns = 0
    let looking = true
    const turn = (): void => {
      turns += 1
      if (looking) setTimeout(turn, 1)
    }
    setTimeout(turn)
    const entries = await catalog.scan()
    looking = false
    t.equal(entries.filter(({ kind }) => kind === 'valid').length, 5_000)
    t.ok(turns > 50, `the loop turned ${turns} times`)

    const crowd = writeModule(modules, 'g0/crowd')
    for (let index = 0; index < 10_050; index += 1) writeFileSync(join(crowd, `f${index}`), '')
    t.equal(
      await refusal(catalog.stage('g0/crowd')),
      'GENERATION_REFUSED: the folder has more than 10000 files',
    )

    const deep = writeModule(modules, 'g0/deep')
    const long = 'n'.repeat(250)
    let path = deep
    while (path.length + 502 < 4_080) path = join(path, long)
    // Its copy, under a longer name, is past the limit.
    path = join(path, 'n'.repeat(250), 'n'.repeat(4_080 - path.length - 252))
    mkdirSync(path, { recursive: true })
    writeFileSync(join(path, 'x'), '')
    t.match(await refusal(catalog.stage('g0/deep')), /^GENERATION_REFUSED: .*(name too long|ENAMETOOLONG)/)
    rmSync(deep, { recursive: true })

    const wide = writeModule(modules, 'g0/wide')
    writeFileSync(join(wide, 'w'.repeat(255)), 'x')
    t.equal(await refusal(catalog.stage('g0/wide')), 'accepted')
  },
)

t.test('F83: no id reaches outside its folder, and no two look the same', async (t) => {
  const { dir, modules, generations, catalog, verdicts } = await open(t)
  writeModule(modules, 'a/b')
  writeModule(dir, 'outside/x')
  await catalog.stage('a/b')
  const before = picture(dir)
  const ids = [
    '../outside/x',
    '../outside',
    '/etc/passwd',
    dir,
    'a//b',
    '.',
    '..',
    'a/..',
    'a/../../outside/x',
    'a/b/../../../outside/x',
    'a/b/',
    './a/b',
    'a\0b',
    'a/b\0',
    'a/b\n',
    'CON',
    'a/CON',
    'a\\b',
    'a/é', // as one sign
    'a/e\u0301', // as two
    '\u0430/b', // Cyrillic a
    'a/\u202eb', // right to left
    'a/b\u200b', // nothing to be seen
    'a/B',
    'a_b',
    'a/_b',
    'a/-b',
    '__proto__/x',
    `a/${'b'.repeat(64)}`,
    `a/${'b'.repeat(10_240)}`,
    '',
  ]
  const reached: string[] = []
  for (const id of ids) {
    const said = [
      (await catalog.look(id)) === undefined ? 'MODULE_UNKNOWN' : 'seen',
      await refusal(catalog.stage(id)),
      await refusal(catalog.kept(id, 'x')),
      await refusal(catalog.prune(id, [])),
    ]
    if (said.some((answer) => !answer.startsWith('MODULE_UNKNOWN'))) reached.push(`${id}: ${said}`)
  }
  t.strictSame(reached, [])
  t.strictSame(picture(dir), before, 'and nothing was touched')

  const alike = ['a/B', 'a/b_', 'a_/b', 'a/é', 'a/e\u0301', '\u0430/b', 'a/b\u200b', 'a/\u202eb']
  for (const id of alike) writeModule(modules, id)
  const told = await verdicts()
  t.equal(Object.keys(told).length, alike.length + 1, 'each is told under a name of its own, in ASCII')
  t.strictSame(
    Object.keys(told).filter((id) => told[id] === 'valid'),
    ['a/b'],
  )
  t.strictSame(
    Object.keys(told).filter((id) => /[^ -~]/.test(id)),
    [],
  )
  writeModule(modules, 'a-b/c')
  writeModule(modules, 'a/b-c')
  for (const id of ['a-b/c', 'a/b-c']) await catalog.stage(id)
  t.strictSame(
    readdirSync(generations)
      .filter((name) => !name.startsWith('.'))
      .sort(),
    ['a', 'a-b'],
  )
})

t.test('F84: what others may change is refused with the way out, and a group is told of', async (t) => {
  const { dir, modules, catalog, verdicts, warnings } = await open(t)
  const make = (id: string, change: (folder: string) => void): void => {
    const folder = writeModule(modules, id, {}, { 'lib/part.js': '' })
    change(folder)
  }
  make('g/folder', (folder) => chmodSync(folder, 0o777))
  make('g/manifest', (folder) => chmodSync(join(folder, 'module.json'), 0o666))
  make('g/entry', (folder) => chmodSync(join(folder, 'index.js'), 0o646))
  make('g/setuid', (folder) => chmodSync(join(folder, 'index.js'), 0o4755))
  make('g/part', (folder) => chmodSync(join(folder, 'lib/part.js'), 0o666))
  make('g/inner', (folder) => chmodSync(join(folder, 'lib'), 0o777))
  make('g/sticky', (folder) => chmodSync(join(folder, 'lib'), 0o1777))
  make('g/setgid', (folder) => chmodSync(join(folder, 'lib/part.js'), 0o2755))
  make('g/group', (folder) => {
    chmodSync(folder, 0o775)
    chmodSync(join(folder, 'module.json'), 0o664)
  })
  const world = 'may be written by everybody; run `chmod o-w` on it'
  const bits = 'has the setuid or setgid bit; run `chmod ug-s` on it'
  t.strictSame(await verdicts(), {
    'g/folder': world,
    'g/manifest': world,
    'g/entry': `/entry index.js ${world}`,
    'g/setuid': `/entry index.js ${bits}`,
    'g/part': 'valid',
    'g/inner': 'valid',
    'g/sticky': 'valid',
    'g/setgid': 'valid',
    'g/group': 'valid',
  })
  t.strictSame(warnings.sort(), [
    'the manifest may be written by its whole group',
    'the module folder may be written by its whole group',
  ])
  const said: Record<string, string> = {}
  for (const id of ['g/part', 'g/inner', 'g/sticky', 'g/setgid', 'g/group'])
    said[id] = await refusal(catalog.stage(id))
  t.strictSame(said, {
    'g/part': `GENERATION_REFUSED: lib/part.js ${world}`,
    'g/inner': `GENERATION_REFUSED: lib ${world}`,
    'g/sticky': `GENERATION_REFUSED: lib ${world}`,
    'g/setgid': `GENERATION_REFUSED: lib/part.js ${bits}`,
    'g/group': 'accepted',
  })

  if (!isRoot) return void t.pass('# skipped: only root gives files away, and mounts')
  for (const [id, name] of [
    ['h/folder', ''],
    ['h/manifest', 'module.json'],
    ['h/part', 'lib/part.js'],
  ] as const) {
    make(id, (folder) => chownSync(join(folder, name), 4_711, 4_711))
  }
  const foreign = 'belongs to another account (uid 4711); run `chown` on it'
  const { 'h/folder': folder, 'h/manifest': manifest } = await verdicts()
  t.strictSame(
    [folder, manifest, await refusal(catalog.stage('h/part'))],
    [foreign, foreign, `GENERATION_REFUSED: lib/part.js ${foreign}`],
  )

  // A ConfigMap: everybody may write to its folder, and nobody can.
  const sealed = writeModule(dir, 'volume', { id: 'h/sealed' })
  chmodSync(sealed, 0o777)
  symlinkSync(sealed, join(modules, 'h/sealed'))
  try {
    execFileSync('mount', ['--bind', '-o', 'ro', sealed, sealed], { stdio: 'pipe' })
  } catch {
    return void t.pass('# skipped: nothing can be mounted here')
  }
  t.teardown(() => execFileSync('umount', [sealed]))
  t.equal(await refusal(catalog.stage('h/sealed')), 'accepted')
})
