/**
 * Cuts a stream of bytes into lines, whatever the chunks are. Both ends of a host's pipe use it, and so does the
 * capture of its output.
 *
 * A line longer than `bytesMax` either stops the splitter for good (`stop`: a peer that breaks the protocol gets no
 * second chance), or loses its tail (`cut`: a log line is still worth its beginning).
 */
export class LineSplitter {
  readonly #bytesMax: number
  readonly #tooLong: 'stop' | 'cut'
  /** The beginning of a line whose end has not come yet: `#held` bytes of `#buffer`. */
  #buffer = Buffer.allocUnsafe(0)
  #held = 0
  #stopped = false

  constructor(bytesMax: number, tooLong: 'stop' | 'cut') {
    this.#bytesMax = bytesMax
    this.#tooLong = tooLong
  }

  /** True once a line was too long for a splitter that stops; it yields no further lines. */
  get stopped(): boolean {
    return this.#stopped
  }

  /** The lines that `chunk` completes, without their newlines. */
  push(chunk: Buffer): string[] {
    const lines: string[] = []
    let from = 0
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, from)) {
      this.#keep(chunk, from, end)
      if (this.#stopped) return lines
      lines.push(this.#take())
      from = end + 1
    }
    this.#keep(chunk, from, chunk.length)
    return lines
  }

  /** What came after the last newline, if anything: output that ends without one is a line too. */
  rest(): string | undefined {
    return this.#held === 0 ? undefined : this.#take()
  }

  #keep(chunk: Buffer, from: number, end: number): void {
    const room = this.#bytesMax - this.#held
    if (end - from > room && this.#tooLong === 'stop') {
      this.#stopped = true
      this.#buffer = Buffer.allocUnsafe(0)
      this.#held = 0
      return
    }
    const bytes = Math.min(end - from, room)
    if (this.#stopped || bytes === 0) return
    this.#grow(this.#held + bytes)
    chunk.copy(this.#buffer, this.#held, from, from + bytes)
    this.#held += bytes
  }

  /** Doubles, so a line that drips in byte by byte is copied a few times and not a million. */
  #grow(bytes: number): void {
    if (bytes <= this.#buffer.length) return
    const grown = Buffer.allocUnsafe(
      Math.min(this.#bytesMax, Math.max(bytes, this.#buffer.length * 2, 1_024)),
    )
    this.#buffer.copy(grown, 0, 0, this.#held)
    this.#buffer = grown
  }

  #take(): string {
    const line = this.#buffer.toString('utf8', 0, this.#held)
    this.#held = 0
    if (this.#buffer.length > KEPT_BYTES_MAX) this.#buffer = Buffer.allocUnsafe(0)
    return line
  }
}

const NEWLINE = 10
/** One long line must not hold its megabyte for as long as the host lives. */
const KEPT_BYTES_MAX = 65_536
