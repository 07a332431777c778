import { createHash, hash } from 'node:crypto'
import { join } from 'node:path'
import { writeNew } from './atomic-file.ts'
import { type Disk, readWhole } from './disk.ts'
import type { ChunkName } from './snapshot.ts'

/** Columns of a room's index, as they were at one moment. `name` is kept here once they are on the disk. */
export interface FrozenChunk {
  name: ChunkName | undefined
  bytes(): readonly Uint8Array[]
}

/** A chunk as it was found. */
export interface SavedChunk {
  readonly name: ChunkName
  readonly bytes: Uint8Array
}

const SIZE_BYTES_MAX = 64 * 1_048_576
const NAME = /^\d{8}\.bin$/

/** The files below `index/`: each is written once, and only what has changed since the last snapshot is written. */
export class ChunkFiles {
  readonly #disk: Disk
  readonly #dir: string
  #next: number

  static async open(disk: Disk, dir: string): Promise<ChunkFiles> {
    await disk.makeDir(dir)
    const last = (await disk.list(dir)).filter((name) => NAME.test(name)).at(-1)
    return new ChunkFiles(disk, dir, last === undefined ? 1 : Number.parseInt(last, 10) + 1)
  }

  private constructor(disk: Disk, dir: string, next: number) {
    this.#disk = disk
    this.#dir = dir
    this.#next = next
  }

  /** Makes all of them durable, names included. Returns what a snapshot says of them, and how many were written. */
  async save(
    chunks: readonly FrozenChunk[],
  ): Promise<{ readonly names: readonly ChunkName[]; readonly written: number }> {
    const names: ChunkName[] = []
    let written = 0
    for (const chunk of chunks) {
      if (chunk.name === undefined) {
        chunk.name = await this.#write(chunk.bytes())
        written += 1
      }
      names.push(chunk.name)
    }
    if (written > 0) await this.#disk.syncDir(this.#dir)
    return { names, written }
  }

  /** The bytes of one file; undefined when they are not those that were written. */
  read(chunk: ChunkName): Promise<Buffer | undefined> {
    return readChunk(this.#disk, this.#dir, chunk)
  }

  /** Removes every file that is not among these. */
  async keepOnly(names: Iterable<string>): Promise<void> {
    const kept = new Set(names)
    for (const name of await this.#disk.list(this.#dir)) {
      if (!kept.has(name)) await this.#disk.unlink(join(this.#dir, name))
    }
  }

  async #write(pieces: readonly Uint8Array[]): Promise<ChunkName> {
    const name = `${String(this.#next).padStart(8, '0')}.bin`
    this.#next += 1
    const sum = createHash('sha256')
    for (const piece of pieces) sum.update(piece)
    await writeNew(this.#disk, join(this.#dir, name), pieces)
    return { name, sha256: sum.digest('hex') }
  }
}

/** The bytes of one file of an index; undefined when they are not those that were written. */
export async function readChunk(
  disk: Disk,
  dir: string,
  { name, sha256 }: ChunkName,
): Promise<Buffer | undefined> {
  if (!NAME.test(name)) return undefined
  const bytes = await readWhole(disk, join(dir, name), SIZE_BYTES_MAX)
  return bytes !== undefined && hash('sha256', bytes) === sha256 ? bytes : undefined
}
