import { dirname, join } from 'node:path'
import { type Disk, writeAll } from './disk.ts'

const SUFFIX = '.tmp'
let counter = 0

/**
 * Replaces a file: afterwards, and after any crash, the old or the new contents stand there whole.
 * Durable when it resolves.
 */
export async function writeAtomically(disk: Disk, path: string, contents: Uint8Array): Promise<void> {
  const draft = await writeDraft(disk, path, [contents])
  try {
    await disk.rename(draft, path)
  } catch (error) {
    // The next start removes it when this does not.
    await disk.unlink(draft).catch(() => undefined)
    throw error
  }
  await disk.syncDir(dirname(path))
}

/** Writes the contents beside the path, durable but for the name, which is returned: to be renamed by the caller. */
export async function writeDraft(disk: Disk, path: string, pieces: Iterable<Uint8Array>): Promise<string> {
  counter += 1
  const draft = `${path}.${counter}${SUFFIX}`
  await disk.unlink(draft)
  try {
    await writeNew(disk, draft, pieces)
  } catch (error) {
    await disk.unlink(draft).catch(() => undefined)
    throw error
  }
  return draft
}

/** Writes a file that was not there, piece after piece; its contents are durable when it resolves, its name is not. */
export async function writeNew(disk: Disk, path: string, pieces: Iterable<Uint8Array>): Promise<void> {
  const file = await disk.open(path, 'create')
  try {
    for (const piece of pieces) await writeAll(file, piece)
    await file.datasync()
  } finally {
    await file.close()
  }
}

/** Removes drafts that a crash has left in a folder. Only for its one owner, before the first write. */
export async function removeDrafts(disk: Disk, dir: string): Promise<number> {
  const drafts = (await disk.list(dir)).filter((name) => name.endsWith(SUFFIX))
  for (const name of drafts) await disk.unlink(join(dir, name))
  return drafts.length
}
