import { pathToFileURL } from 'node:url'
import { NexusError } from '../contracts/failure.ts'
import type { Clock } from '../kit/clock.ts'
import { type Asked, Figures } from './figures.ts'
import { readHeartbeat, readLog } from './heard.ts'
import type { PulseLimits } from './heartbeat.ts'
import { departureOf, type Ending, type HostProcess } from './host-process.ts'
import type { OutputLine } from './output.ts'
import type { Departure, InstanceStats, SpawnOrder } from './port.ts'
import { SharedInstance } from './shared-instance.ts'
import type { HostView } from './shared-place.ts'
import { SharedStall } from './shared-stall.ts'
import type { Patient, PulseWatch } from './watch.ts'

export interface SharedHostParts {
  readonly process: HostProcess
  readonly clock: Clock
  readonly watch: PulseWatch
  readonly key: string
  readonly limits: PulseLimits
  readonly seatsMax: number
  readonly memoryBytesMax: number
  /** Nobody is let in beside the first. */
  readonly isAlone: boolean
  /** A line that none of its instances wrote, as far as is known. */
  overheard(line: OutputLine): void
}

/** Why a host is to end, and by whose fault, if by anybody's. */
interface Sentence {
  readonly who: SharedInstance | undefined
  readonly reason: string
  /** What they depart with; the others are displaced. */
  readonly departure?: Departure
}

/** How a host ended: nobody was left, or somebody was at fault, or it died and nobody knows why. */
export type Fate =
  | { readonly how: 'empty' | 'nobody' }
  /** The module that was at fault. */
  | { readonly how: 'culprit'; readonly module: string }

/** A process in which several instances live. They share its fate; whose fault that is can nearly always be told. */
export class SharedHost implements Patient, HostView {
  readonly process: HostProcess
  readonly limits: PulseLimits
  readonly key: string
  readonly seatsMax: number
  readonly seen = new Set<string>()
  readonly modules = new Set<string>()
  /** Resolves when the process is gone and each of its instances has been told why. */
  readonly ended: Promise<Fate>
  readonly #parts: SharedHostParts
  readonly #residents = new Map<string, SharedInstance>()
  readonly #stall: SharedStall<SharedInstance>
  readonly #figures: Figures
  readonly #queue: (() => void)[] = []
  #importing = 0
  #seatsGiven = 0
  #isWatched = false
  #isLeaving = false
  #sentence: Sentence | undefined
  /** Whoever said last words, or was the last to break a rule. */
  #accused: { readonly who: SharedInstance; readonly reason: string } | undefined

