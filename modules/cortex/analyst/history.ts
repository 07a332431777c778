import { createReadStream } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import type { RecordPaths } from 'aeon-nexus/module'
import { LinesReader } from './json.ts'
import { missionFiles, openMissionFile } from './mission-files.ts'

/** What the analysis needs of one mission. */
export interface MissionRecord {
  readonly id: string
  readonly goal: string
  readonly category: string
  readonly status: string
  readonly decision: string
  readonly modules: readonly string[]
  readonly durationMs: number | undefined
  readonly cpuSeconds: number | undefined
  readonly errorCode: string | undefined
}

export interface History {
  readonly missions: readonly MissionRecord[]
  /** Lines that were no records. */
  readonly skipped: number
  /** Older missions that did not fit `missionsMax`. */
  readonly leftOut: number
  /** Older files that were not read for the same reason. */
  readonly filesLeftOut: number
}

/**
 * The daemon's missions as they stand now: the last line of each id, oldest change first. Files are read newest first,
 * and older ones no more once there are `missionsMax`. No file yet is no missions.
 */
export async function readHistory(
  records: Pick<RecordPaths, 'missions' | 'mission_segments'>,
  missionsMax: number,
  signal: AbortSignal,
): Promise<History> {
  const known = new Set<string>()
  const parts: MissionRecord[][] = []
  let skipped = 0
  let leftOut = 0
  const files = [...(await missionFiles(records))]
  for (let file = files.shift(); file !== undefined; file = files.shift()) {
    const byId = new Map<string, MissionRecord>()
    skipped += await eachMission(await openMissionFile(records, file), signal, (mission) => {
      if (known.has(mission.id)) return
      byId.delete(mission.id)
      byId.set(mission.id, mission)
      if (known.size + byId.size <= missionsMax) return
      byId.delete(byId.keys().next().value as string)
      leftOut += 1
    })
    parts.push([...byId.values()])
    for (const id of byId.keys()) known.add(id)
    if (known.size >= missionsMax) break
  }
  return { missions: parts.reverse().flat(), skipped, leftOut, filesLeftOut: files.length }
}

/** @returns How many lines were no records. */
async function eachMission(
  file: FileHandle | undefined,
  signal: AbortSignal,
  see: (mission: MissionRecord) => void,
): Promise<number> {
  const reader = new LinesReader()
  const take = (lines: readonly Readonly<Record<string, unknown>>[]): void => {
    for (const line of lines) {
      const mission = toMission(line)
      if (mission !== undefined) see(mission)
    }
  }
  const options = { encoding: 'utf8', highWaterMark: 262_144, signal } as const
  for await (const text of file?.createReadStream(options) ?? []) take(reader.push(text as string))
  take(reader.end())
  return reader.skipped
}

/**
 * CPU seconds by mission, from the outcomes in the journal's active segment: the missions' own lines need not carry them.
 */
export async function readCosts(path: string, signal: AbortSignal): Promise<Map<string, number>> {
  const costs = new Map<string, number>()
  let rest = ''
  const take = (lines: readonly string[]): void => {
    for (const line of lines) {
      // Most lines are other facts: looking is cheaper than parsing.
      if (!line.includes('"mission.ended"')) continue
      const [mission, seconds] = toCost(line)
      if (mission !== undefined && seconds !== undefined) costs.set(mission, seconds)
    }
  }
  try {
    for await (const text of createReadStream(path, { encoding: 'utf8', highWaterMark: 262_144, signal })) {
      const lines = (rest + text).split('\n')
      rest = lines.pop() ?? ''
      take(lines)
    }
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause
  }
  take([rest])
  return costs
}

function toMission(line: Readonly<Record<string, unknown>>): MissionRecord | undefined {
  const id = text(line['mission_id'])
  if (id === undefined) return undefined
  const error = line['error'] as { code?: unknown } | null | undefined
  const modules = line['modules']
  return {
    id,
    goal: (text(line['goal']) ?? '').slice(0, 120),
    category: text(line['category']) ?? 'unknown',
    status: text(line['status']) ?? 'unknown',
    decision: text(line['decision']) ?? 'unknown',
    modules: Array.isArray(modules) ? modules.filter((name) => typeof name === 'string') : [],
    durationMs: number(line['duration_ms']),
    cpuSeconds: number(line['cpu_seconds']),
    errorCode: text(error?.code),
  }
}

function toCost(line: string): [string | undefined, number | undefined] {
  try {
    const fact = JSON.parse(line) as { type?: unknown; mid?: unknown; d?: { cpu_seconds?: unknown } }
    return fact.type === 'mission.ended'
      ? [text(fact.mid), number(fact.d?.cpu_seconds)]
      : [undefined, undefined]
  } catch {
    return [undefined, undefined] // The last line may be half written while we read.
  }
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

function number(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined
}
