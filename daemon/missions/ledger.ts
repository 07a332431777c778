import type { Actor, Fact, FactDraft } from '../contracts/fact.ts'
import { NexusError } from '../contracts/failure.ts'
import type { MissionId } from '../contracts/ids.ts'
import type { MissionDetail } from '../contracts/mission.ts'
import { Keyed } from '../kit/keyed.ts'
import { DAEMON, draft, type MissionFacts, type MissionFactType } from './facts.ts'
import { fold } from './fold.ts'
import type { Mission } from './mission.ts'
import {
  BIRTH,
  causeOf,
  eventOf,
  type MissionAct,
  type MissionCause,
  type MissionEvent,
  type MissionMove,
  mayCause,
  transition,
} from './mission-table.ts'
import type { ClaimVerdict, Decided, MissionQueue, MissionStore, Recorder } from './port.ts'
import type { Shelf } from './shelf.ts'

/**
 * The only writer of missions: one change at a time for each mission, checked against the table, durable before it is
 * acted upon. So of two decisions the first wins, and the second is told what became of the mission.
 */
export class Ledger implements Pick<MissionStore, 'create' | 'change'>, MissionQueue {
  readonly #recorder: Recorder
  readonly #shelf: Shelf
  readonly #act: (act: MissionAct, mission: Mission) => void
  readonly #place: (mission: Mission) => Place | undefined
  readonly #turns = new Keyed(
    WAITING_MAX,
    () => new NexusError('JOURNAL_BUSY', { limit: WAITING_MAX, what: 'mission' }),
  )
  #staleRefused = 0
  readonly #lateOf = new Map<MissionId, LateAnswers>()

  /**
   * @param act - Carries out what a durable change asks for; must not throw.
   * @param place - Finds a place for a mission that is about to be created, so that it need not be claimed later.
   */
  constructor(
    recorder: Recorder,
    shelf: Shelf,
    act: (act: MissionAct, mission: Mission) => void,
    place: (mission: Mission) => Place | undefined = () => undefined,
  ) {
    this.#recorder = recorder
    this.#shelf = shelf
    this.#act = act
    this.#place = place
  }

  /** Answers and writes of attempts that were no longer the mission's present one. */
  get staleRefused(): number {
    return this.#staleRefused
  }

  /** Counts a late answer, for the whole and for its mission. */
  refuseStale(id: MissionId, epoch: number): void {
    this.#staleRefused += 1
    const refused = (this.#lateOf.get(id)?.refused ?? 0) + 1
    this.#lateOf.delete(id)
    this.#lateOf.set(id, { refused, epoch })
    const [oldest] = this.#lateOf.keys()
    if (this.#lateOf.size > LATE_KEPT && oldest !== undefined) this.#lateOf.delete(oldest)
  }

  /** What was refused of this mission since the daemon started. */
  lateOf(id: MissionId): LateAnswers | undefined {
    return this.#lateOf.get(id)
  }

  /** One that waits or runs. */
  get(id: MissionId): Mission {
    return known(id, this.#shelf.get(id))
  }

  /** Wherever it is kept. @throws NexusError `MISSION_UNKNOWN`. */
  async find(id: MissionId): Promise<Mission> {
    return known(id, await this.#shelf.find(id))
  }

  async create(created: readonly FactDraft[]): Promise<readonly Mission[]> {
    const places = created.map((draft) => this.#place(unborn(draft)))
    const drafts = created.map((draft, index) => [draft, ...(places[index]?.claim ?? [])])
    let facts: readonly Fact[]
    try {
      facts = await this.#recorder.appendAll(drafts.flat())
    } catch (error) {
      for (const place of places) place?.leave()
      throw error
    }
    let at = 0
    return drafts.map(({ length }, index) => {
      const mission = known('', fold(undefined, facts[at] as Fact))
      at += length
      const place = places[index]
      if (place === undefined) this.#act(BIRTH[mission.decision].act, mission)
      else this.#begin(mission.id, place)
      return mission
    })
  }

  #begin(id: MissionId, place: Place): void {
    const claimed = this.get(id)
    this.#act('execute', claimed)
    place.begin(claimed)
  }

  change(id: MissionId, wanted: string, decide: (mission: Mission) => Decided | undefined): Promise<Mission> {
    return this.#turns.run(id, async () => {
      const mission = this.#shelf.get(id) ?? (await this.find(id))
      const decided = decide(mission)
      if (decided === undefined) return mission
      const epoch = mission.status === 'running' ? mission.epoch : undefined
      const fact = decided.fact(id, epoch)
      return this.#record(mission, [fact], causeOf(fact.actor), wanted)
    })
  }

  claim(id: MissionId, mayRun: (mission: Mission) => ClaimVerdict): Promise<Mission | undefined> {
    return this.#turns.run(id, async () => {
      const mission = this.#shelf.get(id) ?? (await this.find(id))
      if (mission.status !== 'queued') return undefined
      const verdict = mayRun(mission)
      if (!verdict.claim) {
        await this.#record(mission, [verdict.instead.fact(id)], 'daemon', 'claimed')
        return undefined
      }
      return this.#record(mission, claimDrafts(id, mission.epoch + 1, verdict), 'daemon', 'claimed')
    })
  }

  write(id: MissionId, epoch: number, decided: readonly Decided[]): Promise<Mission> {
    return this.#turns.run(id, async () => {
      const mission = this.#shelf.get(id) ?? (await this.find(id))
      if (mission.status !== 'running' || mission.epoch !== epoch) {
        this.refuseStale(id, epoch)
        throw new StaleAttempt(id, epoch, mission)
      }
      const facts = decided.map((record) => record.fact(id, epoch))
      return this.#record(mission, facts, 'attempt', 'written by its attempt')
    })
  }

  /** One batch; of its facts at most one moves the mission on. */
  async #record(
    mission: Mission,
    drafts: readonly FactDraft[],
    cause: MissionCause,
    wanted: string,
  ): Promise<Mission> {
    const events = drafts.map(eventOf).filter((event) => event !== undefined)
    const moves = events.map((event) => allowed(mission, event, cause, wanted))
    const facts = await this.#recorder.appendAll(drafts)
    // One that has come to its end may have left memory by now.
    const changed = this.#shelf.get(mission.id) ?? facts.reduce<Mission>(foldKnown, mission)
    for (const { act } of moves) this.#act(act, changed)
    return changed
  }
}

