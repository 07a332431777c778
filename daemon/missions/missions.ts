import type { Fact } from '../contracts/fact.ts'
import { NexusError } from '../contracts/failure.ts'
import type { Category, MissionId, ModuleId } from '../contracts/ids.ts'
import type {
  MissionCreate,
  MissionDetail,
  MissionFilter,
  MissionProgress,
  MissionRun,
  MissionView,
} from '../contracts/mission.ts'
import type { Explanation, MissionsBrief } from '../contracts/status.ts'
import { withDeadline } from '../kit/deadline.ts'
import type { SavedChunk } from '../storage/chunk-files.ts'
import { Admission, type Admitted, type Wanted } from './admit.ts'
import { approved, askedToRun, orderedAgain } from './decisions.ts'
import { Engine } from './engine.ts'
import { explain } from './explain.ts'
import { actorOf, decidedBy } from './facts.ts'
import { History } from './history.ts'
import { decided, Ledger, wrongState } from './ledger.ts'
import type { Mission } from './mission.ts'
import { MissionIds } from './mission-id.ts'
import type { Authority, MissionPorts } from './port.ts'
import { Shelf } from './shelf.ts'
import { answerOf, artifactsOf, type CreatedView, detailOf, viewOf } from './view.ts'

/**
 * Missions from their creation to their end.
 *
 * `fold` is told of every fact, in a replay as while running; after the replay `recover` starts the work. What a
 * method answers is durable.
 */
export class Missions {
  readonly #ports: MissionPorts
  readonly #shelf: Shelf
  readonly #ids: MissionIds
  readonly #ledger: Ledger
  readonly #admission: Admission
  readonly #engine: Engine
  /** How the records of missions are saved, checked, and let go of. */
  readonly history: History
  /** Told when a mission is neither waiting nor running any more. */
  readonly #waiters = new Map<MissionId, Set<() => void>>()

  constructor(ports: MissionPorts) {
    this.#ports = ports
    this.#shelf = new Shelf(ports.records, (mission) => this.#took(mission))
    this.history = new History(this.#shelf, ports.records, ports.recorder)
    this.#ids = new MissionIds(ports.clock, ports.chance)
    this.#ledger = new Ledger(
      ports.recorder,
      this.#shelf,
      (act, mission) => this.#engine.act(act, mission),
      (mission) => this.#engine.place(mission),
    )
    this.#engine = new Engine(ports, this.#shelf, this.#ledger)
    this.#admission = new Admission(ports, this.#shelf, this.#ledger, this.#ids)
  }

