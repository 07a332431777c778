import { closeSync, fchmodSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { DatabaseSync } from 'node:sqlite'
import { NexusError } from '../contracts/failure.ts'
import { dataPaths } from './data-folder.ts'
import { codeOf } from './disk.ts'

/** Held until released, whoever forgets the lock: a database that is collected as garbage would let the folder go. */
const held = new Set<DatabaseSync>()

/** A data folder held by this process. */
export interface FolderLock {
  /** Safe to call twice. */
  release(): void
}

/**
 * Holds the data folder for this process alone, until it releases it or ends, however it ends: the kernel gives the
 * lock back. A pid file could not do that, since a number may be anybody's. Nothing else may ever open and close
 * `run/lock.db` in this process, which would give the lock away. The folder must have been prepared.
 *
 * @throws NexusError `DATA_FOLDER_HELD` naming the holder, `DATA_FOLDER_UNUSABLE`.
 */
export function holdFolder(dataDir: string): FolderLock {
  const paths = dataPaths(dataDir)
  let database: DatabaseSync | undefined
  try {
    makeOnce(paths.lock)
    database = new (loadSqlite().DatabaseSync)(paths.lock)
    database.exec('BEGIN EXCLUSIVE')
    writePrivate(paths.pid, 'w', `${process.pid}\n`)
  } catch (cause) {
    database?.close()
    throw translate(cause, dataDir, paths.pid)
  }
  return releaseOf(database, paths.pid)
}

function releaseOf(database: DatabaseSync, pidFile: string): FolderLock {
  held.add(database)
  return {
    release(): void {
      if (!held.delete(database)) return
      rmSync(pidFile, { force: true })
      database.close()
    },
  }
}

/** SQLite is announced as experimental on some of our versions; that one warning is of no use to an operator. */
function loadSqlite(): typeof import('node:sqlite') {
  const emitWarning = process.emitWarning
  process.emitWarning = (warning, ...rest) => {
    if (!String(warning).includes('SQLite')) Reflect.apply(emitWarning, process, [warning, ...rest])
  }
  try {
    return process.getBuiltinModule('node:sqlite')
  } finally {
    process.emitWarning = emitWarning
  }
}

/** Only when it is missing: to open and close a file that this process has locked would unlock it. */
function makeOnce(path: string): void {
  try {
    writePrivate(path, 'wx', '')
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error
  }
}

function writePrivate(path: string, flag: 'wx' | 'w', text: string): void {
  const descriptor = openSync(path, flag, 0o600)
  try {
    fchmodSync(descriptor, 0o600)
    writeFileSync(descriptor, text)
  } finally {
    closeSync(descriptor)
  }
}

/** SQLite's primary result codes. */
const BUSY = 5

function translate(cause: unknown, dir: string, pidFile: string): NexusError {
  if (cause instanceof Error && 'errcode' in cause && Number(cause.errcode) % 256 === BUSY) {
    return new NexusError('DATA_FOLDER_HELD', { dir, pid: holder(pidFile) }, { cause })
  }
  const reason = cause instanceof Error ? cause.message : String(cause)
  const advice = 'run/lock.db must be a file this account may write; it holds nothing and may be removed'
  return new NexusError('DATA_FOLDER_UNUSABLE', { dir, reason, advice }, { cause })
}

function holder(pidFile: string): string {
  try {
    const pid = readFileSync(pidFile, 'utf8').trim()
    return /^\d+$/.test(pid) ? ` (process ${pid})` : ''
  } catch {
    return ''
  }
}
