import type { Analysis } from './analysis.ts'
import type { ColumnProfile } from './column.ts'
import { headline, sentence } from './findings.ts'
import { cell, count, figure, percent, plain, span } from './format.ts'
import type { Scan } from './scan.ts'
import type { Split } from './segments.ts'
import { wilson } from './statistics.ts'
import type { Table } from './table.ts'

/** Longer reports are not read; the JSON beside it has the rest. */
const SPLITS_SHOWN_MAX = 40

/** `findings.md` of a table with a target. */
export function conversionReport(analysis: Analysis): string {
  const { table, scan, splits, findings, settings } = analysis
  const overall = scan.converted / scan.judged
  const { low, high } = wilson(scan.converted, scan.judged)
  const target = scan.target?.column ?? ''
  const shown = headline(findings, analysis.suspects, 10, 3)
  return document([
    `# Conversion (${cell(target)}) in ${cell(table.name)}`,
    `**${count(scan.converted)} of ${count(scan.judged)} rows converted: ${percent(overall)}** ` +
      `(95 % interval ${span(low, high)}).`,
    ...list([...readingNotes(analysis), ...scan.notes]),
    '## What stands out',
    shown.length === 0
      ? nothing(findings.length)
      : shown.map((finding, at) => `${at + 1}. ${plain(sentence(finding, overall))}`).join('\n'),
    shown.length < findings.length
      ? `${findings.length - shown.length} more stand in the tables below (marked ●).`
      : '',
    ...analysis.suspects.map((name) => suspicion(name, analysis)),
    '## Conversion by column',
    'Strongest first (Cramér’s V: 0 no difference, 1 decides the outcome). ● differs beyond chance.',
    ...splits.splits.slice(0, SPLITS_SHOWN_MAX).flatMap((split) => splitTable(split, analysis)),
    splits.splits.length > SPLITS_SHOWN_MAX
      ? `${splits.splits.length - SPLITS_SHOWN_MAX} weaker columns are in findings.json.`
      : '',
    ...(splits.unsplit.length === 0
      ? []
      : ['Not split:', ...list(splits.unsplit.map(({ column, why }) => `${cell(column)}: ${why}`))]),
    '## The columns',
    columnTable(scan.columns.map((column) => column.profile())),
    '## How this was computed',
    `Intervals are Wilson’s at 95 %. A segment is marked when it has at least ${settings.rows_min} rows, its interval leaves ` +
      `the overall rate out, and a two-proportion z-test against all other rows stays at or below ` +
      `${settings.false_discovery_rate} after Benjamini–Hochberg correction. Ranked by conversions above or below what the ` +
      'overall rate would give. A difference is an association, not yet a cause: columns overlap, and only an experiment ' +
      'tells what a change would bring.',
  ])
}

/** The columns alone. */
export function profileReport(table: Table, scan: Scan, advice?: string): string {
  return document([
    `# The columns of ${cell(table.name)}`,
    `${count(scan.rows)} rows, ${scan.columns.length} columns.`,
    advice === undefined ? '' : `Conversion was not measured: ${plain(advice)}.`,
    ...list(scan.notes),
    columnTable(scan.columns.map((column) => column.profile())),
  ])
}

function nothing(findings: number): string {
  if (findings > 0) return 'Only the columns named below differ, and those want a look first.'
  return 'No segment differs from the rest by more than chance explains.'
}

function suspicion(name: string, { findings, scan }: Analysis): string {
  const first = findings.find(({ column }) => column === name)
  const overall = scan.converted / scan.judged
  return (
    `**Check ${cell(name)} first.** So strong a tie often means that a column is recorded after the outcome, and then it ` +
    `cannot be acted on. ${first === undefined ? '' : plain(sentence(first, overall))}`
  )
}

function readingNotes({ scan }: Analysis): string[] {
  const { target, rows, judged } = scan
  return [
    ...(target?.guessed === true
      ? [`No target was named; ${cell(target.column)} was taken for its name. Name another with \`target\`.`]
      : []),
    ...(target?.value === undefined
      ? []
      : [`A row converted when ${cell(target.column)} is ${cell(target.value)}.`]),
    ...(rows > judged ? [`${count(rows - judged)} rows without a readable target were left out.`] : []),
  ]
}

function splitTable(split: Split, { findings, scan }: Analysis): string[] {
  const marked = new Set(findings.filter(({ column }) => column === split.column).map(({ label }) => label))
  const overall = scan.converted / scan.judged
  const rows = split.parts.map(({ label, rows, hits }) => {
    const { low, high } = wilson(hits, rows)
    const lift = (hits / rows / overall).toFixed(2)
    const mark = marked.has(label) ? '●' : ''
    return `| ${cell(label)} | ${count(rows)} | ${percent(rows / scan.judged)} | ${count(hits)} | ${percent(hits / rows)} | ${span(low, high)} | ${overall === 0 ? '–' : lift} | ${mark} |`
  })
  return [
    `### ${cell(split.column)} (V ${split.strength.toFixed(2)})`,
    [
      `| ${split.by} | rows | share | converted | rate | 95 % interval | lift | |`,
      '|---|--:|--:|--:|--:|--:|--:|:-:|',
      ...rows,
    ].join('\n'),
  ]
}

function columnTable(columns: readonly ColumnProfile[]): string {
  const rows = columns.map((column) => {
    const { name, type, missing, distinct, distinct_exact, numbers, top } = column
    const range =
      numbers === undefined
        ? ' |  |  |  | '
        : [numbers.min, numbers.median, numbers.mean, numbers.sd ?? Number.NaN, numbers.max]
            .map(figure)
            .join(' | ')
    const common = top
      .slice(0, 3)
      .map(({ value, rows }) => `${cell(value)} (${column.top_slack > 0 ? '≥ ' : ''}${count(rows)})`)
      .join(', ')
    return `| ${cell(name)} | ${type} | ${count(missing)} | ${distinct_exact ? '' : '≈ '}${count(distinct)} | ${range} | ${common} |`
  })
  return [
    '| column | type | missing | distinct | min | median | mean | sd | max | most common |',
    '|---|---|--:|--:|--:|--:|--:|--:|--:|---|',
    ...rows,
  ].join('\n')
}

function list(items: readonly string[]): string[] {
  return items.length === 0 ? [] : [items.map((item) => `- ${item}`).join('\n')]
}

function document(parts: readonly string[]): string {
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`
}