  /** Judges a mission and keeps it; SAFE is queued at once. */
  async create(authority: Authority, body: MissionCreate, idempotencyKey?: string): Promise<CreateAnswer> {
    return createAnswer(await this.#admission.admit(authority, wanted(body, idempotencyKey)))
  }

  /** The same for several, in order and with one sync for all; each is created, known, or refused by itself. */
  async createAll(
    authority: Authority,
    wanted: readonly Wanted[],
  ): Promise<readonly (CreateAnswer | NexusError)[]> {
    const ends = await this.#admission.admitAll(authority, wanted)
    return ends.map((end) => (end instanceof NexusError ? end : createAnswer(end)))
  }

  /** A new mission with the order of one that failed or expired; planned and judged afresh. */
  async retry(
    authority: Authority,
    { mission_id }: Decision,
    idempotencyKey?: string,
  ): Promise<CreateAnswer> {
    const body = orderedAgain(await this.#ledger.find(mission_id))
    const order = { ...wanted(body, idempotencyKey), retryOf: mission_id }
    return createAnswer(await this.#admission.admit(authority, order))
  }

  /** Lets a mission run, as far as the caller may, and waits for its end; one that has ended is never run again. */
  async run(authority: Authority, params: Omit<MissionRun, 'operator_key'>): Promise<RunAnswer> {
    const id = params.mission_id
    await this.#engine.expireOverdue(id)
    await this.#ledger.change(id, 'run', (mission) => askedToRun(mission, authority, params))
    await this.#settled(id, params.wait_ms ?? WAIT_MS)
    const mission = await this.#ledger.find(id)
    // Judged again when it was to be claimed, and no longer SAFE.
    if (mission.status === 'awaiting_approval') throw new NexusError('APPROVAL_REQUIRED', { mission: id })
    const ended = mission.status === 'completed' ? 'ok' : 'failed'
    return { status: isUnderWay(mission) ? 'accepted' : ended, mission_id: id, mission: detailOf(mission) }
  }

  async approve(authority: Authority, { mission_id, ...wish }: Approval): Promise<MissionDetail> {
    await this.#engine.expireOverdue(mission_id)
    return detailOf(
      await this.#ledger.change(mission_id, 'approved', (mission) => approved(mission, authority, wish)),
    )
  }

  async reject(authority: Authority, { mission_id, reason }: Decision): Promise<MissionDetail> {
    const record = decided('mission.rejected', actorOf(authority), decidedBy(authority, reason))
    return detailOf(await this.#ledger.change(mission_id, 'rejected', () => record))
  }

  /** What waits is cancelled at once; what runs is told, then killed, and cancelled when it has ended. */
  async cancel(authority: Authority, { mission_id, reason }: Decision): Promise<MissionDetail> {
    const actor = actorOf(authority)
    const body = decidedBy(authority, reason)
    let ended: Promise<void> | undefined
    const record = decided('mission.cancelled', actor, body)
    const mission = await this.#ledger.change(mission_id, 'cancelled', ({ status }) => {
      if (status !== 'running') return record
      ended = this.#engine.stop(mission_id, { kind: 'cancelled', actor, body })
      return undefined
    })
    if (ended === undefined) return detailOf(mission)
    await ended
    const after = await this.#ledger.find(mission_id)
    if (after.status !== 'cancelled') throw wrongState(after, 'cancelled')
    return detailOf(after)
  }

  /** @throws NexusError `MISSION_UNKNOWN`. */
  async get(id: MissionId): Promise<MissionDetail> {
    const detail = detailOf(await this.#ledger.find(id), this.#ports.settings.approval_days)
    const { running } = this.#engine.moment(id)
    const late = this.#ledger.lateOf(id)
    return {
      ...detail,
      ...(running?.progress === undefined ? {} : { progress: running.progress }),
      ...(late === undefined ? {} : { late_answers: late }),
    }
  }

  /** Newest first; `next` is the `after` of the next page. */
  async list(filter: MissionFilter = {}): Promise<ListAnswer> {
    const { missions, next } = await this.#shelf.list(filter)
    return {
      missions: missions.map((mission) => viewOf(mission, this.#ports.settings.approval_days)),
      count: missions.length,
      next,
    }
  }

  /** A file that a mission left. @throws NexusError `ARTIFACT_UNKNOWN`. */
  async artifact(
    id: MissionId,
    name: string,
  ): Promise<{ readonly mediaType: string; readonly bytes: Uint8Array }> {
    const ref = artifactsOf(await this.#ledger.find(id)).find((known) => known.name === name)
    const bytes = ref && (await this.#ports.blobs.get(ref.sha256))
    if (ref === undefined || bytes === undefined) throw new NexusError('ARTIFACT_UNKNOWN', { name })
    return { mediaType: ref.media_type, bytes }
  }

  async explain(id: MissionId): Promise<Explanation> {
    return explain(await this.#ledger.find(id), this.#engine.moment(id))
  }

  /** Takes in one durable fact, of whatever type. */
  fold(fact: Fact): void {
    const mission = this.#shelf.fold(fact)
    if (mission !== undefined) this.#took(mission)
  }

  /** What was saved, read back: a function that takes it over before any fact is folded. */
  prepare(section: unknown, chunks: readonly SavedChunk[]): (() => void) | undefined {
    const thaw = this.history.prepare(section, chunks)
    if (thaw === undefined) return undefined
    return () => {
      thaw()
      for (const mission of this.#shelf.all()) this.#admission.backlog.take(mission)
      if (this.#shelf.newest !== undefined) this.#ids.seen(this.#shelf.newest)
    }
  }

  /** Once, after the replay: ends what a crash left running, and starts the work. */
  async recover(): Promise<void> {
    await this.history.settled()
    await this.#engine.recover()
  }

  /** Starts nothing more, waits for what runs, and cuts the rest after `deadlineMs`. */
  drain(deadlineMs: number): Promise<void> {
    return this.#engine.drain(deadlineMs)
  }

  /** To be told when omens say something else of a module: missions may wait for just that. */
  moduleChanged(moduleId: ModuleId): void {
    this.#engine.look(moduleId)
  }

  /** Told of each mission that has come to an end or to a halt, while running only, not in a replay. */
  onEnded(listener: (mission: MissionView) => void): void {
    this.#engine.onEnded((mission) => listener(viewOf(mission)))
  }

  /** Told how far actions say they have come: what is not on record, and nobody is told again. Returns its end. */
  onProgress(listener: (id: MissionId, progress: MissionProgress) => void): () => void {
    return this.#engine.onProgress(listener)
  }

  get pendingApprovals(): number {
    return this.#admission.backlog.count('awaiting_approval')
  }

  /** What waits and runs now, for the status. */
  brief(): MissionsBrief {
    const { backlog } = this.#admission
    const { depth, running } = this.#engine.counters()
    const oldest = backlog.oldest('awaiting_approval')
    const agedMs = oldest === undefined ? null : Math.max(0, this.#ports.clock.now() - Date.parse(oldest))
    return {
      queued: backlog.count('queued'),
      running,
      awaiting_approval: backlog.count('awaiting_approval'),
      oldest_approval_seconds: agedMs === null ? null : Math.floor(agedMs / 1_000),
      lanes: depth,
    }
  }

  counters(): MissionCounters {
    return { ...this.#engine.counters(), staleRefused: this.#ledger.staleRefused }
  }

  #took(mission: Mission): void {
    this.#ids.seen(mission.id)
    this.#admission.backlog.take(mission)
    if (isUnderWay(mission)) return
    for (const wake of this.#waiters.get(mission.id) ?? []) wake()
  }

  async #settled(id: MissionId, waitMs: number): Promise<void> {
    const mission = this.#shelf.get(id)
    if (waitMs === 0 || mission === undefined || !isUnderWay(mission)) return
    const { promise, resolve } = Promise.withResolvers<void>()
    const waiters = this.#waiters.get(id) ?? new Set()
    this.#waiters.set(id, waiters.add(resolve))
    try {
      await withDeadline(this.#ports.clock, waitMs, promise, () => new Expired())
    } catch (error) {
      if (!(error instanceof Expired)) throw error
    } finally {
      waiters.delete(resolve)
      if (waiters.size === 0) this.#waiters.delete(id)
    }
  }
}

export interface CreateAnswer {
  /** False when the same key had been used with the same body. */
  readonly created: boolean
  readonly mission: MissionDetail
  /** What the caller is told: where the mission stands, and how it was judged. */
  readonly answer: CreatedView
}

function createAnswer({ created, mission }: Admitted): CreateAnswer {
  return {
    created,
    answer: answerOf(mission),
    // Few look at it, so it is made for them only.
    get mission() {
      return detailOf(mission)
    },
  }
}

function wanted(body: MissionCreate, key: string | undefined): Wanted {
  return key === undefined ? { body } : { body, key }
}

export interface RunAnswer {
  readonly status: 'ok' | 'failed' | 'accepted'
  readonly mission_id: MissionId
  readonly mission: MissionDetail
}

export interface ListAnswer {
  readonly missions: readonly MissionView[]
  /** In this page. */
  readonly count: number
  readonly next: MissionId | null
}

export interface MissionCounters {
  readonly depth: Readonly<Record<Category, number>>
  readonly running: number
  readonly staleRefused: number
}

interface Decision {
  readonly mission_id: MissionId
  readonly reason?: string
}

interface Approval extends Decision {
  /** Of what was looked at. */
  readonly digest?: string
}

class Expired extends Error {}

function isUnderWay({ status }: Mission): boolean {
  return status === 'queued' || status === 'running'
}

/** As long as somebody at a terminal waits without wondering. */
const WAIT_MS = 10_000
