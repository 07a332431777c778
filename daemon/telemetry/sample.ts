import { performance } from 'node:perf_hooks'
import { watchLoopLag } from './loop-lag.ts'

/** What the process used since the last sample. */
export interface Sample {
  readonly cpu_ms: number
  readonly rss_bytes: number
  readonly loop_lag_ms: number
  /** Event loop utilisation, 0..1. */
  readonly elu: number
}

/** Measures this process; each call answers for the time since the one before. */
export function processSampler(): () => Sample {
  const lag = watchLoopLag()
  let cpu = process.cpuUsage()
  let loop = performance.eventLoopUtilization()
  return () => {
    const cpuNow = process.cpuUsage()
    const loopNow = performance.eventLoopUtilization()
    const usedMicros = cpuNow.user - cpu.user + cpuNow.system - cpu.system
    const { utilization } = performance.eventLoopUtilization(loopNow, loop)
    cpu = cpuNow
    loop = loopNow
    return {
      cpu_ms: Math.round(usedMicros / 1_000),
      rss_bytes: process.memoryUsage.rss(),
      loop_lag_ms: lag.readMs(),
      elu: thousandths(utilization),
    }
  }
}

/** Several samples in a row as one: sums, the worst lag, and the utilisation weighed by time. */
export class Interval {
  #cpuMs = 0
  #lagMs = 0
  #busyMs = 0
  #lengthMs = 0
  #rssBytes = 0

  add({ cpu_ms, rss_bytes, loop_lag_ms, elu }: Sample, intervalMs: number): void {
    this.#cpuMs += cpu_ms
    this.#lagMs = Math.max(this.#lagMs, loop_lag_ms)
    this.#busyMs += elu * intervalMs
    this.#lengthMs += intervalMs
    this.#rssBytes = rss_bytes
  }

  /** What was added since the last call. */
  take(): Sample & { readonly interval_ms: number } {
    const taken = {
      cpu_ms: this.#cpuMs,
      rss_bytes: this.#rssBytes,
      loop_lag_ms: this.#lagMs,
      elu: this.#lengthMs === 0 ? 0 : thousandths(this.#busyMs / this.#lengthMs),
      interval_ms: this.#lengthMs,
    }
    this.#cpuMs = 0
    this.#lagMs = 0
    this.#busyMs = 0
    this.#lengthMs = 0
    return taken
  }
}

function thousandths(share: number): number {
  return Math.round(share * 1_000) / 1_000
}
