import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { chmod, lstat, mkdir, open, readdir, realpath, rename, rm } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { NexusError } from '../contracts/failure.ts'
import type { GenerationId, ModuleId } from '../contracts/ids.ts'
import { type Clock, sleep } from '../kit/clock.ts'
import { codeOf } from '../storage/disk.ts'
import { isForeignFolder } from './editor-files.ts'
import { mapSome } from './map-some.ts'
import { UnsafeFile } from './safe-file.ts'
import { newestChangeMs } from './stamp.ts'
import { hashTree, type TreeFile, type TreeHash, type TreeRules } from './tree.ts'

/** An editor or a checkout is done after so many looks, or the folder is one that never rests. */
const COPIES_MAX = 5
const REST_MS = 50
/** The file system joins syncs that wait together into one. */
const SYNCS_AT_ONCE = 16

export interface GenerationRules extends TreeRules {
  readonly clock: Clock
  /** A file that changed less long ago may be half of a save. */
  readonly quietMs: number
  /** Real path. */
  readonly generationsDir: string
}

/** A generation on disk, and its files as they were hashed. */
export interface KeptTree {
  readonly id: GenerationId
  /** Real path. */
  readonly dir: string
  readonly files: readonly TreeFile[]
}

/**
 * Copies a module folder to its generation and makes it durable; content that is there already is only looked over.
 *
 * The folder is read twice, and both must agree: what is copied is then a state the folder really had, not half of one
 * and half of the next. Nothing of a failed try stays behind.
 *
 * @throws NexusError `GENERATION_REFUSED`.
 */
export async function makeGeneration(
  moduleId: ModuleId,
  folder: string,
  rules: GenerationRules,
): Promise<KeptTree> {
  const home = await makeHome(moduleId, rules.generationsDir)
  let changed = ''
  for (let copies = 1; copies <= COPIES_MAX; copies += 1) {
    await untilQuiet(folder, rules)
    const source = await judged(moduleId, hashTree(folder, rules))
    if (source !== undefined) {
      const dir = join(home, source.hash)
      if (await isWhole(dir, source.files)) return { id: source.hash, dir, files: source.files }
      const copy = `${dir}.tmp-${randomUUID()}`
      try {
        const copied = await judged(moduleId, copyTree(folder, copy, rules))
        if (copied?.hash === source.hash) {
          await syncTree(copy, copied.files)
          await settleIn(copy, dir)
          return { id: source.hash, dir, files: copied.files }
        }
        changed = firstDifference(source, copied)
      } finally {
        await rm(copy, { recursive: true, force: true })
      }
    }
    if (copies < COPIES_MAX) await sleep(rules.clock, REST_MS * copies)
  }
  const isThere = (await lstat(folder).catch(missing)) !== undefined
  const reason = isThere ? `its files changed during each of ${COPIES_MAX} copies${changed}` : 'it is gone'
  throw new NexusError('GENERATION_REFUSED', { module: moduleId, reason })
}

/**
 * The id that a module folder would have as a generation; nothing is written.
 *
 * @throws NexusError `GENERATION_REFUSED`.
 */
export async function surveyGeneration(
  moduleId: ModuleId,
  folder: string,
  rules: GenerationRules,
): Promise<GenerationId> {
  for (let looks = 1; looks <= COPIES_MAX; looks += 1) {
    const source = await judged(moduleId, hashTree(folder, rules))
    if (source !== undefined) return source.hash
    await sleep(rules.clock, REST_MS * looks)
  }
  const reason = `its files changed during each of ${COPIES_MAX} looks`
  throw new NexusError('GENERATION_REFUSED', { module: moduleId, reason })
}

/**
 * Waits until no file has changed for the quiet time: an editor that truncates a file and writes it then leaves an
 * empty one in between, which is whole and wrong. A folder that never rests is copied as it is after a while.
 */
export async function untilQuiet(
  folder: string,
  { clock, quietMs }: Pick<GenerationRules, 'clock' | 'quietMs'>,
): Promise<void> {
  for (let looks = 0; looks < QUIET_LOOKS_MAX; looks += 1) {
    const ageMs = clock.now() - (await newestChangeMs(folder))
    // Times ahead of the clock are those of another machine: they say nothing.
    if (ageMs < 0 || ageMs >= quietMs) return
    await sleep(clock, quietMs - ageMs)
  }
}

/** With the usual quiet time these are two seconds. */
const QUIET_LOOKS_MAX = 20

/**
 * The real path of a generation from before, once every byte of it was hashed again.
 *
 * @param id - Or the beginning of one, when only one begins so.
 * @throws NexusError `GENERATION_UNKNOWN`.
 */
export async function findGeneration(
  moduleId: ModuleId,
  id: GenerationId,
  rules: GenerationRules,
): Promise<KeptTree> {
  const unknown = (cause?: unknown) =>
    new NexusError('GENERATION_UNKNOWN', { module: moduleId, generation: id }, { cause })
  const home = join(rules.generationsDir, moduleId)
  const found = (await namesIn(home)).filter((name) => HASH.test(name) && name.startsWith(id))
  const [whole] = found
  if (whole === undefined || found.length > 1 || id === '') throw unknown()
  const dir = join(home, whole)
  try {
    const { hash, files } = await hashTree(dir, rules)
    if (hash !== whole) throw unknown(new Error(`${dir} has been changed: its content hashes to ${hash}`))
    return { id: whole, dir, files }
  } catch (error) {
    if (error instanceof UnsafeFile || codeOf(error) !== '') throw unknown(error)
    throw error
  }
}

