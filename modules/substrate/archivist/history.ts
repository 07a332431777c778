import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'

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

/** Reads a file that only grows from where it stopped; a replaced one from its beginning. */
export class HistoryReader {
  #inode = 0
  #offset = 0
  #skipped = 0

  /** Lines that could not be read so far. */
  get skipped(): number {
    return this.#skipped
  }

  /**
   * What changed since the last call, the last line of each mission; `fresh` when everything known before is void.
   * A file that is not there holds no missions yet.
   */
  async read(
    path: string,
    signal: AbortSignal,
  ): Promise<{ fresh: boolean; changed: Map<string, MissionText> }> {
    const changed = new Map<string, MissionText>()
    const about = await stat(path).catch((cause: NodeJS.ErrnoException) => {
      if (cause.code === 'ENOENT') return undefined
      throw cause
    })
    const fresh = about === undefined || about.ino !== this.#inode || about.size < this.#offset
    if (fresh) {
      this.#offset = 0
      this.#skipped = 0
    }
    this.#inode = about?.ino ?? 0
    if (about === undefined || about.size === this.#offset) return { fresh, changed }

    let rest = Buffer.alloc(0)
    for await (const chunk of createReadStream(path, { start: this.#offset, end: about.size - 1, signal })) {
      const bytes = Buffer.concat([rest, chunk as Buffer])
      const end = bytes.lastIndexOf(10) + 1
      rest = Buffer.from(bytes.subarray(end))
      this.#offset += end
      if (rest.length > LINE_CHARS_MAX)
        throw new Error(`a line of ${path} is longer than ${LINE_CHARS_MAX} bytes`)
      for (const line of bytes.toString('utf8', 0, end).split('\n')) {
        if (line === '') continue
        const mission = toMission(line)
        if (mission === undefined) this.#skipped += 1
        else {
          changed.delete(mission.id)
          changed.set(mission.id, mission)
        }
      }
    }
    return { fresh, changed }
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
