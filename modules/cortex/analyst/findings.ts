import { count, percent, span } from './format.ts'
import type { Scan } from './scan.ts'
import type { Split } from './segments.ts'
import type { Settings } from './settings.ts'
import { adjust, sameShare, wilson } from './statistics.ts'

/** So strong an association is more often a consequence of the outcome than a cause. */
const SUSPICIOUS_STRENGTH = 0.5

/** One segment held against all rows. */
export interface Finding {
  readonly column: string
  readonly label: string
  readonly rows: number
  readonly hits: number
  readonly rate: number
  readonly low: number
  readonly high: number
  /** Rate of the segment over the overall rate. */
  readonly lift: number
  /** Share of all rows. */
  readonly share: number
  /** Conversions more (or less) than the segment would have at the overall rate. */
  readonly excess: number
  /** p-value of "as the other rows", adjusted for the number of segments tested. */
  readonly adjusted_p: number
}

/**
 * The segments that differ from the rest beyond chance, largest effect on the number of conversions first.
 *
 * Two guards: the adjusted p-value, and the segment's own interval must leave the overall rate out.
 */
export function findAll(scan: Scan, splits: readonly Split[], settings: Settings): Finding[] {
  const { judged, converted } = scan
  const overall = converted / judged
  const tested = splits.flatMap(({ column, parts }) =>
    parts
      .filter(({ rows }) => rows >= settings.rows_min && rows < judged)
      .map((part) => ({ column, ...part })),
  )
  const ps = tested.map(({ rows, hits }) => sameShare(hits, rows, converted - hits, judged - rows))
  const adjusted = adjust(ps)
  return tested
    .map(({ column, label, rows, hits }, index): Finding => {
      const { low, high } = wilson(hits, rows)
      const rate = hits / rows
      return {
        column,
        label,
        rows,
        hits,
        rate,
        low,
        high,
        lift: rate / overall,
        share: rows / judged,
        excess: hits - rows * overall,
        adjusted_p: adjusted[index] ?? 1,
      }
    })
    .filter(({ adjusted_p }) => adjusted_p <= settings.false_discovery_rate)
    .filter(({ low, high }) => low > overall || high < overall)
    .sort((a, b) => Math.abs(b.excess) - Math.abs(a.excess) || (a.column < b.column ? -1 : 1))
}

/**
 * The first findings of a ranking, at most `perColumn` of one column, so that one strong column does not fill the list.
 * Suspects are told apart from them.
 */
export function headline(
  findings: readonly Finding[],
  suspects: readonly string[],
  limit: number,
  perColumn: number,
): Finding[] {
  const taken = new Map<string, number>()
  return findings
    .filter(({ column }) => !suspects.includes(column))
    .filter(({ column }) => {
      const before = taken.get(column) ?? 0
      taken.set(column, before + 1)
      return before < perColumn
    })
    .slice(0, limit)
}

/** A finding as a sentence. */
export function sentence(finding: Finding, overall: number): string {
  const { column, label, rows, hits, rate, low, high, lift, share, excess } = finding
  const more = excess > 0 ? 'more' : 'fewer'
  return (
    `${column} = ${label}: ${percent(rate)} convert (${count(hits)} of ${count(rows)}; 95 % interval ${span(low, high)}), ` +
    `${lift.toFixed(2)} times the overall ${percent(overall)}. ` +
    `That is ${percent(share)} of all rows and ${count(Math.abs(excess))} conversions ${more} than at the overall rate.`
  )
}

/** Columns so strong that one should ask whether they are known before the outcome is. */
export function suspects(splits: readonly Split[]): string[] {
  return splits.filter(({ strength }) => strength >= SUSPICIOUS_STRENGTH).map(({ column }) => column)
}
