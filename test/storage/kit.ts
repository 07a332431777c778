import type { Fact, FactDraft } from '../../daemon/contracts/fact.ts'
import { NexusError } from '../../daemon/contracts/failure.ts'
import { Journal, type JournalOptions, type Recovery } from '../../daemon/storage/journal.ts'
import { MemoryDisk } from '../support/memory-disk.ts'
import { TestClock } from '../support/test-clock.ts'

export const DIR = '/data'
export const ACTIVE = `${DIR}/audit.jsonl`
export const WATERMARK = `${DIR}/run/journal.wm`

export interface Opened {
  readonly journal: Journal
  readonly recovery: Recovery
  /** What was replayed, then what was published. */
  readonly facts: Fact[]
  readonly clock: TestClock
}

export async function openOn(disk: MemoryDisk, options: Partial<JournalOptions> = {}): Promise<Opened> {
  const facts: Fact[] = []
  const clock = new TestClock()
  const { journal, recovery } = await Journal.open({
    disk,
    clock,
    dataDir: DIR,
    segmentBytesMax: 1_000_000,
    onReplay: (fact) => facts.push(fact),
    ...options,
  })
  journal.subscribe((batch) => facts.push(...batch))
  return { journal, recovery, facts, clock }
}

export function emptyDisk(): MemoryDisk {
  return MemoryDisk.withFolder(DIR)
}

export function draft(n: number, size = 0): FactDraft {
  return {
    type: 'command.done',
    actor: { kind: 'key', name: 'operator' },
    d: { n, ...(size > 0 && { fill: 'x'.repeat(size) }) },
  }
}

export function numberOf(fact: Fact): unknown {
  return fact.d['n']
}

/** A closed journal whose batches have these sizes; the watermark is as a daemon leaves it. */
export async function journalOf(
  batches: readonly number[],
  options: Partial<JournalOptions> = {},
): Promise<MemoryDisk> {
  const disk = emptyDisk()
  const { journal } = await openOn(disk, options)
  let n = 0
  for (const size of batches) {
    await journal.appendAll(Array.from({ length: size }, () => draft(n++)))
  }
  await journal.close()
  return disk
}

/** The code a promise is refused with; `ok` when it is not. */
export async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise
    return 'ok'
  } catch (error) {
    if (error instanceof NexusError) return error.code
    throw error
  }
}

/** The failure a promise is refused with. */
export async function failureOf(promise: Promise<unknown>): Promise<NexusError> {
  try {
    await promise
  } catch (error) {
    if (error instanceof NexusError) return error
    throw error
  }
  throw new Error('it was not refused')
}

/** The lines of a file, newlines included. */
export function linesOf(contents: Buffer): string[] {
  return contents.toString('latin1').split(/(?<=\n)/)
}
