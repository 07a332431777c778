import { connect, type Socket } from 'node:net'
import type { Clock, Timer } from '../kit/clock.ts'
import { Held } from './held.ts'
import type { Line } from './line.ts'
import { Turns } from './turns.ts'

/** What a connection asks of the port it came in by. */
export interface BondPort {
  readonly clock: Clock
  /** It wants an instance: `dial` is called when there is one. */
  queue(bond: Bond): void
  unqueue(bond: Bond): void
  /** Nobody took a connection at the other end of this line. */
  refused(line: Line<Bond>): void
  over(bond: Bond): void
  /** No new words are taken: what is said to its end is over. */
  readonly isShut: boolean
}

/**
 * `waiting` for an instance; `dialing` one; `joined` to it; `resting`, an HTTP connection between two requests whose
 * instance is gone; `over`.
 */
type Phase = 'waiting' | 'dialing' | 'joined' | 'resting' | 'over'

/**
 * One connection of a client, and the instance it leads to, if it leads to one now.
 *
 * Bytes go through unchanged, ends and resets are passed on, and who reads slowly stops who writes. Between two
 * requests of HTTP it belongs to nobody, so it survives its instance: the next request goes to another one.
 */
export class Bond {
  readonly #client: Socket
  readonly #port: BondPort
  #phase: Phase = 'waiting'
  #turns = new Turns()
  #line: Line<Bond> | undefined
  #instance: Socket | undefined
  readonly #held = new Held()
  #hasEnded = false
  /** Somebody has answered before: it is no longer a connection on which nothing was ever said. */
  #hasSpoken = false
  /** All that was said since all was answered, while nobody can have read a part of it. */
  #unread: Buffer | undefined
  /** Instances lost since the last answer. */
  #losses = 0
  #sinceMs: number | undefined
  #timer: Timer | undefined

