import { createReadStream } from 'node:fs'
import { Lines } from './chain.ts'

/** How the missions stand. */
export interface MissionCounts {
  readonly total: number
  readonly by_status: Readonly<Record<string, number>>
  /** Of failed ones, most frequent first. */
  readonly failures: Readonly<Record<string, number>>
  readonly unreadable_lines: number
  /** Older ones beyond what is counted. */
  readonly left_out: number
}

const CODES_SHOWN = 8

/** Counts the last line of each mission. No file yet is no missions. */
export async function countMissions(
  path: string,
  except: string | undefined,
  missionsMax: number,
  signal: AbortSignal,
): Promise<MissionCounts> {
  const byId = new Map<string, { status: string; code: string | undefined }>()
  const lines = new Lines()
  let unreadable = 0
  let leftOut = 0
  const take = (line: Buffer): void => {
    const mission = read(line)
    if (mission === undefined) unreadable += 1
    else if (mission.id !== except) {
      byId.delete(mission.id)
      byId.set(mission.id, mission)
      if (byId.size > missionsMax) {
        byId.delete(byId.keys().next().value as string)
        leftOut += 1
      }
    }
  }
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 262_144, signal })) {
      for (const line of lines.push(chunk as Buffer)) take(line)
    }
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause
  }
  const all = [...byId.values()]
  return {
    total: all.length,
    by_status: tally(all.map(({ status }) => status)),
    failures: Object.fromEntries(
      Object.entries(
        tally(all.flatMap(({ status, code }) => (status === 'failed' ? [code ?? 'unknown'] : []))),
      ).slice(0, CODES_SHOWN),
    ),
    unreadable_lines: unreadable,
    left_out: leftOut,
  }
}

/** How often each name comes, most frequent first. */
export function tally(names: readonly string[]): Record<string, number> {
  const times = new Map<string, number>()
  for (const name of names) times.set(name, (times.get(name) ?? 0) + 1)
  return Object.fromEntries([...times].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)))
}

function read(line: Buffer): { id: string; status: string; code: string | undefined } | undefined {
  try {
    const { mission_id: id, status, error } = JSON.parse(line.toString())
    if (typeof id !== 'string' || typeof status !== 'string') return undefined
    return { id, status, code: typeof error?.code === 'string' ? error.code : undefined }
  } catch {
    return undefined // Counted by the caller: one bad line spoils only itself.
  }
}
