/**
 * Whoever creates under an idempotency key has it alone until the mission is durable or refused; the next one then
 * finds it, or tries by itself. Several keys are taken in one order, so that no two callers wait for each other.
 */
export class KeyTurns {
  readonly #taken = new Map<string, Promise<void>>()

  /** Resolves with what gives the keys back. */
  async take(keys: readonly string[]): Promise<() => void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const mine = [...new Set(keys)].sort()
    for (const key of mine) {
      for (let held = this.#taken.get(key); held !== undefined; held = this.#taken.get(key)) await held
      this.#taken.set(key, promise)
    }
    return () => {
      for (const key of mine) this.#taken.delete(key)
      resolve()
    }
  }
}
