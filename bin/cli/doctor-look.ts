import { execFile } from 'node:child_process'
import { access, constants, lstat, open, readdir, readFile, readlink, stat, statfs } from 'node:fs/promises'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import type {
  Entry,
  FolderSeen,
  JournalSeen,
  LockSeen,
  PortSeen,
  RoomSeen,
  ToolSeen,
} from './doctor-judge.ts'

/*
 * What `nexus doctor` looks at. Nothing here changes anything, waits for long, or judges.
 */

/** Undefined when nothing is there. A link is judged by what it is, not by where it leads. */
export async function lookAtEntry(path: string): Promise<Entry | undefined> {
  try {
    const stats = await lstat(path)
    const kind = stats.isFile() ? 'file' : stats.isDirectory() ? 'folder' : 'other'
    return { kind, uid: stats.uid, mode: stats.mode & 0o7777 }
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}

export async function lookAtDataFolder(path: string, uid: number): Promise<FolderSeen> {
  const above: { path: string; entry: Entry }[] = []
  for (let at = dirname(path); ; at = dirname(at)) {
    const entry = await lookAtEntry(at)
    if (entry !== undefined) above.unshift({ path: at, entry })
    if (at === dirname(at)) break
  }
  const nearest = above.at(-1)
  const canBeMade = nearest !== undefined && (await isAllowed(nearest.path, constants.W_OK))
  return { path, uid, entry: await lookAtEntry(path), canBeMade, above }
}

/** The disk that a folder lies on, or will. */
export async function lookAtRoom(path: string): Promise<RoomSeen> {
  const { bsize, bavail, blocks, files, ffree } = await statfs(await nearestFolder(path))
  return {
    path,
    freeBytes: bavail * bsize,
    totalBytes: blocks * bsize,
    freeInodes: ffree,
    totalInodes: files,
  }
}

/** Reads the whole journal while that is a matter of a second. */
export async function lookAtJournal(
  dataDir: string,
  nowMs: number,
  isRunning: boolean,
): Promise<JournalSeen> {
  const [{ verifyJournal }, { nodeDisk }, { listSegments }, { dataPaths }] = await Promise.all([
    import('../../daemon/storage/verify.ts'),
    import('../../daemon/storage/node-disk.ts'),
    import('../../daemon/storage/segments.ts'),
    import('../../daemon/storage/data-folder.ts'),
  ])
  const paths = dataPaths(dataDir)
  const segments = (await lookAtEntry(dataDir)) === undefined ? [] : await listSegments(nodeDisk, paths)
  const bytes = segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  const aheadMs = bytes === 0 ? 0 : (await newestRecordMs(paths.journal)) - nowMs
  if (bytes > JOURNAL_BYTES_MAX) return { bytes, aheadMs, isRunning }
  const { ok, records, damage, tailOpen } = await verifyJournal(nodeDisk, dataDir)
  const openTailBytes = tailOpen?.bytes ?? 0
  return { bytes, aheadMs, isRunning, report: { ok, records, damage, openTailBytes } }
}

/** Who holds the data folder, by the kernel's own list: to try the lock could keep a daemon from starting. */
export async function lookAtLock(dataDir: string, isAnswering: boolean): Promise<LockSeen> {
  const run = join(dataDir, 'run')
  const [lock, locks, noted] = await Promise.all([
    stat(join(run, 'lock.db')).catch(() => undefined),
    readFile('/proc/locks', 'latin1').catch(() => ''),
    readFile(join(run, 'pid'), 'utf8').catch(() => ''),
  ])
  const pid = Number.parseInt(noted, 10)
  const holder = lock === undefined ? undefined : holderOf(locks, lock.ino)
  return { holder, noted: Number.isNaN(pid) ? undefined : pid, isAnswering }
}

/** The process that holds a write lock on this inode: `1: POSIX ADVISORY WRITE 4711 fe:01:131 0 EOF`. */
export function holderOf(locks: string, inode: number): number | undefined {
  for (const line of locks.split('\n')) {
    const [, , , kind, pid, place] = line.trim().split(/\s+/)
    if (kind === 'WRITE' && place?.split(':')[2] === String(inode)) return Number(pid)
  }
  return undefined
}

/** Whether a TCP port can be listened on, by trying; and who does, where it cannot. */
export async function lookAtPort(
  wanted: Pick<PortSeen, 'host' | 'port' | 'purpose' | 'rival'>,
  daemonPid: number | undefined,
): Promise<PortSeen> {
  const isRunning = daemonPid !== undefined
  const state = wanted.port === 0 ? 'free' : await tryPort(wanted.host, wanted.port)
  const holder = state === 'taken' ? await listenerOn(wanted.port) : undefined
  const isOurs = holder !== undefined && holder.pid === daemonPid
  return { ...wanted, state, holder, isOurs, isRunning }
}

/** Runs a tool as it will be run, and sees whether that worked. */
export async function tryTool(file: string, args: readonly string[]): Promise<ToolSeen> {
  return await new Promise((resolve) => {
    execFile(file, args, { timeout: TOOL_MS }, (error, _, stderr) => {
      const found = (error as NodeJS.ErrnoException | null)?.code !== 'ENOENT'
      const said = stderr.trim().split('\n')[0] || (error?.message ?? '')
      resolve({ found, works: error === null, said })
    })
  })
}

/** Folders that a watcher of this one watches, up to a bound. */
export async function countFolders(dirs: readonly string[]): Promise<number> {
  let count = 0
  const open = [...dirs]
  for (let dir = open.pop(); dir !== undefined && count < FOLDERS_MAX; dir = open.pop()) {
    const entries = await readdir(dir, { withFileTypes: true }).catch(() => undefined)
    if (entries === undefined) continue
    count += 1
    for (const entry of entries) {
      if (entry.isDirectory() && entry.name !== 'node_modules' && entry.name !== '.git') {
        open.push(join(dir, entry.name))
      }
    }
  }
  return count
}

/** A number out of a file of the kernel; infinite where there is no such limit. */
export async function kernelNumber(path: string): Promise<number> {
  const text = await readFile(path, 'latin1').catch(() => '')
  const value = Number.parseInt(text, 10)
  return Number.isNaN(value) ? Number.POSITIVE_INFINITY : value
}

/** How many inotify instances the processes of this account hold, as far as they can be seen. */
export async function inotifyInstances(): Promise<number> {
  let count = 0
  for (const pid of await processes()) {
    for (const link of await descriptors(pid)) if (link === 'anon_inode:inotify') count += 1
  }
  return count
}

/** The soft limit of open files of whatever is started here. */
export async function openFilesLimit(): Promise<number> {
  const text = await readFile('/proc/self/limits', 'latin1').catch(() => '')
  const [, soft] = /^Max open files\s+(\S+)/m.exec(text) ?? []
  return soft === undefined || soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft)
}

