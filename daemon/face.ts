import type { Parts } from './compose.ts'
import type { Fact } from './contracts/fact.ts'
import type { CriticalModules, Liveness, Readiness } from './contracts/status.ts'
import { judgeCritical, judgeReadiness } from './health/health.ts'
import type { Clock } from './kit/clock.ts'
import type { Authority } from './security/authenticate.ts'
import { authenticate } from './security/authenticate.ts'
import type { Daemon } from './surfaces/http/port.ts'

/** What the life of the daemon adds to its parts. */
export interface Life {
  readonly clock: Clock
  readonly version: string
  readonly authority: Authority
  readonly startedAtMs: number
  readonly unhealthyRatioMax: number
  readonly safe: boolean
  startedUp(): boolean
  draining(): boolean
}

/** A disk that is silent this long is broken for everybody who waits: the daemon is alive then, and not ready. */
const DISK_SILENT_MS = 5_000

/** The daemon as its surfaces see it. */
export function faceOf(parts: Parts, life: Life): Daemon {
  const { supervisor, missions, maintenance, insight, memory, meters, lines } = parts
  const seconds = (): number => life.clock.now() / 1_000
  return {
    version: life.version,
    live: (): Liveness => ({ live: true, timestamp: seconds(), daemon_running: true }),
    readiness: (): Readiness =>
      judgeReadiness({
        modules: supervisor.briefs(),
        startedUp: life.startedUp(),
        safe: life.safe,
        draining: life.draining(),
        journalTrouble: memory.trouble(DISK_SILENT_MS),
        unhealthyRatioMax: life.unhealthyRatioMax,
        timestamp: seconds(),
      }),
    critical: (): CriticalModules => judgeCritical(supervisor.briefs(), seconds()),
    startedUp: life.startedUp,
    uptimeSeconds: () => (life.clock.elapsed() - life.startedAtMs) / 1_000,
    insecureKey: () => life.authority.devMode.active,
    status: parts.status,
    modules: () => supervisor.statuses(),
    moduleStatus: (moduleId) => supervisor.status(moduleId),
    authenticate: (credentials) => authenticate(credentials, life.authority),
    gate: parts.gate,
    missions: {
      get: (missionId) => missions.get(missionId),
      list: (filter) => missions.list(filter),
      onProgress: (listener) => missions.onProgress(listener),
      artifact: (missionId, name) => missions.artifact(missionId, name),
    },
    insight: {
      omens: (filter) => insight.omens(filter),
      predictions: () => insight.predictions(),
      templates: () => insight.runes(),
    },
    maintenance: {
      list: () => maintenance.list(),
      get: (id) => maintenance.get(id),
    },
    metricsText: async (moduleId) => ({ contentType: meters.contentType, text: await meters.text(moduleId) }),
    facts: {
      read: (after, limit) => memory.read(after, limit),
      subscribe: (listener: (fact: Fact) => void) => parts.onFact(listener),
      head: () => memory.head,
    },
    logs: {
      recent: (moduleId, limit) => lines.recent(moduleId, limit),
      subscribe: (moduleId, listener) => lines.subscribe(moduleId, listener),
    },
  }
}
