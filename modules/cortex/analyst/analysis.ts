import type { Finding } from './findings.ts'
import type { Scan } from './scan.ts'
import type { Splits } from './segments.ts'
import type { Settings } from './settings.ts'
import type { Table } from './table.ts'

/** Everything known about a conversion; the reports are written from it. */
export interface Analysis {
  readonly table: Table
  readonly scan: Scan
  readonly splits: Splits
  readonly findings: readonly Finding[]
  readonly suspects: readonly string[]
  readonly settings: Settings
}
