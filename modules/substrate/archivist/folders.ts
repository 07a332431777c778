import { opendir, stat } from 'node:fs/promises'
import { extname, join } from 'node:path'
import type { Settings } from './settings.ts'

/** Deeper folders are a loop of mounts or a mistake. */
const DEPTH_MAX = 32

/** Why files were passed over, and how many. */
export interface Skipped {
  other_type: number
  too_large: number
  binary: number
  links: number
  unreadable: number
  folders: number
  beyond_limit: number
}

export interface FoundFile {
  readonly path: string
  readonly bytes: number
  readonly mtimeMs: number
}

export function nothingSkipped(): Skipped {
  return { other_type: 0, too_large: 0, binary: 0, links: 0, unreadable: 0, folders: 0, beyond_limit: 0 }
}

/**
 * The text files under a folder, or the one file that is named. Links are not followed, hidden and unwanted folders not
 * entered; everything passed over is counted in `skipped`.
 */
export async function* filesUnder(
  top: string,
  settings: Settings,
  closed: readonly string[],
  skipped: Skipped,
  signal: AbortSignal,
): AsyncGenerator<FoundFile> {
  const about = await stat(top)
  if (about.isFile()) {
    if (about.size > settings.file_bytes_max) skipped.too_large += 1
    else yield { path: top, bytes: about.size, mtimeMs: about.mtimeMs }
    return
  }
  const waiting = [{ path: top, depth: 0 }]
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    signal.throwIfAborted()
    const { path, depth } = next
    const entries = await opendir(path).catch(() => undefined)
    if (entries === undefined) {
      skipped.unreadable += 1
      continue
    }
    for await (const entry of entries) {
      const inner = join(path, entry.name)
      if (entry.isSymbolicLink()) skipped.links += 1
      else if (entry.isDirectory()) {
        const unwanted = entry.name.startsWith('.') || settings.skip_folders.includes(entry.name)
        if (unwanted || closed.includes(inner) || depth === DEPTH_MAX) skipped.folders += 1
        else waiting.push({ path: inner, depth: depth + 1 })
      } else if (!entry.isFile() || !settings.extensions.includes(extname(entry.name).toLowerCase())) {
        skipped.other_type += 1
      } else {
        const file = await stat(inner).catch(() => undefined)
        if (file === undefined) skipped.unreadable += 1
        else if (file.size > settings.file_bytes_max) skipped.too_large += 1
        else yield { path: inner, bytes: file.size, mtimeMs: file.mtimeMs }
      }
    }
  }
}
