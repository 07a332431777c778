import { compose } from './compose.ts'
import type { Settings } from './contracts/config.ts'
import { systemChance } from './kit/chance.ts'
import { systemClock } from './kit/clock.ts'
import { StopStack } from './kit/stop-stack.ts'
import { prepareDataFolder } from './storage/data-folder.ts'
import { holdFolder } from './storage/lock.ts'
import { nodeDisk } from './storage/node-disk.ts'
import { foundation, listSegments } from './storage/segments.ts'
import { createLog } from './telemetry/log.ts'

/** What `nexus journal rebuild` found. */
export interface Rebuilt {
  /** The last record of the journal. */
  readonly seq: number
  /** Records that were read from the first one on; what lies before was compacted, and stands in the snapshot. */
  readonly from_seq: number
  readonly missions: number
  /** Missions whose record could not be told again. */
  readonly lost: number
  /** One hash over everything that was derived. */
  readonly digest: string
  /** Whether the files had told the same before. */
  readonly same: boolean
}

/**
 * Derives `missions.jsonl`, the index, `runes.json` and `system_state.json` from the journal, with no daemon running:
 * the rooms are those of the daemon, they fold the same facts, and nothing is judged again.
 *
 * @throws NexusError `DATA_FOLDER_HELD`, and those of opening the journal.
 */
export async function rebuild(
  settings: Settings,
  env: Readonly<Record<string, string | undefined>>,
): Promise<Rebuilt> {
  const paths = await prepareDataFolder(nodeDisk, settings.data_dir)
  const lock = holdFolder(settings.data_dir)
  try {
    const before = await derive(settings, env, false)
    const after = await derive(settings, env, true)
    const base = await foundation(nodeDisk, await listSegments(nodeDisk, paths))
    return { ...after, from_seq: (base?.link.seq ?? 0) + 1, same: before.digest === after.digest }
  } finally {
    lock.release()
  }
}

async function derive(
  settings: Settings,
  env: Readonly<Record<string, string | undefined>>,
  afresh: boolean,
): Promise<Pick<Rebuilt, 'seq' | 'missions' | 'lost' | 'digest'>> {
  const stops = new StopStack()
  const { signal } = new AbortController()
  const failures: unknown[] = []
  let told: Pick<Rebuilt, 'seq' | 'missions' | 'lost' | 'digest'>
  try {
    const { memory, missions } = await compose({
      clock: systemClock,
      chance: systemChance,
      log: createLog({ clock: systemClock, level: 'error' }),
      // Nothing runs, so no host waits for it.
      settings: { ...settings, hosts: { ...settings.hosts, spares: 0 } },
      paths: await prepareDataFolder(nodeDisk, settings.data_dir),
      env,
      cwd: process.cwd(),
      stops,
      safe: true,
      afresh,
      publishedKeyActive: () => false,
      fatal: (error) => failures.push(error),
    })
    const digest = await memory.digest(signal)
    const { missions: count, damaged } = await missions.history.check(signal)
    // Also when nothing seems to have changed: the files themselves are to be new.
    if (afresh) await memory.upkeep.snapshot()
    told = { seq: memory.head, missions: count, lost: damaged.length, digest }
  } finally {
    await stops.stop()
  }
  if (failures.length > 0) throw failures[0]
  return told
}
