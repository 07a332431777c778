import { createHash, randomUUID } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { GenerationId, ModuleId } from '../contracts/ids.ts'
import { STRIPPED_FOLDER } from '../contracts/wire.ts'
import { codeOf } from '../storage/disk.ts'
import type { TreeFile } from './tree.ts'

/** A larger one is data in disguise, and left to the host. */
const SCRIPT_BYTES_MAX = 4 * 1_048_576

export interface StrippedRules {
  /** Real path. */
  readonly generationsDir: string
  /** Null for text that cannot be stripped. */
  strip(code: string): Promise<string | null>
}

/**
 * Keeps the JavaScript of a generation's TypeScript beside it, so that no host needs Node's own stripper: 20 MB and
 * 30 ms each. A host that misses a copy strips the source itself, and tells of its errors as ever.
 *
 * The copies are derived and not trusted: an index names the hash of each source and of what was made of it, and both
 * are compared again whenever a generation is handed out. The sources are those whose hashes made the generation's id.
 * What does not match, or is torn (nothing here is synced), goes and is made anew; what another generation has already
 * is taken from there.
 *
 * @param dir - The generation; `files` are its files as they were hashed.
 * @throws Error what `strip` throws, and the system's own errors. No copies are left then.
 */
export async function stripGeneration(
  moduleId: ModuleId,
  id: GenerationId,
  dir: string,
  files: readonly TreeFile[],
  { generationsDir, strip }: StrippedRules,
): Promise<void> {
  const scripts = files.filter(isScript)
  if (scripts.length === 0) return
  const home = homeOf(generationsDir, moduleId)
  const place = join(home, id)
  if (await isWhole(place, scripts)) return

  await rm(place, { recursive: true, force: true })
  const known = await knownIn(home)
  const made = `${place}.tmp-${randomUUID()}`
  const index: Record<string, IndexEntry> = {}
  try {
    await mkdir(made, { recursive: true, mode: 0o700 })
    for (const { path, sha256 } of scripts) {
      const old = await reused(known.get(sha256))
      const js = old === undefined ? await strip(await sourceOf(join(dir, path), sha256)) : old
      index[path] = { source: sha256, output: js === null ? null : sha256Of(js) }
      if (js === null) continue
      await mkdir(dirname(join(made, path)), { recursive: true, mode: 0o700 })
      await writeFile(join(made, path), js, { mode: 0o600, flag: 'wx' })
    }
    await writeFile(`${place}.json`, JSON.stringify(index), { mode: 0o600 })
    await rename(made, place)
  } finally {
    await rm(made, { recursive: true, force: true })
  }
}

/** Removes the copies of generations that are not in `keep`. */
export async function pruneStripped(
  moduleId: ModuleId,
  keep: readonly GenerationId[],
  generationsDir: string,
): Promise<void> {
  const home = homeOf(generationsDir, moduleId)
  for (const name of await namesIn(home)) {
    const [id = '', rest = ''] = name.split(/(?=\.)/)
    if (keep.includes(id) && (rest === '' || rest === '.json')) continue
    await rm(join(home, name), { recursive: true, force: true })
  }
}

/** Of one file: null when it cannot be stripped, so that it is not tried at every start. */
interface IndexEntry {
  readonly source: string
  readonly output: string | null
}

type Script = TreeFile & { readonly sha256: string }

/** Types alone are never loaded, and Node takes no TypeScript out of `node_modules`. */
function isScript(file: TreeFile): file is Script {
  if (file.sha256 === undefined || file.sizeBytes > SCRIPT_BYTES_MAX) return false
  return !/\.d\.m?ts$/.test(file.path) && !file.path.split('/').includes('node_modules')
}

function homeOf(generationsDir: string, moduleId: ModuleId): string {
  return join(generationsDir, STRIPPED_FOLDER, moduleId)
}

/** Whether the copies are those of these scripts, to the byte, and nothing lies beside them. */
async function isWhole(place: string, scripts: readonly Script[]): Promise<boolean> {
  const index = await readIndex(place)
  const expected = scripts.filter(({ path }) => index.get(path)?.output !== null)
  const there = await readdir(place, { recursive: true, withFileTypes: true }).catch(missing)
  if (there?.filter((entry) => !entry.isDirectory()).length !== expected.length) return false
  if (scripts.some(({ path, sha256 }) => index.get(path)?.source !== sha256)) return false
  for (const { path } of expected) {
    const js = await reused({ file: join(place, path), output: index.get(path)?.output ?? '' })
    if (js === undefined) return false
  }
  return true
}

interface Known {
  readonly file: string
  readonly output: string | null
}

/** What was made of each source so far, by its hash. */
async function knownIn(home: string): Promise<Map<string, Known>> {
  const known = new Map<string, Known>()
  for (const name of await namesIn(home)) {
    if (!name.endsWith('.json')) continue
    const place = join(home, name.slice(0, -'.json'.length))
    for (const [path, { source, output }] of await readIndex(place)) {
      known.set(source, { file: join(place, path), output })
    }
  }
  return known
}

/** What was made earlier, if every byte is still there; undefined when it must be made again. */
async function reused(known: Known | undefined): Promise<string | null | undefined> {
  if (known === undefined || known.output === null) return known?.output
  const js = await readFile(known.file, 'utf8').catch(missing)
  return js !== undefined && sha256Of(js) === known.output ? js : undefined
}

/** An index that is torn, or was never written, is an empty one. */
async function readIndex(place: string): Promise<Map<string, IndexEntry>> {
  try {
    return new Map(Object.entries(JSON.parse(await readFile(`${place}.json`, 'utf8'))))
  } catch (error) {
    if (!(error instanceof SyntaxError)) missing(error)
    return new Map()
  }
}

async function sourceOf(file: string, sha256: string): Promise<string> {
  const bytes = await readFile(file)
  if (sha256Of(bytes) !== sha256) throw new Error(`${file} is not what was hashed`)
  return bytes.toString('utf8')
}

function sha256Of(text: string | Buffer): string {
  return createHash('sha256').update(text).digest('hex')
}

async function namesIn(dir: string): Promise<string[]> {
  return (await readdir(dir).catch(missing)) ?? []
}

function missing(error: unknown): undefined {
  const code = codeOf(error)
  if (code !== 'ENOENT' && code !== 'ENOTDIR' && code !== 'EISDIR') throw error
}
