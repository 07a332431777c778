import type { Disk } from './disk.ts'
import { LineFile } from './line-file.ts'

export interface LossyLogOptions {
  readonly disk: Disk
  readonly path: string
  /** At this size the file becomes `<path>.1`, replacing the former one. */
  readonly sizeBytesMax?: number
}

/** Two of them hold weeks of samples and never fill a disk. */
const SIZE_BYTES_MAX = 16 * 1_048_576
/** Some seconds of the busiest telemetry; more waits only when the disk hangs. */
const QUEUE_BYTES_MAX = 1_048_576

/**
 * Telemetry on disk: bounded, rotated, never synced and never awaited. What cannot be written is counted and
 * forgotten, because no sample is worth a mission.
 */
export class LossyLog {
  readonly #options: LossyLogOptions
  #file: LineFile | undefined
  #queue = ''
  #queuedLines = 0
  #writing: Promise<void> | undefined
  #lost = 0

  constructor(options: LossyLogOptions) {
    this.#options = options
  }

  /** Lines that were dropped. */
  get lost(): number {
    return this.#lost
  }

  /** Never throws. */
  append(record: object): void {
    const line = `${JSON.stringify(record)}\n`
    if (this.#queue.length + line.length > QUEUE_BYTES_MAX) {
      this.#lost += 1
      return
    }
    this.#queue += line
    this.#queuedLines += 1
    this.#writing ??= this.#drain()
  }

  /** Resolves when what was written so far has been handed to the system, or lost. */
  async flush(): Promise<void> {
    await this.#writing
  }

  async close(): Promise<void> {
    await this.#writing
    await this.#file?.close().catch(() => undefined) // Nothing depends on it.
    this.#file = undefined
  }

  async #drain(): Promise<void> {
    await null // It must not end before its promise is kept.
    while (this.#queue !== '') {
      const text = this.#queue
      const lines = this.#queuedLines
      this.#queue = ''
      this.#queuedLines = 0
      try {
        await this.#append(text)
      } catch {
        this.#lost += lines
      }
    }
    this.#writing = undefined
  }

  async #append(text: string): Promise<void> {
    const { disk, path, sizeBytesMax = SIZE_BYTES_MAX } = this.#options
    if (this.#file !== undefined && this.#file.sizeBytes >= sizeBytesMax) {
      await this.#file.close()
      this.#file = undefined
      await disk.rename(path, `${path}.1`)
    }
    this.#file ??= await LineFile.open(disk, path)
    await this.#file.append(text)
  }
}