  constructor(parts: SharedHostParts) {
    const { process, clock, limits, key, seatsMax } = parts
    this.#parts = parts
    this.process = process
    this.limits = limits
    this.key = key
    this.seatsMax = seatsMax
    this.#figures = new Figures(clock)
    this.#stall = new SharedStall({ host: process, clock, suspects: () => [...this.#residents.values()] })
    this.ended = process.ended.then((ending) => this.#judge(ending))
    process.peer.widen()
    process.adopt(
      {
        request: (method, params) => this.#request(method, params),
        notice: (method, params, bytes) => this.#notice(method, params, bytes),
        violation: (reason) => this.#violation(reason),
        output: (line) => parts.overheard(line),
      },
      OUTPUT_LINES_MAX,
    )
  }

  // --- who seeks a place -------------------------------------------------------------------------------------

  get isOpen(): boolean {
    return !this.#isLeaving && !this.#parts.isAlone && this.#sentence === undefined && this.process.alive
  }
  get seats(): number {
    return this.#residents.size
  }
  get fullness(): number {
    return (this.#figures.newest?.rss_bytes ?? 0) / this.#parts.memoryBytesMax
  }

  /** Keeps a place: from now on it counts. */
  seat(order: SpawnOrder): SharedInstance {
    this.#seatsGiven += 1
    const resident = new SharedInstance(this, order, this.#seatsGiven, this.#parts.clock)
    this.#residents.set(resident.id, resident)
    this.seen.add(order.dir)
    this.modules.add(order.moduleId)
    return resident
  }

  /**
   * Imports the code of one that has a place. Only a few do so at the same time: the loop has to turn meanwhile.
   *
   * @throws NexusError `MODULE_START_FAILED`; it is gone then.
   */
  async settle(resident: SharedInstance): Promise<void> {
    this.#isWatched ||= this.#beginWatch()
    if (this.#importing >= IMPORTS_MAX) await new Promise<void>((next) => this.#queue.push(next))
    else this.#importing += 1
    try {
      await resident.settle()
    } finally {
      const next = this.#queue.shift()
      if (next === undefined) this.#importing -= 1
      else next()
    }
  }

  // --- what its instances do ---------------------------------------------------------------------------------

  /** What one of them uses, which nobody measures: its even share of what the process does. */
  shareOf(): Pick<InstanceStats, 'heartbeat' | 'cpuPercent' | 'restless'> {
    const { newest, cpuPercent, restless } = this.#figures
    const seats = Math.max(1, this.#residents.size)
    if (newest === undefined) return { heartbeat: undefined, cpuPercent: 0, restless: undefined }
    const heartbeat = { ...newest, rss_bytes: newest.rss_bytes / seats, cpu_ms: newest.cpu_ms / seats }
    return { heartbeat, cpuPercent: cpuPercent / seats, restless }
  }

  /** One has gone in good order. With the last the process goes, and only then it is gone. */
  leave(resident: SharedInstance): void {
    this.modules.delete(resident.order.moduleId)
    if (this.#residents.size > 1) {
      this.#residents.delete(resident.id)
      resident.end()
      return
    }
    this.#isLeaving = true
    this.process.peer.end()
    const patience = this.#parts.clock.after(PATIENCE_MS, () => this.process.signal('SIGKILL'))
    void this.process.ended.then(() => patience.cancel())
  }

  /** KILL at once. The first reason counts. */
  condemn(sentence: Sentence): void {
    if (this.process.alive) this.#sentence ??= sentence
    this.process.signal('SIGKILL')
  }

  /** One of them broke the protocol. */
  violate(who: SharedInstance | undefined, reason: string): void {
    const module = who?.order.moduleId ?? `the shared host ${this.process.pid}`
    const { message } = new NexusError('HOST_PROTOCOL', { module, reason })
    if (this.#sentence === undefined) (who ?? { log: this.#parts.overheard }).log({ level: 'error', message })
    this.condemn({ who, reason: message, departure: { how: 'killed', because: message } })
  }

  // --- its heartbeat -----------------------------------------------------------------------------------------

  suspect(missingMs: number): void {
    this.#stall.begin()
    for (const { order } of this.#residents.values()) order.listener.suspect(missingMs)
  }

  recovered(): void {
    this.#stall.forgive()
    for (const { order } of this.#residents.values()) order.listener.recovered()
  }

  hung(missingMs: number): void {
    const { who, departure } = this.#stall.end(missingMs)
    this.condemn({ who, departure, reason: `the event loop was blocked for ${Math.round(missingMs)} ms` })
  }

  /** Somebody is asked something. */
  asked(): void {
    this.#parts.watch.asked(this)
  }

  #beginWatch(): true {
    const discharge = this.#parts.watch.admit(this)
    void this.process.ended.then(discharge)
    return true
  }

  // --- what it says ------------------------------------------------------------------------------------------

  async #request(method: string, params: unknown): Promise<unknown> {
    const who = this.#speaker(params)
    if (who === undefined) throw new Error('whoever asked is gone')
    return await who.request(method, params)
  }

  #notice(method: string, params: unknown, bytes: number): string | undefined {
    if (method === 'heartbeat') return this.#beat(params)
    const who = this.#speaker(params)
    const line = method === 'log' ? readLog(params) : undefined
    if (isLastWords(line?.fields)) this.#accuse(who ?? this.#placed(line.fields.stack), line.message)
    // What was said by one that has left is nobody's, unless it is a log.
    if (who === undefined) {
      if (line !== undefined) this.#parts.overheard(line)
      return undefined
    }
    const fault = who.ears.notice(method, params, bytes)
    if (fault !== undefined) this.#accuse(who, fault)
    return fault
  }

  #beat(params: unknown): string | undefined {
    const heartbeat = params === undefined ? undefined : readHeartbeat(params)
    if (params !== undefined && heartbeat === undefined) return 'heartbeat of a wrong shape'
    this.#figures.take(heartbeat, this.#asked())
    this.#parts.watch.heard(this, heartbeat?.rests_ms)
    return undefined
  }

  #asked(): Asked {
    let [calls, inFlight] = [0, 0]
    for (const { asked } of this.#residents.values()) {
      calls += asked.calls
      inFlight += asked.inFlight
    }
    return { calls, inFlight }
  }

  #violation(reason: string): void {
    this.violate(this.#accused?.reason === reason ? this.#accused.who : undefined, reason)
  }

  #speaker(params: unknown): SharedInstance | undefined {
    const { instance } = (params ?? {}) as { instance?: unknown }
    return this.#residents.get(String(instance))
  }

  #accuse(who: SharedInstance | undefined, reason: string): void {
    if (who !== undefined) this.#accused ??= { who, reason }
  }

  /** Whose code a stack shows first, when nothing else told. */
  #placed(stack: unknown): SharedInstance | undefined {
    for (const line of String(stack).split('\n')) {
      for (const resident of this.#residents.values()) {
        const isThere = [pathToFileURL(resident.dir).href, resident.dir].some((dir) =>
          line.includes(`${dir}/`),
        )
        if (isThere) return resident
      }
    }
    return undefined
  }

  // --- its end -----------------------------------------------------------------------------------------------

  #judge(ending: Ending): Fate {
    const { who, reason } = this.#sentence ?? this.#accused ?? { who: undefined, reason: sentenceOf(ending) }
    for (const resident of this.#residents.values()) {
      const displaced: Departure = { how: 'displaced', culprit: who?.id, reason }
      resident.end(resident === who ? (this.#sentence?.departure ?? departureOf(ending)) : displaced)
    }
    this.#residents.clear()
    this.modules.clear()
    if (who !== undefined) return { how: 'culprit', module: who.order.moduleId }
    return { how: this.#isLeaving ? 'empty' : 'nobody' }
  }
}

function isLastWords(fields: object | undefined): fields is { stack: unknown } {
  return (fields as { uncaught?: unknown } | undefined)?.uncaught === true
}

function sentenceOf(ending: Ending): string {
  const { exitCode, signal, because } = ending
  return because ?? (signal === null ? `it exited with code ${exitCode}` : `it was ended by ${signal}`)
}

/** What several write beside `ctx.log` and `console` is rare: reports of Node itself. */
const OUTPUT_LINES_MAX = 200
/** An import reads files and compiles: more at a time are no faster, and the loop would hardly turn. */
const IMPORTS_MAX = 8
/** Between the end of its pipe and KILL. */
const PATIENCE_MS = 500
