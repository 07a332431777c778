import type { HeartbeatParams } from '../contracts/wire.ts'
import type { Clock } from '../kit/clock.ts'

/** What a process was asked for when its heartbeat came. */
export interface Asked {
  /** Calls so far. */
  readonly calls: number
  readonly inFlight: number
}

/** A process that has not rested for a while. */
export interface Restless {
  /** Monotonic: since then each of its figures said that its loop hardly rested. */
  readonly sinceMs: number
  /** So long of that nobody had asked it for anything. */
  readonly unaskedMs: number
}

/** From here on a loop hardly rests; one that works and waits by turns, however hard, is below. */
const ELU_RESTLESS = 0.9

/** What a process says of itself in its heartbeats. */
export class Figures {
  readonly #clock: Clock
  #newest: HeartbeatParams | undefined
  #cpuPercent = 0
  #heardMs = 0
  #rests = false
  #restless: Restless | undefined
  #calls = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** A heartbeat came; most have no figures. */
  take(heartbeat: HeartbeatParams | undefined, asked: Asked): void {
    this.#rests = heartbeat?.rests_ms !== undefined
    if (heartbeat === undefined) return
    const nowMs = this.#clock.elapsed()
    if (this.#newest !== undefined && nowMs > this.#heardMs) {
      const usedMs = Math.max(0, heartbeat.cpu_ms - this.#newest.cpu_ms)
      this.#cpuPercent = (usedMs / (nowMs - this.#heardMs)) * 100
      this.#restless = this.#weigh(heartbeat, asked, nowMs)
    }
    this.#calls = asked.calls
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

  get restless(): Restless | undefined {
    return this.#rests ? undefined : this.#restless
  }

  #weigh({ elu }: HeartbeatParams, { calls, inFlight }: Asked, nowMs: number): Restless | undefined {
    if (elu < ELU_RESTLESS) return undefined
    const { sinceMs = this.#heardMs, unaskedMs = 0 } = this.#restless ?? {}
    const wasAsked = inFlight > 0 || calls !== this.#calls
    return { sinceMs, unaskedMs: wasAsked ? unaskedMs : unaskedMs + nowMs - this.#heardMs }
  }
}
