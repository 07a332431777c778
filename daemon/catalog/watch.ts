import { lstatSync, realpathSync, statSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { type FSWatcher, watch } from 'chokidar'
import { MODULE_ID_PATTERN, type ModuleId } from '../contracts/ids.ts'
import type { Clock } from '../kit/clock.ts'
import { codeOf } from '../storage/disk.ts'
import { isUnwatched } from './editor-files.ts'
import { MANIFEST_NAME } from './manifest.ts'
import { Quiet } from './quiet.ts'
import { isInside } from './safe-file.ts'
import { folderStamp } from './stamp.ts'

/** Group, name, and eight folders of the module's own: each watched folder costs the system a handle. */
const DEPTH_MAX = 10

export interface WatchOptions {
  /** Absolute. */
  readonly dirs: readonly string[]
  readonly clock: Clock
  readonly quietMs: number
  warn(message: string, facts: Readonly<Record<string, string>>): void
}

export interface WatchListener {
  touched(moduleId: ModuleId): void
  settled(moduleId: ModuleId): void
}

/**
 * Watches folders of modules and tells which module was touched, and when it has come to rest.
 *
 * Once this resolves nothing escapes it. To miss nothing, watch first and scan then.
 *
 * @returns Ends the watch; nothing is told once it was called.
 */
export async function watchModules(
  options: WatchOptions,
  listener: WatchListener,
): Promise<() => Promise<void>> {
  const { dirs, clock, quietMs, warn } = options
  const folderOf = new Map<ModuleId, string>()
  const quiet = new Quiet<ModuleId>({
    clock,
    quietMs,
    stamp: (moduleId) => folderStamp(folderOf.get(moduleId) ?? ''),
    touched: (moduleId) => listener.touched(moduleId),
    settled: (moduleId) => listener.settled(moduleId),
  })
  const note = (dir: string, moduleId: ModuleId): void => {
    if (!ID.test(moduleId)) return
    folderOf.set(moduleId, join(dir, moduleId))
    quiet.note(moduleId)
  }

  const watchers: FSWatcher[] = []
  const close = async (): Promise<void> => {
    quiet.close()
    await Promise.all(watchers.map((watcher) => watcher.close()))
  }
  try {
    for (const dir of dirs) watchers.push(await watchOne(dir, note, warn))
  } catch (error) {
    await close()
    throw error
  }
  return close
}

type Note = (dir: string, moduleId: ModuleId) => void

async function watchOne(dir: string, note: Note, warn: WatchOptions['warn']): Promise<FSWatcher> {
  const known = new Set(await modulesIn(dir))
  const watcher = watch(dir, {
    ignored: (path) => isIgnored(dir, path),
    ignoreInitial: true,
    depth: DEPTH_MAX,
    // One change told twice does no harm here, and we have a quiet time of our own.
    atomic: false,
    persistent: false,
  })
  watcher.on('all', (_, path) => {
    const [group, name] = relative(dir, path).split('/')
    if (group !== undefined && name !== undefined) {
      known.add(`${group}/${name}`)
      return note(dir, `${group}/${name}`)
    }
    // A whole group came or went, perhaps a link: whatever is or was in it may be another module now. Nobody waits
    // for the look, which does not reject.
    void modulesIn(dir).then((now) => {
      for (const moduleId of now) known.add(moduleId)
      const there = new Set(now)
      for (const moduleId of known) {
        if (group === '' || group === undefined || moduleId.startsWith(`${group}/`)) note(dir, moduleId)
        if (!there.has(moduleId)) known.delete(moduleId)
      }
    })
  })
  watcher.on('error', (error) => {
    const hint = codeOf(error) === 'ENOSPC' ? '; raise fs.inotify.max_user_watches' : ''
    warn(`changes in a modules folder may go unnoticed until \`nexus reload\`${hint}`, {
      dir,
      error: error instanceof Error ? error.message : String(error),
    })
  })
  await new Promise<void>((resolve) => watcher.once('ready', resolve))
  return watcher
}

const ID = new RegExp(MODULE_ID_PATTERN)

/** Ids of the folders that are there. Never rejects for what a file system can do. */
async function modulesIn(dir: string): Promise<ModuleId[]> {
  const names = async (path: string): Promise<string[]> => {
    try {
      return await readdir(path)
    } catch (error) {
      if (codeOf(error) === '') throw error
      return []
    }
  }
  const ids: ModuleId[] = []
  for (const group of await names(dir)) {
    for (const name of await names(join(dir, group))) {
      if (ID.test(`${group}/${name}`)) ids.push(`${group}/${name}`)
    }
  }
  return ids
}

/**
 * What is not watched: passing files, dependencies, hidden folders above the modules, and links by which a watcher
 * would wander through the whole machine. A module folder may be a link to a module; inside it links must stay inside.
 */
function isIgnored(dir: string, path: string): boolean {
  const segments = relative(dir, path).split('/')
  if (path === dir || segments[0] === '..') return false
  const name = segments.at(-1) ?? ''
  if (isUnwatched(name) || (segments.length <= 2 && name.startsWith('.'))) return true
  try {
    if (segments.length === 2) return leadsAway(realpathSync(dir), path) && !hasManifest(path)
    if (segments.length < 2 || !lstatSync(path).isSymbolicLink()) return false
    return leadsAway(realpathSync(join(dir, ...segments.slice(0, 2))), path)
  } catch (error) {
    // Gone, or a link to nowhere: that it went is worth hearing.
    if (codeOf(error) === '') throw error
    return false
  }
}

function leadsAway(from: string, path: string): boolean {
  return !isInside(from, realpathSync(path))
}

function hasManifest(folder: string): boolean {
  return statSync(join(folder, MANIFEST_NAME), { throwIfNoEntry: false })?.isFile() === true
}
