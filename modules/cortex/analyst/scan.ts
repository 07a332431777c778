import { Column, type Outcome } from './column.ts'
import type { Settings } from './settings.ts'
import type { Row, Table } from './table.ts'
import {
  chooseTarget,
  judge,
  type Target,
  type TargetRequest,
  UNREADABLE_SHARE_MAX,
  unreadable,
} from './target.ts'

/** What the first pass over a table found. */
export interface Scan {
  readonly rows: number
  readonly columns: readonly Column[]
  readonly target: Target | undefined
  readonly converted: number
  /** Rows whose target could be read. */
  readonly judged: number
  readonly notes: readonly string[]
}

export type Share = (share: number) => void

/** Reads every row once: the profile of each column, and the outcome by value of each column when there is a target. */
export async function scan(
  table: Table,
  request: TargetRequest | undefined,
  settings: Settings,
  signal: AbortSignal,
  onShare: Share,
): Promise<Scan> {
  const missing = new Set(settings.missing)
  const columns: Column[] = []
  let target: Target | undefined
  let rows = 0
  let judged = 0
  let converted = 0

  for await (const batch of table.rows(signal, onShare)) {
    if (batch.length === 0) continue
    for (const name of table.columns.slice(columns.length)) {
      const column = new Column(name)
      column.missing.rows = rows
      column.missing.judged = judged
      column.missing.hits = converted
      columns.push(column)
    }
    if (request !== undefined && target === undefined) target = chooseTarget(request, table.columns)
    const judgeRow = outcomeOf(table, target, missing)
    for (const row of batch) {
      const outcome = judgeRow(row)
      rows += 1
      if (outcome !== 'unknown') judged += 1
      if (outcome === 'hit') converted += 1
      for (let at = 0; at < columns.length; at += 1) {
        const column = columns[at] as Column
        const cell = row[at]
        if (cell === undefined || cell === '' || missing.has(cell)) column.addMissing(outcome)
        else column.add(cell, outcome)
      }
    }
  }

  const kept = target !== undefined && isReadable(target, columns, judged) ? target : undefined
  return { rows, columns, target: kept, converted, judged, notes: table.notes() }
}

/** How a row of this table ended. */
export function outcomeOf(
  table: Table,
  target: Target | undefined,
  missing: ReadonlySet<string>,
): (row: Row) => Outcome {
  if (target === undefined) return () => 'unknown'
  const place = table.columns.indexOf(target.column)
  // Asked for once a row, and nearly always one of two words.
  const known = new Map<string, Outcome>()
  return (row) => {
    const cell = row[place]
    if (cell === undefined || cell === '' || missing.has(cell)) return 'unknown'
    let outcome = known.get(cell)
    if (outcome === undefined) {
      outcome = judge(cell, target)
      if (known.size < 100) known.set(cell, outcome)
    }
    return outcome
  }
}

/** A guessed target that is no yes-or-no is dropped; a named one is an error. */
function isReadable(target: Target, columns: readonly Column[], judged: number): boolean {
  const column = columns.find(({ name }) => name === target.column)
  const filled = column?.rows ?? 0
  if (filled > 0 && judged >= filled * (1 - UNREADABLE_SHARE_MAX)) return true
  if (target.guessed) return false
  const values = (column?.tally.entries() ?? []).map(({ value }) => value)
  throw new Error(
    filled === 0 ? `the target ${target.column} is empty in every row` : unreadable(target, values),
  )
}
