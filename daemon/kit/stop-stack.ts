/**
 * Undoes a start-up in reverse. Each part pushes its undoing the moment it is up, so a start that fails half-way and an
 * orderly stop walk the same path.
 */
export class StopStack {
  readonly #undoings: { name: string; undo: () => Promise<void> | void }[] = []

  push(name: string, undo: () => Promise<void> | void): void {
    this.#undoings.push({ name, undo })
  }

  /** Runs every undoing, last first, one at a time. One that throws does not spare the others. */
  async stop(): Promise<void> {
    const errors: Error[] = []
    for (let top = this.#undoings.pop(); top !== undefined; top = this.#undoings.pop()) {
      try {
        await top.undo()
      } catch (cause) {
        errors.push(new Error(`could not stop ${top.name}`, { cause }))
      }
    }
    if (errors.length > 0) throw new AggregateError(errors, `${errors.length} parts did not stop cleanly`)
  }
}
