import { dirname } from 'node:path'
import type { SpawnProfile } from './port.ts'

/** Shared modules of one group live together. */
export function groupOf(moduleId: string): string {
  return moduleId.slice(0, moduleId.indexOf('/'))
}

/**
 * What a shared host is started with, for the sake of one of those who are to live in it. It must be the same for
 * others of their group, so nothing in it may be this module's own:
 *
 * - `$DATA` opens the data folders of the whole group, for each of them.
 * - Memory and open files are limited for the host as a whole: it may use as much as `SHARES` of its modules.
 */
export function sharedProfile<Profile extends SpawnProfile>(profile: Profile): Profile {
  const { permissions, limits, dataDir } = profile
  const widened = (paths: readonly string[]): string[] => [
    ...new Set(paths.map((path) => (path.startsWith('$DATA/') ? '$DATA' : path))),
  ]
  return {
    ...profile,
    dataDir: dirname(dataDir),
    permissions: {
      ...permissions,
      fs_read: widened(permissions.fs_read),
      fs_write: widened(permissions.fs_write),
    },
    limits: {
      ...limits,
      memory_mb: limits.memory_mb * SHARES,
      open_files: Math.min(OPEN_FILES_MAX, limits.open_files * SHARES),
    },
  }
}

/** So many fit into a host of these limits; those that need more should not share. */
export function seatsIn(limits: Pick<SpawnProfile['limits'], 'memory_mb'>): number {
  return Math.max(1, Math.floor(limits.memory_mb / SEAT_MB))
}

/**
 * Limits are there to catch what went wrong, and little goes wrong in eight modules at once. With the default of
 * 256 MB a host may use two gigabytes, and a thousand find room in it.
 */
const SHARES = 8
const SEAT_MB = 2
/** As much as the kernel allows by default. */
const OPEN_FILES_MAX = 1_048_576
