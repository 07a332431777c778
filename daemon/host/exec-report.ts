import type { Clock } from '../kit/clock.ts'
import type { OutputLine } from './output.ts'
import type { Departure } from './port.ts'

/** Remembers what a program wrote to stderr last: mostly that is where it says why it ends. */
export class ExecReport {
  readonly #dir: string
  readonly #clock: Clock
  #lines: { atMs: number; text: string }[] = []

  /** @param dir - Its generation: places in it are told. */
  constructor(dir: string, clock: Clock) {
    this.#dir = dir
    this.#clock = clock
  }

  hear({ stream, message }: OutputLine): void {
    if (stream !== 'stderr' || message.trim() === '') return
    this.#lines.push({ atMs: this.#clock.elapsed(), text: message.slice(0, CHARACTERS_MAX) })
    if (this.#lines.length > LINES_MAX) this.#lines.shift()
  }

  /** An exit that failed, with what was written just before it. What is older was about something else. */
  explain(departure: Departure): Departure {
    if (departure.how !== 'exited' || departure.exitCode === 0) return departure
    if (departure.signal !== null && !FAULTS.has(departure.signal)) return departure
    const sinceMs = this.#clock.elapsed() - RECENT_MS
    const lines = this.#lines.filter(({ atMs }) => atMs >= sinceMs).map(({ text }) => text)
    const last = lines.at(-1)
    if (last === undefined) return departure
    const stack = lines.join('\n')
    const place = this.#placeIn(stack)
    return { ...departure, said: place === undefined ? last : `${last} (${place})`, stack }
  }

  /** The last line of a file of the generation that a traceback names, as `file:line`. */
  #placeIn(text: string): string | undefined {
    const from = text.lastIndexOf(`${this.#dir}/`)
    if (from === -1) return undefined
    // Python says `File "x.py", line 3`, most others `x.js:3`.
    const match = /^([^\s":,]+)(?:", line |:)(\d+)/.exec(text.slice(from + this.#dir.length + 1))
    return match === null ? undefined : `${match[1]}:${match[2]}`
  }
}

/** Signals that a program raises by its own fault; the others came from somebody else. */
const FAULTS: ReadonlySet<string> = new Set(['SIGABRT', 'SIGSEGV', 'SIGBUS', 'SIGILL', 'SIGFPE', 'SIGTRAP'])
/** Reports are written in the moment before an exit. */
const RECENT_MS = 1_000
const LINES_MAX = 40
/** The reason stands in sentences. */
const CHARACTERS_MAX = 500
