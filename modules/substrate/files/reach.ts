import { realpath } from 'node:fs/promises'
import { dirname, isAbsolute, join, relative, resolve, sep } from 'node:path'

/** What this module may touch. */
export interface Reach {
  readonly id: string
  /** What the operator lets modules read. */
  readonly roots: readonly string[]
  /** Its own folder, the only one it writes to. */
  readonly dataDir: string
}

/** A path that begins so lies in the module's own folder. */
const OWN = '$DATA'

/**
 * The real path of something that may be read.
 *
 * A relative path is looked for in each root in turn, then in the module's own folder; `$DATA/…` means the own folder.
 * Links are followed before the check, so that none can lead out. The daemon's data folder holds keys: of it only the
 * module's own folder is open, even when it lies within a root.
 *
 * @throws Error that names the roots and the remedy.
 */
export async function reach(path: string, where: Reach): Promise<string> {
  refuseClimbing(path)
  const open = await Promise.all([...where.roots, where.dataDir].map(real))
  const own = open.at(-1) ?? where.dataDir
  const closed = await real(daemonFolder(where))

  let missing = false
  let outside = false
  for (const candidate of candidates(path, where)) {
    const inside = [...open, ...where.roots, where.dataDir].some((root) => lies(candidate, root))
    try {
      const found = await realpath(candidate)
      if (lies(found, own)) return found
      if (lies(found, closed)) throw closedTo(path)
      if (open.some((root) => lies(found, root))) return found
      outside = true
    } catch (cause) {
      const code = (cause as NodeJS.ErrnoException).code
      if (code === undefined) throw cause
      if (code === 'ENOENT' || code === 'ENOTDIR') missing ||= inside
      else if (code !== 'ERR_ACCESS_DENIED') throw new Error(`${path} cannot be read: ${code}`, { cause })
      else if (lies(candidate, closed)) throw closedTo(path)
      else if (inside) throw besideKeys(candidate, closed, cause)
      else outside = true
    }
  }

  const allowed = [...where.roots, OWN].join(', ')
  if (missing && !outside) throw new Error(`there is nothing at ${path}; modules may read ${allowed}`)
  const folder = isAbsolute(path) ? dirname(path) : '<dir>'
  throw new Error(
    `${path} lies outside of what modules may read (${allowed}): start the daemon with --allow-read ${folder}, ` +
      'or put the file into one of those folders',
  )
}

/**
 * Where a file is to be written: in the module's own folder, which a relative path and `$DATA/…` start from.
 *
 * @returns The real path of the own folder, and the way from there, of plain names only.
 * @throws Error that names the own folder.
 */
export async function target(path: string, where: Reach): Promise<{ own: string; way: readonly string[] }> {
  refuseClimbing(path)
  const own = await real(where.dataDir)
  const [first = path] = candidates(path, { ...where, roots: [] })
  const wanted = lies(first, where.dataDir) ? join(own, relative(where.dataDir, first)) : first
  if (!lies(wanted, own) || wanted === own) {
    throw new Error(
      `${path} cannot be written: this module writes only below its own folder, ${own} (${OWN}/…)`,
    )
  }
  return { own, way: relative(own, wanted).split(sep) }
}

/** Whether `path` is `root` or below it. */
export function lies(path: string, root: string): boolean {
  const way = relative(root, path)
  return way === '' || (way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way))
}

function closedTo(path: string): Error {
  return new Error(`${path} lies in the daemon's own data folder, which holds keys and is closed to modules`)
}

/**
 * Where a root contains the data folder, the wall around this process names everything else in it, as it stood when the
 * process started: the folder itself cannot be read then, nor what came since.
 */
function besideKeys(path: string, closed: string, cause: unknown): Error {
  const why = lies(closed, path)
    ? `the daemon's data folder ${closed} lies in it: name something else in it`
    : "it is not there, or was put beside the daemon's data folder after this module started: reload substrate/files"
  return new Error(`${path} cannot be read: ${why}, or start the daemon with a --data-dir elsewhere`, {
    cause,
  })
}

function refuseClimbing(path: string): void {
  if (path.includes('\0')) throw new Error('a path holds no null character')
  if (path.split('/').includes('..')) {
    throw new Error(`${path} climbs with ..: name the place itself, from a root or absolute`)
  }
}

function candidates(path: string, { roots, dataDir }: Reach): string[] {
  if (path === OWN || path.startsWith(`${OWN}/`)) return [join(dataDir, path.slice(OWN.length))]
  return isAbsolute(path) ? [resolve(path)] : [...roots, dataDir].map((root) => resolve(root, path))
}

/** Modules have their folders in `<data folder>/module-data/<group>/<name>`. */
function daemonFolder({ dataDir, id }: Reach): string {
  const tail = join(sep, 'module-data', id)
  return dataDir.endsWith(tail) ? dataDir.slice(0, -tail.length) : dirname(dataDir)
}

function real(path: string): Promise<string> {
  return realpath(path).catch(() => join(path, '.'))
}
