import '../support/clean-children.ts'
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { RunningDaemon, writeModule } from '../support/daemon.ts'
import { shortDir } from '../support/short-dir.ts'

/*
 * From the file to the fact: what people and tools do to a folder with modules, and how often a real daemon reloads.
 */

type Test = { teardown(undo: () => unknown): void }

const MANIFEST = {
  actions: { say: { description: 'says its version', idempotent: true, concurrency: 32 } },
  timeouts: { settle_ms: 100, drain_ms: 100 },
}
const saying = (text: string): string => `export default { actions: { say: () => '${text}' } }\n`

interface Watched {
  readonly daemon: RunningDaemon
  readonly folder: string
  said(): Promise<unknown>
  /**
   * What the journal has got of `g/a` since the last call, once everything that was done before has been dealt with:
   * `g/last` is saved then, and its reload is waited for.
   */
  facts(): Promise<string[]>
}

async function watched(t: Test): Promise<Watched> {
  const dir = shortDir(t)
  writeModule(dir, 'g/a', saying('first'), MANIFEST)
  writeModule(dir, 'g/last', saying('0'), MANIFEST)
  const daemon = await RunningDaemon.start(dir)
  t.teardown(() => daemon.kill())
  for (const id of ['g/a', 'g/last']) {
    await daemon.until(`/v1/status/${id}`, ({ body }) => body.state === 'started')
  }
  let seen = 0
  let saves = 0
  const entry = join(dir, 'modules/g/a/index.js')
  const since = async (): Promise<{ seq: number; type: string; module: string }[]> => {
    const { body } = await daemon.ask('GET', `/v1/audit?limit=500&after=${seen}`)
    return body.facts.map(({ seq, type, d }: { seq: number; type: string; d: { module_id?: string } }) => ({
      seq,
      type,
      module: d.module_id ?? '',
    }))
  }
  const said = async (): Promise<unknown> => {
    const { body } = await daemon.command('call_action', { module_id: 'g/a', action: 'say', input: {} })
    return body.result?.output ?? body.code
  }
  const facts = async (): Promise<string[]> => {
    // After a long loop: whatever connection was closed meanwhile is seen to be.
    for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve))
    // Twice: a second save is heard after everything that the first one was heard beside.
    for (const end = saves + 2; saves < end; saves += 1) {
      writeModule(dir, 'g/last', saying(`save ${saves}`), MANIFEST)
      await daemon.until(
        '/v1/status/g/last',
        ({ body }) => textIn(join(dir, 'modules/g/last')) === textOf(dir, 'g/last', body.generation),
      )
    }
    // What lies there is what was accepted last, or it is not there.
    await daemon.until('/v1/audit?limit=500', ({ body }) => {
      if (!existsSync(entry)) return true
      const text = textIn(join(dir, 'modules/g/a'))

      return body.facts.some(
        ({ type, d }: { type: string; d: { module_id: string; generation: string } }) =>
          type === 'module.generation_accepted' &&
          d.module_id === 'g/a' &&
          textOf(dir, 'g/a', d.generation) === text,
      )
    })
    const all = await since()
    seen = all.at(-1)?.seq ?? seen
    return all.filter(({ module, type }) => module === 'g/a' && TOLD.includes(type)).map(({ type }) => type)
  }
  await facts()
  return { daemon, folder: join(dir, 'modules/g/a'), said, facts }
}

/** Of a generation: all that the tests change. */
function textOf(dir: string, id: string, generation: string): string {
  return textIn(join(dir, 'data/generations', id, generation))
}

function textIn(folder: string): string {
  const files = ['index.js', 'module.json'].map((name) => join(folder, name))
  return files.map((file) => (existsSync(file) ? readFileSync(file, 'utf8') : '')).join('\n')
}

/** Of all that is on record about a module, what a change on disk brings about. */
const TOLD = [
  'module.reloaded',
  'module.rolled_back',
  'module.generation_refused',
  'module.invalid',
  'module.removed',
]
const RELOADED = ['module.reloaded']

t.test(
  'F80: a manifest in two halves, a file renamed over, editors and a storm: one reload for a change, none for none',
  async (t) => {
    const { folder, said, facts } = await watched(t)
    const entry = join(folder, 'index.js')
    const manifest = join(folder, 'module.json')
    const text = JSON.stringify({ ...JSON.parse(readFileSync(manifest, 'utf8')), description: 'another' })

    writeFileSync(manifest, text.slice(0, 40))
    await new Promise((resolve) => setTimeout(resolve, 50)) // the fault itself: a slow writer
    appendFileSync(manifest, text.slice(40))
    t.strictSame(await facts(), RELOADED, 'half a manifest, and the rest 50 ms later')

    writeFileSync(`${entry}.new`, saying('renamed over'))
    renameSync(`${entry}.new`, entry)
    t.strictSame([await facts(), await said()], [RELOADED, 'renamed over'])

    writeFileSync(join(folder, '.index.js.swp'), 'vim')
    writeFileSync(join(folder, '4913'), '')
    rmSync(join(folder, '4913'))
    renameSync(entry, `${entry}~`)
    writeFileSync(entry, saying('vim'))
    rmSync(`${entry}~`)
    t.strictSame([await facts(), await said()], [RELOADED, 'vim'])

    for (let touch = 0; touch < 10_000; touch += 1)
      utimesSync(touch % 2 === 0 ? entry : manifest, touch, touch)
    t.strictSame(await facts(), [], 'ten thousand touches')

    for (let event = 0; event < 2_000; event += 1) writeFileSync(entry, saying(`storm ${event}`))
    t.strictSame([await facts(), await said()], [RELOADED, 'storm 1999'], 'two thousand writes')

    const versions = [saying('there'), saying('storm 1999')]
    for (const version of versions) writeFileSync(entry, version)
    t.strictSame(await facts(), [], 'there and back')
  },
)

