import { createHash } from 'node:crypto'
import { lstat, realpath, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { codeOf } from '../storage/disk.ts'
import { isForeignFolder, isPassing, isVersionFolder } from './editor-files.ts'
import { entriesOf } from './entries.ts'
import { isInside, readSafeFile, refuseFolder, type SafeFile, UnsafeFile } from './safe-file.ts'

/** More than a module with a fair number of dependencies has, and copied in seconds. */
const FILES_MAX = 10_000
const TREE_BYTES_MAX = 64 * 1_048_576
const DEPTH_MAX = 32

export interface TreeRules {
  readonly owners: ReadonlySet<number>
  readonly filesMax?: number
  readonly bytesMax?: number
}

export interface TreeFile {
  /** Relative to the root, with slashes. */
  readonly path: string
  readonly sizeBytes: number
  readonly executable: boolean
  /** Of TypeScript: SHA-256 of the bytes, hex. */
  readonly sha256?: string
}

export interface TreeHash {
  /** SHA-256, hex. */
  readonly hash: string
  readonly files: readonly TreeFile[]
}

/** Hears of each file in the order in which it is hashed, with its bytes. */
export type TreeVisitor = (path: string, file: Pick<SafeFile, 'bytes' | 'executable'>) => Promise<void>

/**
 * The content hash of a module folder: paths (sorted), whether the owner may execute, and bytes. Times, owners and
 * other modes do not count, nor do empty folders, editors' passing files and `.git`.
 *
 * A folder without a `package.json` is hashed as if it had the one its generation gets, so that a generation has the
 * hash of the folder it was made from.
 *
 * @throws UnsafeFile with the file's name in front.
 */
export async function hashTree(root: string, rules: TreeRules, visit?: TreeVisitor): Promise<TreeHash> {
  const real = await realpath(root)
  const paths = await listTree(real, rules)
  const hasPackage = paths.includes(PACKAGE_NAME)
  if (!hasPackage) paths.push(PACKAGE_NAME)
  paths.sort()

  const hash = createHash('sha256')
  const files: TreeFile[] = []
  let bytesLeft = rules.bytesMax ?? TREE_BYTES_MAX
  for (const path of paths) {
    const file =
      path === PACKAGE_NAME && !hasPackage ? PACKAGE : await readPart(real, path, bytesLeft, rules.owners)
    bytesLeft -= file.bytes.length
    const { bytes, executable } = file
    // Lengths in front, so that no two trees can run together into one text.
    hash.update(`${Buffer.byteLength(path)} ${path} ${executable ? 'x' : '-'} ${bytes.length} `).update(bytes)
    const script = /\.m?ts$/.test(path) ? { sha256: createHash('sha256').update(bytes).digest('hex') } : {}
    files.push({ path, sizeBytes: bytes.length, executable, ...script })
    await visit?.(path, file)
  }
  return { hash: hash.digest('hex'), files }
}

const PACKAGE_NAME = 'package.json'
/** Without one, Node would look for it further up and find the daemon's, or guess from the text with a warning. */
const PACKAGE = { bytes: Buffer.from('{"type":"module"}\n'), executable: false }

async function readPart(
  root: string,
  path: string,
  bytesMax: number,
  owners: ReadonlySet<number>,
): Promise<SafeFile> {
  try {
    return await readSafeFile(join(root, path), { within: root, bytesMax, owners })
  } catch (error) {
    if (error instanceof UnsafeFile) {
      const full = error.message.startsWith('has more than') && bytesMax < TREE_BYTES_MAX
      throw new UnsafeFile(full ? `the folder ${TOO_LARGE}` : `${path} ${error.message}`)
    }
    throw error
  }
}

const TOO_LARGE = `has more than ${TREE_BYTES_MAX / 1_048_576} MiB`

/** Relative paths of every file below a real path, links to inner folders followed. */
async function listTree(root: string, rules: TreeRules): Promise<string[]> {
  const paths: string[] = []
  const filesMax = rules.filesMax ?? FILES_MAX
  const walk = async (folder: string, above: readonly string[]): Promise<void> => {
    const real = await realpath(join(root, folder))
    if (real !== root && !isInside(root, real))
      throw new UnsafeFile(`${folder} is a link that leads out of the folder`)
    if (above.includes(real)) throw new UnsafeFile(`${folder} is a link that leads in a circle`)
    if (above.length > DEPTH_MAX) throw new UnsafeFile(`${folder} is more than ${DEPTH_MAX} folders deep`)
    await refuseInner(real, folder, rules.owners)

    for (const entry of await entriesOf(real, filesMax)) {
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`
      if (isPassing(entry.name) || isVersionFolder(entry.name)) continue
      if (entry.name.includes('\ufffd')) throw new UnsafeFile(`${path} has a name that is not UTF-8`)
      const isFolder = entry.isDirectory() || (entry.isSymbolicLink() && (await leadsToFolder(root, path)))
      if (!isFolder) paths.push(path)
      else if (!isForeignFolder(entry.name)) await walk(path, [...above, real])
      if (paths.length > filesMax) throw new UnsafeFile(`the folder has more than ${filesMax} files`)
    }
  }
  await walk('', [])
  return paths
}

async function refuseInner(real: string, folder: string, owners: ReadonlySet<number>): Promise<void> {
  try {
    await refuseFolder(real, await lstat(real), owners)
  } catch (error) {
    if (error instanceof UnsafeFile) throw new UnsafeFile(`${folder || 'the folder'} ${error.message}`)
    throw error
  }
}

async function leadsToFolder(root: string, path: string): Promise<boolean> {
  try {
    return (await stat(join(root, path))).isDirectory()
  } catch (error) {
    if (codeOf(error) === 'ELOOP') throw new UnsafeFile(`${path} is a link that leads in a circle`)
    if (codeOf(error) === 'ENOENT') throw new UnsafeFile(`${path} is a link that leads nowhere`)
    throw error
  }
}
