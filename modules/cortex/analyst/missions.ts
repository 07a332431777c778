import type { ActionContext } from 'aeon-nexus/module'
import { cell, count, duration, many, percent, round, span } from './format.ts'
import { type History, type MissionRecord, readCosts, readHistory } from './history.ts'
import type { Settings } from './settings.ts'
import { quantile, wilson } from './statistics.ts'

interface Group {
  readonly name: string
  readonly finished: number
  readonly completed: number
  readonly rate: number
  readonly low: number
  readonly high: number
  readonly median_ms: number | null
  readonly p90_ms: number | null
}

/** Analyses the daemon's own missions: outcomes, durations, costs, failures. The asking mission itself is left out. */
export async function analyseMissions(
  settings: Settings,
  ctx: ActionContext,
  artifacts: boolean,
): Promise<object> {
  if (ctx.records === undefined) throw new Error('the daemon has not given this module its records to read')
  const history = await readHistory(ctx.records.missions, settings.missions_max, ctx.signal)
  ctx.progress(0.5, 'missions read')
  const costs = await readCosts(ctx.records.journal, ctx.signal)
  const missions = history.missions
    .filter(({ id }) => id !== ctx.mission?.mission_id)
    .map((mission) => ({ ...mission, cpuSeconds: mission.cpuSeconds ?? costs.get(mission.id) }))
  const view = summarise(missions, history)
  const { by, slowest: _slowest, ...result } = view
  const answer = { ...result, by_category: by.category, findings: result.findings.slice(0, 6) }
  if (!artifacts) return { ...answer, artifacts: [] }
  await ctx.artifact('findings.md', report(view), 'text/markdown')
  await ctx.artifact('findings.json', JSON.stringify(view, null, 1), 'application/json')
  return { ...answer, artifacts: ['findings.md', 'findings.json'] }
}

type View = ReturnType<typeof summarise>

function summarise(missions: readonly MissionRecord[], history: Pick<History, 'skipped' | 'leftOut'>) {
  const finished = missions.filter(({ status }) => status === 'completed' || status === 'failed')
  const completed = finished.filter(({ status }) => status === 'completed')
  const { low, high } = wilson(completed.length, finished.length)
  const cpu = finished.flatMap(({ cpuSeconds }) => (cpuSeconds === undefined ? [] : [cpuSeconds]))
  const groups = {
    category: groupBy(finished, ({ category }) => [category]),
    decision: groupBy(finished, ({ decision }) => [decision]),
    module: groupBy(finished, ({ modules }) => modules),
  }
  return {
    source: 'the daemon’s own missions',
    summary: say(missions.length, finished.length, completed.length),
    missions: missions.length,
    finished: finished.length,
    completed: completed.length,
    failed: finished.length - completed.length,
    rate: finished.length === 0 ? null : round(completed.length / finished.length),
    interval: finished.length === 0 ? null : [round(low), round(high)],
    by_status: tally(missions.map(({ status }) => status)),
    by: groups,
    durations: durationsOf(finished),
    cpu_seconds:
      cpu.length === 0
        ? null
        : { missions: cpu.length, total: round(sum(cpu)), mean: round(sum(cpu) / cpu.length) },
    slowest: [...finished]
      .sort((a, b) => (b.durationMs ?? -1) - (a.durationMs ?? -1))
      .slice(0, 5)
      .map(({ id, goal, durationMs }) => ({ mission_id: id, goal, duration_ms: durationMs ?? null })),
    failures: tally(
      finished.flatMap(({ status, errorCode }) => (status === 'failed' ? [errorCode ?? 'unknown'] : [])),
    ),
    findings: findings(groups, finished.length, completed.length),
    notes: [
      ...(history.skipped > 0
        ? [`Left out: ${many(history.skipped, 'line')} of the records that could not be read.`]
        : []),
      ...(history.leftOut > 0
        ? [`Left out: ${many(history.leftOut, 'older mission')}, beyond missions_max.`]
        : []),
    ],
  }
}

function say(all: number, finished: number, completed: number): string {
  if (all === 0) return 'No missions have finished yet: there is nothing to learn from; this is the first.'
  if (finished === 0)
    return `No missions have finished yet; ${count(all)} are recorded, none of them ran to its end.`
  const { low, high } = wilson(completed, finished)
  return (
    `${count(completed)} of ${count(finished)} finished missions succeeded: ${percent(completed / finished)} ` +
    `(95 % interval ${span(low, high)}); ${count(all)} are recorded.`
  )
}

/** Groups whose interval leaves the overall rate out; no more is claimed. */
function findings(
  groups: Readonly<Record<string, readonly Group[]>>,
  finished: number,
  completed: number,
): string[] {
  const overall = completed / finished
  return Object.entries(groups).flatMap(([kind, members]) =>
    members
      .filter((group) => group.finished < finished && (group.low > overall || group.high < overall))
      .map(
        ({ name, rate, low, high, completed: good, finished: all }) =>
          `${kind} ${name}: ${percent(rate)} succeed (${count(good)} of ${count(all)}; 95 % interval ` +
          `${span(low, high)}), where all together have ${percent(overall)}.`,
      ),
  )
}

function groupBy(
  missions: readonly MissionRecord[],
  keys: (mission: MissionRecord) => readonly string[],
): Group[] {
  const members = new Map<string, MissionRecord[]>()
  for (const mission of missions) {
    for (const key of keys(mission)) {
      const group = members.get(key)
      if (group === undefined) members.set(key, [mission])
      else group.push(mission)
    }
  }
  return [...members]
    .map(([name, group]) => {
      const good = group.filter(({ status }) => status === 'completed').length
      const { low, high } = wilson(good, group.length)
      const { median_ms, p90_ms } = durationsOf(group)
      return {
        name,
        finished: group.length,
        completed: good,
        rate: round(good / group.length),
        low: round(low),
        high: round(high),
        median_ms,
        p90_ms,
      }
    })
    .sort((a, b) => b.finished - a.finished || (a.name < b.name ? -1 : 1))
    .slice(0, 12)
}

function durationsOf(missions: readonly MissionRecord[]): {
  median_ms: number | null
  p90_ms: number | null
} {
  const sorted = missions
    .flatMap(({ durationMs }) => (durationMs === undefined ? [] : [durationMs]))
    .sort((a, b) => a - b)
  if (sorted.length === 0) return { median_ms: null, p90_ms: null }
  return { median_ms: round(quantile(sorted, 0.5)), p90_ms: round(quantile(sorted, 0.9)) }
}

function tally(names: readonly string[]): Record<string, number> {
  const times = new Map<string, number>()
  for (const name of names) times.set(name, (times.get(name) ?? 0) + 1)
  return Object.fromEntries([...times].sort((a, b) => b[1] - a[1]).slice(0, 12))
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}

function report(view: View): string {
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
