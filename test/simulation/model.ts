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
  readonly goal: string
  readonly lane: string
  readonly priority: number
  readonly notBeforeMs: number
  /** How long its next try was told to wait. */
  retryInMs: number
  /** On the monotonic clock of this life: before this it is not claimed. */
  dueMs: number
  /** From here on it is claimed as soon as there is a place. */
  latestMs: number
  /** Where it stands in its line since then: the greater, the earlier. */
  rank: number
  /** The same, where it may have been looked at in two moments: never less. */
  rankMax: number
  /** How often one that stands behind it was claimed while it waited. */
  overtaken: number
  lastSeq: number
  /** Hashes of what its steps gave, where that was too large for a record. */
  readonly kept: string[]
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
  /** What has to be done before. */
  readonly needs: readonly string[]
  readonly triesMax: number
  /** In the present attempt. */
  tries: number
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

const MAY_GO: readonly MissionStatus[] = [...FINAL, 'suggestion']

/** The reference: takes in what readers are told and says whether it may be so. */
export class Model {
  readonly missions = new Map<string, ModelMission>()
  /** Those that were let go of. */
  readonly pruned = new Map<string, ModelMission>()
  /** Every fact that a reader was told of, by number. */
  readonly hashes: string[] = []
  /** Principal and key, and the mission they stand for. */
  readonly byPlace = new Map<string, string>()
  readonly approvalMs: number
  checks = 0
  compacted = 0
  /** How many of a lane may be claimed past one that waits: those who had their place before it came. */
  readonly placesMax: number
  readonly keepMax: number
  /** The daemon was asked to stop. */
  isStopping = false
  /** The disk is full, or was a moment ago: claims are tried again, each in its own time. */
  isCramped = false
  /** When the last life that told readers anything ended, on its own clock. */
  endedAtMs = 0

  constructor(approvalMs: number, placesMax: number, keepMax: number) {
    this.approvalMs = approvalMs
    this.keepMax = keepMax
    this.placesMax = placesMax
  }

  /** A fact as a reader is told of it, at this moment of the daemon's life; false when it was known before. */
  take(fact: Fact, { elapsedMs, wallMs }: Moment): boolean {
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
    if (fact.type === 'journal.compacted') this.compacted += 1
    if (fact.type === 'missions.pruned') this.#prune(fact.d as unknown as Prune)
    if (event === 'created') this.#create(fact, elapsedMs, wallMs)
    else if (event === 'step_started') this.#started(fact)
    else if (event === 'step_finished') this.#finished(fact)
    else if (event !== undefined) this.#apply(event, this.get(fact.mid ?? ''), fact, elapsedMs, wallMs)
    const mission = this.missions.get(fact.mid ?? '')
    if (mission !== undefined) mission.lastSeq = fact.seq
    return true
  }

  get(id: string): ModelMission {
    const mission = this.missions.get(id) ?? this.pruned.get(id)
    must(mission !== undefined, `mission ${id} exists`)
    return mission
  }

