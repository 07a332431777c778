import { constants } from 'node:fs'
import { realpath, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Issue } from '../contracts/failure.ts'
import type { ModuleId } from '../contracts/ids.ts'
import { type Manifest, ManifestSchema } from '../contracts/manifest.ts'
import { checker } from '../kit/schema.ts'
import { readStrictJson } from '../kit/strict-json.ts'
import { codeOf } from '../storage/disk.ts'
import { judgeManifest } from './manifest-rules.ts'
import type { CatalogEntry } from './port.ts'
import { judgeSafeFile, readSafeFile, refuseFolder, UnsafeFile } from './safe-file.ts'

/** What a manifest is called. */
export const MANIFEST_NAME = 'module.json'
/** Twenty times the longest one we can imagine. */
const MANIFEST_BYTES_MAX = 65_536

export interface ManifestRules {
  readonly owners: ReadonlySet<number>
  /** Hears of what is unwise but allowed. */
  warn(message: string, facts: Readonly<Record<string, string>>): void
}

/**
 * Reads and judges the manifest of one module folder. Whatever is wrong with it is in the answer; only errors of the
 * machine are thrown.
 */
export async function readManifest(
  moduleId: ModuleId,
  folder: string,
  rules: ManifestRules,
): Promise<CatalogEntry> {
  const file = join(folder, MANIFEST_NAME)
  const invalid = (issues: readonly Issue[], at = file): CatalogEntry =>
    invalidEntry(moduleId, folder, at, issues)

  const real = await openFolder(moduleId, folder, rules)
  if (typeof real !== 'string') return invalid([real], folder)
  const within = { within: real, owners: rules.owners }

  const read = await attempt(readSafeFile(file, { ...within, bytesMax: MANIFEST_BYTES_MAX }))
  if (!read.ok) return invalid([{ pointer: '', detail: read.detail }])
  if (read.value.groupWritable) {
    rules.warn('the manifest may be written by its whole group', { module: moduleId, file })
  }
  const json = readStrictJson(read.value.bytes)
  if (!json.ok) return invalid([json.issue])
  const checked = checkShape(json.value)
  if (!checked.ok) return invalid(checked.issues)
  const issues = judgeManifest(moduleId, checked.value)
  if (issues.length > 0) return invalid(issues)

  if (checked.value.runtime === 'exec') {
    const fault = await programFault(folder, checked.value.command?.[0] ?? '', within)
    return fault === undefined
      ? { kind: 'valid', moduleId, folder, manifest: checked.value }
      : invalid([fault])
  }
  const entry = await findEntry(folder, checked.value.entry, within)
  if (typeof entry !== 'string') return invalid([entry])
  return { kind: 'valid', moduleId, folder, manifest: { ...checked.value, entry } }
}

/** An invalid entry with its reason in one sentence: file, pointer and what to do. */
export function invalidEntry(
  moduleId: ModuleId,
  folder: string,
  file: string,
  issues: readonly Issue[],
): CatalogEntry {
  const told = issues.slice(0, ISSUES_TOLD_MAX).map(({ pointer, detail }) => `${pointer} ${detail}`.trim())
  const more = issues.length > told.length ? [`and ${issues.length - told.length} more`] : []
  return {
    kind: 'invalid',
    moduleId,
    folder,
    file,
    issues,
    reason: `${file}: ${[...told, ...more].join('; ')}`,
  }
}

const ISSUES_TOLD_MAX = 3
const checkShape = checker<Manifest>(ManifestSchema, { defaults: true })
/** The larger of two exists only by mistake; what is built goes before what it was built from. */
const ENTRY_NAMES = ['index.js', 'index.ts']
const ENTRY_BYTES_MAX = 16 * 1_048_576
/** A compiled program carries its libraries. */
const PROGRAM_BYTES_MAX = 64 * 1_048_576

/** The real path of a module folder that may be trusted, or what is wrong with it. */
async function openFolder(moduleId: ModuleId, folder: string, rules: ManifestRules): Promise<string | Issue> {
  const look = await attempt(realFolder(folder, rules.owners))
  if (!look.ok) return { pointer: '', detail: look.detail }
  if (look.value.groupWritable) {
    rules.warn('the module folder may be written by its whole group', { module: moduleId, folder })
  }
  return look.value.real
}

async function realFolder(
  folder: string,
  owners: ReadonlySet<number>,
): Promise<{ real: string; groupWritable: boolean }> {
  const real = await realpath(folder)
  const stats = await stat(real)
  if (!stats.isDirectory()) throw new UnsafeFile('is not a folder')
  await refuseFolder(real, stats, owners)
  return { real, groupWritable: (stats.mode & constants.S_IWGRP) !== 0 }
}

/** The entry's name, once it is known to be a plain file of this folder. */
async function findEntry(
  folder: string,
  named: string | undefined,
  rules: { within: string; owners: ReadonlySet<number> },
): Promise<string | Issue> {
  for (const name of named === undefined ? ENTRY_NAMES : [named]) {
    const look = await attempt(judgeSafeFile(join(folder, name), { ...rules, bytesMax: ENTRY_BYTES_MAX }))
    if (look.ok) return name
    if (!look.missing) return { pointer: '/entry', detail: `${name} ${look.detail}` }
  }
  const wanted = named ?? ENTRY_NAMES.join(' or ')
  return {
    pointer: '/entry',
    detail: `names ${wanted}, which is not in the folder; add it or correct \`entry\``,
  }
}

/** What is wrong with the program of an `exec` module; one on PATH is looked for when it starts. */
async function programFault(
  folder: string,
  program: string,
  rules: { within: string; owners: ReadonlySet<number> },
): Promise<Issue | undefined> {
  if (!program.includes('/')) return undefined
  const issue = (detail: string): Issue => ({ pointer: '/command/0', detail: `${program} ${detail}` })
  const look = await attempt(judgeSafeFile(join(folder, program), { ...rules, bytesMax: PROGRAM_BYTES_MAX }))
  if (!look.ok) return issue(look.missing ? 'is not in the folder; add it or correct `command`' : look.detail)
  return look.value.executable ? undefined : issue('may not be executed; run `chmod u+x` on it')
}

type Attempt<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly detail: string; readonly missing: boolean }

/** Turns what the file system and our own rules refuse into a sentence. */
async function attempt<T>(reading: Promise<T>): Promise<Attempt<T>> {
  try {
    return { ok: true, value: await reading }
  } catch (error) {
    if (error instanceof UnsafeFile) return { ok: false, detail: error.message, missing: false }
    const code = codeOf(error)
    const detail = WHAT_CODES_MEAN[code]
    if (detail === undefined) throw error
    return { ok: false, detail, missing: code === 'ENOENT' }
  }
}

const WHAT_CODES_MEAN: Readonly<Record<string, string>> = {
  ENOENT: 'is missing; a module needs one',
  ENOTDIR: 'is not in a folder',
  EACCES: 'may not be read by the account of the daemon; run `chmod u+r` or `chown` on it',
  EPERM: 'may not be read by the account of the daemon; run `chmod u+r` or `chown` on it',
  ELOOP: 'is a link that leads in a circle',
  ENXIO: 'is a socket, not a plain file',
  ENAMETOOLONG: 'has a path that is too long for the system',
}
