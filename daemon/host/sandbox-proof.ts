import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'

/** A program in a sandbox, as it is seen from outside. */
export interface Inside {
  /** The program itself: what the daemon started is only its keeper. */
  readonly pid: number
  /** The process group in which it was started. */
  readonly group: number
  /** What of the machine it still shares; empty when the sandbox really stands. */
  readonly shared: readonly string[]
}

/**
 * Looks at what runs in the sandbox that process `keeper` keeps. Whether a sandbox stands is not taken from a flag
 * that was accepted, nor from what the program says of itself.
 *
 * @param hidden - A file of the daemon's own, which must not be there for the program.
 * @returns Nothing while the program is not up yet, or when /proc does not show it.
 */
export function lookInside(keeper: number, net: boolean, hidden: string): Inside | undefined {
  // The keeper has one child, the first process of its namespace, and that one starts the program.
  const [group] = childrenOf(keeper)
  const [pid] = group === undefined ? [] : childrenOf(group)
  if (group === undefined || pid === undefined) return undefined
  try {
    const spaces = net ? SPACES.filter((space) => space !== 'net') : SPACES
    const shared = spaces.filter((space) => spaceOf(pid, space) === spaceOf('self', space))
    return { pid, group, shared: isThere(`/proc/${pid}/root${hidden}`) ? [...shared, hidden] : shared }
  } catch {
    return undefined // it ended while it was looked at
  }
}

function childrenOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((thread) => {
      const children = readFileSync(`/proc/${pid}/task/${thread}/children`, 'latin1')
      return children.split(' ').filter(Boolean).map(Number)
    })
  } catch {
    return []
  }
}

function spaceOf(pid: number | 'self', space: string): string {
  return readlinkSync(`/proc/${pid}/ns/${space}`)
}

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined
}

const SPACES: readonly string[] = ['mnt', 'pid', 'ipc', 'uts', 'user', 'net']
