import { RpcFailure } from '../rpc.ts'
import type { Voice } from './voice.ts'

/** Asks the daemon on behalf of the module: so many at a time, the others in order. */
export class Asking {
  readonly #voice: Voice
  readonly #queue: (() => void)[] = []
  #open = 0

  constructor(voice: Voice) {
    this.#voice = voice
  }

  /** Rejects with an error that has the `code` and `remedy` of the daemon's own failures, where it refused. */
  async ask(method: 'command' | 'artifact', params: object): Promise<unknown> {
    await this.#turn(method)
    try {
      return await this.#voice.request(method, params, ANSWER_MS_MAX)
    } catch (error) {
      const told = error instanceof RpcFailure && typeof error.data === 'object' ? error.data : {}
      throw Object.assign(new Error((error as Error).message, { cause: error }), told)
    } finally {
      // A place is handed on, not given back: nobody may slip in between.
      const next = this.#queue.shift()
      if (next === undefined) this.#open -= 1
      else next()
    }
  }

  async #turn(method: string): Promise<void> {
    if (this.#open < ASKED_MAX) this.#open += 1
    else if (this.#queue.length < QUEUE_MAX) await new Promise<void>((resolve) => this.#queue.push(resolve))
    else throw new Error(`${method}: more than ${QUEUE_MAX} requests wait for the daemon`)
  }
}

/** Each may carry a megabyte, and the daemon answers in milliseconds. */
const ASKED_MAX = 16
/** A loop that does not wait for its answers. */
const QUEUE_MAX = 1_000
/** A reload that drains and settles takes long; nothing that a module asks for takes longer. */
const ANSWER_MS_MAX = 300_000
