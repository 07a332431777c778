/**
 * Letters are read one at a time, in order of arrival. A reader that posts to its own box returns first, so a stop is
 * never kept waiting behind a retry.
 */
export class Mailbox<Letter> {
  readonly #read: (letter: Letter) => Promise<void> | void
  readonly #onBug: (error: unknown) => void
  readonly #waiting: Letter[] = []
  #reading: Promise<void> | undefined

  /** @param onBug - Told when the reader throws; the next letter is read all the same. */
  constructor(read: (letter: Letter) => Promise<void> | void, onBug: (error: unknown) => void) {
    this.#read = read
    this.#onBug = onBug
  }

  post(letter: Letter): void {
    this.#waiting.push(letter)
    this.#reading ??= this.#run()
  }

  /** Resolves when every letter posted so far has been read. */
  async idle(): Promise<void> {
    await this.#reading
  }

  async #run(): Promise<void> {
    // A turn apart from the poster, so that posting never runs foreign code.
    await Promise.resolve()
    for (let letter = this.#waiting.shift(); letter !== undefined; letter = this.#waiting.shift()) {
      try {
        await this.#read(letter)
      } catch (error) {
        this.#onBug(error)
      }
    }
    this.#reading = undefined
  }
}