export async function isThere(path: string): Promise<boolean> {
  return await isAllowed(path, constants.F_OK)
}

async function nearestFolder(path: string): Promise<string> {
  let at = path
  while (!(await isThere(at)) && at !== dirname(at)) at = dirname(at)
  return at
}

async function isAllowed(path: string, mode: number): Promise<boolean> {
  return await access(path, mode).then(
    () => true,
    () => false,
  )
}

/** The time of the last whole record; 0 when there is none. */
async function newestRecordMs(file: string): Promise<number> {
  const handle = await open(file, 'r').catch(() => undefined)
  if (handle === undefined) return 0
  try {
    const { size } = await handle.stat()
    const from = Math.max(0, size - RECORD_BYTES_MAX)
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(RECORD_BYTES_MAX), 0, RECORD_BYTES_MAX, from)
    const times = [...buffer.toString('utf8', 0, bytesRead).matchAll(/"ts":"([^"]{20,30})"/g)]
    return Date.parse(times.at(-1)?.[1] ?? '') || 0
  } finally {
    await handle.close()
  }
}

async function tryPort(host: string, port: number): Promise<PortSeen['state']> {
  return await new Promise((resolve) => {
    const server = createServer()
    server.once('error', ({ code }: NodeJS.ErrnoException) => {
      if (code === 'EADDRINUSE') resolve('taken')
      else resolve(code === 'EACCES' || code === 'EPERM' ? 'denied' : 'no such address')
    })
    server.listen({ host, port }, () => server.close(() => resolve('free')))
  })
}

/** Seen for processes of this account only, unless one is root. */
async function listenerOn(port: number): Promise<{ pid: number; name: string } | undefined> {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  const tables = await Promise.all(
    ['tcp', 'tcp6'].map((name) => readFile(`/proc/self/net/${name}`, 'latin1').catch(() => '')),
  )
  const rows = tables
    .join('\n')
    .split('\n')
    .map((row) => row.trim().split(/\s+/))
  const sockets = new Set(
    rows.filter((row) => row[1]?.endsWith(wanted) && row[3] === '0A').map((row) => `socket:[${row[9]}]`),
  )
  for (const pid of await processes()) {
    if (!(await descriptors(pid)).some((link) => sockets.has(link))) continue
    const name = await readFile(`/proc/${pid}/comm`, 'latin1').catch(() => 'a process')
    return { pid, name: name.trim() }
  }
  return undefined
}

async function processes(): Promise<number[]> {
  return (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name)).map(Number)
}

async function descriptors(pid: number): Promise<string[]> {
  const names = await readdir(`/proc/${pid}/fd`).catch(() => [])
  return await Promise.all(names.map((name) => readlink(`/proc/${pid}/fd/${name}`).catch(() => '')))
}

function isMissing(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException
  return code === 'ENOENT' || code === 'ENOTDIR'
}

const JOURNAL_BYTES_MAX = 64 * 1_048_576
/** A line of the journal. */
const RECORD_BYTES_MAX = 65_536
const TOOL_MS = 5_000
/** More than any machine watches. */
const FOLDERS_MAX = 200_000
