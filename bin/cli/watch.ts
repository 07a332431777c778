import type { Cli } from './cli.ts'
import { follow } from './events.ts'

/** Bursts of facts are one change to a reader. */
const QUIET_MS = 150

/**
 * Shows something again whenever a fact of these types says that it may have changed; asks for nothing in between.
 *
 * Ends with the daemon, or when it is interrupted.
 */
export async function watch(cli: Cli, types: readonly string[], show: () => Promise<void>): Promise<number> {
  const ended = new AbortController()
  const failed = Promise.withResolvers<never>()
  let pending = false
  let showing: Promise<void> = Promise.resolve()
  const showSoon = (): void => {
    if (pending) return
    pending = true
    cli.clock.after(QUIET_MS, () => {
      pending = false
      showing = showing.then(show).catch(failed.reject)
    })
  }
  try {
    return await Promise.race([
      follow(cli, { types, onOpen: showSoon, onFact: showSoon, signal: ended.signal }).then(() => 0),
      failed.promise,
    ])
  } finally {
    ended.abort()
  }
}

/** Makes room for the next picture on a terminal; a pipe gets one after the other. */
export function clearScreen(cli: Cli): void {
  if (process.stdout.isTTY) cli.print('\u001b[H\u001b[2J\u001b[3J')
}
