import type { HeartbeatParams } from '../../contracts/wire.ts'
import type { Clock } from '../../kit/clock.ts'

/** Says every `everyMs` that this event loop turns. Code that blocks the loop is thereby silent. */
export function beat(clock: Clock, everyMs: number, say: (params: HeartbeatParams) => void): void {
  let former = performance.eventLoopUtilization()
  let dueMs = clock.elapsed() + everyMs
  const ring = (): void => {
    const nowMs = clock.elapsed()
    const now = performance.eventLoopUtilization()
    const cpu = process.cpuUsage()
    say({
      rss_bytes: process.memoryUsage.rss(),
      cpu_ms: (cpu.user + cpu.system) / 1_000,
      loop_lag_ms: Math.max(0, nowMs - dueMs),
      elu: performance.eventLoopUtilization(now, former).utilization,
    })
    former = now
    dueMs = clock.elapsed() + everyMs
    clock.after(everyMs, ring)
  }
  clock.after(everyMs, ring)
}
