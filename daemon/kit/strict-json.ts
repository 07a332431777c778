import type { Issue } from '../contracts/failure.ts'
import { escapePointer } from './schema.ts'

export type StrictJson =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly issue: Issue }

export interface JsonLimits {
  readonly depthMax: number
  readonly keysMax: number
  /** Of objects, lists and what stands behind a comma: a text of the smallest numbers is long to read. */
  readonly itemsMax: number
}

const UTF_8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Deeper than anything a person writes, and far from where a recursive reader runs out of stack. */
const GENEROUS: JsonLimits = { depthMax: 64, keysMax: 100_000, itemsMax: 1_000_000 }

/**
 * Reads JSON as strictly as something deserves that code is started by.
 *
 * `JSON.parse` takes the last of two equal keys, lets `__proto__` through, and bends numbers that it cannot hold (1e999,
 * integers above 2⁵³); here each is a fault with its pointer, and so are comments, a byte order mark and bytes that are
 * not UTF-8.
 */
export function readStrictJson(bytes: Uint8Array, limits: JsonLimits = GENEROUS): StrictJson {
  let text: string
  try {
    text = UTF_8.decode(bytes)
  } catch {
    return faulty('', 'is not UTF-8 text; save it as UTF-8')
  }
  if (text.startsWith('\ufeff'))
    return faulty('', 'begins with a byte order mark; save it as UTF-8 without one')
  if (text.trim() === '') return faulty('', 'is empty; it must hold one JSON object')
  const value = plainly(text, limits)
  if (value !== undefined) return { ok: true, value }
  const issue = new Reader(text, limits).fault()
  return issue === undefined ? { ok: true, value: JSON.parse(text) } : { ok: false, issue }
}

/**
 * The value of a text that nothing can be wrong with: written again it is the same but for space, so no key stands there
 * twice and no number was bent; and it is within the limits. Undefined says only that a closer look is needed.
 */
function plainly(text: string, limits: JsonLimits): unknown {
  if (text.includes('proto')) return undefined
  const dense = withoutSpace(text, limits)
  if (dense === undefined) return undefined
  try {
    const value: unknown = JSON.parse(dense)
    return JSON.stringify(value) === dense ? value : undefined
  } catch {
    return undefined
  }
}

/** The text without the space between its tokens; undefined beyond the limits, and where space keeps two apart. */
function withoutSpace(text: string, { depthMax, keysMax, itemsMax }: JsonLimits): string | undefined {
  let dense = ''
  let from = 0
  let depth = 0
  let keys = 0
  let items = 0
  let isApart = false
  let wasWord = false
  for (let at = 0; at < text.length; at += 1) {
    const mark = MARKS[text.charCodeAt(at)] ?? WORD
    if (mark === SPACE) {
      dense += text.slice(from, at)
      from = at + 1
      isApart = true
      continue
    }
    if (isApart && wasWord && mark === WORD) return undefined
    isApart = false
    wasWord = mark === WORD
    if (mark === WORD) continue
    if (mark === QUOTE) at = endOfText(text, at)
    else if (mark === COLON) keys += 1
    else if (mark === CLOSE) depth -= 1
    else items += 1
    if (mark === OPEN) depth += 1
    if (depth > depthMax || keys > keysMax || items > itemsMax) return undefined
  }
  return from === 0 ? text : dense + text.slice(from)
}

/** Where the quote stands that ends the text which begins here; the last place of all when none does. */
function endOfText(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let before = end - 1
    while (text.charCodeAt(before) === BACKSLASH) before -= 1
    if ((end - before) % 2 === 1) return end
  }
  return text.length
}

const [WORD, SPACE, OPEN, CLOSE, COLON, COMMA, QUOTE] = [0, 1, 2, 3, 4, 5, 6]
const BACKSLASH = '\\'.charCodeAt(0)
/** By character code; what is not in it is a part of a word, or an error. */
const MARKS = new Uint8Array(128)
for (const [mark, characters] of [
  [SPACE, ' \n\r\t'],
  [OPEN, '{['],
  [CLOSE, '}]'],
  [COLON, ':'],
  [COMMA, ','],
  [QUOTE, '"'],
] as const) {
  for (const character of characters) MARKS[character.charCodeAt(0)] = mark
}

interface Frame {
  readonly close: '}' | ']'
  /** Of an object: the keys met so far. */
  readonly keys: Set<string> | undefined
  /** Where in it the reader is: a key once there is one, or an index. */
  at: string | number | undefined
}

type Expected = 'value' | 'first value' | 'key' | 'first key' | 'colon' | 'comma' | 'end'

class Reader {
  readonly #text: string
  readonly #limits: JsonLimits
  readonly #token = new RegExp(TOKEN, 'y')
  readonly #frames: Frame[] = []
  #expected: Expected = 'value'
  #at = 0
  #keys = 0
  #items = 0

  constructor(text: string, limits: JsonLimits) {
    this.#text = text
    this.#limits = limits
  }

