import type { RecordPaths } from 'aeon-nexus/module'
import { tally } from './missions.ts'
import { tailOf } from './tail.ts'
import { mean, type Trend, trendOf } from './trend.ts'

/** What the daemon's own samples and events tell. */
export interface Runtime {
  /** Since the daemon last started, if that is known. */
  readonly uptime_seconds: number | null
  readonly newest: {
    readonly age_seconds: number
    readonly rss_bytes: number
    readonly elu: number
    readonly loop_lag_ms: number
  } | null
  /** Mean of the last minute. */
  readonly elu_minute: number | null
  readonly rss_trend: Trend | null
  readonly elu_trend: Trend | null
  /** Of the last hour: times an instance crashed, hung or looped, by module. */
  readonly troubles: Readonly<Record<string, number>>
}

/** Weeks of samples need not be read to see the last hour. */
const TAIL_BYTES = 262_144
const HOUR_S = 3_600
const TROUBLES = ['module_crashed', 'module_hung', 'module_crashloop', 'module_rolled_back']

/** The newest samples since the daemon's last start: those before it belong to another process. */
export async function readRuntime(
  records: Pick<RecordPaths, 'runtime_metrics' | 'telemetry'>,
  samplesMax: number,
  nowMs: number,
): Promise<Runtime> {
  const now = nowMs / 1_000
  const events = await tailOf(records.telemetry, TAIL_BYTES)
  const started = events.findLast(({ event }) => event === 'daemon_started')?.['ts']
  const since = typeof started === 'number' ? started : 0
  const samples = (await tailOf(records.runtime_metrics, TAIL_BYTES)).flatMap(toSample).slice(-samplesMax)
  const own = samples.filter(({ ts }) => ts >= since)
  const newest = own.at(-1)
  const minute = own.filter(({ ts }) => newest !== undefined && ts > newest.ts - 60)
  const trend = (name: 'rss_bytes' | 'elu'): Trend | null =>
    trendOf(own.map((sample) => ({ ts: sample.ts, value: sample[name] }))) ?? null
  return {
    uptime_seconds: since === 0 ? null : Math.max(0, Math.round(now - since)),
    newest:
      newest === undefined
        ? null
        : {
            age_seconds: Math.max(0, Math.round(now - newest.ts)),
            rss_bytes: newest.rss_bytes,
            elu: newest.elu,
            loop_lag_ms: newest.loop_lag_ms,
          },
    elu_minute: minute.length === 0 ? null : Math.round(mean(minute.map(({ elu }) => elu)) * 1_000) / 1_000,
    rss_trend: trend('rss_bytes'),
    elu_trend: trend('elu'),
    troubles: tally(
      events.flatMap(({ ts, event, module_id: module }) =>
        typeof ts === 'number' && ts > now - HOUR_S && TROUBLES.includes(String(event))
          ? [String(module)]
          : [],
      ),
    ),
  }
}

interface Sample {
  readonly ts: number
  readonly rss_bytes: number
  readonly elu: number
  readonly loop_lag_ms: number
}

function toSample({ ts, rss_bytes, elu, loop_lag_ms }: Readonly<Record<string, unknown>>): Sample[] {
  const all = [ts, rss_bytes, elu, loop_lag_ms]
  if (!all.every((value) => typeof value === 'number' && Number.isFinite(value))) return []
  return [{ ts, rss_bytes, elu, loop_lag_ms } as Sample]
}
