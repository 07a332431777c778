import { constants, type Stats } from 'node:fs'
import { chmod, type FileHandle, mkdir, open, readdir, rename, stat, statfs, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { codeOf, type Disk, type DiskEntry, type DiskFile, type OpenMode } from './disk.ts'

const { O_RDONLY, O_RDWR, O_APPEND, O_CREAT, O_EXCL, O_NONBLOCK, O_DIRECTORY } = constants

const FLAGS: Record<OpenMode, number> = {
  read: O_RDONLY | O_NONBLOCK,
  append: O_RDWR | O_APPEND | O_NONBLOCK,
  create: O_RDWR | O_APPEND | O_CREAT | O_EXCL,
  overwrite: O_RDWR | O_CREAT | O_NONBLOCK,
}

/** The disk of the machine. All calls run on libuv's threads, so a slow disk does not stop the loop. */
export const nodeDisk: Disk = {
  async open(path, mode) {
    const handle = await open(path, FLAGS[mode], 0o600)
    try {
      if (mode !== 'read') await handle.chmod(0o600)
    } catch (error) {
      await handle.close()
      throw error
    }
    return new NodeFile(handle)
  },

  async stat(path) {
    const found = await unlessMissing(stat(path))
    return found && entryOf(found)
  },

  async list(dir) {
    return ((await unlessMissing(readdir(dir))) ?? []).sort()
  },

  async makeDir(dir) {
    if (await makeMissing(dir)) return true
    const { mode } = await stat(dir)
    if ((mode & 0o777) !== 0o700) await chmod(dir, 0o700)
    return false
  },

  rename,

  async unlink(path) {
    await unlessMissing(unlink(path))
  },

  async syncDir(dir) {
    const handle = await open(dir, O_RDONLY | O_DIRECTORY)
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  },

  async freeBytes(dir) {
    const { bavail, bsize } = await statfs(dir)
    return bavail * bsize
  },
}

class NodeFile implements DiskFile {
  readonly #handle: FileHandle

  constructor(handle: FileHandle) {
    this.#handle = handle
  }

  async write(bytes: Uint8Array, at?: number): Promise<number> {
    const { bytesWritten } = await this.#handle.write(bytes, 0, bytes.length, at ?? null)
    return bytesWritten
  }

  async read(at: number, length: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(length)
    let have = 0
    while (have < length) {
      const { bytesRead } = await this.#handle.read(bytes, have, length - have, at + have)
      if (bytesRead === 0) break
      have += bytesRead
    }
    return bytes.subarray(0, have)
  }

  async stat(): Promise<DiskEntry> {
    return entryOf(await this.#handle.stat())
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.#handle.truncate(sizeBytes)
  }

  datasync(): Promise<void> {
    return this.#handle.datasync()
  }

  close(): Promise<void> {
    return this.#handle.close()
  }
}

/** Whether the folder was made now. Parents that are there are not ours to change. */
async function makeMissing(dir: string): Promise<boolean> {
  try {
    await mkdir(dir, { mode: 0o700 })
  } catch (error) {
    if (codeOf(error) === 'EEXIST' && (await stat(dir)).isDirectory()) return false
    if (codeOf(error) !== 'ENOENT' || !(await makeMissing(dirname(dir)))) throw error
    return makeMissing(dir)
  }
  await chmod(dir, 0o700)
  return true
}

function entryOf(stats: Stats): DiskEntry {
  const kind = stats.isFile() ? 'file' : stats.isDirectory() ? 'directory' : stats.isFIFO() ? 'fifo' : 'other'
  return { kind, sizeBytes: stats.size, identity: `${stats.dev}:${stats.ino}`, mode: stats.mode & 0o7777 }
}

async function unlessMissing<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}
