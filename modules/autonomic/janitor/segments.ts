import { readdir, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'

/** One file of the journal. */
export interface JournalFile {
  readonly path: string
  /** As people read it. */
  readonly name: string
  /** The number its name promises; the active file promises none. */
  readonly first: number | undefined
  readonly bytes: number
  /** Changes when another file takes the name. */
  readonly id: string
}

/** The sealed segments in order. The oldest may be gone: what the daemon has compacted is. */
export async function sealedSegments(folder: string): Promise<JournalFile[]> {
  const names = (await readdir(folder).catch(absent)) ?? []
  const numbered = names.filter((name) => /^\d{12,16}\.jsonl$/.test(name))
  const found = await Promise.all(
    numbered.map((name) =>
      fileAt(join(folder, name), `${basename(folder)}/${name}`, Number.parseInt(name, 10)),
    ),
  )
  const first = (file: JournalFile): number => file.first ?? 0
  return found.filter((file) => file !== undefined).sort((one, other) => first(one) - first(other))
}

/** A file as it is now; undefined when it is not there. */
export async function fileAt(
  path: string,
  name: string,
  first: number | undefined,
): Promise<JournalFile | undefined> {
  const about = await stat(path).catch(absent)
  return about === undefined
    ? undefined
    : { path, name, first, bytes: about.size, id: `${name}=${about.ino}` }
}

/** For `catch`: what is not there is undefined. */
export function absent(cause: NodeJS.ErrnoException): undefined {
  if (cause.code !== 'ENOENT') throw cause
}
