import type { Actor, Fact, FactDraft } from '../../daemon/contracts/fact.ts'
import { NexusError } from '../../daemon/contracts/failure.ts'
import type { Decision } from '../../daemon/contracts/ids.ts'
import type { MissionStatus } from '../../daemon/contracts/mission.ts'
import { seededChance } from '../../daemon/kit/chance.ts'
import { Maintenance } from '../../daemon/maintenance/maintenance.ts'
import type { MissionBrief, Upkeep } from '../../daemon/maintenance/port.ts'
import { TestClock } from '../support/test-clock.ts'

export const KEY: Actor = { kind: 'key', name: 'operator-1' }

interface FakeMission {
  readonly key: string
  status: MissionStatus
  decision: Decision
  result?: unknown
}

/** A journal and missions of paper around a real maintenance room; a crash leaves only the facts. */
export class World {
  readonly clock: TestClock
  readonly facts: Fact[] = []
  readonly missions = new Map<string, FakeMission>()
  readonly approvals: string[] = []
  readonly warnings: string[] = []
  readonly bugs: unknown[] = []
  /** How the next missions are judged. */
  decision: Decision = 'SAFE'
  /** Thrown by the next call of `create`, once. */
  refusal: NexusError | undefined
  /** Nothing is durable any more: the power is off. */
  isDead = false
  upkeep: Upkeep = {
    verify: async () => ({ records: 3 }),
    snapshot: async () => ({ seq: 3 }),
  }
  #chance = seededChance(1)
  room: Maintenance

  constructor(startMs = Date.UTC(2027, 2, 1, 12)) {
    this.clock = new TestClock(startMs)
    this.room = this.#make()
  }

  /** Ends this daemon without a word; the next one starts `downMs` later, from a snapshot or from the facts. */
  async restart(downMs = 0, from: 'facts' | 'snapshot' = 'facts'): Promise<void> {
    const saved = JSON.parse(JSON.stringify(this.room.save()))
    this.isDead = true
    await this.room.stop()
    await this.clock.pass(downMs)
    this.isDead = false
    this.room = this.#make()
    if (from === 'snapshot') this.room.load(saved)
    else for (const fact of this.facts) this.room.fold(fact)
    await this.room.recover()
    await this.clock.pass(0)
  }

  async append(draft: FactDraft): Promise<Fact> {
    if (this.isDead) return new Promise(() => {})
    await null
    const seq = this.facts.length + 1
    const fact: Fact = { ...draft, v: 1, seq, b: seq, ts: new Date(this.clock.now()).toISOString(), h: '' }
    this.facts.push(fact)
    this.room.fold(fact)
    this.room.heard(fact)
    return fact
  }

  /** What a mission's module does: asks for the work, and says how it ended. */
  async work(missionId: string): Promise<void> {
    const mission = this.#of(missionId)
    const [maintenanceId = ''] = mission.key.split('@')
    mission.status = 'running'
    try {
      const { task } = this.room.get(maintenanceId)
      const answer = await this.room.carryOut(task, maintenanceId)
      await this.end(missionId, 'completed', answer.done ? { result: answer.result } : {})
    } catch {
      await this.end(missionId, 'failed')
    }
  }

  async end(missionId: string, status: MissionStatus, result?: unknown): Promise<void> {
    const mission = this.#of(missionId)
    mission.status = status
    mission.result = result
    const type = status === 'cancelled' ? 'mission.cancelled' : 'mission.ended'
    await this.append({ type, mid: missionId, actor: { kind: 'daemon', name: 'missions' }, d: { status } })
    await this.clock.pass(0)
  }

  /** A queued mission is judged again, and no longer may run by itself. */
  async rejudge(missionId: string, decision: Decision = 'BORDERLINE'): Promise<void> {
    Object.assign(this.#of(missionId), { status: 'awaiting_approval', decision })
    const actor = { kind: 'daemon', name: 'missions' } as const
    await this.append({ type: 'mission.rejudged', mid: missionId, actor, d: {} })
    await this.clock.pass(0)
  }

  /** The missions that were made, oldest first. */
  get ids(): readonly string[] {
    return [...this.missions.keys()]
  }

  /** Types and the given fields of what maintenance wrote. */
  wrote(...fields: readonly string[]): readonly unknown[][] {
    return this.facts
      .filter(({ type }) => type.startsWith('maintenance.'))
      .map(({ type, d }) => [type.slice('maintenance.'.length), ...fields.map((field) => d[field])])
  }

  #make(): Maintenance {
    const world = this
    return new Maintenance({
      clock: this.clock,
      chance: this.#chance,
      append: (draft) => this.append(draft),
      get upkeep() {
        return world.upkeep
      },
      missions: {
        create: (body, key) => this.#create(body, key),
        approve: async (id, keyId, reason) => {
          if (this.isDead) return new Promise(() => {})
          this.#of(id).status = 'queued'
          this.approvals.push(`${id} ${keyId} ${reason}`)
        },
        cancel: async (id) => {
          if (!this.isDead) await this.end(id, 'cancelled')
        },
        find: async (id) => this.#brief(id),
      },
      log: (_, message) => this.warnings.push(message),
      onBug: (error) => this.bugs.push(error),
    })
  }

  async #create(body: object, key: string): Promise<MissionBrief> {
    const refusal = this.refusal
    this.refusal = undefined
    if (refusal !== undefined) throw refusal
    const known = [...this.missions].find(([, mission]) => mission.key === key)
    if (known !== undefined) return this.#brief(known[0])
    if (this.isDead) return new Promise(() => {})
    const id = `m-${this.missions.size + 1}`
    const status = { SAFE: 'queued', BORDERLINE: 'awaiting_approval', FAILING: 'suggestion' } as const
    const actor = { kind: 'scheduler', name: 'scheduler' } as const
    const d = { ...body, idempotency: { key, principal: 'scheduler:scheduler', body_sha256: '' } }
    const mission = { key, status: status[this.decision], decision: this.decision }
    await this.append({ type: 'mission.created', mid: id, actor, d })
    this.missions.set(id, mission)
    return this.#brief(id)
  }

  #brief(id: string): MissionBrief {
    const { status, decision, result } = this.#of(id)
    const reasons = decision === 'FAILING' ? ['G0: the module is locked'] : []
    const validation = { decision, reasons, score: 50 }
    return { mission_id: id, status, because: `it is ${status}`, validation, result }
  }

  #of(id: string): FakeMission {
    const mission = this.missions.get(id)
    if (mission === undefined) throw new NexusError('MISSION_UNKNOWN', { mission: id })
    return mission
  }
}
