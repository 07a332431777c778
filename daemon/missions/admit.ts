import { strict as assert } from 'node:assert'
import type { FactDraft } from '../contracts/fact.ts'
import { type Issue, NexusError } from '../contracts/failure.ts'
import type { MissionId } from '../contracts/ids.ts'
import { CONSTRAINTS_DEFAULT, type Constraints, type MissionCreate } from '../contracts/mission.ts'
import { Turnstile } from '../kit/turnstile.ts'
import { Backlog } from './backlog.ts'
import { digestOf } from './digest.ts'
import { actorOf, draft, type MissionOrder } from './facts.ts'
import { KeyTurns } from './key-turns.ts'
import type { Ledger } from './ledger.ts'
import { type Mission, moduleOf } from './mission.ts'
import type { MissionIds } from './mission-id.ts'
import { BIRTH } from './mission-table.ts'
import { PlanLine } from './plan-line.ts'
import { type Planned, planFor } from './planner.ts'
import type { Authority, MissionPorts } from './port.ts'
import { questionOf } from './question.ts'
import type { Shelf } from './shelf.ts'
import { SpaceGuard } from './space.ts'

/** Somebody wants a mission. */
export interface Wanted {
  readonly body: MissionCreate
  /** The idempotency key. */
  readonly key?: string
  /** The mission that it takes up again. */
  readonly retryOf?: MissionId
}

export interface Admitted {
  /** False when the key had been used with the same body. */
  readonly created: boolean
  readonly mission: Mission
}

/** Lets missions in: idempotency, room, plan, judgement, and then one record for each and one sync for all. */
export class Admission {
  readonly #ports: MissionPorts
  readonly #shelf: Shelf
  readonly #ledger: Ledger
  readonly #ids: MissionIds
  readonly #keys = new KeyTurns()
  readonly #turns = new Turnstile()
  readonly #plans: PlanLine
  readonly #space: SpaceGuard
  /** To be told of every mission that changed. */
  readonly backlog: Backlog

  constructor(ports: MissionPorts, shelf: Shelf, ledger: Ledger, ids: MissionIds) {
    this.#ports = ports
    this.#shelf = shelf
    this.#ledger = ledger
    this.#ids = ids
    const { settings, clock, freeBytes } = ports
    this.backlog = new Backlog(settings, clock)
    this.#plans = new PlanLine(clock)
    this.#space = new SpaceGuard(settings.free_space_mb, freeBytes, clock)
  }

  /**
   * Answers once the mission is durable, also to whoever comes second with the same key.
   *
   * @throws NexusError `IDEMPOTENCY_CONFLICT`, `QUEUE_FULL`, `BAD_REQUEST`, `PLAN_INVALID`, `PLANNERS_BUSY`,
   *   `SPACE_LOW`, and the recorder's.
   */
  async admit(authority: Authority, wanted: Wanted): Promise<Admitted> {
    const [end] = await this.admitAll(authority, [wanted])
    assert(end !== undefined, 'what was wanted has an end')
    if (end instanceof NexusError) throw end
    return end
  }

