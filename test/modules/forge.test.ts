import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { judgeManifest } from '../../daemon/catalog/manifest-rules.ts'
import { type Manifest, ManifestSchema } from '../../daemon/contracts/manifest.ts'
import { checker } from '../../daemon/kit/schema.ts'
import { idFor } from '../../modules/autonomic/forge/blueprint.ts'
import forge from '../../modules/autonomic/forge/index.ts'
import { TEMPLATES } from '../../modules/autonomic/forge/templates.ts'
import '../support/clean-children.ts'
import { call, failedSelfTests, manifestFaults } from '../support/module-checks.ts'
import { type FakeContext, fakeContext } from '../support/module-context.ts'

const ID = 'autonomic/forge'

interface Scaffolded {
  readonly path: string
  readonly created: boolean
  readonly artifacts: readonly string[]
  readonly files: readonly { readonly name: string }[]
}

const scaffold = async (ctx: FakeContext, input: object): Promise<Scaffolded> =>
  (await call(forge, ctx, 'scaffold', input)) as unknown as Scaffolded

t.test('the manifest is one the daemon takes, and the self-test passes and leaves nothing', async (t) => {
  const dir = t.testdir({})
  t.strictSame(manifestFaults(ID), [])
  t.strictSame(await failedSelfTests(forge, fakeContext(ID, { dataDir: dir })), [])
  t.strictSame(await readdir(dir), [])
})

t.test('what cannot be made says why, and nothing is written', async (t) => {
  const dir = t.testdir({})
  const ctx = fakeContext(ID, { dataDir: join(dir, 'own') })
  const plan = (input: unknown): Promise<object> => call(forge, ctx, 'plan', { goal: 'Build it', input })

  await t.rejects(scaffold(ctx, { id: 'NoGroup' }), /no id of a module: it is <group>\/<name>/)
  await t.rejects(scaffold(ctx, { id: '../../etc/x' }), /no id of a module/)
  await t.rejects(scaffold(ctx, { id: 'a/b', target_dir: '../elsewhere' }), /the forge writes nowhere else/)
  await t.rejects(scaffold(ctx, { id: 'a/b', target_dir: '/tmp' }), /the forge writes nowhere else/)
  await t.rejects(scaffold(ctx, { id: 'a/b', actions: ['count', 'count'] }), /comes twice/)
  await t.rejects(scaffold(ctx, { id: 'a/b', actions: ['No'] }), /input of scaffold/)
  await t.rejects(plan({ name: 'a/b' }), /does not know input\.name; it reads id/)
  await t.rejects(plan({ id: 'a' }), /no id of a module/)
  await t.rejects(plan({ actions: [7] }), /no name of an action/)
  await t.rejects(plan({ actions: 'count' }), /is a list/)
  await t.rejects(plan({ actions: [{ name: 'x', template: 'magic' }] }), /there is no template magic/)
  await t.rejects(plan([]), /is an object/)
  await t.rejects(call(forge, ctx, 'inspect', { path: '/etc' }), /the forge inspects only what it made/)
  await t.rejects(call(forge, ctx, 'inspect', { path: '..' }), /the forge inspects only what it made/)
  await t.rejects(call(forge, ctx, 'inspect', { path: 'forged/a/b' }), /there is no scaffold/)
  t.notOk(existsSync(join(dir, 'own')))
})

