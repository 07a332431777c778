import { basename, dirname, join } from 'node:path'
import { NexusError } from '../contracts/failure.ts'
import { codeOf, type Disk, type DiskEntry } from './disk.ts'

/** Where everything lies under one data folder. */
export interface DataPaths {
  readonly root: string
  readonly operatorKey: string
  readonly journal: string
  readonly segments: string
  readonly missions: string
  readonly missionSegments: string
  readonly index: string
  readonly telemetry: string
  readonly runtimeMetrics: string
  readonly runes: string
  readonly systemState: string
  /** The snapshot before the last one. */
  readonly formerState: string
  readonly generations: string
  readonly artifacts: string
  readonly quarantine: string
  readonly run: string
  readonly watermark: string
  /** What a repair is about to tell the journal. */
  readonly repair: string
  readonly lock: string
  readonly pid: string
  readonly socket: string
  readonly localToken: string
}

/** The layout of a data folder. */
export function dataPaths(root: string): DataPaths {
  const run = join(root, 'run')
  return {
    root,
    operatorKey: join(root, 'operator_pin.txt'),
    journal: join(root, 'audit.jsonl'),
    segments: join(root, 'audit'),
    missions: join(root, 'missions.jsonl'),
    missionSegments: join(root, 'missions'),
    index: join(root, 'index'),
    telemetry: join(root, 'telemetry.jsonl'),
    runtimeMetrics: join(root, 'runtime_metrics.jsonl'),
    runes: join(root, 'runes.json'),
    systemState: join(root, 'system_state.json'),
    formerState: join(root, 'system_state.former.json'),
    generations: join(root, 'generations'),
    artifacts: join(root, 'artifacts'),
    quarantine: join(root, 'quarantine'),
    run,
    watermark: join(run, 'journal.wm'),
    repair: join(run, 'journal.repair'),
    lock: join(run, 'lock.db'),
    pid: join(run, 'pid'),
    socket: join(run, 'nexus.sock'),
    localToken: join(run, 'local.token'),
  }
}

/**
 * Makes the data folder, or what it lacks, private to this account. Changes nothing that a daemon may be using, so
 * that it can come before `holdFolder`.
 *
 * @throws NexusError `DATA_FOLDER_UNUSABLE` with what to do about it.
 */
export async function prepareDataFolder(disk: Disk, root: string): Promise<DataPaths> {
  const paths = dataPaths(root)
  const unusable = (reason: string, advice: string, cause?: unknown): NexusError =>
    new NexusError('DATA_FOLDER_UNUSABLE', { dir: root, reason, advice }, { cause })
  try {
    const there = await disk.stat(root)
    if (there !== undefined && there.kind !== 'directory') {
      throw unusable('it is not a folder', 'name a folder with --data-dir, or move that file away')
    }
    if (there !== undefined && (await isShared(disk, paths, there))) {
      throw unusable(
        'it holds other things, and would become private',
        'name a folder of its own with --data-dir',
      )
    }
    const isNew = await disk.makeDir(root)
    for (const dir of [paths.segments, paths.generations, paths.artifacts, paths.quarantine, paths.run]) {
      await disk.makeDir(dir)
    }
    const probe = join(paths.run, `probe-${process.pid}.tmp`)
    await (await disk.open(probe, 'overwrite')).close()
    await disk.unlink(probe)
    await disk.syncDir(root)
    if (isNew) await disk.syncDir(dirname(root))
  } catch (error) {
    if (error instanceof NexusError) throw error
    throw unusable(codeOf(error), adviceFor(codeOf(error), root), error)
  }
  return paths
}

/** The folder becomes private to this account. Nobody wants that for `/tmp` or `/etc`, given by mistake. */
async function isShared(disk: Disk, paths: DataPaths, root: DiskEntry): Promise<boolean> {
  if ((root.mode & 0o7777) === 0o700) return false
  if ((await disk.stat(paths.journal)) !== undefined) return false
  const own = new Set(Object.values(paths).map((path) => basename(path)))
  const harmless = ['README.md', 'lost+found', '.gitignore', '.gitkeep', '.DS_Store']
  const foreign = (await disk.list(paths.root)).filter((name) => !own.has(name) && !harmless.includes(name))
  return (root.mode & STICKY) !== 0 || foreign.length > 0
}

const STICKY = 0o1000

function adviceFor(code: string, root: string): string {
  const account = process.getuid?.() ?? 'this account'
  if (code === 'EACCES' || code === 'EPERM') {
    return `run \`chown -R ${account} ${root}\` as root, or name another folder with --data-dir`
  }
  if (code === 'EROFS') return 'its file system is read-only: mount it writable, or use another --data-dir'
  if (code === 'ENOSPC' || code === 'EDQUOT') return 'make room on its disk, then start again'
  if (code === 'ENOTDIR') return 'a part of its path is a file: name another folder with --data-dir'
  return 'name another folder with --data-dir'
}
