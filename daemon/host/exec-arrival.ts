import { join } from 'node:path'
import { NexusError } from '../contracts/failure.ts'
import { RPC_CODES } from '../contracts/wire.ts'
import type { Clock } from '../kit/clock.ts'
import { withDeadline } from '../kit/deadline.ts'
import { untilAccepting } from './exec-sockets.ts'
import type { ExecTalk } from './exec-talk.ts'
import { readInitializeAnswer } from './heard.ts'
import type { HostProcess } from './host-process.ts'
import { introductionOf } from './introduction.ts'
import type { Departure, SpawnOrder } from './port.ts'
import { RpcBroken, RpcFailure } from './rpc.ts'
import { explainStart, startFailure } from './start-failure.ts'

/** The program that comes up. */
export interface Newcomer {
  readonly host: HostProcess
  readonly order: SpawnOrder
  readonly clock: Clock
  readonly talk: ExecTalk
  readonly gone: Promise<Departure>
  /** Stack of the error that ended it, if it told. */
  readonly lastWords: string | undefined
  kill(because: string): void
}

/**
 * How a program comes up. It is asked to introduce itself as soon as it runs: one that answers speaks, and is asked to
 * start, whenever that is. Until then it counts as silent.
 */
export class ExecArrival {
  readonly #who: Newcomer
  readonly #bornMs: number
  /** Resolves when it has introduced itself: never, for a silent one. */
  readonly #introduced: Promise<void>
  #later: Promise<void> | undefined

  constructor(who: Newcomer) {
    this.#who = who
    this.#bornMs = who.clock.elapsed()
    this.#introduced = this.#introduce()
    this.#introduced.catch(() => {}) // whoever waits for it hears; nobody waits for a silent program
  }

  get ageMs(): number {
    return this.#who.clock.elapsed() - this.#bornMs
  }

  /** Waits for its introduction. @throws NexusError `MODULE_START_FAILED`; it is gone then. */
  async meet(): Promise<void> {
    const { host, order, clock, gone } = this.#who
    const { start_ms: startMs } = order.timeouts
    try {
      await withDeadline(clock, startMs, this.#introduced, () => new RpcBroken('expired'))
    } catch (error) {
      host.signal('SIGKILL')
      const departure = await gone
      if (!(error instanceof RpcBroken && error.how === 'expired')) {
        throw this.#explain('import', error, departure)
      }
      const reason = `it did not answer \`initialize\` on descriptor 3 within ${startMs} ms; one with actions must`
      throw startFailure(order.moduleId, 'deadline', reason, { stack: host.report }, error)
    }
  }

  /**
   * One that speaks answers `start`. A silent one has started when it runs, or, where it has ports, when each of their
   * sockets accepts connections; should it speak later, it is asked to start then.
   *
   * @throws NexusError `MODULE_START_FAILED`.
   */
  async start(): Promise<void> {
    const { talk, order } = this.#who
    const leftMs = Math.max(1, order.timeouts.start_ms - this.ageMs)
    if (talk.answer === undefined) await this.#awaitSign(leftMs)
    if (talk.answer === undefined) this.#later ??= this.#startLater()
    else await this.#ask(leftMs)
  }

  async #introduce(): Promise<void> {
    const { host, order, talk } = this.#who
    // Without a deadline: a silent program leaves the question in its pipe for as long as it lives.
    const said = await host.peer.ask('initialize', introductionOf(order)).answer
    const answer = readInitializeAnswer(said)
    if (answer === undefined) {
      throw new RpcFailure(RPC_CODES.unloadable, 'its answer to `initialize` has a wrong shape')
    }
    talk.answer = answer
  }

  /** Waits until it has introduced itself or accepts connections, whichever is first. */
  async #awaitSign(leftMs: number): Promise<void> {
    const { order, clock } = this.#who
    const closed = new Map(Object.entries(order.listen))
    if (closed.size === 0) return
    const life = new AbortController()
    const open = [...closed].map(async ([name, path]) => {
      await untilAccepting(path, clock, life.signal)
      closed.delete(name)
    })
    try {
      await withDeadline(clock, leftMs, Promise.race([this.#introduced, Promise.all(open)]), () => {
        const names = [...closed.keys()].join(', ')
        const reason = `nothing accepted connections on ${names} within ${order.timeouts.start_ms} ms`
        return startFailure(order.moduleId, 'deadline', reason)
      })
    } catch (error) {
      throw await this.#whyNot('import', error)
    } finally {
      life.abort()
    }
  }

  async #ask(waitMs: number): Promise<void> {
    try {
      await this.#who.host.peer.request('start', {}, waitMs)
    } catch (error) {
      throw await this.#whyNot('start', error)
    }
  }

  /** Never rejects: one whose start fails after it counted as started ends as a crash. */
  async #startLater(): Promise<void> {
    try {
      await this.#introduced
      await this.#ask(this.#who.order.timeouts.start_ms)
    } catch (error) {
      this.#who.kill(error instanceof Error ? error.message : String(error))
    }
  }

  async #whyNot(phase: 'import' | 'start', error: unknown): Promise<Error> {
    if (error instanceof NexusError) return error
    // A pipe that closed is an exit that is about to be reported.
    const departure = error instanceof RpcBroken && error.how === 'closed' ? await this.#who.gone : undefined
    return this.#explain(phase, error, departure)
  }

  #explain(phase: 'import' | 'start', error: unknown, departure: Departure | undefined): NexusError {
    const { host, lastWords } = this.#who
    const { dir, command, moduleId, timeouts } = this.#who.order
    const order = { moduleId, timeouts, entry: join(dir, command[0] ?? '') }
    return explainStart({ order, phase, error, departure, lastWords, report: host.report })
  }
}
