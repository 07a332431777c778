import { readdir, readFile } from 'node:fs/promises'
import type { Clock } from '../kit/clock.ts'
import { readProcess } from './process-table.ts'

/**
 * The variable by which processes are recognised that a host has started and that left its group: whoever inherits
 * an environment inherits it.
 */
export const MARK = 'NEXUS_MARK'

/**
 * Kills every process whose mark begins so, and those that they start meanwhile.
 *
 * This process and its ancestors are spared. One that cleared its environment, or belongs to another account, is not
 * found.
 *
 * @returns The process ids that were killed.
 */
export async function killMarked(mark: string, clock: Clock): Promise<number[]> {
  const killed = new Set<number>()
  const enoughMs = clock.elapsed() + SWEEP_MS_MAX
  let found: readonly number[]
  do {
    found = await findMarked(mark)
    for (const pid of found) {
      killed.add(pid)
      kill(pid)
    }
  } while (found.length > 0 && clock.elapsed() < enoughMs)
  return [...killed]
}

async function findMarked(mark: string): Promise<number[]> {
  const spared = ancestors()
  const pids = (await readdir('/proc').catch(() => [])).map(Number).filter(Number.isSafeInteger)
  const found: number[] = []
  for (const pid of pids) {
    if (!spared.has(pid) && isRunning(pid) && (await isMarked(pid, mark))) found.push(pid)
  }
  return found
}

async function isMarked(pid: number, mark: string): Promise<boolean> {
  try {
    return `\0${await readFile(`/proc/${pid}/environ`, 'latin1')}`.includes(`\0${MARK}=${mark}`)
  } catch {
    return false // it ended, or belongs to somebody else
  }
}

function isRunning(pid: number): boolean {
  const state = readProcess(pid)?.state
  return state !== undefined && state !== 'Z'
}

function ancestors(): ReadonlySet<number> {
  const line = new Set<number>()
  for (let pid = process.pid; pid > 0 && !line.has(pid); pid = readProcess(pid)?.parent ?? 0) line.add(pid)
  return line
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ESRCH' && code !== 'EPERM') throw error
  }
}

/** A look takes some milliseconds. What forks faster than it is killed for so long is beyond reach. */
const SWEEP_MS_MAX = 1_000
