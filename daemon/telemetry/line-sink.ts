import { constants, fstatSync, openSync, writeSync } from 'node:fs'

/** Of a line that a full pipe took only half of: the rest goes first when there is room again. */
const REST_BYTES_MAX = 1_048_576

/**
 * Writes lines to a descriptor at once, and never blocks, throws or ends the process for it.
 *
 * A pipe that nobody reads loses lines, and says how many once it is read again. One whose reader is gone loses all.
 */
export class LineSink {
  readonly #fd: number
  readonly #write: (fd: number, bytes: Uint8Array) => number
  #rest: Uint8Array = new Uint8Array()
  #lost = 0

  constructor(fd: number, write: (fd: number, bytes: Uint8Array) => number = writeSync) {
    this.#fd = unblocked(fd)
    this.#write = write
  }

  write(line: string): void {
    if (!this.#flush()) {
      this.#lost += 1
      return
    }
    const lost = this.#lost
    this.#lost = 0
    const notice =
      lost > 0
        ? `${JSON.stringify({ level: 'warn', msg: `${lost} log lines were lost: the pipe was full` })}\n`
        : ''
    this.#rest = Buffer.from(notice + line)
    this.#flush()
  }

  /** True when nothing is left over. */
  #flush(): boolean {
    while (this.#rest.length > 0) {
      let written: number
      try {
        written = this.#write(this.#fd, this.#rest)
      } catch (cause) {
        // EPIPE, EBADF, EIO of a terminal that was closed: nobody listens, and there is nobody to tell.
        const full = (cause as NodeJS.ErrnoException).code === 'EAGAIN'
        if (!full || this.#rest.length > REST_BYTES_MAX) this.#rest = new Uint8Array()
        return !full
      }
      this.#rest = this.#rest.subarray(written)
    }
    return true
  }
}

/**
 * A description of the same pipe that answers EAGAIN instead of waiting; other writers to it keep theirs.
 *
 * Files do not wait, and terminals are watched by the person who stopped them.
 */
function unblocked(fd: number): number {
  try {
    if (!fstatSync(fd).isFIFO()) return fd
    return openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK)
  } catch {
    // No such descriptor, or no /proc: as it is, then.
    return fd
  }
}
