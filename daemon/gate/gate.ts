import { COMMANDS, type CommandName } from '../contracts/command.ts'
import type { Actor, Fact } from '../contracts/fact.ts'
import { NexusError } from '../contracts/failure.ts'
import {
  ApproveSchema,
  BatchSchema,
  CancelSchema,
  CreateSchema,
  type MissionCreate,
  RetrySchema,
  RunSchema,
} from '../contracts/mission.ts'
import type { Permission, Principal } from '../contracts/roles.ts'
import type { Clock } from '../kit/clock.ts'
import { didYouMean } from '../kit/nearest.ts'
import { type Checker, checker, sentenceOf } from '../kit/schema.ts'
import { holds, permit } from '../security/permit.ts'
import { readEntry, sizeOfBatch } from './batch.ts'
import { OpenIntents, summariseParams, summariseResult } from './intents.ts'
import type {
  Authority,
  BatchEnd,
  CommandHandlers,
  GateDoor,
  MissionDesk,
  MissionOperation,
  MissionWish,
  Passage,
  Recorder,
} from './port.ts'
import { type Rate, RateLimit } from './rate-limit.ts'
import { RefusalBook } from './refusals.ts'

export interface GateParts {
  readonly clock: Clock
  readonly recorder: Recorder
  readonly handlers: CommandHandlers
  readonly missions: MissionDesk
  /** How fast one principal may change missions; without it, as fast as it can. */
  readonly rate?: Rate
  /** Told of everything that came to the gate; must not throw. */
  readonly passed?: (passage: Passage) => void
  /** Told when a refusal could not be recorded. */
  readonly complain: (cause: unknown) => void
}

interface CommandRule {
  readonly permission: Permission
  readonly reads?: true
  readonly key?: true
  readonly later?: true
}
type Handler = (params: object, principal: Principal) => Promise<object>

/** A refusal quotes this much of a name that no command has. */
const COMMAND_CHARS_MAX = 100

const COMMAND_CHECKS = Object.fromEntries(
  Object.entries(COMMANDS).map(([name, { params }]) => [name, checker<object>(params)]),
) as Record<CommandName, Checker<object>>

/** Either permission will do. */
const MISSION_RULES = {
  create: { check: checker<object>(CreateSchema), permissions: ['mission.create'] },
  retry: { check: checker<object>(RetrySchema), permissions: ['mission.create'] },
  run: { check: checker<object>(RunSchema), permissions: ['mission.run'] },
  approve: { check: checker<object>(ApproveSchema), permissions: ['mission.decide'] },
  reject: { check: checker<object>(CancelSchema), permissions: ['mission.decide'] },
  cancel: { check: checker<object>(CancelSchema), permissions: ['mission.cancel', 'mission.decide'] },
} as const satisfies Record<
  MissionOperation,
  { check: Checker<object>; permissions: readonly [Permission, ...Permission[]] }
>
const BATCH_CHECK = checker<{ missions: unknown[] }>(BatchSchema)

/**
 * The one way in for every change: checks the shape, asks for permission, records, then calls.
 *
 * A command whose effect is not itself a record has two: the intent, durable before the effect, and the outcome. A
 * mission's transition is its own record. Reads leave none. Refusals are recorded whatever they were for.
 */
export class Gate implements GateDoor {
  readonly #parts: GateParts
  readonly #refusals: RefusalBook
  readonly #intents = new OpenIntents()
  readonly #rate: RateLimit | undefined

  constructor(parts: GateParts) {
    this.#parts = parts
    this.#rate = parts.rate && new RateLimit(parts.rate, parts.clock)
    this.#refusals = new RefusalBook(parts)
  }

  /** Takes the facts of a replay, oldest first, before `recover`. */
  fold(fact: Fact): void {
    this.#intents.fold(fact)
  }

  /** For a snapshot: the intents that are open, so that a replay from there on still knows them. */
  save(): unknown {
    return this.#intents.list()
  }

  /** Takes back what `save` gave; anything else is no open intent. */
  load(saved: unknown): void {
    this.#intents.load(saved)
  }

