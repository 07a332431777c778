import { CALM } from './cusum.ts'
import { fresh, type History, type Omen } from './omen.ts'
import type { OmenSubject } from './omen-keys.ts'

/** Every omen, by its key and by whose trials count for it; bounded. */
export class OmenBook {
  readonly #omens = new Map<string, Omen>()
  /** Each success walks over the omens of its module, and over no others. */
  readonly #ofScope = new Map<string, Set<Omen>>()
  readonly #histories: Record<Family, Map<string, History>> = { missions: new Map(), life: new Map() }

  get all(): Iterable<Omen> {
    return this.#omens.values()
  }

  get(key: string): Omen | undefined {
    return this.#omens.get(key)
  }

  of(scope: string): Iterable<Omen> {
    return this.#ofScope.get(scope) ?? []
  }

  /** The omen of this subject, as the newest. */
  take(subject: OmenSubject, atMs: number): Omen {
    const omen = this.#omens.get(subject.key) ?? fresh(subject, atMs)
    this.#omens.delete(subject.key)
    this.#put(omen)
    if (this.#omens.size > OMENS_MAX) this.#dropOne(omen)
    return omen
  }

  /** The trials of a scope: its missions, or its hours up. */
  history(scope: string, family: Family): History {
    const histories = this.#histories[family]
    let history = histories.get(scope)
    if (history === undefined) {
      history = { atMs: 0, trials: 0, failures: 0, countedUpMs: 0 }
      histories.set(scope, history)
    }
    return history
  }

  save(): SavedBook {
    const saved = (family: Family): SavedHistories =>
      [...this.#histories[family]].map(([scope, history]) => [scope, { ...history }])
    return {
      omens: [...this.#omens.values()].map((omen) => ({ ...omen })),
      missions: saved('missions'),
      life: saved('life'),
    }
  }

  load({ omens, ...histories }: SavedBook): void {
    for (const omen of omens) this.#put({ ...omen })
    for (const family of ['missions', 'life'] as const)
      for (const [scope, history] of histories[family]) this.#histories[family].set(scope, { ...history })
  }

  #put(omen: Omen): void {
    this.#omens.set(omen.key, omen)
    const scope = this.#ofScope.get(omen.scope) ?? new Set()
    this.#ofScope.set(omen.scope, scope.add(omen))
  }

  /** The one with the lowest score, of equal ones the longest calm; a lock is never forgotten. */
  #dropOne(newest: Omen): void {
    let least: Omen | undefined
    for (const omen of this.#omens.values()) {
      if (omen.locked || omen === newest) continue
      if (least === undefined || omen.score < least.score) least = omen
    }
    if (least === undefined) return
    this.#omens.delete(least.key)
    const scope = this.#ofScope.get(least.scope)
    scope?.delete(least)
    if (scope?.size === 0) this.#ofScope.delete(least.scope)
  }
}

/** It begins anew. */
export function calm(omen: Omen, atMs: number): void {
  Object.assign(omen, CALM, { locked: false, held: false, levelMs: atMs })
}

type Family = 'missions' | 'life'
type SavedHistories = readonly (readonly [string, History])[]

export interface SavedBook {
  readonly omens: readonly Omen[]
  readonly missions: SavedHistories
  readonly life: SavedHistories
}

/** A module that fails in more ways than this has one cause behind them. */
const OMENS_MAX = 1_000
