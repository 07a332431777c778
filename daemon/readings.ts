import { readdir, readFile, statfs } from 'node:fs/promises'
import { totalmem } from 'node:os'
import type { Reading } from './insight/port.ts'
import type { Missions } from './missions/missions.ts'
import type { Supervisor } from './supervisor/supervisor.ts'

export interface ReadingParts {
  readonly supervisor: Supervisor
  readonly missions: Missions
  readonly queueMax: number
  /** The disk that is looked at. */
  readonly dataDir: string
}

/**
 * What is used of what may run out: the memory of the daemon and of each module, the queue, and, each sixth time, the
 * disk and the open descriptors. Nothing is measured that a heartbeat has not said or the kernel does not know.
 */
export function resourceReadings({ supervisor, missions, queueMax, dataDir }: ReadingParts) {
  let round = 0
  return async (rssBytes: number): Promise<Reading[]> => {
    const slow = round % SLOW_EVERY === 0 ? await slowReadings(dataDir) : []
    round += 1
    const queued = Object.values(missions.counters().depth).reduce((sum, depth) => sum + depth, 0)
    return [
      { resource: 'memory', used: rssBytes, limit: memoryLimit() },
      { resource: 'queue', used: queued, limit: queueMax },
      ...slow,
      ...moduleReadings(supervisor),
    ]
  }
}

/** What a control group allows, where it says less than the machine has; without one it says 0, or something absurd. */
function memoryLimit(): number {
  return Math.min(process.constrainedMemory() || Number.POSITIVE_INFINITY, totalmem())
}

/** The largest instance of each module: it is the one that would be ended. */
function moduleReadings(supervisor: Supervisor): Reading[] {
  return supervisor.units.flatMap(({ id, manifest, replicas }) => {
    const sizes = replicas.map(({ instance }) => instance?.stats.heartbeat?.rss_bytes ?? 0)
    const used = Math.max(0, ...sizes)
    if (manifest === undefined || used === 0) return []
    return [{ moduleId: id, resource: 'memory' as const, used, limit: manifest.limits.memory_mb * MB_BYTES }]
  })
}

/** Empty where the system does not say. */
async function slowReadings(dataDir: string): Promise<Reading[]> {
  const [disk, descriptors] = await Promise.allSettled([diskReading(dataDir), descriptorReading()])
  return [disk, descriptors].flatMap((read) => (read.status === 'fulfilled' ? read.value : []))
}

async function diskReading(dataDir: string): Promise<Reading[]> {
  const { blocks, bavail, bfree, bsize } = await statfs(dataDir)
  // What only root may use counts as used, by both.
  const limit = (blocks - bfree + bavail) * bsize
  return [{ resource: 'disk', used: (blocks - bfree) * bsize, limit }]
}

async function descriptorReading(): Promise<Reading[]> {
  const [open, limits] = await Promise.all([readdir('/proc/self/fd'), readFile('/proc/self/limits', 'utf8')])
  const limit = Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1])
  return Number.isFinite(limit) ? [{ resource: 'descriptors', used: open.length, limit }] : []
}

const MB_BYTES = 1_048_576
/** Once a minute: these cost a call of the kernel, and change slowly. */
const SLOW_EVERY = 6
