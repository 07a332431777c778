import { Sample } from './sample.ts'
import { quantile } from './statistics.ts'
import { type Entry, Tally } from './tally.ts'

export type ColumnType = 'empty' | 'boolean' | 'integer' | 'number' | 'date' | 'text' | 'mixed'

/** Up to this many different numbers are taken for codes (a region, a rating) and split by value. */
export const CODES_MAX = 20

/** Whether a row converted; `unknown` when its target is missing or unreadable, or there is none. */
export type Outcome = 'hit' | 'miss' | 'unknown'

/** What one pass over the rows learns about one column. */
export class Column {
  readonly name: string
  readonly tally = new Tally()
  readonly missing: Entry = { value: '(missing)', number: Number.NaN, rows: 0, judged: 0, hits: 0 }
  readonly sample = new Sample()
  rows = 0
  #numbers = 0
  #integers = 0
  #dates = 0
  #min = Number.POSITIVE_INFINITY
  #max = Number.NEGATIVE_INFINITY
  #mean = 0
  #squares = 0

  constructor(name: string) {
    this.name = name
  }

  add(cell: string, outcome: Outcome): void {
    const entry = this.tally.entry(cell)
    count(entry, outcome)
    this.rows += 1
    if (!Number.isNaN(entry.number)) this.#number(entry.number)
    else if (DATE.test(cell)) this.#dates += 1
  }

  addMissing(outcome: Outcome): void {
    count(this.missing, outcome)
  }

  get type(): ColumnType {
    if (this.rows === 0) return 'empty'
    if (this.#integers === this.rows) return 'integer'
    if (this.#numbers === this.rows) return 'number'
    if (this.#dates === this.rows) return 'date'
    if (this.tally.exact && this.tally.entries().every((entry) => isTruth(entry.value))) return 'boolean'
    return this.#numbers > 0 ? 'mixed' : 'text'
  }

  get isNumeric(): boolean {
    return this.#numbers > 0 && this.#numbers === this.rows
  }

  profile(): ColumnProfile {
    const top = this.tally.entries().slice(0, 5)
    return {
      name: this.name,
      type: this.type,
      rows: this.rows,
      missing: this.missing.rows,
      distinct: this.tally.distinct,
      distinct_exact: this.tally.exact,
      ...(this.#numbers === 0 ? {} : { numbers: this.#figures() }),
      top: top.filter((entry) => entry.rows > this.tally.slack).map(({ value, rows }) => ({ value, rows })),
      top_slack: this.tally.slack,
    }
  }

  /** Welford's update: stable where the sum of squares is not. */
  #number(value: number): void {
    this.#numbers += 1
    if (Number.isInteger(value)) this.#integers += 1
    if (value < this.#min) this.#min = value
    if (value > this.#max) this.#max = value
    const gap = value - this.#mean
    this.#mean += gap / this.#numbers
    this.#squares += gap * (value - this.#mean)
    this.sample.add(value)
  }

  #figures(): Figures {
    const sorted = this.sample.sorted()
    return {
      count: this.#numbers,
      min: this.#min,
      max: this.#max,
      mean: this.#mean,
      sd: this.#numbers < 2 ? null : Math.sqrt(this.#squares / (this.#numbers - 1)),
      p25: quantile(sorted, 0.25),
      median: quantile(sorted, 0.5),
      p75: quantile(sorted, 0.75),
      quantiles_exact: this.#numbers <= sorted.length,
    }
  }
}

export interface Figures {
  readonly count: number
  readonly min: number
  readonly max: number
  readonly mean: number
  readonly sd: number | null
  readonly p25: number
  readonly median: number
  readonly p75: number
  readonly quantiles_exact: boolean
}

export interface ColumnProfile {
  readonly name: string
  readonly type: ColumnType
  /** Filled cells. */
  readonly rows: number
  readonly missing: number
  readonly distinct: number
  readonly distinct_exact: boolean
  readonly numbers?: Figures
  readonly top: readonly { readonly value: string; readonly rows: number }[]
  /** By how much the counts of `top` may be too low. */
  readonly top_slack: number
}

const DATE = /^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}.*)?$/
const TRUTHS = new Set(['true', 'false', 'yes', 'no', 'y', 'n', 't', 'f'])

function isTruth(value: string): boolean {
  return TRUTHS.has(value.trim().toLowerCase())
}

function count(entry: Entry, outcome: Outcome): void {
  entry.rows += 1
  if (outcome === 'unknown') return
  entry.judged += 1
  if (outcome === 'hit') entry.hits += 1
}
