import type { Settings } from '../contracts/config.ts'
import type { Fact, FactDraft } from '../contracts/fact.ts'
import type { Category, GenerationId, InstanceId, MissionId, ModuleId } from '../contracts/ids.ts'
import type { ActionSpecification } from '../contracts/manifest.ts'
import type { Constraints, MissionFilter, MissionView, PlanStep, Validation } from '../contracts/mission.ts'
import type { ArtifactRef, MissionContext } from '../contracts/module.ts'
import type { Principal } from '../contracts/roles.ts'
import type { Chance } from '../kit/chance.ts'
import type { Clock } from '../kit/clock.ts'
import type { Mission } from './mission.ts'

/** All that missions need from others. */
export interface MissionPorts {
  readonly recorder: Recorder
  readonly calls: ModuleCalls
  readonly judge: Judge
  readonly runes: Runes
  /** Probability, 0..1, that this module succeeds in this category: the best planner is asked. */
  readonly successEstimate: (moduleId: ModuleId, category: Category) => number
  readonly blobs: Blobs
  readonly records: Records
  readonly clock: Clock
  readonly chance: Chance
  readonly log: Log
  readonly settings: Omit<
    Settings['missions'],
    'weights' | 'prices' | 'rate_per_second' | 'rate_burst' | 'keep_days' | 'keep_max'
  >
  /** What is left on the disk of the data folder, for whoever has no special right to it. */
  freeBytes(): Promise<number>
}

/**
 * The journal, as missions use it. Facts come to rest in the order in which they were handed in.
 *
 * Both resolve when the facts are durable and every reader, `Missions.fold` first of all, has been told of them; when
 * they reject, nothing was written.
 *
 * @throws NexusError `JOURNAL_FULL` and `JOURNAL_BUSY` pass by themselves; `JOURNAL_UNAVAILABLE` ends the daemon.
 */
export interface Recorder {
  append(draft: FactDraft): Promise<Fact>
  /** Next to each other in the journal. A power cut may keep the first of them only. */
  appendAll(drafts: readonly FactDraft[]): Promise<readonly Fact[]>
}

/**
 * Where missions are kept: one change at a time for each mission, checked against the table of `mission-table.ts`.
 *
 * The port behind which another engine can stand. What a method resolved with is durable, and `find` and `list` show
 * it; what it rejected with changed nothing.
 */
export interface MissionStore {
  /**
   * Several in one batch, each under its own id; one sync for all of them. Drafts of `mission.created`.
   *
   * One that names an idempotency key its principal has used already is not written: the mission that stands under the
   * key takes its place. The embedded engine leaves that to admission, its only caller, which gives a key to one
   * creation at a time (`key-turns.ts`); an engine that several daemons share needs a unique index.
   */
  create(created: readonly FactDraft[]): Promise<readonly Mission[]>
  /** In full, wherever it is kept. */
  find(id: MissionId): Promise<Mission | undefined>
  /** Newest first; `next` is the `after` of the page that follows. */
  list(filter: MissionFilter): Promise<MissionPage>
  /** The mission that was created under this key by this principal. */
  byIdempotencyKey(principal: string, key: string): Promise<Mission | undefined>
  /**
   * Changes a mission by the fact that `decide` makes of its present state; without one it stays as it is.
   *
   * @param wanted - For the refusal, as in "it cannot be …".
   * @throws NexusError `MISSION_UNKNOWN`, `MISSION_WRONG_STATE`, what `decide` throws, and the recorder's.
   */
  change(id: MissionId, wanted: string, decide: (mission: Mission) => Decided | undefined): Promise<Mission>
}

/** Who may work on a mission: every claim raises its epoch, and every write of an attempt must present it. */
export interface MissionQueue {
  /** Answers and writes of attempts that were no longer the mission's present one. */
  readonly staleRefused: number
  /** Gives a queued mission to a new attempt; undefined when it is not queued, or `mayRun` had something else done. */
  claim(id: MissionId, mayRun: (mission: Mission) => ClaimVerdict): Promise<Mission | undefined>
  /**
   * Writes in the name of an attempt: one batch, in this order, of which a power cut may keep the first ones only.
   *
   * @throws StaleAttempt when the mission is no longer this attempt's; nothing is written then, and it is counted.
   */
  write(id: MissionId, epoch: number, decided: readonly Decided[]): Promise<Mission>
}

/** A fact to be written, once it is known for which epoch. */
export interface Decided {
  fact(id: MissionId, epoch?: number): FactDraft
}

export type ClaimVerdict =
  | {
      readonly claim: true
      readonly queueWaitMs: number
      /** The steps that begin at once: their starts stand beside the claim. */
      readonly starts: readonly Decided[]
    }
  | { readonly claim: false; readonly instead: Decided }

