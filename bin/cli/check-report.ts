/** What `nexus check` tells. These keys exactly. */
export interface CheckReport {
  readonly status: 'ok' | 'warning' | 'failed'
  readonly wall_ms: number
  readonly mission: { readonly created: object | null; readonly ran: object | null }
  readonly last_runtime_metric: object | null
  readonly last_telemetry: object | null
  readonly busy_loops_detected: readonly BusyLoop[]
  readonly issues: readonly CheckIssue[]
  readonly next_steps: readonly string[]
}

type CheckIssue = keyof typeof NEXT_STEPS

/** A loop that does not rest, and what was seen of it. */
export interface BusyLoop {
  readonly where: string
  readonly seen: string
}

/** What was found, before it is judged. */
export interface CheckFindings {
  readonly wallMs: number
  readonly created: object | null
  readonly ran: object | null
  readonly missionEndedWell: boolean
  readonly lastRuntimeMetric: object | null
  readonly lastTelemetry: object | null
  readonly busyLoops: readonly BusyLoop[]
  /** Why something is missing, where that is known. */
  readonly notes: readonly string[]
}

/** What to do about each issue, as the specification's troubleshooting has it. */
const NEXT_STEPS = {
  mission_run_failed:
    'ensure the operator key is valid and the runtime is fully initialized: `nexus status`, `nexus missions list`',
  missing_runtime_metrics:
    'start the daemon once and run a mission to emit metrics; look at runtime_metrics.jsonl',
  missing_telemetry:
    'verify that telemetry.jsonl in the data folder is writable, and that this is the folder of the daemon',
  busy_loops_detected:
    'review polling loops and add sleep or backoff: `nexus modules`, `nexus status <module>`',
} as const

/** Judges what was found: a mission that did not end well is a failure, everything else a warning. */
export function judgeCheck(findings: CheckFindings): CheckReport {
  const present: Readonly<Record<CheckIssue, boolean>> = {
    mission_run_failed: !findings.missionEndedWell,
    missing_runtime_metrics: findings.lastRuntimeMetric === null,
    missing_telemetry: findings.lastTelemetry === null,
    busy_loops_detected: findings.busyLoops.length > 0,
  }
  const issues = (Object.keys(present) as CheckIssue[]).filter((issue) => present[issue])
  return {
    status: present.mission_run_failed ? 'failed' : issues.length > 0 ? 'warning' : 'ok',
    wall_ms: Math.round(findings.wallMs * 100) / 100,
    mission: { created: findings.created, ran: findings.ran },
    last_runtime_metric: findings.lastRuntimeMetric,
    last_telemetry: findings.lastTelemetry,
    busy_loops_detected: findings.busyLoops,
    issues,
    next_steps: [
      ...issues.map((issue) => `${issue}: ${NEXT_STEPS[issue]}`),
      ...(issues.length > 0 ? findings.notes : []),
    ],
  }
}

/** For people, in the specification's order. */
export function checkText(report: CheckReport): string {
  const busy = report.busy_loops_detected.map(({ where, seen }) => `${where} (${seen})`)
  const lines = [
    '=== RUNTIME CHECK ===',
    `status: ${report.status}`,
    `wall_ms: ${report.wall_ms.toFixed(2)}`,
    `mission create/run: ${JSON.stringify(report.mission)}`,
    `last_runtime_metric: ${JSON.stringify(report.last_runtime_metric)}`,
    `last_telemetry: ${JSON.stringify(report.last_telemetry)}`,
    `busy_loops_detected: ${busy.join(', ') || 'none'}`,
  ]
  if (report.issues.length > 0) lines.push(`issues: ${report.issues.join(', ')}`)
  if (report.next_steps.length > 0)
    lines.push('next_steps:', ...report.next_steps.map((step) => `  - ${step}`))
  return `${lines.join('\n')}\n`
}

/** What was seen of the instances at one moment. */
export interface ModulesLook {
  readonly instances?: readonly { readonly instance: string; readonly restless_ms: number }[]
}

/** Shorter than this is a start, a collection of garbage, a burst. */
const RESTLESS_MS = 1_000

/** Instances that have not rested for a while, with nothing to do, and of which the daemon has not told yet. */
export function findSuspects(modules: readonly ModulesLook[], told: readonly BusyLoop[]): string[] {
  const named = new Set(told.flatMap(({ where }) => where.split(' or ')))
  return modules
    .flatMap(({ instances = [] }) => instances)
    .filter(({ instance, restless_ms: ms }) => ms >= RESTLESS_MS && !named.has(instance))
    .map(({ instance }) => instance)
}
