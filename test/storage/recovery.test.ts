import '../support/clean-children.ts'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'
import { seededChance } from '../../daemon/kit/chance.ts'
import { verifyJournal } from '../../daemon/storage/verify.ts'
import type { CrashMode, MemoryDisk } from '../support/memory-disk.ts'
import {
  ACTIVE,
  codeOf,
  DIR,
  draft,
  emptyDisk,
  failureOf,
  journalOf,
  linesOf,
  numberOf,
  openOn,
  WATERMARK,
} from './kit.ts'

const MODES: readonly CrashMode[] = ['nothing', 'everything', 'torn', 'sectors']

/** A disk on which this file has these bytes; without a watermark, so that the batches alone must tell. */
function withJournal(contents: Buffer | string, path = ACTIVE): MemoryDisk {
  const disk = emptyDisk()
  disk.plant(`${DIR}/audit`, '', 'directory')
  disk.plant(path, typeof contents === 'string' ? Buffer.from(contents, 'latin1') : contents)
  return disk
}

/** What an opening makes of a disk, in one word and with the numbers it replayed. */
async function outcomeOf(disk: MemoryDisk): Promise<{ how: string; numbers: unknown[] }> {
  try {
    const { facts, recovery, journal } = await openOn(disk)
    await journal.close()
    const numbers = facts.filter((fact) => fact.type === 'command.done').map(numberOf)
    return { how: recovery.cuts.length > 0 ? 'cut' : 'clean', numbers }
  } catch (error) {
    if (error instanceof Error && 'code' in error) return { how: String(error.code), numbers: [] }
    throw error
  }
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, n) => n)

t.test(
  'a tear at every byte of the last batch keeps its whole records, and what is cut is kept aside',
  async (t) => {
    const contents = (await journalOf([2, 1, 4])).contents(ACTIVE)
    const lines = linesOf(contents)
    const from = lines.slice(0, 3).join('').length
    let cuts = 0
    for (let size = from; size <= contents.length; size += 1) {
      const disk = withJournal(contents.subarray(0, size))
      const { facts, journal, recovery } = await openOn(disk)
      const whole = linesOf(contents.subarray(0, size)).filter((line) => line.endsWith('\n')).length
      const rest = size - lines.slice(0, whole).join('').length
      const next = await journal.append(draft(99))
      await journal.close()

      const kept = facts.filter((fact) => fact.type === 'command.done').map(numberOf)
      const told = facts.filter((fact) => fact.type === 'journal.tail_cut').map((fact) => fact.d)
      const aside = disk.paths().filter((path) => path.includes('/quarantine/'))
      const bytes = Buffer.concat(aside.map((path) => disk.contents(path)))
      const isRight =
        JSON.stringify(kept) === JSON.stringify([...upTo(whole), 99]) &&
        bytes.equals(contents.subarray(size - rest, size)) &&
        (rest === 0 ? told.length === 0 : told[0]?.['bytes'] === rest && told[0]['file'] === 'audit.jsonl') &&
        aside.length === told.length &&
        recovery.cuts.length === told.length &&
        next.seq === whole + told.length + 1 &&
        (await verifyJournal(disk, DIR)).ok
      if (!isRight) t.fail(`torn at byte ${size}`, { kept, told, rest, aside })
      cuts += told.length
    }
    t.equal(cuts, contents.length - from - 4, 'every tear inside a line was cut')
  },
)

t.test('a flipped bit at every byte', async (t) => {
  const contents = (await journalOf([1, 3, 1, 2])).contents(ACTIVE)
  const lines = linesOf(contents)
  const lastBatchAt = lines.slice(0, 5).join('').length
  const met = new Map<string, number>()
  for (let at = 0, line = 0, lineAt = 0; at < contents.length; at += 1) {
    if (at === lineAt + (lines[line]?.length ?? 0)) {
      lineAt = at
      line += 1
    }
    const damaged = Buffer.from(contents)
    damaged[at] = (damaged[at] ?? 0) ^ (1 << ((at * 5 + line) % 8))
    const disk = withJournal(damaged)
    const before = disk.contents(ACTIVE)
    try {
      const { facts, recovery } = await openOn(disk)
      const kept = facts.filter((fact) => fact.type === 'command.done').map(numberOf)
      met.set('cut', (met.get('cut') ?? 0) + 1)
      const isRight = at >= lastBatchAt && recovery.cuts.length === 1 && kept.join() === upTo(line).join()
      if (!isRight) t.fail(`bit flipped at ${at} in line ${line + 1} went unnoticed`, { kept })
    } catch (error) {
      const { code, facts } = await failureOf(Promise.reject(error))
      met.set(code, (met.get(code) ?? 0) + 1)
      const isRight =
        code === 'JOURNAL_NEWER'
          ? at === lineAt + 5
          : at < lastBatchAt &&
            facts['line'] === line + 1 &&
            facts['seq'] === line + 1 &&
            facts['offset'] === lineAt
      if (!isRight) t.fail(`bit flipped at ${at} in line ${line + 1}: ${code}`, { facts })
      if (!disk.contents(ACTIVE).equals(before)) t.fail('a refused journal was changed')
    }
  }
  t.ok((met.get('cut') ?? 0) > 300 && (met.get('JOURNAL_DAMAGED') ?? 0) > 800, 'both were met')
  t.equal(
    [...met.values()].reduce((sum, count) => sum + count),
    contents.length,
  )
})

