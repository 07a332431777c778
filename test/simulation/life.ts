import { isDeepStrictEqual } from 'node:util'
import type { Fact } from '../../daemon/contracts/fact.ts'
import type { Validation } from '../../daemon/contracts/mission.ts'
import { historyRoom } from '../../daemon/history-room.ts'
import { seededChance } from '../../daemon/kit/chance.ts'
import { Memory } from '../../daemon/memory.ts'
import { Missions } from '../../daemon/missions/missions.ts'
import type { MissionPorts, Question } from '../../daemon/missions/port.ts'
import { dataPaths } from '../../daemon/storage/data-folder.ts'
import type { RecordLog } from '../../daemon/storage/record-log.ts'
import type { MemoryDisk } from '../support/memory-disk.ts'
import { type Model, type Moment, must, Violation } from './model.ts'
import { Modules } from './modules.ts'
import { SimClock } from './sim-clock.ts'

export const DIR = '/data'

/** What stays the same from one life to the next. */
export interface Setting {
  readonly model: Model
  readonly segmentBytesMax: number
  readonly snapshotEvery: number
  readonly concurrency: number
  readonly approvalDays: number
  /** So many bytes of the journal are kept at least, when it is compacted. */
  readonly keepBytes: number
}

/** What the modules are thought of at the moment. */
export interface Mood {
  isUneasy: boolean
}

interface Parked {
  readonly what: string
  readonly path: string
  go(): void
}

/** One process of the daemon: the real missions over the real journal, on a disk that the scheduler drives. */
export class Life {
  readonly setting: Setting
  readonly clock: SimClock
  readonly disk: MemoryDisk
  readonly modules: Modules
  readonly mood: Mood
  /** Changes of the disk that were asked for and have not happened. */
  readonly parked: Parked[] = []
  missions: Missions | undefined
  memory: Memory | undefined
  /** Called when it takes orders: those who tried all the while come at once. */
  onUp: () => void = () => {}
  isUp = false
  /** It has taken up the work. */
  isAtWork = false
  isBroken = false
  wasFull = false
  isStopping = false
  /** Whether the disk does what it is asked by itself. */
  #isFlowing = true
  failure: unknown
  /** Since when there was room again, on this life's clock. */
  roomSinceMs = Number.NEGATIVE_INFINITY

