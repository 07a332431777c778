import { lstat, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { codeOf } from '../storage/disk.ts'
import { isUnwatched } from './editor-files.ts'
import { entriesOf } from './entries.ts'

/** A folder with more than this is not told apart by its stamp; its content hash still is. */
const NAMES_MAX = 5_000

interface Seen {
  readonly line: string
  readonly mtimeMs: number
}

/**
 * A text that changes whenever a file of the folder does: names, sizes, times, inodes and modes of all that is watched.
 * Never rejects for what a file system can do: a folder that is not there has a stamp as well.
 */
export async function folderStamp(folder: string): Promise<string> {
  try {
    const real = await realpath(folder)
    const seen = await look(real)
    return [real, ...seen.map(({ line }) => line).sort()].join('\n')
  } catch (error) {
    if (codeOf(error) === '') throw error
    return codeOf(error)
  }
}

/** When a file of the folder changed last, in milliseconds since 1970; 0 when there is none to be seen. */
export async function newestChangeMs(folder: string): Promise<number> {
  try {
    return (await look(folder)).reduce((newest, { mtimeMs }) => Math.max(newest, mtimeMs), 0)
  } catch (error) {
    if (codeOf(error) === '') throw error
    return 0
  }
}

async function look(folder: string): Promise<Seen[]> {
  const seen: Seen[] = []
  const walk = async (dir: string): Promise<void> => {
    for (const entry of await entriesOf(dir, NAMES_MAX)) {
      if (seen.length >= NAMES_MAX || isUnwatched(entry.name)) continue
      const path = join(dir, entry.name)
      const { size, mtimeMs, ctimeMs, ino, mode } = await lstat(path)
      seen.push({ line: [path, size, mtimeMs, ctimeMs, ino, mode].join(' '), mtimeMs })
      if (entry.isDirectory()) await walk(path)
    }
  }
  await walk(folder)
  return seen
}
