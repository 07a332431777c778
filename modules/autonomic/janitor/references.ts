import type { JournalRecord } from './chain.ts'

/** `,"h":"<64 hex>"}` and the newline: the record's own hash names no file. */
const SEAL_BYTES = 73

/** What the journal refers to: each module's accepted generation, and every hash that any record names. */
export class References {
  /** By module id, the last one wins. */
  readonly accepted = new Map<string, string>()
  readonly #hashes = new Set<string>()

  take(line: Buffer, { type, d }: JournalRecord): void {
    const { module_id: moduleId, generation } = d
    if (
      type === 'module.generation_accepted' &&
      typeof moduleId === 'string' &&
      typeof generation === 'string'
    ) {
      this.accepted.set(moduleId, generation)
    }
    if (type.startsWith('module.') || type.startsWith('journal.')) return
    this.takeText(line.subarray(0, line.length - SEAL_BYTES))
  }

  /** Any field of any type: a reference that we do not know of must not cost somebody a file. */
  takeText(bytes: Buffer): void {
    const text = bytes.toString('latin1')
    for (const [hash] of text.matchAll(/(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])/g)) this.#hashes.add(hash)
  }

  names(hash: string): boolean {
    return this.#hashes.has(hash)
  }
}
