import type { Actor, FactDraft } from '../contracts/fact.ts'
import { NexusError } from '../contracts/failure.ts'
import type { MissionId } from '../contracts/ids.ts'
import type { MissionStatus } from '../contracts/mission.ts'
import { Keyed } from '../kit/keyed.ts'
import { moveOf } from '../kit/state-table.ts'
import { DAEMON, draft, type MissionFacts, type MissionFactType } from './facts.ts'
import type { Mission } from './mission.ts'
import { BIRTH, eventOf, MISSION_TABLE, type MissionAct, type MissionEvent } from './mission-table.ts'
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
  readonly #turns = new Keyed(
    WAITING_MAX,
    () => new NexusError('JOURNAL_BUSY', { limit: WAITING_MAX, what: 'mission' }),
  )
  #staleRefused = 0

  /** @param act - Carries out what a durable change asks for; must not throw. */
  constructor(recorder: Recorder, shelf: Shelf, act: (act: MissionAct, mission: Mission) => void) {
    this.#recorder = recorder
    this.#shelf = shelf
    this.#act = act
  }

  /** Answers and writes of attempts that were no longer the mission's present one. */
  get staleRefused(): number {
    return this.#staleRefused
  }

  refuseStale(): void {
    this.#staleRefused += 1
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
    const facts = await this.#recorder.appendAll(created)
    const missions = await Promise.all(facts.map(({ mid }) => this.find(mid ?? '')))
    for (const mission of missions) this.#act(BIRTH[mission.order.validation.decision].act, mission)
    return missions
  }

  change(id: MissionId, wanted: string, decide: (mission: Mission) => Decided | undefined): Promise<Mission> {
    return this.#turns.run(id, async () => {
      const mission = await this.find(id)
      const decided = decide(mission)
      if (decided === undefined) return mission
      const epoch = mission.status === 'running' ? mission.epoch : undefined
      return this.#record(mission, decided.fact(id, epoch), wanted)
    })
  }

  claim(id: MissionId, mayRun: (mission: Mission) => ClaimVerdict): Promise<Mission | undefined> {
    return this.#turns.run(id, async () => {
      const mission = await this.find(id)
      if (mission.status !== 'queued') return undefined
      const verdict = mayRun(mission)
      if (!verdict.claim) {
        await this.#record(mission, verdict.instead.fact(id), 'claimed')
        return undefined
      }
      const queued = { queue_wait_ms: Math.round(verdict.queueWaitMs) }
      return this.#record(mission, draft('mission.claimed', id, DAEMON, queued, mission.epoch + 1), 'claimed')
    })
  }

  write(id: MissionId, epoch: number, decided: Decided): Promise<Mission> {
    return this.#turns.run(id, async () => {
      const mission = await this.find(id)
      if (mission.status !== 'running' || mission.epoch !== epoch) {
        this.refuseStale()
        throw new StaleAttempt(id, epoch, mission)
      }
      return this.#record(mission, decided.fact(id, epoch), 'written by its attempt')
    })
  }

  async #record(mission: Mission, fact: FactDraft, wanted: string): Promise<Mission> {
    const event = eventOf(fact)
    const move =
      event && moveOf<MissionStatus, MissionEvent, MissionAct>(MISSION_TABLE, mission.status, event)
    if (event !== undefined && move === undefined) throw wrongState(mission, wanted)
    await this.#recorder.append(fact)
    const changed = await this.find(mission.id)
    if (move !== undefined) this.#act(move.act, changed)
    return changed
  }
}

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
