import { dirname, join } from 'node:path'
import { type Disk, writeAll } from './disk.ts'

const SUFFIX = '.tmp'
let counter = 0

/**
 * Replaces a file: afterwards, and after any crash, the old or the new contents stand there whole.
 * Durable when it resolves.
 */
export async function writeAtomically(disk: Disk, path: string, contents: Uint8Array): Promise<void> {
  counter += 1
  const draft = `${path}.${counter}${SUFFIX}`
  await disk.unlink(draft)
  try {
    const file = await disk.open(draft, 'create')
    try {
      await writeAll(file, contents)
      await file.datasync()
    } finally {
      await file.close()
    }
    await disk.rename(draft, path)
  } catch (error) {
    // The next start removes it when this does not.
    await disk.unlink(draft).catch(() => undefined)
    throw error
  }
  await disk.syncDir(dirname(path))
}

/** Removes drafts that a crash has left in a folder. Only for its one owner, before the first write. */
export async function removeDrafts(disk: Disk, dir: string): Promise<number> {
  const drafts = (await disk.list(dir)).filter((name) => name.endsWith(SUFFIX))
  for (const name of drafts) await disk.unlink(join(dir, name))
  return drafts.length
}
