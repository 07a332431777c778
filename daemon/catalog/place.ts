import { type FSWatcher, lstatSync, readlinkSync, watch } from 'node:fs'
import { readlink, realpath, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { codeOf } from '../storage/disk.ts'
import { modulesIn } from './modules-in.ts'

/** As the kernel: more links on one way are a circle. */
const HOPS_MAX = 40
/** Links that are followed; more of them are no way to deploy modules. */
const LINKS_MAX = 1_000

/** What the name of a folder with modules stands for, and the groups and modules in it that are links. */
export interface Place {
  /** Real path and inode, or the error. */
  readonly self: string
  /** By path: what is written in the link, and where it leads in the end. */
  readonly links: Readonly<Record<string, readonly [text: string, real: string]>>
}

/** Never rejects for what a file system can do. */
export async function placeOf(dir: string): Promise<Place> {
  const { links } = await modulesIn(dir)
  const ways = await Promise.all(
    links.slice(0, LINKS_MAX).map(async (path) => {
      return [path, [await told(readlink(path)), await told(realpath(path))]] as const
    }),
  )
  const [real, inode] = [
    await told(realpath(dir)),
    await told(stat(dir).then(({ dev, ino }) => `${dev}:${ino}`)),
  ]
  return { self: `${real} ${inode}`, links: Object.fromEntries(ways) }
}

/**
 * Whether a watch on the folder follows something else by now. A link that was itself rewritten is noticed by the
 * watch; one that leads elsewhere because a link behind it was turned is not.
 */
export function hasTurned(before: Place, now: Place): boolean {
  if (before.self !== now.self) return true
  return Object.entries(now.links).some(([path, [text, real]]) => {
    const former = before.links[path]
    return former !== undefined && former[0] === text && former[1] !== real
  })
}

export function isSamePlace(before: Place, now: Place): boolean {
  return JSON.stringify(before) === JSON.stringify(now)
}

/**
 * Watches the names by which a folder with modules and the links in it are reached: each of them, and every link on
 * the way. Who releases software by turning a link (`current` → `releases/7`) changes nothing in the folders
 * themselves.
 *
 * @param changed - May be called for nothing; look before you act.
 * @returns Ends the watch.
 */
export function watchNames(dir: string, { links }: Place, changed: () => void): () => void {
  const namesIn = new Map<string, Set<string>>()
  const ways = [dir, ...Object.keys(links)].flatMap((path) => linksOn(path))
  for (const name of new Set([dir, ...ways])) {
    const folder = dirname(name)
    namesIn.set(folder, (namesIn.get(folder) ?? new Set()).add(basename(name)))
  }
  const watchers = [...namesIn].flatMap(([folder, names]) => watchFolder(folder, names, changed))
  return () => {
    for (const watcher of watchers) watcher.close()
  }
}

/** Every link by which a path is resolved, links behind links among them. */
function linksOn(path: string): string[] {
  const links: string[] = []
  let open = resolve(path).split('/').slice(1)
  let at = '/'
  for (let next = open.shift(); next !== undefined && links.length < HOPS_MAX; next = open.shift()) {
    const name = join(at, next)
    const text = textOf(name)
    if (text === undefined) at = name
    else {
      links.push(name)
      open = [...resolve(at, text).split('/').slice(1), ...open]
      at = '/'
    }
  }
  return links
}

function textOf(name: string): string | undefined {
  try {
    return lstatSync(name).isSymbolicLink() ? readlinkSync(name) : undefined
  } catch (error) {
    if (codeOf(error) === '') throw error
    return undefined
  }
}

/** A folder that cannot be watched (it is gone, or the system has no watches left) is left out. */
function watchFolder(folder: string, names: ReadonlySet<string>, changed: () => void): FSWatcher[] {
  try {
    const watcher = watch(folder, { persistent: false }, (_, name) => {
      if (name === null || names.has(name)) changed()
    })
    watcher.on('error', () => watcher.close())
    return [watcher]
  } catch (error) {
    if (codeOf(error) === '') throw error
    return []
  }
}

/** What the system says, or with which code it refuses. */
async function told(saying: Promise<string>): Promise<string> {
  try {
    return await saying
  } catch (error) {
    const code = codeOf(error)
    if (code === '') throw error
    return code
  }
}
