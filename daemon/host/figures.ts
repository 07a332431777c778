import type { HeartbeatParams } from '../contracts/wire.ts'
import type { Clock } from '../kit/clock.ts'

/** What a process says of itself in its heartbeats. */
export class Figures {
  readonly #clock: Clock
  #newest: HeartbeatParams | undefined
  #cpuPercent = 0
  #heardMs = 0
  #rests = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** A heartbeat came; most have no figures. */
  take(heartbeat: HeartbeatParams | undefined): void {
    this.#rests = heartbeat?.rests_ms !== undefined
    if (heartbeat === undefined) return
    const nowMs = this.#clock.elapsed()
    if (this.#newest !== undefined && nowMs > this.#heardMs) {
      const usedMs = Math.max(0, heartbeat.cpu_ms - this.#newest.cpu_ms)
      this.#cpuPercent = (usedMs / (nowMs - this.#heardMs)) * 100
    }
    this.#newest = heartbeat
    this.#heardMs = nowMs
  }

  /** The last ones, if some came yet. */
  get newest(): HeartbeatParams | undefined {
    return this.#newest
  }

  /** Of one processor, between the last two; 0 until there are two, and while it rests. */
  get cpuPercent(): number {
    return this.#rests ? 0 : this.#cpuPercent
  }
}
