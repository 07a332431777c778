import { realpath } from 'node:fs/promises'
import type { Settings } from './contracts/config.ts'
import type { RecordPaths } from './contracts/module.ts'
import type { Chance } from './kit/chance.ts'
import type { Clock } from './kit/clock.ts'
import type { StopStack } from './kit/stop-stack.ts'
import type { DataPaths } from './storage/data-folder.ts'
import { LossyLog } from './storage/lossy-log.ts'
import { nodeDisk } from './storage/node-disk.ts'
import type { RootLog } from './telemetry/log.ts'
import { TelemetryRecorder } from './telemetry/recorder.ts'
import { processSampler } from './telemetry/sample.ts'

/** What every room stands on. */
export interface Ground {
  readonly clock: Clock
  readonly chance: Chance
  readonly log: RootLog
  readonly settings: Settings
  readonly paths: DataPaths
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  readonly stops: StopStack
  /** No module is started but by hand. */
  readonly safe: boolean
  /** Whatever can be derived from the journal is derived again, though a snapshot is there. */
  readonly afresh?: boolean
  publishedKeyActive(): boolean
  /** Something must not go on: the daemon ends with this failure. */
  fatal(error: unknown): void
}

/** `$ROOTS`: the working directory and what the operator allows besides. */
export async function rootsOf({ cwd, settings, log }: Ground): Promise<string[]> {
  const found = await Promise.all(
    [cwd, ...settings.allow_read].map((dir) =>
      realpath(dir).catch(() => {
        log.warn(`modules may read ${dir}, but it is not there`)
        return undefined
      }),
    ),
  )
  return [...new Set(found.filter((dir) => dir !== undefined))]
}

/** `$RECORDS`: what the daemon writes that modules may read; no keys, no tokens. */
export function recordPaths(paths: DataPaths): RecordPaths {
  const { missions, journal, segments, telemetry, generations, artifacts, quarantine } = paths
  const { missionSegments: mission_segments, runtimeMetrics: runtime_metrics } = paths
  const samples = { telemetry, runtime_metrics }
  return { missions, mission_segments, journal, segments, ...samples, generations, artifacts, quarantine }
}

/** The two files of samples; closed with the daemon. */
export function openTelemetry(
  { clock, paths, stops }: Ground,
  lostLines: (count: number) => void,
): TelemetryRecorder {
  const telemetry = new LossyLog({ disk: nodeDisk, path: paths.telemetry })
  const runtimeMetrics = new LossyLog({ disk: nodeDisk, path: paths.runtimeMetrics })
  stops.push('telemetry', async () => {
    await telemetry.close()
    await runtimeMetrics.close()
  })
  return new TelemetryRecorder({
    clock,
    telemetry,
    runtimeMetrics,
    sample: processSampler(),
    lostLines,
  })
}