  /** Something could be claimed and is not. */
  idle(elapsedMs: number, sinceMs: number): string | undefined {
    const running = [...this.missions.values()].filter(({ status }) => status === 'running').length
    if (running >= this.placesMax) return undefined
    for (const { id, status, latestMs } of this.missions.values()) {
      if (status === 'queued' && elapsedMs > Math.max(latestMs, sinceMs)) return id
    }
    return undefined
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
  lifeBegan(elapsedMs: number, wallMs: number, isTakenUp = false): void {
    for (const mission of this.missions.values()) {
      const waitedMs = Math.max(0, wallMs - mission.sinceWallMs)
      mission.expiresAtMs = elapsedMs + Math.max(0, this.approvalMs - waitedMs)
      mission.claimedAtMs = elapsedMs
      // One that was approved before the work was taken up stands in its line already.
      const { dueMs, latestMs, rank } = mission
      enqueued(mission, elapsedMs, wallMs, true)
      if (isTakenUp)
        Object.assign(mission, {
          dueMs: Math.min(dueMs, mission.dueMs),
          latestMs: Math.max(latestMs, mission.latestMs),
          rank: Math.min(rank, mission.rank),
          rankMax: Math.max(rank, mission.rank),
        })
    }
  }

  #create({ mid = '', d, ts }: Fact, elapsedMs: number, wallMs: number): void {
    must(!this.missions.has(mid), `mission ${mid} is created once`)
    const order = d as unknown as Order
    const { key, principal } = order.idempotency ?? {}
    const place = key === undefined ? undefined : `${principal} ${key}`
    if (place !== undefined) {
      must(!this.byPlace.has(place), `one key makes one mission (${place})`)
      this.byPlace.set(place, mid)
    }
    const fresh = (index: number): ModelStep => {
      const { uses = '', retries = 0, needs } = order.plan[index] ?? {}
      const counts = { triesMax: retries + 1, tries: 0, effects: 0, allowances: 0 }
      const before = order.plan.slice(Math.max(0, index - 1), index).map(({ id }) => id)
      return { state: 'open', idempotent: !uses.endsWith('/once'), needs: needs ?? before, ...counts }
    }
    const { decision } = order.validation
    const mission: ModelMission = {
      id: mid,
      place,
      decisionAtBirth: decision,
      attemptsMax: order.max_attempts,
      timeMaxMs: order.constraints.max_time_seconds * 1_000,
      steps: new Map(order.plan.map(({ id }, index) => [id, fresh(index)])),
      retryOf: order.retry_of,
      goal: order.goal,
      lane: order.category,
      priority: order.priority,
      notBeforeMs: Date.parse(order.not_before ?? '') || 0,
      retryInMs: 0,
      dueMs: 0,
      latestMs: 0,
      rank: 0,
      rankMax: 0,
      overtaken: 0,
      lastSeq: 0,
      kept: [],
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
    }
    this.missions.set(mid, mission)
    enqueued(mission, elapsedMs, wallMs)
  }

  #apply(type: string, mission: ModelMission, fact: Fact, elapsedMs: number, wallMs: number): void {
    const d = fact.d as unknown as Body
    const { id } = mission
    const event = type === 'ended' ? String(d.status) : type
    const to = NEXT[event]?.[mission.status]
    must(to !== undefined, `${id} is ${mission.status}, so it cannot be ${event}`)
    if (event === 'claimed') {
      must(fact.ep === mission.epoch + 1, `the claim of ${id} raises its epoch from ${mission.epoch}`)
      const mayRun = mission.decision === 'SAFE' || mission.clearance !== 'none'
      must(mayRun, `${id} is ${mission.decision} and runs only when somebody allowed it`)
      this.#claimed(mission, elapsedMs)
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
    mission.retryInMs = event === 'attempt_ended' ? (d.retry_in_ms ?? 0) : 0
    enqueued(mission, elapsedMs, wallMs)
  }

