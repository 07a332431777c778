import type { Clock, Timer } from '../kit/clock.ts'
import type { Disk } from './disk.ts'
import type { Position } from './recovery.ts'
import { writeWatermark } from './watermark.ts'

/** How old the watermark may be: what it costs is one small write a second. */
const LAG_MS = 1_000

/** Writes the watermark behind the journal's back: lazily, one write at a time, never ahead of what is durable. */
export class WatermarkKeeper {
  readonly #disk: Disk
  readonly #clock: Clock
  readonly #path: string
  readonly #durable: () => Position
  #writtenAtMs = Number.NEGATIVE_INFINITY
  #writtenSeq = 0
  #writing: Promise<void> = Promise.resolve()
  #timer: Timer | undefined

  /** @param durable - Asked at the moment of writing. */
  constructor(disk: Disk, clock: Clock, path: string, durable: () => Position) {
    this.#disk = disk
    this.#clock = clock
    this.#path = path
    this.#durable = durable
  }

  /** More is durable now. `atOnce`: a new file begins, and that it was there must be remembered. */
  advance(atOnce: boolean): void {
    const waitMs = atOnce ? 0 : this.#writtenAtMs + LAG_MS - this.#clock.elapsed()
    if (waitMs <= 0)
      void this.write() // Nothing waits for the watermark, and it never throws.
    else this.#timer ??= this.#clock.after(waitMs, () => void this.write())
  }

  /** Resolves when the watermark is written as far as it can be. Never rejects. */
  write(): Promise<void> {
    this.stop()
    this.#writtenAtMs = this.#clock.elapsed()
    this.#writing = this.#writing.then(async () => {
      const { seq, h, segment, offset } = this.#durable()
      if (seq === this.#writtenSeq) return
      const isWritten = await writeWatermark(this.#disk, this.#path, { seq, segment, bytes: offset, h })
      if (isWritten) this.#writtenSeq = seq
    })
    return this.#writing
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }
}
