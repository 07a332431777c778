import { type Body, readRequestHead, readResponseHead } from './http-head.ts'
import { MessageReader } from './message-reader.ts'

/**
 * Knows when both sides of a connection have said all they had to say, so that the next request may go to another
 * instance: never changes a byte, only counts requests and answers of HTTP/1.1.
 *
 * What is not HTTP/1.1, or says so unclearly, or leaves it (a WebSocket, `Connection: close`), is `private` from then
 * on: it belongs to one client and one instance until it ends.
 */
export class Turns {
  #isPrivate = false
  /** Requests without their answer yet, oldest first: whether it was HEAD, whose answer has no body. */
  readonly #open: boolean[] = []
  readonly #requests = new MessageReader(
    (head) => this.#asks(head),
    () => {},
  )
  readonly #answers = new MessageReader(
    (head) => this.#answersWith(head),
    () => this.#ends(),
  )
  #isInterim = false

  /** Nothing is under way: all that was asked is answered. Also before the first word. */
  get isAtRest(): boolean {
    return !this.#isPrivate && this.#open.length === 0 && this.#requests.isAtStart && this.#answers.isAtStart
  }

  /** What the client says next begins a new request. */
  get isBetweenRequests(): boolean {
    return !this.#isPrivate && this.#requests.isAtStart
  }

  /** The client said this to the instance. */
  asked(bytes: Buffer): void {
    if (!this.#isPrivate) this.#isPrivate = !this.#requests.read(bytes)
  }

  /** The instance said this to the client. */
  answered(bytes: Buffer): void {
    if (!this.#isPrivate) this.#isPrivate = !this.#answers.read(bytes)
  }

  #asks(head: string): Body | undefined {
    const request = readRequestHead(head)
    if (request === undefined || this.#open.length >= PIPELINED_MAX) return undefined
    this.#open.push(request.isHead)
    return request.body
  }

  #answersWith(head: string): Body | undefined {
    const isHead = this.#open[0]
    // An answer that nobody asked for is no HTTP that we know.
    if (isHead === undefined) return undefined
    const response = readResponseHead(head, isHead)
    if (response === undefined) return undefined
    this.#isInterim = response.isInterim
    return response.body
  }

  #ends(): void {
    if (!this.#isInterim) this.#open.shift()
    this.#isInterim = false
  }
}

/** Browsers send one at a time; a client with more in flight is forwarded, but not followed. */
const PIPELINED_MAX = 256
