import { readdirSync, readFileSync } from 'node:fs'

/** One line of the system's list of processes. */
export interface ProcessEntry {
  readonly pid: number
  /** A letter of proc(5); `Z` is one that ended and was not looked at yet. */
  readonly state: string
  readonly parent: number
  readonly group: number
  readonly session: number
  /** Clock ticks since boot: with the number it names a process for good, for numbers are reused. */
  readonly startTicks: number
  readonly residentBytes: number
}

/** Where figures about processes come from: /proc, or a test. */
export interface ProcessView {
  /** Nothing when there is no such process. */
  one(pid: number): ProcessEntry | undefined
  all(): readonly ProcessEntry[]
  /** Bytes that it shares with no file: what it would give back if it ended. */
  own(pid: number): number
  /** The number of the newest process or thread: while it stands still, nothing has been started. */
  newest(): number
}

/** All processes there are, as far as they are shown. */
function listProcesses(): ProcessEntry[] {
  try {
    const pids = readdirSync('/proc').map(Number).filter(Number.isSafeInteger)
    return pids.flatMap((pid) => readProcess(pid) ?? [])
  } catch {
    return []
  }
}

/** Nothing when there is no such process, or no /proc. */
export function readProcess(pid: number): ProcessEntry | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The name stands in brackets and may contain anything, brackets included.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    const at = (field: number): number => Number(fields[field - 3])
    return {
      pid,
      state: fields[0] ?? '',
      parent: at(4),
      group: at(5),
      session: at(6),
      startTicks: at(22),
      residentBytes: at(24) * pageBytes(),
    }
  } catch {
    return undefined
  }
}

/**
 * A process and what came of it: its group and session, and the descendants of all of those. One that went into a
 * session of its own and lost its parent is not found.
 */
export function familyOf(root: number, table: readonly ProcessEntry[]): ProcessEntry[] {
  const family = new Map<number, ProcessEntry>()
  const children = Map.groupBy(table, ({ parent }) => parent)
  const kin = table.filter(({ pid, group, session }) => pid === root || group === root || session === root)
  for (let next = kin; next.length > 0; ) {
    const fresh = next.filter(({ pid }) => !family.has(pid))
    for (const entry of fresh) family.set(entry.pid, entry)
    next = fresh.flatMap(({ pid }) => children.get(pid) ?? [])
  }
  return [...family.values()].filter(({ state }) => state !== 'Z')
}

function privateBytes(pid: number): number {
  try {
    const text = readFileSync(`/proc/${pid}/status`, 'latin1')
    const parts = [...text.matchAll(/^Rss(?:Anon|Shmem):\s+(\d+) kB/gm)]
    return parts.reduce((bytes, [, kib]) => bytes + Number(kib) * 1_024, 0)
  } catch {
    return 0
  }
}

function newestPid(): number {
  try {
    return Number(readFileSync('/proc/loadavg', 'latin1').trim().split(' ').at(-1))
  } catch {
    return Number.NaN // equal to nothing: somebody has to look
  }
}

/** What the kernel told this process at its start (getauxval(3)): pairs of words, 6 is the size of a page. */
function pageBytes(): number {
  if (page !== undefined) return page
  const words = new BigUint64Array(new Uint8Array(readFileSync('/proc/self/auxv')).buffer)
  const at = words.findIndex((word, index) => index % 2 === 0 && word === 6n)
  page = at === -1 ? 4_096 : Number(words[at + 1])
  return page
}

let page: number | undefined

/** The machine. */
export const PROC: ProcessView = {
  one: readProcess,
  all: listProcesses,
  own: privateBytes,
  newest: newestPid,
}
