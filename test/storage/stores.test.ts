import { createHash } from 'node:crypto'
import t from 'tap'
import type { Fact } from '../../daemon/contracts/fact.ts'
import { seededChance } from '../../daemon/kit/chance.ts'
import { ArtifactStore } from '../../daemon/storage/artifacts.ts'
import { removeDrafts, writeAtomically } from '../../daemon/storage/atomic-file.ts'
import { dataPaths } from '../../daemon/storage/data-folder.ts'
import { LossyLog } from '../../daemon/storage/lossy-log.ts'
import { locate } from '../../daemon/storage/recovery.ts'
import { listSegments } from '../../daemon/storage/segments.ts'
import { readSnapshot, type Snapshot, saveSnapshot } from '../../daemon/storage/snapshot.ts'
import { verifyJournal } from '../../daemon/storage/verify.ts'
import type { CrashMode, MemoryDisk } from '../support/memory-disk.ts'
import { TestClock } from '../support/test-clock.ts'
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
} from './kit.ts'

const STATE = `${DIR}/system_state.json`
const FILE = `${DIR}/file`
const MODES: readonly CrashMode[] = ['nothing', 'everything', 'torn', 'sectors']

/** The snapshot, if it can be believed and the journal knows its place. */
async function loadSnapshot(
  disk: MemoryDisk,
  dir: string,
): Promise<{ snapshot?: Snapshot; warning?: string }> {
  const { snapshot, warning } = await readSnapshot(disk, STATE, 'system_state.json')
  if (snapshot === undefined) return warning === undefined ? {} : { warning }
  const segments = await listSegments(disk, dataPaths(dir))
  const located = await locate(disk, segments, snapshot.position).catch((error: unknown) => {
    return { missing: `the journal cannot be read: ${error}` }
  })
  return 'missing' in located ? { warning: located.missing } : { snapshot }
}

