import { appendFile, mkdir, readdir, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import archivist from '../../modules/substrate/archivist/index.ts'
import { slug } from '../../modules/substrate/archivist/library.ts'
import { type Document, Postings } from '../../modules/substrate/archivist/postings.ts'
import { snippets } from '../../modules/substrate/archivist/snippet.ts'
import { queryTerms, words } from '../../modules/substrate/archivist/words.ts'
import { call, failedSelfTests, manifestFaults } from '../support/module-checks.ts'
import { type FakeContext, fakeContext } from '../support/module-context.ts'

const ID = 'substrate/archivist'

interface Found {
  readonly found: number
  readonly hits: readonly {
    readonly source: string
    readonly where: string
    readonly line: number
    readonly also?: number
  }[]
  readonly searched: object
  readonly skipped: object
}

const search = async (ctx: FakeContext, input: object): Promise<Found> =>
  (await call(archivist, ctx, 'search', input)) as unknown as Found

const mission = (id: string, goal: string, more: object = {}): string =>
  `${JSON.stringify({ mission_id: id, goal, category: 'coin', status: 'completed', ...more })}\n`

t.test('the manifest is one the daemon takes, and the self-test passes', async (t) => {
  t.strictSame(manifestFaults(ID), [])
  t.strictSame(await failedSelfTests(archivist, fakeContext(ID)), [])
})

t.test('what cannot be searched says why', async (t) => {
  const dir = t.testdir({ inside: {}, outside: {} })
  await symlink(join(dir, 'outside'), join(dir, 'inside', 'link'))
  const ctx = fakeContext(ID, { roots: [join(dir, 'inside')], dataDir: join(dir, 'data') })
  const plan = (input: unknown): Promise<object> => call(archivist, ctx, 'plan', { goal: 'g', input })

  await t.rejects(search(ctx, { query: '?!' }), /has no word in it/)
  await t.rejects(
    search(ctx, { query: 'x', in: join(dir, 'outside') }),
    /outside of what modules may read.*--allow-read/,
  )
  await t.rejects(search(ctx, { query: 'x', in: 'link' }), /--allow-read/)
  await t.rejects(search(ctx, { query: 'x', in: ['nowhere'] }), /there is nothing at nowhere/)
  await t.rejects(plan({ folder: 'x' }), /does not know input\.folder; it reads query, path/)
  await t.rejects(plan({ path: 'nowhere' }), /there is nothing at nowhere/)
  await t.rejects(plan({ path: 'a', paths: ['b'] }), /not both/)
  await t.rejects(plan('docs'), /is an object/)
  await t.rejects(call(archivist, ctx, 'recall', { name: 'x' }), /nothing is kept as x/)
  t.match(await search(ctx, { query: 'x' }), { found: 0, summary: /There was nothing to search/ })
})

t.test('words are compared by their stem, whatever their case, accents and joints', async (t) => {
  t.strictSame(words('Reloading reloads RELOADED reload'), Array(4).fill('reload'))
  t.strictSame(words('stopped stops losing lose policies classes'), [
    'stop',
    'stop',
    'los',
    'los',
    'policy',
    'class',
  ])
  t.strictSame(words('Café reload_module getStatus'), ['caf', 'reload', 'modul', 'get', 'status'])
  t.strictSame(words('bus need speed string status'), ['bus', 'need', 'speed', 'string', 'status'])
  t.strictSame(words('中文搜'), ['中文', '文搜'])
  t.strictSame([queryTerms('What is the plan?'), queryTerms('to be')], [['plan'], ['to', 'be']])
})

t.test('a snippet is the line that says most, cut around its first match', async (t) => {
  const text = `nothing here\r\nan apple\n${'x '.repeat(200)}apple pie ${'y '.repeat(200)}\rend`
  const [best, second] = snippets(text, ['appl', 'pie'], () => 1, 3)
  t.strictSame([best?.line, second], [3, { line: 2, text: 'an apple' }])
  t.match(best?.text, /^….*apple pie.*…$/)
  t.ok((best?.text.length ?? 0) <= 202)
})

t.test(
  'the index agrees with BM25 written out by hand, through any order of adding and removing',
  async (t) => {
    const text = fc
      .array(fc.constantFrom('ant', 'bee', 'cat', 'dog'), { maxLength: 12 })
      .map((each) => each.join(' '))
    const step = fc.record({ key: fc.integer({ min: 0, max: 8 }), text: fc.option(text, { nil: undefined }) })
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 40 }),
        fc.uniqueArray(fc.constantFrom('ant', 'bee', 'cat'), { minLength: 1 }),
        (steps, terms) => {
          const index = new Postings<Document>()
          const model = new Map<string, string>()
          for (const { key, text } of steps) {
            if (text === undefined) index.remove(`${key}`)
            else index.add({ key: `${key}`, source: 'given', title: '', bytes: text.length }, text)
            if (text === undefined) model.delete(`${key}`)
            else model.set(`${key}`, text)
          }
          const expected = bm25(model, terms)
          const found = index.search(terms, () => true)
          t.strictSame(new Set(found.map(({ document }) => document.key)), new Set(expected.keys()))
          for (const { document, score } of found) {
            t.ok(Math.abs(score - (expected.get(document.key) ?? 0)) < 1e-9, `${document.key}: ${score}`)
          }
          t.strictSame(
            found.map(({ score }) => score),
            found.map(({ score }) => score).sort((a, b) => b - a),
          )
          t.equal(
            index.bytes,
            [...model.values()].reduce((sum, each) => sum + each.length, 0),
          )
        },
      ),
      { numRuns: 150 },
    )
  },
)