  /** Gives every intent that a crash left open an outcome, exactly once: nobody knows what it did. */
  async recover(): Promise<void> {
    for (const [intent, command] of this.#intents.list()) {
      await this.#parts.recorder.append({
        type: 'command.done',
        actor: { kind: 'daemon', name: 'gate' },
        d: { intent, command, outcome: 'unknown' },
      })
    }
  }

  async command(principal: Principal, name: string, params: unknown): Promise<object> {
    const known = Object.hasOwn(COMMANDS, name) ? (name as CommandName) : undefined
    const label = known ?? 'unknown'
    const startedMs = this.#parts.clock.elapsed()
    const { rule, handler, checked } = await this.#orRefuse(name, label, principal, startedMs, () =>
      this.#admit(known, name, params, principal),
    )
    try {
      const result =
        rule.reads === true
          ? await handler(checked, principal)
          : await this.#audited(label, checked, principal, handler)
      this.#pass(label, 'done', startedMs)
      return result
    } catch (cause) {
      this.#pass(label, 'failed', startedMs, cause)
      throw cause
    }
  }

  async mission(
    operation: MissionOperation,
    principal: Principal,
    body: unknown,
    idempotencyKey?: string,
  ): Promise<{ replayed: boolean; answer: object }> {
    const label = `mission.${operation}`
    const startedMs = this.#parts.clock.elapsed()
    const answer = await this.#orRefuse(label, label, principal, startedMs, () => {
      this.#rate?.take(principal, 1)
      const { check, permissions } = MISSION_RULES[operation]
      const { operator_key: _, ...wish } = checked(check, body) as Record<string, unknown>
      permitEither(principal, permissions)
      const authority = { principal, operatorKey: principal.kind === 'key' }
      return this.#ask(operation, wish, authority, idempotencyKey)
    })
    this.#pass(label, 'done', startedMs)
    return answer
  }

  async missions(principal: Principal, body: unknown): Promise<readonly BatchEnd[]> {
    const label = 'mission.batch'
    const startedMs = this.#parts.clock.elapsed()
    const ends = await this.#orRefuse(label, label, principal, startedMs, () => {
      this.#rate?.take(principal, sizeOfBatch(body))
      const { missions } = checked(BATCH_CHECK, body) as { missions: readonly unknown[] }
      permitEither(principal, MISSION_RULES.create.permissions)
      return this.#askForAll(missions, { principal, operatorKey: principal.kind === 'key' })
    })
    this.#pass(label, 'done', startedMs)
    const refused = ends.filter((end) => end instanceof NexusError)
    await Promise.all(refused.map((cause) => this.#refuse('mission.create', actorOf(principal), cause)))
    return ends
  }

  async allow(principal: Principal, permission: Permission, what: string): Promise<void> {
    try {
      permit(principal, permission)
    } catch (cause) {
      await this.#refuse(what, actorOf(principal), cause)
      throw cause
    }
  }

  async turnedAway(what: string, cause: unknown): Promise<void> {
    await this.#refuse(what, { kind: 'anonymous', name: 'unproven' }, cause)
  }

  /** Writes what is still counted of a flood of refusals. */
  async close(): Promise<void> {
    await this.#refusals.close()
  }

  /** Shape first, then permission: who asks nonsense learns what is wrong with it, and nothing else. */
  #admit(known: CommandName | undefined, name: string, params: unknown, principal: Principal): Admitted {
    if (known === undefined) {
      const nearest = didYouMean(name, Object.keys(COMMANDS))
      throw new NexusError('COMMAND_UNKNOWN', { command: name.slice(0, COMMAND_CHARS_MAX), nearest })
    }
    const rule: CommandRule = COMMANDS[known]
    const accepted = checked(COMMAND_CHECKS[known], params)
    permit(principal, rule.permission)
    if (rule.key === true && principal.kind !== 'key') {
      throw new NexusError('OPERATOR_KEY_REQUIRED', { command: name })
    }
    const handler = (this.#parts.handlers as Readonly<Record<string, Handler>>)[known]
    if (rule.later === true || handler === undefined) {
      throw new NexusError('NOT_AVAILABLE', { what: `the command ${name}` })
    }
    return { rule, handler, checked: accepted }
  }

  /** Intent durable, then the effect, then its outcome. Without a durable outcome there is no success either. */
  async #audited(command: string, params: object, principal: Principal, handler: Handler): Promise<object> {
    const { recorder, clock } = this.#parts
    const actor = actorOf(principal)
    const published = principal.published === true && { published: true }
    const intended = await recorder.append({
      type: 'command.intended',
      actor,
      d: { command, params: summariseParams(params), ...published },
    })
    const startedMs = clock.elapsed()
    const close = (outcome: object): Promise<Fact> => {
      const duration_ms = Math.round(clock.elapsed() - startedMs)
      const d = { intent: intended.seq, command, duration_ms, ...outcome }
      return recorder.append({ type: 'command.done', actor, d })
    }
    let result: object
    try {
      result = await handler(params, principal)
    } catch (cause) {
      await close({ outcome: 'failed', code: codeOf(cause) })
      throw cause
    }
    await close({ outcome: 'done', result: summariseResult(result) })
    return result
  }

  async #ask(
    operation: MissionOperation,
    wish: object,
    authority: Authority,
    idempotencyKey: string | undefined,
  ): Promise<{ replayed: boolean; answer: object }> {
    const desk = this.#parts.missions
    if (operation === 'retry') return desk.retry(wish as MissionWish, authority, idempotencyKey)
    if (operation === 'create') return desk.create(wish as MissionCreate, authority, idempotencyKey)
    return { replayed: false, answer: await desk[operation](wish as MissionWish, authority) }
  }

  /** What is wrong is told in its place; only the others come to the desk. */
  async #askForAll(missions: readonly unknown[], authority: Authority): Promise<readonly BatchEnd[]> {
    const entries = missions.map((entry) => readEntry(MISSION_RULES.create.check, entry))
    const orders = entries.filter((entry) => 'body' in entry)
    const ends = (orders.length === 0 ? [] : await this.#parts.missions.createAll(orders, authority)).values()
    return entries.map((entry) => (entry instanceof NexusError ? entry : (ends.next().value as BatchEnd)))
  }

  async #orRefuse<T>(
    what: string,
    label: string,
    principal: Principal,
    startedMs: number,
    decide: () => Promise<T> | T,
  ): Promise<T> {
    try {
      return await decide()
    } catch (cause) {
      this.#pass(label, cause instanceof NexusError ? 'refused' : 'failed', startedMs, cause)
      await this.#refuse(what, actorOf(principal), cause)
      throw cause
    }
  }

  /** Only what the table knows is a refusal, and the journal cannot record that it is itself unavailable. */
  async #refuse(command: string, actor: Actor, cause: unknown): Promise<void> {
    if (!(cause instanceof NexusError) || cause.code.startsWith('JOURNAL_')) return
    await this.#refusals.note({ command, actor, error: cause })
  }

  #pass(command: string, outcome: Passage['outcome'], startedMs: number, cause?: unknown): void {
    const durationMs = this.#parts.clock.elapsed() - startedMs
    const code = cause instanceof NexusError && { code: cause.code }
    this.#parts.passed?.({ command, outcome, durationMs, ...code })
  }
}

interface Admitted {
  readonly rule: CommandRule
  readonly handler: Handler
  readonly checked: object
}

function checked(check: Checker<object>, given: unknown): object {
  const verdict = check(given)
  if (verdict.ok) return verdict.value
  throw new NexusError('BAD_REQUEST', { detail: sentenceOf(verdict.issues) }, { issues: verdict.issues })
}

function permitEither(principal: Principal, permissions: readonly [Permission, ...Permission[]]): void {
  if (!permissions.some((permission) => holds(principal, permission))) permit(principal, permissions[0])
}

function actorOf(principal: Principal): Actor {
  return { kind: principal.kind, name: principal.name }
}

function codeOf(cause: unknown): string {
  return cause instanceof NexusError ? cause.code : 'INTERNAL'
}
