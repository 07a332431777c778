import { constants, type Stats } from 'node:fs'
import { access, type FileHandle, open, readlink, realpath, stat } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { codeOf } from '../storage/disk.ts'

/** A file that may not be read, and why: a sentence that follows the file's name. */
export class UnsafeFile extends Error {
  override readonly name = 'UnsafeFile'
}

export interface SafeFile {
  readonly bytes: Buffer
  readonly executable: boolean
  /** Others of its group may write to it: worth a warning. */
  readonly groupWritable: boolean
}

export interface SafeFileRules {
  /** Real path; the file must be inside, wherever links lead. */
  readonly within: string
  readonly bytesMax: number
  readonly owners: ReadonlySet<number>
}

/**
 * Reads a plain file that belongs to a folder.
 *
 * Judged is what was opened, not what the name said before: a name can be swapped for a link in between. Opening never
 * waits, so a FIFO or a device costs nothing.
 *
 * @throws UnsafeFile, and the system's own errors (ENOENT, EACCES, …).
 */
export function readSafeFile(path: string, rules: SafeFileRules): Promise<SafeFile> {
  return openSafely(path, rules, async (handle, stats) => ({
    ...marksOf(stats),
    bytes: await readAll(handle, stats.size, rules.bytesMax),
  }))
}

/** Judges a file as `readSafeFile` does, without reading it: a scan of thousands of entries has no use for their text. */
export function judgeSafeFile(path: string, rules: SafeFileRules): Promise<Omit<SafeFile, 'bytes'>> {
  return openSafely(path, rules, async (_, stats) => marksOf(stats))
}

function marksOf(stats: Stats): Omit<SafeFile, 'bytes'> {
  return {
    executable: (stats.mode & constants.S_IXUSR) !== 0,
    groupWritable: (stats.mode & constants.S_IWGRP) !== 0,
  }
}

async function openSafely<T>(
  path: string,
  rules: SafeFileRules,
  use: (handle: FileHandle, stats: Stats) => Promise<T>,
): Promise<T> {
  // A look first: merely opening some devices has effects.
  refuseKind(await stat(path))
  const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY)
  try {
    const stats = await handle.stat()
    refuseKind(stats)
    if (!isInside(rules.within, await whereIs(handle, path))) {
      throw new UnsafeFile('is a link that leads out of the folder')
    }
    if (stats.nlink > 1)
      throw new UnsafeFile('has a second name elsewhere (a hard link); put a copy of its own there')
    if ((stats.mode & SET_ID) !== 0)
      throw new UnsafeFile('has the setuid or setgid bit; run `chmod ug-s` on it')
    refuseOwner(stats, rules.owners)
    if (stats.size > rules.bytesMax) throw new UnsafeFile(`has more than ${rules.bytesMax} bytes`)
    return await use(handle, stats)
  } finally {
    await handle.close()
  }
}

/**
 * Refuses what somebody else could change under us.
 *
 * @throws UnsafeFile
 */
function refuseOwner(stats: Stats, owners: ReadonlySet<number>): void {
  if ((stats.mode & constants.S_IWOTH) !== 0) {
    throw new UnsafeFile('may be written by everybody; run `chmod o-w` on it')
  }
  if (!owners.has(stats.uid)) {
    throw new UnsafeFile(`belongs to another account (uid ${stats.uid}); run \`chown\` on it`)
  }
}

/**
 * As for a file, for a folder. One that everybody may write to is taken where nobody can: Kubernetes mounts its
 * ConfigMaps so, on a file system that is read-only.
 *
 * @throws UnsafeFile
 */
export async function refuseFolder(path: string, stats: Stats, owners: ReadonlySet<number>): Promise<void> {
  const isSealed = (stats.mode & constants.S_IWOTH) !== 0 && (await isReadOnly(path))
  refuseOwner(isSealed ? Object.assign(stats, { mode: stats.mode & ~constants.S_IWOTH }) : stats, owners)
}

async function isReadOnly(path: string): Promise<boolean> {
  try {
    await access(path, constants.W_OK)
    return false
  } catch (error) {
    return codeOf(error) === 'EROFS'
  }
}

/**
 * Whose code may be started: root's, our own, and that of the account which owns the daemon's program, for that one
 * can change what we are anyway (a project folder mounted into a container has such an owner).
 */
export async function trustedOwners(): Promise<ReadonlySet<number>> {
  const program = await stat(fileURLToPath(import.meta.url))
  return new Set([0, process.geteuid?.() ?? 0, program.uid])
}

export function isInside(folder: string, path: string): boolean {
  return path.startsWith(folder.endsWith('/') ? folder : `${folder}/`)
}

const SET_ID = 0o6000

function refuseKind(stats: Stats): void {
  if (stats.isFile()) return
  const kind = stats.isDirectory()
    ? 'a folder'
    : stats.isFIFO()
      ? 'a FIFO'
      : stats.isSocket()
        ? 'a socket'
        : 'a device'
  throw new UnsafeFile(`is ${kind}, not a plain file`)
}

/** The real path of an open file. */
async function whereIs(handle: FileHandle, path: string): Promise<string> {
  try {
    return await readlink(`/proc/self/fd/${handle.fd}`)
  } catch {
    // No /proc: the name must do.
    return realpath(path)
  }
}

async function readAll(handle: FileHandle, sizeBytes: number, bytesMax: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let total = 0
  for (;;) {
    // One byte more than it should have, so that the end is usually seen with the first read.
    const chunk = Buffer.allocUnsafe(Math.max(sizeBytes - total, 0) + 1)
    const { bytesRead } = await handle.read(chunk, 0, chunk.length, total)
    total += bytesRead
    if (total > bytesMax) throw new UnsafeFile(`has more than ${bytesMax} bytes`)
    chunks.push(chunk.subarray(0, bytesRead))
    // A plain file gives less than was asked for only where it ends.
    if (bytesRead < chunk.length) return Buffer.concat(chunks, total)
  }
}
