import { NexusError } from '../contracts/failure.ts'
import type { ConfigChange, ConfigureAnswer, HealthAnswer } from '../contracts/module.ts'
import { type InitializeAnswer, RPC_CODES } from '../contracts/wire.ts'
import type { Clock } from '../kit/clock.ts'
import { Stall } from './autopsy-stall.ts'
import { thrownOf } from './calls.ts'
import { Ears } from './ears.ts'
import { Figures } from './figures.ts'
import { readInitializeAnswer } from './heard.ts'
import type { PulseLimits } from './heartbeat.ts'
import { departureOf, type HostProcess } from './host-process.ts'
import { introductionOf } from './introduction.ts'
import { withLastWords } from './last-words.ts'
import type {
  CallAnswer,
  CallOrder,
  Departure,
  Instance,
  InstanceStats,
  Isolation,
  SpawnOrder,
} from './port.ts'
import { RpcBroken, RpcFailure } from './rpc.ts'
import { explainStart, startFailure } from './start-failure.ts'
import { Talk } from './talk.ts'
import type { Patient, PulseWatch } from './watch.ts'

/** A generation that runs in a host process of its own. */
export class ProcessInstance implements Instance, Patient {
  readonly gone: Promise<Departure>
  readonly limits: PulseLimits
  readonly #host: HostProcess
  readonly #order: SpawnOrder
  readonly #clock: Clock
  readonly #bornMs: number
  readonly #stall: Stall
  readonly #talk: Talk
  readonly #figures: Figures
  #answer: InitializeAnswer = { actions: [], has: { health: false, configure: false, snapshot: false } }
  /** Why it goes, when the daemon wants it gone; the first reason counts. */
  #because: Departure | undefined
  #halting: Promise<void> | undefined
  #lastWords: string | undefined

