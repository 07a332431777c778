import type { Dirent, Stats } from 'node:fs'
import { lstat, opendir } from 'node:fs/promises'
import { join } from 'node:path'

export interface FoundFile {
  readonly path: string
  readonly bytes: number
  readonly mtimeMs: number
}

/** Why a path could not be looked at, by path. A path that is not there is no riddle. */
export type Unknown = Record<string, string>

/** A file as it is; undefined when it is not there or cannot be seen, which is noted. */
export async function look(path: string, unknown: Unknown): Promise<FoundFile | undefined> {
  const about = await seen(path, () => lstat(path), unknown)
  return about?.isFile() === true ? fileOf(path, about) : undefined
}

/** Every file below a folder, links not followed, up to `entriesMax`; `more` tells that there are others. */
export async function filesBelow(
  top: string,
  entriesMax: number,
  unknown: Unknown,
  signal: AbortSignal,
): Promise<{ files: FoundFile[]; more: boolean }> {
  const files: FoundFile[] = []
  const waiting = [top]
  for (let folder = waiting.pop(); folder !== undefined; folder = waiting.pop()) {
    for (const entry of await entriesOf(folder, entriesMax, unknown)) {
      signal.throwIfAborted()
      const path = join(folder, entry.name)
      if (entry.isDirectory()) waiting.push(path)
      else if (entry.isFile()) {
        if (files.length >= entriesMax) return { files, more: true }
        const found = await look(path, unknown)
        if (found !== undefined) files.push(found)
      }
    }
  }
  return { files, more: false }
}

/** What stands in a folder, by name, up to `entriesMax`; nothing where there is none. */
export async function entriesOf(folder: string, entriesMax: number, unknown: Unknown): Promise<Dirent[]> {
  const found: Dirent[] = []
  const dir = await seen(folder, () => opendir(folder), unknown)
  if (dir === undefined) return found
  for await (const entry of dir) if (found.push(entry) >= entriesMax) break
  return found.sort((a, b) => (a.name < b.name ? -1 : 1))
}

export function sumBytes(files: readonly { readonly bytes: number }[]): number {
  return files.reduce((sum, { bytes }) => sum + bytes, 0)
}

async function seen<T>(path: string, act: () => Promise<T>, unknown: Unknown): Promise<T | undefined> {
  try {
    return await act()
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? String(cause)
    if (code === 'ERR_ACCESS_DENIED') unknown[path] = 'modules are not shown it'
    else if (code !== 'ENOENT') unknown[path] = `it cannot be read (${code})`
    return undefined
  }
}

function fileOf(path: string, { size, mtimeMs }: Stats): FoundFile {
  return { path, bytes: size, mtimeMs }
}
