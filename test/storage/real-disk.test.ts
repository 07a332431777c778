import '../support/clean-children.ts'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t from 'tap'
import { prepareDataFolder } from '../../daemon/storage/data-folder.ts'
import { Journal } from '../../daemon/storage/journal.ts'
import { holdFolder } from '../../daemon/storage/lock.ts'
import { nodeDisk } from '../../daemon/storage/node-disk.ts'
import { verifyJournal } from '../../daemon/storage/verify.ts'
import { shortDir } from '../support/short-dir.ts'
import { settle, TestClock } from '../support/test-clock.ts'
import { codeOf, draft, failureOf, numberOf } from './kit.ts'

const STORAGE = join(import.meta.dirname, '../../daemon/storage')
const clock = new TestClock()

async function open(dataDir: string, numbers: unknown[] = []): Promise<Journal> {
  const { journal } = await Journal.open({
    disk: nodeDisk,
    clock,
    dataDir,
    segmentBytesMax: 5_000,
    onReplay: (fact) => numbers.push(numberOf(fact)),
  })
  return journal
}

/** Nothing of tap's: its hooks would write files of their own. */
function bare(dir: string): NodeJS.ProcessEnv {
  return { PATH: process.env['PATH'], DIR: dir, STORAGE }
}

/** Runs this module text; its folder is `dir`, `storage` names ours. */
function child(
  t: { teardown(undo: () => unknown): void },
  dir: string,
  text: string,
): { process: ChildProcess; lines: AsyncIterator<string> } {
  const process_ = spawn(process.execPath, ['--input-type=module', '-e', text], {
    env: bare(dir),
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => process_.kill('SIGKILL'))
  const lines = createInterface({ input: process_.stdout })[Symbol.asyncIterator]()
  return { process: process_, lines }
}

const HOLD = `
  const { holdFolder } = await import(process.env.STORAGE + '/lock.ts')
  try { holdFolder(process.env.DIR); console.log('held') } catch (error) { console.log(error.code, error.message) }
  setInterval(() => {}, 1000)
`

t.test('the lock', async (t) => {
  t.test(
    'is refused while another process has it, naming it, and free when that one is killed',
    async (t) => {
      const dir = shortDir(t)
      await prepareDataFolder(nodeDisk, dir)
      const holder = child(t, dir, HOLD)
      t.equal((await holder.lines.next()).value, 'held')
      const link = `${dir}-link`
      symlinkSync(dir, link)
      t.teardown(() => rmSync(link, { force: true }))
      for (const path of [dir, link]) {
        const error = await failureOf(Promise.resolve().then(() => holdFolder(path)))
        t.match(
          [error.code, error.exit, error.message],
          ['DATA_FOLDER_HELD', 75, new RegExp(`process ${holder.process.pid}\\b`)],
        )
      }
      const gone = once(holder.process, 'exit')
      holder.process.kill('SIGKILL')
      await gone
      t.ok(existsSync(join(dir, 'run/pid')), 'its pid file is still there')
      holdFolder(dir).release()
    },
  )

  t.test('is kept while this process is refused it a second time', async (t) => {
    const dir = shortDir(t)
    await prepareDataFolder(nodeDisk, dir)
    const lock = holdFolder(dir)
    t.equal(readFileSync(join(dir, 'run/pid'), 'utf8'), `${process.pid}\n`)
    t.equal(await codeOf(Promise.resolve().then(() => holdFolder(dir))), 'DATA_FOLDER_HELD')
    const other = child(t, dir, HOLD)
    t.match((await other.lines.next()).value, /^DATA_FOLDER_HELD .*in use by another daemon/)
    lock.release()
    lock.release()
    t.notOk(existsSync(join(dir, 'run/pid')))
    holdFolder(dir).release()
  })

  t.test('a pid file of a process that lives means nothing', async (t) => {
    const dir = shortDir(t)
    await prepareDataFolder(nodeDisk, dir)
    writeFileSync(join(dir, 'run/pid'), '1\n')
    holdFolder(dir).release()
  })

  t.test('says what to do when its file is none', async (t) => {
    const dir = shortDir(t)
    await prepareDataFolder(nodeDisk, dir)
    mkdirSync(join(dir, 'run/lock.db'))
    const error = await failureOf(Promise.resolve().then(() => holdFolder(dir)))
    t.match([error.code, error.remedy], ['DATA_FOLDER_UNUSABLE', /lock\.db/])
  })

  t.test('prints no warning of its own', async (t) => {
    const dir = shortDir(t)
    await prepareDataFolder(nodeDisk, dir)
    const text = HOLD.replace(/setInterval.*/, "process.emitWarning('mine'); await new Promise(setImmediate)")
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', text], {
      env: bare(dir),
      encoding: 'utf8',
    })
    t.match([stdout, stderr], ['held\n', /mine/])
    t.notMatch(stderr, /SQLite/)
  })
})

