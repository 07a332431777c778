import type { BusyWatch } from './busy.ts'
import type { ModuleCatalog } from './catalog/port.ts'
import type { Fact, FactDraft } from './contracts/fact.ts'
import type { Memory } from './memory.ts'
import type { RecordLog } from './storage/record-log.ts'
import type { Meters } from './telemetry/meters.ts'

/** What is there only once it has been opened; the rooms above are built before. */
export interface Late {
  memory?: Memory
  records?: RecordLog
  catalog?: ModuleCatalog
  meters?: Meters
  busy?: BusyWatch
}

/** Resolves once the fact is on stable storage and folded. */
export function append(late: Late, draft: FactDraft): Promise<Fact> {
  return opened(late.memory, 'the journal').append(draft)
}

/** A part that must be there by now; that it is not is a mistake in the wiring. */
export function opened<T>(part: T | undefined, name: string): T {
  if (part === undefined) throw new Error(`${name} must be opened first`)
  return part
}
