/**
 * Random lives of a journal, against a ledger of what it acknowledged, showed and refused.
 *
 *     node test/storage/lives.ts FIRST_SEED COUNT
 *
 * Prints its totals, or the first seed that went wrong; that seed alone repeats it.
 */
import { seededChance } from '../../daemon/kit/chance.ts'
import { verifyJournal } from '../../daemon/storage/verify.ts'
import type { CrashMode } from '../support/memory-disk.ts'
import { ACTIVE, DIR, draft, emptyDisk, failureOf, numberOf, openOn } from './kit.ts'

const MODES: readonly CrashMode[] = ['nothing', 'everything', 'torn', 'sectors']
const [first = 1, count = 1] = process.argv.slice(2).map(Number)
const totals = { lives: 0, crashes: 0, acked: 0, cuts: 0, full: 0 }

for (let seed = first; seed < first + count; seed += 1) {
  const complaint = await liveAndDie(seed)
  if (complaint === undefined) continue
  process.stdout.write(`seed ${seed}: ${complaint}\n`)
  process.exitCode = 1
  break
}
if (process.exitCode === undefined) process.stdout.write(`${JSON.stringify(totals)}\n`)

/** Four lives of one disk, each ended by a power cut at some call; chance decides what goes wrong before. */
async function liveAndDie(seed: number): Promise<string | undefined> {
  const chance = seededChance(seed)
  const pick = (below: number): number => Math.floor(chance.next() * below)
  const acked = new Map<number, number>()
  const shown = new Map<number, string>()
  const refused = new Set<number>()
  let sent = 0
  let disk = emptyDisk()
  const segmentBytesMax = [400, 1_500, 1_000_000][pick(3)] ?? 400

  for (let life = 0; life < 4; life += 1) {
    totals.lives += 1
    const dying = disk.count + 1 + pick(30)
    const trouble = pick(40)
    disk.fault = ({ n, isChange, op, path }) => {
      if (!isChange) return undefined
      if (n >= dying) return { crash: pick(2) === 0 ? 'before' : 'after' }
      if (trouble < 8 && path === ACTIVE && op === 'write' && pick(4) === 0) return { taken: pick(200) }
      if (trouble === 9 && op === 'datasync' && pick(6) === 0) return { error: 'EIO' }
      if (trouble > 36 && (op === 'create' || op === 'rename') && pick(3) === 0) return { error: 'ENOSPC' }
      return undefined
    }
    const run = async (): Promise<string | undefined> => {
      const { journal, facts, recovery } = await openOn(disk, { segmentBytesMax }).catch((error) => {
        if (['JOURNAL_FULL', 'JOURNAL_UNAVAILABLE'].includes(error.code))
          return { journal: undefined, facts: [], recovery: undefined }
        throw error
      })
      if (journal === undefined) return undefined
      totals.cuts += recovery.cuts.length
      for (const [index, fact] of facts.entries()) {
        if (fact.seq !== index + 1) return `seq ${fact.seq} at place ${index + 1}`
        const was = shown.get(fact.seq)
        if (was !== undefined && was !== fact.h) return `record ${fact.seq} was shown as another one`
        const n = Number(numberOf(fact))
        if (refused.has(n)) return `${n} was refused and is there`
        if (n >= sent) return `${n} was never sent`
      }
      for (const [n, seq] of acked)
        if (facts[seq - 1]?.d['n'] !== n) return `${n} was acknowledged as ${seq} and is lost`
      for (const seq of shown.keys()) if (seq > facts.length) return `record ${seq} was shown and is lost`
      journal.subscribe((batch) => {
        for (const fact of batch) shown.set(fact.seq, fact.h)
      })

      const append = async (): Promise<void> => {
        const n = sent++
        try {
          const fact = await journal.append(draft(n, pick(3) === 0 ? pick(900) : 0))
          acked.set(n, fact.seq)
          totals.acked += 1
        } catch (error) {
          const { code } = await failureOf(Promise.reject(error))
          if (code === 'JOURNAL_FULL') {
            refused.add(n)
            totals.full += 1
          }
        }
      }
      for (let turn = 0; turn < 6; turn += 1) await Promise.all(Array.from({ length: 1 + pick(5) }, append))
      if (pick(2) === 0) await journal.close()
      return undefined
    }
    const complaint = await Promise.race([
      run().catch((error: Error) => `life ${life}: ${error.message}`),
      disk.halted.then(() => undefined),
    ])
    if (complaint !== undefined) return complaint
    if (disk.isHalted) totals.crashes += 1
    disk = disk.afterCrash(MODES[pick(4)] ?? 'torn', chance)
  }
  // What the last power cut left is opened once more, so that it can be verified to its end.
  await (await openOn(disk)).journal.close()
  return (await verifyJournal(disk, DIR)).damage?.message
}
