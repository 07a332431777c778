/** What a person scrolls back; about 100 KiB for each module. */
const LINES_MAX = 500
/** A folder of modules larger than this loses the oldest memory first. */
const SOURCES_MAX = 1_000

/** The last log lines of each module, and whoever follows them. */
export class RecentLines {
  readonly #sources = new Map<string, object[]>()
  readonly #followers = new Map<string, Set<(line: object) => void>>()

  keep(source: string, line: object): void {
    const lines = this.#sources.get(source) ?? this.#begin(source)
    lines.push(line)
    if (lines.length > LINES_MAX) lines.shift()
    for (const follow of this.#followers.get(source) ?? []) follow(line)
  }

  /** Oldest first. */
  recent(source: string, limit: number): readonly object[] {
    return limit <= 0 ? [] : (this.#sources.get(source) ?? []).slice(-limit)
  }

  /** Calls `follow`, which must not throw, for each line from now on. Returns the undoing. */
  subscribe(source: string, follow: (line: object) => void): () => void {
    const followers = this.#followers.get(source) ?? new Set()
    this.#followers.set(source, followers.add(follow))
    return () => {
      followers.delete(follow)
      if (followers.size === 0) this.#followers.delete(source)
    }
  }

  #begin(source: string): object[] {
    const oldest = this.#sources.keys().next().value
    if (this.#sources.size >= SOURCES_MAX && oldest !== undefined) this.#sources.delete(oldest)
    const lines: object[] = []
    this.#sources.set(source, lines)
    return lines
  }
}
