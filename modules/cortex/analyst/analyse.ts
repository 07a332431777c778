import type { ActionContext } from 'aeon-nexus/module'
import type { Analysis } from './analysis.ts'
import { findAll, headline, sentence, suspects } from './findings.ts'
import { count, percent, round, span } from './format.ts'
import { conversionReport, profileReport } from './report.ts'
import { type Scan, scan } from './scan.ts'
import { splitAll } from './segments.ts'
import type { Settings } from './settings.ts'
import { wilson } from './statistics.ts'
import { openTable, type Table, type TableRequest } from './table.ts'
import type { TargetRequest } from './target.ts'

/** The wire takes 640 KiB an artifact; a report nobody can open is none. */
const REPORT_BYTES_MAX = 600_000

export interface AnalyseRequest extends TableRequest, TargetRequest {
  readonly artifacts?: boolean
}

/** Profile, conversion and findings of a table; only the profile where there is no target. */
export async function analyse(
  request: AnalyseRequest,
  settings: Settings,
  ctx: ActionContext,
): Promise<object> {
  const table = await openTable(request, ctx.roots)
  const found = await scan(table, request, settings, ctx.signal, (share) =>
    ctx.progress(share / 2, 'reading'),
  )
  if (found.rows === 0) throw new Error(`${table.name} holds no rows`)
  if (found.target === undefined || found.judged === 0) return withoutTarget(request, table, found, ctx)

  const splits = await splitAll(table, found, settings, ctx.signal, (share) =>
    ctx.progress(0.5 + share / 2, 'splitting'),
  )
  const findings = findAll(found, splits.splits, settings)
  const analysis = { table, scan: found, splits, findings, suspects: suspects(splits.splits), settings }
  const artifacts = await keep(request, ctx, [
    ['findings.md', conversionReport(analysis), 'text/markdown'],
    ['findings.json', findingsJson(analysis), 'application/json'],
  ])

  const overall = found.converted / found.judged
  const interval = wilson(found.converted, found.judged)
  return {
    summary:
      `${count(found.converted)} of ${count(found.judged)} rows converted: ${percent(overall)} ` +
      `(95 % interval ${span(interval.low, interval.high)}); ${findings.length} segments differ beyond chance.`,
    rows: found.rows,
    target: describeTarget(found),
    converted: found.converted,
    left_out: found.rows - found.judged,
    rate: round(overall),
    interval: [round(interval.low), round(interval.high)],
    findings: headline(findings, analysis.suspects, 6, 2).map((finding) => sentence(finding, overall)),
    strongest: splits.splits
      .slice(0, 8)
      .map(({ column, strength }) => ({ column, strength: round(strength) })),
    check: analysis.suspects,
    notes: found.notes,
    artifacts,
  }
}

/** Only the columns. */
export async function profile(
  request: AnalyseRequest,
  settings: Settings,
  ctx: ActionContext,
): Promise<object> {
  const table = await openTable(request, ctx.roots)
  const found = await scan(table, undefined, settings, ctx.signal, (share) => ctx.progress(share, 'reading'))
  const artifacts = await keep(request, ctx, [['profile.md', profileReport(table, found), 'text/markdown']])
  const columns = found.columns.map((column) => column.profile())
  return {
    summary: `${count(found.rows)} rows, ${columns.length} columns.`,
    rows: found.rows,
    columns: columns
      .slice(0, 40)
      .map(({ name, type, missing, distinct }) => ({ name, type, missing, distinct })),
    notes: found.notes,
    artifacts,
  }
}

async function withoutTarget(
  request: AnalyseRequest,
  table: Table,
  found: Scan,
  ctx: ActionContext,
): Promise<object> {
  const candidates = found.columns
    .filter((column) => column.type === 'boolean' || (column.isNumeric && column.tally.distinct === 2))
    .map(({ name }) => name)
  const advice =
    candidates.length === 0
      ? 'no column is yes or no; name one with target and the value that counts with target_value'
      : `name the column that tells with target; it could be ${candidates.slice(0, 8).join(', ')}`
  const artifacts = await keep(request, ctx, [
    ['findings.md', profileReport(table, found, advice), 'text/markdown'],
  ])
  return {
    summary: `${count(found.rows)} rows, ${found.columns.length} columns; conversion was not measured: ${advice}.`,
    rows: found.rows,
    target: null,
    findings: [],
    notes: found.notes,
    artifacts,
  }
}

async function keep(
  request: AnalyseRequest,
  ctx: ActionContext,
  files: readonly (readonly [name: string, content: string, mediaType: string])[],
): Promise<string[]> {
  if (request.artifacts === false) return []
  for (const [name, content, mediaType] of files) await ctx.artifact(name, content, mediaType)
  return files.map(([name]) => name)
}

function describeTarget({ target }: Scan): object {
  const how = target?.guessed === true ? 'taken for its name; name another with target' : 'as asked'
  return {
    column: target?.column,
    ...(target?.value === undefined ? {} : { value: target.value }),
    chosen: how,
  }
}

/** The whole analysis for programs; of very wide tables the weakest columns are left out, and it says so. */
function findingsJson(analysis: Analysis): string {
  const { table, scan: found, splits, findings } = analysis
  const { low, high } = wilson(found.converted, found.judged)
  const all = splits.splits.map((split) => ({
    ...split,
    strength: round(split.strength),
    parts: split.parts.map(({ label, rows, hits }) => {
      const interval = wilson(hits, rows)
      return {
        label,
        rows,
        hits,
        rate: round(hits / rows),
        low: round(interval.low),
        high: round(interval.high),
      }
    }),
  }))
  const whole = {
    source: { name: table.name, format: table.format, bytes: table.bytes },
    rows: found.rows,
    judged: found.judged,
    converted: found.converted,
    rate: round(found.converted / found.judged),
    interval: { low: round(low), high: round(high) },
    target: describeTarget(found),
    method: { interval: 'Wilson, 95 %', test: 'pooled two-proportion z', correction: 'Benjamini-Hochberg' },
    findings: findings.slice(0, 200),
    check: analysis.suspects,
    unsplit: splits.unsplit,
    notes: found.notes,
  }
  const columns = found.columns.map((column) => column.profile())
  for (let kept = all.length; kept > 0; kept = Math.floor(kept * 0.8)) {
    const text = JSON.stringify(
      { ...whole, splits: all.slice(0, kept), splits_left_out: all.length - kept, columns },
      null,
      1,
    )
    if (Buffer.byteLength(text) <= REPORT_BYTES_MAX) return text
  }
  return JSON.stringify({ ...whole, splits: [], splits_left_out: all.length }, null, 1)
}
