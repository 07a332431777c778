import { words } from './words.ts'

/** What is indexed: its words are searched, its fields are shown. */
export interface Document {
  readonly key: string
  readonly source: 'mission' | 'kept' | 'file' | 'given'
  readonly title: string
  readonly bytes: number
}

export interface Scored<D extends Document> {
  readonly document: D
  readonly score: number
  /** How many of the query's terms it has. */
  readonly matched: number
}

interface Entry<D> {
  readonly id: number
  readonly document: D
  /** Words in it. */
  readonly length: number
}

/** Okapi BM25's usual constants: how soon repetition stops to count, and how much length does. */
const K1 = 1.2
const B = 0.75

/** A word of the title stands for what the document is about. */
const TITLE_WEIGHT = 3

/**
 * An inverted index: for each word the documents that have it. Adding a document again replaces it.
 *
 * A removed document's postings stay until a quarter of all is dead, then one sweep takes them out.
 */
export class Postings<D extends Document> {
  /** Pairs: id of a document, times the word comes in it. */
  readonly #lists = new Map<string, number[]>()
  readonly #byKey = new Map<string, Entry<D>>()
  readonly #byId = new Map<number, Entry<D>>()
  #nextId = 0
  #bytes = 0

  get bytes(): number {
    return this.#bytes
  }

  get(key: string): D | undefined {
    return this.#byKey.get(key)?.document
  }

  documents(): D[] {
    return [...this.#byKey.values()].map(({ document }) => document)
  }

  add(document: D, text: string): void {
    this.remove(document.key)
    const times = new Map<string, number>()
    for (const word of words(document.title)) times.set(word, (times.get(word) ?? 0) + TITLE_WEIGHT)
    const body = words(text)
    for (const word of body) times.set(word, (times.get(word) ?? 0) + 1)
    const entry = { id: this.#nextId++, document, length: body.length + 1 }
    this.#byKey.set(document.key, entry)
    this.#byId.set(entry.id, entry)
    this.#bytes += document.bytes
    for (const [word, count] of times) {
      const list = this.#lists.get(word)
      if (list === undefined) this.#lists.set(word, [entry.id, count])
      else list.push(entry.id, count)
    }
  }

  remove(key: string): void {
    const entry = this.#byKey.get(key)
    if (entry === undefined) return
    this.#byKey.delete(key)
    this.#byId.delete(entry.id)
    this.#bytes -= entry.document.bytes
    if (this.#nextId - this.#byId.size > 1_000 + this.#nextId / 4) this.#sweep()
  }

  /**
   * The documents of `scope` that have any of the terms, best first: BM25, times the share of the terms they have, so
   * that a text about the whole question comes before one that repeats a single word of it.
   */
  search(terms: readonly string[], scope: (document: D) => boolean): Scored<D>[] {
    const inScope = [...this.#byId.values()].filter(({ document }) => scope(document))
    const lengths = inScope.reduce((sum, { length }) => sum + length, 0)
    const members = new Set(inScope.map(({ id }) => id))
    const scores = new Map<number, { score: number; matched: number }>()
    for (const term of terms) {
      const hits = pairsOf(this.#lists.get(term) ?? []).filter(([id]) => members.has(id))
      const rarity = Math.log(1 + (members.size - hits.length + 0.5) / (hits.length + 0.5))
      for (const [id, times] of hits) {
        const length = (this.#byId.get(id)?.length ?? 0) / (lengths / members.size)
        const known = scores.get(id) ?? { score: 0, matched: 0 }
        known.score += (rarity * times * (K1 + 1)) / (times + K1 * (1 - B + B * length))
        known.matched += 1
        scores.set(id, known)
      }
    }
    return [...scores]
      .flatMap(([id, { score, matched }]) => {
        const document = this.#byId.get(id)?.document
        return document === undefined ? [] : [{ document, score: (score * matched) / terms.length, matched }]
      })
      .sort((a, b) => b.score - a.score || order(a.document, b.document))
  }

  /** In how many documents a word stands, to weigh the lines of a snippet. */
  frequency(term: string): number {
    return (this.#lists.get(term)?.length ?? 0) / 2
  }

  #sweep(): void {
    for (const [word, list] of this.#lists) {
      const alive = pairsOf(list).filter(([id]) => this.#byId.has(id))
      if (alive.length === 0) this.#lists.delete(word)
      else if (alive.length * 2 < list.length) this.#lists.set(word, alive.flat())
    }
    // Ids are counted anew so that the next sweep waits for as many removals again.
    this.#renumber()
  }

  #renumber(): void {
    const renamed = new Map<number, number>()
    const entries = [...this.#byId.values()]
    this.#byId.clear()
    entries.forEach((entry, id) => {
      renamed.set(entry.id, id)
      const moved = { ...entry, id }
      this.#byId.set(id, moved)
      this.#byKey.set(entry.document.key, moved)
    })
    this.#nextId = entries.length
    for (const list of this.#lists.values()) {
      for (let at = 0; at < list.length; at += 2) list[at] = renamed.get(list[at] as number) as number
    }
  }
}

/** Among equals the newer mission, whose id begins with its time; else by name, so that an answer can be repeated. */
function order(a: Document, b: Document): number {
  const byKey = a.key < b.key ? -1 : 1
  return a.source === 'mission' && b.source === 'mission' ? -byKey : byKey
}

function pairsOf(list: readonly number[]): (readonly [id: number, times: number])[] {
  const pairs: (readonly [number, number])[] = []
  for (let at = 0; at < list.length; at += 2) pairs.push([list[at] as number, list[at + 1] as number])
  return pairs
}
