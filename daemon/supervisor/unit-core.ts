import type { Generation } from '../catalog/port.ts'
import type { Actor } from '../contracts/fact.ts'
import type { Manifest } from '../contracts/manifest.ts'
import type { ReloadResult } from '../contracts/status.ts'
import type { Assembly } from './assembly.ts'
import type { ModuleEvent } from './lifecycle-table.ts'
import type { ReloadOrder, SupervisorEnvironment } from './port.ts'
import type { ModulePorts } from './ports.ts'
import type { ModuleMemory } from './remembered.ts'
import type { Replica } from './replica-set.ts'
import type { Crash } from './restart-policy.ts'
import type { Retries } from './retries.ts'
import type { Standing } from './standing.ts'
import type { Works } from './works.ts'

/** Who causes what the supervisor does of its own accord. */
export const SUPERVISOR: Actor = { kind: 'daemon', name: 'supervisor' }

/** One letter to a unit. */
export interface Letter {
  readonly event: ModuleEvent
  readonly because: string
  /** Letters of an older run are about code that is no longer wanted. */
  readonly run?: number
  readonly crash?: Crash
  readonly exitCode?: number | null
  /** What is to be started afresh. */
  readonly generation?: Generation
  readonly order?: ReloadOrder
  /** Undefined when the letter was not understood: the state had changed by the time it was read. */
  readonly reply?: (result: ReloadResult | undefined) => void
}

/** What a unit says of itself, to its parts. */
interface UnitSelf {
  /** Of what runs, else of what is on disk. */
  readonly manifest: Manifest | undefined
  readonly replicasWanted: number
  /** Every replica that takes calls now. */
  readonly takers: readonly Replica[]
  /** A call is taken: at once, or after a wait that may end well. */
  readonly callable: boolean
}

/** What the parts of one unit share. Only the unit itself changes the standing. */
export interface UnitCore {
  readonly id: string
  readonly env: SupervisorEnvironment
  readonly works: Works
  readonly standing: Standing
  readonly retries: Retries
  readonly assembly: Assembly
  readonly ports: ModulePorts
  memory(): ModuleMemory
  readonly self: UnitSelf
  /** It waits for what it requires, whatever its own instances say. */
  readonly isHeld: boolean
  /** Others than before take calls. */
  shifted(): void
  post(event: ModuleEvent, because: string, more?: Omit<Letter, 'event' | 'because'>): void
  /** Resolves when the fact is on record; a failure is told in the log. */
  record(type: string, d: Readonly<Record<string, unknown>>, actor?: Actor): Promise<void>
  /** A fact of the supervisor's own doing, not waited for: a restart is worth more than its record. */
  note(type: string, d: Readonly<Record<string, unknown>>, actor?: Actor): void
}
