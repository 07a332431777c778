import { createHash } from 'node:crypto'
import { join } from 'node:path'
import type { DataPaths } from './data-folder.ts'
import { type Disk, type DiskFile, writeAll } from './disk.ts'
import type { Torn } from './recovery.ts'
import { ACTIVE_NAME } from './segments.ts'
import { CHUNK_BYTES } from './walk.ts'

/** A torn tail that was moved out of the journal. */
export interface Cut {
  /** The file it was cut from. */
  readonly file: string
  readonly bytes: number
  /** Name below `quarantine/`. */
  readonly quarantine: string
}

/**
 * Moves the torn end of the active segment to quarantine: first the copy is durable, then the journal is cut.
 *
 * The copy's name tells the seq that was lost, the place and the content, so that a crash in between and a second
 * try end with the same single file.
 */
export async function cutTail(disk: Disk, paths: DataPaths, torn: Torn, seq: number): Promise<void> {
  const journal = await disk.open(paths.journal, 'append')
  try {
    const sum = createHash('sha256')
    await eachChunk(journal, torn, async (bytes) => {
      sum.update(bytes)
    })
    const name = `audit-${String(seq).padStart(12, '0')}-${torn.offset}-${sum.digest('hex').slice(0, 12)}.torn`
    const copy = await disk.open(join(paths.quarantine, name), 'overwrite')
    try {
      await eachChunk(journal, torn, async (bytes, at) => {
        await writeAll(copy, bytes, at)
      })
      await copy.truncate(torn.sizeBytes)
      await copy.datasync()
    } finally {
      await copy.close()
    }
    await disk.syncDir(paths.quarantine)
    await journal.truncate(torn.offset)
    await journal.datasync()
  } finally {
    await journal.close()
  }
}

/** Cuts that no record tells of yet: those made where the journal now ends. */
export async function unrecordedCuts(disk: Disk, paths: DataPaths, nextSeq: number): Promise<Cut[]> {
  const found: Cut[] = []
  for (const name of await disk.list(paths.quarantine)) {
    const seq = /^audit-(\d+)-\d+-[0-9a-f]{12}\.torn$/.exec(name)?.[1]
    if (seq === undefined || Number(seq) !== nextSeq) continue
    const entry = await disk.stat(join(paths.quarantine, name))
    found.push({ file: ACTIVE_NAME, bytes: entry?.sizeBytes ?? 0, quarantine: name })
  }
  return found
}

/** `at` counts from the start of the torn bytes. */
async function eachChunk(
  file: DiskFile,
  torn: Torn,
  use: (bytes: Buffer, at: number) => Promise<void>,
): Promise<void> {
  for (let at = 0; at < torn.sizeBytes; at += CHUNK_BYTES) {
    await use(await file.read(torn.offset + at, Math.min(CHUNK_BYTES, torn.sizeBytes - at)), at)
  }
}
