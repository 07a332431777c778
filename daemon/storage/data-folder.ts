import { dirname, join } from 'node:path'
import { NexusError } from '../contracts/failure.ts'
import { codeOf, type Disk } from './disk.ts'

/** Where everything lies under one data folder. */
export interface DataPaths {
  readonly root: string
  readonly operatorKey: string
  readonly journal: string
  readonly segments: string
  readonly missions: string
  readonly telemetry: string
  readonly runtimeMetrics: string
  readonly runes: string
  readonly systemState: string
  readonly generations: string
  readonly artifacts: string
  readonly quarantine: string
  readonly run: string
  readonly watermark: string
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
    telemetry: join(root, 'telemetry.jsonl'),
    runtimeMetrics: join(root, 'runtime_metrics.jsonl'),
    runes: join(root, 'runes.json'),
    systemState: join(root, 'system_state.json'),
    generations: join(root, 'generations'),
    artifacts: join(root, 'artifacts'),
    quarantine: join(root, 'quarantine'),
    run,
    watermark: join(run, 'journal.wm'),
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
    // It becomes private to this account, which nobody wants for a folder that all share.
    if (root === '/' || ((there?.mode ?? 0) & STICKY) !== 0) {
      throw unusable('others use it too', 'name a folder below it with --data-dir')
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
