import { hash } from 'node:crypto'
import { join } from 'node:path'
import { NexusError } from '../contracts/failure.ts'
import { removeDrafts, writeAtomically } from './atomic-file.ts'
import { type Disk, readWhole } from './disk.ts'

/** Names a stored file by its contents. */
export interface ArtifactRef {
  readonly sha256: string
  readonly bytes: number
}

/** A store never lends more than this at once. */
const SIZE_BYTES_MAX = 256 * 1_048_576

/** Files that missions produce, each under the SHA-256 of its bytes: a record that names one can rely on it. */
export class ArtifactStore {
  readonly #disk: Disk
  readonly #dir: string
  /** Stored of late, oldest first: the record that names one may still be on its way. */
  readonly #fresh = new Set<string>()

  /** Makes the folder and clears what a crash has left half-written. */
  static async open(disk: Disk, dir: string): Promise<ArtifactStore> {
    await disk.makeDir(dir)
    await removeDrafts(disk, dir)
    return new ArtifactStore(disk, dir)
  }

  private constructor(disk: Disk, dir: string) {
    this.#disk = disk
    this.#dir = dir
  }

  /** Resolves when file and name are durable. Storing the same bytes again costs one sync of the folder. */
  async put(contents: Uint8Array): Promise<ArtifactRef> {
    const sha256 = hash('sha256', contents)
    const path = join(this.#dir, sha256)
    // Before the look at the disk: a removal that comes in between leaves it alone.
    this.#keep(sha256)
    const there = await this.#disk.stat(path)
    if (there?.kind === 'file' && there.sizeBytes === contents.length) await this.#disk.syncDir(this.#dir)
    else await writeAtomically(this.#disk, path, contents)
    return { sha256, bytes: contents.length }
  }

  /** Removes files that no record names any more, but for those that were stored again of late. Returns how many. */
  async remove(names: readonly string[]): Promise<number> {
    let removed = 0
    for (const sha256 of names) {
      if (this.#fresh.has(sha256)) continue
      const path = join(this.#dir, sha256)
      if ((await this.#disk.stat(path)) === undefined) continue
      await this.#disk.unlink(path)
      removed += 1
    }
    return removed
  }

  /** The bytes; undefined when there are none of this name. @throws NexusError `ARTIFACT_DAMAGED`. */
  async get(sha256: string): Promise<Buffer | undefined> {
    if (!/^[0-9a-f]{64}$/.test(sha256)) return undefined
    const contents = await readWhole(this.#disk, join(this.#dir, sha256), SIZE_BYTES_MAX)
    if (contents !== undefined && hash('sha256', contents) !== sha256) {
      throw new NexusError('ARTIFACT_DAMAGED', { sha256 })
    }
    return contents
  }

  #keep(sha256: string): void {
    this.#fresh.delete(sha256)
    this.#fresh.add(sha256)
    for (const oldest of this.#fresh) {
      if (this.#fresh.size <= FRESH_MAX) return
      this.#fresh.delete(oldest)
    }
  }
}

/** More than all steps under way can have stored, at a few for each of a thousand. */
const FRESH_MAX = 65_536
