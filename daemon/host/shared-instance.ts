import { NexusError } from '../contracts/failure.ts'
import type { ConfigChange, ConfigureAnswer, HealthAnswer } from '../contracts/module.ts'
import type { InitializeAnswer, LogParams } from '../contracts/wire.ts'
import type { Clock } from '../kit/clock.ts'
import { thrownOf } from './calls.ts'
import { Ears } from './ears.ts'
import type { Asked } from './figures.ts'
import { readInitializeAnswer } from './heard.ts'
import { introductionOf } from './introduction.ts'
import { withLastWords } from './last-words.ts'
import { OutputGate, type OutputLine } from './output.ts'
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
import type { SharedHost } from './shared-host.ts'
import type { Suspect } from './shared-stall.ts'
import { explainStart, startFailure } from './start-failure.ts'
import { Talk } from './talk.ts'

/** One of several instances in a host. */
export class SharedInstance implements Instance, Suspect {
  readonly gone: Promise<Departure>
  readonly seat: number
  readonly ears: Ears
  readonly order: SpawnOrder
  readonly #host: SharedHost
  readonly #clock: Clock
  readonly #talk: Talk
  readonly #lines: OutputGate
  readonly #bornMs: number
  #answer: InitializeAnswer = { actions: [], has: { health: false, configure: false, snapshot: false } }
  #asked = 0
  #leave: (departure: Departure) => void = () => {}
  #isGone = false
  #isStarting = false
  /** It was asked to go; with what it then departs, whatever happens on the way. */
  #leaving: Promise<void> | undefined
  #wanted: Departure | undefined
  #lastWords: string | undefined

