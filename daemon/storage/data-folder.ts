import { join } from 'node:path'

/** Where everything lies under one data folder. */
export interface DataPaths {
  readonly root: string
  readonly operatorKey: string
  readonly journal: string
  readonly segments: string
  readonly missions: string
  readonly telemetry: string
  readonly runtimeMetrics: string
  readonly runes: string
  readonly systemState: string
  readonly generations: string
  readonly artifacts: string
  readonly quarantine: string
  readonly run: string
  readonly watermark: string
  readonly lock: string
  readonly pid: string
  readonly socket: string
  readonly localToken: string
}

/** The layout of a data folder. */
export function dataPaths(root: string): DataPaths {
  const run = join(root, 'run')
  return {
    root,
    operatorKey: join(root, 'operator_pin.txt'),
    journal: join(root, 'audit.jsonl'),
    segments: join(root, 'audit'),
    missions: join(root, 'missions.jsonl'),
    telemetry: join(root, 'telemetry.jsonl'),
    runtimeMetrics: join(root, 'runtime_metrics.jsonl'),
    runes: join(root, 'runes.json'),
    systemState: join(root, 'system_state.json'),
    generations: join(root, 'generations'),
    artifacts: join(root, 'artifacts'),
    quarantine: join(root, 'quarantine'),
    run,
    watermark: join(run, 'journal.wm'),
    lock: join(run, 'lock.db'),
    pid: join(run, 'pid'),
    socket: join(run, 'nexus.sock'),
    localToken: join(run, 'local.token'),
  }
}
