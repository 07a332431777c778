import type { Fact } from '../../daemon/contracts/fact.ts'
import type { MissionStatus } from '../../daemon/contracts/mission.ts'

/** Something that must never be. The message is the claim that was broken. */
export class Violation extends Error {
  override readonly name = 'Violation'
}

export function must(holds: boolean, claim: string): asserts holds {
  if (!holds) throw new Violation(claim)
}

/** What one mission may be, as the facts that readers saw tell it. Shares no code with the daemon. */
export interface ModelMission {
  readonly id: string
  readonly place: string | undefined
  readonly decisionAtBirth: string
  readonly attemptsMax: number
  readonly timeMaxMs: number
  readonly steps: Map<string, ModelStep>
  readonly retryOf: string | undefined
  status: MissionStatus
  decision: string
  /** An operator let it run. */
  clearance: 'none' | 'approved' | 'overridden' | 'resumed'
  /** Then it has one try. */
  wasOverridden: boolean
  epoch: number
  failed: number
  approvals: number
  /** Execution time as it was recorded, and as it could be seen from outside at most. */
  spentMs: number
  seenMs: number
  claimedAtMs: number
  /** On the monotonic clock of this life; when it waits for a decision. */
  expiresAtMs: number
  sinceWallMs: number
  /** The attempt that was asked to end while it could do nothing but obey. */
  cancelledEpoch: number | undefined
}

export interface ModelStep {
  state: 'open' | 'started' | 'done' | 'skipped' | 'unknown'
  readonly idempotent: boolean
  effects: number
  /** How often an operator said that it may be done again. */
  allowances: number
}

/** Which event leads from where to where: the contract's table, written down a second time. */
const NEXT: Readonly<Record<string, Readonly<Partial<Record<MissionStatus, MissionStatus>>>>> = {
  approved: { awaiting_approval: 'queued' },
  rejected: { awaiting_approval: 'rejected' },
  expired: { awaiting_approval: 'expired' },
  overridden: { suggestion: 'queued' },
  claimed: { queued: 'running' },
  rejudged: { queued: 'awaiting_approval' },
  attempt_ended: { running: 'queued' },
  interrupted: { running: 'interrupted' },
  resumed: { interrupted: 'queued' },
  completed: { running: 'completed' },
  failed: { running: 'failed' },
  cancelled: {
    suggestion: 'cancelled',
    awaiting_approval: 'cancelled',
    queued: 'cancelled',
    running: 'cancelled',
    interrupted: 'cancelled',
  },
}
const BIRTH = { SAFE: 'queued', BORDERLINE: 'awaiting_approval', FAILING: 'suggestion' } as const
export const WAITS_FOR_A_PERSON: readonly MissionStatus[] = ['suggestion', 'awaiting_approval', 'interrupted']
export const FINAL: readonly MissionStatus[] = ['completed', 'failed', 'cancelled', 'rejected', 'expired']

/** The reference: takes in what readers are told and says whether it may be so. */
export class Model {
  readonly missions = new Map<string, ModelMission>()
  /** Every fact that a reader was told of, by number. */
  readonly hashes: string[] = []
  /** Principal and key, and the mission they stand for. */
  readonly byPlace = new Map<string, string>()
  readonly approvalMs: number
  checks = 0
  /** When the last life that told readers anything ended, on its own clock. */
  endedAtMs = 0

  constructor(approvalMs: number) {
    this.approvalMs = approvalMs
  }

  /** A fact as a reader is told of it, at this moment of the daemon's life; false when it was known before. */
  take(fact: Fact, elapsedMs: number): boolean {
    this.checks += 1
    const known = this.hashes[fact.seq - 1]
    if (known !== undefined) {
      must(known === fact.h, `record ${fact.seq} is still what readers were told`)
      return false
    }
    must(
      fact.seq === this.hashes.length + 1,
      `record ${fact.seq} follows ${this.hashes.length} without a gap`,
    )
    this.hashes.push(fact.h)
    const event = fact.type.startsWith('mission.') ? fact.type.slice('mission.'.length) : undefined
    if (event === 'created') this.#create(fact, elapsedMs)
    else if (event === 'step_started') this.#started(fact)
    else if (event === 'step_finished') this.#finished(fact)
    else if (event !== undefined) this.#apply(event, this.get(fact.mid ?? ''), fact, elapsedMs)
    return true
  }

