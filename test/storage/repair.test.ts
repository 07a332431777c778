import t from 'tap'
import { seededChance } from '../../daemon/kit/chance.ts'
import { dataPaths } from '../../daemon/storage/data-folder.ts'
import { planRepair, repairJournal } from '../../daemon/storage/repair.ts'
import { readSnapshot, type Snapshot, saveSnapshot } from '../../daemon/storage/snapshot.ts'
import { verifyJournal } from '../../daemon/storage/verify.ts'
import type { CrashMode, MemoryDisk } from '../support/memory-disk.ts'
import { TestClock } from '../support/test-clock.ts'
import { ACTIVE, DIR, draft, emptyDisk, failureOf, numberOf, openOn, WATERMARK } from './kit.ts'

const SEGMENT_BYTES = 900
const STATE = `${DIR}/system_state.json`
const SEALED = /\/audit\/\d+\.jsonl$/

/** Twelve records in several segments, and a snapshot after some of them. */
async function prepared(
  snapshotAfter?: number,
  seen: (n: number, disk: MemoryDisk) => void = () => {},
): Promise<MemoryDisk> {
  const disk = emptyDisk()
  const { journal } = await openOn(disk, { segmentBytesMax: SEGMENT_BYTES })
  for (let n = 0; n < 12; n += 1) {
    await journal.append(draft(n))
    seen(n, disk)
    if (n !== snapshotAfter) continue
    const rest = {
      anchors: [],
      records: { end: { file: 1, offset: 0 }, files: [] },
      chunks: [],
      sections: [],
    }
    await saveSnapshot(disk, new TestClock(), dataPaths(DIR), { position: journal.position, ...rest }, false)
  }
  await journal.close()
  return disk
}

async function snapshotOn(disk: MemoryDisk): Promise<Snapshot> {
  const { snapshot } = await readSnapshot(disk, STATE, STATE)
  if (snapshot === undefined) throw new Error('there is no snapshot')
  return snapshot
}

function flip(disk: MemoryDisk, path: string, at: number): void {
  const bytes = disk.contents(path)
  bytes[at] = (bytes[at] ?? 0) ^ 1
  disk.plant(path, bytes)
}

/** A copy without the files whose path has one of these in it. */
function without(disk: MemoryDisk, ...parts: readonly string[]): MemoryDisk {
  const copy = disk.copy()
  for (const path of copy.paths()) {
    if (parts.some((part) => path.includes(part)) && path !== `${DIR}/audit`) copy.remove(path)
  }
  return copy
}

/** The last snapshot stands in the place of the one before. */
function former(disk: MemoryDisk): MemoryDisk {
  disk.plant(`${DIR}/system_state.former.json`, disk.contents(STATE))
  disk.remove(STATE)
  return disk
}

/** A snapshot at the end of the active file, and damage in a record of that file before it. */
async function damagedBehind(snapshotAfter: number): Promise<MemoryDisk> {
  const disk = await prepared(snapshotAfter)
  flip(disk, ACTIVE, 150)
  return disk
}

/** The same records with one word changed, and every hash made to fit again. */
async function rechain(disk: MemoryDisk): Promise<MemoryDisk> {
  const other = emptyDisk()
  const { journal } = await openOn(other, { segmentBytesMax: SEGMENT_BYTES })
  for (let n = 0; n < 14; n += 1) await journal.append(draft(n === 3 ? 77 : n))
  await journal.close()
  const copy = disk.copy()
  for (const path of copy.paths().filter((name) => name === ACTIVE || SEALED.test(name))) copy.remove(path)
  for (const path of other.paths().filter((name) => name === ACTIVE || SEALED.test(name))) {
    copy.plant(path, other.contents(path))
  }
  return copy
}

function repair(disk: MemoryDisk) {
  return repairJournal(disk, new TestClock(), DIR, SEGMENT_BYTES)
}

