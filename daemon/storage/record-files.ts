import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import type { DataPaths } from './data-folder.ts'
import { codeOf, type Disk, type DiskFile } from './disk.ts'
import type { RecordEnd, RecordPlace } from './record-log.ts'

/** Lines nearer than this are read in one go: reading a page more costs less than another call. */
const GAP_BYTES_MAX = 16_384
const READ_BYTES_MAX = 1_048_576
/** Two for each of libuv's threads: more only wait there. */
const READS_MAX = 8
/** Open files are few, whatever the history. */
const OPEN_MAX = 64
const TRIES_MAX = 4

/** The files of a record log: `missions.jsonl`, which is written to, and the sealed ones below `missions/`. */
export class RecordFiles {
  readonly #disk: Disk
  readonly #paths: Pick<DataPaths, 'root' | 'missions' | 'missionSegments'>
  readonly #open = new Map<number, { readonly handle: Promise<DiskFile>; users: number }>()

  constructor(disk: Disk, paths: Pick<DataPaths, 'root' | 'missions' | 'missionSegments'>) {
    this.#disk = disk
    this.#paths = paths
  }

  /** Goes back to where a snapshot was: what came later is told by the journal. False when that is not there any more. */
  async rewind(end: RecordEnd, afresh: boolean): Promise<boolean> {
    await this.#disk.makeDir(this.#paths.missionSegments)
    const later = (await this.#sealed()).filter((file) => afresh || file >= end.file)
    const isSealed = !afresh && later.includes(end.file)
    if (isSealed) {
      // It was sealed since: what stands at the path is a later one.
      await this.#disk.unlink(this.#paths.missions)
      await this.#disk.rename(this.#pathOf(end.file), this.#paths.missions)
    }
    for (const file of later)
      if (!(isSealed && file === end.file)) await this.#disk.unlink(this.#pathOf(file))
    if (afresh) await this.#disk.unlink(this.#paths.missions)
    const there = await this.#disk.stat(this.#paths.missions)
    if (there === undefined) return end.offset === 0
    if (there.kind !== 'file' || there.sizeBytes < end.offset) return false
    if (there.sizeBytes === end.offset) return true
    const handle = await this.#disk.open(this.#paths.missions, 'overwrite')
    try {
      await handle.truncate(end.offset)
    } finally {
      await handle.close()
    }
    return true
  }

  async list(active: number): Promise<readonly { readonly file: number; readonly sizeBytes: number }[]> {
    const found: { file: number; sizeBytes: number }[] = []
    for (const file of [...(await this.#sealed()).filter((sealed) => sealed !== active), active]) {
      const entry = await this.#disk.stat(file === active ? this.#paths.missions : this.#pathOf(file))
      if (entry !== undefined) found.push({ file, sizeBytes: entry.sizeBytes })
    }
    return found
  }

  /** The active file becomes the sealed one of this number. */
  async seal(file: number): Promise<void> {
    if ((await this.#disk.stat(this.#paths.missions)) === undefined) return
    await this.#disk.rename(this.#paths.missions, this.#pathOf(file))
    await this.#disk.syncDir(this.#paths.missionSegments)
    await this.#disk.syncDir(this.#paths.root)
  }

  async remove(files: readonly number[]): Promise<number> {
    const there = new Set(await this.#sealed())
    const going = files.filter((file) => there.has(file))
    for (const file of going) {
      await this.#disk.unlink(this.#pathOf(file))
      const open = this.#open.get(file)
      if (open?.users === 0) await this.#shut(file)
    }
    if (going.length > 0) await this.#disk.syncDir(this.#paths.missionSegments)
    return going.length
  }

  /** The lines at these places, neighbours in one go; undefined where the bytes are others, or cannot be read. */
  async read(places: readonly RecordPlace[]): Promise<readonly (Buffer | undefined)[]> {
    const found = new Map<RecordPlace, Buffer>()
    const groups = neighbours(places)
    const readers = Array.from({ length: Math.min(READS_MAX, groups.length) }, async () => {
      for (let group = groups.pop(); group !== undefined; group = groups.pop()) {
        await this.#readGroup(group, found)
      }
    })
    await Promise.all(readers)
    return places.map((place) => found.get(place))
  }

  async close(): Promise<void> {
    for (const file of [...this.#open.keys()]) await this.#shut(file)
  }

  async #readGroup(group: readonly RecordPlace[], found: Map<RecordPlace, Buffer>): Promise<void> {
    const [first] = group
    const last = group.at(-1)
    if (first === undefined || last === undefined) return
    const bytes = await this.#lend(first.file, (handle) =>
      handle.read(first.offset, last.offset + last.length - first.offset),
    )
    for (const place of group) {
      const from = place.offset - first.offset
      const line = bytes?.subarray(from, from + place.length)
      if (line?.length === place.length && crc32(line) === place.crc) found.set(place, line)
    }
  }

  /** A file that is sealed in the meantime stays the one that was opened. */
  async #lend<T>(file: number, use: (handle: DiskFile) => Promise<T>): Promise<T | undefined> {
    const open = this.#open.get(file) ?? { handle: this.#openFile(file), users: 0 }
    this.#open.delete(file)
    this.#open.set(file, open)
    open.users += 1
    try {
      return await use(await open.handle)
    } catch (error) {
      if (codeOf(error) === '') throw error
      this.#open.delete(file)
      return undefined
    } finally {
      open.users -= 1
      await this.#shutIdle()
    }
  }

  /** The active file moves to the sealed ones at any time, and for a moment stands at neither place. */
  async #openFile(file: number, tries = TRIES_MAX): Promise<DiskFile> {
    try {
      return await this.#disk.open(this.#pathOf(file), 'read')
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error
    }
    try {
      const handle = await this.#disk.open(this.#paths.missions, 'read')
      if ((await this.#disk.stat(this.#pathOf(file))) === undefined) return handle
      // It was sealed in between, and this is the one after it.
      await handle.close()
    } catch (error) {
      if (codeOf(error) !== 'ENOENT' || tries <= 1) throw error
    }
    return this.#openFile(file, tries - 1)
  }

  async #shutIdle(): Promise<void> {
    for (const [file, { users }] of this.#open) {
      if (this.#open.size <= OPEN_MAX) return
      if (users === 0) await this.#shut(file)
    }
  }

  async #shut(file: number): Promise<void> {
    const open = this.#open.get(file)
    this.#open.delete(file)
    await open?.handle.then((handle) => handle.close()).catch(() => undefined) // It was only read.
  }

  async #sealed(): Promise<number[]> {
    return (await this.#disk.list(this.#paths.missionSegments))
      .filter((name) => /^\d{8}\.jsonl$/.test(name))
      .map((name) => Number.parseInt(name, 10))
      .sort((a, b) => a - b)
  }

  #pathOf(file: number): string {
    return join(this.#paths.missionSegments, `${String(file).padStart(8, '0')}.jsonl`)
  }
}

function neighbours(places: readonly RecordPlace[]): RecordPlace[][] {
  const sorted = [...places].sort((a, b) => a.file - b.file || a.offset - b.offset)
  const groups: RecordPlace[][] = []
  for (const place of sorted) {
    const group = groups.at(-1)
    const first = group?.[0]
    const last = group?.at(-1)
    const isNear =
      first?.file === place.file &&
      last !== undefined &&
      place.offset - (last.offset + last.length) <= GAP_BYTES_MAX &&
      place.offset + place.length - first.offset <= READ_BYTES_MAX
    if (isNear) group?.push(place)
    else groups.push([place])
  }
  return groups
}
