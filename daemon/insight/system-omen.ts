import type { ModuleId } from '../contracts/ids.ts'

/** One cause behind the omens of many modules: what it has come to. */
export interface SystemOmen {
  readonly openedMs: number
  /** Of any module it holds. */
  lastFailureMs: number
  /** Whose omens are held, in the order in which they joined. */
  readonly members: ModuleId[]
  /** Those of them that have succeeded since they failed last. */
  well: ModuleId[]
}

/**
 * Notices that half of all modules begin to fail within a minute: then none of them is to blame.
 *
 * It ends when half of its modules have succeeded again, or when none has failed for ten minutes.
 */
export class CommonCause {
  readonly #known = new Set<ModuleId>()
  /** When each module reached warn, of the last minute. */
  readonly #risen = new Map<ModuleId, number>()
  #omen: SystemOmen | undefined

  /** The one that stands, if one does at this time. */
  standing(nowMs: number): Readonly<SystemOmen> | undefined {
    return this.#omen !== undefined && nowMs - this.#omen.lastFailureMs <= QUIET_MS ? this.#omen : undefined
  }

  /** Whose omens are held; undefined while nothing stands. */
  get members(): readonly ModuleId[] | undefined {
    return this.#omen?.members
  }

  /** Until when it stands if nothing more happens; undefined when none does. */
  get untilMs(): number | undefined {
    return this.#omen && this.#omen.lastFailureMs + QUIET_MS
  }

  learn(moduleId: ModuleId): void {
    this.#known.add(moduleId)
  }

  forget(moduleId: ModuleId): void {
    this.#known.delete(moduleId)
  }

  /** A module reached warn. @returns Whose omens are held from now on: those of the last minute. */
  rose(moduleId: ModuleId, atMs: number): readonly ModuleId[] {
    this.#known.add(moduleId)
    for (const [id, roseMs] of this.#risen) if (atMs - roseMs >= WINDOW_MS) this.#risen.delete(id)
    this.#risen.set(moduleId, atMs)
    if (this.#omen !== undefined) {
      if (!this.#omen.members.includes(moduleId)) this.#omen.members.push(moduleId)
      return [moduleId]
    }
    if (this.#risen.size < Math.max(MODULES_MIN, this.#known.size / 2)) return []
    const members = [...this.#risen.keys()]
    this.#omen = { openedMs: atMs, lastFailureMs: atMs, members, well: [] }
    return members
  }

  /** A module failed. */
  failed(moduleId: ModuleId, atMs: number): void {
    if (this.#omen === undefined || !this.#omen.members.includes(moduleId)) return
    this.#omen.lastFailureMs = Math.max(this.#omen.lastFailureMs, atMs)
    this.#omen.well = this.#omen.well.filter((id) => id !== moduleId)
  }

  /** A module succeeded. @returns Whether the cause is over with that. */
  succeeded(moduleId: ModuleId): boolean {
    const omen = this.#omen
    if (omen === undefined || !omen.members.includes(moduleId) || omen.well.includes(moduleId)) return false
    omen.well.push(moduleId)
    return 2 * omen.well.length >= omen.members.length
  }

  /** Whether it has been quiet for so long that the cause is over. */
  isOver(nowMs: number): boolean {
    return this.#omen !== undefined && this.standing(nowMs) === undefined
  }

  close(): void {
    this.#omen = undefined
    this.#risen.clear()
  }

  save(): SavedCause {
    return { known: [...this.#known], risen: [...this.#risen], ...(this.#omen && { omen: copy(this.#omen) }) }
  }

  load({ known, risen, omen }: SavedCause): void {
    for (const id of known) this.#known.add(id)
    for (const [id, atMs] of risen) this.#risen.set(id, atMs)
    this.#omen = omen && copy(omen)
  }
}

export interface SavedCause {
  readonly known: readonly ModuleId[]
  readonly risen: readonly (readonly [ModuleId, number])[]
  readonly omen?: SystemOmen
}

function copy({ members, well, ...omen }: SystemOmen): SystemOmen {
  return { ...omen, members: [...members], well: [...well] }
}

const WINDOW_MS = 60_000
/** Of three modules two fail by accident. */
const MODULES_MIN = 4
/** Twice as long as a module in a crash loop waits for its next try: it has shown whether it still fails. */
const QUIET_MS = 600_000
