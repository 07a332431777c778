import { NexusError } from '../contracts/failure.ts'
import type { Chance } from '../kit/chance.ts'
import { sleep } from '../kit/clock.ts'
import type { MissionPorts } from './port.ts'
import type { Running } from './running.ts'

/**
 * Does what needs the disk, again and again while the disk is full or slow: what an attempt has found out is not given
 * up for that. When the daemon stops meanwhile, the next start resumes from the last record.
 */
export async function patience<T>(
  running: Running,
  work: () => Promise<T>,
  { clock, log }: Pick<MissionPorts, 'clock' | 'log'>,
): Promise<T> {
  for (;;) {
    try {
      return await work()
    } catch (error) {
      const passes = error instanceof NexusError && PASSING.has(error.code)
      if (!passes || running.halt?.kind === 'drain') throw error
      log('warn', 'a mission waits for the disk', { mission: running.missionId, code: error.code })
      await sleep(clock, RETRY_MS)
    }
  }
}

/**
 * How long to wait before the next try, after `n` (0 for the first): anything up to `baseMs · 2ⁿ`, capped. Full jitter:
 * what failed together does not come back together.
 */
export function fullJitter(n: number, baseMs: number, maxMs: number, chance: Chance): number {
  return Math.round(Math.min(maxMs, baseMs * 2 ** n) * chance.next())
}

const PASSING: ReadonlySet<string> = new Set(['JOURNAL_FULL', 'JOURNAL_BUSY'])
/** Room is made by people, so a second is soon enough. */
const RETRY_MS = 1_000
