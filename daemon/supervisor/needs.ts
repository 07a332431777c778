import type { ModuleState } from '../contracts/status.ts'

/** Something that a module requires, as it stands now. */
export interface Need {
  readonly moduleId: string
  /** Undefined when there is no such module. */
  readonly state: ModuleState | undefined
  /** Monotonic; undefined while it is ready. */
  readonly awaySinceMs: number | undefined
}

export type NeedsVerdict =
  | { readonly met: true }
  | {
      readonly met: false
      /** A sentence about the one that is away longest. */
      readonly because: string
      readonly awaySinceMs: number
      /** How much longer its absence counts as brief; 0 when it does not. */
      readonly waitMs: number
    }

/** A restart after a crash or the reload of a module that may not overlap is over by then: it need disturb nobody. */
const BRIEFLY_MS = 1_000

/** Decides whether a module finds what it requires. Pure: whoever waits asks again in `waitMs`, and at every change. */
export function judgeNeeds(needs: readonly Need[], nowMs: number): NeedsVerdict {
  let longest: { need: Need; sinceMs: number } | undefined
  for (const need of needs) {
    const sinceMs = need.state === undefined ? 0 : need.awaySinceMs
    if (sinceMs !== undefined && sinceMs < (longest?.sinceMs ?? Infinity)) longest = { need, sinceMs }
  }
  if (longest === undefined) return { met: true }
  const { need, sinceMs } = longest
  const state = need.state === undefined ? 'not there' : need.state
  const waitMs = need.state === undefined ? 0 : Math.max(0, sinceMs + BRIEFLY_MS - nowMs)
  return {
    met: false,
    because: `it requires ${need.moduleId}, which is ${state}`,
    awaySinceMs: sinceMs,
    waitMs,
  }
}
