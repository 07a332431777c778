import { open, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { LINE_BYTES_MAX } from './chain.ts'

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

/**
 * The sealed segments, found one from the other: each is named by its first record, which follows the last one of the
 * segment before. Listing the folder would be simpler, but Node's permission model refuses that for a folder whose name
 * begins another permitted one, as `audit` begins `audit.jsonl`.
 */
export async function sealedSegments(folder: string): Promise<JournalFile[]> {
  const found: JournalFile[] = []
  for (let first: number | undefined = 1; first !== undefined; ) {
    const name = `${String(first).padStart(12, '0')}.jsonl`
    const file: JournalFile | undefined = await fileAt(
      join(folder, name),
      `${basename(folder)}/${name}`,
      first,
    )
    if (file === undefined) break
    found.push(file)
    const last = await lastNumber(file)
    // Without a last record the chain breaks here, and whoever follows it will say so.
    first = last === undefined || last < first ? undefined : last + 1
  }
  return found
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

async function lastNumber({ path, bytes }: JournalFile): Promise<number | undefined> {
  const file = await open(path, 'r').catch(absent)
  if (file === undefined) return undefined
  try {
    const buffer = Buffer.alloc(Math.min(bytes, LINE_BYTES_MAX))
    const { bytesRead } = await file.read(buffer, 0, buffer.length, bytes - buffer.length)
    const line = buffer.toString('latin1', 0, bytesRead).trimEnd().split('\n').at(-1) ?? ''
    const number = /^\{"v":\d+,"seq":(\d{1,15}),/.exec(line)?.[1]
    return number === undefined ? undefined : Number(number)
  } finally {
    await file.close()
  }
}
