import { NexusError } from '../contracts/failure.ts'
import type { HeartbeatParams } from '../contracts/wire.ts'
import { RPC_CODES } from '../contracts/wire.ts'
import {
  readArtifact,
  readCommand,
  readHeartbeat,
  readLog,
  readMetrics,
  readNotReady,
  readProgress,
} from './heard.ts'
import type { OutputLine } from './output.ts'
import type { CallOrder, SpawnOrder } from './port.ts'
import { RpcFailure } from './rpc.ts'

/** What the ears need of the instance they belong to. */
export interface Listening {
  readonly order: SpawnOrder
  /** The calls that wait for an answer, by the id of their request. */
  readonly calls: ReadonlyMap<number, CallOrder>
  /** Every line goes through the one limit of the instance. */
  log(line: OutputLine): void
  /** Most heartbeats have no figures. */
  beat(heartbeat: HeartbeatParams | undefined): void
  /** An error that nobody caught ends the process: its last words. */
  lastWords(stack: string): void
}

/** Takes what an instance says of its own accord: checks its shape, and hands it to whom it concerns. */
export class Ears {
  readonly #to: Listening

  constructor(to: Listening) {
    this.#to = to
  }

  /** Notifications. One of a wrong shape is a violation; an unknown one comes from a program newer than this daemon. */
  notice(method: string, params: unknown, bytes: number): string | undefined {
    return this.#take(method, params, bytes) === 'malformed' ? `${method} of a wrong shape` : undefined
  }

  /** Requests. @throws RpcFailure, which is the answer. */
  async request(method: string, params: unknown): Promise<unknown> {
    try {
      if (method === 'command') return await this.#command(params)
      if (method === 'artifact') return await this.#artifact(params)
    } catch (error) {
      if (!(error instanceof NexusError)) throw error
      throw new RpcFailure(RPC_CODES.refused, error.message, { code: error.code, remedy: error.remedy })
    }
    throw new RpcFailure(-32601, `no method ${method}`)
  }

  #take(method: string, params: unknown, bytes: number): 'malformed' | undefined {
    const { listener } = this.#to.order
    switch (method) {
      case 'heartbeat':
        if (params === undefined) return hand({}, () => this.#to.beat(undefined))
        return hand(readHeartbeat(params), (heartbeat) => this.#to.beat(heartbeat))
      case 'log':
        return hand(readLog(params), (line) => this.#log(line, bytes))
      case 'metrics':
        return hand(readMetrics(params), (metrics) => listener.metrics(metrics))
      case 'notready':
        return hand(readNotReady(params), (said) => listener.notReady(said.reason, said.retry_in_ms))
      case 'ready':
        return hand({}, () => listener.ready())
      case 'progress':
        // One for a call that has ended crossed its answer on the way.
        return hand(readProgress(params), ({ id, fraction, note }) => {
          this.#to.calls.get(id)?.progress?.(fraction, note)
        })
      default:
        return undefined
    }
  }

  #log(line: OutputLine, bytes: number): void {
    if (bytes > LOG_BYTES_MAX) {
      const omitted = `${bytes} bytes of message and fields`
      return void this.#to.log({
        level: line.level,
        message: line.message.slice(0, 1_000),
        fields: { omitted },
      })
    }
    const { stack, uncaught } = (line.fields ?? {}) as { stack?: unknown; uncaught?: unknown }
    if (uncaught === true) this.#to.lastWords(String(stack))
    this.#to.log(line)
  }

  async #command(params: unknown): Promise<unknown> {
    const asked = readCommand(params)
    if (asked === undefined) throw new RpcFailure(-32602, 'command of a wrong shape')
    const { moduleId, permissions, listener } = this.#to.order
    if (!permissions.commands.includes(asked.name)) {
      const permission = `permissions.commands ${asked.name}`
      throw new NexusError('PERMISSION_DENIED', { principal: `module:${moduleId}`, permission })
    }
    return await listener.command(asked.name, asked.params)
  }

  async #artifact(params: unknown): Promise<unknown> {
    const artifact = readArtifact(params)
    if (artifact === undefined) throw new RpcFailure(-32602, 'artifact of a wrong shape, or too large')
    const call = this.#to.calls.get(artifact.call)
    if (call === undefined) throw new RpcFailure(-32602, 'the call that this artifact belongs to has ended')
    return await call.artifact(artifact.name, artifact.media_type, artifact.bytes)
  }
}

function hand<Said>(said: Said | undefined, use: (said: Said) => void): 'malformed' | undefined {
  if (said === undefined) return 'malformed'
  use(said)
  return undefined
}

/** The runner cuts shorter; this is for programs that do not. */
const LOG_BYTES_MAX = 65_536
