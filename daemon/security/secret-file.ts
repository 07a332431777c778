import { constants, type Stats } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { NexusError } from '../contracts/failure.ts'
import { codeOf } from '../storage/disk.ts'

const SECRET_BYTES_MAX = 512

/**
 * Reads a secret, provided that nobody but our account could have read or written it.
 *
 * @returns Its text without white space around it; undefined when there is no such file.
 * @throws NexusError `KEY_FILE_UNSAFE`.
 */
export async function readSecret(file: string): Promise<string | undefined> {
  try {
    const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    try {
      const stats = await handle.stat()
      const reason = whyUnsafe(stats)
      if (reason !== undefined) throw new NexusError('KEY_FILE_UNSAFE', { file, reason })
      return (await handle.readFile('utf8')).trim()
    } finally {
      await handle.close()
    }
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    const reason = OPEN_FAULTS[codeOf(error)]
    if (reason === undefined) throw error
    throw new NexusError('KEY_FILE_UNSAFE', { file, reason }, { cause: error })
  }
}

/** Writes a secret to a file that must be new, 0600 whatever the umask, and makes it durable. */
export async function createSecret(file: string, text: string): Promise<void> {
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants
  const handle = await open(file, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
  try {
    await handle.chmod(0o600)
    await handle.writeFile(`${text}\n`)
    await handle.sync()
  } catch (error) {
    // Half a key is worse than none: the next start would refuse it.
    await rm(file, { force: true })
    throw error
  } finally {
    await handle.close()
  }
  await syncFolder(dirname(file))
}

/** Puts a new secret where an older one may stand, in one step. */
export async function replaceSecret(file: string, text: string): Promise<void> {
  const next = `${file}.new`
  await rm(next, { force: true })
  await createSecret(next, text)
  await rename(next, file)
}

const OPEN_FAULTS: Readonly<Record<string, string>> = {
  ELOOP: 'it is a symbolic link',
  EACCES: 'the account of the daemon may not read it',
  ENXIO: 'it is a socket or a device',
}

function whyUnsafe(stats: Stats): string | undefined {
  if (!stats.isFile()) return 'it is no plain file'
  const mode = stats.mode & 0o777
  if ((mode & 0o077) !== 0) return `its mode is ${mode.toString(8)}, others than its owner may use it`
  if (stats.uid !== process.geteuid?.()) return `it belongs to the account ${stats.uid}`
  if (stats.nlink > 1) return 'it has a second name elsewhere (a hard link)'
  if (stats.size > SECRET_BYTES_MAX) return `it has more than ${SECRET_BYTES_MAX} bytes`
  return undefined
}

async function syncFolder(dir: string): Promise<void> {
  const handle = await open(dir, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
