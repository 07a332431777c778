import type { COMMANDS, CommandName, CommandParams } from '../contracts/command.ts'
import type { Fact, FactDraft } from '../contracts/fact.ts'
import type { FailureCode, NexusError } from '../contracts/failure.ts'
import type { MissionCreate, MissionRun, MissionView } from '../contracts/mission.ts'
import type { Permission, Principal } from '../contracts/roles.ts'

/** Where the gate writes what was wanted, refused and done. */
export interface Recorder {
  /** Resolves once the fact is on stable storage. @throws NexusError `JOURNAL_*`. */
  append(draft: FactDraft): Promise<Fact>
}

type LaterCommand = {
  [Name in CommandName]: (typeof COMMANDS)[Name] extends { readonly later: true } ? Name : never
}[CommandName]

/** One handler for each command that is built; those marked `later` answer 501 without one. */
export type CommandHandlers = {
  readonly [Name in Exclude<CommandName, LaterCommand>]: (
    params: CommandParams<Name>,
    principal: Principal,
  ) => Promise<object>
}

/** Who asks for a mission operation. The operator key itself never comes this far. */
export interface Authority {
  readonly principal: Principal
  /** A valid operator key came with this very request. */
  readonly operatorKey: boolean
}

export type MissionOperation = 'create' | 'retry' | 'run' | 'approve' | 'reject' | 'cancel'

/** One entry of a batch, checked. */
export interface MissionOrder {
  readonly body: MissionCreate
  readonly idempotencyKey?: string
}

/** What became of it: as create would have answered, or refused. */
export type BatchEnd = { readonly replayed: boolean; readonly answer: object } | NexusError

/** A body of retry, run, approve, reject or cancel, checked, without the operator key. */
export interface MissionWish {
  readonly mission_id: string
  readonly reason?: string
}

/** The mission room as the gate calls it. Each transition is one record, written there before the promise resolves. */
export interface MissionDesk {
  /** `replayed`: the idempotency key was known, and this is the mission it made. */
  create(
    body: MissionCreate,
    authority: Authority,
    idempotencyKey?: string,
  ): Promise<{ readonly replayed: boolean; readonly answer: object }>
  /** In the order of `orders`; one sync for all. @throws NexusError `JOURNAL_*`, for all of them. */
  createAll(orders: readonly MissionOrder[], authority: Authority): Promise<readonly BatchEnd[]>
  retry(
    body: MissionWish,
    authority: Authority,
    idempotencyKey?: string,
  ): Promise<{ readonly replayed: boolean; readonly answer: object }>
  run(body: Omit<MissionRun, 'operator_key'>, authority: Authority): Promise<RunAnswer>
  approve(body: MissionWish, authority: Authority): Promise<MissionView>
  reject(body: MissionWish, authority: Authority): Promise<MissionView>
  cancel(body: MissionWish, authority: Authority): Promise<MissionView>
}

interface RunAnswer {
  readonly status: 'ok' | 'failed' | 'accepted'
  readonly mission_id: string
  readonly mission: object
}

/** What came of a command or mission operation, for whoever counts. */
export interface Passage {
  /** From the table of commands, `mission.<operation>`, or `unknown`: a bounded set. */
  readonly command: string
  readonly outcome: 'done' | 'failed' | 'refused'
  readonly code?: FailureCode
  readonly durationMs: number
}

/** The gate as the surfaces see it. */
export interface GateDoor {
  /** @throws NexusError of the refusal, or of the effect. */
  command(principal: Principal, name: string, params: unknown): Promise<object>
  mission(
    operation: MissionOperation,
    principal: Principal,
    body: unknown,
    idempotencyKey?: string,
  ): Promise<{ readonly replayed: boolean; readonly answer: object }>
  /** A batch of create. @throws NexusError where all of it is refused. */
  missions(principal: Principal, body: unknown): Promise<readonly BatchEnd[]>
  /** For reads: journals nothing unless refused. @throws NexusError `PERMISSION_DENIED`. */
  allow(principal: Principal, permission: Permission, what: string): Promise<void>
  /** Records that somebody was not let in at all: bad token, bad key. Never rejects. */
  turnedAway(what: string, cause: unknown): Promise<void>
}
