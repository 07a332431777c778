import type { FileHandle } from 'node:fs/promises'
import type { RecordPaths } from 'aeon-nexus/module'
import { Lines } from './chain.ts'
import { missionFiles, openMissionFile } from './mission-files.ts'

/** How the missions stand. */
export interface MissionCounts {
  readonly total: number
  readonly by_status: Readonly<Record<string, number>>
  /** Of failed ones, most frequent first. */
  readonly failures: Readonly<Record<string, number>>
  readonly unreadable_lines: number
  /** Older ones beyond what is counted. */
  readonly left_out: number
  /** Older files that were not read for the same reason. */
  readonly files_left_out: number
}

const CODES_SHOWN = 8

/**
 * Counts the last line of each mission. Files are read newest first, and older ones no more once there are
 * `missionsMax`. No file yet is no missions.
 */
export async function countMissions(
  records: Pick<RecordPaths, 'missions' | 'mission_segments'>,
  except: string | undefined,
  missionsMax: number,
  signal: AbortSignal,
): Promise<MissionCounts> {
  const known = new Map<string, Counted>()
  let unreadable = 0
  let leftOut = 0
  const files = [...(await missionFiles(records))]
  for (let file = files.shift(); file !== undefined; file = files.shift()) {
    const byId = new Map<string, Counted>()
    await eachLine(await openMissionFile(records, file), signal, (line) => {
      const mission = read(line)
      if (mission === undefined) unreadable += 1
      else if (mission.id !== except && !known.has(mission.id)) {
        byId.delete(mission.id)
        byId.set(mission.id, mission)
        if (known.size + byId.size > missionsMax) {
          byId.delete(byId.keys().next().value as string)
          leftOut += 1
        }
      }
    })
    for (const [id, mission] of byId) known.set(id, mission)
    if (known.size >= missionsMax) break
  }
  const all = [...known.values()]
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
    files_left_out: files.length,
  }
}

interface Counted {
  readonly id: string
  readonly status: string
  readonly code: string | undefined
}

/** Hands over each whole line of a file. */
export async function eachLine(
  file: FileHandle | undefined,
  signal: AbortSignal,
  see: (line: Buffer) => void,
): Promise<void> {
  const lines = new Lines()
  for await (const chunk of file?.createReadStream({ highWaterMark: 262_144, signal }) ?? []) {
    for (const line of lines.push(chunk as Buffer)) see(line)
  }
}

/** How often each name comes, most frequent first. */
export function tally(names: readonly string[]): Record<string, number> {
  const times = new Map<string, number>()
  for (const name of names) times.set(name, (times.get(name) ?? 0) + 1)
  return Object.fromEntries([...times].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)))
}

function read(line: Buffer): Counted | undefined {
  try {
    const { mission_id: id, status, error } = JSON.parse(line.toString())
    if (typeof id !== 'string' || typeof status !== 'string') return undefined
    return { id, status, code: typeof error?.code === 'string' ? error.code : undefined }
  } catch {
    return undefined // Counted by the caller: one bad line spoils only itself.
  }
}