  /** It is its time, and its turn. */
  #claimed(mission: ModelMission, elapsedMs: number): void {
    const { id, lane, rankMax, dueMs } = mission
    must(elapsedMs >= dueMs, `${id} is not claimed before its time, and not ${dueMs - elapsedMs} ms early`)
    for (const other of this.missions.values()) {
      if (other === mission || other.status !== 'queued' || other.lane !== lane) continue
      if (this.isCramped) other.overtaken = 0
      if (this.isCramped || elapsedMs <= other.dueMs || other.rank <= rankMax + RANK_SLACK) continue
      other.overtaken += 1
      const claim = `${other.id} goes before ${id}, and ${other.overtaken} were claimed past it`
      must(other.overtaken <= this.placesMax, claim)
    }
    mission.epoch += 1
    mission.claimedAtMs = elapsedMs
    for (const step of mission.steps.values()) step.tries = 0
  }

  /** Only what has ended, only the oldest, and not more than there are too many. */
  #prune({ after, through, seq, count }: Prune): void {
    let gone = 0
    // Decided and then changed, before the decision was on record: it stays, and the record counts it.
    let changed = 0
    for (const mission of [...this.missions.values()]) {
      const { id, lastSeq, status, place } = mission
      if (id <= (after ?? '') || id > through) continue
      if (lastSeq > seq) changed += 1
      if (lastSeq > seq || !MAY_GO.includes(status)) continue
      gone += 1
      this.missions.delete(id)
      this.pruned.set(id, mission)
      if (place !== undefined) this.byPlace.delete(place)
    }
    const isTold = gone <= count && count <= gone + changed
    must(isTold, `${gone} missions at rest could be let go of, and not ${count}`)
    must(this.missions.size >= this.keepMax, `${this.keepMax} missions are kept, not ${this.missions.size}`)
  }

  #started(fact: Fact): void {
    const { step, state } = this.#stepOf(fact, 'begins')
    must(state === 'open', `${step} begins only when it is open, not ${state}`)
    const known = this.get(fact.mid ?? '').steps.get(String(fact.d['step']))
    if (known !== undefined) {
      const { steps } = this.get(fact.mid ?? '')
      const missing = known.needs.find((need) => !DONE.includes(steps.get(need)?.state ?? 'open'))
      must(missing === undefined, `${step} begins when ${missing} is done`)
      known.tries += 1
      must(known.tries <= known.triesMax, `${step} is tried ${known.triesMax} times in an attempt at most`)
    }
    this.#set(fact, 'started')
  }

  #finished(fact: Fact): void {
    const { step, state } = this.#stepOf(fact, 'ends')
    must(state === 'started', `${step} ends after it began, not ${state}`)
    const { status, kept } = fact.d as unknown as Body
    if (kept !== undefined) this.get(fact.mid ?? '').kept.push(kept.sha256)
    this.#set(fact, status === 'completed' ? 'done' : 'open')
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
      const step = mission.steps.get(d.error?.step ?? '')
      if (code === 'ACTION_FAILED' && step !== undefined && !this.isStopping) {
        const claim = `step ${d.error?.step} of ${id} is given up after ${step.triesMax} tries, not ${step.tries}`
        must(step.tries === step.triesMax, claim)
      }
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

/** As the daemon is to see it when a mission comes into the queue, or is found there by a new process. */
function enqueued(mission: ModelMission, elapsedMs: number, wallMs: number, isRecovered = false): void {
  const { retryInMs, sinceWallMs, notBeforeMs, priority } = mission
  const retryMs = Math.min(retryInMs, retryInMs - (wallMs - sinceWallMs))
  const waitMs = Math.max(notBeforeMs - wallMs, retryMs)
  mission.dueMs = mission.latestMs = elapsedMs + Math.max(0, waitMs)
  const waitedMs = isRecovered ? Math.min(AGED_MS, Math.max(0, -waitMs)) : 0
  mission.rank = mission.rankMax = priority * AGE_MS - (mission.dueMs - waitedMs)
  mission.overtaken = 0
}

/** What a step of priority is worth, and how much of a wait before this process counts. */
const AGE_MS = 30_000
const AGED_MS = 9 * AGE_MS
/** Moments that may lie between what the daemon knows and what readers are told. */
const RANK_SLACK = 5_000

export interface Moment {
  readonly elapsedMs: number
  readonly wallMs: number
}

interface Order {
  readonly goal: string
  readonly category: string
  readonly priority: number
  readonly not_before?: string
  readonly max_attempts: number
  readonly constraints: { readonly max_time_seconds: number }
  readonly plan: readonly {
    readonly id: string
    readonly uses: string
    readonly retries?: number
    readonly needs?: readonly string[]
  }[]
  readonly validation: { readonly decision: keyof typeof BIRTH }
  readonly idempotency?: { readonly key: string; readonly principal: string }
  readonly retry_of?: string
}

const DONE: readonly ModelStep['state'][] = ['done', 'skipped']

interface Prune {
  readonly after: string | null
  readonly through: string
  readonly seq: number
  readonly count: number
}

interface Body {
  readonly step: string
  readonly status?: string
  readonly mode?: string
  readonly outcome?: string
  readonly duration_ms?: number
  readonly retry_in_ms?: number
  readonly kept?: { readonly sha256: string }
  readonly error?: { readonly code: string; readonly step?: string }
}
