import { createHash } from 'node:crypto'
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'

/** A kept result. */
export interface Kept {
  readonly name: string
  readonly query: string
  readonly note: string
  readonly hits: readonly object[]
  /** RFC 3339. */
  readonly kept_at: string
  /** 1, and one more each time it was replaced by something else. */
  readonly revision: number
  readonly mission_id?: string
}

/**
 * The library: one file an entry in the module's own folder, replaced whole, so that a cut leaves the old entry or the
 * new one, and two generations of this module never spoil each other's.
 */
export class Library {
  readonly #dir: string

  constructor(dataDir: string) {
    this.#dir = join(dataDir, 'library')
  }

  /** Keeps an entry; on disk when it returns. The same content again changes nothing. */
  async keep(
    entry: Omit<Kept, 'kept_at' | 'revision'>,
    entriesMax: number,
  ): Promise<Kept & { changed: boolean }> {
    const name = slug(entry.name)
    const former = await this.#read(name)
    if (former !== undefined && same(former, entry)) return { ...former, changed: false }
    if (former === undefined && (await this.#names()).length >= entriesMax) {
      throw new Error(
        `the library holds ${entriesMax} entries, which is its limit: forget some, or raise library_max`,
      )
    }
    const kept = { ...entry, name, kept_at: new Date().toISOString(), revision: (former?.revision ?? 0) + 1 }
    await mkdir(this.#dir, { recursive: true })
    const draft = join(this.#dir, `.${name}.${process.pid}.${Math.random().toString(36).slice(2)}`)
    const file = await open(draft, 'wx', 0o600)
    try {
      await file.writeFile(`${JSON.stringify(kept)}\n`)
      await file.datasync()
    } finally {
      await file.close()
    }
    await rename(draft, this.#path(name))
    return { ...kept, changed: true }
  }

  /** Newest first. An entry that cannot be read is left out: it must not hide the others. */
  async entries(): Promise<Kept[]> {
    const all = await Promise.all((await this.#names()).map((name) => this.#read(name)))
    return all.filter((entry) => entry !== undefined).sort((a, b) => (a.kept_at < b.kept_at ? 1 : -1))
  }

  /** @throws Error that names entries with a word in common. */
  async recall(name: string): Promise<Kept> {
    const found = await this.#read(slug(name))
    if (found !== undefined) return found
    const names = await this.#names()
    const alike = names.filter((known) =>
      slug(name)
        .split('-')
        .some((word) => word.length > 2 && known.includes(word)),
    )
    const hint = alike.length > 0 ? `; there is ${alike.slice(0, 5).join(', ')}` : ''
    throw new Error(`nothing is kept as ${slug(name)}${hint}; the action library lists all ${names.length}`)
  }

  async forget(name: string): Promise<boolean> {
    const known = (await this.#read(slug(name))) !== undefined
    await rm(this.#path(slug(name)), { force: true })
    return known
  }

  async #names(): Promise<string[]> {
    const files = await readdir(this.#dir).catch((cause: NodeJS.ErrnoException) => {
      if (cause.code === 'ENOENT') return []
      throw cause
    })
    return files.filter((file) => /^[a-z0-9].*\.json$/.test(file)).map((file) => file.slice(0, -5))
  }

  async #read(name: string): Promise<Kept | undefined> {
    try {
      const entry = JSON.parse(await readFile(this.#path(name), 'utf8'))
      return typeof entry?.name === 'string' && Array.isArray(entry.hits) ? entry : undefined
    } catch (cause) {
      if (cause instanceof SyntaxError || (cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw cause
    }
  }

  #path(name: string): string {
    return join(this.#dir, `${name}.json`)
  }
}

/**
 * A name for a file: lower case, words joined by hyphens, at most 72 characters. What would lose letters on the way gets
 * a hash, so that two names that differ stay two.
 */
export function slug(text: string): string {
  const plain = text.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase()
  const words = plain.match(/[a-z0-9]+/g) ?? []
  const joined = words.join('-')
  const whole = joined.length <= 72 && !/[^a-z0-9]/u.test(plain.replace(/[^\p{L}\p{N}]/gu, ''))
  if (whole && joined !== '') return joined
  const hash = createHash('sha256').update(plain).digest('hex').slice(0, 10)
  return [joined.slice(0, 60).replace(/-+$/, ''), hash].filter((part) => part !== '').join('-')
}

function same(former: Kept, entry: Omit<Kept, 'kept_at' | 'revision'>): boolean {
  const content = ({ query, note, hits }: Pick<Kept, 'query' | 'note' | 'hits'>) =>
    JSON.stringify([query, note, hits])
  return content(former) === content(entry)
}
