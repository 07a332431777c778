/**
 * Turns of the event loop as the simulation's own: what would wait for one waits in a list, so that "nothing more
 * happens by itself" is known and not guessed.
 */
const realTurn = globalThis.setImmediate
let waiting: (() => void)[] = []

/** From here on nobody gets a turn but through `settle`. Returns what gives the loop back. */
export function takeTurns(): () => void {
  const own = (work: (...args: unknown[]) => void, ...args: unknown[]): unknown => {
    waiting.push(() => work(...args))
    return undefined
  }
  globalThis.setImmediate = own as typeof setImmediate
  return () => {
    globalThis.setImmediate = realTurn
    waiting = []
  }
}

/** Lets everything go on that waits for promises and turns only. */
export async function settle(): Promise<void> {
  for (;;) {
    // The next tick comes when no promise is left to be told of, and costs less than a turn of the real loop.
    await new Promise<void>((resolve) => process.nextTick(resolve))
    if (waiting.length === 0) return
    const due = waiting
    waiting = []
    for (const work of due) work()
  }
}

/** A turn of the real loop: timers and signals get theirs. */
export function letOthers(): Promise<void> {
  return new Promise((resolve) => realTurn(resolve))
}
