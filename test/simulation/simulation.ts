import { NexusError } from '../../daemon/contracts/failure.ts'
import type { MissionCreate, MissionDetail } from '../../daemon/contracts/mission.ts'
import { seededChance } from '../../daemon/kit/chance.ts'
import type { Missions } from '../../daemon/missions/missions.ts'
import type { Authority } from '../../daemon/missions/port.ts'
import { verifyJournal } from '../../daemon/storage/verify.ts'
import { type CrashMode, MemoryDisk } from '../support/memory-disk.ts'
import { DIR, Life, type Mood, type Setting } from './life.ts'
import { FINAL, Model, type ModelMission, must, WAITS_FOR_A_PERSON } from './model.ts'
import { ANSWERS } from './modules.ts'
import { settle } from './turns.ts'

/** A whole run: how the daemon is set, and what the world does to it, one number a step. */
export interface Schedule {
  readonly setting: number
  readonly steps: readonly number[]
}

export interface Figures {
  steps: number
  lives: number
  kills: number
  powerCuts: number
  acknowledged: number
  refused: number
  missions: number
  records: number
  effects: number
  pruned: number
  compacted: number
  checks: number
}

export function noFigures(): Figures {
  const counts = { steps: 0, lives: 0, kills: 0, powerCuts: 0, acknowledged: 0, refused: 0 }
  return { ...counts, missions: 0, records: 0, effects: 0, pruned: 0, compacted: 0, checks: 0 }
}

/** Plays one schedule. @throws Violation, or whatever the daemon should not have thrown. */
export async function play(
  schedule: Schedule,
  figures: Figures,
  say?: (line: string) => void,
): Promise<void> {
  const simulation = new Simulation(schedule, figures, say)
  await simulation.play()
}

const APPROVAL_MS = 20_000
/** One after the other, unless they say what they need. */
const PLANS: readonly (readonly { readonly uses: string; readonly needs?: string[] }[])[] = [
  [{ uses: 'once' }],
  [{ uses: 'large' }, { uses: 'once' }],
  [{ uses: 'once' }, { uses: 'again', needs: [] }, { uses: 'once', needs: ['s0', 's1'] }],
  [{ uses: 'once' }, { uses: 'again' }, { uses: 'once', needs: ['s0'] }],
  // A diamond, with one beside another that must happen once.
  [
    { uses: 'again' },
    { uses: 'once', needs: ['s0'] },
    { uses: 'once', needs: ['s0'] },
    { uses: 'again', needs: ['s1', 's2'] },
  ],
  [{ uses: 'again' }, { uses: 'again', needs: [] }, { uses: 'once', needs: [] }],
  [{ uses: 'again' }, { uses: 'large' }],
  [{ uses: 'large' }],
]
/** Mostly at once. */
const NOT_BEFORE_MS = [undefined, undefined, undefined, undefined, undefined, 2_000, 5_000, 40_000] as const
const UPKEEP = ['prune', 'compact', 'rotate', 'snapshot', 'prune', 'verify', 'compact'] as const
/** What a start without room may end with. */
const FULL: readonly string[] = ['JOURNAL_FULL', 'ENOSPC']
const POWER: readonly CrashMode[] = ['nothing', 'torn', 'sectors', 'everything']
const JUMPS_MS = [1_000, 30_000, 3_600_000, 86_400_000] as const
const STEPS_OF_TIME_MS = [1, 500, 1_000, 3_000, 5_000, 20_000] as const

/** What can happen next, and how often it does. The first is what a shrunk schedule is made of. */
const VERBS = [
  ...Array<'disk'>(28).fill('disk'),
  ...Array<'flow'>(18).fill('flow'),
  ...Array<'answer'>(20).fill('answer'),
  ...Array<'create'>(14).fill('create'),
  ...Array<'decide'>(20).fill('decide'),
  ...Array<'time'>(11).fill('time'),
  ...Array<'crash'>(7).fill('crash'),
  ...Array<'look'>(2).fill('look'),
  ...Array<'jump'>(2).fill('jump'),
  ...Array<'full'>(2).fill('full'),
  'mood',
  'stop',
  ...Array<'upkeep'>(4).fill('upkeep'),
  'sync fails',
  'full',
] as const

