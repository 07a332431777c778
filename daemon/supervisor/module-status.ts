import type {
  HealthStatus,
  InstanceStatus,
  ModuleBrief,
  ModuleOmen,
  ModuleState,
  ModuleStatus,
} from '../contracts/status.ts'
import { redacted } from '../telemetry/redact.ts'
import { shownOf } from './omened.ts'
import type { Replica } from './replica-set.ts'
import type { Unit } from './unit.ts'

/** The verdict of the health watch over a module that serves. */
export interface HealthVerdict {
  readonly status: HealthStatus
  readonly reason: string | null
}

/** States in which nothing of a module serves and somebody should look. */
const UNHEALTHY: ReadonlySet<ModuleState> = new Set(['invalid', 'failed', 'crashloop', 'locked'])

/**
 * Health as everybody sees it: a module stopped on purpose is degraded; one that cannot serve is unhealthy; one that
 * serves is what its own health says.
 */
function healthOf(
  unit: Unit,
  { state, because }: Pick<ModuleStatus, 'state' | 'because'>,
  verdict: HealthVerdict | undefined,
): HealthVerdict {
  if (state === 'stopped' || (state === 'stopping' && unit.wanted === 'stopped')) {
    return { status: 'degraded', reason: 'it is stopped on purpose' }
  }
  if (unit.replicasWanted === 0 && !UNHEALTHY.has(state)) {
    return { status: 'degraded', reason: 'it is scaled to none' }
  }
  if (UNHEALTHY.has(state)) return { status: 'unhealthy', reason: because }
  if (!unit.ready) return { status: 'unhealthy', reason: `it is ${state}: ${because}` }
  return verdict ?? { status: 'healthy', reason: null }
}

/** The little that everybody asks of all modules: a thousand of them are told in a millisecond or two. */
export function moduleBrief(
  unit: Unit,
  verdict: HealthVerdict | undefined,
  ports: ModuleStatus['listen'],
  omen: ModuleOmen,
): ModuleBrief {
  const { manifest, replicas } = unit
  const { state, because } = shownOf(unit, omen)
  return {
    module_id: unit.id,
    state,
    because,
    health: healthOf(unit, { state, because }, verdict),
    critical: manifest?.critical ?? false,
    listen: ports,
    replicas: {
      desired: unit.wanted === 'running' ? unit.replicasWanted : 0,
      ready: unit.takers.length,
    },
    instances: replicas.flatMap(({ instance }) => {
      if (instance === undefined) return []
      const { heartbeat } = instance.stats
      return [{ memory_bytes: heartbeat?.rss_bytes ?? 0, loop_lag_ms: heartbeat?.loop_lag_ms ?? 0 }]
    }),
  }
}

export function moduleStatus(
  unit: Unit,
  verdict: HealthVerdict | undefined,
  isolation: ModuleStatus['isolation'],
  ports: ModuleStatus['listen'],
  omen: ModuleOmen,
  nowMs: number,
): ModuleStatus {
  const { manifest, replicas, generation } = unit
  const { state, because, sinceMs } = shownOf(unit, omen)
  return {
    module_id: unit.id,
    description: manifest?.description ?? '',
    state,
    desired: unit.wanted,
    since: new Date(sinceMs).toISOString(),
    because,
    next_retry_at: unit.retryAtMs === undefined ? null : new Date(unit.retryAtMs).toISOString(),
    health: healthOf(unit, { state, because }, verdict),
    generation: generation?.id ?? null,
    version: manifest?.version ?? null,
    runtime: manifest?.runtime ?? 'process',
    critical: manifest?.critical ?? false,
    listen: ports,
    replicas: {
      desired: unit.wanted === 'running' ? unit.replicasWanted : 0,
      ready: unit.takers.length,
    },
    instances: replicas.flatMap((replica) => instanceStatus(replica)),
    restarts: unit.restarts,
    last_reload: unit.lastReload ?? null,
    config: configFor(unit),
    isolation: replicas.find(({ instance }) => instance)?.instance?.isolation ?? wallFor(unit, isolation),
    omen,
    uptime_seconds: unit.ready ? Math.max(0, (nowMs - unit.sinceMs) / 1_000) : 0,
    actions: Object.keys(manifest?.actions ?? {}),
    categories: manifest?.categories ?? [],
  }
}

/** The wall it would start behind: nothing of it runs. */
function wallFor({ manifest }: Unit, standard: ModuleStatus['isolation']): ModuleStatus['isolation'] {
  if (manifest?.sandbox === true) return 'bwrap'
  return manifest?.runtime === 'exec' ? 'none' : standard
}

/** Whoever may see the status may not see what opens other doors. */
function configFor(unit: Unit): Readonly<Record<string, unknown>> {
  try {
    return redacted(unit.config) as Readonly<Record<string, unknown>>
  } catch {
    return {} // settings that do not fit are told by the state, not by the status page failing
  }
}

function instanceStatus(replica: Replica): InstanceStatus[] {
  const { instance } = replica
  if (instance === undefined) return []
  const { heartbeat, cpuPercent, restless, calls, inFlight } = instance.stats
  return [
    {
      instance: replica.id,
      pid: instance.pid,
      state: replica.state,
      generation: instance.generation,
      since: new Date(replica.sinceMs).toISOString(),
      memory_bytes: heartbeat?.rss_bytes ?? 0,
      cpu_percent: Math.round(cpuPercent * 10) / 10,
      loop_lag_ms: Math.round((heartbeat?.loop_lag_ms ?? 0) * 10) / 10,
      elu: Math.round((heartbeat?.elu ?? 0) * 1_000) / 1_000,
      restless_ms: restless === undefined ? 0 : Math.round(restless.unaskedMs),
      calls,
      in_flight: inFlight,
    },
  ]
}