  constructor(client: Socket, port: BondPort) {
    this.#client = client
    this.#port = port
    client.on('data', (bytes: Buffer) => this.#asked(bytes))
    client.on('drain', () => this.#instance?.resume())
    client.on('end', () => this.#ended())
    client.on('error', () => {}) // `close` follows
    client.on('close', (hadError) => this.#closed(hadError))
    this.#wait()
  }

  /** Since when it has been looking for an instance; monotonic. */
  get sinceMs(): number {
    return this.#sinceMs ?? 0
  }

  /** Here is an instance. */
  dial(line: Line<Bond>): void {
    this.#phase = 'dialing'
    this.#line = line
    line.bonds.add(this)
    const instance = connect({ path: line.path, allowHalfOpen: true })
    this.#instance = instance
    // Whatever one says that was left before is for nobody.
    const isCurrent = (): boolean => this.#instance === instance
    instance.on('connect', () => isCurrent() && this.#joined())
    instance.on('data', (bytes: Buffer) => isCurrent() && this.#answered(bytes))
    instance.on('drain', () => isCurrent() && this.#client.resume())
    instance.on('end', () => isCurrent() && this.#instanceEnded())
    instance.on('close', () => isCurrent() && this.#detach())
    instance.on('error', ({ code }: NodeJS.ErrnoException) => isCurrent() && this.#instanceFailed(code))
  }

  /** Its instance is not to be used any more: it leaves as soon as nothing is under way. */
  settle(): void {
    const quiet = this.#instance?.writableLength === 0 && this.#turns.isAtRest
    if (this.#phase === 'joined' && quiet && !this.#hasEnded) this.#leave()
    else if (this.#phase === 'resting' && this.#port.isShut) this.#finish()
  }

  /** Ends it, whatever is under way. */
  cut(): void {
    this.#client.resetAndDestroy()
  }

  // --- the client --------------------------------------------------------------------------------------------

  #asked(bytes: Buffer): void {
    if (this.#phase !== 'joined') {
      this.#hold(bytes)
      if (this.#phase === 'resting') this.#wait()
    } else if (this.#line?.isDirected === true || !this.#turns.isBetweenRequests) {
      this.#forward(bytes)
    } else {
      // A new request; what is under way may still be answered by the instance that is leaving.
      this.#hold(bytes)
      this.settle()
    }
  }

  #hold(bytes: Buffer): void {
    this.#held.add(bytes)
    if (this.#held.isFull) this.#client.pause()
  }

  #forward(bytes: Buffer): void {
    this.#unread = this.#turns.isAtRest && bytes.length <= UNREAD_BYTES_MAX ? bytes : undefined
    this.#turns.asked(bytes)
    if (this.#instance?.write(bytes) === false) this.#client.pause()
  }

  #ended(): void {
    this.#hasEnded = true
    if (this.#phase === 'joined') {
      this.#instance?.end()
      this.#watchHalf()
    } else if (this.#held.isEmpty) this.#finish()
  }

  #closed(hadError: boolean): void {
    const instance = this.#detach()
    if (hadError) instance?.destroy()
    else instance?.destroySoon()
    if (this.#phase === 'waiting') this.#port.unqueue(this)
    this.#phase = 'over'
    this.#timer?.cancel()
    this.#held.take()
    this.#port.over(this)
  }

  // --- the instance ------------------------------------------------------------------------------------------

  #joined(): void {
    this.#phase = 'joined'
    this.#sinceMs = undefined
    if (this.#line?.isDirected === false) {
      this.#leave()
      return
    }
    this.#release()
    if (this.#hasEnded) this.#ended()
  }

  #release(): void {
    const held = this.#held.take()
    this.#client.resume()
    if (held !== undefined) this.#forward(held)
  }

  #answered(bytes: Buffer): void {
    this.#unread = undefined
    this.#losses = 0
    this.#hasSpoken = true
    this.#turns.answered(bytes)
    if (!this.#client.write(bytes)) this.#instance?.pause()
    if (this.#line?.isDirected === false) this.settle()
    // It stays with this instance after all.
    if (this.#phase === 'joined' && !this.#held.isEmpty && !this.#turns.isBetweenRequests) this.#release()
  }

  #instanceEnded(): void {
    if (this.#turns.isAtRest && !this.#hasEnded && this.#losses < LOSSES_MAX) {
      this.#losses += 1
      this.#leave()
    } else {
      this.#client.end()
      this.#watchHalf()
    }
  }

  #instanceFailed(code: string | undefined): void {
    if (this.#phase === 'dialing') {
      if (this.#line !== undefined) this.#port.refused(this.#line)
      this.#leave()
      return
    }
    this.#losses += 1
    const unread = code === 'ECONNRESET' || code === 'EPIPE' ? this.#unread : undefined
    if (this.#losses > LOSSES_MAX || !(this.#turns.isAtRest || unread !== undefined)) {
      this.#client.resetAndDestroy()
      return
    }
    if (unread !== undefined) {
      // The kernel says so: these bytes were never read, so saying them again is saying them once.
      this.#turns = new Turns()
      this.#held.addFirst(unread)
    }
    this.#leave()
  }

  /** Goes away from its instance, with nothing under way, and to another one when there is something to say. */
  #leave(): void {
    this.#detach()?.destroy()
    this.#unread = undefined
    if (this.#port.isShut || (this.#hasEnded && this.#held.isEmpty)) this.#finish()
    else if (!this.#held.isEmpty || !this.#hasSpoken) this.#wait()
    else this.#rest()
  }

  #detach(): Socket | undefined {
    const instance = this.#instance
    this.#instance = undefined
    this.#line?.release(this)
    this.#line = undefined
    return instance
  }

  // --- between instances -------------------------------------------------------------------------------------

  #wait(): void {
    this.#timer?.cancel()
    this.#phase = 'waiting'
    this.#sinceMs ??= this.#port.clock.elapsed()
    this.#port.queue(this)
  }

  #rest(): void {
    this.#phase = 'resting'
    this.#client.resume()
    this.#timer = this.#port.clock.after(REST_MS_MAX, () => this.#finish())
  }

  /** All is said. */
  #finish(): void {
    this.#client.destroySoon()
  }

  /** One side has ended, which may be meant; but the other may be gone without a word. */
  #watchHalf(): void {
    this.#timer?.cancel()
    const before = this.#client.bytesRead + this.#client.bytesWritten
    this.#timer = this.#port.clock.after(HALF_MS_MAX, () => {
      if (this.#client.bytesRead + this.#client.bytesWritten === before) this.cut()
      else this.#watchHalf()
    })
  }
}

/** One write of this size is one piece in the kernel: read whole, or not at all. */
const UNREAD_BYTES_MAX = 16_384
/** A request that has met three ends of instances is no victim of chance. */
const LOSSES_MAX = 3
/** Longer than clients keep a connection that they do not use (curl 118 s, Go 90 s), so that they end it, not we. */
const REST_MS_MAX = 120_000
/** As long as kernels wait for the other half of an end, twice over. */
const HALF_MS_MAX = 120_000
