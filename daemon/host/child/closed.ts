import { registerHooks } from 'node:module'
import { pathToFileURL } from 'node:url'

/**
 * Keeps the imports of a generation inside it: Node would look for a bare name in every `node_modules` above, and run
 * code there that belongs to no generation and may change without one. A whole URL is a deliberate choice of the
 * code that runs, and the wall around the process judges it.
 *
 * @param dir - Real path of the generation.
 */
export function closeGeneration(dir: string): void {
  const inside = pathToFileURL(`${dir}/`).href
  registerHooks({
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

/** The folder of a generation, from the path of its entry: it is named by its content hash. */
export function generationDir(entry: string, generation: string): string {
  return entry.slice(0, entry.lastIndexOf(`/${generation}/`) + generation.length + 1)
}
