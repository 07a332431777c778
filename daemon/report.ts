import type { Settings } from './contracts/config.ts'
import type { Principal } from './contracts/roles.ts'
import type { DaemonStatus } from './contracts/status.ts'
import { statisticsOf } from './health/health.ts'
import type { Insight } from './insight/insight.ts'
import type { PortKeeper } from './listen/port.ts'
import type { Missions } from './missions/missions.ts'
import { VERSION } from './product.ts'
import type { Supervisor } from './supervisor/supervisor.ts'
import { Meters } from './telemetry/meters.ts'

/** What `get_status` answers without a module. */
export function daemonStatus(
  {
    supervisor,
    missions,
    busyLoops,
  }: {
    readonly supervisor: Supervisor
    readonly missions: Missions
    readonly busyLoops: DaemonStatus['busy_loops']
  },
  { tokens }: Settings,
  { name, roles }: Principal,
  uptimeSeconds: number,
): DaemonStatus {
  const modules = supervisor.briefs()
  const byState: Partial<Record<string, number>> = {}
  for (const { state } of modules) byState[state] = (byState[state] ?? 0) + 1
  return {
    running: true,
    level: tokens.length > 0 ? 'level-18-team' : 'level-14.5-basic',
    uptime_seconds: Math.round(uptimeSeconds * 1_000) / 1_000,
    security: { principal: name, roles },
    // None of the three is built yet; they say so as long as that is true.
    features: { cluster: false, tracing: false, compliance: false },
    modules: {
      total_discovered: modules.length,
      total_loaded: modules.filter(({ state }) => state !== 'discovered' && state !== 'invalid').length,
      by_state: byState,
    },
    health: { statistics: statisticsOf(modules) },
    missions: missions.brief(),
    busy_loops: busyLoops,
  }
}

/** Meters whose gauges read the rooms at the moment of a scrape. */
export function metersOf(
  supervisor: Supervisor,
  ports: PortKeeper,
  missions: Missions,
  insight: Insight,
  publishedKeyActive: () => boolean,
): Meters {
  return new Meters({
    version: VERSION,
    modules: () => supervisor.briefs(),
    ports: () => ports.all(),
    queueDepth: () => missions.counters().depth,
    approvalsPending: () => missions.pendingApprovals,
    approvalsOldestSeconds: () => missions.brief().oldest_approval_seconds ?? 0,
    staleWrites: () => missions.counters().staleRefused,
    omens: () => {
      const counts: Record<string, number> = {}
      // One that is held is not active: the system omen is, in its place.
      for (const { level, held } of insight.omens().omens) if (!held) counts[level] = (counts[level] ?? 0) + 1
      return counts
    },
    briers: () =>
      Object.fromEntries(
        insight.skills().flatMap(({ kind, brier }) => (brier === null ? [] : [[kind, brier]])),
      ),
    publishedKeyActive,
  })
}
