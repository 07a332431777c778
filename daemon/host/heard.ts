import type { HealthAnswer } from '../contracts/module.ts'
import {
  ARTIFACT_BYTES_MAX,
  type ArtifactParams,
  type CommandParams,
  type HeartbeatParams,
  type InitializeAnswer,
  type LogParams,
  type MetricsParams,
  type NotReadyParams,
  type ProgressParams,
} from '../contracts/wire.ts'
import type { CallAnswer } from './port.ts'

/*
 * What a host says, checked by hand: these are a handful of small shapes, heard thousands of times a minute, and the
 * reader of a hostile pipe should be readable itself. Each answers `undefined` for a wrong shape. What is taken is
 * built anew, field by field, so nothing else comes along.
 */

export function readHeartbeat(value: unknown): HeartbeatParams | undefined {
  const { rss_bytes, cpu_ms, loop_lag_ms, elu, rests_ms } = fields(value)
  if (!isAmount(rss_bytes) || !isAmount(cpu_ms) || !isAmount(loop_lag_ms) || !isAmount(elu)) return undefined
  if (rests_ms !== undefined && !isAmount(rests_ms)) return undefined
  return { rss_bytes, cpu_ms, loop_lag_ms, elu, ...(rests_ms === undefined ? {} : { rests_ms }) }
}

export function readLog(value: unknown): LogParams | undefined {
  const { level, message, fields: more, stream } = fields(value)
  if (typeof message !== 'string' || typeof level !== 'string' || !LEVELS.has(level)) return undefined
  if (more !== undefined && (typeof more !== 'object' || more === null)) return undefined
  return {
    level: level as LogParams['level'],
    message,
    ...(more === undefined ? {} : { fields: more }),
    ...(stream === 'stdout' || stream === 'stderr' ? { stream } : {}),
  }
}

export function readMetrics(value: unknown): MetricsParams | undefined {
  const { samples } = fields(value)
  if (!Array.isArray(samples) || samples.length > SAMPLES_MAX || !samples.every(isSample)) return undefined
  return { samples: samples.map(({ kind, name, help, values }) => ({ kind, name, help, values })) }
}

export function readNotReady(value: unknown): NotReadyParams | undefined {
  const { reason, retry_in_ms } = fields(value)
  if (typeof reason !== 'string' || (retry_in_ms !== undefined && !isAmount(retry_in_ms))) return undefined
  return { reason: reason.slice(0, TEXT_MAX), ...(retry_in_ms === undefined ? {} : { retry_in_ms }) }
}

export function readProgress(value: unknown): ProgressParams | undefined {
  const { id, fraction, note } = fields(value)
  if (typeof id !== 'number' || !isAmount(fraction) || (note !== undefined && typeof note !== 'string')) {
    return undefined
  }
  return {
    id,
    fraction: Math.min(1, fraction),
    ...(note === undefined ? {} : { note: note.slice(0, TEXT_MAX) }),
  }
}

export function readArtifact(
  value: unknown,
): (Omit<ArtifactParams, 'base64'> & { bytes: Buffer }) | undefined {
  const { call, name, media_type, base64 } = fields(value)
  if (typeof call !== 'number' || typeof name !== 'string' || typeof media_type !== 'string') return undefined
  if (typeof base64 !== 'string') return undefined
  const bytes = Buffer.from(base64, 'base64')
  return bytes.length > ARTIFACT_BYTES_MAX ? undefined : { call, name, media_type, bytes }
}

export function readCommand(value: unknown): CommandParams | undefined {
  const { name, params } = fields(value)
  if (typeof name !== 'string' || typeof params !== 'object' || params === null) return undefined
  return { name, params: params as CommandParams['params'] }
}

export function readInitializeAnswer(value: unknown): InitializeAnswer | undefined {
  const { actions, has } = fields(value)
  const { health, configure, snapshot } = fields(has)
  if (!Array.isArray(actions) || !actions.every((name) => typeof name === 'string')) return undefined
  if (typeof health !== 'boolean' || typeof configure !== 'boolean' || typeof snapshot !== 'boolean')
    return undefined
  return { actions, has: { health, configure, snapshot } }
}

/** Any output is one; a program that does not measure its time has used none that we know of. */
export function readAnswer(value: unknown): CallAnswer {
  const { output = null, cpu_ms } = fields(value)
  return { output, cpuMs: isAmount(cpu_ms) ? cpu_ms : 0 }
}

export function readHealth(value: unknown): HealthAnswer | undefined {
  const { status, reason } = fields(value)
  if (status !== 'healthy' && status !== 'degraded' && status !== 'unhealthy') return undefined
  return { status, ...(typeof reason === 'string' ? { reason: reason.slice(0, TEXT_MAX) } : {}) }
}

function isSample(value: unknown): boolean {
  const { kind, name, help, values } = fields(value)
  if (typeof kind !== 'string' || !KINDS.has(kind) || typeof name !== 'string' || typeof help !== 'string')
    return false
  return Array.isArray(values) && values.length <= VALUES_MAX && values.every((one) => Number.isFinite(one))
}

function isAmount(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && Number.isFinite(value)
}

function fields(value: unknown): Partial<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}

const LEVELS: ReadonlySet<string> = new Set(['debug', 'info', 'warn', 'error'])
const KINDS: ReadonlySet<string> = new Set(['counter', 'gauge', 'histogram'])
/** The runner sends 200 and 1,000 at most; another program may be less careful, within a line. */
const SAMPLES_MAX = 1_000
const VALUES_MAX = 10_000
/** A reason is a sentence. */
const TEXT_MAX = 2_000