/** Removes generations that are not in `keep`, and what broken copies left behind. */
export async function pruneGenerations(
  moduleId: ModuleId,
  keep: readonly GenerationId[],
  generationsDir: string,
): Promise<void> {
  const home = join(generationsDir, moduleId)
  for (const name of await namesIn(home)) {
    if (keep.includes(name)) continue
    // Renamed first, so that a crash in between leaves no half generation under a good name.
    const doomed = HASH.test(name) ? join(home, `${name}.gone-${randomUUID()}`) : join(home, name)
    if (HASH.test(name)) await rename(join(home, name), doomed)
    await rm(doomed, { recursive: true, force: true })
  }
}

const HASH = /^[0-9a-f]{64}$/

/** The folder of a module's generations, private and durable. */
async function makeHome(moduleId: ModuleId, generationsDir: string): Promise<string> {
  let dir = generationsDir
  for (const segment of moduleId.split('/')) {
    dir = join(dir, segment)
    try {
      await mkdir(dir, { mode: 0o700 })
      await chmod(dir, 0o700)
      await syncDir(dirname(dir))
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error
    }
  }
  return realpath(dir)
}

/** Undefined when a file vanished while it was looked for: that is a change like any other. */
async function judged(moduleId: ModuleId, hashing: Promise<TreeHash>): Promise<TreeHash | undefined> {
  try {
    return await hashing
  } catch (error) {
    if (error instanceof UnsafeFile) {
      throw new NexusError(
        'GENERATION_REFUSED',
        { module: moduleId, reason: error.message },
        { cause: error },
      )
    }
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return undefined
    if (codeOf(error) === 'EACCES' || codeOf(error) === 'ENAMETOOLONG' || codeOf(error) === 'ENXIO') {
      const reason = error instanceof Error ? error.message : String(error)
      throw new NexusError('GENERATION_REFUSED', { module: moduleId, reason }, { cause: error })
    }
    throw error
  }
}

/** Whether a generation has every file in its size and nothing else; `findGeneration` looks at the bytes as well. */
async function isWhole(dir: string, files: readonly TreeFile[]): Promise<boolean> {
  const there = await readdir(dir, { recursive: true, withFileTypes: true }).catch(missing)
  const own = there?.filter((entry) => !entry.isDirectory() && !isForeign(relative(dir, entry.parentPath)))
  if (own?.length !== files.length) return false
  const looks = await mapSome(files, SYNCS_AT_ONCE, async ({ path, sizeBytes }) => {
    const stats = await lstat(join(dir, path)).catch(missing)
    return stats?.isFile() === true && stats.size === sizeBytes
  })
  return looks.every(Boolean)
}

/** What running it left there (Python keeps compiled code beside the source) was never part of it. */
function isForeign(folder: string): boolean {
  return folder.split('/').some((name) => isForeignFolder(name))
}

/** Copies while hashing: the hash is of the bytes that were written. */
async function copyTree(folder: string, copy: string, rules: TreeRules): Promise<TreeHash> {
  const made = new Set<string>()
  const makeFolder = async (dir: string): Promise<void> => {
    if (made.has(dir)) return
    made.add(dir)
    if (dir !== copy) await makeFolder(dirname(dir))
    await mkdir(dir, { mode: 0o700 })
    await chmod(dir, 0o700)
  }
  return hashTree(folder, rules, async (path, { bytes, executable }) => {
    const target = join(copy, path)
    await makeFolder(dirname(target))
    const handle = await open(target, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600)
    try {
      await handle.chmod(executable ? 0o700 : 0o600)
      await handle.writeFile(bytes)
    } finally {
      await handle.close()
    }
  })
}

async function syncTree(dir: string, files: readonly TreeFile[]): Promise<void> {
  await mapSome(files, SYNCS_AT_ONCE, ({ path }) => sync(join(dir, path), constants.O_RDONLY))
  const folders = new Set([''])
  for (const { path } of files) {
    for (let above = dirname(path); above !== '.'; above = dirname(above)) folders.add(above)
  }
  await mapSome([...folders], SYNCS_AT_ONCE, (folder) => syncDir(join(dir, folder)))
}

/** Gives a finished copy its name. What stood there was not whole: `isWhole` has just said so. */
async function settleIn(copy: string, dir: string): Promise<void> {
  const damaged = `${dir}.gone-${randomUUID()}`
  const stood = await rename(dir, damaged).then(() => true, missing)
  await rename(copy, dir)
  await syncDir(dirname(dir))
  if (stood === true) await rm(damaged, { recursive: true, force: true })
}

function syncDir(dir: string): Promise<void> {
  return sync(dir, constants.O_RDONLY | constants.O_DIRECTORY)
}

async function sync(path: string, flags: number): Promise<void> {
  const handle = await open(path, flags)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function namesIn(dir: string): Promise<string[]> {
  return (await readdir(dir).catch(missing)) ?? []
}

function missing(error: unknown): undefined {
  if (codeOf(error) !== 'ENOENT') throw error
}

function firstDifference(source: TreeHash, copied: TreeHash | undefined): string {
  if (copied === undefined) return ''
  const sizes = new Map(source.files.map((file) => [file.path, file.sizeBytes]))
  const other = copied.files.find(({ path, sizeBytes }) => sizes.get(path) !== sizeBytes)
  return other === undefined ? '' : ` (${other.path})`
}
