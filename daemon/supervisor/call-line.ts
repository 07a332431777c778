/** Somebody who waits for a replica with room. */
export interface Waiter<Place> {
  take(place: Place): void
  fail(error: Error): void
}

interface Turn<Place> extends Waiter<Place> {
  readonly number: number
}

/**
 * Waiting callers, in order of arrival, with a line for each action: room for one action says nothing of another, so
 * an event costs one look for each action that is waited for, however many callers wait.
 */
export class CallLine<Place> {
  readonly #lines = new Map<string, Set<Turn<Place>>>()
  #arrivals = 0
  #size = 0

  get size(): number {
    return this.#size
  }

  /** Returns the undoing: leaving twice changes nothing. */
  join(action: string, waiter: Waiter<Place>): () => void {
    const line = this.#lines.get(action) ?? new Set()
    this.#lines.set(action, line)
    this.#arrivals += 1
    const turn = { number: this.#arrivals, ...waiter }
    line.add(turn)
    this.#size += 1
    return () => this.#leave(action, turn)
  }

  /**
   * Hands out what is free until nothing is, to whoever has waited longest among those it is free for.
   *
   * @param free - A place for this action, booked by the time the next is asked for; undefined when there is none.
   */
  serve(free: (action: string) => Place | undefined, book: (place: Place, action: string) => void): void {
    const closed = new Set<string>()
    for (let action = this.#next(closed); action !== undefined; action = this.#next(closed)) {
      const place = free(action)
      const turn = this.#first(action)
      if (place === undefined || turn === undefined) closed.add(action)
      else {
        this.#leave(action, turn)
        book(place, action)
        turn.take(place)
      }
    }
  }

  /** Everybody leaves with an error of their own. */
  dismiss(why: () => Error): void {
    for (const [action, line] of [...this.#lines]) {
      for (const turn of [...line]) {
        this.#leave(action, turn)
        turn.fail(why())
      }
    }
  }

  /** The action whose first caller has waited longest. */
  #next(closed: ReadonlySet<string>): string | undefined {
    let next: string | undefined
    let number = Number.POSITIVE_INFINITY
    for (const action of this.#lines.keys()) {
      const first = closed.has(action) ? undefined : this.#first(action)
      if (first === undefined || first.number > number) continue
      next = action
      number = first.number
    }
    return next
  }

  #first(action: string): Turn<Place> | undefined {
    return this.#lines.get(action)?.values().next().value
  }

  #leave(action: string, turn: Turn<Place>): void {
    const line = this.#lines.get(action)
    if (line === undefined || !line.delete(turn)) return
    this.#size -= 1
    if (line.size === 0) this.#lines.delete(action)
  }
}
