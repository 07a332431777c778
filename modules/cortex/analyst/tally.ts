/** Different values counted exactly; beyond, the count is an estimate and only frequent values are kept. */
export const EXACT_MAX = 1_000

const REGISTERS = 4_096
const REGISTER_BITS = 12

/** One value of a column and how its rows ended. */
export interface Entry {
  readonly value: string
  /** NaN when the value is no number. */
  readonly number: number
  rows: number
  /** Rows whose outcome is known, and those of them that converted. */
  judged: number
  hits: number
}

/**
 * How often each value comes, in bounded memory.
 *
 * Exact up to `EXACT_MAX` different values. Beyond, Misra and Gries: a value that comes in more than a thousandth of the
 * rows is still there, with a count that is too low by at most `slack`; and HyperLogLog for how many there are
 * (standard error 1.6 %).
 */
export class Tally {
  readonly #entries = new Map<string, Entry>()
  #registers: Uint8Array | undefined
  #slack = 0

  /** The entry of `value`; a passing one, kept nowhere, when the value is rare and there is no room. */
  entry(value: string): Entry {
    const known = this.#entries.get(value)
    if (known !== undefined) return known
    if (this.#registers !== undefined) this.#mark(value)
    else if (this.#entries.size === EXACT_MAX) this.#overflow(value)
    if (this.#entries.size >= EXACT_MAX) this.#makeRoom()
    const entry = { value: ownCopy(value), number: toNumber(value), rows: 0, judged: 0, hits: 0 }
    if (this.#entries.size < EXACT_MAX) this.#entries.set(entry.value, entry)
    return entry
  }

  get exact(): boolean {
    return this.#registers === undefined
  }

  /** Different values: exact, or an estimate. */
  get distinct(): number {
    return this.#registers === undefined ? this.#entries.size : Math.round(estimate(this.#registers))
  }

  /** By how much the counts of an inexact tally may be too low. */
  get slack(): number {
    return this.#slack
  }

  /** Most frequent first. */
  entries(): Entry[] {
    return [...this.#entries.values()].sort((a, b) => b.rows - a.rows || (a.value < b.value ? -1 : 1))
  }

  #overflow(value: string): void {
    this.#registers = new Uint8Array(REGISTERS)
    for (const known of this.#entries.keys()) this.#mark(known)
    this.#mark(value)
  }

  /** Every counter loses one, as if each had met the newcomer and both had left. */
  #makeRoom(): void {
    this.#slack += 1
    for (const [value, entry] of this.#entries) {
      entry.rows -= 1
      if (entry.rows <= 0) this.#entries.delete(value)
    }
  }

  #mark(value: string): void {
    const registers = this.#registers
    if (registers === undefined) return
    const hash = hashOf(value)
    const place = hash & (REGISTERS - 1)
    const rank = Math.clz32((hash >>> REGISTER_BITS) | 0) - REGISTER_BITS + 1
    if (rank > (registers[place] ?? 0)) registers[place] = rank
  }
}

/** A cell is a slice that would keep its whole chunk alive; this is one of a string of its own. */
function ownCopy(text: string): string {
  return text.length < 13 ? text : ` ${text}`.slice(1)
}

/** Decimal numbers as a person or a program writes them; neither hexadecimal, nor Infinity, nor blanks. */
export function toNumber(text: string): number {
  const mark = text.charCodeAt(0)
  const numeric = (mark >= 48 && mark <= 57) || mark === 45 || mark === 43 || mark === 46
  if (!numeric || (text.charCodeAt(1) > 57 && text[1] !== 'e' && text[1] !== 'E')) return Number.NaN
  const number = Number(text)
  return Number.isFinite(number) ? number : Number.NaN
}

function estimate(registers: Uint8Array): number {
  let sum = 0
  let empty = 0
  for (const rank of registers) {
    sum += 2 ** -rank
    if (rank === 0) empty += 1
  }
  const raw = ((0.7213 / (1 + 1.079 / REGISTERS)) * REGISTERS * REGISTERS) / sum
  return raw <= 2.5 * REGISTERS && empty > 0 ? REGISTERS * Math.log(REGISTERS / empty) : raw
}

/** FNV-1a, then MurmurHash3's last mixing, since FNV alone leaves the low bits uneven. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
