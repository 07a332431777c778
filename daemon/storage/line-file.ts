import { codeOf, type Disk, type DiskFile, writeAll } from './disk.ts'

/** A line longer than this is none. */
const LINE_BYTES_MAX = 1_048_576

/** An append-only file of lines that nobody relies on: never synced, and a crash may cost its end. */
export class LineFile {
  readonly #file: DiskFile
  #sizeBytes: number
  /** The last line that was there when it was opened; empty when there was none. */
  readonly lastLine: string

  /** Opens or makes the file, and drops an end that a crash has torn. */
  static async open(disk: Disk, path: string): Promise<LineFile> {
    const file = await openOrCreate(disk, path)
    try {
      const { sizeBytes } = await file.stat()
      const from = Math.max(0, sizeBytes - LINE_BYTES_MAX)
      const bytes = await file.read(from, sizeBytes - from)
      const end = bytes.lastIndexOf(0x0a) + 1
      const good = end === 0 ? 0 : from + end
      if (good < sizeBytes) await file.truncate(good)
      const lastLine = end === 0 ? '' : bytes.toString('utf8', bytes.lastIndexOf(0x0a, end - 2) + 1, end - 1)
      return new LineFile(file, good, lastLine)
    } catch (error) {
      await file.close()
      throw error
    }
  }

  private constructor(file: DiskFile, sizeBytes: number, lastLine: string) {
    this.#file = file
    this.#sizeBytes = sizeBytes
    this.lastLine = lastLine
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  /** All of the bytes or none of them. */
  async append(text: string): Promise<void> {
    const bytes = Buffer.from(text)
    try {
      await writeAll(this.#file, bytes)
    } catch (error) {
      await this.#file.truncate(this.#sizeBytes)
      throw error
    }
    this.#sizeBytes += bytes.length
  }

  sync(): Promise<void> {
    return this.#file.datasync()
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}

async function openOrCreate(disk: Disk, path: string): Promise<DiskFile> {
  try {
    return await disk.open(path, 'append')
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error
    return disk.open(path, 'create')
  }
}
