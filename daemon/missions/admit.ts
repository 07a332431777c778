import { strict as assert } from 'node:assert'
import { type Issue, NexusError } from '../contracts/failure.ts'
import type { MissionId } from '../contracts/ids.ts'
import { CONSTRAINTS_DEFAULT, type MissionCreate } from '../contracts/mission.ts'
import { digestOf } from './digest.ts'
import { actorOf, draft, type MissionOrder } from './facts.ts'
import type { Ledger } from './ledger.ts'
import type { Mission } from './mission.ts'
import type { MissionIds } from './mission-id.ts'
import { planFor } from './planner.ts'
import type { Authority, MissionPorts } from './port.ts'
import { questionOf } from './question.ts'
import type { Shelf } from './shelf.ts'

/** Lets missions in: room, idempotency, plan, judgement, and then one record. */
export class Admission {
  readonly #ports: MissionPorts
  readonly #shelf: Shelf
  readonly #ledger: Ledger
  readonly #ids: MissionIds
  readonly #underWay = new Map<string, { readonly sha256: string; readonly admitted: Promise<Mission> }>()
  #admitting = 0

  constructor(ports: MissionPorts, shelf: Shelf, ledger: Ledger, ids: MissionIds) {
    this.#ports = ports
    this.#shelf = shelf
    this.#ledger = ledger
    this.#ids = ids
  }

  /**
   * Answers once the mission is durable, also to whoever comes second with the same key.
   *
   * @param retryOf - The mission that it takes up again.
   * @throws NexusError `IDEMPOTENCY_CONFLICT`, `QUEUE_FULL`, `BAD_REQUEST`, `PLAN_INVALID`, and the recorder's.
   */
  async admit(
    authority: Authority,
    body: MissionCreate,
    key?: string,
    retryOf?: MissionId,
  ): Promise<Admitted> {
    if (key === undefined) {
      return { created: true, mission: await this.#make(authority, body, undefined, retryOf) }
    }
    if (key.length < 1 || key.length > KEY_LENGTH_MAX) {
      throw badRequest('/idempotency_key', `must have 1 to ${KEY_LENGTH_MAX} characters`)
    }
    const principal = scopeOf(authority)
    const sha256 = digestOf(retryOf === undefined ? body : { ...body, retry_of: retryOf })
    // No turn of the loop is given away when there is none: whoever comes next finds this one under way.
    const kept = this.#shelf.byIdempotencyKey(principal, key)
    const known = kept && (await kept)
    if (known !== undefined) {
      if (known.order.idempotency?.body_sha256 !== sha256) throw new NexusError('IDEMPOTENCY_CONFLICT')
      return { created: false, mission: known }
    }
    const place = JSON.stringify([principal, key])
    const first = this.#underWay.get(place)
    if (first !== undefined) {
      if (first.sha256 !== sha256) throw new NexusError('IDEMPOTENCY_CONFLICT')
      return { created: false, mission: await first.admitted }
    }
    const idempotency = { key, principal, body_sha256: sha256 }
    const admitted = this.#make(authority, body, idempotency, retryOf)
    this.#underWay.set(place, { sha256, admitted })
    try {
      return { created: true, mission: await admitted }
    } finally {
      this.#underWay.delete(place)
    }
  }

  #requireRoom(): void {
    const limit = this.#ports.settings.queue_max
    const waiting = Math.max(this.#shelf.count('queued'), this.#shelf.count('awaiting_approval'))
    if (waiting + this.#admitting >= limit) throw new NexusError('QUEUE_FULL', { limit })
  }

  async #make(
    authority: Authority,
    body: MissionCreate,
    idempotency?: MissionOrder['idempotency'],
    retryOf?: MissionId,
  ): Promise<Mission> {
    this.#requireRoom()
    this.#admitting += 1
    try {
      checkBody(body)
      const order = await this.#order(authority, body)
      // Named and handed to the journal in one breath, so that ids and records have one order.
      const record = draft('mission.created', this.#ids.next(), actorOf(authority), {
        ...order,
        ...(idempotency === undefined ? {} : { idempotency }),
        ...(retryOf === undefined ? {} : { retry_of: retryOf }),
      })
      checkSize(record.d)
      const [mission] = await this.#ledger.create([record])
      assert(mission !== undefined, 'one order makes one mission')
      return mission
    } finally {
      this.#admitting -= 1
    }
  }

  async #order({ principal }: Authority, body: MissionCreate): Promise<MissionOrder> {
    const { judge, calls } = this.#ports
    const constraints = { ...CONSTRAINTS_DEFAULT, ...body.constraints }
    const { goal, category, input, not_before, expected_value } = body
    const order = {
      goal,
      category,
      constraints,
      ...(await planFor(body, constraints, this.#ports)),
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
}

export interface Admitted {
  /** False when the key had been used with the same body. */
  readonly created: boolean
  readonly mission: Mission
}

function scopeOf({ principal }: Authority): string {
  return `${principal.kind}:${principal.name}`
}

/** What the schema cannot see. */
function checkBody({ input, not_before }: MissionCreate): void {
  const bytes = sizeOf(input)
  if (bytes > INPUT_BYTES_MAX) {
    throw badRequest('/input', `has ${bytes} bytes of JSON, the most is ${INPUT_BYTES_MAX}`)
  }
  if (not_before !== undefined && Number.isNaN(Date.parse(not_before))) {
    throw badRequest('/not_before', 'is no point in time')
  }
}

/** The whole order is one line of the journal. */
function checkSize(order: object): void {
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

const INPUT_BYTES_MAX = 32 * 1024
/** A line of the journal has 64 KiB; its framing and the actor need little of the rest. */
const ORDER_BYTES_MAX = 60 * 1024
const KEY_LENGTH_MAX = 256
/** Tried again twice: most failures that pass do so within a minute. */
const ATTEMPTS_MAX = 3
