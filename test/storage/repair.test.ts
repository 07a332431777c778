import t from 'tap'
import { seededChance } from '../../daemon/kit/chance.ts'
import { dataPaths } from '../../daemon/storage/data-folder.ts'
import { planRepair, repairJournal } from '../../daemon/storage/repair.ts'
import { saveSnapshot } from '../../daemon/storage/snapshot.ts'
import { verifyJournal } from '../../daemon/storage/verify.ts'
import type { CrashMode, MemoryDisk } from '../support/memory-disk.ts'
import { TestClock } from '../support/test-clock.ts'
import { ACTIVE, DIR, draft, emptyDisk, numberOf, openOn } from './kit.ts'

const SEGMENT_BYTES = 900
const SEALED = /\/audit\/\d+\.jsonl$/

/** Twelve records in several segments, and a snapshot after some of them. */
async function prepared(snapshotAfter?: number): Promise<MemoryDisk> {
  const disk = emptyDisk()
  const { journal } = await openOn(disk, { segmentBytesMax: SEGMENT_BYTES })
  for (let n = 0; n < 12; n += 1) {
    await journal.append(draft(n))
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

function flip(disk: MemoryDisk, path: string, at: number): void {
  const bytes = disk.contents(path)
  bytes[at] = (bytes[at] ?? 0) ^ 1
  disk.plant(path, bytes)
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
    for (let step = 1; step <= dry.count; step += 1) {
      const disk = damaged.copy()
      disk.fault = ({ n, isChange }) =>
        isChange && n === step ? { crash: step % 2 === 0 ? 'before' : 'after' } : undefined
      await Promise.race([repair(disk), disk.halted])
      const after = disk.afterCrash(modes[step % modes.length] ?? 'nothing', seededChance(step))
      await repair(after)
      const { ok } = await verifyJournal(after, DIR)
      const { facts } = await openOn(after, { segmentBytesMax: SEGMENT_BYTES })
      const kept = facts.filter(({ type }) => type === 'command.done').map(numberOf)
      if (!ok || facts.length < good || kept[0] !== 0)
        bad.push(`step ${step}: ${ok} ${facts.length} ${disk.calls.at(-1)}`)
    }
    t.strictSame(bad, [])
    t.ok(dry.count > 10, `${dry.count} steps`)
  },
)
