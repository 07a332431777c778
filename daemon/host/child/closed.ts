import { existsSync, readFileSync } from 'node:fs'
import { type LoadHookSync, registerHooks } from 'node:module'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { STRIPPED_FOLDER } from '../../contracts/wire.ts'

/**
 * Keeps the imports of a generation inside it: Node would look for a bare name in every `node_modules` above, and run
 * code there that belongs to no generation and may change without one. A whole URL is a deliberate choice of the
 * code that runs, and the wall around the process judges it. Several generations in one process are each kept to
 * themselves.
 *
 * @param dir - Real path of the generation.
 */
export function closeGeneration(dir: string): void {
  if (closed.size === 0) registerHooks({ resolve: judge })
  closed.add(pathToFileURL(`${dir}/`).href)
}

/** The folders of generations, as URLs that end in a slash. */
const closed = new Set<string>()

type Resolve = NonNullable<Parameters<typeof registerHooks>[0]['resolve']>

const judge: Resolve = (specifier, context, next) => {
  const found = next(specifier, context)
  const inside = specifier.startsWith('file:') ? undefined : closedAround(context.parentURL)
  if (inside === undefined || found.url.startsWith('node:') || found.url.startsWith(inside)) return found
  throw Object.assign(
    new Error(`'${specifier}' lies outside the module: put it into the module's own node_modules`),
    { code: 'ERR_MODULE_OUTSIDE' },
  )
}

/** The generation that a file belongs to. */
function closedAround(url = ''): string | undefined {
  for (let end = url.lastIndexOf('/'); end > 0; end = url.lastIndexOf('/', end - 1)) {
    const folder = url.slice(0, end + 1)
    if (closed.has(folder)) return folder
  }
  return undefined
}

/** The folder of a generation, from the path of its entry: it is named by its content hash. */
export function generationDir(entry: string, generation: string): string {
  return entry.slice(0, entry.lastIndexOf(`/${generation}/`) + generation.length + 1)
}
