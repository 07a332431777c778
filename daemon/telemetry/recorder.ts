import type { Fact } from '../contracts/fact.ts'
import type { Clock, Timer } from '../kit/clock.ts'
import { FactLines } from './fact-lines.ts'
import { Interval, type Sample } from './sample.ts'

/** Where lines go that need no sync: bounded and rotated by whoever implements it. */
interface LineLog {
  append(line: object): void
  /** Lines that could not be written, since it was opened. */
  readonly lost: number
}

export interface TelemetryParts {
  readonly clock: Clock
  /** `telemetry.jsonl`. */
  readonly telemetry: LineLog
  /** `runtime_metrics.jsonl`. */
  readonly runtimeMetrics: LineLog
  readonly sample: () => Sample
  /** Told how many lines the disk did not take, or there was no room for. */
  lostLines?(count: number): void
}

/** A sample of the ten-second round. `cpu_ms`, `elu` and `loop_lag_ms` are of the whole of `interval_ms`. */
export interface RoundSample extends Sample {
  /** Seconds since 1970. */
  readonly ts: number
  readonly interval_ms: number
}

/** Often enough to see a leak within minutes, seldom enough to cost nothing: 9,000 lines a day. */
const SAMPLE_EVERY_MS = 10_000
/** At 5,000 missions a second a sample for each would be most of the work; ten a second cover them all. */
const MISSION_SAMPLE_APART_MS = 100
/** Whatever comes within this time goes out in one write. */
const FLUSH_MS = 100

/**
 * Writes what may be lost: lines for facts, and what the process used, every 10 s and after each mission.
 *
 * What a fact costs is bounded whatever the rate: see `FactLines` for the lines; missions that end within 100 ms of a
 * sample share the next one, which says how many they were.
 */
export class TelemetryRecorder {
  readonly #parts: TelemetryParts
  readonly #lines: FactLines
  readonly #listeners: ((sample: RoundSample) => void)[] = []
  readonly #round = new Interval()
  #roundTimer: Timer | undefined
  #missionTimer: Timer | undefined
  #flushTimer: Timer | undefined
  #waiting: object[] = []
  #sampledMs: number
  #missionsEnded = 0
  #lostTold = 0

  constructor(parts: TelemetryParts) {
    this.#parts = parts
    this.#sampledMs = parts.clock.elapsed()
    this.#lines = new FactLines(parts.clock, (line) => this.#write(line))
  }

  start(): void {
    this.#sampleNow()
    this.#scheduleRound()
  }

  /** Hands on what is still held, and nothing after it. */
  stop(): void {
    for (const timer of [this.#roundTimer, this.#missionTimer]) timer?.cancel()
    this.#roundTimer = undefined
    if (this.#missionTimer !== undefined) this.#sampleNow()
    this.#missionTimer = undefined
    this.#lines.close()
    this.#flush()
  }

  /** Calls `listener`, which must be quick and must not throw, with each sample of the ten-second round. */
  onSample(listener: (sample: RoundSample) => void): void {
    this.#listeners.push(listener)
  }

  /** Takes facts as they become durable; not those of a replay. */
  fold(fact: Fact): void {
    this.#lines.take(fact)
    if (fact.type !== 'mission.ended') return
    this.#missionsEnded += 1
    if (this.#missionTimer !== undefined) return
    const { clock } = this.#parts
    const sinceMs = clock.elapsed() - this.#sampledMs
    if (sinceMs >= MISSION_SAMPLE_APART_MS) this.#sampleNow()
    else {
      this.#missionTimer = clock.after(MISSION_SAMPLE_APART_MS - sinceMs, () => {
        this.#missionTimer = undefined
        this.#sampleNow()
      })
    }
  }

  #scheduleRound(): void {
    this.#roundTimer = this.#parts.clock.after(SAMPLE_EVERY_MS, () => {
      this.#sampleNow()
      const sample = { ts: this.#parts.clock.now() / 1_000, ...this.#round.take() }
      for (const listener of this.#listeners) listener(sample)
      this.#tellLost()
      this.#scheduleRound()
    })
  }

  #sampleNow(): void {
    const { clock, runtimeMetrics, sample } = this.#parts
    const nowMs = clock.elapsed()
    const interval_ms = Math.round(nowMs - this.#sampledMs)
    const taken = sample()
    const missions = this.#missionsEnded > 0 && { missions_ended: this.#missionsEnded }
    this.#sampledMs = nowMs
    this.#missionsEnded = 0
    this.#round.add(taken, interval_ms)
    runtimeMetrics.append({ ts: clock.now() / 1_000, ...taken, interval_ms, ...missions })
  }

  /** Loss is by contract, silence about it is not. */
  #tellLost(): void {
    const lost = this.#parts.telemetry.lost + this.#parts.runtimeMetrics.lost
    if (lost === this.#lostTold) return
    const lines = lost - this.#lostTold
    this.#lostTold = lost
    this.#parts.lostLines?.(lines)
    this.#write({ ts: this.#parts.clock.now() / 1_000, event: 'telemetry_lost', lines })
  }

  #write(line: object): void {
    this.#waiting.push(line)
    this.#flushTimer ??= this.#parts.clock.after(FLUSH_MS, () => this.#flush())
  }

  #flush(): void {
    this.#flushTimer?.cancel()
    this.#flushTimer = undefined
    const lines = this.#waiting
    this.#waiting = []
    for (const line of lines) this.#parts.telemetry.append(line)
  }
}