t.test('a snapshot', async (t) => {
  /** Eleven records in four segments, a snapshot after the sixth. */
  const prepared = async (): Promise<{ disk: MemoryDisk; facts: readonly Fact[] }> => {
    const disk = emptyDisk()
    const { journal, facts } = await openOn(disk, { segmentBytesMax: 700 })
    for (let n = 0; n < 5; n += 1) await journal.append(draft(n))
    const { position } = journal
    const rest = { anchors: [], records: { end: { file: 1, offset: 0 }, files: [] }, chunks: [] }
    const sections = [['rooms', ['[1,', '"ä"]']] as const]
    await saveSnapshot(disk, new TestClock(), dataPaths(DIR), { position, sections, ...rest }, false)
    for (let n = 5; n < 9; n += 1) await journal.append(draft(n))
    await journal.close()
    return { disk, facts }
  }

  t.test('is followed by the later facts only', async (t) => {
    const { disk, facts } = await prepared()
    const { snapshot, warning } = await loadSnapshot(disk, DIR)
    t.match(snapshot, {
      at: '2026-11-22T10:00:00.000Z',
      sections: { rooms: [1, 'ä'] },
      position: { seq: 6, segment: 5 },
    })
    t.equal(warning, undefined)
    const from = snapshot?.position
    t.ok(from, 'there is a position')
    const later = await openOn(disk, { segmentBytesMax: 700, ...(from && { from }) })
    t.strictSame(later.facts, facts.slice(6))
    t.equal((await later.journal.append(draft(9))).seq, facts.length + 1)
  })

  t.test('taken at any moment of a life leads to the same end', async (t) => {
    const { disk, facts } = await prepared()
    const { journal } = await openOn(emptyDisk(), { segmentBytesMax: 700 })
    const positions = [journal.position]
    for (let n = 0; n < 9; n += 1) {
      await journal.append(draft(n))
      positions.push(journal.position)
    }
    for (const from of positions) {
      t.strictSame((await openOn(disk.copy(), { from })).facts, facts.slice(from.seq), `after ${from.seq}`)
    }
  })

  t.test('does not spare the sealed segments before it from a look at their ends', async (t) => {
    const { disk } = await prepared()
    const from = (await loadSnapshot(disk, DIR)).snapshot?.position
    const first = `${DIR}/audit/000000000001.jsonl`
    const lines = linesOf(disk.contents(first))
    const cases: [string, string | undefined][] = [
      ['missing', undefined],
      ['shorter', lines.slice(0, -1).join('')],
      ['longer', `${lines.join('')}${lines.at(-1)}`],
      ['with another end', lines.join('').replace(/.(?="\}\n$)/, (hex) => (hex === '0' ? '1' : '0'))],
      ['with another beginning', lines.join('').replace('operator', 'Operator')],
    ]
    for (const [name, contents] of cases) {
      const copy = disk.copy()
      if (contents === undefined) copy.remove(first)
      else copy.plant(first, Buffer.from(contents))
      t.equal(await codeOf(openOn(copy, { ...(from && { from }) })), 'JOURNAL_DAMAGED', name)
      // Whether what lies before the first segment was compacted, the replay tells.
      if (contents === undefined) continue
      const { snapshot, warning } = await loadSnapshot(copy, DIR)
      t.match([snapshot, warning], [undefined, /journal/], `${name}: the snapshot is not used`)
    }
  })

  t.test('is left out with a warning when it cannot be believed', async (t) => {
    const { disk } = await prepared()
    const text = disk.contents(STATE).toString()
    const resealed = (change: string, to: string): string => {
      const content = text.slice(0, -75).replace(change, to)
      return `${content},"sum":"${createHash('sha256').update(content).digest('hex')}"}\n`
    }
    const cases: [string, string | Buffer, RegExp][] = [
      ['empty', '', /checksum/],
      ['garbage', 'garbage', /checksum/],
      ['one bit flipped', text.replace('rooms', 'roomS'), /checksum/],
      ['torn', text.slice(0, 90), /checksum/],
      ['of another format', resealed('"v":2', '"v":0'), /format 0/],
      ['ahead of the journal', resealed('"applied_seq":6', '"applied_seq":99'), /not there/],
      ['of another place', resealed('"offset":', '"offset":1'), /not there/],
      ['of another journal', resealed(/"applied_h":"./.exec(text)?.[0] ?? '', '"applied_h":"x'), /not there/],
      ['of a segment that is not there', resealed('"segment":5', '"segment":6'), /not there/],
    ]
    for (const [name, contents, warning] of cases) {
      const copy = disk.copy()
      copy.plant(STATE, contents)
      const loaded = await loadSnapshot(copy, DIR)
      t.match([loaded.snapshot, loaded.warning], [undefined, warning], name)
    }
    const folder = disk.copy()
    folder.plant(STATE, '', 'directory')
    t.match(await loadSnapshot(folder, DIR), { warning: /EISDIR/ })
    t.strictSame(await loadSnapshot(emptyDisk(), DIR), {}, 'none is no reason to warn')
  })
})

t.test('verify', async (t) => {
  t.test('works beside a daemon that writes and rotates', async (t) => {
    const disk = emptyDisk()
    const { journal } = await openOn(disk, { segmentBytesMax: 900 })
    const reports = []
    for (let n = 0; n < 40; n += 1) {
      const [report] = await Promise.all([
        verifyJournal(disk, DIR),
        journal.append(draft(n)),
        journal.append(draft(n)),
      ])
      reports.push(report)
    }
    t.strictSame(
      reports.filter((report) => !report.ok),
      [],
    )
    t.ok((reports.at(-1)?.segments ?? 0) > 5)
  })

  t.test('looks again when a rotation moved a file between listing and reading', async (t) => {
    const disk = await journalOf([1, 1, 1, 1, 1, 1], { segmentBytesMax: 700 })
    const sealed = `${DIR}/audit/000000000001.jsonl`
    const [older, newer] = [disk.contents(sealed), disk.contents(ACTIVE)]
    disk.remove(sealed)
    disk.plant(ACTIVE, older)
    disk.remove(`${DIR}/run/journal.wm`)
    let rotations = 0
    disk.fault = ({ op, path }) => {
      if (op === 'stat' && path === ACTIVE) rotations += 1
      // After the second look at it: the listing is made, the file not yet opened.
      if (op === 'open' && path === ACTIVE && rotations === 2) {
        disk.plant(sealed, older)
        disk.plant(ACTIVE, newer)
      }
      return undefined
    }
    const { ok, segments, last } = await verifyJournal(disk, DIR)
    t.strictSame({ ok, segments, last }, { ok: true, segments: 2, last: 7 })
  })

  t.test('an end that is still being written is no damage', async (t) => {
    const disk = await journalOf([2, 1])
    const contents = disk.contents(ACTIVE)
    disk.plant(ACTIVE, Buffer.concat([contents, contents.subarray(0, 100)]))
    const { ok, tailOpen, last } = await verifyJournal(disk, DIR)
    t.strictSame(
      { ok, tailOpen, last },
      { ok: true, tailOpen: { offset: contents.length, bytes: 100 }, last: 3 },
    )
  })

  t.test('changes nothing, whatever it finds', async (t) => {
    const disk = await journalOf([2, 1])
    disk.plant(ACTIVE, disk.contents(ACTIVE).subarray(0, -4))
    const { count } = disk
    t.equal((await verifyJournal(disk, DIR)).ok, false)
    t.equal(disk.count, count)
  })
})

t.test('a file that is replaced holds the old or the new contents after any crash', async (t) => {
  const contents = [Buffer.alloc(700, 'old'), Buffer.alloc(900, 'new')] as const
  const prepared = (): MemoryDisk => {
    const disk = emptyDisk()
    disk.plant(FILE, contents[0])
    return disk
  }
  const dry = prepared()
  await writeAtomically(dry, FILE, contents[1])
  let isNew = 0
  for (let at = 1; at <= dry.count + 1; at += 1) {
    for (const mode of MODES) {
      for (const when of ['before', 'after'] as const) {
        const disk = prepared()
        let isDone = false
        disk.fault = ({ n, isChange }) => (isChange && n === at ? { crash: when } : undefined)
        const writing = writeAtomically(disk, FILE, contents[1]).then(() => {
          isDone = true
        })
        await Promise.race([writing, disk.halted])
        const after = disk.afterCrash(mode, seededChance(at))
        const found = after.contents(FILE)
        if (found.equals(contents[1])) isNew += 1
        else if (isDone || !found.equals(contents[0])) t.fail(`${when} ${dry.calls[at - 1]} (${mode})`)
        await removeDrafts(after, DIR)
        if (after.paths().length !== 1) t.fail('a draft was left')
      }
    }
  }
  t.ok(isNew > 10)

  t.test('and a disk without room leaves the old one and no draft', async (t) => {
    for (const fault of [{ error: 'ENOSPC' }, { taken: 10 }]) {
      const disk = prepared()
      disk.fault = ({ op }) => (op === 'write' ? fault : undefined)
      await t.rejects(writeAtomically(disk, FILE, contents[1]), { code: 'ENOSPC' })
      t.ok(disk.contents(FILE).equals(contents[0]))
      t.strictSame(disk.paths(), [FILE])
    }
  })
})

t.test('artifacts', async (t) => {
  const dir = `${DIR}/artifacts`

  t.test('what was put is durable under its hash', async (t) => {
    for (const mode of MODES) {
      const disk = emptyDisk()
      const store = await ArtifactStore.open(disk, dir)
      await disk.syncDir(DIR)
      const ref = await store.put(Buffer.from('findings'))
      t.strictSame(ref, { sha256: createHash('sha256').update('findings').digest('hex'), bytes: 8 })
      const again = await ArtifactStore.open(disk.afterCrash(mode, seededChance(3)), dir)
      t.equal((await again.get(ref.sha256))?.toString(), 'findings')
    }
  })

  t.test('the same bytes are stored once, and mended when a crash has spoilt them', async (t) => {
    const disk = emptyDisk()
    const store = await ArtifactStore.open(disk, dir)
    const { sha256 } = await store.put(Buffer.from('findings'))
    const { count } = disk
    await store.put(Buffer.from('findings'))
    t.equal(disk.count - count, 1, 'one sync of the folder')
    disk.plant(`${dir}/${sha256}`, 'find')
    t.match(await failureOf(store.get(sha256)), { code: 'ARTIFACT_DAMAGED', facts: { sha256 } })
    await store.put(Buffer.from('findings'))
    t.equal((await store.get(sha256))?.toString(), 'findings')
  })

  t.test('a name that is no hash finds nothing', async (t) => {
    const disk = emptyDisk()
    const store = await ArtifactStore.open(disk, dir)
    disk.plant(FILE, 'secret')
    const found = await Promise.all(
      ['../file', '', 'f'.repeat(64), `${'f'.repeat(64)}/../../file`].map((name) => store.get(name)),
    )
    t.strictSame(found, [undefined, undefined, undefined, undefined])
  })
})

t.test('a lossy log', async (t) => {
  t.test('counts what a disk refuses, and never throws', async (t) => {
    const disk = emptyDisk()
    const log = new LossyLog({ disk, path: FILE })
    log.append({ n: 1 })
    await log.flush()
    for (const fault of [{ error: 'ENOSPC' }, { error: 'EIO' }, { taken: 3 }]) {
      disk.fault = ({ op }) => (op === 'write' ? fault : undefined)
      log.append({ n: 2 })
      await log.flush()
    }
    disk.fault = undefined
    log.append({ n: 3 })
    await log.close()
    t.strictSame([log.lost, disk.contents(FILE).toString()], [3, '{"n":1}\n{"n":3}\n'])
    t.notOk(
      disk.calls.some((call) => call.startsWith('datasync')),
      'it is never synced',
    )
  })

  t.test('holds a bounded queue while the disk hangs', async (t) => {
    const disk = emptyDisk()
    const log = new LossyLog({ disk, path: FILE })
    disk.halt()
    for (let n = 0; n < 300; n += 1) log.append({ fill: 'x'.repeat(10_000) })
    t.ok(log.lost > 150 && log.lost < 300, `${log.lost} lines were dropped`)
  })

  t.test('rotates, keeps one older file, and goes on after a crash', async (t) => {
    const disk = emptyDisk()
    const log = new LossyLog({ disk, path: FILE, sizeBytesMax: 40 })
    for (let n = 100; n < 112; n += 1) {
      log.append({ n })
      await log.flush()
    }
    await log.close()
    const numbers = (path: string): unknown[] =>
      linesOf(disk.contents(path))
        .filter(Boolean)
        .map((text) => JSON.parse(text).n)
    t.strictSame(
      [numbers(`${FILE}.1`), numbers(FILE)],
      [
        [104, 105, 106, 107],
        [108, 109, 110, 111],
      ].map((all) => all),
    )
    disk.plant(FILE, '{"n":1}\n{"n"')
    const again = new LossyLog({ disk, path: FILE })
    again.append({ n: 2 })
    await again.close()
    t.strictSame(numbers(FILE), [1, 2])
  })
})

t.test('a journal that is refused says the same to everyone', async (t) => {
  const disk = await journalOf([1, 1, 1])
  disk.plant(ACTIVE, disk.contents(ACTIVE).toString().replace('operator', 'Operator'))
  const opened = await failureOf(openOn(disk))
  const { damage } = await verifyJournal(disk, DIR)
  t.strictSame([opened.facts['seq'], opened.facts['line'], opened.facts['offset']], [1, 1, 0])
  t.strictSame([damage?.facts['seq'], damage?.facts['offset']], [1, 0])
  t.strictSame((await openOn(await journalOf([3]))).facts.map(numberOf), [0, 1, 2])
})