t.test(
  'a ConfigMap mounted anew, and a file that is written without end, do not make a daemon restless',
  async (t) => {
    const { daemon, folder, said, facts } = await watched(t)
    const manifest = readFileSync(join(folder, 'module.json'), 'utf8')
    const mount = (version: string, code: string): void => {
      mkdirSync(join(folder, `..${version}`))
      writeFileSync(join(folder, `..${version}/module.json`), manifest)
      writeFileSync(join(folder, `..${version}/index.js`), code)
      symlinkSync(`..${version}`, join(folder, '..data_tmp'))
      renameSync(join(folder, '..data_tmp'), join(folder, '..data'))
    }
    mount('1', saying('first'))
    for (const name of ['module.json', 'index.js']) {
      symlinkSync(`..data/${name}`, join(folder, 'next'))
      renameSync(join(folder, 'next'), join(folder, name))
    }
    t.strictSame(await facts(), [], 'links in place of the files, with the same text')
    mount('2', saying('second'))
    rmSync(join(folder, '..1'), { recursive: true })
    t.strictSame([await facts(), await said()], [RELOADED, 'second'])
    mount('3', saying('second'))
    t.strictSame(await facts(), [])

    const writing = setInterval(() => appendFileSync(join(folder, 'out.log'), 'x'), 20)
    t.teardown(() => clearInterval(writing))
    const tried = await facts()
    t.strictSame([tried.filter((type) => type === 'module.reloaded'), await said()], [[], 'second'])
    const { body } = await daemon.ask('GET', '/v1/status/g/a')
    t.equal(body.state, 'started')
  },
)

t.test(
  'F81: a folder removed while its module runs or starts: it goes on; put back in time, nothing has happened',
  async (t) => {
    const { daemon, folder, said, facts } = await watched(t)
    const away = join(daemon.dir, 'away')
    renameSync(folder, away)
    t.strictSame([await facts(), await said()], [[], 'first'], 'away')
    renameSync(away, folder)
    t.strictSame([await facts(), await said()], [[], 'first'], 'and back')
    rmSync(folder, { recursive: true })
    const { body } = await daemon.ask('GET', '/v1/status/g/a')
    process.kill(body.instances[0].pid, 'SIGKILL')
    await daemon.until(
      '/v1/status/g/a',
      ({ body: now }) => now.state === 'started' && now.restarts > body.restarts,
    )
    t.equal(await said(), 'first', 'it even starts again from its copy')
    writeModule(daemon.dir, 'g/a', saying('other'), MANIFEST)
    t.strictSame([(await facts()).includes('module.removed'), await said()], [false, 'other'])

    const slow = `import { existsSync } from 'node:fs'
export default { async start () { while (!existsSync('${daemon.dir}/go')) await new Promise((r) => setTimeout(r, 20)) } }`
    writeModule(daemon.dir, 'g/slow', slow, { permissions: { fs_read: [join(daemon.dir, 'go')] } })
    // Once there is an instance, there is a copy.
    await daemon.until('/v1/status/g/slow', ({ body: now }) => now.instances?.length === 1)
    rmSync(join(daemon.dir, 'modules/g/slow'), { recursive: true })
    writeFileSync(join(daemon.dir, 'go'), '')
    await daemon.until('/v1/status/g/slow', ({ body: now }) => now.state === 'started')
  },
)

t.test(
  'a module that is renamed is another module, and one that a release link turns to is reloaded',
  async (t) => {
    const { daemon, folder, said, facts } = await watched(t)
    const releases = join(daemon.dir, 'releases')
    for (const text of ['r1', 'r2']) {
      writeModule(join(releases, text), 'g/a', saying(text), MANIFEST)
    }
    symlinkSync('releases/r1', join(daemon.dir, 'current'))
    rmSync(folder, { recursive: true })
    symlinkSync(join(daemon.dir, 'current/modules/g/a'), folder)
    const committed = (text: string) =>
      daemon.until(
        '/v1/status/g/a',
        ({ body }) =>
          body.last_reload?.generation === body.generation &&
          textOf(daemon.dir, 'g/a', body.generation).startsWith(saying(text)),
      )
    await committed('r1')
    t.strictSame([await facts(), await said()], [RELOADED, 'r1'])

    symlinkSync('releases/r2', join(daemon.dir, 'next'))
    renameSync(join(daemon.dir, 'next'), join(daemon.dir, 'current'))
    await committed('r2')

    t.strictSame([await facts(), await said()], [RELOADED, 'r2'])

    renameSync(join(daemon.dir, 'modules/g/last'), join(daemon.dir, 'modules/g/later'))
    const { body } = await daemon.until('/v1/status/g/later', ({ status }) => status === 200)
    t.match(body, { state: 'invalid', because: /is g\/last, but the folder says g\/later/ })
  },
)
