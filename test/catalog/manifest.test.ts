import { chmodSync, linkSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { readManifest } from '../../daemon/catalog/manifest.ts'
import { type Requirement, startOrder } from '../../daemon/catalog/requires.ts'
import { trustedOwners } from '../../daemon/catalog/safe-file.ts'
import { scanModules } from '../../daemon/catalog/scan.ts'
import { readStrictJson } from '../../daemon/kit/strict-json.ts'
import { makeFifo } from '../support/fifo.ts'
import { manifestOf, writeModule } from '../support/module-folder.ts'
import { shortDir } from '../support/short-dir.ts'

const owners = await trustedOwners()
const rules = { owners, warn: () => undefined }

/** What is wrong with a module whose manifest says this besides the least. */
async function issuesOf(
  t: { teardown(undo: () => void): void },
  more: object,
  files: Readonly<Record<string, string>> = {},
) {
  const folder = writeModule(shortDir(t), 'g/n', more, files)
  const entry = await readManifest('g/n', folder, rules)
  return entry.kind === 'valid' ? [] : entry.issues.map(({ pointer, detail }) => `${pointer} ${detail}`)
}

const faultOf = (text: string | Uint8Array): string | undefined => {
  const read = readStrictJson(typeof text === 'string' ? Buffer.from(text) : text)
  return read.ok ? undefined : `${read.issue.pointer} ${read.issue.detail}`
}

t.test('what JSON.parse lets through, or is vague about, is named with its place', async (t) => {
  t.strictSame(
    [
      '',
      '{"a": {"b": 1, "b": 2}}',
      '{"a": [1, {"__proto__": {}}]}',
      '{\n  // why\n  "a": 1}',
      '\ufeff{}',
      '{"a": 1e999}',
      '{"a": NaN}',
      "{'a': 1}",
      '{"a": 1,}',
      '[1,]',
      '{"a" 1}',
      '{"a": 1 "b": 2}',
      '{} {}',
      '{"a": [1, 2',
      '{"a": "x\ny"}',
      '{"a": 01}',
      '['.repeat(65),
      Buffer.from([0x7b, 0xff, 0x7d]),
    ].map(faultOf),
    [
      ' is empty; it must hold one JSON object',
      '/a/b stands there twice; keep one of them (line 1, column 16)',
      '/a/1/__proto__ is a key that reaches behind an object; rename it (line 1, column 12)',
      ' has a comment; JSON has none, put it into `description` or a README (line 2, column 3)',
      ' begins with a byte order mark; save it as UTF-8 without one',
      '/a is a number that cannot be kept exactly: "1e999" (line 1, column 7)',
      '/a has a number that JSON does not know (line 1, column 7)',
      ' has a single quote; JSON wants double quotes (line 1, column 2)',
      '/a has a comma before } (line 1, column 9)',
      '/1 has a comma before ] (line 1, column 4)',
      '/a needs a colon here, not "1" (line 1, column 6)',
      '/a needs a comma or } here, not "\\"b\\"" (line 1, column 9)',
      ' has "{" after its end (line 1, column 4)',
      '/a/1 ends too early; a bracket or a value is missing (line 1, column 12)',
      '/a has a text that does not end, or a character in it that must be escaped (line 1, column 7)',
      '/a is not JSON at "01" (line 1, column 7)',
      `${'/0'.repeat(64)} is nested more than 64 levels deep (line 1, column 65)`,
      ' is not UTF-8 text; save it as UTF-8',
    ],
  )
})

t.test('every text that JSON writes is read, and nothing that JSON.parse refuses', async (t) => {
  const written = fc.json({ depthSize: 'small' })
  fc.assert(
    fc.property(written, (text) => {
      // fast-check may write the very things that are refused on purpose.
      fc.pre(!text.includes('__proto__'))
      const read = readStrictJson(Buffer.from(text))
      return read.ok && JSON.stringify(read.value) === JSON.stringify(JSON.parse(text))
    }),
  )
  const broken = fc.tuple(written, fc.nat(), fc.string({ maxLength: 3 })).map(([text, at, insert]) => {
    const place = at % (text.length + 1)
    return text.slice(0, place) + insert + text.slice(place + (at % 3))
  })
  fc.assert(
    fc.property(broken, (text) => {
      const read = readStrictJson(Buffer.from(text))
      if (!read.ok) return true
      JSON.parse(text)
      return true
    }),
    { numRuns: 2_000 },
  )
  t.equal(({} as { x?: unknown }).x, undefined, 'no prototype was touched')
})

t.test('a manifest is closed, and each fault has its pointer and a way out', async (t) => {
  t.strictSame(await issuesOf(t, {}), [])
  t.strictSame(
    await issuesOf(t, { autostrat: true, replicas: 'two', reload: 'gracefully', version: undefined }),
    [
      '/version is missing',
      '/autostrat is unknown; did you mean autostart?',
      '/replicas must be integer',
      '/reload must be one of graceful, rolling, canary, immediate',
    ],
  )
  t.strictSame(await issuesOf(t, { id: 'g/other' }), [
    '/id is g/other, but the folder says g/n; rename one of them',
  ])
})

t.test('what one field says about another is judged', async (t) => {
  const act = (more: object) => ({ description: 'does', ...more })
  t.strictSame(
    await issuesOf(t, {
      permissions: {
        fs_read: ['$ROOTS', '$DATA/cache', '/etc', 'here', '/a/../b', '/x/*'],
        fs_write: ['$RECORDS'],
        env: ['HOME', 'A-B'],
        commands: ['get_status', 'get_statsu'],
      },
      config: { schema: { type: 'object', properties: { n: { type: 'integer' } } }, defaults: { n: 'x' } },
      actions: {
        once: act({}),
        twice: act({ idempotent: true, input: { type: 'object', required: ['path'] } }),
        bad: act({ input: { type: 'objct' } }),
      },
      self_test: [{ action: 'once' }, { action: 'twcie' }, { action: 'twice' }],
      categories: ['coin'],
      limits: { heartbeat_suspect_ms: 2_000, heartbeat_kill_ms: 1_000 },
      restart: { backoff_ms: 1_000, backoff_max_ms: 10 },
      requires: ['a/b', 'a/b'],
    }),
    [
      '/permissions/fs_read/3 must be an absolute path, or one of $DATA, $ROOTS, $RECORDS',
      '/permissions/fs_read/4 must be a plain path, without * and ..',
      '/permissions/fs_read/5 must be a plain path, without * and ..',
      '/permissions/fs_write/0 must be an absolute path, or one of $DATA, $ROOTS',
      '/permissions/env/1 is no name of a variable',
      '/permissions/commands/1 get_statsu is no command; did you mean get_status?',
      '/config/defaults/n must be integer',
      '/actions/bad/input is no JSON Schema (draft 2020-12): schema is invalid: data/type must be equal to one of the allowed values, data/type must be array, data/type must match a schema in anyOf',
      '/self_test/0/action names once, which is not `idempotent`: a self-test runs at every start',
      '/self_test/1/action names twcie, which is no action; did you mean twice?',
      '/self_test/2/input/path is missing',
      '/categories need an action `plan` that is `idempotent`: planning is asked again after a crash',
      '/limits/heartbeat_kill_ms must be above heartbeat_suspect_ms',
      '/restart/backoff_max_ms must not be below backoff_ms',
      '/requires/1 names a/b a second time',
    ],
  )
})

t.test('what this version does not keep is refused, not ignored', async (t) => {
  t.strictSame(
    await issuesOf(t, {
      permissions: { secrets: ['token'] },
    }),
    [
      '/permissions/secrets is not built yet; remove it, and hand the secret over by `env` or a file meanwhile',
    ],
  )
})

t.test('a module that shares its process cannot have a sandbox', async (t) => {
  const issues = await issuesOf(t, { runtime: 'shared', sandbox: true })
  t.strictSame(issues, ['/sandbox is built around one module; remove it, or `"runtime": "shared"`'])
})

t.test('a sandbox is a wish like any other, and less memory than Node itself needs is none', async (t) => {
  const needs = 'must be 128 at least: Node itself takes up to 90; "runtime": "shared" needs less'
  const limits = { memory_mb: 127 }
  t.strictSame(
    [
      await issuesOf(t, { sandbox: true, limits: { memory_mb: 128 } }),
      await issuesOf(t, { limits }),
      await issuesOf(t, { limits, runtime: 'shared' }),
    ],
    [[], [`/limits/memory_mb ${needs}`], []],
  )
})

t.test('a port has a name and an address of its own', async (t) => {
  const listen = (...entries: object[]) => issuesOf(t, { listen: entries })
  const web = { name: 'web', port: 8080 }
  t.strictSame(
    [
      await listen(web, { ...web, name: 'other', host: '::1' }),
      await listen({ ...web, host: 'localhost' }),
      await listen({ ...web, host: 'example.org' }),
      await listen(web, { ...web, port: 8081 }, { ...web, name: 'api' }),
    ],
    [
      [],
      [],
      ['/listen/0/host must be an address, or localhost: what a name leads to can change'],
      ['/listen/1/name is web a second time', '/listen/2/port is 8080 a second time on 127.0.0.1'],
    ],
  )
})

t.test('an exec module names a program of its folder or on PATH, and nothing else', async (t) => {
  const exec = (...command: string[]) =>
    issuesOf(t, { runtime: 'exec', ...(command.length > 0 && { command }) })
  const outside = 'must be a path inside the module folder (./serve), or the name of a program on PATH'
  t.strictSame(await exec('python3', '-u', 'main.py'), [])
  t.strictSame(await exec(), ['/command is missing; the runtime "exec" needs the program and its arguments'])
  t.strictSame(await exec('/usr/bin/python3'), [`/command/0 ${outside}`])
  t.strictSame(await exec('../n/serve'), [`/command/0 ${outside}`])
  t.strictSame(await exec('python3', 'a\0b'), ['/command/1 has a NUL character in it'])
  t.strictSame(await exec('./serve'), [
    '/command/0 ./serve is not in the folder; add it or correct `command`',
  ])
  t.strictSame(await exec('./index.js'), ['/command/0 ./index.js may not be executed; run `chmod u+x` on it'])
  t.strictSame(await issuesOf(t, { runtime: 'exec', entry: 'index.js', command: ['sh'] }), [
    '/entry does not go with the runtime "exec"; name the program in `command`',
  ])
  t.strictSame(await issuesOf(t, { command: ['sh'] }), [
    '/command belongs to the runtime "exec"; add `"runtime": "exec"`, or name an `entry` instead',
  ])
})

t.test('the entry is index.js, then index.ts, then what is named, and always inside', async (t) => {
  const dir = shortDir(t)
  const entryOf = async (more: object, files: Readonly<Record<string, string>>, gone: string[] = []) => {
    const folder = writeModule(dir, 'g/n', more, files)
    for (const path of gone) rmSync(join(folder, path))
    const entry = await readManifest('g/n', folder, rules)
    rmSync(folder, { recursive: true })
    return entry.kind === 'valid' ? entry.manifest.entry : entry.issues
  }
  t.strictSame(
    [
      await entryOf({}, { 'index.ts': '' }),
      await entryOf({}, { 'index.ts': '' }, ['index.js']),
      await entryOf({ entry: 'src/main.mjs' }, { 'src/main.mjs': '' }),
      await entryOf({}, {}, ['index.js']),
      await entryOf({ entry: '../n/index.js' }, {}),
      await entryOf({ entry: '/etc/passwd' }, {}),
      await entryOf({ entry: 'src' }, { 'src/x': '' }),
    ],
    [
      'index.js',
      'index.ts',
      'src/main.mjs',
      [
        {
          pointer: '/entry',
          detail: 'names index.js or index.ts, which is not in the folder; add it or correct `entry`',
        },
      ],
      [{ pointer: '/entry', detail: 'must be inside the module folder; give a path relative to it' }],
      [{ pointer: '/entry', detail: 'must be inside the module folder; give a path relative to it' }],
      [{ pointer: '/entry', detail: 'must be a .js or .ts file' }],
    ],
  )
})

t.test('whatever stands in for module.json or the entry is refused without waiting', async (t) => {
  const dir = shortDir(t)
  const secret = join(dir, 'secret')
  writeFileSync(secret, JSON.stringify(manifestOf('g/n')))
  const server = createServer()
  t.teardown(() => server.close())
  const standIns: Record<string, (path: string) => void> = {
    fifo: makeFifo,
    folder: (path) => mkdirSync(path),
    'link out': (path) => symlinkSync(secret, path),
    'link to a device': (path) => symlinkSync('/dev/zero', path),
    'link to itself': (path) => symlinkSync(path, path),
    'hard link': (path) => linkSync(secret, path),
    'too large': (path) => writeFileSync(path, ' '.repeat(65_537)),
    'world-writable': (path) => {
      writeFileSync(path, '{}')
      chmodSync(path, 0o666)
    },
    setuid: (path) => {
      writeFileSync(path, '{}')
      chmodSync(path, 0o4644)
    },
  }
  const found: Record<string, string> = {}
  for (const [kind, make] of Object.entries(standIns)) {
    const folder = writeModule(dir, 'g/n')
    rmSync(join(folder, 'module.json'))
    make(join(folder, 'module.json'))
    const entry = await readManifest('g/n', folder, rules)
    found[kind] = entry.kind === 'valid' ? 'accepted' : (entry.issues[0]?.detail ?? '')
    rmSync(folder, { recursive: true })
  }
  const folder = writeModule(dir, 'g/n')
  rmSync(join(folder, 'index.js'))
  await new Promise<void>((resolve) => server.listen(join(folder, 'index.js'), resolve))
  const entry = await readManifest('g/n', folder, rules)
  found['a socket as entry'] = entry.kind === 'valid' ? 'accepted' : (entry.issues[0]?.detail ?? '')

  t.strictSame(found, {
    fifo: 'is a FIFO, not a plain file',
    folder: 'is a folder, not a plain file',
    'link out': 'is a link that leads out of the folder',
    'link to a device': 'is a device, not a plain file',
    'link to itself': 'is a link that leads in a circle',
    'hard link': 'has a second name elsewhere (a hard link); put a copy of its own there',
    'too large': 'has more than 65536 bytes',
    'world-writable': 'may be written by everybody; run `chmod o-w` on it',
    setuid: 'has the setuid or setgid bit; run `chmod ug-s` on it',
    'a socket as entry': 'index.js is a socket, not a plain file',
  })
})

t.test('a folder that others may write is refused, one of a group is told of', async (t) => {
  const folder = writeModule(shortDir(t), 'g/n')
  const warnings: string[] = []
  const look = async (mode: number, trusted = owners) => {
    chmodSync(folder, mode)
    const entry = await readManifest('g/n', folder, { owners: trusted, warn: (text) => warnings.push(text) })
    return entry.kind === 'valid' ? 'valid' : entry.reason
  }
  t.strictSame(
    [await look(0o777), await look(0o755, new Set([4_711])), await look(0o775)],
    [
      `${folder}: may be written by everybody; run \`chmod o-w\` on it`,
      `${folder}: belongs to another account (uid ${process.getuid?.()}); run \`chown\` on it`,
      'valid',
    ],
  )
  t.strictSame(warnings, ['the module folder may be written by its whole group'])
})

t.test('no name can climb out or look like another, and one broken module hides no other', async (t) => {
  const dir = shortDir(t)
  for (const id of [
    'g/good',
    'g/Bad',
    'g/b_d',
    'g/ａ',
    'gr\u0430up/x',
    `g/${'n'.repeat(64)}`,
    'G/x',
    'g/a b',
  ]) {
    writeModule(dir, id)
  }
  writeModule(dir, 'g/broken', {}, { 'module.json': '{' })
  for (const hidden of ['.git/objects', 'node_modules/x', 'g/.hidden', 'g/node_modules', 'g/empty']) {
    mkdirSync(join(dir, hidden), { recursive: true })
  }
  writeFileSync(join(dir, 'README.md'), '')
  writeFileSync(join(dir, 'g/README.md'), '')
  writeModule(dir, 'g/.hidden')

  const entries = await scanModules({ ...rules, dirs: [dir] })
  t.strictSame(
    entries.map(({ moduleId, kind }) => `${moduleId} ${kind}`),
    [
      'G/x invalid',
      'g/Bad invalid',
      'g/\\u{ff41} invalid',
      'g/a b invalid',
      'g/b_d invalid',
      'g/broken invalid',
      'g/good valid',
      `g/${'n'.repeat(64)} invalid`,
      'gr\\u{430}up/x invalid',
    ].sort(),
  )
  const odd = entries.find(({ moduleId }) => moduleId === 'g/Bad')
  t.match(odd, { reason: /has the name Bad; rename it: small letters a-z, digits and -/ })
})

t.test('the first folder that holds an id wins; the second place says so', async (t) => {
  const [one, two] = [shortDir(t), shortDir(t)]
  writeModule(one, 'g/n')
  writeModule(two, 'g/n')
  const entries = await scanModules({ ...rules, dirs: [one, two, join(one, 'missing')] })
  t.match(entries, [
    { kind: 'valid', folder: join(one, 'g/n') },
    { kind: 'invalid', folder: join(two, 'g/n'), reason: `the one in ${join(one, 'g/n')} counts` },
  ])
})

t.test('a folder with more names than any list of modules has is cut, with a word', async (t) => {
  const dir = shortDir(t)
  for (const name of ['a', 'b', 'c', 'd']) writeModule(dir, `g/${name}`)
  const warnings: string[] = []
  const warn = (text: string) => warnings.push(text)
  const entries = await scanModules({ owners, warn, dirs: [dir], namesMax: 3 })
  t.equal(entries.length, 3)
  t.strictSame(warnings, ['a modules folder has too many entries; the rest is not looked at'])
})

const needs = (table: Readonly<Record<string, readonly string[]>>): Requirement[] =>
  Object.entries(table).map(([moduleId, requires]) => ({ moduleId, requires }))

t.test('each starts after what it requires, and a cycle names itself and spoils nobody else', async (t) => {
  const { order, cycles, cycleOf, missing } = startOrder(
    needs({
      user: ['b', 'top'],
      top: ['left', 'right'],
      left: ['base'],
      right: ['base'],
      base: [],
      a: ['b'],
      b: ['c'],
      c: ['a'],
      self: ['self'],
      lost: ['nobody'],
    }),
  )
  t.strictSame(
    { order, cycles, spoiled: [...cycleOf.keys()].sort(), missing: [...missing] },
    {
      order: ['base', 'left', 'lost', 'right', 'top', 'user'],
      cycles: [
        ['a', 'b', 'c', 'a'],
        ['self', 'self'],
      ],
      spoiled: ['a', 'b', 'c', 'self'],
      missing: [['lost', ['nobody']]],
    },
  )
})

t.test('the order is the same however the modules are handed in, and always holds', async (t) => {
  const ids = ['a', 'b', 'c', 'd', 'e', 'f']
  const graph = fc
    .tuple(...ids.map(() => fc.subarray(ids)))
    .map((lists) => ids.map((moduleId, index) => ({ moduleId, requires: lists[index] ?? [] })))
  let seen = 0
  fc.assert(
    fc.property(graph, fc.nat(), (modules, turn) => {
      const { order, cycleOf } = startOrder(modules)
      seen += order.length
      const turned = modules.map((_, index) => modules[(index + turn) % modules.length] as Requirement)
      if (startOrder(turned).order.join() !== order.join()) throw new Error('the order depends on the turn')
      if (order.length + cycleOf.size !== ids.length)
        throw new Error('somebody is neither in the order nor in a cycle')
      for (const { moduleId, requires } of modules) {
        const late = requires.filter((id) => !cycleOf.has(id) && order.indexOf(id) > order.indexOf(moduleId))
        if (!cycleOf.has(moduleId) && late.length > 0) throw new Error(`${moduleId} before ${late}`)
      }
    }),
    { numRuns: 300 },
  )
  t.ok(seen > 300, 'some of them can start at all')
})

t.test('a chain of a hundred thousand needs no stack of that depth', async (t) => {
  const name = (index: number): string => String(index).padStart(6, '0')
  const chain = Array.from({ length: 100_000 }, (_, index) => ({
    moduleId: name(index),
    requires: [name(index + 1)],
  }))
  t.equal(startOrder(chain).order[0], '099999')
})
