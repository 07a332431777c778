import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, symlink, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import files from '../../modules/substrate/files/index.ts'
import { removeOldDrafts } from '../../modules/substrate/files/write.ts'
import { call, failedSelfTests, manifestFaults } from '../support/module-checks.ts'
import { type FakeContext, fakeContext } from '../support/module-context.ts'

const ID = 'substrate/files'

interface Place {
  readonly dir: string
  readonly own: string
  readonly ctx: FakeContext
  run(action: string, input: object): Promise<Record<string, unknown>>
}

/** A working directory with the daemon's data folder in it, as by default. */
async function place(t: Test, config: object = {}): Promise<Place> {
  const dir = t.testdir({
    work: { 'a.txt': 'from the root', sub: {}, data: { 'operator_pin.txt': 'nxk_secret' } },
    outside: { 'secret.txt': 's' },
  })
  const work = join(dir, 'work')
  const own = join(work, 'data', 'module-data', ID)
  await mkdir(own, { recursive: true })
  const ctx = fakeContext(ID, { roots: [work], dataDir: own, config: { ...config } })
  return { dir: work, own, ctx, run: (action, input) => call(files, ctx, action, input) }
}

t.test('the manifest is one the daemon takes, and the self-test passes and writes nothing', async (t) => {
  const { ctx, own } = await place(t)
  await files.start(ctx)
  t.strictSame(manifestFaults(ID), [])
  t.strictSame(await failedSelfTests(files, ctx), [])
  t.strictSame(await readdir(own), [])
})

t.test('nothing outside of the roots can be reached, and the refusal says what to do', async (t) => {
  const { dir, own, run } = await place(t)
  await symlink(join(dir, '..', 'outside'), join(dir, 'out'))
  await symlink(join(dir, 'data', 'operator_pin.txt'), join(dir, 'key'))
  await symlink(join(dir, '..', 'outside'), join(own, 'out'))
  for (const action of ['read', 'stat', 'hash', 'list']) {
    const refused = (path: string, why: RegExp): Promise<unknown> =>
      t.rejects(run(action, { path }), why, `${action} ${JSON.stringify(path)}`)
    await refused(
      '/etc/passwd',
      /outside of what modules may read \(.*work, \$DATA\): start the daemon with --allow-read \/etc/,
    )
    await refused('out/secret.txt', /--allow-read/)
    await refused(join(own, 'out', 'secret.txt'), /--allow-read/)
    await refused('data/operator_pin.txt', /data folder, which holds keys/)
    await refused('key', /data folder, which holds keys/)
    await refused('sub/../a.txt', /climbs with \.\./)
    await refused('$DATA/../../operator_pin.txt', /climbs/)
    await refused('a\0b', /null character/)
    await refused('nowhere.txt', /there is nothing at nowhere\.txt; modules may read .*work/)
  }
  const written = (path: string, why: RegExp): Promise<unknown> =>
    t.rejects(run('write', { path, content: 'x', overwrite: true }), why, path)
  await written(join(dir, 'a.txt'), /writes only below its own folder/)
  await written('$DATA', /writes only below/)
  await written('../x', /climbs/)
  await written('out/x', /leads out of/)
  await written('.drafts/x', /half-written/)
  t.strictSame(await readdir(join(dir, '..', 'outside')), ['secret.txt'])
})

t.test('what is no file is refused before it blocks', async (t) => {
  const { dir, run } = await place(t)
  execFileSync('mkfifo', [join(dir, 'pipe')])
  await writeFile(join(dir, 'binary'), Buffer.from([0x61, 0xff, 0xfe]))
  await t.rejects(run('read', { path: 'pipe' }), /no file but a pipe/)
  await t.rejects(run('hash', { path: 'sub' }), /is a folder: list it/)
  await t.rejects(run('list', { path: 'a.txt' }), /cannot be listed: it is no folder/)
  await t.rejects(run('read', { path: 'binary' }), /not UTF-8 text from byte 0 on: ask with encoding base64/)
  t.match(await run('read', { path: 'binary', encoding: 'base64' }), {
    content: 'Yf/+',
    length: 3,
    next_offset: null,
  })
})

t.test('the parts of a text join to the whole, whatever the size of the parts', async (t) => {
  const { dir, run } = await place(t)
  await fc.assert(
    fc.asyncProperty(
      fc.string({ unit: 'binary', maxLength: 40 }),
      fc.integer({ min: 4, max: 24 }),
      async (text, limit) => {
        const whole = text.toWellFormed()
        await writeFile(join(dir, 'text'), whole)
        let joined = ''
        for (let offset: unknown = 0; offset !== null; ) {
          const part = await run('read', { path: 'text', offset, limit })
          if (part['length'] === 0 && part['next_offset'] !== null) throw new Error('no step forward')
          joined += part['content']
          offset = part['next_offset']
        }
        return joined === whole
      },
    ),
    { numRuns: 25 },
  )
  t.match(await run('read', { path: 'a.txt', offset: 100 }), { content: '', length: 0, next_offset: null })
  const small = await place(t, { read_bytes_max: 5 })
  t.match(await small.run('read', { path: 'a.txt', limit: 9 }), {
    content: 'from ',
    bytes: 13,
    next_offset: 5,
  })
})