  private constructor(host: HostProcess, order: SpawnOrder, clock: Clock, watch: PulseWatch) {
    this.#host = host
    this.#order = order
    this.#clock = clock
    this.#bornMs = clock.elapsed()
    this.#talk = new Talk({
      moduleId: order.moduleId,
      peer: host.peer,
      clock,
      asked: () => watch.asked(this),
    })
    this.#figures = new Figures(clock)
    this.#stall = new Stall({
      host,
      clock,
      dir: order.dir,
      actions: () => [...this.#talk.calls.values()].map(({ action }) => action),
      log: (line) => order.listener.log(line),
    })
    this.limits = {
      suspectMs: order.limits.heartbeat_suspect_ms,
      killMs: order.limits.heartbeat_kill_ms,
    }
    this.gone = host.ended.then(
      (ending) => this.#because ?? withLastWords(departureOf(ending), this.#lastWords, order.dir),
    )
    const ears = new Ears({
      order,
      calls: this.#talk.calls,
      log: (line) => host.log(line),
      beat: (heartbeat) => {
        this.#figures.take(heartbeat, { calls: this.#talk.sent, inFlight: this.#talk.inFlight })
        watch.heard(this, heartbeat?.rests_ms)
      },
      lastWords: (stack) => {
        this.#lastWords = stack
      },
    })
    host.adopt(
      {
        request: (method, params) => ears.request(method, params),
        notice: (method, params, bytes) => ears.notice(method, params, bytes),
        violation: (reason) => this.#violate(reason),
        output: (line) => order.listener.log(line),
      },
      order.limits.log_lines_per_s,
    )
  }

  /**
   * Makes a host that has said hello the instance of `order`.
   *
   * @throws NexusError `MODULE_START_FAILED`; the host is gone then.
   */
  static async settle(
    host: HostProcess,
    order: SpawnOrder,
    clock: Clock,
    watch: PulseWatch,
  ): Promise<ProcessInstance> {
    const instance = new ProcessInstance(host, order, clock, watch)
    await instance.#import()
    const discharge = watch.admit(instance)
    void instance.gone.then(discharge)
    return instance
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

  get actions(): readonly string[] {
    return this.#answer.actions
  }

  get has(): Instance['has'] {
    return this.#answer.has
  }

  get stats(): InstanceStats {
    const { newest: heartbeat, cpuPercent, restless } = this.#figures
    return { heartbeat, cpuPercent, restless, calls: this.#talk.sent, inFlight: this.#talk.inFlight }
  }

  /** Import and start share the one deadline of the manifest. */
  async start(): Promise<void> {
    const order = this.#order
    const leftMs = Math.max(1, order.timeouts.start_ms - (this.#clock.elapsed() - this.#bornMs))
    try {
      await this.#talk.request('start', {}, leftMs)
    } catch (error) {
      const departure = error instanceof RpcBroken && error.how === 'closed' ? await this.gone : undefined
      const { report } = this.#host
      const evidence = { order, error, departure, lastWords: this.#lastWords, report }
      throw explainStart({ ...evidence, phase: 'start', finding: this.#stall.finding })
    }
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
    this.#halting ??= this.#halt(stopMs)
    return this.#halting
  }

  kill(because: string): void {
    this.#end({ how: 'killed', because })
  }

  suspect(missingMs: number): void {
    this.#order.listener.suspect(missingMs)
    this.#stall.begin(missingMs)
  }

  recovered(): void {
    this.#order.listener.recovered()
    this.#stall.forgive()
  }

  hung(missingMs: number): void {
    this.#end(this.#stall.end(missingMs))
  }

  async #import(): Promise<void> {
    const order = this.#order
    try {
      const said = await this.#talk.request('initialize', introductionOf(order), order.timeouts.start_ms)
      const answer = readInitializeAnswer(said)
      if (answer === undefined) throw startFailure(order.moduleId, 'import', 'the host gave no proper answer')
      this.#answer = answer
    } catch (error) {
      // A host whose module cannot be loaded ends by itself, after a report that says where the fault is.
      const isLate = error instanceof RpcBroken && error.how === 'expired'
      const finding = isLate ? await this.#stall.look(LOOK_MS) : undefined
      const reports = error instanceof RpcFailure && error.code === RPC_CODES.unloadable
      if (!reports || !(await this.#goneWithin(PATIENCE_MS))) this.#host.signal('SIGKILL')
      const departure = await this.gone
      if (error instanceof NexusError) throw error
      const { report } = this.#host
      const evidence = { order, error, departure, lastWords: this.#lastWords, report }
      throw explainStart({ ...evidence, phase: 'import', finding })
    }
  }

  /** Ask, wait, TERM, wait, KILL, and still wait for the exit. */
  async #halt(stopMs: number): Promise<void> {
    if (this.#host.alive) this.#because ??= { how: 'halted' }
    if (await this.#stop(stopMs)) {
      this.#host.peer.end()
      if (await this.#goneWithin(PATIENCE_MS)) return
    }
    this.#host.signal('SIGTERM')
    if (await this.#goneWithin(PATIENCE_MS)) return
    this.#host.signal('SIGKILL')
    await this.gone
  }

  /** @returns Whether the module is done with stopping, be it that its `stop` threw. */
  async #stop(stopMs: number): Promise<boolean> {
    try {
      await this.#talk.request('stop', {}, stopMs)
      return true
    } catch (error) {
      if (!(error instanceof RpcFailure)) return false
      const { stack } = thrownOf(error)
      this.#host.log({ level: 'error', message: `stop threw: ${error.message}`, fields: { stack } })
      return true
    }
  }

  async #goneWithin(waitMs: number): Promise<boolean> {
    return await new Promise((resolve) => {
      const timer = this.#clock.after(waitMs, () => resolve(false))
      void this.gone.then(() => {
        timer.cancel()
        resolve(true)
      })
    })
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

/** Between TERM and KILL, and after an orderly stop. */
const PATIENCE_MS = 500
/** A stack is there in a tenth of a second, on an idle machine. */
const LOOK_MS = 2_000
