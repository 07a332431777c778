import type { Duplex } from 'node:stream'
import { LINE_BYTES_MAX } from '../contracts/wire.ts'
import type { Clock } from '../kit/clock.ts'
import { LineSplitter } from './lines.ts'
import { parseMessage, type RpcId, type RpcMessage } from './rpc-message.ts'

/** What one end of the pipe does with what the other end says. */
export interface RpcAudience {
  /** Answers a request. The signal fires on `$/cancel`. Throw `RpcFailure` for an answer that is an error. */
  request(method: string, params: unknown, id: RpcId, signal: AbortSignal): Promise<unknown>
  /**
   * `bytes` is the length of the line it came in, near enough for limits.
   *
   * @returns What is wrong with it, if anything: that is a violation.
   */
  notice(method: string, params: unknown, bytes: number): string | undefined
  /** Called once: the other end broke the protocol and is not listened to any more. */
  violation(reason: string): void
  /** Called once: the other end closed the pipe, or the pipe broke. */
  closed(): void
}

export interface RpcLimits {
  /** Requests of ours that may wait for an answer. */
  readonly outstandingMax: number
  /** Requests of theirs that may wait for an answer; one more is a violation. */
  readonly askedMax: number
  /** Messages within a second beside answers to ours; one more is a violation. */
  readonly unaskedPerSecondMax: number
  /** Bytes that wait for the other end to read. Beyond it requests fail and notifications are dropped. */
  readonly bufferedBytesMax: number
}

/** A request on its way. */
export interface Asked {
  readonly id: number
  /** Rejects `RpcFailure` (an answer that is an error) or `RpcBroken` (no answer will come). */
  readonly answer: Promise<unknown>
  /** Asks the other end to give up; its answer is still waited for. */
  cancel(reason: string): void
  /** Stops waiting: a later answer is counted as a stray. */
  forget(): void
  /** The same, and rejects `closed`: whoever was asked is no more, though the pipe is. */
  cut(): void
}

/** An error that travels: an answer of the other end, or what a handler wants answered. */
export class RpcFailure extends Error {
  override readonly name = 'RpcFailure'
  readonly code: number
  readonly data: unknown

  constructor(code: number, message: string, data?: unknown) {
    super(message)
    this.code = code
    this.data = data
  }
}

/** No answer will come: the pipe is closed or full, the window is used up, or the deadline passed. */
export class RpcBroken extends Error {
  override readonly name = 'RpcBroken'
  readonly how: 'closed' | 'full' | 'window' | 'too large' | 'expired'

  constructor(how: RpcBroken['how']) {
    super(`the request got no answer: ${how}`)
    this.how = how
  }
}

/** One end of newline-delimited JSON-RPC 2.0 over a duplex stream. The other end may be hostile. */
export class RpcPeer {
  readonly #stream: Duplex
  readonly #clock: Clock
  #limits: RpcLimits
  readonly #audience: RpcAudience
  readonly #lines = new LineSplitter(LINE_BYTES_MAX, 'stop')
  readonly #waiting = new Map<number, { resolve(result: unknown): void; reject(error: Error): void }>()
  readonly #asked = new Map<RpcId, AbortController>()
  #state: 'open' | 'deaf' | 'closed' = 'open'
  #nextId = 1
  #windowFromMs: number
  #windowMessages = 0
  #strays = 0
  #dropped = 0
  #gathering = false

  constructor(stream: Duplex, clock: Clock, limits: RpcLimits, audience: RpcAudience) {
    this.#stream = stream
    this.#clock = clock
    this.#limits = limits
    this.#audience = audience
    this.#windowFromMs = clock.elapsed()
    let closed = false
    const close = (): void => {
      if (!closed) audience.closed()
      closed = true
    }
    stream.on('data', (chunk: Buffer) => this.#hear(chunk))
    // A broken pipe is how hosts end; the process's own exit tells why.
    stream.on('error', close)
    stream.on('end', close)
    stream.on('close', close)
  }

  /** Answers that nobody waits for: unknown, repeated, or too late. */
  get strays(): number {
    return this.#strays
  }

  /** Notifications not sent because the other end does not read. */
  get dropped(): number {
    return this.#dropped
  }

  /** From now on several live at the other end, and whoever listens keeps the windows of each. */
  widen(): void {
    const everything = Number.POSITIVE_INFINITY
    this.#limits = { ...this.#limits, outstandingMax: everything, askedMax: everything }
  }

  /** Asks; the caller owns the deadline. */
  ask(method: string, params: object): Asked {
    const id = this.#nextId++
    const answer = new Promise<unknown>((resolve, reject) => {
      if (this.#waiting.size >= this.#limits.outstandingMax) return reject(new RpcBroken('window'))
      this.#gather()
      const outcome = this.#send({ jsonrpc: '2.0', id, method, params })
      if (outcome !== 'sent') return reject(new RpcBroken(outcome))
      this.#waiting.set(id, { resolve, reject })
    })
    // Whoever forgets a request does not want to hear how it failed either.
    answer.catch(() => undefined)
    return {
      id,
      answer,
      cancel: (reason) => this.notify('$/cancel', { id, reason }),
      forget: () => void this.#waiting.delete(id),
      cut: () => {
        this.#waiting.get(id)?.reject(new RpcBroken('closed'))
        this.#waiting.delete(id)
      },
    }
  }

  /** Asks, and gives up after `waitMs` with `RpcBroken` `expired`. */
  async request(method: string, params: object, waitMs: number): Promise<unknown> {
    const asked = this.ask(method, params)
    return await new Promise((resolve, reject) => {
      const deadline = this.#clock.after(waitMs, () => {
        asked.cancel('deadline')
        asked.forget()
        reject(new RpcBroken('expired'))
      })
      asked.answer.then(resolve, reject).finally(() => deadline.cancel())
    })
  }