t.test('a whole journal has nothing to repair, and a plan changes nothing', async (t) => {
  const disk = await prepared()
  t.equal(await planRepair(disk, DIR), undefined)
  flip(disk, ACTIVE, 20)
  const before = disk.count
  t.match(await planRepair(disk, DIR), { how: 'cut', damage: { code: 'JOURNAL_DAMAGED' } })
  t.equal(disk.count, before)
})

t.test(
  'damage in any record of any file: what was before it goes on, and the next record tells of it',
  async (t) => {
    const whole = await prepared()
    const files = whole.paths().filter((path) => path === ACTIVE || SEALED.test(path))
    t.ok(files.length >= 3, `${files.length} files`)
    for (const path of files) {
      const lines = whole.contents(path).toString().split('\n').slice(0, -1)
      let at = 0
      for (const line of lines) {
        const disk = whole.copy()
        flip(disk, path, at + (line.length >> 1))
        at += line.length + 1
        const { damage, last: good } = await verifyJournal(disk, DIR)
        const plan = await planRepair(disk, DIR)
        const done = await repair(disk)
        const { facts } = await openOn(disk, { segmentBytesMax: SEGMENT_BYTES })
        const told = facts.at(-1)
        const found = {
          plan: [plan?.how, plan?.lost.from_seq],
          same: JSON.stringify(plan?.lost) === JSON.stringify(done?.lost),
          kept: facts.slice(0, good).every(({ seq }, place) => seq === place + 1),
          told: [told?.type, told?.d['how']],
          ok: (await verifyJournal(disk, DIR)).ok,
          aside: disk.paths().some((name) => name.includes('/quarantine/repaired-')),
        }
        const wish = {
          ...{ plan: ['cut', good + 1], same: true, kept: true, told: ['journal.repaired', 'cut'], ok: true },
          aside: true,
        }
        t.strictSame(found, wish, `${path} ${damage?.facts['seq']}`)
      }
    }
  },
)

t.test('behind a snapshot nothing is forgotten: the journal begins after the damage', async (t) => {
  const disk = await prepared(10)
  const first = disk.paths().find((path) => SEALED.test(path)) ?? ''
  flip(disk, first, 150)
  const done = await repair(disk)
  t.match(done, { how: 'begin', lost: { from_seq: 1 }, files: [first.slice(DIR.length + 1)] })
  const { ok, first: begins } = await verifyJournal(disk, DIR)
  t.strictSame([ok, begins], [true, (done?.lost.to_seq ?? 0) + 1])
})

/** The journal as it was after record `n` of twelve, in a folder that went on to know more. */
async function rolledBack(n: number, snapshotAfter?: number): Promise<MemoryDisk> {
  const older = new Map<string, Buffer>()
  const isJournal = (path: string): boolean => path === ACTIVE || SEALED.test(path)
  const disk = await prepared(snapshotAfter, (done, now) => {
    if (done !== n) return
    for (const path of now.paths().filter(isJournal)) older.set(path, now.contents(path))
  })
  for (const path of disk.paths().filter(isJournal)) disk.remove(path)
  for (const [path, bytes] of older) disk.plant(path, bytes)
  return disk
}

t.test('a journal that was rolled back to an older copy is refused, and nothing is changed', async (t) => {
  const cases: readonly (readonly [name: string, disk: MemoryDisk, by: string])[] = [
    ['the watermark knows', await rolledBack(4), 'run/journal.wm'],
    ['the snapshot knows', without(await rolledBack(4, 10), WATERMARK), 'system_state.json'],
    ['the former one knows', former(without(await rolledBack(4, 10), WATERMARK)), 'system_state.former.json'],
    [
      'all of the journal is gone',
      without(await prepared(10), WATERMARK, ACTIVE, '/audit/'),
      'system_state.json',
    ],
  ]
  for (const [name, disk, by] of cases) {
    const before = disk.paths().map((path) => [path, disk.contents(path).toString('latin1')])
    const error = await failureOf(openOn(disk.copy()))
    const { ok, damage } = await verifyJournal(disk, DIR)
    t.match([error.code, error.exit, error.facts['by']], ['JOURNAL_ROLLED_BACK', 74, by], name)
    t.strictSame([ok, damage?.message], [false, error.message], `${name}: verify says the same`)
    t.strictSame(
      before,
      disk.paths().map((path) => [path, disk.contents(path).toString('latin1')]),
      name,
    )
  }

  const other = without(await prepared(10), WATERMARK)
  t.match(await verifyJournal(other, DIR), { ok: true })
  const rechained = await rechain(other)
  const error = await failureOf(openOn(rechained))
  t.match([error.code, error.message], ['JOURNAL_ROLLED_BACK', /has another record there/], 'a new chain')
  t.equal((await verifyJournal(rechained, DIR)).damage?.message, error.message)
})

