import { lstat, readdir, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { codeOf } from '../storage/disk.ts'
import { isUnwatched } from './editor-files.ts'

/** A folder with more than this is not told apart by its stamp; its content hash still is. */
const NAMES_MAX = 5_000

/**
 * A text that changes whenever a file of the folder does: names, sizes, times, inodes and modes of all that is watched.
 * Never rejects for what a file system can do: a folder that is not there has a stamp as well.
 */
export async function folderStamp(folder: string): Promise<string> {
  const lines: string[] = []
  const walk = async (dir: string): Promise<void> => {
    for (const entry of await readdir(dir, { withFileTypes: true })) {
      if (lines.length >= NAMES_MAX || isUnwatched(entry.name)) continue
      const path = join(dir, entry.name)
      const { size, mtimeMs, ino, mode } = await lstat(path)
      lines.push([path, size, mtimeMs, ino, mode].join(' '))
      if (entry.isDirectory()) await walk(path)
    }
  }
  try {
    const real = await realpath(folder)
    await walk(real)
    return [real, ...lines.sort()].join('\n')
  } catch (error) {
    if (codeOf(error) === '') throw error
    return codeOf(error)
  }
}
