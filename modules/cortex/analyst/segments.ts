import { CODES_MAX, type Column } from './column.ts'
import { figure } from './format.ts'
import { outcomeOf, type Scan, type Share } from './scan.ts'
import type { Settings } from './settings.ts'
import { association, quantile } from './statistics.ts'
import type { Table } from './table.ts'
import { type Entry, toNumber } from './tally.ts'

/** One part of the rows: those whose column has this value, or lies in this range. */
interface Part {
  readonly label: string
  /** Rows whose outcome is known. */
  readonly rows: number
  readonly hits: number
}

export interface Split {
  readonly column: string
  readonly by: 'value' | 'range'
  /** Cramér's V: how much the parts differ, 0..1. */
  readonly strength: number
  readonly parts: readonly Part[]
}

export interface Splits {
  readonly splits: readonly Split[]
  /** Columns that could not be split, and why. */
  readonly unsplit: readonly { readonly column: string; readonly why: string }[]
}

/**
 * Conversion by value of every column with few values, and by range of every numeric one with many.
 *
 * Values were counted by the scan; ranges need their borders first, hence a second pass, and only where there are any.
 */
export async function splitAll(
  table: Table,
  scan: Scan,
  settings: Settings,
  signal: AbortSignal,
  onShare: Share,
): Promise<Splits> {
  const splits: Split[] = []
  const unsplit: { column: string; why: string }[] = []
  const ranges: Ranges[] = []
  scan.columns.forEach((column, place) => {
    if (column.name === scan.target?.column) return
    const { exact, distinct } = column.tally
    if (column.isNumeric && (!exact || distinct > CODES_MAX)) {
      ranges.push(new Ranges(column, place, settings.buckets))
    } else if (exact && distinct + Math.sign(column.missing.rows) < 2) {
      unsplit.push({ column: column.name, why: 'the same in every row' })
    } else if (exact && distinct <= settings.segments_max) {
      splits.push(byValue(column))
    } else {
      unsplit.push({ column: column.name, why: `more than ${settings.segments_max} different values` })
    }
  })
  if (ranges.length > 0) {
    await fill(ranges, table, scan, settings, signal, onShare)
    splits.push(...ranges.map((range) => range.split()))
  }
  return { splits: splits.sort((a, b) => b.strength - a.strength || (a.column < b.column ? -1 : 1)), unsplit }
}

function byValue(column: Column): Split {
  const entries = column.tally.entries()
  const ordered = column.isNumeric ? entries.sort((a, b) => a.number - b.number) : entries
  return finish(column, 'value', [...ordered.map(toPart), ...missingPart(column)])
}

async function fill(
  ranges: readonly Ranges[],
  table: Table,
  scan: Scan,
  settings: Settings,
  signal: AbortSignal,
  onShare: Share,
): Promise<void> {
  const missing = new Set(settings.missing)
  const judgeRow = outcomeOf(table, scan.target, missing)
  for await (const batch of table.rows(signal, onShare)) {
    for (const row of batch) {
      const outcome = judgeRow(row)
      if (outcome === 'unknown') continue
      for (const range of ranges) {
        const number = toNumber(row[range.place] ?? '')
        if (!Number.isNaN(number)) range.add(number, outcome === 'hit')
      }
    }
  }
}

/** The ranges of one numeric column: borders from its sample, counts from the second pass. */
class Ranges {
  readonly place: number
  readonly #column: Column
  /** Upper borders, each inside its range; the last range has none. */
  readonly #borders: readonly number[]
  readonly #parts: { rows: number; hits: number; low: number; high: number }[]

  constructor(column: Column, place: number, buckets: number) {
    this.place = place
    this.#column = column
    this.#borders = borders(column.sample.sorted(), buckets)
    this.#parts = Array.from({ length: this.#borders.length + 1 }, () => ({
      rows: 0,
      hits: 0,
      low: Number.POSITIVE_INFINITY,
      high: Number.NEGATIVE_INFINITY,
    }))
  }

  add(value: number, hit: boolean): void {
    let at = 0
    while (at < this.#borders.length && value > (this.#borders[at] as number)) at += 1
    const part = this.#parts[at]
    if (part === undefined) return
    part.rows += 1
    if (hit) part.hits += 1
    if (value < part.low) part.low = value
    if (value > part.high) part.high = value
  }

  split(): Split {
    const parts = this.#parts.filter(({ rows }) => rows > 0)
    const labelled = parts.map(({ rows, hits, low, high }) => ({
      label: low === high ? figure(low) : `${figure(low)} to ${figure(high)}`,
      rows,
      hits,
    }))
    return finish(this.#column, 'range', [...labelled, ...missingPart(this.#column)])
  }
}

/**
 * Borders of parts of about equal size. A smallest value that alone fills a part (the zeros of most durations and
 * amounts) becomes a part of its own, and the rest is divided.
 */
function borders(sorted: Float64Array, buckets: number): number[] {
  const least = sorted[0]
  if (least === undefined) return []
  const heavy = sorted.findIndex((value) => value > least)
  const alone = heavy >= sorted.length / buckets
  const rest = alone ? sorted.subarray(heavy) : sorted
  const cuts = Array.from({ length: buckets - 1 }, (_, index) => quantile(rest, (index + 1) / buckets))
  const unique = [...new Set(alone ? [least, ...cuts] : cuts)]
  return unique.filter((cut) => cut < (sorted[sorted.length - 1] as number))
}

function finish(column: Column, by: 'value' | 'range', parts: readonly Part[]): Split {
  const judged = parts.filter(({ rows }) => rows > 0)
  return { column: column.name, by, strength: association(judged), parts: judged }
}

function missingPart(column: Column): Part[] {
  return column.missing.judged > 0 ? [toPart(column.missing)] : []
}

function toPart({ value, judged, hits }: Entry): Part {
  return { label: value, rows: judged, hits }
}
