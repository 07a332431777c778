import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { SpawnProfile } from './port.ts'

/** What the words in a manifest's paths stand for. */
export type PathWords = Pick<SpawnProfile, 'dataDir' | 'roots' | 'records'>

/** The absolute paths that one entry of `fs_read` or `fs_write` means, without slashes at their ends. */
export function namedPaths(entry: string, { dataDir, roots, records }: PathWords): string[] {
  const named: Record<string, readonly string[]> = {
    $DATA: [dataDir],
    $ROOTS: roots,
    $RECORDS: Object.values(records),
  }
  const paths = named[entry] ?? (entry.startsWith('$DATA/') ? [dataDir + entry.slice(5)] : [entry])
  // A path that is not known would otherwise read as the root of everything.
  return paths.filter((one) => one.startsWith('/')).map((one) => one.replace(/(?<=.)\/+$/, ''))
}

/** A folder with more entries than this is not opened up entry by entry: a command line has its limits. */
const ENTRIES_MAX = 1_000

/**
 * A profile that opens nothing of the daemon's own folder but what has a word of its own, whatever lies around it and
 * whatever the manifest lists.
 */
export function outsideOf<Profile extends PathWords & Pick<SpawnProfile, 'permissions'>>(
  closed: string,
  profile: Profile,
  list: (folder: string) => readonly string[] = listFolder,
): Profile {
  const { permissions, roots } = profile
  const without = (entries: readonly string[]): string[] =>
    entries.flatMap((entry) => (entry.startsWith('$') ? [entry] : withoutFolder([entry], closed, list)))
  const fs_read = without(permissions.fs_read)
  const fs_write = without(permissions.fs_write)
  const usesRoots = fs_read.includes('$ROOTS') || fs_write.includes('$ROOTS')
  return {
    ...profile,
    roots: usesRoots ? withoutFolder(roots, closed, list) : [],
    permissions: { ...permissions, fs_read, fs_write },
  }
}

/**
 * What may be read of some folders when one inside them must stay closed.
 *
 * Node's permissions cannot take a folder out of another, so a folder that holds the closed one is replaced by its
 * other entries. The working directory is such a folder: the data folder with its keys lies in it by default.
 * Entries that appear later are readable for hosts that start later.
 *
 * @param closed - Absolute and real, as are the folders.
 */
export function withoutFolder(
  folders: readonly string[],
  closed: string,
  list: (folder: string) => readonly string[] = listFolder,
): string[] {
  return folders.flatMap((folder) => {
    if (folder === closed || isInside(folder, closed)) return []
    if (!isInside(closed, folder)) return [folder]
    const entries = list(folder).map((name) => join(folder, name))
    return entries.length > ENTRIES_MAX ? [] : withoutFolder(entries, closed, list)
  })
}

function isInside(path: string, folder: string): boolean {
  return path.startsWith(folder.endsWith('/') ? folder : `${folder}/`)
}

function listFolder(folder: string): readonly string[] {
  try {
    return readdirSync(folder).sort()
  } catch {
    return [] // what cannot be listed is not opened
  }
}