t.test('below the watermark nothing is cut', async (t) => {
  const disk = await journalOf([1, 2])
  const contents = disk.contents(ACTIVE)
  const lastAt = linesOf(contents).slice(0, 2).join('').length
  let refused = 0
  for (let at = lastAt; at < contents.length; at += 1) {
    const damaged = Buffer.from(contents)
    damaged[at] = (damaged[at] ?? 0) ^ 4
    const copy = disk.copy()
    copy.plant(ACTIVE, damaged)
    const { how } = await outcomeOf(copy)
    const torn = disk.copy()
    torn.plant(ACTIVE, contents.subarray(0, at))
    if (how.startsWith('JOURNAL_') && (await outcomeOf(torn)).how.startsWith('JOURNAL_')) refused += 1
  }
  t.equal(refused, contents.length - lastAt)

  t.test('and it is told what is wrong and why that is not cut', async (t) => {
    const copy = disk.copy()
    copy.plant(ACTIVE, contents.toString().replace('"n":2', '"n":7'))
    const { facts } = await failureOf(openOn(copy))
    t.match(facts, { seq: 3, line: 3, offset: lastAt, reason: /hash does not fit.* was durable/ })
  })

  t.test('and a journal that knows another record there was replaced', async (t) => {
    const copy = disk.copy()
    copy.plant(ACTIVE, (await journalOf([3, 2])).contents(ACTIVE))
    const { code, facts } = await failureOf(openOn(copy))
    t.match([code, facts], ['JOURNAL_ROLLED_BACK', { by: 'run/journal.wm', known: 3, reason: /another/ }])
  })

  t.test('one that is missing, torn or garbage is ignored', async (t) => {
    const mark = disk.contents(WATERMARK)
    for (const bytes of [
      mark.subarray(0, 100),
      Buffer.alloc(256),
      Buffer.from('garbage'),
      Buffer.from(mark.toString().replace('3', '4')),
    ]) {
      const copy = disk.copy()
      copy.plant(WATERMARK, bytes)
      t.strictSame(await outcomeOf(copy), { how: 'clean', numbers: [0, 1, 2] })
    }
  })

  t.test('it lags by a second at most, and never leads', async (t) => {
    const disk = emptyDisk()
    const { journal, clock } = await openOn(disk)
    const known = (): unknown =>
      JSON.parse(/^\{.*\}/.exec(disk.contents(WATERMARK).toString())?.[0] ?? '{}').seq
    const seen: unknown[] = []
    for (let n = 0; n < 3; n += 1) {
      await journal.append(draft(n))
      await clock.pass(400)
      seen.push(known())
    }
    await clock.pass(1_000)
    seen.push(known())
    t.strictSame(seen, [1, 1, 3, 3])
  })
})

