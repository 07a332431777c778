import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { NexusError } from '../contracts/failure.ts'
import type { Chance } from '../kit/chance.ts'

/** `sun_path` has 108 bytes with its closing zero. */
const PATH_BYTES_MAX = 107

/**
 * Names the Unix sockets of instances: `run/p/<module>/<number>`, short enough wherever `run/nexus.sock` is.
 *
 * A folder for each module, so that a sandbox can be shown its own and no other; private, since file permissions are
 * all that guards these sockets. Folders are named by chance, so that a process that outlived a former daemon cannot
 * take away the socket of a new instance when it ends.
 */
export class SocketFolder {
  readonly #root: string
  readonly #chance: Chance
  readonly #folders = new Map<string, { readonly path: string; count: number }>()

  /** Takes away what a former daemon left; the caller holds the lock on the data folder. */
  constructor(runDir: string, chance: Chance) {
    this.#root = join(runDir, 'p')
    this.#chance = chance
    rmSync(this.#root, { recursive: true, force: true })
  }

  /** Makes the folder of a module. */
  open(moduleId: string): void {
    if (this.#folders.has(moduleId)) return
    const taken = new Set([...this.#folders.values()].map(({ path }) => path))
    let path: string
    do path = join(this.#root, this.#name())
    while (taken.has(path))
    mkdirSync(path, { recursive: true, mode: 0o700 })
    this.#folders.set(moduleId, { path, count: 0 })
  }

  /** A path where nothing is and nothing has been. @throws NexusError `SOCKET_PATH_TOO_LONG`. */
  next(moduleId: string): string {
    const folder = this.#folders.get(moduleId)
    if (folder === undefined) throw new Error(`${moduleId} has no folder for its sockets`)
    const path = join(folder.path, (folder.count++).toString(36))
    const bytes = Buffer.byteLength(path)
    if (bytes > PATH_BYTES_MAX) throw new NexusError('SOCKET_PATH_TOO_LONG', { bytes, path })
    return path
  }

  remove(path: string): void {
    rmSync(path, { force: true })
  }

  close(): void {
    this.#folders.clear()
    rmSync(this.#root, { recursive: true, force: true })
  }

  #name(): string {
    return Math.floor(this.#chance.next() * 36 ** 3)
      .toString(36)
      .padStart(3, '0')
  }
}