  /**
   * The same for several, as if one came after the other, but with one sync for all. What one of them is refused for
   * spoils no other.
   *
   * @throws NexusError of the recorder: what was not created before is not created then.
   */
  async admitAll(
    authority: Authority,
    wanted: readonly Wanted[],
  ): Promise<readonly (Admitted | NexusError)[]> {
    const principal = scopeOf(authority)
    const places = wanted.map(({ key }) => (key === undefined ? undefined : JSON.stringify([principal, key])))
    const release = await this.#keys.take(places.filter((place) => place !== undefined))
    try {
      const ends = new Map<number, Admitted | NexusError>()
      for (const round of roundsOf(places)) {
        const admitted = await this.#admitRound(
          authority,
          round.map((index) => wanted[index] as Wanted),
        )
        for (const [at, end] of admitted.entries()) ends.set(round[at] as number, end)
      }
      return wanted.map((_, index) => ends.get(index) as Admitted | NexusError)
    } finally {
      release()
    }
  }

  /** No two of them under one key. */
  async #admitRound(
    authority: Authority,
    wanted: readonly Wanted[],
  ): Promise<readonly (Admitted | NexusError)[]> {
    const prepared = await this.#prepareAll(authority, wanted)
    // Named, given their places and handed to the journal in one breath, so that ids and records have one order.
    const drafts = new Map<number, FactDraft & { readonly mid: MissionId }>()
    const ends = prepared.map((one, at) => {
      if (!('order' in one)) return one
      const id = this.#ids.next()
      const { category, plan, validation } = one.order
      const modules = [...new Set(plan.map(({ uses }) => moduleOf(uses)))]
      const full = this.backlog.reserve(id, BIRTH[validation.decision].to, { category, modules })
      if (full !== undefined) return full
      drafts.set(at, { ...draft('mission.created', id, actorOf(authority), one.order), mid: id })
      return undefined
    })
    const missions = await this.#record([...drafts.values()])
    let next = 0
    return ends.map((end) => end ?? { created: true, mission: missions[next++] as Mission })
  }

  async #record(drafts: readonly (FactDraft & { readonly mid: MissionId })[]): Promise<readonly Mission[]> {
    if (drafts.length === 0) return []
    try {
      return await this.#ledger.create(drafts)
    } catch (error) {
      for (const { mid } of drafts) this.backlog.release(mid)
      if (error instanceof NexusError && error.code === 'JOURNAL_FULL') this.#space.refused()
      throw error
    }
  }

  /** A few in each turn of the event loop: a thousand in one would make everybody else wait for all of them. */
  #prepareAll(authority: Authority, wanted: readonly Wanted[]): Promise<readonly (Prepared | NexusError)[]> {
    const turns: Promise<void>[] = []
    return Promise.all(
      wanted.map(async (one, at) => {
        const turn = Math.floor(at / TURN_MAX)
        if (turn > 0) {
          turns[turn] ??= this.#turns.pass()
          await turns[turn]
        }
        return this.#prepareOrRefuse(authority, one)
      }),
    )
  }

  async #prepareOrRefuse(authority: Authority, wanted: Wanted): Promise<Prepared | NexusError> {
    try {
      return await this.#prepare(authority, wanted)
    } catch (error) {
      if (error instanceof NexusError) return error
      throw error
    }
  }

  async #prepare(authority: Authority, { body, key, retryOf }: Wanted): Promise<Prepared> {
    const retry = retryOf === undefined ? {} : { retry_of: retryOf }
    if (key === undefined) return { order: { ...(await this.#judged(authority, body)), ...retry } }
    if (key.length < 1 || key.length > KEY_LENGTH_MAX) {
      throw badRequest('/idempotency_key', `must have 1 to ${KEY_LENGTH_MAX} characters`)
    }
    const principal = scopeOf(authority)
    const idempotency = { key, principal, body_sha256: digestOf({ ...body, ...retry }) }
    const known = await this.#shelf.byIdempotencyKey(principal, key)
    if (known === undefined) {
      return { order: { ...(await this.#judged(authority, body)), idempotency, ...retry } }
    }
    if (known.order.idempotency?.body_sha256 !== idempotency.body_sha256) {
      throw new NexusError('IDEMPOTENCY_CONFLICT')
    }
    return { created: false, mission: known }
  }

  /** The whole order, or why it is refused however it would be judged. */
  async #judged(authority: Authority, body: MissionCreate): Promise<MissionOrder> {
    const inputBytes = checkBody(body)
    this.backlog.requireRoom(body.category)
    // Maintenance is what makes room; the reserve is kept for what runs.
    if (authority.principal.kind !== 'scheduler') await this.#space.require()
    const order = await this.#order(authority, body)
    checkSize(order, inputBytes)
    return order
  }

  async #order({ principal }: Authority, body: MissionCreate): Promise<MissionOrder> {
    const { judge, calls } = this.#ports
    const constraints = { ...CONSTRAINTS_DEFAULT, ...body.constraints }
    const { goal, category, input, not_before, expected_value } = body
    const order = {
      goal,
      category,
      constraints,
      ...(await this.#plan(body, constraints)),
      ...(input === undefined ? {} : { input }),
      priority: body.priority ?? 0,
      ...(not_before === undefined ? {} : { not_before }),
      ...(expected_value === undefined ? {} : { expected_value }),
      max_attempts: body.max_attempts ?? ATTEMPTS_MAX,
      principal: principal.name,
      ...(principal.published === true ? { published: true as const } : {}),
    }
    const validation = judge.judge(questionOf(order, calls))
    return { ...order, validation, ...judge.readGoal(goal), plan_shape: judge.planShape(order.plan) }
  }

  #plan(body: MissionCreate, constraints: Constraints): Promise<Planned> {
    const plan = () => planFor(body, constraints, this.#ports)
    return body.plan === undefined ? this.#plans.run(plan) : plan()
  }
}

type Prepared = { readonly order: MissionOrder } | Admitted

/** Places of the list, so that no key comes twice in a round: what has none, and each key's first, then the second… */
function roundsOf(keys: readonly (string | undefined)[]): readonly (readonly number[])[] {
  const rounds: number[][] = []
  const seen = new Map<string, number>()
  for (const [index, key] of keys.entries()) {
    const round = key === undefined ? 0 : (seen.get(key) ?? 0)
    if (key !== undefined) seen.set(key, round + 1)
    const members = rounds[round] ?? []
    rounds[round] = members
    members.push(index)
  }
  return rounds
}

function scopeOf({ principal }: Authority): string {
  return `${principal.kind}:${principal.name}`
}

/** What the schema cannot see. @returns How many bytes the input has. */
function checkBody({ input, not_before }: MissionCreate): number {
  const bytes = sizeOf(input)
  if (bytes > INPUT_BYTES_MAX) {
    throw badRequest('/input', `has ${bytes} bytes of JSON, the most is ${INPUT_BYTES_MAX}`)
  }
  if (not_before !== undefined && Number.isNaN(Date.parse(not_before))) {
    throw badRequest('/not_before', 'is no point in time')
  }
  return bytes
}

/** The whole order is one line of the journal. Where what was asked for is small, so is what was made of it. */
function checkSize(order: MissionOrder, inputBytes: number): void {
  // A plan stands there with its shape and its modules, a goal with its words, each character in up to six.
  if (inputBytes + 2 * sizeOf(order.plan) + 12 * order.goal.length < ORDER_BYTES_MAX / 2) return
  const bytes = sizeOf(order)
  if (bytes <= ORDER_BYTES_MAX) return
  const sizes = Object.entries(order).map(([field, value]) => ({ field, bytes: sizeOf(value) }))
  const asked = sizes.filter(({ field }) => ['goal', 'input', 'plan'].includes(field))
  const largest = asked.sort((a, b) => b.bytes - a.bytes)[0]
  const detail = `is too large: the mission's record would have ${bytes} bytes, the most is ${ORDER_BYTES_MAX}`
  throw badRequest(`/${largest?.field ?? 'plan'}`, detail)
}

function sizeOf(value: unknown): number {
  return value === undefined ? 0 : Buffer.byteLength(JSON.stringify(value) ?? '')
}

export function badRequest(pointer: string, detail: string): NexusError {
  const issues: Issue[] = [{ pointer, detail }]
  return new NexusError('BAD_REQUEST', { detail: `${pointer} ${detail}` }, { issues })
}

/** Judging so many takes a few milliseconds. */
const TURN_MAX = 100
const INPUT_BYTES_MAX = 32 * 1024
/** A line of the journal has 64 KiB; its framing and the actor need little of the rest. */
const ORDER_BYTES_MAX = 60 * 1024
const KEY_LENGTH_MAX = 256
/** Tried again twice: most failures that pass do so within a minute. */
const ATTEMPTS_MAX = 3