t.test('every template makes a module that the daemon takes and whose own test passes', async (t) => {
  const dir = t.testdir({})
  const ctx = fakeContext(ID, { dataDir: dir })
  const description = 'All */ of `them`,\nwith "quotes" | and \u2028 more'
  const actions = [...Object.keys(TEMPLATES), 'say-hello', { name: 'sum-up', template: 'measure' }]
  const { path, artifacts } = await scaffold(ctx, { id: 'custom/every', description, actions })

  const manifest = checker<Manifest>(ManifestSchema, { defaults: true })(
    JSON.parse(await readFile(join(path, 'module.json'), 'utf8')),
  )
  t.strictSame(manifest.ok ? judgeManifest('custom/every', manifest.value) : manifest.issues, [])
  t.match(await call(forge, ctx, 'inspect', { path }), { summary: /All 12 checks of custom\/every passed/ })
  t.strictSame(artifacts, [
    'forged.md',
    'README.md',
    'index.test.ts',
    'index.ts',
    'module.json',
    'package.json',
  ])

  const { stdout } = await promisify(execFile)(process.execPath, [join(path, 'index.test.ts')])
  t.match(stdout, /# pass 7\n# fail 0|pass 7\n\S* fail 0/)

  const tsc = new URL('../../node_modules/.bin/tsc', import.meta.url).pathname
  const root = new URL('../..', import.meta.url).pathname
  await writeFile(
    join(dir, 'tsconfig.json'),
    JSON.stringify({
      compilerOptions: {
        paths: { 'aeon-nexus/module': [join(root, 'daemon/contracts/module.ts')] },
        strict: true,
        noEmit: true,
        target: 'es2024',
        lib: ['es2024'],
        module: 'nodenext',
        types: ['node'],
        typeRoots: [join(root, 'node_modules/@types')],
        allowImportingTsExtensions: true,
        erasableSyntaxOnly: true,
        skipLibCheck: true,
      },
      files: [join(path, 'index.ts'), join(path, 'index.test.ts')],
    }),
  )
  const checked = await promisify(execFile)(tsc, ['-p', dir]).catch((failure: { stdout: string }) => failure)
  t.equal(checked.stdout, '', 'its types are right')
})

t.test('nothing is overwritten, and the same again changes nothing', async (t) => {
  const dir = t.testdir({})
  const ctx = fakeContext(ID, { dataDir: dir, config: { forged_max: 2 } })
  const { path, created } = await scaffold(ctx, { id: 'custom/one' })
  t.strictSame([created, (await scaffold(ctx, { id: 'custom/one' })).created], [true, false])

  await t.rejects(scaffold(ctx, { id: 'custom/one', actions: ['count'] }), /holds something else already/)
  await writeFile(join(path, 'index.ts'), '// mine')
  await t.rejects(scaffold(ctx, { id: 'custom/one' }), /holds something else already/)
  t.equal(await readFile(join(path, 'index.ts'), 'utf8'), '// mine')

  const twice = await Promise.all([scaffold(ctx, { id: 'custom/two' }), scaffold(ctx, { id: 'custom/two' })])
  t.strictSame(twice.map((each) => each.created).sort(), [false, true], 'of two at once one writes')
  await t.rejects(scaffold(ctx, { id: 'custom/three' }), /2 modules wait .* raise forged_max/)
  t.strictSame((await readdir(join(dir, 'forged', 'custom'))).sort(), ['one', 'two'], 'no drafts are left')
})

t.test('an inspection finds what an author broke', async (t) => {
  const dir = t.testdir({})
  const ctx = fakeContext(ID, { dataDir: dir, config: { test_ms: 50 } })
  const { path } = await scaffold(ctx, { id: 'custom/mine', actions: ['count'] })
  const code = await readFile(join(path, 'index.ts'), 'utf8')
  const manifest = JSON.parse(await readFile(join(path, 'module.json'), 'utf8'))
  const broken = async (files: Readonly<Record<string, string>>, complaint: RegExp): Promise<void> => {
    await writeFile(join(path, 'index.ts'), files['index.ts'] ?? code)
    await writeFile(join(path, 'module.json'), files['module.json'] ?? JSON.stringify(manifest))
    await t.rejects(call(forge, ctx, 'inspect', { path: 'forged/custom/mine' }), complaint)
  }
  const changed = (more: object): Record<string, string> => ({
    'module.json': JSON.stringify({ ...manifest, ...more }),
  })
  const action = (body: string): Record<string, string> => ({
    'index.ts': `export default { actions: { count: ${body} } }`,
  })

  await broken(
    { 'index.ts': code.replace('.length ??', '.length - 1 ??') },
    /self-test 1: count: run 1 answered .*"words":3/,
  )
  await broken({ 'index.ts': 'export default {' }, /index\.ts cannot be imported/)
  await broken({ 'index.ts': 'export const actions = {}' }, /no default export with actions/)
  await broken(
    { 'index.ts': code.replace('count:', 'tally:') },
    /code lacks count; the manifest lacks tally.*no such action/,
  )
  await broken(action('() => new Promise(() => {})'), /took longer than 50 ms/)
  await broken(action('() => { throw new Error("oh") }'), /run 1 failed: oh/)
  await broken({ 'module.json': '{' }, /module\.json does not parse/)
  await broken({ 'module.json': '[]' }, /is no JSON object/)
  await broken(changed({ id: 'custom/other' }), /the manifest says custom\/other, the folder custom\/mine/)
  await broken(changed({ version: 'x', self_test: [] }), /x is no version; self-tests: 0 of idempotent/)
  await broken(
    changed({ actions: { count: {} } }),
    /only idempotent actions may be self-tested; count is not/,
  )
  t.match(ctx.kept.get('inspection.md'), /\*\*1 of 7 checks failed\.\*\*/)
  await writeFile(join(path, 'module.json'), JSON.stringify(manifest))
  await writeFile(join(path, 'index.ts'), code)
  t.match(
    await call(forge, ctx, 'inspect', { path }),
    { summary: /All 7 checks/ },
    'mended code is imported anew',
  )
})

t.test('a forge mission is named by its input or its goal, and fits its steps', async (t) => {
  const dir = t.testdir({})
  const ctx = fakeContext(ID, { dataDir: dir })
  const plan = (max_steps: number, goal: string, input?: object): Promise<object> =>
    call(forge, ctx, 'plan', { goal, category: 'forge', constraints: { max_steps }, input })

  t.strictSame(await plan(2, 'x', { id: 'my/tool', actions: ['count'] }), {
    plan: [
      {
        id: 'scaffold',
        uses: 'autonomic/forge/scaffold',
        with: { id: { $from: 'input.id' }, description: 'x', actions: { $from: 'input.actions' } },
      },
      {
        id: 'inspect',
        uses: 'autonomic/forge/inspect',
        with: { path: { $from: 'steps.scaffold.output.path' } },
        needs: ['scaffold'],
      },
    ],
  })
  const goal = 'Build a new module that counts words'
  const input = { id: 'custom/counts-words', description: goal, actions: ['count'] }
  const alone = {
    plan: [{ id: 'scaffold', uses: 'autonomic/forge/scaffold', with: { ...input, verify: true } }],
  }
  t.strictSame(await plan(1, goal), alone)

  const made = await scaffold(ctx, { ...input, verify: true })
  t.match(made, { created: true, summary: /All 7 checks/ })
  t.ok(made.artifacts.includes('inspection.md'))
  t.strictSame(await plan(1, goal), alone, 'the same goal again is the same module')
  await writeFile(join(made.path, 'index.ts'), '// mine')
  t.match(
    await plan(1, goal),
    { plan: [{ with: { id: 'custom/counts-words-2' } }] },
    'unless it has become another',
  )
  await t.rejects(
    plan(1, goal, { id: 'custom/counts-words' }),
    /a different custom\/counts-words is forged already/,
  )
})

t.test('any goal gives an id', async (t) => {
  t.strictSame(
    ['Build a module', 'Größe messen!', '???', 'x'.repeat(300), 'Create the lead-scoring plugin for us'].map(
      (goal) => idFor(goal, 'custom'),
    ),
    [
      'custom/module',
      'custom/gro-e-messen',
      'custom/module',
      `custom/${'x'.repeat(56)}`,
      'custom/lead-scoring',
    ],
  )
})