  get(id: string): ModelMission {
    const mission = this.missions.get(id)
    must(mission !== undefined, `mission ${id} exists`)
    return mission
  }

  /** The process ended: what is measured on its clock is measured anew. */
  lifeEnded(elapsedMs: number): void {
    this.endedAtMs = elapsedMs
    for (const mission of this.missions.values()) {
      mission.cancelledEpoch = undefined
      if (mission.status !== 'running') continue
      mission.seenMs += elapsedMs - mission.claimedAtMs
      mission.claimedAtMs = elapsedMs
    }
  }

  /** A new process takes up the work, knowing nothing but the journal and the wall clock. */
  lifeBegan(elapsedMs: number, wallMs: number): void {
    for (const mission of this.missions.values()) {
      const waitedMs = Math.max(0, wallMs - mission.sinceWallMs)
      mission.expiresAtMs = elapsedMs + Math.max(0, this.approvalMs - waitedMs)
      mission.claimedAtMs = elapsedMs
    }
  }

  #create({ mid = '', d, ts }: Fact, elapsedMs: number): void {
    must(!this.missions.has(mid), `mission ${mid} is created once`)
    const order = d as unknown as Order
    const { key, principal } = order.idempotency ?? {}
    const place = key === undefined ? undefined : `${principal} ${key}`
    if (place !== undefined) {
      must(!this.byPlace.has(place), `one key makes one mission (${place})`)
      this.byPlace.set(place, mid)
    }
    const fresh = (uses: string): ModelStep => {
      return { state: 'open', idempotent: uses.endsWith('/again'), effects: 0, allowances: 0 }
    }
    const { decision } = order.validation
    this.missions.set(mid, {
      id: mid,
      place,
      decisionAtBirth: decision,
      attemptsMax: order.max_attempts,
      timeMaxMs: order.constraints.max_time_seconds * 1_000,
      steps: new Map(order.plan.map(({ id, uses }) => [id, fresh(uses)])),
      retryOf: order.retry_of,
      status: BIRTH[decision],
      decision,
      clearance: 'none',
      wasOverridden: false,
      epoch: 0,
      failed: 0,
      approvals: 0,
      spentMs: 0,
      seenMs: 0,
      claimedAtMs: 0,
      expiresAtMs: elapsedMs + this.approvalMs,
      sinceWallMs: Date.parse(ts),
      cancelledEpoch: undefined,
    })
  }

  #apply(type: string, mission: ModelMission, fact: Fact, elapsedMs: number): void {
    const d = fact.d as unknown as Body
    const { id } = mission
    const event = type === 'ended' ? String(d.status) : type
    const to = NEXT[event]?.[mission.status]
    must(to !== undefined, `${id} is ${mission.status}, so it cannot be ${event}`)
    if (event === 'claimed') {
      must(fact.ep === mission.epoch + 1, `the claim of ${id} raises its epoch from ${mission.epoch}`)
      const mayRun = mission.decision === 'SAFE' || mission.clearance !== 'none'
      must(mayRun, `${id} is ${mission.decision} and runs only when somebody allowed it`)
      mission.epoch += 1
      mission.claimedAtMs = elapsedMs
    } else if (mission.status === 'running') this.#left(mission, event, d, fact.ep, elapsedMs)
    if (event === 'expired') {
      const earlyMs = mission.expiresAtMs - elapsedMs
      must(earlyMs <= 0, `${id} expires in its time, and not ${earlyMs} ms early`)
    }
    if (event === 'approved') mission.approvals += 1
    if (event === 'approved' || event === 'overridden' || event === 'resumed') mission.clearance = event
    if (event === 'overridden') mission.wasOverridden = true
    if (event === 'rejudged') Object.assign(mission, { decision: 'BORDERLINE', clearance: 'none' })
    if (event === 'resumed') {
      for (const step of mission.steps.values()) {
        if (step.state !== 'unknown') continue
        step.state = d.mode === 'skip' ? 'skipped' : 'open'
        if (d.mode === 'retry') step.allowances += 1
      }
    }
    if (event === 'completed') {
      const open = [...mission.steps].find(([, { state }]) => state !== 'done' && state !== 'skipped')
      must(open === undefined, `${id} is completed when every step is, and not with ${open?.[0]} left`)
    }
    mission.status = to
    mission.sinceWallMs = Date.parse(fact.ts)
    mission.expiresAtMs = elapsedMs + this.approvalMs
  }

  #started(fact: Fact): void {
    const { step, state } = this.#stepOf(fact, 'begins')
    must(state === 'open', `${step} begins only when it is open, not ${state}`)
    this.#set(fact, 'started')
  }

  #finished(fact: Fact): void {
    const { step, state } = this.#stepOf(fact, 'ends')
    must(state === 'started', `${step} ends after it began, not ${state}`)
    this.#set(fact, (fact.d as unknown as Body).status === 'completed' ? 'done' : 'open')
  }

  /** The step of a fact that an attempt wrote; it must be the present one. */
  #stepOf({ d, ep, mid = '' }: Fact, does: string): { readonly step: string; readonly state: string } {
    const { id, status, epoch, steps } = this.get(mid)
    const step = `step ${d['step']} of ${id}`
    must(status === 'running' && epoch === ep, `${step} ${does} in the present attempt only`)
    return { step, state: steps.get(String(d['step']))?.state ?? 'unknown' }
  }

  #set({ d, mid = '' }: Fact, state: ModelStep['state']): void {
    const step = this.get(mid).steps.get(String(d['step']))
    if (step !== undefined) step.state = state
  }

  /** An attempt left the mission. */
  #left(mission: ModelMission, event: string, d: Body, epoch: number | undefined, elapsedMs: number): void {
    const { id } = mission
    must(epoch === mission.epoch, `only the present attempt of ${id} ends it`)
    const wasCancelled = mission.cancelledEpoch === epoch && event !== 'cancelled'
    must(!wasCancelled, `${id} was cancelled while a step ran, so it cannot be ${event}`)
    mission.seenMs += elapsedMs - mission.claimedAtMs
    if (event === 'attempt_ended' || event === 'interrupted') mission.spentMs += d.duration_ms ?? 0
    const triesMax = mission.wasOverridden ? 1 : mission.attemptsMax
    const isFailure = event === 'failed' || (event === 'attempt_ended' && d.outcome === 'failed')
    if (isFailure) {
      mission.failed += 1
      const code = d.error?.code ?? ''
      if (event === 'attempt_ended')
        must(mission.failed < triesMax, `${id} is tried ${triesMax} times at most`)
      else if (code === 'MAX_TIME_EXCEEDED') {
        const claim = `${id} ran for ${mission.seenMs} ms at most, so ${mission.timeMaxMs} ms are not used up`
        must(mission.seenMs >= mission.timeMaxMs, claim)
      } else if (code === 'ACTION_FAILED') {
        must(mission.failed >= triesMax, `${id} is given up after ${triesMax} tries, not ${mission.failed}`)
      }
    }
    for (const [name, step] of mission.steps) {
      if (step.state !== 'started') continue
      const isDoubtful = !step.idempotent && !isFailure && event !== 'cancelled'
      const claim = `step ${name} of ${id} may have done its work, so an operator decides`
      must(!isDoubtful || event === 'interrupted', claim)
      step.state = isDoubtful ? 'unknown' : 'open'
    }
  }
}

interface Order {
  readonly max_attempts: number
  readonly constraints: { readonly max_time_seconds: number }
  readonly plan: readonly { readonly id: string; readonly uses: string }[]
  readonly validation: { readonly decision: keyof typeof BIRTH }
  readonly idempotency?: { readonly key: string; readonly principal: string }
  readonly retry_of?: string
}

interface Body {
  readonly step: string
  readonly status?: string
  readonly mode?: string
  readonly outcome?: string
  readonly duration_ms?: number
  readonly error?: { readonly code: string }
}
