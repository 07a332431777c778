import { createHook } from 'node:async_hooks'
import type { HeartbeatParams } from '../../contracts/wire.ts'
import type { Clock, Timer } from '../../kit/clock.ts'

/**
 * Says that this event loop turns: every `everyMs` while something goes on, so that code that blocks the loop is
 * silent. When nothing went on for that long it says so and rests.
 *
 * A process that only waits cannot hang, and to wake it twice a second is all that an idle host would cost. So the rest
 * lasts until something happens, whatever it is: then the heartbeat comes before any other code runs, and who hangs
 * from there on is missed from there on.
 */
export class Pulse {
  readonly #clock: Clock
  readonly #everyMs: number
  readonly #say: (params?: HeartbeatParams) => void
  readonly #hook = createHook({ before: () => this.#wake() })
  #timer: Timer | undefined
  #dueMs = 0
  #loops = 0
  #rests = false
  #former = performance.eventLoopUtilization()

  constructor(clock: Clock, everyMs: number, say: (params?: HeartbeatParams) => void) {
    this.#clock = clock
    this.#everyMs = everyMs
    this.#say = say
  }

  begin(): void {
    this.#loops = loopCount()
    this.#arm(this.#everyMs)
  }

  #ring(): void {
    const loops = loopCount()
    // Whatever happens ends a rest, so nothing has.
    const isQuiet = this.#rests || loops - this.#loops <= QUIET_LOOPS_MAX
    this.#loops = loops
    if (isQuiet) {
      this.#say({ ...this.#figures(), rests_ms: REST_MS })
      this.#rests = true
      this.#hook.enable()
    } else this.#say(this.#figures())
    this.#arm(isQuiet ? REST_MS : this.#everyMs)
  }

  /** Called before whatever happens first. When the rest is over anyway, the heartbeat itself comes in a moment. */
  #wake(): void {
    if (!this.#rests || this.#clock.elapsed() > this.#dueMs - ALMOST_MS) return
    this.#rests = false
    this.#hook.disable()
    this.#say()
    this.#loops = loopCount()
    const former = this.#timer
    this.#arm(this.#everyMs)
    // It may be the very one that is about to ring: Node does not look again.
    process.nextTick(() => former?.cancel())
  }

  #arm(waitMs: number): void {
    this.#dueMs = this.#clock.elapsed() + waitMs
    const timer = this.#clock.after(waitMs, () => {
      if (timer === this.#timer) this.#ring()
    })
    this.#timer = timer
  }

  #figures(): HeartbeatParams {
    const { user, system } = process.cpuUsage()
    const now = performance.eventLoopUtilization()
    const { utilization } = performance.eventLoopUtilization(now, this.#former)
    this.#former = now
    return {
      rss_bytes: process.memoryUsage.rss(),
      cpu_ms: (user + system) / 1_000,
      loop_lag_ms: Math.max(0, this.#clock.elapsed() - this.#dueMs),
      elu: utilization,
    }
  }
}

/** How often the loop has turned. */
function loopCount(): number {
  return performance.nodeTiming.uvMetricsInfo.loopCount
}

/** The turn of the heartbeat itself, and one that came to an end meanwhile. */
const QUIET_LOOPS_MAX = 2
/** Timers ring a little early or late. */
const ALMOST_MS = 2
/** Long enough to cost nothing; and if the loop is ever blocked by something that gives no sign, it is noticed then. */
const REST_MS = 10_000
