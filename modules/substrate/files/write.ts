import { createHash, randomUUID } from 'node:crypto'
import { link, lstat, mkdir, open, opendir, readFile, realpath, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { lies, type Reach, target } from './reach.ts'
import type { Settings } from './settings.ts'

export interface WriteRequest {
  readonly path: string
  readonly content: string
  readonly encoding?: 'utf8' | 'base64'
  readonly overwrite?: boolean
}

/** Half-written files lie here until they are whole; nobody else's names do. */
const DRAFTS = '.drafts'
/** A draft this old was left behind by a crash. */
const DRAFT_MS_MAX = 3_600_000

/**
 * Writes a file into the module's own folder. It appears whole under its name, durable when this returns. The same content again
 * changes nothing, so that a repeated step does no more than once.
 *
 * @throws Error when something else stands there and `overwrite` is not given, or a limit is reached.
 */
export async function write(request: WriteRequest, settings: Settings, where: Reach): Promise<object> {
  const { path: asked, overwrite = false } = request
  const bytes = bytesOf(request)
  if (bytes.length > settings.write_bytes_max) {
    throw new Error(
      `the content has ${bytes.length} bytes, more than write_bytes_max (${settings.write_bytes_max})`,
    )
  }
  const { own, way } = await target(asked, where)
  if (way[0] === DRAFTS)
    throw new Error(`${asked} cannot be written: ${DRAFTS} is where half-written files lie`)
  const path = join(own, ...way)
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  const done = { path, bytes: bytes.length, sha256 }

  const former = await standing(path)
  if (former === 'folder') throw new Error(`${path} is a folder: name a file in it`)
  if (former === 'file' && (await readFile(path)).equals(bytes))
    return { ...done, changed: false, replaced: false }
  if (former !== undefined && !overwrite) throw taken(path)
  await checkRoom(own, bytes.length, settings)

  await makeFolders(own, way.slice(0, -1))
  const draft = await writeDraft(own, bytes)
  try {
    if (overwrite) await rename(draft, path)
    // A link never replaces: of two writers at once, one is told.
    else
      await link(draft, path).catch((cause: NodeJS.ErrnoException) =>
        Promise.reject(cause.code === 'EEXIST' ? taken(path) : cause),
      )
  } finally {
    await rm(draft, { force: true })
  }
  await syncFolder(dirname(path))
  return { ...done, changed: true, replaced: former !== undefined }
}

/** Takes away what a crash left half-written. A draft of the generation beside this one is younger. */
export async function removeOldDrafts(dataDir: string, nowMs: number): Promise<void> {
  const folder = await opendir(join(dataDir, DRAFTS)).catch(() => undefined)
  if (folder === undefined) return
  for await (const { name } of folder) {
    const path = join(dataDir, DRAFTS, name)
    const about = await lstat(path).catch(() => undefined)
    if (about !== undefined && nowMs - about.mtimeMs > DRAFT_MS_MAX) await rm(path, { force: true })
  }
}

function bytesOf({ content, encoding = 'utf8' }: WriteRequest): Buffer {
  if (encoding === 'utf8') return Buffer.from(content)
  const bytes = Buffer.from(content, 'base64')
  if (bytes.toString('base64').replace(/=+$/, '') === content.replace(/=+$/, '')) return bytes
  throw new Error('the content is not base64')
}

async function standing(path: string): Promise<'file' | 'folder' | 'other' | undefined> {
  try {
    const about = await lstat(path)
    return about.isFile() ? 'file' : about.isDirectory() ? 'folder' : 'other'
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'ENOENT') return undefined
    if (code === 'ENOTDIR')
      throw new Error(`${path} cannot be written: a part of its path is a file`, { cause })
    throw new Error(`${path} cannot be written: ${code}`, { cause })
  }
}

function taken(path: string): Error {
  return new Error(`${path} exists with other content: give overwrite, or another path`)
}

/** Counts what stands in the own folder, up to the limits. */
async function checkRoom(own: string, addedBytes: number, settings: Settings): Promise<void> {
  let files = 1
  let bytes = addedBytes
  const waiting = [own]
  for (let folder = waiting.pop(); folder !== undefined; folder = waiting.pop()) {
    for await (const entry of await opendir(folder)) {
      const path = join(folder, entry.name)
      if (path === join(own, DRAFTS)) continue
      files += 1
      if (entry.isDirectory()) waiting.push(path)
      else bytes += (await lstat(path).catch(() => undefined))?.size ?? 0
      if (files > settings.files_max) {
        throw new Error(
          `${own} holds ${settings.files_max} files, its limit: remove some, or raise files_max`,
        )
      }
      if (bytes > settings.total_bytes_max) {
        const limit = settings.total_bytes_max
        throw new Error(
          `${own} would hold more than ${limit} bytes: remove some files, or raise total_bytes_max`,
        )
      }
    }
  }
}

/** Makes the folders on the way, one by one, and refuses one that is a link leading out. */
async function makeFolders(own: string, names: readonly string[]): Promise<void> {
  let folder = own
  for (const name of names) {
    const above = folder
    folder = join(folder, name)
    const made = await mkdir(folder, { mode: 0o700 }).then(
      () => true,
      (cause: NodeJS.ErrnoException) => {
        if (cause.code === 'EEXIST') return false
        throw new Error(`the folder ${folder} cannot be made: ${cause.code}`, { cause })
      },
    )
    if (made) await syncFolder(above)
    else if (!lies(await realpath(folder), own)) throw new Error(`${folder} leads out of ${own}`)
  }
}

async function writeDraft(own: string, bytes: Buffer): Promise<string> {
  const folder = join(own, DRAFTS)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const draft = join(folder, randomUUID())
  const file = await open(draft, 'wx', 0o600)
  try {
    await file.writeFile(bytes)
    await file.datasync()
  } catch (cause) {
    await rm(draft, { force: true })
    throw cause
  } finally {
    await file.close()
  }
  return draft
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
