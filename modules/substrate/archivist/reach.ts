import { realpath } from 'node:fs/promises'
import { dirname, extname, isAbsolute, join, relative, resolve, sep } from 'node:path'

/**
 * The real path of a file or folder that the operator lets modules read.
 *
 * A relative path is looked for in each root in turn. Links are followed before the check, so that a link inside a
 * root cannot lead out of it.
 *
 * @throws Error that names the roots and the remedy.
 */
export async function reach(path: string, roots: readonly string[]): Promise<string> {
  const wanted = isAbsolute(path) ? [path] : roots.map((root) => resolve(root, path))
  const real = (await Promise.all(roots.map((root) => realpath(root).catch(() => root)))).map(trim)

  let missing = false
  for (const candidate of wanted) {
    try {
      const found = await realpath(candidate)
      if (real.some((root) => lies(found, root))) return found
    } catch (cause) {
      const code = (cause as NodeJS.ErrnoException).code
      const inside = real.concat(roots).some((root) => lies(candidate, root))
      if (code === 'ENOENT' || code === 'ENOTDIR') missing ||= inside
      else if (code === 'ERR_ACCESS_DENIED' && inside) throw besideKeys(candidate, cause)
      else if (code !== 'ERR_ACCESS_DENIED') throw new Error(`${path} cannot be read: ${code}`, { cause })
    }
  }

  const allowed = roots.length === 0 ? 'nothing yet' : roots.join(' or ')
  if (missing) throw new Error(`there is nothing at ${path}; modules may read ${allowed}`)
  const named = extname(path) === '' ? path : dirname(path)
  const folder = isAbsolute(path) ? named : '<dir>'
  throw new Error(
    `${path} lies outside of what modules may read: start the daemon with --allow-read ${folder} ` +
      `(now they may read ${allowed})`,
  )
}

/** A root that contains the daemon's data folder is open entry by entry, as it stood when this process started. */
function besideKeys(path: string, cause: unknown): Error {
  return new Error(
    `${path} cannot be read: it holds the daemon's data folder, lies in it, or came after this module started; ` +
      `put it into a folder of its own and start the daemon with --allow-read <that folder>, or reload this module`,
    { cause },
  )
}

function lies(path: string, root: string): boolean {
  const way = relative(root, path)
  return way === '' || (way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way))
}

function trim(root: string): string {
  return join(root, '.')
}
