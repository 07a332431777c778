/**
 * One thing at a time for each key: whoever comes second for a key waits until the first is done, whatever came of it.
 */
export class Keyed {
  readonly #waitingMax: number
  readonly #full: () => Error
  /** Keys somebody is at, with those who wait for them. */
  readonly #lines = new Map<string, (() => void)[]>()

  /** @param full - Made when more than `waitingMax` wait for one key. */
  constructor(waitingMax: number, full: () => Error) {
    this.#waitingMax = waitingMax
    this.#full = full
  }

  async run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const line = this.#lines.get(key)
    if (line === undefined) this.#lines.set(key, [])
    else if (line.length >= this.#waitingMax) throw this.#full()
    else await new Promise<void>((resolve) => line.push(resolve))
    try {
      return await work()
    } finally {
      this.#leave(key)
    }
  }

  #leave(key: string): void {
    const next = this.#lines.get(key)?.shift()
    if (next === undefined) this.#lines.delete(key)
    else next()
  }
}
