import type { RecordPaths } from 'aeon-nexus/module'
import { type MissionFile, missionFiles, openMissionFile } from './mission-files.ts'

/** Longer results say nothing more about what a mission was about. */
const TEXT_CHARS_MAX = 4_000
/** A longer line is no mission of ours. */
const LINE_CHARS_MAX = 4_194_304

/** One mission as it can be found. */
export interface MissionText {
  readonly id: string
  readonly goal: string
  /** When it last changed. */
  readonly at: string
  /** One thing a line: state, failure, what it answered. */
  readonly text: string
}

/** Reads files that only grow from where it stopped; when one was replaced or removed, all of them from the beginning. */
export class HistoryReader {
  /** How far each file was read, by its inode. */
  #read = new Map<number, number>()
  #skipped = 0

  /** Lines that could not be read so far. */
  get skipped(): number {
    return this.#skipped
  }

  /**
   * What changed since the last call, the last line of each mission, at most the newest `missionsMax`; `fresh` when
   * everything known before is void. Without any file there are no missions yet.
   */
  async read(
    records: Pick<RecordPaths, 'missions' | 'mission_segments'>,
    missionsMax: number,
    signal: AbortSignal,
  ): Promise<{ fresh: boolean; changed: Map<string, MissionText> }> {
    const files = await missionFiles(records)
    const sizes = new Map(files.map(({ inode, bytes }) => [inode, bytes]))
    const fresh =
      this.#read.size === 0 || [...this.#read].some(([inode, offset]) => (sizes.get(inode) ?? -1) < offset)
    if (fresh) {
      this.#read.clear()
      this.#skipped = 0
    }
    const known = new Set<string>()
    const parts: MissionText[][] = []
    for (const file of files) {
      if (known.size >= missionsMax) {
        // Older than the newest so many: passed over, now and later.
        this.#read.set(file.inode, file.bytes)
        continue
      }
      const part = [...(await this.#rest(records, file, known, missionsMax, signal))]
      parts.push(part)
      for (const { id } of part) known.add(id)
    }
    const changed = new Map(parts.reverse().flatMap((part) => part.map((mission) => [mission.id, mission])))
    return { fresh, changed }
  }

  /** What a file has gained, without missions that a newer file tells of. */
  async #rest(
    records: Pick<RecordPaths, 'missions' | 'mission_segments'>,
    file: MissionFile,
    known: ReadonlySet<string>,
    missionsMax: number,
    signal: AbortSignal,
  ): Promise<Iterable<MissionText>> {
    const { path, inode, bytes: size } = file
    const found = new Map<string, MissionText>()
    let offset = this.#read.get(inode) ?? 0
    this.#read.set(inode, offset)
    const handle = size === offset ? undefined : await openMissionFile(records, file)
    if (handle === undefined) return []
    let rest = Buffer.alloc(0)
    for await (const chunk of handle.createReadStream({ start: offset, end: size - 1, signal })) {
      const bytes = Buffer.concat([rest, chunk as Buffer])
      const end = bytes.lastIndexOf(10) + 1
      rest = Buffer.from(bytes.subarray(end))
      offset += end
      if (rest.length > LINE_CHARS_MAX)
        throw new Error(`a line of ${path} is longer than ${LINE_CHARS_MAX} bytes`)
      for (const line of bytes.toString('utf8', 0, end).split('\n')) {
        if (line === '') continue
        const mission = toMission(line)
        if (mission === undefined) this.#skipped += 1
        else if (!known.has(mission.id)) {
          found.delete(mission.id)
          found.set(mission.id, mission)
          if (known.size + found.size > missionsMax) found.delete(found.keys().next().value as string)
        }
      }
    }
    this.#read.set(inode, offset)
    return found.values()
  }
}

function toMission(line: string): MissionText | undefined {
  let parsed: Record<string, unknown>
  try {
    parsed = JSON.parse(line)
  } catch {
    return undefined // Counted by the caller: one bad line spoils only itself.
  }
  const id = parsed?.['mission_id']
  if (typeof id !== 'string') return undefined
  const error = parsed['error'] as { code?: unknown; message?: unknown } | null | undefined
  const lines = [
    [parsed['category'], parsed['status'], parsed['decision']]
      .filter((part) => typeof part === 'string')
      .join(' '),
    Array.isArray(parsed['modules']) ? parsed['modules'].join(' ') : '',
    error === null || error === undefined ? '' : `failed: ${error.code} ${error.message}`,
    typeof parsed['because'] === 'string' ? parsed['because'] : '',
    ...strings(parsed['result']),
  ]
  const goal = typeof parsed['goal'] === 'string' ? parsed['goal'] : ''
  const at = typeof parsed['updated_at'] === 'string' ? parsed['updated_at'] : ''
  return {
    id,
    goal,
    at,
    text: lines
      .filter((part) => part !== '')
      .join('\n')
      .slice(0, TEXT_CHARS_MAX),
  }
}

/** The texts in a result, however deep, each on a line. */
function strings(value: unknown, depth = 0): string[] {
  if (typeof value === 'string') return [value.slice(0, 1_000)]
  if (typeof value !== 'object' || value === null || depth > 6) return []
  return Object.values(value).flatMap((inner) => strings(inner, depth + 1))
}