  constructor(host: SharedHost, order: SpawnOrder, seat: number, clock: Clock) {
    this.order = order
    this.seat = seat
    this.#host = host
    this.#clock = clock
    this.#bornMs = clock.elapsed()
    const { moduleId, instance, listener, limits } = order
    this.#talk = new Talk({
      ...{ moduleId, instance, clock },
      peer: host.process.peer,
      asked: () => host.asked(),
    })
    this.#lines = new OutputGate(clock, limits.log_lines_per_s, (line) => listener.log(line))
    this.gone = new Promise((resolve) => {
      this.#leave = resolve
    })
    this.ears = new Ears({
      order,
      calls: this.#talk.calls,
      log: (line) => this.log(line),
      beat: () => {}, // the host's own, heard there
      lastWords: (stack) => {
        this.#lastWords = stack
      },
    })
  }

  get id(): string {
    return this.order.instance
  }
  get generation(): string {
    return this.order.generation
  }
  get dir(): string {
    return this.order.dir
  }
  get pid(): number {
    return this.#host.process.pid ?? 0
  }
  get isolation(): Isolation {
    return this.#host.process.isolation
  }
  get actions(): readonly string[] {
    return this.#answer.actions
  }
  get has(): Instance['has'] {
    return this.#answer.has
  }
  get stats(): InstanceStats {
    return { ...this.#host.shareOf(), ...this.asked }
  }
  /** What it was asked for, of all that its host was. */
  get asked(): Asked {
    return { calls: this.#talk.sent, inFlight: this.#talk.inFlight }
  }
  get doing(): string | undefined {
    const [call] = this.#talk.calls.values()
    return call === undefined ? undefined : `the action ${call.action}`
  }

  log(line: OutputLine | LogParams): void {
    this.#lines.pass(line)
  }

  /** Imports the entry. @throws NexusError `MODULE_START_FAILED`; it is gone then, and its host lives on. */
  async settle(): Promise<void> {
    const { order } = this
    try {
      const introduction = { ...introductionOf(order), seat: this.seat }
      const said = await this.#talk.request('initialize', introduction, this.#leftMs())
      const answer = readInitializeAnswer(said)
      if (answer === undefined) throw startFailure(order.moduleId, 'import', 'the host gave no proper answer')
      this.#answer = answer
    } catch (error) {
      // One that threw is no more; of one that does not end nobody knows what it does.
      if (error instanceof RpcFailure) this.#go({ how: 'killed', because: error.message })
      else if (!isClosed(error)) this.#host.condemn({ who: this, reason: 'its import did not end' })
      await this.gone
      throw error instanceof NexusError ? error : await this.#explain('import', error)
    }
  }

  /** Import and start share the one deadline of the manifest. */
  async start(): Promise<void> {
    this.#isStarting = true
    try {
      await this.#talk.request('start', {}, this.#leftMs())
      this.#isStarting = false
    } catch (error) {
      // One that threw has ended; of one that was not done in time nobody knows what it does.
      this.#isStarting = !(error instanceof RpcFailure)
      throw await this.#explain('start', error)
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

  /** The host goes on without it, unless its `stop` does not end: then the host ends. */
  halt(stopMs: number): Promise<void> {
    this.#leaving ??= this.#part(stopMs, { how: 'halted' })
    return this.#leaving
  }

  /**
   * One that is not at work is asked to go. Whatever else one does must end for sure, and only the end of its host
   * makes sure of it.
   */
  kill(because: string): void {
    if (this.#isGone) return
    const departure: Departure = { how: 'killed', because }
    const isAtWork = this.#talk.inFlight + this.#talk.stuck > 0 || this.#isStarting
    if (isAtWork || this.#leaving !== undefined) this.#host.condemn({ who: this, reason: because, departure })
    else this.#leaving = this.#part(this.order.timeouts.stop_ms, departure)
  }

  /** What it asks of the daemon. @throws RpcFailure, which is the answer. */
  async request(method: string, params: unknown): Promise<unknown> {
    if (this.#asked >= ASKED_MAX) {
      this.#host.violate(this, `more than ${ASKED_MAX} open requests`)
      throw new RpcFailure(-32600, 'too many open requests')
    }
    this.#asked += 1
    try {
      return await this.ears.request(method, params)
    } finally {
      this.#asked -= 1
    }
  }

  /** It is no more. Called by its host alone; what it departs with is its own, when it was to go. */
  end(departure?: Departure): void {
    if (this.#isGone) return
    this.#isGone = true
    this.#talk.close()
    this.#lines.close()
    const own = departure && withLastWords(departure, this.#lastWords, this.dir)
    this.#leave(this.#wanted ?? own ?? { how: 'halted' })
  }

  async #part(stopMs: number, departure: Departure): Promise<void> {
    if (this.#isGone) return
    this.#wanted = departure
    try {
      await this.#talk.request('stop', {}, stopMs)
      this.#go(departure)
    } catch (error) {
      if (error instanceof RpcFailure) this.#goAfter(error, departure)
      else if (!isClosed(error))
        this.#host.condemn({ who: this, reason: `its stop was not done after ${stopMs} ms`, departure })
    }
    await this.gone
  }

  #goAfter(thrown: RpcFailure, departure: Departure): void {
    const { stack } = thrownOf(thrown)
    this.log({ level: 'error', message: `stop threw: ${thrown.message}`, fields: { stack } })
    this.#go(departure)
  }

  #go(departure: Departure): void {
    this.#wanted = departure
    this.#host.leave(this)
  }

  async #explain(phase: 'import' | 'start', error: unknown): Promise<NexusError> {
    const departure = isClosed(error) ? await this.gone : undefined
    const { report } = this.#host.process
    return explainStart({ order: this.order, phase, error, departure, lastWords: this.#lastWords, report })
  }

  #leftMs(): number {
    return Math.max(1, this.order.timeouts.start_ms - (this.#clock.elapsed() - this.#bornMs))
  }
}

/** Its host has ended, or is about to: why, that will tell. */
function isClosed(error: unknown): boolean {
  return error instanceof RpcBroken && error.how === 'closed'
}

/** What a host may ask at the same time: the runner asks 16 for each, and each may carry a megabyte. */
const ASKED_MAX = 64
