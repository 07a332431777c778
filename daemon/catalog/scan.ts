import { lstat, opendir, realpath, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { MODULE_ID_PATTERN, type ModuleId, SEGMENT_PATTERN } from '../contracts/ids.ts'
import { codeOf } from '../storage/disk.ts'
import { isPassing } from './editor-files.ts'
import { isGroup } from './ignored.ts'
import { invalidEntry, MANIFEST_NAME, type ManifestRules, readManifest } from './manifest.ts'
import { mapSome } from './map-some.ts'
import type { CatalogEntry } from './port.ts'

/** What is looked at of one folder: more names than this are no list of modules but an accident. */
const NAMES_MAX = 10_000
/** As many looks at once as libuv has threads for, twice. */
const LOOKS_AT_ONCE = 8

export interface ScanRules extends ManifestRules {
  /** Absolute; the first that holds a module wins. */
  readonly dirs: readonly string[]
  /** Names looked at in one folder. */
  readonly namesMax?: number
  /** The daemon's own folder, which is no group of modules wherever it lies. Real path. */
  readonly closedDir?: string
}

/** Looks at every `<dir>/<group>/<name>/`. One broken module never hides another. */
export async function scanModules(rules: ScanRules): Promise<CatalogEntry[]> {
  const places: Place[] = []
  for (const dir of rules.dirs) places.push(...(await placesIn(dir, rules)))
  const first = new Map<ModuleId, Place>()
  for (const place of places) if (!first.has(place.moduleId)) first.set(place.moduleId, place)

  const judge = async (place: Place): Promise<CatalogEntry> => {
    const winner = first.get(place.moduleId)
    if (place.fault !== undefined) return invalidPlace(place, place.fault)
    if (winner !== place && winner !== undefined) {
      return invalidPlace(
        place,
        `is there twice; the one in ${winner.folder} counts, rename or remove this one`,
      )
    }
    return readManifest(place.moduleId, place.folder, rules)
  }
  const entries = await mapSome(places, LOOKS_AT_ONCE, judge)
  // Stable: the second place of an id stays behind the first.
  return entries.sort((a, b) => (a.moduleId < b.moduleId ? -1 : a.moduleId > b.moduleId ? 1 : 0))
}

/** A fresh look at one module; undefined when none of the folders holds it. */
export async function lookAt(moduleId: ModuleId, rules: ScanRules): Promise<CatalogEntry | undefined> {
  if (!ID.test(moduleId)) return undefined
  for (const dir of rules.dirs) {
    const folder = join(dir, moduleId)
    if (await holdsModule(folder)) return readManifest(moduleId, folder, rules)
  }
  return undefined
}

interface Place {
  readonly moduleId: ModuleId
  readonly folder: string
  /** What is wrong with its name. */
  readonly fault?: string
}

const ID = new RegExp(MODULE_ID_PATTERN)
const SEGMENT = new RegExp(`^${SEGMENT_PATTERN}$`)
const NAME_RULE = 'small letters a-z, digits and -, at most 63 of them, not starting with -'

async function placesIn(dir: string, rules: ScanRules): Promise<Place[]> {
  const places: Place[] = []
  for (const group of await foldersIn(dir, rules)) {
    if (await isElsewhere(join(dir, group), rules)) continue
    for (const name of await foldersIn(join(dir, group), rules)) {
      const folder = join(dir, group, name)
      if (!(await holdsModule(folder))) continue
      const wrong = [group, name].find((segment) => !SEGMENT.test(segment))
      const moduleId = `${plain(group)}/${plain(name)}`
      places.push(
        wrong === undefined
          ? { moduleId, folder }
          : { moduleId, folder, fault: `has the name ${plain(wrong)}; rename it: ${NAME_RULE}` },
      )
    }
  }
  return places
}

/** Names of folders (or links to folders) inside one, sorted; those that begin with a dot are not for us. */
async function foldersIn(dir: string, rules: ScanRules): Promise<string[]> {
  const names: string[] = []
  const namesMax = rules.namesMax ?? NAMES_MAX
  try {
    let seen = 0
    for await (const entry of await opendir(dir, { bufferSize: 512 })) {
      seen += 1
      if (seen > namesMax) {
        rules.warn('a modules folder has too many entries; the rest is not looked at', {
          dir,
          limit: String(namesMax),
        })
        break
      }
      if (entry.name.startsWith('.') || entry.name === 'node_modules' || isPassing(entry.name)) continue
      if (entry.isDirectory() || (entry.isSymbolicLink() && (await isFolder(join(dir, entry.name))))) {
        names.push(entry.name)
      }
    }
  } catch (error) {
    const code = codeOf(error)
    if (code === '') throw error
    rules.warn(`a modules folder cannot be read (${code})`, { dir })
  }
  return names.sort()
}

/** Whether a name in a folder with modules leads to something quite different: the root, or the daemon's own data. */
async function isElsewhere(folder: string, { closedDir, warn }: ScanRules): Promise<boolean> {
  try {
    if ((await realpath(folder)) === closedDir) return true
    if (!(await lstat(folder)).isSymbolicLink() || isGroup(folder)) return false
    warn('a link to a folder without modules is not followed', { folder })
    return true
  } catch (error) {
    // Gone, or not readable: whoever lists it next says so.
    if (codeOf(error) === '') throw error
    return false
  }
}

/** Whether anything is in it: an empty folder is what `mkdir` leaves a moment before the files come. */
async function holdsModule(folder: string): Promise<boolean> {
  try {
    const dir = await opendir(await realpath(folder))
    try {
      return (await dir.read()) !== null
    } finally {
      await dir.close()
    }
  } catch (error) {
    // Not readable is something to tell, so it counts; gone, or no folder, does not.
    return codeOf(error) === 'EACCES'
  }
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory()
  } catch (error) {
    if (codeOf(error) === '') throw error
    return false
  }
}

function invalidPlace(place: Place, detail: string): CatalogEntry {
  const file = resolve(place.folder, MANIFEST_NAME)
  return invalidEntry(place.moduleId, place.folder, file, [{ pointer: '', detail }])
}

/** A name as it may stand in a log: what cannot be seen, or is not ASCII, in its code points. */
function plain(name: string): string {
  return name.replace(/[^ -~]/gu, (sign) => `\\u{${sign.codePointAt(0)?.toString(16)}}`).slice(0, 255)
}
