/**
 * One thing at a time for each key: whoever comes second for a key waits until the first is done, whatever came of it.
 */
export class Keyed {
  readonly #waitingMax: number
  readonly #full: () => Error
  readonly #lines = new Map<string, { last: Promise<unknown>; length: number }>()

  /** @param full - Made when more than `waitingMax` wait for one key. */
  constructor(waitingMax: number, full: () => Error) {
    this.#waitingMax = waitingMax
    this.#full = full
  }

  async run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const line = this.#lines.get(key) ?? { last: Promise.resolve(), length: 0 }
    if (line.length > this.#waitingMax) throw this.#full()
    this.#lines.set(key, line)
    line.length += 1
    const turn = line.last.then(work)
    line.last = turn.catch(() => {}) // its failure is the caller's; the next one only waits for the end
    try {
      return await turn
    } finally {
      line.length -= 1
      if (line.length === 0) this.#lines.delete(key)
    }
  }
}
