import { hash } from 'node:crypto'

/** What a goal is about, without what only this one mission has in it. */
export interface GoalReading {
  /** `g-` and 16 hex digits over all tokens: equal for goals that differ in numbers, dates, names and order only. */
  readonly fingerprint: string
  /** Sorted, each once, at most `TOKENS_MAX`. */
  readonly tokens: readonly string[]
}

/**
 * Reads a goal: lower case; URLs, dates, ids and numbers become placeholders; stop words out; tokens sorted.
 *
 * A goal made of stop words alone keeps them, so that it does not look like every other empty one.
 */
export function readGoal(goal: string): GoalReading {
  const words = withPlaceholders(goal.toLowerCase().normalize('NFKC')).match(WORD) ?? []
  const told = words.filter((word) => !STOP_WORDS.has(word))
  const distinct = [...new Set(told.length > 0 ? told : words)].map((word) => word.slice(0, TOKEN_LENGTH_MAX))
  const all = [...new Set(distinct)].sort()
  const digest = hash('sha256', all.join(' '))
  return {
    fingerprint: `g-${digest.slice(0, 16)}`,
    tokens: [...new Set(distinct)].slice(0, TOKENS_MAX).sort(),
  }
}

/** Reads goals, and remembers the last few: one mission's goal is read when it is created and again when it is claimed. */
export class GoalReader {
  readonly #known = new Map<string, GoalReading>()

  read(goal: string): GoalReading {
    const known = this.#known.get(goal)
    if (known !== undefined) return known
    const reading = readGoal(goal)
    if (this.#known.size >= READINGS_MAX) this.#known.clear()
    this.#known.set(goal, reading)
    return reading
  }
}

/** Goals have up to 2,000 characters: 2 MB at the worst. */
const READINGS_MAX = 256

/** Replaces what differs from case to case: addresses, dates, ids, paths in error messages, numbers. */
export function withPlaceholders(text: string): string {
  return PLACEHOLDERS.reduce((rest, [pattern, word]) => rest.replace(pattern, word), text)
}

/** A goal has at most 2,000 characters; beyond these tokens it is prose, and each one costs memory per goal. */
const TOKENS_MAX = 48
const TOKEN_LENGTH_MAX = 40

const WORD = /<[a-z]+>|[\p{L}\p{N}]+(?:['’][\p{L}]+)?/gu

/** In this order: a date must not be read as three numbers, nor a URL as a path. */
const PLACEHOLDERS: readonly (readonly [RegExp, string])[] = [
  [/\b[a-z][a-z0-9+.-]*:\/\/[^\s"'<>]+/gi, ' <url> '],
  [/\b[\w.+-]+@[\w-]+\.[\w.-]+\b/g, ' <id> '],
  [/\b\d{4}-\d{2}-\d{2}(?:[t ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:z|[+-]\d{2}:?\d{2})?)?\b/gi, ' <date> '],
  [/\b\d{1,2}[./]\d{1,2}[./]\d{2,4}\b/g, ' <date> '],
  [/\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/gi, ' <id> '],
  [/\bm-[0-9a-z]{26}\b/g, ' <id> '],
  [/\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{7,64}\b/gi, ' <id> '],
  [/\b(?=[a-z_-]*\d)[a-z]+[_-]?\d{3,}[a-z0-9_-]*\b/gi, ' <id> '],
  [/#\d+\b/g, ' <id> '],
  [/[+-]?\b\d+(?:[.,]\d+)*\s?%?/g, ' <num> '],
]

/** English function words: they say nothing about what a goal is about. */
const STOP_WORDS = new Set(
  `a about all also an and any are as at be been but by can could did do does for from get had has have how i if in
  into is it its let me my no not of on or our out over own please should so some such than that the their them
  then there these they this those to too up us was we were what when where which while who why will with would you
  your`.split(/\s+/),
)