t.test('lines that were moved about', async (t) => {
  const lines = linesOf((await journalOf([1, 1, 2, 1, 1])).contents(ACTIVE))
  const [a = '', b = '', c = '', d = '', e = '', f = ''] = lines
  const foreign = linesOf((await journalOf([2, 2, 2])).contents(ACTIVE))
  const cases: [string, string[], string, number][] = [
    ['a duplicated line', [a, b, b, c, d, e, f], 'JOURNAL_DAMAGED', 0],
    ['a duplicated batch', [a, b, c, d, c, d, e, f], 'JOURNAL_DAMAGED', 0],
    ['a missing line', [a, c, d, e, f], 'JOURNAL_DAMAGED', 0],
    ['a missing first line', [b, c, d, e, f], 'JOURNAL_DAMAGED', 0],
    ['a missing line inside a batch', [a, b, d, e, f], 'JOURNAL_DAMAGED', 0],
    ['two swapped lines', [a, c, b, d, e, f], 'JOURNAL_DAMAGED', 0],
    ['two swapped lines at the end', [a, b, c, d, f, e], 'JOURNAL_DAMAGED', 0],
    ['a line of another journal', [a, b, foreign[2] ?? '', d, e, f], 'JOURNAL_DAMAGED', 0],
    ['an empty line', [a, b, '\n', c, d, e, f], 'JOURNAL_DAMAGED', 0],
    ['a line of garbage', [a, 'garbage\n', c, d, e, f], 'JOURNAL_DAMAGED', 0],
    ['two lines in one', [a, b, c, d, e.trimEnd(), f], 'JOURNAL_DAMAGED', 0],
    ['the last line twice', [...lines, f], 'cut', 6],
    ['zeros after the end', [...lines, '\0'.repeat(4_096)], 'cut', 6],
    ['zeros for the last line', [a, b, c, d, e, '\0'.repeat(f.length)], 'cut', 5],
    ['zeros in the last batch', [a, b, '\0'.repeat(100), d.slice(100)], 'cut', 2],
    ['an older block after the end', [...lines, c.slice(50), d], 'cut', 6],
    [
      'random bytes after the end',
      [...lines, Buffer.from(seededChance(1).bytes(9_000)).toString('latin1')],
      'cut',
      6,
    ],
    ['an empty line after the end', [...lines, '\n'], 'cut', 6],
    ['a batch number beyond its own', [a, b, c, d, e, f.replace('"b":6', '"b":9')], 'cut', 5],
    ['an empty file', [], 'clean', 0],
    ['CR LF', lines.map((line) => line.replace('\n', '\r\n')), 'JOURNAL_DAMAGED', 0],
    ['CR LF in a single batch', [a.replace('\n', '\r\n')], 'JOURNAL_DAMAGED', 0],
    ['a byte order mark', ['\xef\xbb\xbf', ...lines], 'JOURNAL_DAMAGED', 0],
    ['a byte order mark before a single batch', ['\xef\xbb\xbf', a], 'JOURNAL_DAMAGED', 0],
    ['trailing space', [a, b, c, d, e, f.replace('\n', ' \n')], 'JOURNAL_DAMAGED', 0],
    ['a newer format', [a, b, c, d, e, f.replace('{"v":1', '{"v":2')], 'JOURNAL_NEWER', 0],
  ]
  for (const [name, content, how, count] of cases) {
    const disk = withJournal(content.join(''))
    const before = disk.contents(ACTIVE)
    t.strictSame(await outcomeOf(disk), { how, numbers: upTo(count) }, name)
    if (how.startsWith('JOURNAL')) t.ok(disk.contents(ACTIVE).equals(before), `${name}: nothing was changed`)
    const report = await verifyJournal(withJournal(content.join('')), DIR)
    t.equal(report.ok && report.tailOpen === undefined, how === 'clean', `${name}: verify agrees`)
  }

  t.test('an editor is named', async (t) => {
    const reasons = []
    for (const content of [`\xef\xbb\xbf${a}`, a.replace('\n', '\r\n'), a.replace('\n', '  \n')]) {
      reasons.push((await failureOf(openOn(withJournal(content)))).message)
    }
    t.match(reasons, [/byte order mark/, /CR LF/, /white space/])
  })

  t.test('a newer format names both versions and ends with 78', async (t) => {
    const error = await failureOf(openOn(withJournal(a.replace('{"v":1', '{"v":7'))))
    t.match([error.exit, error.message], [78, /format 7.*format 1/])
  })
})

t.test('a trace of a later batch is found wherever it lies', async (t) => {
  const [first = '', ...rest] = linesOf((await journalOf([1, 1, 1, 1])).contents(ACTIVE))
  const trace = rest.at(-1) ?? ''
  for (let before = 262_144 - 90; before <= 262_144 + 10; before += 1) {
    const { how } = await outcomeOf(withJournal(`${first}${'x'.repeat(before)}${trace}`))
    if (how !== 'JOURNAL_DAMAGED') t.fail(`${before} bytes after the damage it is overlooked`)
  }
  t.equal(
    (await outcomeOf(withJournal(`${first}${'x'.repeat(262_144)}`))).how,
    'cut',
    'without one it is cut',
  )
})