t.test('a write does no more than once, and never replaces unasked', async (t) => {
  const { own, ctx, run } = await place(t)
  const write = { path: 'notes/a.txt', content: 'one' }
  const sha256 = createHash('sha256').update('one').digest('hex')
  const path = join(own, 'notes', 'a.txt')
  t.strictSame(await run('write', write), { path, bytes: 3, sha256, changed: true, replaced: false })
  t.strictSame(await run('write', write), { path, bytes: 3, sha256, changed: false, replaced: false })
  await t.rejects(run('write', { ...write, content: 'two' }), /exists with other content: give overwrite/)
  t.equal(await readFile(path, 'utf8'), 'one')
  t.match(await run('write', { ...write, content: 'dHdv', encoding: 'base64', overwrite: true }), {
    changed: true,
    replaced: true,
  })
  t.match(await run('read', { path: '$DATA/notes/a.txt' }), { content: 'two' })
  t.match(
    await run('read', { path: 'notes/a.txt' }),
    { path, content: 'two' },
    'the own folder is looked in last',
  )
  t.match(await run('stat', { path }), { kind: 'file', bytes: 3 })

  await t.rejects(run('write', { path: 'notes', content: 'x', overwrite: true }), /is a folder/)
  await t.rejects(run('write', { path: 'notes/a.txt/b', content: 'x' }), /a part of its path is a file/)
  await t.rejects(run('write', { path: 'b', content: 'no*base64', encoding: 'base64' }), /is not base64/)
  const race = await Promise.allSettled(
    ['x', 'y', 'z'].map((content) => run('write', { path: 'race', content })),
  )
  t.strictSame(race.filter(({ status }) => status === 'fulfilled').length, 1, 'of several at once one writes')
  await symlink('/etc/hostname', join(own, 'link'))
  await run('write', { path: 'link', content: 'mine', overwrite: true })
  t.equal(await readFile(join(own, 'link'), 'utf8'), 'mine', 'a link is replaced, not followed')

  t.strictSame(await readdir(join(own, '.drafts')), [])
  await writeFile(join(own, '.drafts', 'old'), '')
  await writeFile(join(own, '.drafts', 'new'), '')
  await utimes(join(own, '.drafts', 'old'), 0, 0)
  await removeOldDrafts(ctx.dataDir, Date.now())
  t.strictSame(await readdir(join(own, '.drafts')), ['new'])
})

t.test('limits are kept before anything is written', async (t) => {
  const { own, ctx, run } = await place(t)
  const limited = { ...ctx.config, write_bytes_max: 5, total_bytes_max: 8, files_max: 3 }
  t.equal(files.configure(ctx, { key: 'files_max', value: 3, previous: 1_000, config: limited }), 'applied')
  t.teardown(() => files.configure(ctx, { key: 'files_max', value: 1_000, previous: 3, config: ctx.config }))
  await t.rejects(run('write', { path: 'a', content: 'sechs!' }), /6 bytes, more than write_bytes_max \(5\)/)
  await run('write', { path: 'a', content: '12345' })
  await t.rejects(run('write', { path: 'b', content: '1234' }), /more than 8 bytes/)
  await run('write', { path: 'b', content: '1' })
  await run('write', { path: 'c', content: '1' })
  await t.rejects(run('write', { path: 'd', content: '1' }), /holds 3 files, its limit/)
  t.strictSame((await readdir(own)).sort(), ['.drafts', 'a', 'b', 'c'])
})

t.test('a folder comes page by page, in order, links unfollowed', async (t) => {
  const { dir, run } = await place(t)
  const names = Array.from({ length: 25 }, (_, n) => `f${String((n * 7) % 25).padStart(2, '0')}`)
  await Promise.all(names.map((name) => writeFile(join(dir, 'sub', name), name)))
  await symlink('/etc', join(dir, 'sub', 'link'))
  const seen: unknown[] = []
  let cursor: unknown
  do {
    const page = await run('list', { path: 'sub', limit: 4, ...(cursor !== undefined && { cursor }) })
    seen.push(...(page['entries'] as { name: string }[]).map(({ name }) => name))
    cursor = page['next_cursor'] ?? undefined
  } while (cursor !== undefined)
  t.strictSame(seen, [...names.sort(), 'link'])
  t.match(await run('list', { path: 'sub', cursor: 'f24' }), {
    entries: [{ name: 'link', kind: 'link' }],
    next_cursor: null,
  })
  t.match(await run('list', {}), { entries: [{ name: dir }, { name: '$DATA' }] })
})
