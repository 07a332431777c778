import { RECORD_CHARS_MAX } from './csv.ts'

type Json = Readonly<Record<string, unknown>>

/** What both readers of JSON do: take text as it comes, give the records it completes. */
export interface RecordReader {
  push(text: string): Json[]
  end(): Json[]
  /** Lines or elements that were no JSON object. */
  readonly skipped: number
}

/** One object a line. A line that does not parse is counted and left out. */
export class LinesReader implements RecordReader {
  skipped = 0
  #rest = ''

  push(text: string): Json[] {
    const lines = (this.#rest + text).split('\n')
    this.#rest = lines.pop() ?? ''
    if (this.#rest.length > RECORD_CHARS_MAX) {
      throw new Error(
        `a line is longer than ${RECORD_CHARS_MAX} characters: JSON lines hold one record a line`,
      )
    }
    return lines.flatMap((line) => this.#parse(line))
  }

  end(): Json[] {
    return this.#parse(this.#rest)
  }

  #parse(line: string): Json[] {
    if (line.trim() === '') return []
    const record = parseRecord(line)
    if (record === undefined) this.skipped += 1
    return record === undefined ? [] : [record]
  }
}

/** The elements of one JSON array, without holding the array: it only counts brackets and minds the strings. */
export class ArrayReader implements RecordReader {
  skipped = 0
  #rest = ''
  #at = 0
  #start = 0
  #depth = 0
  #inString = false
  #closed = false

  push(text: string): Json[] {
    this.#rest = this.#rest.slice(this.#start) + text
    this.#at -= this.#start
    this.#start = 0
    const records = this.#take()
    if (this.#at - this.#start > RECORD_CHARS_MAX) {
      throw new Error(`one element of the array is longer than ${RECORD_CHARS_MAX} characters`)
    }
    return records
  }

  end(): Json[] {
    if (!this.#closed)
      throw new Error('the JSON array ends before its closing bracket: is the file complete?')
    return []
  }

  #take(): Json[] {
    const text = this.#rest
    const records: Json[] = []
    for (; this.#at < text.length; this.#at += 1) {
      const mark = text[this.#at]
      if (this.#inString) {
        if (mark === '\\') this.#at += 1
        else if (mark === '"') this.#inString = false
        continue
      }
      if (mark === '"') this.#inString = true
      else if (mark === '[' || mark === '{') {
        this.#depth += 1
        if (this.#depth === 1) this.#start = this.#at + 1
      } else if (mark === ']' || mark === '}') {
        this.#depth -= 1
        if (this.#depth === 0) {
          this.#element(text, records)
          this.#closed = true
        }
      } else if (mark === ',' && this.#depth === 1) this.#element(text, records)
    }
    return records
  }

  #element(text: string, records: Json[]): void {
    const piece = text.slice(this.#start, this.#at).trim()
    this.#start = this.#at + 1
    if (piece === '') return
    const record = parseRecord(piece)
    if (record === undefined) this.skipped += 1
    else records.push(record)
  }
}

/** Nested objects become dotted columns; arrays and deeper levels stay JSON text. */
export function flatten(
  record: Json,
  put: (name: string, value: string) => void,
  prefix = '',
  depth = 0,
): void {
  for (const [key, value] of Object.entries(record)) {
    const name = prefix + key
    if (value === null || value === undefined) put(name, '')
    else if (typeof value !== 'object') put(name, String(value))
    else if (Array.isArray(value) || depth >= 3) put(name, JSON.stringify(value))
    else flatten(value as Json, put, `${name}.`, depth + 1)
  }
}

function parseRecord(text: string): Json | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : undefined
  } catch {
    return undefined // A caller counts it: one bad record spoils only itself.
  }
}