t.test('everything is private, whatever the umask', async (t) => {
  for (const umask of [0o000, 0o022, 0o777]) {
    const dir = join(shortDir(t), 'data')
    const text = `
      process.umask(${umask})
      const at = (name) => import(process.env.STORAGE + '/' + name)
      const { nodeDisk } = await at('node-disk.ts')
      const { prepareDataFolder } = await at('data-folder.ts')
      const { holdFolder } = await at('lock.ts')
      const { Journal } = await at('journal.ts')
      const { systemClock } = await import(process.env.STORAGE + '/../kit/clock.ts')
      await prepareDataFolder(nodeDisk, process.env.DIR)
      holdFolder(process.env.DIR)
      const { journal } = await Journal.open({ disk: nodeDisk, clock: systemClock, dataDir: process.env.DIR, segmentBytesMax: 1, onReplay() {} })
      const actor = { kind: 'daemon', name: 'x' }
      for (let n = 0; n < 2; n += 1) await journal.append({ type: 'daemon.started', actor, d: {} })
      await journal.close()
    `
    const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', text], {
      env: bare(dir),
      encoding: 'utf8',
    })
    t.strictSame([status, stderr], [0, ''])
    const modes: Record<string, string> = {}
    for (const name of [
      '',
      'audit',
      'run',
      'quarantine',
      'artifacts',
      'generations',
      'audit.jsonl',
      'audit/000000000001.jsonl',
      'run/journal.wm',
      'run/lock.db',
      'run/pid',
    ]) {
      modes[name] = (statSync(join(dir, name)).mode & 0o777).toString(8)
    }
    const wrong = Object.entries(modes).filter(
      ([name, mode]) => mode !== (/\.|pid/.test(name) ? '600' : '700'),
    )
    t.strictSame(wrong, [], `umask ${umask.toString(8)}`)
  }
})

