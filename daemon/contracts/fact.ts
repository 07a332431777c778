import type { Category, Decision, MissionId, ModuleId } from './ids.ts'

/** Who caused a fact. `name` is never a secret. */
export interface Actor {
  readonly kind:
    | 'key'
    | 'token'
    | 'local'
    | 'anonymous'
    | 'module'
    | 'daemon'
    | 'healer'
    | 'chaos'
    | 'scheduler'
  readonly name: string
}

/**
 * What is journaled before it is announced: one line of `audit.jsonl` without its framing.
 *
 * `mid` and `ep` stand for the mission and the epoch the fact belongs to. `d` is the body, one shape per type.
 */
export interface FactDraft {
  readonly type: string
  readonly mid?: MissionId
  readonly ep?: number
  readonly actor: Actor
  readonly d: Readonly<Record<string, unknown>>
}

/**
 * A fact that is on stable storage.
 *
 * `seq` counts from 1 without a gap. `b` names the batch by the `seq` of its first record, so that a reader can tell
 * a torn last batch from damage in an earlier one. `h` chains: SHA-256 over the previous `h` (64 hex characters, 64
 * zeros before seq 1) and the bytes of this line before its last 73.
 */
export interface Fact extends FactDraft {
  readonly v: 1
  readonly seq: number
  readonly b: number
  /** RFC 3339, UTC, milliseconds. */
  readonly ts: string
  readonly h: string
}

/**
 * The types of facts. A name says what has happened: `<subject>.<past participle>`.
 *
 * The bodies stand with their writers (`missions/`, `supervisor/`, `gate/`); this list is what readers may ask for.
 */
export const FACT_TYPES = [
  'daemon.started',
  'daemon.stopping',
  'daemon.busy_loop',
  'journal.segment_opened',
  'journal.rotated',
  'journal.compacted',
  'journal.repaired',
  'journal.tail_cut',
  'command.intended',
  'command.done',
  'command.refused',
  'module.discovered',
  'module.invalid',
  'module.removed',
  'module.desired',
  'module.configured',
  'module.generation_accepted',
  'module.generation_refused',
  'module.started',
  'module.start_failed',
  'module.stopped',
  'module.reloaded',
  'module.rolled_back',
  'module.waiting',
  'module.resumed',
  'module.crashed',
  'module.suspected',
  'module.busy',
  'module.hung',
  'module.displaced',
  'module.scaled',
  'module.crashloop',
  'module.health_changed',
  'module.self_tested',
  'module.unlocked',
  'mission.created',
  'mission.approved',
  'mission.rejected',
  'mission.cancelled',
  'mission.overridden',
  'mission.rejudged',
  'mission.claimed',
  'mission.step_started',
  'mission.step_finished',
  'mission.attempt_ended',
  'mission.interrupted',
  'mission.resumed',
  'mission.expired',
  'mission.ended',
  'missions.pruned',
  'omen.changed',
  'maintenance.scheduled',
  'maintenance.removed',
  'maintenance.missed',
  'maintenance.ended',
  'prediction.made',
  'prediction.resolved',
  'rune.promoted',
  'rune.staled',
] as const

/** The body of `mission.ended`: the one outcome that evidence is made of. */
export interface MissionOutcome {
  readonly status: 'completed' | 'failed'
  readonly category: Category
  readonly decision: Decision
  readonly modules: readonly ModuleId[]
  readonly fingerprint: string
  /** Goal tokens, sorted, for similarity. */
  readonly tokens: readonly string[]
  /** The shape of the plan, for runes. */
  readonly plan_shape: string
  readonly success: boolean
  /** One attempt, no human touch. */
  readonly first_pass: boolean
  readonly duration_ms: number
  readonly steps: number
  readonly cpu_seconds: number
  readonly operator_minutes: number
  readonly value?: number
  readonly cost?: number
  /** What was predicted for it when it was judged, 0..1. */
  readonly predicted: number
  /** Code of the failure, for omens. */
  readonly error_code?: string
  readonly error_message?: string
  readonly step?: string
}
