import type { Body } from './http-head.ts'

/**
 * Follows one direction of an HTTP/1 connection, only to know where messages end.
 *
 * @returns of `onHead`: the body that follows, `'again'` when another head follows first, undefined to give up.
 */
export class MessageReader {
  readonly #onHead: (head: string) => Body | undefined
  readonly #onEnd: () => void
  #at: Place = 'start'
  /** The beginning of a head, or of a line between chunks, whose end has not come yet. */
  #text = ''
  /** Bytes of the body, or of the chunk and its line end, still to come. */
  #left = 0

  constructor(onHead: (head: string) => Body | undefined, onEnd: () => void) {
    this.#onHead = onHead
    this.#onEnd = onEnd
  }

  /** Between two messages. */
  get isAtStart(): boolean {
    return this.#at === 'start'
  }

  /** @returns False once the bytes cannot be followed; it must not be asked again then. */
  read(bytes: Buffer): boolean {
    let offset = 0
    while (offset < bytes.length) {
      const next = this.#step(bytes, offset)
      if (next === undefined) return false
      offset = next
    }
    return true
  }

  #step(bytes: Buffer, offset: number): number | undefined {
    switch (this.#at) {
      case 'start':
        return isCapital(bytes[offset]) ? this.#head(bytes, offset) : undefined
      case 'head':
        return this.#head(bytes, offset)
      case 'body':
      case 'chunk':
        return this.#skip(bytes, offset)
      case 'size':
        return this.#size(bytes, offset)
      case 'trailer':
        return this.#trailer(bytes, offset)
    }
  }

  #head(bytes: Buffer, offset: number): number | undefined {
    const had = this.#text.length
    const text =
      this.#text + bytes.toString('latin1', offset, Math.min(bytes.length, offset + HEAD_BYTES_MAX))
    const end = text.indexOf('\r\n\r\n', Math.max(0, had - 3))
    if (end < 0) {
      this.#at = 'head'
      this.#text = text
      return text.length > HEAD_BYTES_MAX ? undefined : bytes.length
    }
    this.#text = ''
    const length = end + 4
    const body = this.#onHead(length === text.length ? text : text.slice(0, length))
    if (body === undefined) return undefined
    this.#enter(body)
    return offset + length - had
  }

  #enter(body: Body): void {
    this.#left = body.kind === 'length' ? body.bytes : 0
    if (body.kind === 'chunked') this.#at = 'size'
    else if (this.#left > 0) this.#at = 'body'
    else this.#end()
  }

  #skip(bytes: Buffer, offset: number): number {
    const taken = Math.min(this.#left, bytes.length - offset)
    this.#left -= taken
    if (this.#left > 0) return offset + taken
    if (this.#at === 'chunk') this.#at = 'size'
    else this.#end()
    return offset + taken
  }

  #size(bytes: Buffer, offset: number): number | undefined {
    const line = this.#line(bytes, offset)
    if (typeof line !== 'object') return line
    const size = /^([0-9a-f]{1,12})[ \t]*(?:;[^\r\n]*)?\r\n$/i.exec(line.text)?.[1]
    if (size === undefined) return undefined
    const length = Number.parseInt(size, 16)
    // The line end behind a chunk belongs to it.
    this.#left = length + 2
    this.#at = length === 0 ? 'trailer' : 'chunk'
    return line.next
  }

  #trailer(bytes: Buffer, offset: number): number | undefined {
    const line = this.#line(bytes, offset)
    if (typeof line !== 'object') return line
    if (line.text === '\r\n') this.#end()
    return line.next
  }

  /** The next whole line; a number: it has not ended yet; undefined: it is too long. */
  #line(bytes: Buffer, offset: number): { text: string; next: number } | number | undefined {
    const end = bytes.indexOf(LINE_FEED, offset)
    const next = end < 0 ? bytes.length : end + 1
    const text = this.#text + bytes.toString('latin1', offset, Math.min(next, offset + LINE_BYTES_MAX + 1))
    if (text.length > LINE_BYTES_MAX) return undefined
    this.#text = end < 0 ? text : ''
    return end < 0 ? next : { text, next }
  }

  #end(): void {
    this.#at = 'start'
    this.#onEnd()
  }
}

/** As every method and `HTTP/1.1` begins; TLS and most others do not. */
function isCapital(byte = 0): boolean {
  return byte >= 65 && byte <= 90
}

type Place = 'start' | 'head' | 'body' | 'size' | 'chunk' | 'trailer'

const LINE_FEED = 10
/** Four times what Node's own server takes; larger heads are forwarded, but not followed. */
const HEAD_BYTES_MAX = 65_536
const LINE_BYTES_MAX = 4_096
