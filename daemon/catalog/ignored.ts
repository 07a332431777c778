import { opendirSync, realpathSync, type Stats, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import { codeOf } from '../storage/disk.ts'
import { isUnwatched } from './editor-files.ts'
import { MANIFEST_NAME } from './manifest.ts'
import { isInside } from './safe-file.ts'

/**
 * What of a folder with modules is not watched: passing files, dependencies, hidden folders above the modules, and
 * links by which a watcher would wander through the whole machine. A module folder may be a link to a module, a group
 * one to a folder with modules; inside a module links must stay inside. Nor is a folder with more names than any
 * module may have: the watcher would keep a record of each.
 *
 * @param stats - Of the name itself, not of what it leads to. Asked without them too: then names alone decide.
 */
export function isIgnored(dir: string, path: string, stats?: Stats): boolean {
  const segments = relative(dir, path).split('/')
  if (path === dir || segments[0] === '..') return false
  const name = segments.at(-1) ?? ''
  if (isUnwatched(name) || (segments.length <= 2 && name.startsWith('.'))) return true
  if (stats === undefined) return false
  try {
    if (stats.isDirectory())
      return stats.size > LARGE_BYTES && namesIn(path, NAMES_MAX + 1).length > NAMES_MAX
    if (!stats.isSymbolicLink()) return false
    const real = realpathSync(path)
    if (segments.length === 1) return !isGroup(path)
    if (segments.length === 2) return !isInside(realpathSync(dir), real) && !hasManifest(path)
    return !isInside(realpathSync(join(dir, ...segments.slice(0, 2))), real)
  } catch (error) {
    // Gone, or a link to nowhere: that it went is worth hearing.
    if (codeOf(error) === '') throw error
    return false
  }
}

/** A folder with modules, or an empty one. A link to `/` or `/usr` is a slip, and watching it costs thousands of handles. */
export function isGroup(folder: string): boolean {
  const names = namesIn(folder, LOOKS_MAX)
  return names.length === 0 || names.some((name) => hasManifest(join(folder, name)))
}

function namesIn(folder: string, namesMax: number): string[] {
  const names: string[] = []
  const dir = opendirSync(folder, { bufferSize: 256 })
  try {
    for (let entry = dir.readSync(); entry !== null && names.length < namesMax; entry = dir.readSync()) {
      names.push(entry.name)
    }
  } finally {
    dir.closeSync()
  }
  return names
}

const LOOKS_MAX = 1_000
/** Such a module is refused anyway. */
const NAMES_MAX = 10_000
/** So much room ten thousand names take in any file system: smaller folders need not be counted. */
const LARGE_BYTES = 65_536

function hasManifest(folder: string): boolean {
  return statSync(join(folder, MANIFEST_NAME), { throwIfNoEntry: false })?.isFile() === true
}
