import { monitorEventLoopDelay } from 'node:perf_hooks'

/** A look costs a wake-up: five a second see every pause that matters and leave an idle daemon idle. */
const LOOK_MS = 200

/** How late this process's own event loop runs. */
export interface LoopLag {
  /** The 99th percentile since the last reading, in milliseconds; 0 when nothing was late. */
  readMs(): number
}

/** Starts looking. */
export function watchLoopLag(): LoopLag {
  const delays = monitorEventLoopDelay({ resolution: LOOK_MS })
  delays.enable()
  return {
    readMs() {
      // The histogram holds the time between looks, not what was late about it.
      const lateMs = delays.count === 0 ? 0 : delays.percentile(99) / 1e6 - LOOK_MS
      delays.reset()
      return Math.max(0, Math.round(lateMs * 100) / 100)
    },
  }
}
