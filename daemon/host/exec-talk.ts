import { NexusError } from '../contracts/failure.ts'
import type { ConfigChange, ConfigureAnswer, HealthAnswer } from '../contracts/module.ts'
import { type HeartbeatParams, type InitializeAnswer, RPC_CODES } from '../contracts/wire.ts'
import type { Clock } from '../kit/clock.ts'
import { askModule, awaitCall, failedCall } from './calls.ts'
import { readHealth } from './heard.ts'
import type { CallAnswer, CallOrder, InstanceStats } from './port.ts'
import { RpcFailure, type RpcPeer } from './rpc.ts'

/** What is asked of a program while it runs. Of one that is silent nothing is asked: it is well, and has no state. */
export class ExecTalk {
  /** The calls that wait for an answer, by the id of their request. */
  readonly calls = new Map<number, CallOrder>()
  readonly stats: { -readonly [Key in keyof InstanceStats]: InstanceStats[Key] } = {
    heartbeat: undefined,
    cpuPercent: 0,
    calls: 0,
    inFlight: 0,
  }
  /** How it introduced itself, once it has. */
  answer: InitializeAnswer | undefined
  readonly #moduleId: string
  readonly #peer: RpcPeer
  readonly #clock: Clock
  #heardMs = 0

  constructor(moduleId: string, peer: RpcPeer, clock: Clock) {
    this.#moduleId = moduleId
    this.#peer = peer
    this.#clock = clock
  }

  weigh(heartbeat: HeartbeatParams): void {
    const nowMs = this.#clock.elapsed()
    const former = this.stats.heartbeat
    if (former !== undefined && nowMs > this.#heardMs) {
      const usedMs = Math.max(0, heartbeat.cpu_ms - former.cpu_ms)
      this.stats.cpuPercent = (usedMs / (nowMs - this.#heardMs)) * 100
    }
    this.stats.heartbeat = heartbeat
    this.#heardMs = nowMs
  }

  async call(order: CallOrder): Promise<CallAnswer> {
    const { action, input, timeoutMs, mission, signal } = order
    const name = { module: this.#moduleId, action }
    if (signal?.aborted) {
      throw new NexusError('CALL_ABORTED', { ...name, reason: String(signal.reason), stuck: 0 })
    }
    const task = mission === undefined ? {} : { mission }
    const asked = this.#peer.ask('action', { name: action, input, timeout_ms: timeoutMs, ...task })
    this.calls.set(asked.id, order)
    this.stats.calls += 1
    this.stats.inFlight += 1
    try {
      return await awaitCall(this.#clock, asked, order, name)
    } finally {
      this.calls.delete(asked.id)
      this.stats.inFlight -= 1
    }
  }

  async health(timeoutMs: number): Promise<HealthAnswer> {
    if (this.answer?.has.health !== true) return { status: 'healthy' }
    const answer = readHealth(await this.#ask('health', {}, timeoutMs))
    if (answer !== undefined) return answer
    const failure = new RpcFailure(RPC_CODES.threw, 'it answered no status')
    throw failedCall(failure, { module: this.#moduleId, action: 'health' })
  }

  async configure(change: ConfigChange, timeoutMs: number): Promise<ConfigureAnswer> {
    if (this.answer?.has.configure !== true) return 'needs-reload'
    return (await this.#ask('configure', change, timeoutMs)) === 'applied' ? 'applied' : 'needs-reload'
  }

  async snapshot(timeoutMs: number): Promise<unknown> {
    if (this.answer?.has.snapshot !== true) return undefined
    return await this.#ask('snapshot', {}, timeoutMs)
  }

  async #ask(method: 'health' | 'configure' | 'snapshot', params: object, waitMs: number): Promise<unknown> {
    return await askModule(this.#peer, method, params, waitMs, this.#moduleId)
  }
}
