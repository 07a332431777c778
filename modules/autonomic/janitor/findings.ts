import { bytes, hours } from './format.ts'
import type { Host } from './host.ts'
import type { MissionCounts } from './missions.ts'
import type { Runtime } from './runtime.ts'
import type { Settings } from './settings.ts'

export interface Finding {
  readonly severity: 'critical' | 'warning' | 'info'
  readonly finding: string
  readonly remedy: string
}

export interface Observed {
  readonly host: Host
  readonly daemon: Runtime
  readonly missions: MissionCounts | null
  readonly quarantined: number
}

/** Work waits for a core when the load is above this for each. */
const LOAD_PER_CORE_MAX = 2
const MEMORY_USED_MAX = 90
/** Beyond this share, percent of either is an emergency. */
const CRITICAL_PERCENT = 97
/** Samples come every ten seconds. */
const SAMPLE_AGE_MAX_S = 60
const ELU_MAX = 0.8
const LAG_MS_MAX = 200
/** A leak is a line, not a bump: this well explained, this long, this steep for an hour. */
const LEAK = { r2: 0.7, minutes: 10, share: 0.1 }

/** What an operator should know, worst first; each with what to do about it. Pure. */
export function findingsOf({ host, daemon, missions, quarantined }: Observed, settings: Settings): Finding[] {
  const found = [
    ...diskFindings(host, settings.disk_used_percent),
    ...hostFindings(host),
    ...runtimeFindings(daemon),
    ...(missions === null ? [] : missionFindings(missions)),
  ]
  if (quarantined > 0) {
    found.push({
      severity: 'warning',
      finding: `${many(quarantined, 'torn end')} of records ${quarantined === 1 ? 'lies' : 'lie'} in quarantine: the daemon was cut while it wrote.`,
      remedy:
        'See that nobody kills the daemon with SIGKILL and that the machine shuts down in order; then look at what `prunable` lists.',
    })
  }
  const order = ['critical', 'warning', 'info']
  return found.sort((a, b) => order.indexOf(a.severity) - order.indexOf(b.severity))
}

function diskFindings({ disk }: Host, usedMax: number): Finding[] {
  if (disk === null || disk.used_percent < usedMax) return []
  return [
    {
      severity: disk.used_percent >= CRITICAL_PERCENT ? 'critical' : 'warning',
      finding: `The disk of the data folder is ${disk.used_percent} % full; ${bytes(disk.available_bytes)} are left. A full disk stops every mission.`,
      remedy: 'Make room: the action `prunable` lists what the daemon no longer needs.',
    },
  ]
}

function hostFindings({ load, cores, memory }: Host): Finding[] {
  const found: Finding[] = []
  if (memory.used_percent >= MEMORY_USED_MAX) {
    found.push({
      severity: memory.used_percent >= CRITICAL_PERCENT ? 'critical' : 'warning',
      finding: `${memory.used_percent} % of memory are in use; ${bytes(memory.available_bytes)} are left.`,
      remedy: 'See which program holds it; lower `limits.memory_mb` or `replicas` of modules.',
    })
  }
  if (load.five / cores > LOAD_PER_CORE_MAX) {
    found.push({
      severity: 'warning',
      finding: `The load of the last five minutes is ${load.five} on ${many(cores, 'core')}: work waits for a CPU.`,
      remedy: 'See which program uses them; lower `missions.concurrency` if it is the missions.',
    })
  }
  return found
}

function runtimeFindings({ newest, elu_minute: elu, rss_trend: rss, troubles }: Runtime): Finding[] {
  const found: Finding[] = []
  if (newest === null || newest.age_seconds > SAMPLE_AGE_MAX_S) {
    found.push({
      severity: newest === null ? 'info' : 'warning',
      finding:
        newest === null
          ? 'The daemon has written no runtime sample since it started.'
          : `The newest runtime sample is ${newest.age_seconds} s old; one is due every 10 s.`,
      remedy:
        'Right after a start the first one comes within seconds; else see in the log whether runtime_metrics.jsonl can be written.',
    })
  }
  if (elu !== null && elu > ELU_MAX) {
    found.push({
      severity: 'warning',
      finding: `The daemon's event loop was busy for ${Math.round(elu * 100)} % of the last minute.`,
      remedy:
        'Fewer missions at once (`missions.concurrency`), or fewer requests; `nexus top` shows who asks.',
    })
  }
  if (newest !== null && newest.loop_lag_ms > LAG_MS_MAX) {
    found.push({
      severity: 'warning',
      finding: `The daemon answered up to ${Math.round(newest.loop_lag_ms)} ms late in its last sample.`,
      remedy: 'See whether the machine is overloaded: the load and the event loop above tell.',
    })
  }
  if (rss !== null && rss.direction === 'rising' && newest !== null) {
    const steep = rss.per_hour / newest.rss_bytes >= LEAK.share
    const leak = steep && rss.r2 >= LEAK.r2 && rss.over_minutes >= LEAK.minutes
    found.push({
      severity: leak ? 'warning' : 'info',
      finding: `The daemon's memory rises by ${bytes(rss.per_hour)} an hour (last ${hours(rss.over_minutes)}, r² ${rss.r2}); it holds ${bytes(newest.rss_bytes)}.`,
      remedy:
        'After a start it levels off within the hour; if it does not, restart the daemon in a quiet hour and report it.',
    })
  }
  for (const [module, times] of Object.entries(troubles)) {
    found.push({
      severity: 'warning',
      finding: `${module} crashed, hung or was rolled back ${many(times, 'time')} in the last hour.`,
      remedy: `\`nexus explain ${module}\` and \`nexus logs ${module}\` tell why.`,
    })
  }
  return found
}

function missionFindings({
  by_status: by,
  unreadable_lines: unreadable,
  failures,
}: MissionCounts): Finding[] {
  const found: Finding[] = []
  const { interrupted = 0, awaiting_approval: waiting = 0, failed = 0, completed = 0 } = by
  if (interrupted > 0) {
    found.push({
      severity: 'warning',
      finding: `${many(interrupted, 'mission')} ${interrupted === 1 ? 'is' : 'are'} interrupted: whether a step did its work is not known.`,
      remedy:
        'Look at each, then `nexus missions run <id>` with the key to retry or skip the step, or cancel it.',
    })
  }
  if (waiting > 0) {
    found.push({
      severity: 'info',
      finding: `${many(waiting, 'mission')} ${waiting === 1 ? 'waits' : 'wait'} for an operator's approval.`,
      remedy: '`nexus missions list --status awaiting_approval`, then approve or reject.',
    })
  }
  if (failed > 0) {
    const codes = Object.entries(failures).map(([code, times]) => `${code} ${times}`)
    found.push({
      severity: failed > completed ? 'warning' : 'info',
      finding: `${failed} of ${failed + completed} finished missions failed (${codes.join(', ')}).`,
      remedy: '`nexus missions list --status failed` shows them; the analyst finds what they have in common.',
    })
  }
  if (unreadable > 0) {
    found.push({
      severity: 'warning',
      finding: `${many(unreadable, 'line')} of missions.jsonl cannot be read.`,
      remedy: 'It is derived from the journal: verify that, then rebuild it.',
    })
  }
  return found
}

function many(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}
