const QUOTE = 34
const LF = 10
const CR = 13

/** A longer record is an opening quote without its end; without a limit it would take the rest of the file. */
export const RECORD_CHARS_MAX = 1_048_576

/**
 * RFC 4180 in pieces: push text as it comes, take the records it completes.
 *
 * Beyond the standard: any single-character delimiter, LF or CR alone as the end of a line, text after a closing quote
 * (kept as it stands), and blank lines (left out).
 */
export class CsvReader {
  readonly #delimiter: number
  #rest = ''
  #records = 0
  #quoted = ''
  #after = 0

  constructor(delimiter: string) {
    this.#delimiter = delimiter.charCodeAt(0)
  }

  push(text: string): string[][] {
    this.#rest = this.#rest === '' ? text : this.#rest + text
    const records = this.#take(false)
    if (this.#rest.length > RECORD_CHARS_MAX) {
      throw new Error(
        `record ${this.#records + 1} is longer than ${RECORD_CHARS_MAX} characters: is there a quote without its end?`,
      )
    }
    return records
  }

  /** The record that the end of the file completes, if any. */
  end(): string[][] {
    return this.#take(true)
  }

  #take(last: boolean): string[][] {
    const text = this.#rest
    const records: string[][] = []
    let at = 0
    while (at < text.length) {
      const fields: string[] = []
      const next = this.#record(text, at, last, fields)
      if (next < 0) break
      at = next
      if (fields.length === 1 && fields[0] === '') continue
      records.push(fields)
    }
    this.#rest = text.slice(at)
    this.#records += records.length
    return records
  }

  /** Where the next record begins, or -1 when this one is not complete yet. */
  #record(text: string, start: number, last: boolean, fields: string[]): number {
    let at = start
    for (;;) {
      let head = ''
      if (text.charCodeAt(at) === QUOTE) {
        if (!this.#unquote(text, at, last)) return -1
        head = this.#quoted
        at = this.#after
      }
      const stop = this.#stop(text, at)
      if (stop === text.length && !last) return -1
      fields.push(head === '' ? text.slice(at, stop) : head + text.slice(at, stop))
      if (stop === text.length) return stop
      const mark = text.charCodeAt(stop)
      if (mark === LF) return stop + 1
      // An LF that comes with the next piece is a blank line then, and left out.
      if (mark === CR) return text.charCodeAt(stop + 1) === LF ? stop + 2 : stop + 1
      at = stop + 1
    }
  }

  #stop(text: string, start: number): number {
    const delimiter = this.#delimiter
    let at = start
    for (; at < text.length; at += 1) {
      const mark = text.charCodeAt(at)
      if (mark === delimiter || mark === LF || mark === CR) break
    }
    return at
  }

  /** Reads from the opening quote to the closing one; false when that has not come yet. */
  #unquote(text: string, open: number, last: boolean): boolean {
    this.#quoted = ''
    let from = open + 1
    for (;;) {
      const close = text.indexOf('"', from)
      if (close < 0) {
        if (!last) return false
        throw new Error(`record ${this.#records + 1} or a later one opens a quote that never closes`)
      }
      this.#quoted += text.slice(from, close)
      if (text.charCodeAt(close + 1) !== QUOTE) {
        this.#after = close + 1
        return true
      }
      this.#quoted += '"'
      from = close + 2
    }
  }
}

/** The delimiter that the first record uses most, quotes aside; a comma when it has none. */
export function sniffDelimiter(head: string): string {
  const first = firstRecord(head).replace(/"[^"]*"/g, '')
  const counts = [',', ';', '\t', '|'].map((mark) => ({ mark, times: first.split(mark).length - 1 }))
  return counts.reduce((best, next) => (next.times > best.times ? next : best)).mark
}

/** Whether the first record names the columns: none of its cells is a number, and no name comes twice. */
export function looksLikeHeader(first: readonly string[]): boolean {
  const names = first.map((name) => name.trim()).filter((name) => name !== '')
  return (
    names.length > 0 &&
    names.every((name) => Number.isNaN(Number(name))) &&
    new Set(names).size === names.length
  )
}

function firstRecord(head: string): string {
  let quoted = false
  for (let at = 0; at < head.length; at += 1) {
    const mark = head.charCodeAt(at)
    if (mark === QUOTE) quoted = !quoted
    else if (!quoted && (mark === LF || mark === CR) && at > 0) return head.slice(0, at)
  }
  return head
}
