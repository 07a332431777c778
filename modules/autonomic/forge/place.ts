import { mkdir, mkdtemp, open, readdir, readFile, realpath, rename, rm } from 'node:fs/promises'
import { dirname, isAbsolute, join, relative, resolve, sep } from 'node:path'
import type { Files } from './files.ts'

/** Where a module of this id is put: below `forged`, or below the given folder, always inside the module's own. */
export function placeFor(dataDir: string, id: string, targetDir = 'forged'): string {
  const place = resolve(dataDir, targetDir, id)
  if (!lies(place, dataDir)) {
    throw new Error(
      `${targetDir} lies outside of ${dataDir}: the forge writes nowhere else; copy the module from there`,
    )
  }
  return place
}

/** The folder of a scaffold that is there. @throws Error when there is none, or it is not the forge's. */
export async function findPlace(dataDir: string, path: string): Promise<string> {
  const wanted = isAbsolute(path) ? path : resolve(dataDir, path)
  const [found, own] = await Promise.all([
    realpath(wanted).catch(() => undefined),
    realpath(dataDir).catch(() => dataDir),
  ])
  if (found !== undefined && lies(found, own)) return found
  if (found !== undefined || !lies(wanted, dataDir)) {
    throw new Error(`${path} lies outside of ${dataDir}: the forge inspects only what it made`)
  }
  throw new Error(`there is no scaffold at ${path}; scaffold it first`)
}

/**
 * Puts the files there all at once: they are written beside, synced, then moved.
 *
 * @returns False when the very same files are there already.
 * @throws Error when something else is there, or the forge is full.
 */
export async function put(
  place: string,
  files: Files,
  forgedDir: string,
  forgedMax: number,
): Promise<boolean> {
  const present = await read(place)
  if (present !== undefined) {
    if (isSame(present, files)) return false
    throw new Error(`${place} holds something else already: choose another id, or remove that folder`)
  }
  if ((await count(forgedDir)) >= forgedMax) {
    throw new Error(`${forgedMax} modules wait in ${forgedDir}: install or remove some, or raise forged_max`)
  }
  await mkdir(dirname(place), { recursive: true })
  const draft = await mkdtemp(join(dirname(place), '.draft-'))
  try {
    for (const [name, content] of files) await write(join(draft, name), content)
    await rename(draft, place)
  } catch (cause) {
    await rm(draft, { recursive: true, force: true })
    // Someone was faster; with the same files there is nothing left to do.
    const there = await read(place)
    if (there !== undefined && isSame(there, files)) return false
    throw cause
  }
  return true
}

/** Whether something other than these files is at the place. */
export async function isTaken(place: string, files: Files): Promise<boolean> {
  const present = await read(place)
  return present !== undefined && !isSame(present, files)
}

/** The files of a folder, or undefined when there is none. */
async function read(place: string): Promise<Files | undefined> {
  const entries = await readdir(place, { withFileTypes: true }).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return undefined
    throw cause
  })
  if (entries === undefined) return undefined
  const contents = entries.map(
    async (entry): Promise<readonly [string, string]> => [
      entry.name,
      entry.isFile() ? await readFile(join(place, entry.name), 'utf8') : '',
    ],
  )
  return new Map(await Promise.all(contents))
}

async function write(path: string, content: string): Promise<void> {
  const file = await open(path, 'wx')
  try {
    await file.writeFile(content)
    await file.datasync()
  } finally {
    await file.close()
  }
}

/** Modules in all groups. */
async function count(forgedDir: string): Promise<number> {
  const groups = await readdir(forgedDir).catch(() => [])
  const members = await Promise.all(groups.map((group) => readdir(join(forgedDir, group)).catch(() => [])))
  return members.flat().length
}

function isSame(present: Files, files: Files): boolean {
  return present.size === files.size && [...files].every(([name, content]) => present.get(name) === content)
}

function lies(path: string, folder: string): boolean {
  const way = relative(folder, path)
  return way !== '' && way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way)
}
