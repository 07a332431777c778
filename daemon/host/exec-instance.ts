import { NexusError } from '../contracts/failure.ts'
import type { ConfigChange, ConfigureAnswer, HealthAnswer } from '../contracts/module.ts'
import type { HeartbeatParams } from '../contracts/wire.ts'
import type { Clock } from '../kit/clock.ts'
import { Ears } from './ears.ts'
import { ExecArrival } from './exec-arrival.ts'
import { endProgram } from './exec-farewell.ts'
import { ExecReport } from './exec-report.ts'
import { ExecTalk } from './exec-talk.ts'
import { Figures } from './figures.ts'
import type { PulseLimits } from './heartbeat.ts'
import { departureOf, type HostProcess } from './host-process.ts'
import type {
  CallAnswer,
  CallOrder,
  Departure,
  Instance,
  InstanceStats,
  Isolation,
  SpawnOrder,
} from './port.ts'
import { readProcess } from './process-table.ts'
import type { Patient, PulseWatch } from './watch.ts'

/** Any program, as an instance: one that speaks as every instance does, or one known by its exit and sockets alone. */
export class ExecInstance implements Instance, Patient {
  readonly gone: Promise<Departure>
  readonly limits: PulseLimits
  readonly #host: HostProcess
  readonly #order: SpawnOrder
  readonly #clock: Clock
  readonly #watch: PulseWatch
  readonly #talk: ExecTalk
  readonly #figures: Figures
  readonly #report: ExecReport
  readonly #arrival: ExecArrival
  #isWatched = false
  /** Why it goes, when the daemon wants it gone; the first reason counts. */
  #because: Departure | undefined
  #halting: Promise<void> | undefined
  #lastWords: string | undefined

  constructor(host: HostProcess, order: SpawnOrder, clock: Clock, watch: PulseWatch) {
    this.#host = host
    this.#order = order
    this.#clock = clock
    this.#watch = watch
    const { limits } = order
    this.limits = { suspectMs: limits.heartbeat_suspect_ms, killMs: limits.heartbeat_kill_ms }
    this.#report = new ExecReport(order.dir, clock)
    this.gone = host.ended.then((ending) => this.#because ?? this.#report.explain(departureOf(ending)))
    this.#talk = new ExecTalk({
      moduleId: order.moduleId,
      peer: host.peer,
      clock,
      asked: () => watch.asked(this),
    })
    this.#figures = new Figures(clock)
    this.#listen()
    const { gone } = this
    const lastWords = (): string | undefined => this.#lastWords
    this.#arrival = new ExecArrival({
      ...{ host, order, clock, gone, talk: this.#talk },
      get lastWords() {
        return lastWords()
      },
      kill: (because) => this.kill(because),
    })
  }

  get id(): string {
    return this.#order.instance
  }
  get generation(): string {
    return this.#order.generation
  }
  get pid(): number {
    return this.#host.pid ?? 0
  }
  get isolation(): Isolation {
    return this.#host.isolation
  }
  get stats(): InstanceStats {
    const { cpuPercent, restless } = this.#figures
    return {
      heartbeat: this.#seen,
      cpuPercent,
      restless,
      calls: this.#talk.sent,
      inFlight: this.#talk.inFlight,
    }
  }
  get actions(): readonly string[] {
    return this.#talk.answer?.actions ?? []
  }
  /** A young one may yet introduce itself: its health is asked for meanwhile, so that nobody has to be told of it. */
  get has(): Instance['has'] {
    const isYoung = this.#arrival.ageMs < YOUNG_MS
    return this.#talk.answer?.has ?? { health: isYoung, configure: false, snapshot: false }
  }

  /** Waits for its introduction. @throws NexusError `MODULE_START_FAILED`; it is gone then. */
  meet(): Promise<void> {
    return this.#arrival.meet()
  }

  start(): Promise<void> {
    return this.#arrival.start()
  }

  call(order: CallOrder): Promise<CallAnswer> {
    return this.#talk.call(order)
  }

  health(timeoutMs: number): Promise<HealthAnswer> {
    return this.#talk.health(timeoutMs)
  }

  configure(change: ConfigChange, timeoutMs: number): Promise<ConfigureAnswer> {
    return this.#talk.configure(change, timeoutMs)
  }

  snapshot(timeoutMs: number): Promise<unknown> {
    return this.#talk.snapshot(timeoutMs)
  }

  halt(stopMs: number): Promise<void> {
    if (this.#host.alive) this.#because ??= { how: 'halted' }
    this.#halting ??= endProgram(this.#host, this.#talk.answer !== undefined, stopMs, this.#clock)
    return this.#halting
  }

  kill(because: string): void {
    this.#end({ how: 'killed', because })
  }

  suspect(missingMs: number): void {
    this.#order.listener.suspect(missingMs)
  }

  recovered(): void {
    this.#order.listener.recovered()
  }

  hung(missingMs: number): void {
    this.#end({ how: 'hung', missingMs })
  }

  /** What it says of itself; of one that does not say how much memory it has, the system does. */
  get #seen(): HeartbeatParams {
    const { newest = { rss_bytes: 0, cpu_ms: 0, loop_lag_ms: 0, elu: 0 } } = this.#figures
    if (newest.rss_bytes > 0) return newest
    return { ...newest, rss_bytes: readProcess(this.#host.program ?? 0)?.residentBytes ?? 0 }
  }

  #listen(): void {
    const order = this.#order
    const ears = new Ears({
      order,
      calls: this.#talk.calls,
      log: (line) => this.#host.log(line),
      beat: (heartbeat) => {
        this.#figures.take(heartbeat, { calls: this.#talk.sent, inFlight: this.#talk.inFlight })
        this.#beat(heartbeat?.rests_ms)
      },
      lastWords: (stack) => {
        this.#lastWords = stack
      },
    })
    this.#host.adopt(
      {
        request: (method, params) => ears.request(method, params),
        notice: (method, params, bytes) => ears.notice(method, params, bytes),
        violation: (reason) => this.#violate(reason),
        output: (line) => {
          this.#report.hear(line)
          order.listener.log(line)
        },
        closed: () => this.#hungUp(),
      },
      order.limits.log_lines_per_s,
    )
  }

  /** Its heartbeats are watched from the first one on: nobody has to send any. */
  #beat(restsMs?: number): void {
    if (!this.#isWatched) {
      this.#isWatched = true
      const discharge = this.#watch.admit(this)
      void this.gone.then(discharge)
    }
    this.#watch.heard(this, restsMs)
  }

  /** A silent program may close what it does not need; one that speaks can be asked nothing any more. */
  #hungUp(): void {
    const speaks = this.#order.actions.length > 0 || this.#talk.answer !== undefined
    if (speaks) this.kill('it closed descriptor 3, so it can be asked nothing any more')
  }

  #violate(reason: string): void {
    const { message } = new NexusError('HOST_PROTOCOL', { module: this.#order.moduleId, reason })
    if (this.#because === undefined) this.#host.log({ level: 'error', message })
    this.kill(message)
  }

  #end(because: Departure): void {
    if (this.#host.alive) this.#because ??= because
    this.#host.signal('SIGKILL')
  }
}

/** The slowest of runtimes has loaded its libraries by then. */
const YOUNG_MS = 60_000