class Simulation {
  readonly #schedule: Schedule
  readonly #figures: Figures
  readonly #say: ((line: string) => void) | undefined
  readonly #model: Model
  readonly #setting: Setting
  readonly #mood: Mood = { isUneasy: false }
  readonly #chance: ReturnType<typeof seededChance>
  /** What callers were told, and hold us to. */
  readonly #acknowledged = { approvals: new Map<string, number>(), creates: new Map<string, string>() }
  /** Bodies that were ever sent under a key. */
  readonly #bodies = new Map<string, Set<string>>()
  #life: Life
  #isFull = false
  #syncFails = false
  #goals = 0

  constructor(schedule: Schedule, figures: Figures, say: ((line: string) => void) | undefined) {
    const { setting } = schedule
    this.#schedule = schedule
    this.#figures = figures
    this.#say = say
    this.#chance = seededChance(setting)
    this.#model = new Model(APPROVAL_MS, setting & 4 ? 1 : 4, setting & 64 ? 3 : 20_000_000)
    this.#setting = {
      model: this.#model,
      segmentBytesMax: setting & 1 ? 2_000 : 1_000_000,
      snapshotEvery: setting & 2 ? 7 : 1_000,
      concurrency: this.#model.placesMax,
      approvalDays: APPROVAL_MS / 86_400_000,
      keepBytes: setting & 128 ? 0 : Number.MAX_SAFE_INTEGER,
    }
    this.#life = new Life(MemoryDisk.withFolder(DIR), Date.UTC(2026, 10, 22, 10), this.#setting, this.#mood)
    // One in eight begins with the very first start and its crashes.
    if ((setting & 56) === 0) this.#life.halt()
  }

  async play(): Promise<void> {
    this.#begin()
    await this.#rest()
    this.#life.halt()
    for (const step of this.#schedule.steps) await this.#step(step)
    await this.#drain()
    const { missions, pruned, compacted, hashes, checks } = this.#model
    this.#figures.missions += missions.size + pruned.size
    this.#figures.pruned += pruned.size
    this.#figures.compacted += compacted
    this.#figures.records += hashes.length
    this.#figures.checks += checks
  }

  #begin(): void {
    this.#figures.lives += 1
    this.#life.wasFull = this.#isFull
    const { disk } = this.#life
    this.#syncFails = false
    disk.fault = ({ op, path, isChange }) => {
      if (this.#syncFails && op === 'datasync' && path.endsWith('audit.jsonl')) {
        this.#life.isBroken = true
        return { error: 'EIO' }
      }
      if (!this.#isFull || !isChange) return undefined
      if (op === 'create' || op === 'makeDir') return { error: 'ENOSPC' }
      if (op !== 'write') return undefined
      // Sometimes it says so, sometimes it takes a part.
      const taken = Math.floor(this.#chance.next() * 40)
      return path.endsWith('audit.jsonl') && taken > 20 ? { taken } : { error: 'ENOSPC', taken }
    }
    this.#life.start()
  }

  /** Until nothing moves by itself. */
  async #rest(): Promise<void> {
    await settle()
    if (this.#life.clock.nextInMs === 0) await this.#life.clock.pass(0)
    const { failure } = this.#life
    if (failure !== undefined) await this.#failed(failure)
    this.#life.modules.checkTimes()
    this.#model.isCramped = this.#isFull || this.#life.clock.elapsed() < this.#life.roomSinceMs + 3_000
    this.#checkExpiries()
    this.#checkStarts()
  }

  /** A start that finds no room is tried again when there is some; nothing else may fail. */
  async #failed(failure: unknown): Promise<void> {
    const code = failure instanceof Error && 'code' in failure ? String(failure.code) : ''
    const isPassing =
      (this.#life.wasFull && FULL.includes(code)) || (this.#life.isBroken && code === 'JOURNAL_UNAVAILABLE')
    if (!isPassing) throw failure
    this.#say?.(`  the start failed: ${code}`)
    this.#room()
    await this.#crash('kill', false, true)
  }

  async #step(number: number): Promise<void> {
    this.#figures.steps += 1
    const verb = VERBS[number % VERBS.length] ?? 'disk'
    const which = (number >>> 7) & 31
    const how = (number >>> 12) & 255
    const more = number >>> 20
    if (this.#life.isBroken) return this.#crash('kill', false, false)
    switch (verb) {
      case 'disk':
        this.#diskStep(which)
        break
      case 'flow':
        this.#say?.('the disk does all it is asked')
        this.#life.flow()
        await settle()
        this.#life.halt()
        break
      case 'answer':
        this.#answer(which, how)
        break
      case 'create':
        this.#create(which, how, more)
        break
      case 'decide':
        this.#decide(which, how)
        break
      case 'time':
        await this.#time(which, how)
        break
      case 'crash':
        return this.#crash(
          how & 1 ? 'kill' : (POWER[(how >>> 1) & 3] ?? 'torn'),
          (how & 8) > 0,
          (how & 16) > 0,
        )
      case 'look':
        await this.#look()
        break
      case 'jump': {
        const byMs = (how & 1 ? 1 : -1) * (JUMPS_MS[which & 3] ?? 0)
        this.#say?.(`the wall clock jumps by ${byMs} ms`)
        this.#life.clock.jump(byMs)
        break
      }
      case 'full':
        if (this.#isFull) this.#room()
        else this.#isFull = this.#life.wasFull = true
        this.#say?.(this.#isFull ? 'the disk is full' : 'the disk has room')
        break
      case 'mood':
        this.#mood.isUneasy = !this.#mood.isUneasy
        this.#say?.(`the judge is ${this.#mood.isUneasy ? 'uneasy' : 'at ease'}`)
        break
      case 'stop':
        return this.#stop(how)
      case 'upkeep':
        this.#upkeep(which)
        if (how & 3) this.#life.flow()
        await settle()
        this.#life.halt()
        break
      case 'sync fails':
        this.#say?.('the next sync of the journal fails')
        this.#syncFails = true
    }
    await this.#rest()
  }

  /** The care for the records, which may end in the middle of it. */
  #upkeep(which: number): void {
    const life = this.#life
    const { memory } = life
    if (memory === undefined || !life.isUp) return
    const work = UPKEEP[which % UPKEEP.length] ?? 'snapshot'
    this.#say?.(`> ${work}`)
    memory.upkeep[work](new AbortController().signal).then(
      (done) => this.#say?.(`< ${work}: ${JSON.stringify(done)}`),
      (error: unknown) => {
        this.#say?.(`< ${work}: ${String(error)}`)
        const isDamage = error instanceof NexusError && error.code === 'JOURNAL_DAMAGED'
        if (isDamage) life.failure ??= error
      },
    )
  }

  #diskStep(which: number): void {
    const { parked } = this.#life
    const [next] = parked.splice(which % Math.max(1, parked.length), 1)
    if (next === undefined) return
    this.#say?.(`disk: ${next.what} ${next.path}`)
    next.go()
  }

  #answer(which: number, how: number): void {
    const { modules } = this.#life
    const chosen = modules.calls[which % Math.max(1, modules.calls.length)]
    // The worst moment for a late answer is that of another attempt, so some take no notice of a stop and wait for it.
    const call = (how & 16 ? modules.overtaken : undefined) ?? chosen
    if (call === undefined || (how & 96 && call === chosen && call.abortedAtMs !== undefined)) return
    // What is told to stop because of a failure beside it is rare, and where attempts overtake each other.
    const failsBeside = (how & 128) > 0 && modules.hasOneBeside(call)
    const answer = failsBeside ? 'throws' : (ANSWERS[Math.max(0, (how % 8) - 3)] ?? 'ok')
    this.#say?.(`${call.name}, attempt ${call.epoch}: ${answer}`)
    modules.answer(call, answer)
  }

  /** One by itself, or three in a batch. */
  #create(which: number, how: number, more: number): void {
    if (which < 24) this.#createOne(this.#wanted(which, how, more))
    else this.#createAll([0, 1, 2].map((at) => this.#wanted(which + 2 * at, how + 4 * at, more + at)))
  }

  #createOne({ body, key, text }: WantedHere): void {
    this.#order(`create ${body.goal}${key === undefined ? '' : ` under ${key}`}`, async (missions) => {
      try {
        const { created, mission } = await missions.create(ANNA, body, key)
        return () => this.#created(mission, created, key, text)
      } catch (error) {
        this.#refused(error, key)
        throw error
      }
    })
  }

  #createAll(wanted: readonly WantedHere[]): void {
    this.#order(`create ${wanted.map(({ body }) => body.goal).join(', ')} together`, async (missions) => {
      const asked = wanted.map(({ body, key }) => ({ body, ...(key === undefined ? {} : { key }) }))
      const ends = await missions.createAll(ANNA, asked)
      return () => {
        must(ends.length === wanted.length, 'each of a batch has its answer')
        for (const [at, { key, text }] of wanted.entries()) {
          const end = ends[at]
          if (end === undefined || end instanceof NexusError) this.#refused(end, key)
          else this.#created(end.mission, end.created, key, text)
        }
      }
    })
  }

  #wanted(which: number, how: number, more: number): WantedHere {
    const kind = (['safe', 'safe', 'border', 'failing'] as const)[how & 3] ?? 'safe'
    const key = which & 1 ? `key ${(which >>> 1) & 1}` : undefined
    // Few bodies to a key, so that both sameness and conflict are met.
    const goal = key === undefined ? `${kind} ${++this.#goals}` : `safe ${key} ${how & 1}`
    const plan = PLANS[key === undefined ? more & 7 : 1] ?? []
    const laterMs = key === undefined ? NOT_BEFORE_MS[(more >>> 3) & 7] : undefined
    const not_before =
      laterMs === undefined ? {} : { not_before: new Date(this.#life.clock.now() + laterMs).toISOString() }
    const retries = key === undefined ? Math.max(0, ((more >>> 6) & 3) - 1) : 0
    const body: MissionCreate = {
      goal,
      category: how & 16 ? 'coin' : 'forge',
      plan: plan.map(({ uses, ...rest }, index) => ({
        id: `s${index}`,
        uses: `sim/module/${uses}`,
        ...rest,
        ...(retries === 0 ? {} : { retries }),
      })),
      ...not_before,
      ...(key === undefined ? { priority: 3 * ((how >>> 2) & 3) } : {}),
      max_attempts: 1 + ((how >>> 5) % 3),
      constraints: { max_time_seconds: how & 128 ? 5 : 30 },
    }
    const text = JSON.stringify(body)
    if (key !== undefined) this.#bodies.set(key, (this.#bodies.get(key) ?? new Set()).add(text))
    return { body, key, text }
  }

  #refused(error: unknown, key: string | undefined): void {
    const isConflict = error instanceof NexusError && error.code === 'IDEMPOTENCY_CONFLICT'
    const bodies = this.#bodies.get(key ?? '')?.size ?? 0
    must(!isConflict || bodies > 1, 'only another body is in conflict with a key')
  }

  #created(mission: MissionDetail, created: boolean, key: string | undefined, text: string): void {
    const id = mission.mission_id
    const { goal } = this.#model.get(id)
    const asked = (JSON.parse(text) as MissionCreate).goal
    must(key !== undefined || goal === asked, `${asked} was asked for, and not ${goal}`)
    this.#acknowledged.creates.set(id, text)
    if (key === undefined) return
    if (this.#model.pruned.has(id)) return
    must(this.#model.byPlace.get(`token:anna ${key}`) === id, `${key} stands for the mission it first made`)
    const others = [...this.#acknowledged.creates].filter(([other, sent]) => other === id && sent !== text)
    must(others.length === 0, `${key} was acknowledged for one body only`)
    must(created || this.#bodies.has(key), 'an old mission is answered for an old key only')
  }

  /** Somebody decides about a mission, mostly something that fits its state as readers know it. */
  #decide(which: number, how: number): void {
    const all = [...this.#model.missions.values()]
    const mission = all[all.length - 1 - (which % Math.max(1, all.length))]
    if (mission === undefined) return
    const wishes = how & 128 ? ALL_WISHES : (WISHES[mission.status] ?? ALL_WISHES)
    const wish = wishes[(how & 127) % wishes.length] ?? 'run'
    const { id } = mission
    const askedAtMs = this.#life.clock.elapsed()
    const wasDueAtMs = mission.status === 'awaiting_approval' ? mission.expiresAtMs : Number.POSITIVE_INFINITY
    if (wish === 'cancel') this.#expectCancel(mission)
    this.#order(`${wish} ${id}`, async (missions) => {
      switch (wish) {
        case 'run':
        case 'run and wait': {
          const wait_ms = wish === 'run' ? 0 : 10_000
          const { status } = await missions.run(ANNA, { mission_id: id, wait_ms })
          return () =>
            must(status !== 'ok' || this.#model.get(id).status === 'completed', `${id} did run well`)
        }
        case 'run with key':
          await missions.run(OPERATOR, { mission_id: id, wait_ms: 0 })
          return () => undefined
        case 'override':
          await missions.run(OPERATOR, { mission_id: id, wait_ms: 0, override: true, reason: 'I know' })
          return () => undefined
        case 'resume retry':
        case 'resume skip': {
          const resume = wish === 'resume retry' ? 'retry' : 'skip'
          await missions.run(OPERATOR, { mission_id: id, wait_ms: 0, resume })
          return () => undefined
        }
        case 'approve': {
          await missions.approve(OPERATOR, { mission_id: id })
          return () => {
            must(askedAtMs < wasDueAtMs, `${id} expired before somebody approved it`)
            const told = (this.#acknowledged.approvals.get(id) ?? 0) + 1
            this.#acknowledged.approvals.set(id, told)
            must(told <= this.#model.get(id).approvals, `each approval of ${id} is told to one caller`)
          }
        }
        case 'reject':
          await missions.reject(OPERATOR, { mission_id: id })
          return () => must(this.#model.get(id).status === 'rejected', `${id} is rejected when it is said so`)
        case 'cancel':
          await missions.cancel(OPERATOR, { mission_id: id })
          return () =>
            must(this.#model.get(id).status === 'cancelled', `${id} is cancelled when it is said so`)
        case 'order again': {
          const { mission: fresh } = await missions.retry(OPERATOR, { mission_id: id })
          return () => {
            this.#acknowledged.creates.set(fresh.mission_id, '')
            must(this.#model.get(fresh.mission_id).retryOf === id, 'what was ordered again names the old one')
          }
        }
      }
    })
  }

  /** A cancel that meets a step at work, with nothing else going on, must win. */
  #expectCancel(mission: ModelMission): void {
    const { modules, parked, isUp } = this.#life
    const isAlone = isUp && parked.length === 0 && mission.status === 'running'
    if (isAlone && modules.isAtWork(mission.id)) mission.cancelledEpoch = mission.epoch
  }

  /** Sends an order and, if this life answers it, holds the daemon to the answer. */
  #order(what: string, send: (missions: Missions) => Promise<() => void>): void {
    const life = this.#life
    const { missions } = life
    if (missions === undefined || !life.isUp) return
    this.#say?.(`> ${what}`)
    send(missions).then(
      (check) => {
        this.#figures.acknowledged += 1
        this.#model.checks += 1
        this.#say?.(`< ${what}: done`)
        try {
          check()
        } catch (error) {
          life.failure ??= error
        }
      },
      (error: unknown) => {
        this.#figures.refused += 1
        this.#say?.(`< ${what}: ${String(error)}`)
        const isExpected = error instanceof NexusError && error.code !== 'INTERNAL'
        if (!isExpected) life.failure ??= error
      },
    )
  }

  async #time(which: number, how: number): Promise<void> {
    const { clock } = this.#life
    const nextMs = clock.nextInMs ?? 1_000
    const choices = [nextMs - 1, nextMs, nextMs + 1, ...STEPS_OF_TIME_MS]
    const byMs = Math.max(0, choices[which % choices.length] ?? 0)
    if (how & 1) this.#life.flow()
    this.#say?.(`${byMs} ms pass${how & 1 ? ', the disk goes on' : ''}`)
    await clock.pass(byMs)
    await settle()
    this.#life.halt()
  }

  async #look(): Promise<void> {
    const { missions, isUp } = this.#life
    if (missions === undefined || !isUp) return
    this.#say?.('somebody looks at everything')
    await this.#compare(missions, false)
  }

  /** The daemon says of every mission what the model says. */
  async #compare(missions: Missions, isQuiet: boolean): Promise<void> {
    let waiting = 0
    for (const { id, status, epoch } of this.#model.missions.values()) {
      const shown = await missions.get(id)
      must(shown.status === status, `${id} is ${status} for readers of facts, and shown as ${shown.status}`)
      must(shown.epoch === epoch, `${id} is at attempt ${epoch}, and shown at ${shown.epoch}`)
      if (status === 'awaiting_approval') waiting += 1
      this.#model.checks += 1
    }
    for (const id of this.#acknowledged.creates.keys()) this.#model.get(id)
    const { count } = await missions.list({ limit: 500 })
    must(
      count === this.#model.missions.size,
      `${this.#model.missions.size} missions are there, ${count} listed`,
    )
    // One that is being written down has its place already.
    const pending = missions.pendingApprovals
    must(isQuiet ? pending === waiting : pending >= waiting, `${waiting} wait for approval, not ${pending}`)
  }

  #checkExpiries(): void {
    const { clock, parked, isUp, isStopping, isBroken, roomSinceMs } = this.#life
    if (!isUp || isStopping || isBroken || this.#isFull || parked.length > 0) return
    const nowMs = clock.elapsed()
    for (const { id, status, expiresAtMs } of this.#model.missions.values()) {
      if (status !== 'awaiting_approval' || nowMs < expiresAtMs) continue
      // While the disk was full it could not be said; then it is tried again every minute.
      const lateMs = nowMs - Math.max(expiresAtMs, roomSinceMs + 60_000)
      must(lateMs < 0, `${id} expires in its time, not ${lateMs} ms later`)
    }
  }

  #checkStarts(): void {
    const { clock, parked, isAtWork, isStopping, isBroken, roomSinceMs } = this.#life
    if (!isAtWork || isStopping || isBroken || this.#isFull || parked.length > 0) return
    const idle = this.#model.idle(clock.elapsed(), roomSinceMs + 2_000)
    must(idle === undefined, `${idle} waits while there is a place for it`)
  }

  #room(): void {
    this.#isFull = false
    this.#life.roomSinceMs = this.#life.clock.elapsed()
  }

  async #stop(how: number): Promise<void> {
    const { missions, memory, isUp } = this.#life
    if (missions === undefined || memory === undefined || !isUp) return
    this.#say?.('the daemon is asked to stop')
    this.#life.flow()
    await settle()
    this.#life.isStopping = this.#model.isStopping = true
    const stopping = missions.drain(1_000).then(() => memory.close())
    stopping.catch(() => {}) // a full disk, say: the next start finds what there is
    if (how & 1) for (const call of [...this.#life.modules.calls]) this.#life.modules.answer(call, 'ok')
    await this.#life.clock.pass(4_000)
    await this.#rest()
    await this.#crash('kill', false, true)
  }

  async #crash(mode: CrashMode | 'kill', withEffects: boolean, isFlowing: boolean): Promise<void> {
    const { disk, parked, modules, clock } = this.#life
    this.#say?.(`--- ${mode === 'kill' ? 'kill -9' : `power cut, ${mode}`}${withEffects ? ', unheard' : ''}`)
    this.#figures[mode === 'kill' ? 'kills' : 'powerCuts'] += 1
    if (withEffects && parked.length > 0) {
      // What was asked of the disk has happened, and nobody hears of it.
      disk.fault = () => ({ crash: 'after' })
      for (const { go } of parked.splice(0, 1)) go()
      await settle()
    }
    modules.die(() => this.#chance.next() < 0.5)
    this.#life.checkTold()
    if (this.#life.isUp) this.#model.lifeEnded(clock.elapsed())
    const next = mode === 'kill' ? disk.afterKillUnsynced() : disk.afterCrash(mode, this.#chance)
    const downMs = Math.floor(this.#chance.next() * 3_000)
    this.#model.isStopping = false
    this.#life = new Life(next, clock.now() + downMs, this.#setting, this.#mood)
    if (!isFlowing) this.#life.halt()
    const eager = Math.floor(this.#chance.next() * 3)
    const pick = (): number => Math.floor(this.#chance.next() * 128)
    this.#life.onUp = () => {
      for (let order = 0; order < eager; order += 1) this.#decide(pick(), pick())
    }
    this.#begin()
    await this.#rest()
    this.#life.halt()
  }

  /** No more faults: whatever can end does, the rest waits for a person, and the journal is whole. */
  async #drain(): Promise<void> {
    this.#say?.('=== no more faults')
    this.#room()
    this.#syncFails = false
    if (this.#life.isBroken) await this.#crash('kill', false, true)
    this.#life.flow()
    await this.#rest()
    const isUnderWay = ({ status }: ModelMission): boolean => status === 'queued' || status === 'running'
    for (let turns = 0; [...this.#model.missions.values()].some(isUnderWay); turns += 1) {
      await this.#mendClock()
      const { modules, clock } = this.#life
      const stuck = [...this.#model.missions.values()].find(isUnderWay)
      must(turns < 200, `${stuck?.id} ends or waits for a person, and is not ${stuck?.status} for ever`)
      this.#life.flow()
      const { overtaken } = modules
      if (overtaken !== undefined) modules.answer(overtaken, 'ok')
      await this.#rest()
      const live = modules.calls.filter(({ abortedAtMs }) => abortedAtMs === undefined)
      for (const call of live) {
        const badLuck = modules.hasOneBeside(call) ? 0.3 : 0.1
        modules.answer(call, this.#chance.next() < badLuck ? 'throws' : 'ok')
      }
      await this.#rest()
      const nextMs = clock.nextInMs
      if (nextMs !== undefined && live.length === 0) await clock.pass(nextMs)
      await this.#rest()
    }
    for (const { id, status } of this.#model.missions.values()) {
      const isAtRest = FINAL.includes(status) || WAITS_FOR_A_PERSON.includes(status)
      must(isAtRest, `${id} has ended or waits for a person, and is not ${status}`)
    }
    for (const call of [...this.#life.modules.calls]) this.#life.modules.answer(call, 'ok')
    await this.#rest()
    if (this.#schedule.setting & 64) await this.#pruneAtLast()
    const { missions, memory, disk } = this.#life
    must(missions !== undefined && memory !== undefined, 'the daemon came up at last')
    await this.#life.checkKept(memory)
    this.#life.checkTold()
    await this.#compare(missions, true)
    const { staleRefused } = missions.counters()
    must(staleRefused === this.#life.modules.lateAnswers, `late answers are counted, and not ${staleRefused}`)
    for (const { steps } of this.#model.missions.values()) {
      for (const { effects } of steps.values()) this.#figures.effects += effects
    }
    const report = await verifyJournal(disk.afterCrash('nothing', this.#chance), DIR)
    const last = this.#model.hashes.at(-1)
    must(
      report.ok && report.lastH === last,
      `the chain verifies to the last record: ${report.damage?.message}`,
    )
  }

  /** In a new process, which holds nothing back because it was stored of late. */
  async #pruneAtLast(): Promise<void> {
    const hasKept = [...this.#model.missions.values()].some(({ kept }) => kept.length > 0)
    if (!hasKept) return
    await this.#crash('kill', false, true)
    this.#life.flow()
    this.#upkeep(0)
    await this.#rest()
  }

  /** A clock that was set back by a day keeps us waiting for a day, so it is set right. */
  async #mendClock(): Promise<void> {
    const { clock } = this.#life
    const late = [...this.#model.missions.values()].filter(({ status, latestMs }) => {
      return status === 'queued' && latestMs > clock.elapsed() + 60_000
    })
    if (late.length === 0) return
    const latestMs = Math.max(
      ...late.map(({ notBeforeMs, sinceWallMs }) => Math.max(notBeforeMs, sinceWallMs)),
    )
    clock.jump(Math.max(0, latestMs - clock.now()))
    await this.#crash('kill', false, true)
  }
}

interface WantedHere {
  readonly body: MissionCreate
  readonly key: string | undefined
  /** The body as it was sent. */
  readonly text: string
}

const ANNA: Authority = {
  principal: { kind: 'token', name: 'anna', roles: ['submitter'], permissions: [] },
  operatorKey: false,
}
const OPERATOR: Authority = {
  principal: { kind: 'key', name: 'operator', roles: ['admin'], permissions: [] },
  operatorKey: true,
  keyId: 'k1',
}

const ALL_WISHES = [
  'run',
  'run and wait',
  'run with key',
  'override',
  'resume retry',
  'resume skip',
  'approve',
  'reject',
  'cancel',
  'order again',
] as const
type Wish = (typeof ALL_WISHES)[number]
const WISHES: Readonly<Partial<Record<string, readonly Wish[]>>> = {
  awaiting_approval: ['approve', 'approve', 'run with key', 'reject', 'cancel', 'run'],
  suggestion: ['override', 'override', 'cancel', 'run with key'],
  queued: ['cancel', 'run and wait', 'approve'],
  running: ['cancel', 'run and wait', 'run'],
  interrupted: ['resume retry', 'resume skip', 'cancel', 'run with key'],
  failed: ['order again', 'run'],
  expired: ['order again', 'approve'],
}
