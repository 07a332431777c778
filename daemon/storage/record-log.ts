import { crc32 } from 'node:zlib'
import { NexusError } from '../contracts/failure.ts'
import { writeAtomically } from './atomic-file.ts'
import type { DataPaths } from './data-folder.ts'
import { type Disk, type DiskFile, writeAll } from './disk.ts'
import { RecordFiles } from './record-files.ts'

export interface RecordLogOptions {
  readonly disk: Disk
  readonly paths: Pick<DataPaths, 'root' | 'missions' | 'missionSegments'>
  /** A file is sealed before the line that would make it larger. */
  readonly fileBytesMax?: number
  /** Opens also where the files do not reach so far: what is missing is lost, and the rest is not. */
  readonly isLenient?: boolean
  /** Called once when writing begins to fail; for the log. */
  readonly onTrouble?: (error: unknown) => void
  /** Too much waits for a disk that does not take it: the daemon has to end, and the journal tells it again. */
  readonly onFailed?: (error: NexusError) => void
}

/** Where the next line will stand. */
export interface RecordEnd {
  readonly file: number
  readonly offset: number
}

/** Where a line stands, its newline left out. */
export interface RecordPlace extends RecordEnd {
  readonly length: number
  readonly crc: number
}

/** Copied, or read once more, in a second. */
const FILE_BYTES_MAX = 64 * 1_048_576
/** What waits for the disk is in memory. The journal on the same disk takes nothing then, so this is never reached. */
const WAITING_BYTES_MAX = 64 * 1_048_576
/** One write is never larger than this. */
const WRITE_BYTES_MAX = 1_048_576

/**
 * `missions.jsonl` and its sealed files below `missions/`: lines that are derived from the journal and read back by
 * place. A line has its place at once and can be read at once; it is written soon after, and durable after `sync`.
 */
export class RecordLog {
  readonly #options: RecordLogOptions
  readonly #files: RecordFiles
  readonly #fileBytesMax: number
  #end: RecordEnd
  /** The file that lines are being written to, and how far it is. */
  #active: { handle: DiskFile; readonly file: number; sizeBytes: number } | undefined
  #written: RecordEnd
  #queue: Line[] = []
  readonly #waiting = new Map<number, Buffer>()
  #waitingBytes = 0
  #draining: Promise<void> | undefined
  #inTrouble = false

  /**
   * Opens the files as they were at `end`, and drops what came later.
   *
   * @param end - Undefined: everything is made anew.
   * @returns Undefined when the files do not reach that far.
   */
  static async open(options: RecordLogOptions, end?: RecordEnd): Promise<RecordLog | undefined> {
    const files = new RecordFiles(options.disk, options.paths)
    const from = end ?? { file: 1, offset: 0 }
    const reachesIt = await files.rewind(from, end === undefined)
    if (!reachesIt && options.isLenient !== true) return undefined
    return new RecordLog(options, files, from)
  }

  private constructor(options: RecordLogOptions, files: RecordFiles, end: RecordEnd) {
    this.#options = options
    this.#files = files
    this.#fileBytesMax = options.fileBytesMax ?? FILE_BYTES_MAX
    this.#end = end
    this.#written = end
  }

  get end(): RecordEnd {
    return this.#end
  }

  /** Sealed files, and the active one last. */
  files(): Promise<readonly { readonly file: number; readonly sizeBytes: number }[]> {
    return this.#files.list(this.#written.file)
  }

