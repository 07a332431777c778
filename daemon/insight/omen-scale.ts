import type { ModuleId } from '../contracts/ids.ts'
import { CALM, type Cusum, levelAt, levelOfRun, nextLevel, succeeded, usualRate } from './cusum.ts'
import type { History, Omen, OmenView } from './omen.ts'
import type { OmenBook } from './omen-book.ts'
import type { OmenKind } from './omen-keys.ts'
import type { OmenLevel } from './omen-levels.ts'
import type { CommonCause } from './system-omen.ts'
import type { Uptime } from './uptime.ts'

/** Kinds whose trials are crashes and hours up. */
export const LIFE: ReadonlySet<OmenKind> = new Set(['crashed', 'hung'])
/** Kinds that count minutes in a row. */
const SHIFTS: ReadonlySet<OmenKind> = new Set(['slow', 'memory'])

/** What an omen amounts to at a time: hours without a crash calm it though no fact tells them, and probation ends. */
export class OmenScale {
  readonly #book: OmenBook
  readonly #cause: CommonCause
  readonly #uptime: Uptime
  readonly #probation = new Map<ModuleId, number>()

  constructor(book: OmenBook, cause: CommonCause, uptime: Uptime) {
    this.#book = book
    this.#cause = cause
    this.#uptime = uptime
  }

  stateAt(omen: Omen, nowMs: number): Cusum {
    if (omen.held && this.#cause.isOver(nowMs)) return CALM
    if (!LIFE.has(omen.kind) || omen.moduleId === null) return omen
    const usual = this.usual(omen.moduleId, 'life')
    return succeeded(omen, usual, this.cleanHours(omen.moduleId, nowMs))
  }

  levelAt(omen: Omen, nowMs: number): OmenLevel {
    if (omen.locked) return 'lock'
    const onProbation = this.probationMs(omen.moduleId, nowMs) !== undefined
    const state = this.stateAt(omen, nowMs)
    return SHIFTS.has(omen.kind) ? levelOfRun(state.count, onProbation) : levelAt(state, onProbation)
  }

  /** The level and the figure of the next one, and until when probation makes it harder. */
  outlook(omen: Omen, nowMs: number): Pick<OmenView, 'level' | 'next_level' | 'probation_until'> {
    const level = this.levelAt(omen, nowMs)
    const probationMs = this.probationMs(omen.moduleId, nowMs)
    return {
      level,
      next_level: nextLevel(level, probationMs !== undefined) ?? null,
      probation_until: probationMs === undefined ? null : new Date(probationMs).toISOString(),
    }
  }

  /** How often it usually fails, in its missions or in its hours up. */
  usual(scope: string, family: 'missions' | 'life'): number {
    const { failures, trials }: History = this.#book.history(scope, family)
    return usualRate(failures, trials)
  }

  /** Whole hours up since the last crash, or since the module was first met. */
  cleanHours(moduleId: ModuleId, nowMs: number): number {
    const counted = this.#book.history(moduleId, 'life').countedUpMs
    return Math.max(0, Math.floor((this.#uptime.upMs(moduleId, nowMs) - counted) / HOUR_MS))
  }

  /** From an unlocking on: a day in which it is locked sooner. */
  beginProbation(moduleId: ModuleId, atMs: number): void {
    this.#probation.set(moduleId, atMs + PROBATION_MS)
  }

  /** Until when; undefined when it is not on probation. */
  probationMs(moduleId: ModuleId | null, nowMs: number): number | undefined {
    const untilMs = moduleId === null ? undefined : this.#probation.get(moduleId)
    return untilMs !== undefined && nowMs < untilMs ? untilMs : undefined
  }

  save(): (readonly [ModuleId, number])[] {
    return [...this.#probation]
  }

  load(saved: readonly (readonly [ModuleId, number])[]): void {
    for (const [moduleId, untilMs] of saved) this.#probation.set(moduleId, untilMs)
  }
}

const HOUR_MS = 3_600_000
const PROBATION_MS = 24 * HOUR_MS