t.test('garbage of any size needs little memory', async (t) => {
  const good = (await journalOf([1, 1])).contents(ACTIVE)
  const before = process.memoryUsage().arrayBuffers
  let peak = 0
  for (const filler of ['x', '[', '{"a":', '\n', '{"v":1,"seq":']) {
    const garbage = Buffer.alloc(20_000_000, filler)
    const disk = withJournal(Buffer.concat([good, garbage]))
    const file = await disk.open(ACTIVE, 'read')
    const held = process.memoryUsage().arrayBuffers
    const report = await verifyJournal(disk, DIR)
    peak = Math.max(peak, process.memoryUsage().arrayBuffers - held)
    await file.close()
    t.equal(report.last, 2, `after ${filler}`)
  }
  t.ok(peak < 80_000_000, `${peak - before} bytes`)
})

t.test('segments that are not what they were', async (t) => {
  const disk = await journalOf([1, 1, 1, 1, 1, 1, 1, 1, 1], { segmentBytesMax: 700 })
  const segment = (first: number): string => `${DIR}/audit/${String(first).padStart(12, '0')}.jsonl`
  t.strictSame(
    disk.paths().filter((path) => path.includes('/audit/')),
    [segment(1), segment(5), segment(8)],
  )
  const after = (spoil: (copy: MemoryDisk) => void): MemoryDisk => {
    const copy = disk.copy()
    copy.remove(WATERMARK)
    spoil(copy)
    return copy
  }
  const cut = (path: string, bytes: number) => (copy: MemoryDisk) =>
    copy.plant(path, copy.contents(path).subarray(0, -bytes))
  const cases: [string, (copy: MemoryDisk) => void, RegExp][] = [
    ['the first is missing', (copy) => copy.remove(segment(1)), /1 to 4 are missing/],
    ['one in the middle is missing', (copy) => copy.remove(segment(5)), /5 to 7 are missing/],
    [
      'the last sealed one is missing',
      (copy) => copy.remove(segment(8)),
      /8 follows|11 follows|sequence number/,
    ],
    [
      'one has lost a record',
      (copy) =>
        copy.plant(
          segment(5),
          linesOf(copy.contents(segment(5)))
            .slice(0, -1)
            .join(''),
        ),
      /missing/,
    ],
    ['one is torn', cut(segment(5), 10), /sealed segment/],
    ['one is empty', (copy) => copy.plant(segment(5), ''), /5|empty/],
    ['an empty one was added', (copy) => copy.plant(segment(11), ''), /empty/],
    ['one is a folder', (copy) => copy.plant(segment(5), '', 'directory'), /a folder/],
    [
      'one has another name',
      (copy) => {
        copy.plant(segment(6), copy.contents(segment(5)))
        copy.remove(segment(5))
      },
      /5 to 5 are missing/,
    ],
    ['the active one is a folder', (copy) => copy.plant(ACTIVE, '', 'directory'), /a folder, not a file/],
    ['the active one is a pipe', (copy) => copy.plant(ACTIVE, '', 'fifo'), /a pipe, not a file/],
  ]
  for (const [name, spoil, reason] of cases) {
    const spoilt = after(spoil)
    const error = await failureOf(openOn(spoilt))
    t.match([error.code, error.exit, error.message], ['JOURNAL_DAMAGED', 74, reason], name)
    t.equal((await verifyJournal(after(spoil), DIR)).ok, false, `${name}: verify agrees`)
  }

  t.test(
    'a missing active one is a rotation cut short, unless it is known to have held records',
    async (t) => {
      const { how } = await outcomeOf(after((copy) => copy.remove(ACTIVE)))
      t.equal(how, 'clean')
      const copy = disk.copy()
      copy.remove(ACTIVE)
      t.match(
        (await failureOf(openOn(copy))).message,
        /wm knows record 12, .* ends with record 10: audit.jsonl is missing/,
      )
      const emptied = disk.copy()
      emptied.plant(ACTIVE, '')
      t.match((await failureOf(openOn(emptied))).message, /wm knows record 12, .* ends with record 10/)
      const gone = await journalOf([2])
      gone.remove(ACTIVE)
      t.equal(await codeOf(openOn(gone)), 'JOURNAL_ROLLED_BACK', 'also when it was the only one')
    },
  )

  t.test('strangers among the files are left alone, drafts of a crash are removed', async (t) => {
    const copy = disk.copy()
    for (const name of ['audit/notes.txt', 'audit/1.jsonl', 'system_state.json.3.tmp', 'run/x.tmp'])
      copy.plant(`${DIR}/${name}`, 'x')
    t.equal((await outcomeOf(copy)).how, 'clean')
    t.strictSame(
      copy.paths().filter((path) => copy.contents(path).toString() === 'x'),
      [`${DIR}/audit/1.jsonl`, `${DIR}/audit/notes.txt`],
    )
  })

  t.test('a disk that cannot read says so', async (t) => {
    const copy = disk.copy()
    copy.fault = ({ op, path }) => (op === 'read' && path === segment(5) ? { error: 'EIO' } : undefined)
    t.match((await failureOf(openOn(copy))).message, /000000000005.*cannot be read \(EIO\)/)
  })
})

