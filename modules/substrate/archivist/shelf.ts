import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import type { RecordPaths } from 'aeon-nexus/module'
import { type FoundFile, filesUnder, type Skipped } from './folders.ts'
import { HistoryReader } from './history.ts'
import type { Kept } from './library.ts'
import { type Document, Postings } from './postings.ts'
import type { Settings } from './settings.ts'

export interface Shelved extends Document {
  /** Size and time of a file when it was read; the revision of a kept entry. */
  readonly stamp: string
  /** The text of what is not a file, for its snippets. */
  readonly text?: string
}

/**
 * The index, kept as long as the instance lives and brought up to date before each search: files by size and time, the
 * history from where it was read to. Calls are served one at a time, since they share the index.
 */
export class Shelf {
  readonly index = new Postings<Shelved>()
  readonly #history = new HistoryReader()
  #last: Promise<unknown> = Promise.resolve()

  /** Runs `work` after all earlier ones. */
  alone<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#last.then(work)
    this.#last = mine.catch(() => undefined) // Who asked hears of it; the next one must not.
    return mine
  }

  /** @returns Lines of the history that could not be read. */
  async takeHistory(
    records: Pick<RecordPaths, 'missions' | 'mission_segments'>,
    settings: Settings,
    signal: AbortSignal,
  ): Promise<number> {
    const { fresh, changed } = await this.#history.read(records, settings.missions_max, signal)
    if (fresh)
      for (const { key, source } of this.index.documents()) if (source === 'mission') this.index.remove(key)
    for (const { id, goal, at, text } of changed.values()) {
      this.index.add({ key: id, source: 'mission', title: goal, bytes: text.length, stamp: at, text }, text)
    }
    const missions = this.index.documents().filter(({ source }) => source === 'mission')
    for (const { key } of missions.slice(0, Math.max(0, missions.length - settings.missions_max)))
      this.index.remove(key)
    return this.#history.skipped
  }

  takeKept(entries: readonly Kept[]): void {
    const present = new Set(entries.map(({ name }) => `kept:${name}`))
    for (const { key, source } of this.index.documents()) {
      if (source === 'kept' && !present.has(key)) this.index.remove(key)
    }
    for (const { name, query, note, revision, kept_at } of entries) {
      const key = `kept:${name}`
      const stamp = `${revision} ${kept_at}`
      if (this.index.get(key)?.stamp === stamp) continue
      const text = `${query}\n${note}`
      this.index.add({ key, source: 'kept', title: name, bytes: text.length, stamp, text }, text)
    }
  }

  /** Reads what is new or changed under the given folders. @returns The paths that can be searched now. */
  async takeFiles(
    tops: readonly string[],
    settings: Settings,
    closed: readonly string[],
    skipped: Skipped,
    signal: AbortSignal,
  ): Promise<Set<string>> {
    const present = new Set<string>()
    for (const top of tops) {
      for await (const file of filesUnder(top, settings, closed, skipped, signal)) {
        if (present.has(file.path)) continue
        if (present.size === settings.files_max) skipped.beyond_limit += 1
        else if (await this.#takeFile(file, settings, present, skipped)) present.add(file.path)
      }
    }
    // What vanished from these folders is gone; what lies elsewhere is kept for the next search there.
    for (const { key, source } of this.index.documents()) {
      const here = tops.some((top) => key === top || key.startsWith(`${top}/`))
      if (source === 'file' && here && !present.has(key)) this.index.remove(key)
    }
    return present
  }

  async #takeFile(
    file: FoundFile,
    settings: Settings,
    present: ReadonlySet<string>,
    skipped: Skipped,
  ): Promise<boolean> {
    const stamp = `${file.bytes} ${file.mtimeMs}`
    if (this.index.get(file.path)?.stamp === stamp) return true
    if (!this.#makeRoom(file.bytes, settings.text_bytes_max, present)) {
      skipped.beyond_limit += 1
      return false
    }
    const text = await readText(file.path)
    if (text === undefined) {
      skipped.unreadable += 1
      return false
    }
    if (text === 'binary') {
      skipped.binary += 1
      return false
    }
    this.index.add(
      { key: file.path, source: 'file', title: basename(file.path), bytes: file.bytes, stamp },
      text.content,
    )
    return true
  }

  /** Lets files of earlier searches go, oldest first, until the new one fits. */
  #makeRoom(bytes: number, bytesMax: number, present: ReadonlySet<string>): boolean {
    if (this.index.bytes + bytes <= bytesMax) return true
    for (const { key, source } of this.index.documents()) {
      if (source !== 'file' || present.has(key)) continue
      this.index.remove(key)
      if (this.index.bytes + bytes <= bytesMax) return true
    }
    return this.index.bytes + bytes <= bytesMax
  }
}

/** The content of a text file, or why there is none. */
export async function readText(path: string): Promise<{ content: string } | 'binary' | undefined> {
  const bytes = await readFile(path).catch(() => undefined)
  if (bytes === undefined) return undefined
  if (bytes.subarray(0, 8_192).includes(0)) return 'binary'
  return { content: bytes.toString('utf8') }
}