t.test('removed documents leave the index for good, however many they were', async (t) => {
  const index = new Postings<Document>()
  const add = (key: string, text: string): void =>
    index.add({ key, source: 'given', title: '', bytes: 1 }, text)
  add('k0', 'replaced soon')
  add('anchor', 'stays half')
  add('buoy', 'stays half')
  for (let at = 0; at < 5_000; at += 1) add(`k${at % 10}`, at < 4_990 ? 'old' : `new v${at % 10}`)
  t.strictSame(
    [
      index.search(['old'], () => true).length,
      index.search(['new'], () => true).length,
      index.frequency('v3'),
    ],
    [0, 10, 1],
  )
  index.remove('buoy')
  for (let at = 0; at < 3_000; at += 1) add('k0', 'last')
  t.strictSame(
    index.search(['stay'], () => true).map(({ document }) => document.key),
    ['anchor'],
  )
  t.equal(index.frequency('half'), 1)
  t.ok(index.frequency('old') < 3_000, 'the sweep took most of them out')
})

t.test('folders are read once, and again where something changed', async (t) => {
  const dir = t.testdir({
    docs: {
      'a.md': 'first\nThe apple falls.\n',
      'b.txt': 'Pears and more pears.',
      'picture.png': 'apple',
      'hidden.md': Buffer.from([97, 112, 112, 108, 101, 0, 1]),
      'large.md': 'apple '.repeat(1_000),
      node_modules: { 'c.md': 'apple' },
      '.git': { 'd.md': 'apple' },
      data: { 'secret.md': 'apple' },
    },
  })
  const docs = join(dir, 'docs')
  await symlink(join(docs, 'a.md'), join(docs, 'link.md'))
  const data = join(docs, 'data')
  const records = { missions: join(data, 'missions.jsonl'), mission_segments: join(data, 'missions') }
  const ctx = fakeContext(ID, {
    roots: [docs],
    dataDir: join(dir, 'own'),
    records,
    config: { file_bytes_max: 1_024 },
  })
  const where = async (query: string): Promise<string[]> =>
    (await search(ctx, { query, in: '.' })).hits.map(
      ({ where, line }) => `${where.slice(docs.length + 1)}:${line}`,
    )

  const first = await search(ctx, { query: 'apples', in: '.' })
  t.match(first, {
    hits: [
      { source: 'file', where: join(docs, 'a.md'), title: 'a.md', line: 2, snippet: 'The apple falls.' },
    ],
    searched: { missions: 0, kept: 0, files: 2 },
    skipped: { other_type: 1, too_large: 1, binary: 1, links: 1, folders: 3, unreadable: 0, beyond_limit: 0 },
  })
  t.equal(first.found, 1)
  t.match(ctx.kept.get('report.md'), /## 1\. a\.md\n\nfile `.*` · score .*\n\n- line 2: `The apple falls\.`/)
  t.match(ctx.kept.get('report.md'), /- binary files: 1/)

  await writeFile(join(docs, 'b.txt'), 'apple')
  await utimes(join(docs, 'b.txt'), 1, 1)
  t.strictSame(await where('apple'), ['b.txt:1', 'a.md:2'], 'a changed file is read again')
  await rm(join(docs, 'a.md'))
  t.strictSame(await where('apple'), ['b.txt:1'], 'a removed one is gone')
  t.strictSame((await search(ctx, { query: 'apple' })).found, 0, 'a folder that is not named is not searched')

  const small = fakeContext(ID, { roots: [docs], dataDir: join(dir, 'own'), config: { files_max: 1 } })
  t.match(await search(small, { query: 'apple', in: '.', history: false }), {
    skipped: { beyond_limit: 3 },
    searched: { files: 1 },
  })
})

t.test('missions are found by goal, failure and result, as they stand now', async (t) => {
  const dir = t.testdir({})
  const records = { missions: join(dir, 'missions.jsonl'), mission_segments: join(dir, 'missions') }
  const ctx = fakeContext(ID, { dataDir: join(dir, 'own'), records, missionId: 'm-self' })
  const found = async (query: string): Promise<unknown> =>
    (await search(ctx, { query })).hits.map(({ where, also }) => [where, also ?? 0])

  await writeFile(
    records.missions,
    mission('m-1', 'Sell more pears', { status: 'running' }) +
      mission('m-2', 'Sell more pears') +
      mission('m-3', 'Count leaves', {
        status: 'failed',
        error: { code: 'ACTION_FAILED', message: 'no ladder' },
      }) +
      mission('m-4', 'Look', { result: { deep: [{ say: 'a purple pear' }] } }) +
      mission('m-self', 'Sell more pears') +
      'no json\n' +
      mission('m-5', 'torn pears').slice(0, 30),
  )
  t.strictSame(
    await found('pears'),
    [
      ['m-2', 1],
      ['m-4', 0],
    ],
    'equal goals are one hit, the asking mission is none',
  )
  t.strictSame(await found('ladder'), [['m-3', 0]])

  await appendFile(records.missions, mission('m-5', 'torn pears').slice(30) + mission('m-3', 'Count leaves'))
  t.strictSame(await found('torn'), [['m-5', 0]], 'a line that was half written is read when it is whole')
  t.strictSame(await found('ladder'), [], 'what a mission no longer says is forgotten')

  // Longer than the old one, so that its size alone tells nothing.
  await writeFile(join(dir, 'new.jsonl'), mission('m-9', `Another tree ${'x '.repeat(1_000)}`))
  await rename(join(dir, 'new.jsonl'), records.missions)
  t.strictSame([await found('pears'), await found('tree')], [[], [['m-9', 0]]], 'a rebuilt file is read anew')
})

t.test('missions in sealed files are found, and a file that is sealed is not read again', async (t) => {
  const dir = t.testdir({ missions: {} })
  const sealed = (n: number): string => join(dir, 'missions', `0000000${n}.jsonl`)
  const records = { missions: join(dir, 'missions.jsonl'), mission_segments: join(dir, 'missions') }
  const ctx = fakeContext(ID, { dataDir: join(dir, 'own'), records, config: { missions_max: 3 } })
  const found = async (): Promise<unknown> =>
    (await search(ctx, { query: 'pear' })).hits.map(({ where }) => where).sort()

  await writeFile(sealed(1), mission('m-0', 'pear 0'))
  await writeFile(sealed(2), mission('m-1', 'pear 1') + mission('m-2', 'pear 2'))
  await writeFile(records.missions, mission('m-2', 'an apple') + mission('m-3', 'pear 3'))
  t.strictSame(
    await found(),
    ['m-1', 'm-3'],
    'the newest line of a mission counts; m-0 is beyond missions_max',
  )

  await appendFile(records.missions, mission('m-4', 'pear 4'))
  await rename(records.missions, sealed(3))
  await writeFile(records.missions, mission('m-5', 'pear 5'))
  t.strictSame(await found(), ['m-3', 'm-4', 'm-5'])

  await rm(sealed(3))
  t.strictSame(await found(), ['m-1', 'm-2', 'm-5'], 'what was let go of is not found any more')
})

t.test('a library mission searches, then keeps, within the steps it has', async (t) => {
  const dir = t.testdir({ docs: { 'a.md': 'apples\n' } })
  const ctx = fakeContext(ID, { roots: [dir], dataDir: join(dir, 'own') })
  const goal = 'What do we know about Äpfel and apples?'
  const plan = (max_steps: number, input?: object): Promise<object> =>
    call(archivist, ctx, 'plan', { goal, category: 'library', constraints: { max_steps }, input })
  const name = slug(goal)

  t.strictSame(await plan(3, { path: 'docs', limit: 3 }), {
    plan: [
      {
        id: 'search',
        uses: 'substrate/archivist/search',
        with: { query: goal, in: { $from: 'input.path' }, limit: { $from: 'input.limit' } },
      },
      {
        id: 'keep',
        uses: 'substrate/archivist/keep',
        with: { name, query: goal, note: goal, hits: { $from: 'steps.search.output.hits' } },
        needs: ['search'],
      },
    ],
  })
  t.strictSame(await plan(1, { query: 'apples' }), {
    plan: [
      {
        id: 'search',
        uses: 'substrate/archivist/search',
        with: { query: { $from: 'input.query' }, keep_as: name, note: goal },
      },
    ],
  })

  const { hits } = await search(ctx, { query: goal, in: 'docs' })
  t.match(await call(archivist, ctx, 'keep', { name, query: goal, note: goal, hits }), {
    name,
    revision: 1,
    hits: 1,
    changed: true,
  })
  t.match(await call(archivist, ctx, 'recall', { name: goal }), {
    query: goal,
    hits: [{ title: 'docs/a.md' }],
  })
  t.strictSame((await search(ctx, { query: goal })).found, 0, 'what the same query kept before is no answer')
  t.match(await search(ctx, { query: 'apple knowledge' }), { hits: [{ source: 'kept', where: name }] })
})

t.test('the library replaces, repeats without effect, forgets, and has a limit', async (t) => {
  const dir = t.testdir({})
  const ctx = fakeContext(ID, { dataDir: join(dir, 'own'), config: { library_max: 2 } })
  const keep = (name: string, query: string): Promise<object> => call(archivist, ctx, 'keep', { name, query })

  t.match(await call(archivist, ctx, 'library', {}), { count: 0, entries: [] })
  t.match(await keep('One two', 'a'), { name: 'one-two', revision: 1, changed: true })
  t.match(await keep('one TWO', 'a'), { revision: 1, changed: false }, 'once more is no change')
  t.match(await keep('one-two', 'b'), { revision: 2, changed: true })
  await keep('three', 'c')
  await t.rejects(keep('four', 'd'), /holds 2 entries, which is its limit: forget some/)
  await t.rejects(call(archivist, ctx, 'recall', { name: 'two' }), /nothing is kept as two; there is one-two/)
  await writeFile(join(dir, 'own', 'library', 'broken.json'), '{')
  t.match(await call(archivist, ctx, 'library', {}), { count: 2 }, 'a broken entry does not hide the others')
  t.match(await call(archivist, ctx, 'forget', { name: 'One two' }), { forgotten: true })
  t.match(await call(archivist, ctx, 'forget', { name: 'One two' }), { forgotten: false })
  t.strictSame(
    (await readdir(join(dir, 'own', 'library'))).sort(),
    ['broken.json', 'three.json'],
    'no drafts are left',
  )
})

t.test('two names that differ stay two', async (t) => {
  const long = 'word '.repeat(30)
  const names = [`${long}a`, `${long}b`, 'наука', 'наукы', 'пример x', '??', '!!', 'a-b', 'a c'].map(slug)
  t.equal(new Set(names).size, names.length, names.join(' '))
  t.ok(
    names.every((name) => /^[a-z0-9][a-z0-9-]{0,71}$/.test(name)),
    names.join(' '),
  )
  t.strictSame([slug('Café  au lait!'), slug('a_b')], ['cafe-au-lait', 'a-b'])
})

t.test('searches at the same time do not spoil the index they share', async (t) => {
  const dir = t.testdir({})
  await mkdir(join(dir, 'docs'))
  await Promise.all(
    Array.from({ length: 30 }, (_, at) => writeFile(join(dir, 'docs', `${at}.md`), `apple ${at}`)),
  )
  const records = { missions: join(dir, 'missions.jsonl'), mission_segments: join(dir, 'missions') }
  await writeFile(records.missions, `no json\n${mission('m-1', 'Sell apples')}`)
  const ctx = fakeContext(ID, { roots: [dir], dataDir: join(dir, 'own'), records })
  const found = await Promise.all(
    Array.from({ length: 8 }, () => search(ctx, { query: 'apple', in: 'docs', artifacts: false })),
  )
  t.match(
    found,
    Array.from({ length: 8 }, () => ({
      found: 31,
      searched: { files: 30, missions: 1 },
      skipped: { unreadable: 1 },
    })),
  )
})

function bm25(documents: ReadonlyMap<string, string>, terms: readonly string[]): Map<string, number> {
  const texts = [...documents].map(([key, text]) => ({ key, list: text === '' ? [] : text.split(' ') }))
  const mean = texts.reduce((sum, { list }) => sum + list.length + 1, 0) / texts.length
  const scores = new Map<string, number>()
  for (const { key, list } of texts) {
    const present = terms.filter((term) => list.includes(term))
    const sum = present.reduce((total, term) => {
      const times = list.filter((word) => word === term).length
      const having = texts.filter((other) => other.list.includes(term)).length
      const rarity = Math.log(1 + (texts.length - having + 0.5) / (having + 0.5))
      return total + (rarity * times * 2.2) / (times + 1.2 * (0.25 + (0.75 * (list.length + 1)) / mean))
    }, 0)
    if (present.length > 0) scores.set(key, (sum * present.length) / terms.length)
  }
  return scores
}
