import type { Dirent, Stats } from 'node:fs'
import { lstat, opendir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type Reach, reach } from './reach.ts'

export interface ListRequest {
  readonly path?: string
  readonly limit?: number
  readonly cursor?: string
}

/** A page of a folder, sorted by name. Only what may be on the page is held, however large the folder. */
export async function list(request: ListRequest, where: Reach, signal: AbortSignal): Promise<object> {
  const { path: asked, limit = 100, cursor = '' } = request
  if (asked === undefined) return places(where)
  const path = await reach(asked, where)
  const folder = await opendir(path).catch((cause: NodeJS.ErrnoException) => {
    const why = cause.code === 'ENOTDIR' ? 'it is no folder' : cause.code
    throw new Error(`${path} cannot be listed: ${why}`, { cause })
  })
  let page: Dirent[] = []
  for await (const entry of folder) {
    signal.throwIfAborted()
    if (entry.name <= cursor) continue
    page.push(entry)
    if (page.length > 4 * limit) page = first(page, limit + 1)
  }
  page = first(page, limit + 1)
  const shown = page.slice(0, limit)
  const entries = await Promise.all(shown.map((entry) => describe(path, entry)))
  return { path, entries, next_cursor: page.length > limit ? (shown.at(-1)?.name ?? null) : null }
}

/** Where to begin. */
function places({ roots }: Reach): object {
  const entries = [...roots, '$DATA'].map((name) => ({ name, kind: 'folder' }))
  return { path: '', entries, next_cursor: null }
}

/** What a path is, links followed. */
export async function describePath(asked: string, where: Reach): Promise<object> {
  const path = await reach(asked, where)
  return { path, ...facts(await stat(path)) }
}

/** A link is shown as one and not followed: where it leads may be out of bounds. */
async function describe(folder: string, entry: Dirent): Promise<object> {
  if (entry.isSymbolicLink()) return { name: entry.name, kind: 'link' }
  const about = await lstat(join(folder, entry.name)).catch(() => undefined)
  return about === undefined ? { name: entry.name, kind: 'other' } : { name: entry.name, ...facts(about) }
}

function facts(about: Stats): { kind: string; bytes: number; modified_at: string } {
  const kind = about.isFile() ? 'file' : about.isDirectory() ? 'folder' : 'other'
  return { kind, bytes: about.isFile() ? about.size : 0, modified_at: about.mtime.toISOString() }
}

function first(entries: readonly Dirent[], count: number): Dirent[] {
  return [...entries].sort((a, b) => (a.name < b.name ? -1 : 1)).slice(0, count)
}
