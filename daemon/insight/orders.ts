import { hash } from 'node:crypto'
import type { Fact } from '../contracts/fact.ts'
import type { MissionId } from '../contracts/ids.ts'
import type { PlanStep } from '../contracts/mission.ts'
import { decisionOf, textOf } from './facts.ts'
import { inputShape, planTemplate } from './plan-template.ts'

/** What has to be remembered of a mission from its creation to its end, to learn from it. */
export interface Order {
  /** Category, goal, shape of plan and input: what a rune stands for. */
  readonly key: string
  /** The rune that would come of it, and the one that was used. */
  readonly ownRune: string
  readonly rune?: string
  readonly inputShape: string
  /** Digest of the goal to the letter, and of the plan's template. */
  readonly goal: string
  readonly digest: string
  readonly boundToGoal: boolean
  /** Only as long as nobody has such a plan. */
  readonly plan?: readonly PlanStep[]
}

/** The missions that were created and have not ended. */
export class Orders {
  readonly #orders = new Map<MissionId, Order>()
  readonly #known = new Map<string, Order | undefined>()
  #withPlan = 0

  /** Remembers a created mission; its plan only if `wantsPlan`. */
  note(fact: Fact, wantsPlan: (order: Order) => boolean): void {
    const order = this.#read(fact)
    if (order === undefined || fact.mid === undefined) return
    const { plan, ...rest } = order
    const keep = plan !== undefined && this.#withPlan < PLANS_MAX && wantsPlan(order)
    if (keep) this.#withPlan += 1
    this.#orders.set(fact.mid, keep ? order : rest)
    const oldest = this.#orders.keys().next().value
    if (this.#orders.size > ORDERS_MAX && oldest !== undefined) this.#remove(oldest)
  }

  take({ mid }: Fact): Order | undefined {
    return mid === undefined ? undefined : this.#remove(mid)
  }

  /** A mission that will never end teaches nothing. */
  forget(fact: Fact): void {
    if (LEAVING.has(fact.type)) this.take(fact)
  }

  save(): [MissionId, Order][] {
    return [...this.#orders]
  }

  load(saved: readonly (readonly [MissionId, Order])[]): void {
    for (const [mid, order] of saved) {
      this.#orders.set(mid, order)
      if (order.plan !== undefined) this.#withPlan += 1
    }
  }

  /** The same order comes again and again; reading it costs three digests. */
  #read(fact: Fact): Order | undefined {
    const { category, fingerprint, plan_shape: shape, goal, plan, input, rune } = fact.d
    if (input !== undefined || rune !== undefined || decisionOf(fact.d) === 'FAILING') return orderOf(fact.d)
    const asked = JSON.stringify([category, fingerprint, shape, goal, plan])
    if (asked.length > READ_CHARS_MAX) return orderOf(fact.d)
    if (this.#known.has(asked)) return this.#known.get(asked)
    const order = orderOf(fact.d)
    if (this.#known.size >= READ_MAX) this.#known.clear()
    this.#known.set(asked, order)
    return order
  }

  #remove(mid: MissionId): Order | undefined {
    const order = this.#orders.get(mid)
    this.#orders.delete(mid)
    if (order?.plan !== undefined) this.#withPlan -= 1
    return order
  }
}

function orderOf(d: Fact['d']): Order | undefined {
  const [goal, category, fingerprint] = [textOf(d, 'goal'), textOf(d, 'category'), textOf(d, 'fingerprint')]
  const [shape, rune, plan] = [textOf(d, 'plan_shape'), textOf(d, 'rune'), d['plan']]
  if (!Array.isArray(plan) || plan.length === 0 || decisionOf(d) === 'FAILING') return undefined
  if (goal === undefined || category === undefined || fingerprint === undefined || shape === undefined)
    return undefined
  if (JSON.stringify(plan).length > PLAN_CHARS_MAX) return undefined
  const fields = inputShape(d['input'])
  const key = [category, fingerprint, shape, fields].join('|')
  const template = planTemplate(plan as PlanStep[], d['input'], goal)
  return {
    key,
    ownRune: `r-${digestOf(key).slice(0, 12)}`,
    ...(rune !== undefined && { rune }),
    inputShape: fields,
    goal: goalDigest(goal),
    digest: template.digest,
    boundToGoal: template.boundToGoal,
    plan: template.plan,
  }
}

/** A goal to the letter, but for case and spaces. */
export function goalDigest(goal: string): string {
  return digestOf(goal.toLowerCase().replace(/\s+/g, ' ').trim()).slice(0, 16)
}

function digestOf(text: string): string {
  return hash('sha256', text)
}

const LEAVING = new Set(['mission.cancelled', 'mission.rejected', 'mission.expired'])
/** As many as may wait in a queue, twice; the oldest are forgotten and not learned from. */
const ORDERS_MAX = 20_000
/** Plans have up to 16 KiB: 16 MB at the worst. A plan that succeeds again is met again. */
const PLANS_MAX = 1_000
/** Half a megabyte of orders that were read. */
const READ_MAX = 64
const READ_CHARS_MAX = 4_096
/** A larger plan carries data, and data does not repeat. */
const PLAN_CHARS_MAX = 16_384
