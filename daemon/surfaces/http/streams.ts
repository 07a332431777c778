import type { FastifyReply } from 'fastify'
import { NexusError } from '../../contracts/failure.ts'
import type { Clock, Timer } from '../../kit/clock.ts'

/** Each may hold a mebibyte: together they stay below a quarter of a gibibyte. */
const STREAMS_MAX = 200
/** What a client may leave unread before it is let go; it resumes by sequence number without a gap. */
const UNREAD_BYTES_MAX = 1_048_576
/** Proxies and probes take a minute of silence for death. */
const HEARTBEAT_MS = 15_000
/** How long a client that catches up may read nothing. */
const UNREAD_MS_MAX = 30_000
/** How long the last words may wait for a client that does not read. */
const FAREWELL_MS = 2_000

/** The answers that do not end by themselves: counted, bounded, and ended at a stop. */
export class Streams {
  readonly #clock: Clock
  readonly #open = new Set<OpenStream>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Takes the reply over from Fastify. @throws NexusError `STREAMS_FULL`. */
  open(reply: FastifyReply, headers: Readonly<Record<string, string>>, heartbeat?: string): OpenStream {
    if (this.#open.size >= STREAMS_MAX) throw new NexusError('STREAMS_FULL', { limit: STREAMS_MAX })
    const stream = new OpenStream(reply, headers, this.#clock, heartbeat)
    this.#open.add(stream)
    stream.onClose(() => this.#open.delete(stream))
    return stream
  }

  get count(): number {
    return this.#open.size
  }

  end(): void {
    for (const stream of this.#open) stream.end()
  }
}

/** One answer in pieces, to a client that may be slow or gone. */
export class OpenStream {
  readonly #raw: FastifyReply['raw']
  readonly #clock: Clock
  readonly #undoings = new Set<() => void>()
  #heart: Timer | undefined
  #ending = false
  #closed = false

  constructor(
    reply: FastifyReply,
    headers: Readonly<Record<string, string>>,
    clock: Clock,
    heartbeat: string | undefined,
  ) {
    this.#raw = reply.raw
    this.#clock = clock
    for (const [name, value] of Object.entries({ ...reply.getHeaders(), connection: 'close', ...headers })) {
      if (value !== undefined) this.#raw.setHeader(name, value)
    }
    reply.hijack()
    this.#raw.on('close', () => this.#close())
    this.#raw.on('error', () => this.#close())
    this.#raw.flushHeaders()
    if (heartbeat !== undefined) this.#beat(heartbeat)
  }

  /** Takes nothing any more. */
  get closed(): boolean {
    return this.#closed || this.#ending
  }

  /** `full`: the client reads too slowly and this piece was not sent; the caller says farewell. */
  write(piece: string): 'sent' | 'full' | 'closed' {
    if (this.closed) return 'closed'
    if (this.#raw.writableLength > UNREAD_BYTES_MAX) return 'full'
    this.#raw.write(piece)
    return 'sent'
  }

  /** Resolves when what was written has gone, or the client has; false when it did not read for too long. */
  async drained(): Promise<boolean> {
    if (this.closed || !this.#raw.writableNeedDrain) return true
    return new Promise((resolve) => {
      const finish = (read: boolean): void => {
        timer.cancel()
        this.#raw.off('drain', onDrain)
        this.#undoings.delete(onDrain)
        resolve(read)
      }
      const onDrain = (): void => finish(true)
      const timer = this.#clock.after(UNREAD_MS_MAX, () => finish(false))
      this.#raw.on('drain', onDrain)
      this.onClose(onDrain)
    })
  }

  /** Registers an undoing; runs it at once when the stream is over already. */
  onClose(undo: () => void): void {
    if (this.#closed) undo()
    else this.#undoings.add(undo)
  }

  /** Sends the last words and ends; a client that does not read them is cut. */
  end(lastWords = ''): void {
    if (this.closed) return
    this.#ending = true
    const cut = this.#clock.after(FAREWELL_MS, () => this.#raw.destroy())
    this.onClose(() => cut.cancel())
    this.#raw.end(lastWords)
  }

  #beat(heartbeat: string): void {
    this.#heart = this.#clock.after(HEARTBEAT_MS, () => {
      if (this.write(heartbeat) === 'sent') this.#beat(heartbeat)
    })
  }

  #close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#heart?.cancel()
    for (const undo of this.#undoings) undo()
    this.#undoings.clear()
  }
}
