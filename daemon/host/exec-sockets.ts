import { watch } from 'node:fs'
import { connect } from 'node:net'
import { basename, dirname } from 'node:path'
import type { Clock, Timer } from '../kit/clock.ts'

/**
 * Resolves once something accepts a connection on a Unix socket that may not be there yet.
 *
 * The folder tells when the socket appears. Between its appearing (`bind`) and its first connection (`listen`) nothing
 * tells, so a refused connection is tried again, ever more slowly; so is everything where a folder cannot be watched.
 *
 * @throws The reason of `signal`, which must abort in the end: there is no deadline of its own.
 */
export function untilAccepting(path: string, clock: Clock, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    let timer: Timer | undefined
    let unwatch: (() => void) | undefined
    let waitMs = RETRY_MS_MIN
    let isTrying = false
    let isStale = false
    const end = (): void => {
      timer?.cancel()
      unwatch?.()
      signal.removeEventListener('abort', abort)
    }
    const abort = (): void => {
      end()
      reject(signal.reason)
    }
    const retry = (): void => {
      timer?.cancel()
      timer = clock.after(waitMs, look)
      waitMs = Math.min(RETRY_MS_MAX, waitMs * 2)
    }
    const look = (): void => {
      isStale = isTrying
      if (isTrying) return
      isTrying = true
      void tryConnection(path).then((outcome) => {
        isTrying = false
        if (signal.aborted) return
        if (outcome === 'accepted') {
          end()
          return resolve()
        }
        if (isStale) look()
        else if (outcome === 'refused' || unwatch === undefined) retry()
      })
    }
    if (signal.aborted) return reject(signal.reason)
    signal.addEventListener('abort', abort, { once: true })
    unwatch = watchFor(path, look, () => {
      unwatch = undefined
      look()
    })
    look()
  })
}

/** @returns How to stop; undefined when the folder cannot be watched. */
function watchFor(path: string, changed: () => void, broken: () => void): (() => void) | undefined {
  try {
    const watcher = watch(dirname(path), { persistent: false }, (_, name) => {
      if (name === null || name === basename(path)) changed()
    })
    watcher.on('error', () => {
      watcher.close()
      broken()
    })
    return () => watcher.close()
  } catch {
    return undefined
  }
}

function tryConnection(path: string): Promise<'accepted' | 'refused' | 'absent'> {
  return new Promise((resolve) => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve('accepted')
    })
    socket.once('error', (error: NodeJS.ErrnoException) =>
      resolve(error.code === 'ENOENT' ? 'absent' : 'refused'),
    )
  })
}

const RETRY_MS_MIN = 5
const RETRY_MS_MAX = 1_000
