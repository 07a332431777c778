import { type FileHandle, open, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { RecordPaths } from 'aeon-nexus/module'

/** One of the files that missions are recorded in. */
export interface MissionFile {
  readonly path: string
  readonly bytes: number
  /** Stays the same when the file is sealed, which gives it another name. */
  readonly inode: number
}

/** A file is sealed once in 64 MiB. */
const TRIES_MAX = 4

/** The files that there are, newest first: the one that is written to, then the sealed ones by number. */
export async function missionFiles(
  records: Pick<RecordPaths, 'missions' | 'mission_segments'>,
): Promise<readonly MissionFile[]> {
  for (let tries = 1; ; tries += 1) {
    const active = await fileAt(records.missions)
    const names = await readdir(records.mission_segments).catch(missing)
    const numbered = (names ?? []).filter((name) => /^\d{8}\.jsonl$/.test(name)).sort()
    const sealed = await Promise.all(
      numbered.reverse().map((name) => fileAt(join(records.mission_segments, name))),
    )
    // Sealed in between, it would be among them twice, and the one after it not at all.
    const isSame = (await fileAt(records.missions))?.inode === active?.inode
    const found = [active, ...sealed].filter((file) => file !== undefined)
    if (isSame || tries === TRIES_MAX) return found
  }
}

/** Opens such a file, also when it was sealed since; undefined when it is gone. */
export async function openMissionFile(
  records: Pick<RecordPaths, 'missions' | 'mission_segments'>,
  file: MissionFile,
): Promise<FileHandle | undefined> {
  let path: string | undefined = file.path
  for (let tries = 1; path !== undefined && tries <= TRIES_MAX; tries += 1) {
    const handle = await open(path).catch(missing)
    if ((await handle?.stat())?.ino === file.inode) return handle
    await handle?.close()
    path = (await missionFiles(records)).find(({ inode }) => inode === file.inode)?.path
  }
  return undefined
}

async function fileAt(path: string): Promise<MissionFile | undefined> {
  const about = await stat(path).catch(missing)
  return about === undefined ? undefined : { path, bytes: about.size, inode: about.ino }
}

/** For `catch`: what is not there is undefined. */
function missing(cause: NodeJS.ErrnoException): undefined {
  if (cause.code !== 'ENOENT') throw cause
}