  /** The first thing that is wrong, if anything is. */
  fault(): Issue | undefined {
    for (;;) {
      this.#skipSpace()
      const start = this.#at
      if (start === this.#text.length) {
        return this.#expected === 'end'
          ? undefined
          : this.#issue('ends too early; a bracket or a value is missing')
      }
      this.#token.lastIndex = start
      const token = this.#token.exec(this.#text)?.[0]
      if (token === undefined) return this.#issue(this.#explain())
      const detail = this.#take(token)
      if (detail !== undefined) return this.#issue(detail)
      this.#at = start + token.length
    }
  }

  #skipSpace(): void {
    while (' \t\r\n'.includes(this.#text[this.#at] ?? 'x')) this.#at += 1
  }

  /** Takes one token; says what is wrong with it here, if anything is. */
  #take(token: string): string | undefined {
    if (',[{'.includes(token)) this.#items += 1
    if (this.#items > this.#limits.itemsMax) return `has more than ${this.#limits.itemsMax} values`
    const expected = this.#expected
    const frame = this.#frames.at(-1)
    if (frame !== undefined && token === frame.close && CLOSABLE.has(expected)) {
      this.#frames.pop()
      return this.#valueDone()
    }
    switch (expected) {
      case 'end':
        return `has ${quote(token)} after its end`
      case 'colon':
        this.#expected = 'value'
        return token === ':' ? undefined : `needs a colon here, not ${quote(token)}`
      case 'comma':
        if (token !== ',') return `needs a comma or ${frame?.close} here, not ${quote(token)}`
        if (typeof frame?.at === 'number') frame.at += 1
        this.#expected = frame?.keys === undefined ? 'value' : 'key'
        return undefined
      case 'key':
      case 'first key':
        return this.#key(token, frame)
      case 'value':
      case 'first value':
        return this.#value(token)
    }
  }

  #key(token: string, frame: Frame | undefined): string | undefined {
    if (!token.startsWith('"')) {
      return token === '}' ? 'has a comma before }' : `needs a key in double quotes, not ${quote(token)}`
    }
    const key = JSON.parse(token) as string
    const twice = frame?.keys?.has(key) === true
    if (frame !== undefined) frame.at = key
    frame?.keys?.add(key)
    this.#keys += 1
    if (this.#keys > this.#limits.keysMax) return `has more than ${this.#limits.keysMax} keys`
    this.#expected = 'colon'
    const reachesPrototype = key === 'prototype' && this.#frames.at(-2)?.at === 'constructor'
    if (key === '__proto__' || reachesPrototype) return 'is a key that reaches behind an object; rename it'
    return twice ? 'stands there twice; keep one of them' : undefined
  }

  #value(token: string): string | undefined {
    if (token === '{' || token === '[') {
      if (this.#frames.length === this.#limits.depthMax) {
        return `is nested more than ${this.#limits.depthMax} levels deep`
      }
      this.#frames.push(
        token === '{'
          ? { close: '}', keys: new Set(), at: undefined }
          : { close: ']', keys: undefined, at: 0 },
      )
      this.#expected = token === '{' ? 'first key' : 'first value'
      return undefined
    }
    if (token === ']') return 'has a comma before ]'
    if (',:}'.includes(token)) return `needs a value here, not ${quote(token)}`
    if (/^[-\d]/.test(token) && !survives(token))
      return `is a number that cannot be kept exactly: ${quote(token)}`
    return this.#valueDone()
  }

  #valueDone(): undefined {
    this.#expected = this.#frames.length === 0 ? 'end' : 'comma'
  }

  /** What stands at a place where no token begins. */
  #explain(): string {
    const rest = this.#text.slice(this.#at, this.#at + 12)
    if (/^(\/[/*]|#)/.test(rest)) return 'has a comment; JSON has none, put it into `description` or a README'
    if (rest.startsWith("'")) return 'has a single quote; JSON wants double quotes'
    if (rest.startsWith('"')) return 'has a text that does not end, or a character in it that must be escaped'
    if (/^[-+]?(NaN|Infinity)/.test(rest)) return 'has a number that JSON does not know'
    return `is not JSON at ${quote(/^(\w+|.)/su.exec(rest)?.[0] ?? rest)}`
  }

  #issue(detail: string): Issue {
    const before = this.#text.slice(0, this.#at).split('\n')
    const place = `line ${before.length}, column ${(before.at(-1)?.length ?? 0) + 1}`
    return { pointer: this.#pointer(), detail: `${detail} (${place})` }
  }

  #pointer(): string {
    return this.#frames
      .filter(({ at }) => at !== undefined)
      .map(({ at }) => `/${escapePointer(String(at))}`)
      .join('')
  }
}

const TOKEN =
  /[{}[\],:]|"(?:[ !#-[\]-\uffff]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.+-])|(?:true|false|null)(?!\w)/
const CLOSABLE: ReadonlySet<Expected> = new Set(['comma', 'first key', 'first value'])

function survives(literal: string): boolean {
  const value = Number(literal)
  if (!Number.isFinite(value)) return false
  // What JavaScript wrote itself is read back as what it was, even where the digits are not exact.
  return /[.eE]/.test(literal) || BigInt(literal) === BigInt(value) || JSON.stringify(value) === literal
}

function quote(token: string): string {
  return JSON.stringify(token.length > 20 ? `${token.slice(0, 20)}…` : token)
}

function faulty(pointer: string, detail: string): StrictJson {
  return { ok: false, issue: { pointer, detail } }
}