  constructor(disk: MemoryDisk, wallMs: number, setting: Setting, mood: Mood) {
    this.disk = disk
    this.setting = setting
    this.mood = mood
    this.clock = new SimClock(wallMs)
    this.modules = new Modules(setting.model, this.clock, (violation) => {
      this.failure ??= violation
    })
    disk.gate = ({ op, path }) => {
      if (this.#isFlowing) return undefined
      return new Promise((go) => this.parked.push({ what: op, path, go }))
    }
  }

  /** As a daemon starts: remembers, listens, writes that it is there, and takes up the work. */
  start(): void {
    this.#start().catch((error: unknown) => {
      this.failure ??= error
    })
  }

  flow(): void {
    this.#isFlowing = true
    for (const { go } of this.parked.splice(0)) go()
  }

  halt(): void {
    this.#isFlowing = false
  }

  get isFlowing(): boolean {
    return this.#isFlowing
  }

  #records: RecordLog | undefined
  readonly #told: Fact[] = []

  async #start(): Promise<void> {
    const { model, segmentBytesMax, snapshotEvery } = this.setting
    const missions = new Missions(this.#ports())
    const replayed: Fact[] = []
    const memory = await Memory.open({
      disk: this.disk,
      clock: this.clock,
      paths: dataPaths(DIR),
      segmentBytesMax,
      snapshotEvery,
      projections: {
        model: {
          // What is replayed is seen by nobody until the daemon is up.
          fold: (fact: Fact) => {
            if (this.isUp) {
              this.#told.push(fact)
              model.take(fact, this.#moment)
            } else replayed.push(fact)
          },
          save: () => ({}),
          load: () => true,
        },
      },
      snapshotBytes: Number.MAX_SAFE_INTEGER,
      retention: { keepMs: Number.MAX_SAFE_INTEGER, keepBytes: this.setting.keepBytes, archive: false },
      history: historyRoom(missions, { keep_days: 36_500, keep_max: model.keepMax }),
      recordsOpened: (records) => {
        this.#records = records
      },
      runes: () => ({}),
      announced: () => undefined,
      batched: () => undefined,
      warn: () => undefined,
      onBug: (error) => {
        this.failure ??= error
      },
    })
    memory.onFailed((error) => {
      if (!this.isBroken)
        this.failure ??= new Violation(`only a failed sync breaks the journal: ${error.message}`)
      this.isBroken = true
    })
    must(
      memory.head >= model.hashes.length,
      `${model.hashes.length} records were seen, ${memory.head} are there`,
    )
    for (const fact of replayed) model.take(fact, { elapsedMs: model.endedAtMs, wallMs: this.clock.now() })
    await this.checkKept(memory)
    this.memory = memory
    this.missions = missions
    this.isUp = true
    model.lifeBegan(this.clock.elapsed(), this.clock.now())
    this.onUp()
    await memory.append({ type: 'daemon.started', actor: { kind: 'daemon', name: 'nexusd' }, d: {} })
    await missions.recover()
    model.lifeBegan(this.clock.elapsed(), this.clock.now(), true)
    this.isAtWork = true
  }

  /** What records name by its hash is there. */
  async checkKept(memory: Memory): Promise<void> {
    for (const { id, kept } of this.setting.model.missions.values()) {
      for (const sha256 of kept) {
        const bytes = await memory.artifacts.get(sha256)
        must(bytes !== undefined, `what a step of ${id} gave is kept as ${sha256.slice(0, 8)}`)
      }
    }
  }

  /** What listeners were told in this life is what its journal says, field by field. */
  checkTold(): void {
    const { disk } = this
    const told = new Map(this.#told.map((fact) => [fact.seq, fact]))
    for (const path of disk.paths()) {
      if (!path.endsWith('.jsonl') || path.includes('/missions')) continue
      for (const line of disk.contents(path).toString().split('\n')) {
        const seq = Number(SEQ.exec(line)?.[1])
        const fact = told.get(seq)
        // What follows the last that was told may be torn.
        if (fact === undefined || !line.endsWith('}')) continue
        told.delete(seq)
        must(
          isDeepStrictEqual(JSON.parse(line), fact),
          `listeners of record ${seq}, ${fact.type}, were told what it says`,
        )
      }
    }
    const [lost] = told.keys()
    must(lost === undefined || this.setting.keepBytes === 0, `record ${lost} is in the journal`)
  }

  get #moment(): Moment {
    return { elapsedMs: this.clock.elapsed(), wallMs: this.clock.now() }
  }

  #ports(): MissionPorts {
    const { concurrency, approvalDays } = this.setting
    const lanes = { coin: concurrency, forge: concurrency, library: concurrency, sanctuary: concurrency }
    const memory = (): Memory => {
      must(this.memory !== undefined, 'nothing is written before the journal is open')
      return this.memory
    }
    const records = (): RecordLog => {
      must(this.#records !== undefined, 'nothing is folded before the records are open')
      return this.#records
    }
    return {
      recorder: {
        append: (draft) => memory().append(draft),
        appendAll: (drafts) => memory().appendAll(drafts),
      },
      calls: this.modules,
      judge: {
        judge: (question) => this.#judge(question),
        readGoal: (goal) => ({ fingerprint: goal, tokens: [goal] }),
        planShape: () => 'shape',
      },
      runes: { best: () => undefined },
      successEstimate: () => 0.5,
      blobs: {
        put: (bytes) => memory().artifacts.put(bytes),
        get: async () => undefined,
      },
      records: {
        append: (line) => records().append(line),
        read: (places) => records().read(places),
        trouble: (error) => {
          this.failure ??= error
        },
      },
      freeBytes: async () => Number.MAX_SAFE_INTEGER,
      clock: this.clock,
      chance: seededChance(this.setting.model.hashes.length),
      log: () => undefined,
      settings: { ...ROOMY, concurrency, lanes, approval_days: approvalDays },
    }
  }

  /** The first word of a goal says how it is judged, unless the mood is bad. */
  #judge({ goal }: Question): Validation {
    const kind = goal.split(' ')[0]
    const decision =
      kind === 'failing' ? 'FAILING' : kind === 'border' || this.mood.isUneasy ? 'BORDERLINE' : 'SAFE'
    const score = { SAFE: 74, BORDERLINE: 48, FAILING: 12 }[decision]
    const common = {
      axes: {},
      gates: [],
      reasons: [],
      counterfactual: null,
      predicted: 0.8,
      scorer_version: 1,
    }
    return { decision, score, ...common }
  }
}

const SEQ = /^\{"v":1,"seq":(\d+),/
/** Limits that a schedule does not reach. */
const ROOMY = { queue_max: 100, lane_queue_max: 100, module_queue_max: 100, free_space_mb: 0 } as const
