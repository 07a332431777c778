import type { Fact } from '../../contracts/fact.ts'
import type { MissionDetail, MissionFilter, MissionProgress } from '../../contracts/mission.ts'
import type { Principal } from '../../contracts/roles.ts'
import type {
  CriticalModules,
  DaemonStatus,
  Liveness,
  ModuleStatus,
  Readiness,
} from '../../contracts/status.ts'
import type { GateDoor } from '../../gate/port.ts'
import type { Credentials } from '../../security/authenticate.ts'

/** The whole daemon as HTTP shows it; composed above, faked in tests. */
export interface Daemon {
  readonly version: string
  /** Reads nothing but memory; never throws. */
  live(): Liveness
  readiness(): Readiness
  critical(): CriticalModules
  startedUp(): boolean
  uptimeSeconds(): number
  /** The published key opens this daemon (`--dev`). */
  insecureKey(): boolean
  status(principal: Principal): DaemonStatus
  modules(): readonly ModuleStatus[]
  /** @throws NexusError `MODULE_UNKNOWN`. */
  moduleStatus(moduleId: string): ModuleStatus
  /** Who asks. @throws NexusError when what was presented is wrong; nothing presented is anonymous. */
  authenticate(credentials: Credentials): Promise<Principal> | Principal
  readonly gate: GateDoor
  readonly missions: MissionReader
  readonly insight: {
    omens(filter: OmenFilter): object
    predictions(): object
    templates(): object
  }
  readonly maintenance: {
    list(): object
    /** @throws NexusError `MAINTENANCE_UNKNOWN`. */
    get(maintenanceId: string): object
  }
  /** Prometheus text; of one module's series only when it is named. */
  metricsText(moduleId?: string): Promise<{ readonly contentType: string; readonly text: string }>
  readonly facts: FactReader
  readonly logs: LogReader
}

/** Which omens are asked for. */
export interface OmenFilter {
  readonly module?: string
  readonly level?: string
  readonly kind?: string
}

interface MissionReader {
  /** @throws NexusError `MISSION_UNKNOWN`. */
  get(missionId: string): MissionDetail | Promise<MissionDetail>
  /** `{missions, count, next}`, newest first. */
  list(filter: MissionFilter): object | Promise<object>
  /** Told how far missions say they have come; returns the undoing. */
  onProgress(listener: (missionId: string, progress: MissionProgress) => void): () => void
  /** @throws NexusError `MISSION_UNKNOWN`, `ARTIFACT_UNKNOWN`. */
  artifact(
    missionId: string,
    name: string,
  ): Promise<{ readonly mediaType: string; readonly bytes: Uint8Array }>
}

/** Durable facts: what `read` shows, a crash does not take back. */
export interface FactReader {
  /** At most `limit` facts with a sequence number above `after`, in order. */
  read(after: number, limit: number): Promise<readonly Fact[]>
  /** Calls `listener` for each fact once it is durable, in order; it must not throw. Returns the undoing. */
  subscribe(listener: (fact: Fact) => void): () => void
  /** The newest durable sequence number; 0 when there is none. */
  head(): number
}

/** The recent log lines of modules, kept in memory. */
interface LogReader {
  /** Oldest first. */
  recent(moduleId: string, limit: number): readonly object[]
  subscribe(moduleId: string, listener: (line: object) => void): () => void
}
