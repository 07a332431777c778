/**
 * Lets one pass in each turn of the event loop: for work that blocks it for some milliseconds, such as starting a
 * process. Fifty at once would make everybody else wait for all of them.
 */
export class Turnstile {
  readonly #waiting: (() => void)[] = []
  #isTaken = false

  /** Resolves at once when nobody has passed in this turn, else in a turn of its own, in order of arrival. */
  pass(): Promise<void> {
    if (this.#isTaken) return new Promise((resolve) => this.#waiting.push(resolve))
    this.#isTaken = true
    setImmediate(() => this.#open())
    return Promise.resolve()
  }

  #open(): void {
    const next = this.#waiting.shift()
    this.#isTaken = next !== undefined
    if (next === undefined) return
    setImmediate(() => this.#open())
    next()
  }
}
