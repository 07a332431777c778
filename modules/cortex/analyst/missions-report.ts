import { cell, count, duration, many, percent, span } from './format.ts'
import type { Group, View } from './missions-summary.ts'

/** `findings.md` of the daemon's own missions. */
export function missionsReport(view: View): string {
  const table = (kind: string, groups: readonly Group[]): string[] => [
    `## By ${kind}`,
    [
      `| ${kind} | finished | succeeded | rate | 95 % interval | median | P90 |`,
      '|---|--:|--:|--:|--:|--:|--:|',
      ...groups.map(
        (group) =>
          `| ${cell(group.name)} | ${count(group.finished)} | ${count(group.completed)} | ${percent(group.rate)} | ` +
          `${span(group.low, group.high)} | ${ms(group.median_ms)} | ${ms(group.p90_ms)} |`,
      ),
    ].join('\n'),
  ]
  const some = view.finished > 0
  const parts = [
    '# The daemon’s own missions',
    `**${view.summary}**`,
    ...lines(view.notes),
    ...(view.missions === 0 ? [] : ['## By status', ...lines(entries(view.by_status))]),
    ...(some
      ? [
          '## What stands out',
          ...(view.findings.length > 0
            ? lines(view.findings)
            : ['No group differs from all others for sure.']),
        ]
      : []),
    ...(some ? Object.entries(view.by).flatMap(([kind, groups]) => table(kind, groups)) : []),
    ...(some
      ? [
          '## Time and cost',
          ...lines([
            `Half of the missions took ${ms(view.durations.median_ms)} or less, nine in ten ${ms(view.durations.p90_ms)} or less.`,
            cpuLine(view),
          ]),
        ]
      : []),
    ...(some
      ? [
          'Slowest:',
          ...lines(
            view.slowest.map(
              ({ mission_id, goal, duration_ms }) => `${ms(duration_ms)}: ${cell(goal)} (\`${mission_id}\`)`,
            ),
          ),
        ]
      : []),
    ...(view.failed > 0 ? ['## Failures', ...lines(entries(view.failures))] : []),
    some
      ? 'Rates carry Wilson’s 95 % interval; a group is named when its interval leaves the overall rate out.'
      : '',
  ]
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`
}

function cpuLine({ cpu_seconds: cpu }: View): string {
  if (cpu === null) return 'No CPU time is recorded for these missions.'
  return `${cpu.total.toFixed(2)} s of CPU over ${many(cpu.missions, 'mission')}, ${cpu.mean.toFixed(3)} s each.`
}

function lines(items: readonly string[]): string[] {
  return items.length === 0 ? [] : [items.map((item) => `- ${item}`).join('\n')]
}

function entries(times: Readonly<Record<string, number>>): string[] {
  return Object.entries(times).map(([name, n]) => `${cell(name)}: ${count(n)}`)
}

function ms(value: number | null): string {
  return value === null ? '–' : duration(value)
}
