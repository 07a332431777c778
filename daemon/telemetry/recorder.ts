import { performance } from 'node:perf_hooks'
import type { Fact } from '../contracts/fact.ts'
import type { Clock, Timer } from '../kit/clock.ts'
import { watchLoopLag } from './loop-lag.ts'

/** Where lines go that need no sync: bounded and rotated by whoever implements it. */
interface LineLog {
  append(line: object): void
}

/** What the process used since the last sample. */
export interface Sample {
  readonly cpu_ms: number
  readonly rss_bytes: number
  readonly loop_lag_ms: number
  /** Event loop utilisation, 0..1. */
  readonly elu: number
}

export interface TelemetryParts {
  readonly clock: Clock
  /** `telemetry.jsonl`. */
  readonly telemetry: LineLog
  /** `runtime_metrics.jsonl`. */
  readonly runtimeMetrics: LineLog
  readonly sample: () => Sample
}

/** Often enough to see a leak within minutes, seldom enough to cost nothing: 9,000 lines a day. */
const SAMPLE_EVERY_MS = 10_000

/** Facts whose word in the telemetry is not their own. */
const EVENTS: Readonly<Record<string, string>> = { 'mission.ended': 'mission_ran' }

/** Writes what may be lost: a line for each fact, and what the process used, every 10 s and after each mission. */
export class TelemetryRecorder {
  readonly #parts: TelemetryParts
  #timer: Timer | undefined
  #sampledMs: number

  constructor(parts: TelemetryParts) {
    this.#parts = parts
    this.#sampledMs = parts.clock.elapsed()
  }

  start(): void {
    this.#sampleNow()
    this.#schedule()
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }

  /** Takes facts as they become durable; not those of a replay. */
  fold(fact: Fact): void {
    const event = EVENTS[fact.type] ?? fact.type.replaceAll('.', '_')
    const id = fact.mid !== undefined && { mission_id: fact.mid }
    const line = { ts: Date.parse(fact.ts) / 1_000, event, seq: fact.seq, ...id, ...plainFields(fact.d) }
    this.#parts.telemetry.append(line)
    if (fact.type === 'mission.ended') this.#sampleNow()
  }

  #schedule(): void {
    this.#timer = this.#parts.clock.after(SAMPLE_EVERY_MS, () => {
      this.#sampleNow()
      this.#schedule()
    })
  }

  #sampleNow(): void {
    const { clock, runtimeMetrics, sample } = this.#parts
    const nowMs = clock.elapsed()
    const interval_ms = Math.round(nowMs - this.#sampledMs)
    this.#sampledMs = nowMs
    runtimeMetrics.append({ ts: clock.now() / 1_000, ...sample(), interval_ms })
  }
}

/** Measures this process; each call answers for the time since the one before. */
export function processSampler(): () => Sample {
  const lag = watchLoopLag()
  let cpu = process.cpuUsage()
  let loop = performance.eventLoopUtilization()
  return () => {
    const used = process.cpuUsage(cpu)
    const turned = performance.eventLoopUtilization(loop)
    cpu = process.cpuUsage()
    loop = performance.eventLoopUtilization()
    return {
      cpu_ms: Math.round((used.user + used.system) / 1_000),
      rss_bytes: process.memoryUsage.rss(),
      loop_lag_ms: lag.readMs(),
      elu: Math.round(turned.utilization * 1_000) / 1_000,
    }
  }
}

const TEXT_CHARS_MAX = 200
const FIELDS_MAX = 24

/** Numbers, flags and short texts: telemetry is for counting, the journal for reading. */
function plainFields(d: Fact['d']): object {
  const plain = Object.entries(d).filter(
    ([name, value]) =>
      !['ts', 'event', 'seq'].includes(name) &&
      (typeof value === 'number' ||
        typeof value === 'boolean' ||
        (typeof value === 'string' && value.length <= TEXT_CHARS_MAX)),
  )
  return Object.fromEntries(plain.slice(0, FIELDS_MAX))
}
