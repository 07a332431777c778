import { strict as assert } from 'node:assert'
import { join } from 'node:path'
import type { DataPaths } from './data-folder.ts'
import { codeOf, type Disk, type DiskFile, isFull } from './disk.ts'
import { sealedName } from './segments.ts'

/**
 * What became of a write. `full`: nothing was kept, the next one may succeed. `broken`: nobody knows what is on the
 * disk, so nothing may be written or believed until a start has read it again.
 */
export type Outcome =
  | { readonly how: 'done' }
  | { readonly how: 'full'; readonly reason: string }
  | { readonly how: 'broken'; readonly reason: string }

const DONE: Outcome = { how: 'done' }

/** The file that records are appended to. One caller at a time; never retries. */
export class ActiveSegment {
  readonly #disk: Disk
  readonly #paths: DataPaths
  #open: { readonly file: DiskFile; readonly identity: string } | undefined
  #sizeBytes = 0

  constructor(disk: Disk, paths: DataPaths) {
    this.#disk = disk
    this.#paths = paths
  }

  get isOpen(): boolean {
    return this.#open !== undefined
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  /**
   * Opens what a start has found good to its last byte, and makes it durable: a process that was killed between a
   * write and its sync leaves records that are there to be read and that a power cut would still take away.
   */
  async attach(sizeBytes: number): Promise<Outcome> {
    try {
      const file = await this.#disk.open(this.#paths.journal, 'append')
      this.#open = { file, identity: (await file.stat()).identity }
      this.#sizeBytes = sizeBytes
      if (sizeBytes > 0) await file.datasync()
    } catch (error) {
      return broken('open', error)
    }
    return this.inspect()
  }

  /** Makes an empty file, its name durable. */
  async create(): Promise<Outcome> {
    assert(this.#open === undefined, 'there is an active segment already')
    let file: DiskFile
    try {
      file = await this.#disk.open(this.#paths.journal, 'create')
    } catch (error) {
      return isFull(error) ? full(error) : broken('create', error)
    }
    try {
      this.#open = { file, identity: (await file.stat()).identity }
      this.#sizeBytes = 0
      await this.#disk.syncDir(this.#paths.root)
    } catch (error) {
      return broken('create', error)
    }
    return DONE
  }

  /** Writes and syncs: `done` means durable, in the file that stands at the path. */
  async commit(bytes: Uint8Array): Promise<Outcome> {
    assert(this.#open !== undefined, 'there is no active segment')
    const { file } = this.#open
    let lack: string | undefined
    try {
      const taken = await file.write(bytes)
      if (taken !== bytes.length) lack = `the disk took ${taken} of ${bytes.length} bytes`
    } catch (error) {
      if (!isFull(error)) return broken('write', error)
      lack = codeOf(error)
    }
    if (lack !== undefined) return this.#takeBack(file, lack)
    try {
      // The check costs nothing beside the sync, and so no record is acknowledged in a file that nobody will find.
      const [foreign] = await Promise.all([this.#foreign(this.#sizeBytes + bytes.length), file.datasync()])
      if (foreign !== undefined) return { how: 'broken', reason: foreign }
    } catch (error) {
      return broken('sync', error)
    }
    this.#sizeBytes += bytes.length
    return DONE
  }

  /** Whether the path still holds our file; the reason when it does not. */
  async inspect(): Promise<Outcome> {
    if (this.#open === undefined) return DONE
    try {
      const foreign = await this.#foreign(this.#sizeBytes)
      return foreign === undefined ? DONE : { how: 'broken', reason: foreign }
    } catch (error) {
      return broken('look at', error)
    }
  }

  /** Moves the file to the sealed ones under the seq it begins with. `full`: it stays where it is, and usable. */
  async seal(first: number): Promise<Outcome> {
    assert(this.#open !== undefined, 'there is no active segment')
    const target = join(this.#paths.root, sealedName(first))
    try {
      assert((await this.#disk.stat(target)) === undefined, `${target} exists`)
      await this.#disk.rename(this.#paths.journal, target)
    } catch (error) {
      return isFull(error) ? full(error) : broken('rename', error)
    }
    const { file } = this.#open
    this.#open = undefined
    try {
      await this.#disk.syncDir(this.#paths.segments)
      await this.#disk.syncDir(this.#paths.root)
      await file.close()
    } catch (error) {
      return broken('seal', error)
    }
    return DONE
  }

  /** Never rejects: all that was acknowledged is durable already. */
  async close(): Promise<void> {
    const file = this.#open?.file
    this.#open = undefined
    await file?.close().catch(() => undefined)
  }

  /** The rest of a refused write must be gone for good, or a later start would find it. */
  async #takeBack(file: DiskFile, reason: string): Promise<Outcome> {
    try {
      await file.truncate(this.#sizeBytes)
      await file.datasync()
    } catch (error) {
      return broken('truncate', error)
    }
    return { how: 'full', reason }
  }

  async #foreign(sizeBytes: number): Promise<string | undefined> {
    const entry = await this.#disk.stat(this.#paths.journal)
    if (entry === undefined) return 'audit.jsonl was removed'
    if (entry.identity !== this.#open?.identity) return 'audit.jsonl was replaced'
    if (entry.sizeBytes !== sizeBytes) return 'somebody else wrote to audit.jsonl'
    return undefined
  }
}

function full(error: unknown): Outcome {
  return { how: 'full', reason: codeOf(error) }
}

function broken(doing: string, error: unknown): Outcome {
  const cause = error instanceof Error ? error.message : String(error)
  return { how: 'broken', reason: `cannot ${doing}: ${codeOf(error) || cause}` }
}
