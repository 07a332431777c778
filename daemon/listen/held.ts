/** What a client says while there is nobody to hear it. */
export class Held {
  #pieces: Buffer[] = []
  #bytes = 0

  get isEmpty(): boolean {
    return this.#bytes === 0
  }

  /** The rest stays with the kernel. */
  get isFull(): boolean {
    return this.#bytes >= HELD_BYTES_MAX
  }

  add(bytes: Buffer): void {
    this.#pieces.push(bytes)
    this.#bytes += bytes.length
  }

  /** These come before what is held already. */
  addFirst(bytes: Buffer): void {
    this.#pieces.unshift(bytes)
    this.#bytes += bytes.length
  }

  /** All of it, in one piece. */
  take(): Buffer | undefined {
    const all = this.#pieces.length > 1 ? Buffer.concat(this.#pieces) : this.#pieces[0]
    this.#pieces = []
    this.#bytes = 0
    return all
  }
}

/** A request without a large body. A thousand that wait hold 16 MB. */
const HELD_BYTES_MAX = 16_384
