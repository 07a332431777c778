import type { ActionContext, RecordPaths } from 'aeon-nexus/module'
import { type Finding, findingsOf } from './findings.ts'
import { bytes, hours, plain, table } from './format.ts'
import { readHost } from './host.ts'
import { missionFiles } from './mission-files.ts'
import { countMissions } from './missions.ts'
import { readRuntime } from './runtime.ts'
import { sealedSegments } from './segments.ts'
import type { Settings } from './settings.ts'
import { filesBelow, look, sumBytes, type Unknown } from './sizes.ts'
import type { Trend } from './trend.ts'

export interface DiagnoseRequest {
  readonly missions?: boolean
  readonly artifacts?: boolean
}

/** One look at the machine and the daemon's records, and what to make of it. */
export async function diagnose(
  { missions: counted = true, artifacts = true }: DiagnoseRequest,
  records: RecordPaths,
  settings: Settings,
  ctx: ActionContext,
): Promise<object> {
  const nowMs = Date.now()
  const unknown: Unknown = {}
  const host = await readHost(records.generations, unknown)
  const sizes = await sizesOf(records, settings.entries_max, unknown, ctx.signal)
  ctx.progress(0.3, 'records measured')
  const daemon = await readRuntime(records, settings.samples_max, nowMs)
  const missions = counted
    ? await countMissions(records, ctx.mission?.mission_id, settings.missions_max, ctx.signal)
    : null
  const quarantined = sizes['quarantine']?.files ?? 0
  const findings = findingsOf({ host, daemon, missions, quarantined }, settings)
  const view = { summary: say(findings), findings, host, records: sizes, missions, daemon, unknown }
  if (!artifacts) return { ...view, artifacts: [] }
  ctx.progress(0.9, 'writing the report')
  await ctx.artifact('diagnostics.md', report(view, new Date(nowMs).toISOString()), 'text/markdown')
  await ctx.artifact('diagnostics.json', JSON.stringify(view, null, 1), 'application/json')
  return { ...view, artifacts: ['diagnostics.md', 'diagnostics.json'] }
}

type Sizes = Readonly<Record<string, { files: number; bytes: number; more?: true }>>

/** Each record with its rotated file; folders with all below them. */
async function sizesOf(
  records: RecordPaths,
  entriesMax: number,
  unknown: Unknown,
  signal: AbortSignal,
): Promise<Sizes> {
  const sizes: Record<string, { files: number; bytes: number; more?: true }> = {}
  for (const name of ['journal', 'telemetry', 'runtime_metrics'] as const) {
    const rotated = name === 'telemetry' || name === 'runtime_metrics' ? [`${records[name]}.1`] : []
    const all = await Promise.all([records[name], ...rotated].map((path) => look(path, unknown)))
    const found = all.filter((file) => file !== undefined)
    sizes[name] = { files: found.length, bytes: sumBytes(found) }
  }
  const recorded = await missionFiles(records)
  sizes['missions'] = { files: recorded.length, bytes: sumBytes(recorded) }
  const sealed = await sealedSegments(records.segments)
  sizes['segments'] = { files: sealed.length, bytes: sumBytes(sealed) }
  for (const name of ['generations', 'artifacts', 'quarantine'] as const) {
    const { files, more } = await filesBelow(records[name], entriesMax, unknown, signal)
    sizes[name] = { files: files.length, bytes: sumBytes(files), ...(more && { more }) }
  }
  return sizes
}

function say(findings: readonly Finding[]): string {
  const worst = findings[0]
  if (worst === undefined) return 'Host and daemon are well: nothing stands out.'
  const counts = (['critical', 'warning', 'info'] as const).flatMap((severity) => {
    const count = findings.filter((finding) => finding.severity === severity).length
    return count === 0 ? [] : [`${count} ${severity}`]
  })
  return `${findings.length} finding${findings.length === 1 ? '' : 's'} (${counts.join(', ')}). ${worst.finding}`
}

interface View {
  readonly summary: string
  readonly findings: readonly Finding[]
  readonly host: Awaited<ReturnType<typeof readHost>>
  readonly records: Sizes
  readonly missions: Awaited<ReturnType<typeof countMissions>> | null
  readonly daemon: Awaited<ReturnType<typeof readRuntime>>
  readonly unknown: Unknown
}

function report({ summary, findings, host, records, missions, daemon, unknown }: View, at: string): string {
  const { load, cores, memory, disk } = host
  const { newest } = daemon
  const riddles = Object.entries(unknown)
  const parts = [
    '# Diagnostics',
    `${at} · **${plain(summary)}**`,
    ...(findings.length === 0
      ? []
      : [
          '## Findings',
          findings
            .map(({ severity, finding, remedy }) => `- **${severity}**: ${plain(finding)} ${plain(remedy)}`)
            .join('\n'),
        ]),
    '## Host',
    table(
      ['what', 'value'],
      [
        ['load, 1 / 5 / 15 min', `${load.one} / ${load.five} / ${load.fifteen} on ${cores} cores`],
        ['memory', `${bytes(memory.available_bytes)} of ${bytes(memory.total_bytes)} available`],
        [
          'disk of the data folder',
          disk === null ? 'unknown' : `${bytes(disk.available_bytes)} of ${bytes(disk.total_bytes)} free`,
        ],
        ['up for', hours(host.uptime_seconds / 60)],
      ],
    ),
    '## Daemon',
    table(
      ['what', 'value'],
      [
        ['up for', daemon.uptime_seconds === null ? 'unknown' : hours(daemon.uptime_seconds / 60)],
        [
          'memory',
          newest === null
            ? 'no sample yet'
            : `${bytes(newest.rss_bytes)}, ${trendSays(daemon.rss_trend, bytes)}`,
        ],
        [
          'event loop in use',
          newest === null ? 'no sample yet' : `${share(newest.elu)}, ${trendSays(daemon.elu_trend, share)}`,
        ],
        ['event loop lag', newest === null ? 'no sample yet' : `${newest.loop_lag_ms} ms`],
      ],
    ),
    '## Records',
    table(
      ['record', 'files', 'size'],
      Object.entries(records).map(([name, size]) => [
        name,
        `${size.files}${size.more ? ' and more' : ''}`,
        bytes(size.bytes),
      ]),
    ),
    ...(missions === null
      ? []
      : [
          '## Missions',
          missions.total === 0
            ? 'None yet, beside this one.'
            : table(['status', 'missions'], Object.entries(missions.by_status)),
        ]),
    ...(riddles.length === 0
      ? []
      : ['## Not known', riddles.map(([what, why]) => `- \`${what}\`: ${plain(why)}`).join('\n')]),
  ]
  return `${parts.join('\n\n')}\n`
}

function trendSays(trend: Trend | null, unit: (value: number) => string): string {
  if (trend === null) return 'too few samples for a trend'
  const over = `over the last ${hours(trend.over_minutes)}`
  const change = unit(Math.abs(trend.per_hour) * (trend.over_minutes / 60))
  return trend.direction === 'steady' ? `steady ${over}` : `${trend.direction}: ${change} ${over}`
}

function share(value: number): string {
  return `${(value * 100).toFixed(1)} %`
}
