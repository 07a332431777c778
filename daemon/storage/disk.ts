import { NexusError } from '../contracts/failure.ts'

/**
 * The disk as a port: what the stores need of a file system, and nothing more. Paths are absolute.
 *
 * Errors are the system's own (`code` says ENOSPC, EIO, …); each store translates them at its door. Nothing is
 * retried here. Files are made with mode 0600 and folders with 0700, whatever the umask.
 */
export interface Disk {
  /** @throws ENOENT, or EEXIST for `create`. Never waits, not even for a FIFO without a writer. */
  open(path: string, mode: OpenMode): Promise<DiskFile>
  /** What stands at the path, links followed; undefined when nothing does. */
  stat(path: string): Promise<DiskEntry | undefined>
  /** Names in a folder, sorted; empty when there is no such folder. */
  list(dir: string): Promise<string[]>
  /** Makes a folder and its parents; one that is there becomes private too. Says whether it was new. */
  makeDir(dir: string): Promise<boolean>
  rename(from: string, to: string): Promise<void>
  /** Does nothing when there is no such file. */
  unlink(path: string): Promise<void>
  /** Makes names durable: creations, renames and removals in this folder. */
  syncDir(dir: string): Promise<void>
  /** How much a program without special rights can still write to the disk that holds this folder. */
  freeBytes(dir: string): Promise<number>
}

/**
 * - `read`: an existing file, read only.
 * - `append`: an existing file; every write goes to its end.
 * - `create`: as `append`, but the file must be new.
 * - `overwrite`: made when missing; writes go to the place they name.
 */
export type OpenMode = 'read' | 'append' | 'create' | 'overwrite'

export interface DiskFile {
  /** How many bytes were taken: fewer than given when the disk filled up. `at` counts in mode `overwrite` only. */
  write(bytes: Uint8Array, at?: number): Promise<number>
  /** Up to `length` bytes; fewer only at the end of the file. */
  read(at: number, length: number): Promise<Buffer>
  stat(): Promise<DiskEntry>
  truncate(sizeBytes: number): Promise<void>
  /** Resolves when contents and size are on stable storage. After a failure nobody can say what is. */
  datasync(): Promise<void>
  close(): Promise<void>
}

export interface DiskEntry {
  readonly kind: 'file' | 'directory' | 'fifo' | 'other'
  readonly sizeBytes: number
  /** Two entries with the same identity are one file. */
  readonly identity: string
  /** Permission bits, the sticky bit included. */
  readonly mode: number
}

/** Writes all of the bytes. @throws ENOSPC when the disk took only a part. */
export async function writeAll(file: DiskFile, bytes: Uint8Array, at?: number): Promise<void> {
  const taken = await file.write(bytes, at)
  if (taken === bytes.length) return
  const reason = `the disk took ${taken} of ${bytes.length} bytes`
  throw Object.assign(new Error(reason), { code: 'ENOSPC', syscall: 'write' })
}

/** Reads a whole small file; undefined when there is none, or when it is larger than `sizeBytesMax`. */
export async function readWhole(disk: Disk, path: string, sizeBytesMax: number): Promise<Buffer | undefined> {
  let file: DiskFile
  try {
    file = await disk.open(path, 'read')
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
  try {
    const { kind, sizeBytes } = await file.stat()
    if (kind !== 'file' || sizeBytes > sizeBytesMax) return undefined
    return await file.read(0, sizeBytes)
  } finally {
    await file.close()
  }
}

/** The code of a system error; empty for anything else, also for errors of our own that have a code. */
export function codeOf(error: unknown): string {
  const isSystem = error instanceof Error && 'syscall' in error && 'code' in error
  return isSystem ? String(error.code) : ''
}

/** What a store that cannot be opened says of the disk's error; anything else is what it is. */
export function failureOf(error: unknown): unknown {
  const code = codeOf(error)
  if (code === '' || error instanceof NexusError) return error
  const name = isFull(error) ? 'JOURNAL_FULL' : 'JOURNAL_UNAVAILABLE'
  return new NexusError(name, { reason: code }, { cause: error })
}

/** Whether the error says that there is no room: making some cures it. */
export function isFull(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT', 'EFBIG'].includes(codeOf(error))
}
