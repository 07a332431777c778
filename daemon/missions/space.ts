import { NexusError } from '../contracts/failure.ts'
import type { Clock } from '../kit/clock.ts'

/**
 * Keeps room on the disk for what runs: while less is left, nothing new is taken, and everything else goes on.
 *
 * Looks when it is asked, and again only when what it knows is old or the disk has just refused something.
 */
export class SpaceGuard {
  readonly #reserveBytes: number
  readonly #freeBytes: () => Promise<number>
  readonly #clock: Clock
  #seen: { readonly bytes: number; readonly atMs: number } | undefined
  #looking: Promise<number> | undefined

  constructor(reserveMb: number, freeBytes: () => Promise<number>, clock: Clock) {
    this.#reserveBytes = reserveMb * MB_BYTES
    this.#freeBytes = freeBytes
    this.#clock = clock
  }

  /** Something could not be written for want of room: what was seen before no longer holds. */
  refused(): void {
    this.#seen = undefined
  }

  /** @throws NexusError `SPACE_LOW`. */
  async require(): Promise<void> {
    if (this.#reserveBytes === 0) return
    const bytes = this.#fresh() ?? (await this.#look())
    if (bytes >= this.#reserveBytes) return
    throw new NexusError('SPACE_LOW', {
      free_mb: Math.floor(bytes / MB_BYTES),
      reserve_mb: this.#reserveBytes / MB_BYTES,
    })
  }

  #fresh(): number | undefined {
    const seen = this.#seen
    return seen !== undefined && this.#clock.elapsed() - seen.atMs < FRESH_MS ? seen.bytes : undefined
  }

  /** One look for all who ask meanwhile. */
  #look(): Promise<number> {
    this.#looking ??= this.#freeBytes()
      .then((bytes) => {
        this.#seen = { bytes, atMs: this.#clock.elapsed() }
        return bytes
      })
      .finally(() => {
        this.#looking = undefined
      })
    return this.#looking
  }
}

const MB_BYTES = 1_048_576
/** A look for each creation would be felt; in two seconds, creations take a small part of the reserve. */
const FRESH_MS = 2_000