t.test('a crash before and after every disk operation loses nothing, rotation included', async (t) => {
  const script = async (disk: MemoryDisk, acked: number[]): Promise<void> => {
    const { journal } = await openOn(disk, { segmentBytesMax: 700 })
    for (let n = 0; n < 12; n += 2) {
      await journal.appendAll([draft(n), draft(n + 1)])
      acked.push(n, n + 1)
    }
    await journal.close()
  }
  const dry = emptyDisk()
  await script(dry, [])
  t.ok(
    dry.calls.some((call) => call.startsWith('rename')),
    'it rotates',
  )

  let crashes = 0
  for (let at = 1; at <= dry.count; at += 1) {
    for (const when of ['before', 'after'] as const) {
      for (const mode of MODES) {
        const disk = emptyDisk()
        const acked: number[] = []
        disk.fault = ({ n, op }) => (n === at && op !== 'read' && op !== 'open' ? { crash: when } : undefined)
        await Promise.race([script(disk, acked), disk.halted])
        crashes += 1
        const after = disk.afterCrash(mode, seededChance(at))
        const { how, numbers } = await outcomeOf(after)
        const isKept = numbers.slice(0, acked.length).join() === acked.join()
        const isWhole = numbers.join() === upTo(numbers.length).join()
        if (!isKept || !isWhole || !['clean', 'cut'].includes(how)) {
          t.fail(`${when} ${dry.calls[at - 1]} (${mode}): ${how}`, { acked, numbers })
        }
        const report = await verifyJournal(after, DIR)
        if (!report.ok) t.fail(`${when} ${dry.calls[at - 1]} (${mode}): ${report.damage?.message}`)
      }
    }
  }
  t.ok(crashes > 300, `${crashes} crashes`)
})

t.test(
  'a crash during recovery, and another one during the next, end as a recovery without one',
  async (t) => {
    const contents = (await journalOf([2, 3])).contents(ACTIVE)
    const torn = contents.subarray(0, -30)
    const dry = withJournal(torn)
    await (await openOn(dry)).journal.close()
    const crash = async (
      disk: MemoryDisk,
      at: number,
      mode: CrashMode,
      seed: number,
    ): Promise<MemoryDisk> => {
      disk.fault = ({ n, isChange }) =>
        n === at && isChange ? { crash: seed % 2 === 0 ? 'before' : 'after' } : undefined
      const opening = openOn(disk).then(({ journal }) => journal.close())
      await Promise.race([opening, disk.halted])
      return disk.afterCrash(mode, seededChance(seed))
    }
    let seed = 0
    for (let first = 1; first <= dry.count; first += 1) {
      for (let second = 1; second <= dry.count; second += 1) {
        for (const mode of MODES) {
          seed += 1
          const once = await crash(withJournal(torn), first, mode, seed)
          const twice = await crash(once, second, mode, seed + 1)
          const { facts, journal } = await openOn(twice)
          await journal.close()
          const kept = facts.filter((fact) => fact.type === 'command.done').map(numberOf)
          const cuts = facts.filter((fact) => fact.type === 'journal.tail_cut')
          const original = cuts.filter(({ d }) => {
            const bytes = twice.contents(`${DIR}/quarantine/${d['quarantine']}`)
            return (
              bytes.equals(torn.subarray(torn.length - Number(d['bytes']))) && d['bytes'] === bytes.length
            )
          })
          if (kept.join() !== '0,1,2,3' || original.length !== 1) {
            t.fail(`crash at ${dry.calls[first - 1]}, then ${dry.calls[second - 1]} (${mode})`, {
              kept,
              cuts,
            })
          }
        }
      }
    }
    t.ok(seed > 300, `${seed} pairs of crashes`)
  },
)

t.test('thousands of random lives: what was acknowledged or shown is there, once, in order', async (t) => {
  // Outside of tap, whose hooks on every promise would take most of the time.
  const program = join(import.meta.dirname, '../fixtures/journal-lives.ts')
  const { stdout, stderr, status } = spawnSync(process.execPath, [program, '1', '500'], {
    env: {},
    encoding: 'utf8',
  })
  t.strictSame([status, stderr], [0, ''], stdout)
  const { lives, crashes, acked, cuts, full } = JSON.parse(stdout)
  t.ok(lives === 2_000 && crashes > 1_000 && acked > 5_000 && cuts > 40 && full > 100, stdout)
})
