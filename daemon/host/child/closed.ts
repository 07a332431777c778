import { existsSync, readFileSync } from 'node:fs'
import { type LoadHookSync, registerHooks } from 'node:module'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { STRIPPED_FOLDER } from '../../contracts/wire.ts'

/**
 * Keeps the imports of a generation inside it: Node would look for a bare name in every `node_modules` above, and run
 * code there that belongs to no generation and may change without one. A whole URL is a deliberate choice of the
 * code that runs, and the wall around the process judges it.
 *
 * @param dir - Real path of the generation.
 */
export function closeGeneration(dir: string): void {
  const inside = pathToFileURL(`${dir}/`).href
  const load = strippedLoad(dir, inside)
  registerHooks({
    ...(load === undefined ? {} : { load }),
    resolve(specifier, context, next) {
      const found = next(specifier, context)
      if (context.parentURL?.startsWith(inside) !== true || specifier.startsWith('file:')) return found
      if (found.url.startsWith('node:') || found.url.startsWith(inside)) return found
      throw Object.assign(
        new Error(`'${specifier}' lies outside the module: put it into the module's own node_modules`),
        { code: 'ERR_MODULE_OUTSIDE' },
      )
    },
  })
}

/**
 * Serves JavaScript that the daemon has made of the generation's TypeScript: Node's own stripper would cost this process
 * 20 MB and 30 ms. Lines and columns are those of the source, and so is the URL. Whatever has no copy Node strips, or
 * says what is wrong with it.
 */
function strippedLoad(dir: string, inside: string): LoadHookSync | undefined {
  const generations = dirname(dirname(dirname(dir)))
  const copies = join(generations, STRIPPED_FOLDER, relative(generations, dir))
  if (!isThere(copies)) return undefined
  return (url, context, next) => {
    const format = STRIPPED_FORMATS[context.format ?? '']
    if (format === undefined || !url.startsWith(inside)) return next(url, context)
    try {
      const source = readFileSync(join(copies, relative(dir, fileURLToPath(url))), 'utf8')
      return { format, source, shortCircuit: true }
    } catch {
      return next(url, context)
    }
  }
}

/** Behind the wall even the question may be refused. */
function isThere(path: string): boolean {
  try {
    return existsSync(path)
  } catch {
    return false
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
