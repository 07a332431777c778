import { count, many, percent, round, span } from './format.ts'
import type { History, MissionRecord } from './history.ts'
import { quantile, wilson } from './statistics.ts'

/** Missions that have something in common, counted. */
export interface Group {
  readonly name: string
  readonly finished: number
  readonly completed: number
  readonly rate: number
  readonly low: number
  readonly high: number
  readonly median_ms: number | null
  readonly p90_ms: number | null
}

/** What the daemon's own missions came to. */
export type View = ReturnType<typeof summarise>

/** Counts outcomes, durations, costs and failures. */
export function summarise(
  missions: readonly MissionRecord[],
  history: Pick<History, 'skipped' | 'leftOut' | 'filesLeftOut'>,
) {
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
      ...(history.filesLeftOut > 0
        ? [`Left out: ${many(history.filesLeftOut, 'older file')} of missions, beyond missions_max.`]
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