  /** Says something that wants no answer. Dropped, and counted, when the other end does not read. */
  notify(method: string, params?: object): void {
    this.#release()
    if (this.#send({ jsonrpc: '2.0', method, params }) !== 'sent') this.#dropped += 1
  }

  /** Says nothing more; what was said before still arrives. */
  end(): void {
    this.#stream.end()
  }

  /** Neither speaks nor listens any more; every waiting request rejects `closed`. */
  close(): void {
    this.#state = 'closed'
    for (const { reject } of this.#waiting.values()) reject(new RpcBroken('closed'))
    this.#waiting.clear()
    for (const asked of this.#asked.values()) asked.abort()
    this.#asked.clear()
    this.#stream.destroy()
  }

  #send(message: object): 'sent' | 'closed' | 'full' | 'too large' {
    if (this.#state !== 'open' || !this.#stream.writable) return 'closed'
    const line = `${JSON.stringify(message)}\n`
    // A UTF-16 unit is at most three bytes, so most lines need no counting.
    if (line.length * 3 > LINE_BYTES_MAX && Buffer.byteLength(line) > LINE_BYTES_MAX) return 'too large'
    if (this.#stream.writableLength + line.length > this.#limits.bufferedBytesMax) return 'full'
    this.#stream.write(line)
    return 'sent'
  }

  /**
   * The questions of one turn of the loop go out together: a burst of calls costs one system call. Anything else is
   * said at once, with what was gathered before it, for the process may end right after.
   */
  #gather(): void {
    if (this.#gathering) return
    this.#gathering = true
    this.#stream.cork()
    process.nextTick(() => this.#release())
  }

  #release(): void {
    if (!this.#gathering) return
    this.#gathering = false
    this.#stream.uncork()
  }

  #hear(chunk: Buffer): void {
    if (this.#state !== 'open') return
    const fault = this.#take(this.#lines.push(chunk))
    if (fault === undefined) return
    this.#state = 'deaf'
    this.#audience.violation(fault)
  }

  /** @returns What is wrong with what was heard, if anything; nothing after it is taken. */
  #take(lines: readonly string[]): string | undefined {
    for (const line of lines) {
      const fault = this.#read(line)
      // What was just read may have led to the end of this pipe.
      if (fault !== undefined || this.#state !== 'open') return fault
    }
    return this.#lines.stopped ? `a line of more than ${LINE_BYTES_MAX} bytes` : undefined
  }

  /** Counts what was said unasked. Answers to our own requests are as many as we asked for. */
  #floods(): boolean {
    const nowMs = this.#clock.elapsed()
    if (nowMs - this.#windowFromMs >= 1_000) {
      this.#windowFromMs = nowMs
      this.#windowMessages = 0
    }
    this.#windowMessages += 1
    return this.#windowMessages > this.#limits.unaskedPerSecondMax
  }

  #read(line: string): string | undefined {
    const message = parseMessage(line)
    if (message === undefined) return `a line that is no JSON-RPC 2.0 message: ${excerpt(line)}`
    const { method, params, id } = message
    if (method === undefined && this.#settle(message)) return undefined
    if (this.#floods())
      return `more than ${this.#limits.unaskedPerSecondMax} messages in a second that nobody asked for`
    if (method === undefined) return undefined
    if (id !== undefined && id !== null) return this.#serve(method, params, id)
    if (method !== '$/cancel') return this.#audience.notice(method, params, line.length)
    this.#abort(params)
    return undefined
  }

  /** @returns Whether somebody waited for this answer. */
  #settle(message: RpcMessage): boolean {
    const waiting = this.#waiting.get(message.id as number)
    if (waiting === undefined) {
      this.#strays += 1
      return false
    }
    this.#waiting.delete(message.id as number)
    const { error } = message
    if (error === undefined) waiting.resolve(message.result)
    else waiting.reject(new RpcFailure(error.code, error.message, error.data))
    return true
  }

  #serve(method: string, params: unknown, id: RpcId): string | undefined {
    if (this.#asked.has(id)) return `the id ${excerpt(String(id))} twice at the same time`
    if (this.#asked.size >= this.#limits.askedMax) return `more than ${this.#limits.askedMax} open requests`
    const controller = new AbortController()
    this.#asked.set(id, controller)
    this.#audience
      .request(method, params, id, controller.signal)
      .then((result) => this.#answer(id, { result: result === undefined ? null : result }))
      .catch((error: unknown) => this.#answer(id, { error: failureOf(error) }))
      .finally(() => this.#asked.delete(id))
    return undefined
  }

  #answer(id: RpcId, outcome: object): void {
    this.#release()
    const sent = this.#send({ jsonrpc: '2.0', id, ...outcome })
    // The other end must not wait for an answer that cannot be carried.
    if (sent === 'too large') {
      const error = { code: -32603, message: `the answer has more than ${LINE_BYTES_MAX} bytes` }
      this.#send({ jsonrpc: '2.0', id, error })
    }
  }

  #abort(params: unknown): void {
    const { id, reason } = (params ?? {}) as { id?: unknown; reason?: unknown }
    if (typeof id === 'number' || typeof id === 'string') this.#asked.get(id)?.abort(reason)
  }
}

function failureOf(error: unknown): { code: number; message: string; data?: unknown } {
  if (error instanceof RpcFailure) return { code: error.code, message: error.message, data: error.data }
  return { code: -32603, message: error instanceof Error ? error.message : String(error) }
}

/** Enough to recognise it, too little to fill a log. */
function excerpt(text: string): string {
  return JSON.stringify(text.slice(0, 80))
}
