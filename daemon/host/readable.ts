import { readdirSync } from 'node:fs'
import { join } from 'node:path'

/** A folder with more entries than this is not opened up entry by entry: a command line has its limits. */
const ENTRIES_MAX = 1_000

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