/** Where a mission can begin as soon as it is on record. */
export interface Place {
  /** What goes on record with its creation. */
  readonly claim: readonly FactDraft[]
  /** Carries it out. */
  begin(claimed: Mission): void
  /** It was not created after all. */
  leave(): void
}

/** What a mission will be once its creation is on record. */
function unborn(created: FactDraft): Mission {
  const frame = { v: 1, seq: 0, b: 0, ts: '', h: '' } as const
  return known(created.mid ?? '', fold(undefined, { ...frame, ...created }))
}

/**
 * The facts by which an attempt begins: its claim, and the starts of its first steps. Pure, so that they can be made
 * before the mission itself is on record.
 */
export function claimDrafts(
  id: MissionId,
  epoch: number,
  { queueWaitMs, starts }: Pick<Extract<ClaimVerdict, { claim: true }>, 'queueWaitMs' | 'starts'>,
): readonly FactDraft[] {
  const claim = draft('mission.claimed', id, DAEMON, { queue_wait_ms: Math.round(queueWaitMs) }, epoch)
  return [claim, ...starts.map((start) => start.fact(id, epoch))]
}

type LateAnswers = NonNullable<MissionDetail['late_answers']>

export function decided<Type extends MissionFactType>(
  type: Type,
  actor: Actor,
  body: MissionFacts[Type],
): Decided {
  return { fact: (id, epoch) => draft(type, id, actor, body, epoch) }
}

function known(id: MissionId, mission: Mission | undefined): Mission {
  if (mission === undefined) throw new NexusError('MISSION_UNKNOWN', { mission: id })
  return mission
}

function foldKnown(mission: Mission, fact: Fact): Mission {
  return fold(mission, fact) ?? mission
}

/** The table's word: what it does not list for this state, and for this cause, does not happen. */
function allowed(mission: Mission, event: MissionEvent, cause: MissionCause, wanted: string): MissionMove {
  const move = transition(mission.status, event)
  if (move === undefined) throw wrongState(mission, wanted)
  if (mayCause(move, cause)) return move
  throw new NexusError('PERMISSION_DENIED', { principal: `the ${cause}`, permission: `to have it ${wanted}` })
}

export function wrongState(mission: Mission, wanted: string): NexusError {
  return new NexusError('MISSION_WRONG_STATE', { mission: mission.id, state: mission.status, wanted })
}

/** An attempt spoke after the mission had gone on without it. */
export class StaleAttempt extends Error {
  override readonly name = 'StaleAttempt'

  constructor(id: MissionId, epoch: number, mission: Mission) {
    super(`attempt ${epoch} of ${id} is over: it is ${mission.status} at ${mission.epoch}`)
  }
}

/** So many may wait to decide about one mission; more is a storm, not people. */
const WAITING_MAX = 1_000
/** Late answers are rare, and asked about soon. */
const LATE_KEPT = 1_000
