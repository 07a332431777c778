import type { Fact } from '../contracts/fact.ts'
import type { Clock, Timer } from '../kit/clock.ts'

/** Facts whose word in the telemetry is not their own. */
const EVENTS: Readonly<Record<string, string>> = {
  'mission.ended': 'mission_ran',
  'module.busy': 'busy_loop',
  'daemon.busy_loop': 'busy_loop',
}

/**
 * Twenty of a kind in a second can be read one by one; of more, the number is what matters. With all types at their
 * limit the two files of telemetry still hold some minutes, with the usual six a quarter of an hour.
 */
const LINES_MAX = 20
const WINDOW_MS = 1_000

interface Kind {
  readonly event: string
  lines: number
  /** Beyond the limit, in this window. */
  rest: number
  firstSeq: number
  lastSeq: number
}

/**
 * Makes telemetry lines of facts: one for each of the first twenty of a type in a second, and one that counts the
 * others, `{"event": …, "count": 4980, "first_seq": …, "last_seq": …}`, when that second is over.
 */
export class FactLines {
  readonly #clock: Clock
  readonly #write: (line: object) => void
  readonly #kinds = new Map<string, Kind>()
  #window: Timer | undefined

  constructor(clock: Clock, write: (line: object) => void) {
    this.#clock = clock
    this.#write = write
  }

  take(fact: Fact): void {
    const kind = this.#kinds.get(fact.type) ?? this.#begin(fact.type)
    this.#window ??= this.#clock.after(WINDOW_MS, () => this.close())
    if (kind.lines < LINES_MAX) {
      kind.lines += 1
      const id = fact.mid !== undefined && { mission_id: fact.mid }
      const ts = Date.parse(fact.ts) / 1_000
      this.#write({ ts, event: kind.event, seq: fact.seq, ...id, ...plainFields(fact.d) })
      return
    }
    if (kind.rest === 0) kind.firstSeq = fact.seq
    kind.rest += 1
    kind.lastSeq = fact.seq
  }

  /** Ends this second: tells what was only counted. */
  close(): void {
    this.#window?.cancel()
    this.#window = undefined
    const ts = this.#clock.now() / 1_000
    for (const kind of this.#kinds.values()) {
      const { event, rest, firstSeq, lastSeq } = kind
      if (rest > 0) this.#write({ ts, event, count: rest, first_seq: firstSeq, last_seq: lastSeq })
      kind.lines = 0
      kind.rest = 0
    }
  }

  #begin(type: string): Kind {
    const event = EVENTS[type] ?? type.replaceAll('.', '_')
    const kind = { event, lines: 0, rest: 0, firstSeq: 0, lastSeq: 0 }
    this.#kinds.set(type, kind)
    return kind
  }
}

const TEXT_CHARS_MAX = 200
const FIELDS_MAX = 24
const TAKEN: ReadonlySet<string> = new Set(['ts', 'event', 'seq'])

/** Numbers, flags and short texts: telemetry is for counting, the journal for reading. */
function plainFields(d: Fact['d']): Record<string, unknown> {
  const plain: Record<string, unknown> = {}
  let room = FIELDS_MAX
  for (const name in d) {
    const value = d[name]
    const isPlain =
      typeof value === 'number' ||
      typeof value === 'boolean' ||
      (typeof value === 'string' && value.length <= TEXT_CHARS_MAX)
    if (!isPlain || TAKEN.has(name)) continue
    if (room === 0) break
    plain[name] = value
    room -= 1
  }
  return plain
}