interface MissionPage {
  readonly missions: readonly MissionView[]
  readonly next: MissionId | null
}

/** What missions ask of modules. */
export interface ModuleCalls {
  /** Undefined when the module or the action is not there. */
  action(moduleId: ModuleId, action: string): ActionSpecification | undefined
  module(moduleId: ModuleId): ModuleKnown
  /** Modules that list the category and have the action `plan`. */
  planners(category: Category): readonly ModuleId[]
  /**
   * Runs one action, with the input checked against its schema.
   *
   * When `signal` aborts, or after `timeoutMs`, the action's own signal fires; with `killWhenStuck` its instance is
   * killed if it takes no notice within the grace.
   *
   * @throws NexusError `ACTION_FAILED`, `CALL_CUT`, `CALL_EXPIRED`, `CALL_ABORTED`, `ACTION_INPUT_INVALID`,
   *   `ACTION_UNKNOWN`, `MODULE_UNKNOWN`, `MODULE_INVALID`, `MODULE_NOT_READY`, `MODULE_BUSY`.
   */
  call(order: ActionOrder): Promise<ActionAnswer>
}

interface ModuleKnown {
  readonly known: boolean
  readonly locked: boolean
  /** So many missions may use it at once; as many as lanes and actions allow when absent. */
  readonly missionsMax?: number
  /** Ready, or about to be: a call would be taken, or wait. */
  readonly callable: boolean
  /** How many of them take calls; one when it is not said. */
  readonly instances?: number
  readonly generation?: GenerationId | undefined
}

export interface ActionOrder {
  readonly moduleId: ModuleId
  readonly action: string
  readonly input: unknown
  readonly timeoutMs: number
  readonly signal?: AbortSignal
  readonly mission?: MissionContext
  readonly killWhenStuck?: boolean
  /** What the mission may still keep as files. */
  readonly artifactsMax?: { readonly count: number; readonly bytes: number }
  progress?(fraction: number, note: string | undefined): void
}

export interface ActionAnswer {
  readonly output: unknown
  readonly artifacts: readonly ArtifactRef[]
  readonly instance: InstanceId
  readonly generation: GenerationId
  readonly durationMs: number
  readonly cpuMs: number
}

/** Who scores. Pure: it looks at what was recorded, and changes nothing. */
interface Judge {
  judge(question: Question): Validation
  /** What the goal is about: equal for goals that differ in numbers, dates and order only. */
  readGoal(goal: string): { readonly fingerprint: string; readonly tokens: readonly string[] }
  /** What plans have in common that one rune could stand for. */
  planShape(plan: readonly PlanStep[]): string
}

/** A mission that wants to be judged. */
export interface Question {
  readonly goal: string
  readonly category: Category
  readonly constraints: Constraints
  /** In order; empty when nobody could plan it. */
  readonly plan: readonly { readonly id: string; readonly module_id: ModuleId; readonly action: string }[]
  /** What is known of each module the plan names. */
  readonly modules: readonly ModuleStanding[]
  readonly expected_value?: number
  /** The rune the plan came from. */
  readonly rune?: string
  /** Why there is no plan. */
  readonly obstacle?: string
}

export interface ModuleStanding {
  readonly module_id: ModuleId
  /** It is there, with the actions that the plan asks for. */
  readonly known: boolean
  readonly locked: boolean
  readonly generation?: GenerationId
}

interface Runes {
  /** The plan learned for goals like this one, if any match is good enough. */
  best(
    goal: string,
    category: Category,
    input: unknown,
  ): { readonly rune: string; readonly plan: readonly PlanStep[] } | undefined
}

/** Files by content hash. `put` resolves when the bytes are durable. */
export interface Blobs {
  put(bytes: Uint8Array): Promise<{ readonly sha256: string; readonly bytes: number }>
  get(sha256: string): Promise<Uint8Array | undefined>
}

/**
 * The records of missions at rest, a line for each; the last one of a mission counts. What was appended can be read at
 * once, and is durable with the next snapshot: until then the journal tells it again.
 */
export interface Records {
  append(line: string): RecordPlace
  /** In this order; undefined where the bytes are not those that were written. */
  read(places: readonly RecordPlace[]): Promise<readonly (Uint8Array | undefined)[]>
  /** A record could not be read; for the log. */
  trouble(error: unknown): void
}

export interface RecordPlace {
  readonly file: number
  readonly offset: number
  readonly length: number
  readonly crc: number
}

/** Who asks, as the gate found out. A wrong key never comes this far. */
export interface Authority {
  readonly principal: Principal
  /** The request carried the valid operator key. */
  readonly operatorKey: boolean
  /** Which one, for the record; never the key itself. */
  readonly keyId?: string
}

type Log = (
  level: 'debug' | 'info' | 'warn' | 'error',
  message: string,
  fields?: Readonly<Record<string, unknown>>,
) => void
