import { existsSync, readFileSync } from 'node:fs'
import { type LoadHookSync, type ResolveHookSync, registerHooks } from 'node:module'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { STRIPPED_FOLDER } from '../../contracts/wire.ts'

interface Generation {
  /** Real path. */
  readonly dir: string
  /** Where JavaScript lies that was made of its TypeScript, if some was. */
  readonly copies: string | undefined
}

/** By their folders as URLs that end in a slash. */
const generations = new Map<string, Generation>()
let isServing = false

/**
 * Keeps the imports of a generation inside it: Node would look for a bare name in every `node_modules` above, and run
 * code there that belongs to no generation and may change without one. A whole URL is a deliberate choice of the
 * code that runs, and the wall around the process judges it. Several generations in one process are each kept to
 * themselves.
 *
 * @param dir - Real path of the generation.
 */
export function closeGeneration(dir: string): void {
  const copies = copiesOf(dir)
  if (generations.size === 0) registerHooks({ resolve })
  if (copies !== undefined && !isServing) registerHooks({ load })
  isServing ||= copies !== undefined
  generations.set(pathToFileURL(`${dir}/`).href, { dir, copies })
}

const resolve: ResolveHookSync = (specifier, context, next) => {
  const found = next(specifier, context)
  if (specifier.startsWith('file:') || found.url.startsWith('node:')) return found
  const from = generationAround(context.parentURL)
  if (from === undefined || generationAround(found.url) === from) return found
  throw Object.assign(
    new Error(`'${specifier}' lies outside the module: put it into the module's own node_modules`),
    { code: 'ERR_MODULE_OUTSIDE' },
  )
}

/**
 * Serves JavaScript that the daemon has made of the generation's TypeScript: Node's own stripper would cost this process
 * 20 MB and 30 ms. Lines and columns are those of the source, and so is the URL. Whatever has no copy Node strips, or
 * says what is wrong with it.
 */
const load: LoadHookSync = (url, context, next) => {
  const format = STRIPPED_FORMATS[context.format ?? '']
  const { dir, copies } = (format && generationAround(url)) ?? {}
  if (format === undefined || dir === undefined || copies === undefined) return next(url, context)
  try {
    const source = readFileSync(join(copies, relative(dir, fileURLToPath(url))), 'utf8')
    return { format, source, shortCircuit: true }
  } catch {
    return next(url, context)
  }
}

/** The generation that a file belongs to. */
function generationAround(url = ''): Generation | undefined {
  for (let end = url.lastIndexOf('/'); end > 0; end = url.lastIndexOf('/', end - 1)) {
    const generation = generations.get(url.slice(0, end + 1))
    if (generation !== undefined) return generation
  }
  return undefined
}

/** Where JavaScript lies that was made of a generation's TypeScript, if some was. */
export function strippedDir(dir: string): string {
  const root = dirname(dirname(dirname(dir)))
  return join(root, STRIPPED_FOLDER, relative(root, dir))
}

/** Behind the wall even the question may be refused. */
function copiesOf(dir: string): string | undefined {
  const copies = strippedDir(dir)
  try {
    return existsSync(copies) ? copies : undefined
  } catch {
    return undefined
  }
}

const STRIPPED_FORMATS: Readonly<Record<string, 'module' | 'commonjs'>> = {
  'module-typescript': 'module',
  'commonjs-typescript': 'commonjs',
}

/** The folder of a generation, from the path of its entry: it is named by its content hash. */
export function generationDir(entry: string, generation: string): string {
  return entry.slice(0, entry.lastIndexOf(`/${generation}/`) + generation.length + 1)
}