  append(text: string): RecordPlace {
    const bytes = Buffer.from(`${text}\n`)
    const { file, offset } = this.#end
    const isFull = offset > 0 && offset + bytes.length > this.#fileBytesMax
    const at = isFull ? { file: file + 1, offset: 0 } : { file, offset }
    this.#end = { file: at.file, offset: at.offset + bytes.length }
    this.#queue.push({ ...at, bytes })
    this.#waiting.set(keyOf(at), bytes)
    this.#waitingBytes += bytes.length
    if (this.#waitingBytes > WAITING_BYTES_MAX) this.#fail()
    this.#draining ??= this.#drain()
    const line = bytes.subarray(0, -1)
    return { ...at, length: line.length, crc: crc32(line) }
  }

  /** The lines, in this order; undefined where the bytes are not those that were written. */
  async read(places: readonly RecordPlace[]): Promise<readonly (Buffer | undefined)[]> {
    const found = places.map((place) => this.#waiting.get(keyOf(place))?.subarray(0, place.length))
    const missing = places.filter((_, index) => found[index] === undefined)
    const read = (await this.#files.read(missing))[Symbol.iterator]()
    return found.map((bytes) => bytes ?? read.next().value)
  }

  /** Resolves when everything that was appended before is durable. @throws The disk's own error. */
  async sync(): Promise<void> {
    this.#draining ??= this.#drain()
    await this.#draining
    if (this.#queue.length > 0) throw new Error('missions.jsonl takes no lines')
    if (this.#active !== undefined) await this.#putBack(this.#active)
    await this.#active?.handle.datasync()
    await this.#options.disk.syncDir(this.#options.paths.root)
  }

  /** Somebody has removed or replaced the file: it is made again from what is still open. */
  async #putBack(active: { handle: DiskFile; sizeBytes: number }): Promise<void> {
    const { disk, paths } = this.#options
    const there = await disk.stat(paths.missions)
    if (there?.identity === (await active.handle.stat()).identity) return
    const sizeBytes = active.sizeBytes
    await writeAtomically(disk, paths.missions, await active.handle.read(0, sizeBytes))
    const former = active.handle
    active.handle = await disk.open(paths.missions, 'overwrite')
    await former.close()
    // What was written in between went to the other file.
    if (active.sizeBytes > sizeBytes) throw new Error('missions.jsonl was put back while it was written to')
  }

  /** Removes sealed files that nobody refers to any more. */
  removeFiles(files: readonly number[]): Promise<number> {
    return this.#files.remove(files.filter((file) => file < this.#written.file))
  }

  async close(): Promise<void> {
    await this.#draining
    await this.#active?.handle.close().catch(() => undefined) // All that counts was synced.
    await this.#files.close()
  }

  /** Ends with an empty queue, or at the first failure: the next line tries again. */
  async #drain(): Promise<void> {
    await null // It must not end before its promise is kept.
    while (this.#queue.length > 0) {
      try {
        const lines = this.#take()
        await this.#write(lines)
        for (const { bytes, ...place } of lines) {
          this.#waiting.delete(keyOf(place))
          this.#waitingBytes -= bytes.length
        }
        this.#inTrouble = false
      } catch (error) {
        if (!this.#inTrouble) this.#options.onTrouble?.(error)
        this.#inTrouble = true
        break
      }
    }
    this.#draining = undefined
  }

  /** Lines of one file that follow each other. They stay in the queue until they are written. */
  #take(): Line[] {
    const [first] = this.#queue
    let sizeBytes = 0
    let count = 0
    for (const { file, bytes } of this.#queue) {
      if (file !== first?.file || (count > 0 && sizeBytes + bytes.length > WRITE_BYTES_MAX)) break
      sizeBytes += bytes.length
      count += 1
    }
    return this.#queue.slice(0, count)
  }

  async #write(lines: readonly Line[]): Promise<void> {
    const [first] = lines
    if (first === undefined) return
    await this.#attach(first.file, first.offset)
    if (this.#active === undefined) return
    const bytes = lines.length === 1 ? first.bytes : Buffer.concat(lines.map((line) => line.bytes))
    // In its place, whatever a failed write has left there.
    await writeAll(this.#active.handle, bytes, first.offset)
    this.#active.sizeBytes = first.offset + bytes.length
    this.#written = { file: first.file, offset: this.#active.sizeBytes }
    this.#queue.splice(0, lines.length)
  }

  /** Opens the file that the next line belongs to; a former one is made durable and sealed. */
  async #attach(file: number, offset: number): Promise<void> {
    const { disk, paths } = this.#options
    if (this.#active?.file === file) return
    if (this.#active !== undefined) {
      const { handle, file: full } = this.#active
      await handle.datasync()
      await this.#files.seal(full)
      this.#active = undefined
      await handle.close()
    } else if (this.#written.file < file) await this.#files.seal(this.#written.file)
    const handle = await disk.open(paths.missions, 'overwrite')
    this.#active = { handle, file, sizeBytes: offset }
    this.#written = { file, offset }
  }

  #fail(): void {
    this.#options.onFailed?.(
      new NexusError('JOURNAL_UNAVAILABLE', { reason: 'missions.jsonl takes no lines, and too many wait' }),
    )
  }
}

interface Line extends RecordEnd {
  readonly bytes: Buffer
}

/** Files are below 2^21, offsets below 2^32: together one exact number. */
function keyOf({ file, offset }: RecordEnd): number {
  return file * 4_294_967_296 + offset
}
