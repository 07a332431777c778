import type { ModuleId } from '../contracts/ids.ts'
import { CALM } from './cusum.ts'
import type { OmenKind, OmenSubject } from './omen-keys.ts'
import { harder, type OmenLevel } from './omen-levels.ts'
import { weightAt } from './sums.ts'

/** A change of an omen's level, for the record. */
export interface OmenChange {
  readonly key: string
  readonly module_id: ModuleId | null
  readonly kind: OmenKind
  readonly level: OmenLevel
  readonly previous: OmenLevel
  readonly count: number
  readonly score: number
  readonly evidence: readonly string[]
}

/** An omen as surfaces show it. */
export interface OmenView extends Omit<OmenChange, 'previous'> {
  readonly first_seen: string
  readonly last_seen: string
  readonly next_level: { readonly level: OmenLevel; readonly at: number } | null
}

/** One way of failing, and what it has come to. */
export interface Omen extends OmenSubject {
  score: number
  count: number
  locked: boolean
  firstMs: number
  lastMs: number
  evidence: string[]
  /** The level that the journal knows. */
  announced: OmenLevel
}

/** Fading trials of one module, or category, and how much of its uptime was counted as trials. */
export interface History {
  atMs: number
  trials: number
  failures: number
  countedUpMs: number
}

/** One that was just met for the first time. */
export function fresh(subject: OmenSubject, atMs: number): Omen {
  return {
    ...subject,
    ...CALM,
    locked: false,
    firstMs: atMs,
    lastMs: atMs,
    evidence: [],
    announced: 'ignore',
  }
}

/** Adds trials to a history. */
export function count(history: History, atMs: number, more: { trials: number; failures: number }): void {
  const factor = weightAt(history.atMs, atMs)
  history.trials = history.trials * factor + more.trials
  history.failures = history.failures * factor + more.failures
  history.atMs = Math.max(history.atMs, atMs)
}

/** The order in which omens are listed. */
export function hardestFirst(one: OmenView, other: OmenView): number {
  if (one.level !== other.level) return harder(one.level, other.level) === one.level ? -1 : 1
  return other.last_seen.localeCompare(one.last_seen)
}
