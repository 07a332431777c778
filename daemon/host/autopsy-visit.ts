import type { Clock, Timer } from '../kit/clock.ts'
import type { InspectorAddress } from './autopsy-door.ts'
import { type Frame, readFrames } from './autopsy-frames.ts'
import { InspectorWire } from './autopsy-wire.ts'

export interface VisitOrder {
  readonly clock: Clock
  /** Everything is over after this long, and the process goes on. */
  readonly waitMs: number
  /** Fires when there is nothing left to see: the visit closes the inspector and goes. */
  readonly signal: AbortSignal
  /** Whether this stack shows what was looked for; otherwise it is looked again, a few times. */
  enough(frames: readonly Frame[]): boolean
}

/**
 * Pauses a process for a moment, reads its stack, and closes the inspector behind it.
 *
 * The process goes on whatever happens here: V8 resumes it when the session ends, and the session ends with the
 * socket, be it that the daemon dies.
 *
 * @returns The last stack that was seen, innermost call first; none when the process did not come to a pause.
 */
export function lookInside(address: InspectorAddress, order: VisitOrder): Promise<readonly Frame[]> {
  return new Promise((resolve) => {
    const { clock, signal } = order
    const urls = new Map<string, string>()
    const timers: Timer[] = []
    let seen: readonly Frame[] = []
    let looks = 0
    let left = false

    const leave = (): void => {
      if (left) return
      left = true
      wire.say('Runtime.evaluate', { expression: CLOSE_IT, silent: true })
      wire.end()
      timers.push(clock.after(LEAVE_MS, () => wire.destroy()))
    }
    const paused = (params: unknown): void => {
      if (left) return
      const frames = readFrames(params, urls)
      looks += 1
      if (frames.length > 0) seen = frames
      if (order.enough(frames) || looks >= LOOKS_MAX) leave()
      else {
        wire.say('Debugger.resume')
        timers.push(clock.after(LOOK_AGAIN_MS, again))
      }
    }
    const again = (): void => {
      if (!left) wire.say('Debugger.pause')
    }
    const wire = new InspectorWire(address, {
      open: () => {
        if (left || signal.aborted) return leave()
        wire.say('Debugger.enable')
        wire.say('Debugger.pause')
      },
      event: (method, params) => {
        if (method === 'Debugger.scriptParsed') noteScript(urls, params)
        if (method === 'Debugger.paused') paused(params)
      },
      closed: () => {
        for (const timer of timers) timer.cancel()
        signal.removeEventListener('abort', leave)
        resolve(seen)
      },
    })
    signal.addEventListener('abort', leave, { once: true })
    timers.push(clock.after(order.waitMs, leave))
  })
}

function noteScript(urls: Map<string, string>, params: unknown): void {
  const { scriptId, url } = (params ?? {}) as { scriptId?: unknown; url?: unknown }
  if (typeof scriptId === 'string' && typeof url === 'string') urls.set(scriptId, url)
}

/**
 * Runs in the process that is visited. To close waits for the session to end, which is what comes next. Node asks both
 * the running code and the loop to open it, so it opens a second time when the loop turns again.
 */
const CLOSE_IT =
  "{ const { close } = process.getBuiltinModule('node:inspector'); close(); setImmediate(close) }"
/** Between two turns of a loop that starves itself, what runs is often Node's own. */
const LOOKS_MAX = 20
const LOOK_AGAIN_MS = 10
/** For the other end to notice that the session is over. */
const LEAVE_MS = 200
