import type { Dirent } from 'node:fs'
import { opendir } from 'node:fs/promises'

/** What is in a folder, and no more than `namesMax` and one: a million names would be a hundred megabytes. */
export async function entriesOf(folder: string, namesMax: number): Promise<Dirent[]> {
  const entries: Dirent[] = []
  for await (const entry of await opendir(folder, { bufferSize: 256 })) {
    entries.push(entry)
    if (entries.length > namesMax) break
  }
  return entries
}