t.test('a snapshot that is garbled claims nothing', async (t) => {
  const disk = without(await rolledBack(4, 10), WATERMARK)
  flip(disk, STATE, disk.contents(STATE).length - 90)
  t.equal((await verifyJournal(disk, DIR)).ok, true)
  t.equal((await openOn(disk)).recovery.cuts.length, 0)
})

t.test('a torn end that a snapshot knows was durable is not cut', async (t) => {
  const disk = without(await prepared(11), WATERMARK)
  disk.plant(ACTIVE, disk.contents(ACTIVE).subarray(0, -20))
  const error = await failureOf(openOn(disk))
  t.match([error.code, error.message], ['JOURNAL_DAMAGED', /system_state.json knows 15/])
  t.equal((await verifyJournal(disk, DIR)).damage?.message, error.message)
})

t.test('what a snapshot knows is kept by a repair, and only what came later is lost', async (t) => {
  const cases: readonly (readonly [name: string, disk: MemoryDisk])[] = [
    ['rolled back', await rolledBack(4, 10)],
    ['all of it is gone', without(await prepared(10), ACTIVE, '/audit/')],
    ['damage in the active file, before the snapshot', await damagedBehind(11)],
  ]
  for (const [name, disk] of cases) {
    const { position } = await snapshotOn(disk)
    const { seq } = position
    const plan = await planRepair(disk, DIR)
    t.match(plan, { how: 'snapshot', known: seq }, name)
    await repair(disk)
    const { facts, journal } = await openOn(disk, { from: position })
    const told = facts.map((fact) => [fact.seq, fact.type, fact.d['how']])
    const wish = [
      [seq + 1, 'journal.segment_opened', undefined],
      [seq + 2, 'journal.repaired', 'snapshot'],
    ]
    t.strictSame(told, wish, name)
    await journal.append(draft(99))
    await journal.close()
    t.match(await verifyJournal(disk, DIR), { ok: true, first: seq + 1, last: seq + 3 }, name)
    t.equal(
      disk.paths().some((path) => path.endsWith('journal.repair')),
      false,
      name,
    )
  }
})

t.test(
  'without what belongs to the snapshot the journal goes back, and the snapshot is set aside',
  async (t) => {
    const disk = await rolledBack(4, 10)
    const { position } = await snapshotOn(disk)
    const chunks = [{ name: '00000001.bin', sha256: '0'.repeat(64) }]
    const rest = { anchors: [], records: { end: { file: 1, offset: 0 }, files: [] }, chunks, sections: [] }
    await saveSnapshot(disk, new TestClock(), dataPaths(DIR), { position, ...rest }, false)
    t.match(await planRepair(disk, DIR), { how: 'cut', known: 5, lost: { from_seq: 6, bytes: 0 } })
    await repair(disk)
    const { facts } = await openOn(disk)
    t.match(facts.at(-1), { type: 'journal.repaired', d: { how: 'cut', files: ['system_state.json'] } })
    t.ok(disk.paths().some((path) => path.includes('/quarantine/repaired-system_state.json')))
    t.equal((await verifyJournal(disk, DIR)).ok, true)
  },
)

