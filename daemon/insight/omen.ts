import type { ModuleId } from '../contracts/ids.ts'
import { CALM } from './cusum.ts'
import type { OmenKind, OmenSubject } from './omen-keys.ts'
import { harder, type OmenLevel } from './omen-levels.ts'
import { weightAt } from './sums.ts'

/** A change of an omen, for the record: it reached another level, or is held, or no longer. */
export interface OmenChange {
  readonly key: string
  readonly module_id: ModuleId | null
  readonly kind: OmenKind
  readonly level: OmenLevel
  readonly previous: OmenLevel
  /** What it asks for is not done: a system omen stands in its place. */
  readonly held: boolean
  readonly count: number
  readonly score: number
  readonly because: string
  readonly evidence: readonly string[]
}

/** An omen as surfaces show it. */
export interface OmenView extends Omit<OmenChange, 'previous'> {
  readonly first_seen: string
  readonly last_seen: string
  readonly next_level: { readonly level: OmenLevel; readonly at: number } | null
  /** Until then the module is locked again at its seventh failure. */
  readonly probation_until: string | null
}

/** Which omens are asked for; all of them when nothing is said. */
export interface OmenFilter {
  readonly module?: string
  readonly level?: string
  readonly kind?: string
}

/** One way of failing, and what it has come to. */
export interface Omen extends OmenSubject {
  score: number
  count: number
  locked: boolean
  /** Since when it stands at its level. */
  levelMs: number
  /** Counted while a system omen stood: it asks for nothing until that is over, and then begins anew. */
  held: boolean
  firstMs: number
  lastMs: number
  evidence: string[]
  /** What the journal knows. */
  announced: OmenLevel
  announcedHeld: boolean
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
    levelMs: atMs,
    held: false,
    firstMs: atMs,
    lastMs: atMs,
    evidence: [],
    announced: 'ignore',
    announcedHeld: false,
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