t.test('a data folder', async (t) => {
  t.test('that cannot be one says why, and what to do', async (t) => {
    const dir = shortDir(t)
    writeFileSync(join(dir, 'file'), '')
    chmodSync(dir, 0o755)
    const cases: [string, RegExp, RegExp][] = [
      [join(dir, 'file'), /not a folder/, /--data-dir/],
      [join(dir, 'file/below'), /ENOTDIR/, /a file/],
      ['/tmp', /other things/, /of its own/],
      [dir, /other things/, /of its own/],
      ['/', /other things/, /of its own/],
      ['/proc/self/nexus', /ENOENT/, /--data-dir/],
    ]
    for (const [path, reason, remedy] of cases) {
      const before = existsSync(path) && statSync(path).mode
      const error = await failureOf(prepareDataFolder(nodeDisk, path))
      t.match(
        [error.code, error.exit, error.message, error.remedy],
        ['DATA_FOLDER_UNUSABLE', 77, reason, remedy],
        path,
      )
      t.equal(existsSync(path) && statSync(path).mode, before, `${path} is left as it was`)
    }
  })

  t.test(
    'that belongs to another account',
    { skip: process.getuid?.() !== 0 && 'needs root to become somebody else' },
    async (t) => {
      const dir = join(shortDir(t), 'data')
      mkdirSync(dir, { mode: 0o755 })
      const text = `
      const { prepareDataFolder } = await import(process.env.STORAGE + '/data-folder.ts')
      const { nodeDisk } = await import(process.env.STORAGE + '/node-disk.ts')
      process.seteuid(65534)
      await prepareDataFolder(nodeDisk, process.env.DIR).catch((error) => console.log(error.exit, error.code, error.remedy))
    `
      const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', text], {
        env: bare(dir),
        encoding: 'utf8',
      })
      t.match(stdout, /^77 DATA_FOLDER_UNUSABLE run `chown/)
    },
  )

  t.test('becomes private when it was not, and keeps what it holds', async (t) => {
    const dir = shortDir(t)
    mkdirSync(join(dir, 'data'), { mode: 0o755 })
    writeFileSync(join(dir, 'data/README.md'), 'x')
    await prepareDataFolder(nodeDisk, join(dir, 'data'))
    await prepareDataFolder(nodeDisk, join(dir, 'data'))
    t.equal(statSync(join(dir, 'data')).mode & 0o777, 0o700)
    t.equal(readFileSync(join(dir, 'data/README.md'), 'utf8'), 'x')
  })
})

t.test('the journal on a real disk', async (t) => {
  t.test('comes back with what it acknowledged', async (t) => {
    const dir = shortDir(t)
    const journal = await open(dir)
    await Promise.all(Array.from({ length: 100 }, (_, n) => journal.append(draft(n))))
    await journal.close()
    const numbers: unknown[] = []
    const again = await open(dir, numbers)
    await again.append(draft(100))
    await again.close()
    t.strictSame(
      numbers,
      Array.from({ length: 100 }, (_, n) => n),
    )
    t.match(await verifyJournal(nodeDisk, dir), { ok: true, records: 102, segments: 2 })
  })

  t.test('a pipe in its place is refused and never waited for', async (t) => {
    const dir = shortDir(t)
    t.equal(spawnSync('mkfifo', [join(dir, 'audit.jsonl')]).status, 0)
    t.match((await failureOf(open(dir))).message, /a pipe, not a file/)
    const pipe = await nodeDisk.open(join(dir, 'audit.jsonl'), 'read')
    t.equal((await pipe.stat()).kind, 'fifo', 'not even when it took the place of a file just now')
    await pipe.close()
  })

  t.test('a folder or a socket in its place is refused', async (t) => {
    const dir = shortDir(t)
    mkdirSync(join(dir, 'audit.jsonl'))
    t.match((await failureOf(open(dir))).message, /a folder, not a file/)
    symlinkSync('/dev/null', join(dir, 'null'))
    rmSync(join(dir, 'audit.jsonl'), { recursive: true })
    renameSync(join(dir, 'null'), join(dir, 'audit.jsonl'))
    t.match((await failureOf(open(dir))).message, /a device or socket, not a file/)
  })

  t.test('a file that is removed or replaced under it takes no acknowledged record', async (t) => {
    for (const spoil of [
      (file: string) => rmSync(file),
      (file: string) => {
        const contents = readFileSync(file)
        rmSync(file)
        writeFileSync(file, contents)
      },
      (file: string) => writeFileSync(file, 'x', { flag: 'a' }),
    ]) {
      const dir = shortDir(t)
      const journal = await open(dir)
      await journal.append(draft(1))
      spoil(join(dir, 'audit.jsonl'))
      t.equal(await codeOf(journal.append(draft(2))), 'JOURNAL_UNAVAILABLE')
      await journal.close()
    }
  })

  t.test('a real file size limit is met as a full disk, and the rest of the record is gone', async (t) => {
    const dir = shortDir(t)
    const text = `
      const { Journal } = await import(process.env.STORAGE + '/journal.ts')
      const { nodeDisk } = await import(process.env.STORAGE + '/node-disk.ts')
      const { systemClock } = await import(process.env.STORAGE + '/../kit/clock.ts')
      const { journal } = await Journal.open({ disk: nodeDisk, clock: systemClock, dataDir: process.env.DIR, segmentBytesMax: 1e9, onReplay() {} })
      const actor = { kind: 'daemon', name: 'x' }
      const said = []
      for (const size of [100, 3000, 100, 1500, 100]) {
        const d = { fill: 'x'.repeat(size) }
        said.push(await journal.append({ type: 'daemon.started', actor, d }).then(({ seq }) => seq, ({ code }) => code))
      }
      await journal.close()
      console.log(JSON.stringify(said))
    `
    // 2 blocks of 1,024 bytes.
    const { stdout, stderr } = spawnSync(
      'bash',
      ['--norc', '-c', 'ulimit -f 2; exec "$0" --input-type=module -e "$1"', process.execPath, text],
      {
        env: bare(dir),
        encoding: 'utf8',
      },
    )
    t.strictSame([stdout, stderr], ['[1,"JOURNAL_FULL",2,"JOURNAL_FULL",3]\n', ''])
    t.match(await verifyJournal(nodeDisk, dir), { ok: true, records: 3 })
  })

  t.test('killed at any moment it keeps what it told', async (t) => {
    const dir = shortDir(t)
    const text = `
      const { Journal } = await import(process.env.STORAGE + '/journal.ts')
      const { nodeDisk } = await import(process.env.STORAGE + '/node-disk.ts')
      const { systemClock } = await import(process.env.STORAGE + '/../kit/clock.ts')
      const { writeSync } = await import('node:fs')
      const { journal } = await Journal.open({ disk: nodeDisk, clock: systemClock, dataDir: process.env.DIR, segmentBytesMax: 20000, onReplay() {} })
      const actor = { kind: 'daemon', name: 'x' }
      const write = async () => {
        for (;;) {
          const { seq } = await journal.append({ type: 'daemon.started', actor, d: {} })
          writeSync(1, seq + '\\n')
        }
      }
      await Promise.all([write(), write(), write(), write()])
    `
    let told = 0
    for (let life = 0; life < 6; life += 1) {
      const { process: process_, lines } = child(t, dir, text)
      const gone = once(process_, 'exit')
      for (let count = 0; count < 40 + life * 25; count += 1)
        told = Math.max(told, Number((await lines.next()).value))
      process_.kill('SIGKILL')
      await gone
      for (let line = await lines.next(); line.done !== true; line = await lines.next())
        told = Math.max(told, Number(line.value))
      const numbers: unknown[] = []
      const journal = await open(dir, numbers)
      if (journal.head.seq < told) t.fail(`${told} was acknowledged, the journal ends at ${journal.head.seq}`)
      await journal.close()
    }
    const { ok, records } = await verifyJournal(nodeDisk, dir)
    t.ok(ok && records >= told && told > 400, `${told} acknowledged, ${records} there`)
  })

  await settle()
})
