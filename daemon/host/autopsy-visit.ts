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
  /** Whether this stack shows what was looked for; otherwise it goes on step by step, for a while. */
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
    let again: Timer | undefined
    let left = false
    visits += 1
    // Scripts of former visits may still be known there.
    const name = `nexus:close-inspector:${visits}`

    const leave = (): void => {
      if (left) return
      left = true
      again?.cancel()
      wire.say('Runtime.evaluate', { expression: `${CLOSE_IT}\n//# sourceURL=${name}`, silent: true })
      timers.push(clock.after(LEAVE_MS, () => wire.destroy()))
    }
    const paused = (params: unknown): void => {
      if (left) return
      const frames = readFrames(params, urls)
      looks += 1
      if (frames.length > 0) seen = frames
      again?.cancel()
      if (order.enough(frames) || looks >= LOOKS_MAX) return void leave()
      // Neither comes to an end in every loop: a step where callbacks follow callbacks, a pause where awaits do.
      wire.say('Debugger.stepInto')
      again = clock.after(STEP_MS, () => wire.say('Debugger.pause'))
    }
    const wire = new InspectorWire(address, {
      open: () => {
        wire.say('Debugger.enable')
        if (signal.aborted) leave()
        else wire.say('Debugger.pause')
      },
      event: (method, params) => {
        // It has begun to close and waits for this session to end; to go earlier could take the request along.
        if (method === 'Debugger.scriptParsed' && noteScript(urls, params) === name) wire.end()
        if (method === 'Debugger.paused') paused(params)
      },
      closed: () => {
        for (const timer of timers) timer.cancel()
        again?.cancel()
        signal.removeEventListener('abort', leave)
        resolve(seen)
      },
    })
    signal.addEventListener('abort', leave, { once: true })
    timers.push(clock.after(order.waitMs, leave))
  })
}

/** Returns the name of the script. */
function noteScript(urls: Map<string, string>, params: unknown): string | undefined {
  const { scriptId, url } = (params ?? {}) as { scriptId?: unknown; url?: unknown }
  if (typeof scriptId !== 'string' || typeof url !== 'string') return undefined
  urls.set(scriptId, url)
  return url
}

let visits = 0
/**
 * Runs in the process that is visited; it is what `inspector.close` calls, which modules do not get. Node asks both the
 * running code and the loop to open its inspector, so it opens a second time when the loop turns again: as a rule
 * before the second immediate.
 */
const CLOSE_IT = `{
  const close = process._debugEnd
  setImmediate(() => setImmediate(close))
  close()
}`
/** A loop that starves itself (`process.nextTick`) spends most of its time in Node; a round there has thirty steps. */
const LOOKS_MAX = 100
/** A step takes a millisecond. */
const STEP_MS = 100
/** For the other end to begin with it; the session ends all the same, and the process goes on. */
const LEAVE_MS = 5_000
