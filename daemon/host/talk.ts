import { NexusError } from '../contracts/failure.ts'
import type { ConfigChange, ConfigureAnswer, HealthAnswer } from '../contracts/module.ts'
import { RPC_CODES } from '../contracts/wire.ts'
import type { Clock } from '../kit/clock.ts'
import { askModule, awaitCall, failedCall } from './calls.ts'
import { readHealth } from './heard.ts'
import type { CallAnswer, CallOrder } from './port.ts'
import { RpcBroken, RpcFailure, type RpcPeer } from './rpc.ts'

export interface TalkParts {
  readonly moduleId: string
  readonly peer: RpcPeer
  readonly clock: Clock
  /** Named in every request when others live in the same host. */
  readonly instance?: string
  /** Told of everything that is asked: whoever rested has something to do now. */
  asked(): void
}

/** What is asked of an instance while it runs, whoever else lives in its process. */
export class Talk {
  /** The calls that wait for an answer, by the id of their request. */
  readonly calls = new Map<number, CallOrder>()
  readonly #parts: TalkParts
  readonly #name: { readonly instance?: string }
  readonly #cuts = new Map<number, () => void>()
  #sent = 0
  #stuck = 0

  constructor(parts: TalkParts) {
    this.#parts = parts
    this.#name = parts.instance === undefined ? {} : { instance: parts.instance }
  }

  /** Calls since it began. */
  get sent(): number {
    return this.#sent
  }

  get inFlight(): number {
    return this.calls.size
  }

  /** Calls that were given up and may still be worked on. */
  get stuck(): number {
    return this.#stuck
  }

  /** Nothing more will be answered: the calls that wait are cut. */
  close(): void {
    for (const cut of this.#cuts.values()) cut()
  }

  /** Asks for anything else. Rejects `RpcFailure` or `RpcBroken`. */
  request(method: string, params: object, waitMs: number): Promise<unknown> {
    this.#parts.asked()
    return this.#parts.peer.request(method, { ...params, ...this.#name }, waitMs)
  }

  async call(order: CallOrder): Promise<CallAnswer> {
    const { peer, clock, moduleId } = this.#parts
    const { action, input, timeoutMs, mission, signal } = order
    const name = { module: moduleId, action }
    if (signal?.aborted) {
      throw new NexusError('CALL_ABORTED', { ...name, reason: String(signal.reason), stuck: 0 })
    }
    if (this.calls.size >= CALLS_MAX) throw failedCall(new RpcBroken('window'), name)
    const task = mission === undefined ? {} : { mission }
    this.#parts.asked()
    const asked = peer.ask('action', { name: action, input, timeout_ms: timeoutMs, ...task, ...this.#name })
    this.calls.set(asked.id, order)
    this.#cuts.set(asked.id, () => asked.cut())
    this.#sent += 1
    try {
      return await awaitCall(clock, asked, order, name)
    } catch (error) {
      if (error instanceof NexusError && error.facts['stuck'] === 1) this.#stuck += 1
      throw error
    } finally {
      this.calls.delete(asked.id)
      this.#cuts.delete(asked.id)
    }
  }

  async health(timeoutMs: number): Promise<HealthAnswer> {
    const answer = readHealth(await this.#ask('health', {}, timeoutMs))
    if (answer !== undefined) return answer
    const failure = new RpcFailure(RPC_CODES.threw, 'it answered no status')
    throw failedCall(failure, { module: this.#parts.moduleId, action: 'health' })
  }

  async configure(change: ConfigChange, timeoutMs: number): Promise<ConfigureAnswer> {
    return (await this.#ask('configure', change, timeoutMs)) === 'applied' ? 'applied' : 'needs-reload'
  }

  async snapshot(timeoutMs: number): Promise<unknown> {
    return await this.#ask('snapshot', {}, timeoutMs)
  }

  async #ask(method: 'health' | 'configure' | 'snapshot', params: object, waitMs: number): Promise<unknown> {
    const { peer, moduleId } = this.#parts
    this.#parts.asked()
    return await askModule(peer, method, { ...params, ...this.#name }, waitMs, moduleId)
  }
}

/** The most a manifest lets an action take at the same time, and some for others beside it. */
const CALLS_MAX = 1_024
