import type { Generation } from '../catalog/port.ts'
import type { Clock } from '../kit/clock.ts'
import type { Probation } from './probation.ts'
import type { ReplicaSet } from './replica-set.ts'

/** What a way from one generation to the next works with. */
export interface Crossing {
  readonly clock: Clock
  /** The set that serves when the reload begins, and whose code is gone back to. */
  readonly old: ReplicaSet
  readonly next: ReplicaSet
  readonly probation: Probation
  /** How many replicas of a generation should run. */
  wanted(generation: Generation): number
  /** Brings up and proves what is missing of `count` replicas. @throws The first failure, whatever else came up. */
  bring(set: ReplicaSet, count: number, inherited: readonly unknown[]): Promise<void>
  /** From now on calls go to these. The first names generation and settings. */
  serve(set: ReplicaSet, beside?: ReplicaSet): void
  /** An empty set of the same code and settings. */
  again(set: ReplicaSet): ReplicaSet
  /** What a failure is the failure of, unless it says so itself. */
  enter(phase: 'start' | 'settle'): void
  /** The module itself is stopped: nothing is brought back. */
  readonly stopped: boolean
}

/** One way from the old generation to the next. */
export interface Way {
  readonly downtimeMs: number
  /** Resolves when the next generation serves and has settled. @throws Why it does not hold. */
  forth(): Promise<void>
  /**
   * Takes back as much as was done; resolves with the set that serves then, which may be incomplete.
   *
   * Replicas of the next set may be left, taking no more calls; they are the caller's to retire.
   */
  back(): Promise<ReplicaSet>
}

/** Lets everything of a set go, its calls ended. */
export function retire(set: ReplicaSet): Promise<void> {
  const { drain_ms: drainMs, stop_ms: stopMs } = set.generation.manifest.timeouts
  return set.retire(drainMs, stopMs)
}

/** Code of which nothing runs cannot be judged, so nobody waits for it. */
export function settleMsOf(set: ReplicaSet): number {
  return set.replicas.size === 0 ? 0 : set.generation.manifest.timeouts.settle_ms
}