t.test('a journal that is put back in the middle of a repair was not repaired', async (t) => {
  const whole = await prepared()
  const disk = whole.copy()
  disk.plant(ACTIVE, disk.contents(ACTIVE).subarray(0, -20))
  disk.fault = ({ op, path, isChange }) =>
    isChange && op === 'unlink' && path === WATERMARK ? { crash: 'before' } : undefined
  await Promise.race([repair(disk), disk.halted])
  const after = disk.afterCrash('everything', seededChance(1))
  after.plant(ACTIVE, whole.contents(ACTIVE))
  const { facts } = await openOn(after)
  t.strictSame(
    facts.filter(({ type }) => type === 'journal.repaired'),
    [],
  )
})

t.test('records that were durable and are gone are given up by name', async (t) => {
  const disk = await prepared()
  const text = disk.contents(ACTIVE).toString()
  disk.plant(ACTIVE, text.slice(0, text.lastIndexOf('\n', text.length - 2) + 1))
  t.match(await planRepair(disk, DIR), { how: 'cut', lost: { bytes: 0 } })
  await repair(disk)
  t.equal((await verifyJournal(disk, DIR)).ok, true)
})

t.test(
  'power cuts in the middle of a repair: it can be done again, and keeps what was before the damage',
  async (t) => {
    const modes: readonly CrashMode[] = ['nothing', 'everything', 'torn', 'sectors']
    const damaged = await prepared()
    const sealed = damaged.paths().filter((path) => SEALED.test(path))[1] ?? ''
    flip(damaged, sealed, damaged.contents(sealed).length - 100)
    const { last: good } = await verifyJournal(damaged, DIR)
    const dry = damaged.copy()
    await repair(dry)
    const bad: string[] = []
    let untold = 0
    for (let step = 1; step <= dry.count; step += 1) {
      const disk = damaged.copy()
      disk.fault = ({ n, isChange }) =>
        isChange && n === step ? { crash: step % 2 === 0 ? 'before' : 'after' } : undefined
      await Promise.race([repair(disk), disk.halted])
      const after = disk.afterCrash(modes[step % modes.length] ?? 'nothing', seededChance(step))
      const isOpen = (await verifyJournal(after, DIR)).ok
      untold += isOpen ? 1 : 0
      await repair(after)
      const { ok } = await verifyJournal(after, DIR)
      const { facts } = await openOn(after, { segmentBytesMax: SEGMENT_BYTES })
      const kept = facts.filter(({ type }) => type === 'command.done').map(numberOf)
      const isTold = facts.some(({ type }) => type === 'journal.repaired')
      if (!ok || facts.length < good || kept[0] !== 0 || !isTold)
        bad.push(`step ${step}: ${ok} ${facts.length} ${disk.calls.at(-1)}`)
    }
    t.strictSame(bad, [])
    t.ok(dry.count > 10 && untold > 3, `${dry.count} steps, ${untold} after the cut`)
  },
)

t.test(
  'power cuts while a journal begins anew after a snapshot: the state is kept whenever it ends',
  async (t) => {
    const modes: readonly CrashMode[] = ['nothing', 'everything', 'torn', 'sectors']
    const damaged = await damagedBehind(11)
    const { position } = await snapshotOn(damaged)
    const dry = damaged.copy()
    await repair(dry)
    const bad: string[] = []
    for (let step = 1; step <= dry.count; step += 1) {
      const disk = damaged.copy()
      disk.fault = ({ n, isChange }) =>
        isChange && n === step ? { crash: step % 2 === 0 ? 'before' : 'after' } : undefined
      await Promise.race([repair(disk), disk.halted])
      const after = disk.afterCrash(modes[step % modes.length] ?? 'nothing', seededChance(step))
      await repair(after)
      const { ok, first } = await verifyJournal(after, DIR)
      const { facts } = await openOn(after, { from: position })
      const isTold = facts.some(({ type }) => type === 'journal.repaired')
      if (!ok || first !== position.seq + 1 || !isTold)
        bad.push(`step ${step}: ${ok} ${first} ${facts.map(({ type }) => type)} ${disk.calls.at(-1)}`)
    }
    t.strictSame(bad, [])
    t.ok(dry.count > 10, `${dry.count} steps`)
  },
)
