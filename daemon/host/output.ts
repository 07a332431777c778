import type { Readable } from 'node:stream'
import { stripVTControlCharacters } from 'node:util'
import type { LogParams } from '../contracts/wire.ts'
import type { Clock, Timer } from '../kit/clock.ts'
import { LineSplitter } from './lines.ts'

export type OutputLine = LogParams & {
  readonly stream?: 'stdout' | 'stderr'
  /** The line tells that so many others were dropped. */
  readonly dropped?: number
}

/**
 * What an instance writes and logs, as lines at a bounded rate: `linesMax` a second, the rest counted and told.
 *
 * A flood is read (so the module does not block) but not looked at, up to a number of bytes; beyond it the pipe
 * fills and the module waits, because nobody's output is worth the daemon's processor.
 */
export class OutputGate {
  readonly #clock: Clock
  readonly #tell: (line: OutputLine) => void
  readonly #streams: Readable[] = []
  #linesMax: number
  #lines = 0
  #bytes = 0
  #window: Timer | undefined

  constructor(clock: Clock, linesMax: number, tell: (line: OutputLine) => void) {
    this.#clock = clock
    this.#linesMax = linesMax
    this.#tell = tell
  }

  set linesMax(linesPerSecond: number) {
    this.#linesMax = linesPerSecond
  }

  /** Reads a stream of the process to its end. */
  capture(source: Readable, stream: 'stdout' | 'stderr'): void {
    const splitter = new LineSplitter(LINE_BYTES_MAX, 'cut')
    const level = stream === 'stdout' ? 'info' : 'warn'
    const pass = (text: string): void => this.pass({ level, message: text, stream })
    let isGap = false
    this.#streams.push(source)
    source.on('data', (chunk: Buffer) => {
      this.#open()
      this.#bytes += chunk.length
      if (this.#bytes > BYTES_MAX) for (const each of this.#streams) each.pause()
      if (this.#lines > this.#linesMax) {
        this.#lines += countLines(chunk)
        isGap = true
        return
      }
      // The line in which reading stopped has lost its middle, and the first one after it its beginning.
      const from = isGap ? chunk.indexOf(10) + 1 : 0
      if (isGap) splitter.rest()
      if (isGap && from === 0) return
      isGap = false
      for (const line of splitter.push(chunk.subarray(from))) pass(line)
    })
    source.on('end', () => {
      const rest = splitter.rest()
      if (rest !== undefined) pass(rest)
    })
    // A pipe that breaks ends as one that closes; the process's exit tells why.
    source.on('error', () => undefined)
  }

  /** Lets one line through, or counts it. */
  pass(line: OutputLine): void {
    this.#open()
    this.#lines += 1
    if (this.#lines <= this.#linesMax) this.#tell({ ...line, message: printable(line.message) })
  }

  /** Tells what was dropped so far; the process has ended. */
  close(): void {
    this.#window?.cancel()
    this.#turn()
  }

  #open(): void {
    this.#window ??= this.#clock.after(WINDOW_MS, () => this.#turn())
  }

  #turn(): void {
    const dropped = this.#lines - this.#linesMax
    this.#window = undefined
    this.#lines = 0
    this.#bytes = 0
    for (const each of this.#streams) each.resume()
    if (dropped <= 0) return
    const message = `${dropped} lines were dropped: more than ${this.#linesMax} within a second`
    this.#tell({ level: 'warn', message, fields: { dropped }, dropped })
  }
}

/**
 * Escape sequences and control characters could rewrite the screen of whoever reads the log; marks of direction could
 * make a line read as what it does not say.
 */
export function printable(text: string): string {
  return stripVTControlCharacters(text).replace(UNPRINTABLE, '')
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out.
const UNPRINTABLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g

function countLines(chunk: Buffer): number {
  let lines = 0
  for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, at + 1)) lines += 1
  return lines
}

const WINDOW_MS = 1_000
/** A screen of text in one line; more is data in the wrong place. */
const LINE_BYTES_MAX = 16_384
/** A second's worth: at 16 MiB/s the daemon spends about one hundredth of a core on one module's noise. */
const BYTES_MAX = 16 * 1_048_576
