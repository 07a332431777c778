import { words } from './words.ts'

const SNIPPET_CHARS_MAX = 200

export interface Snippet {
  /** From 1. */
  readonly line: number
  readonly text: string
}

/**
 * The lines of a text that answer the terms best, best first; each with its number, cut around the first match.
 *
 * @param weight - How much a term tells: rare ones more.
 */
export function snippets(
  text: string,
  terms: readonly string[],
  weight: (term: string) => number,
  limit: number,
): Snippet[] {
  const wanted = new Set(terms)
  return text
    .split(/\r\n|\n|\r/)
    .map((line, at) => {
      const present = [...new Set(words(line))].filter((word) => wanted.has(word))
      return { line, at, score: present.reduce((sum, term) => sum + weight(term), 0) }
    })
    .filter(({ score }) => score > 0)
    .sort((a, b) => b.score - a.score || a.at - b.at)
    .slice(0, limit)
    .map(({ line, at }) => ({ line: at + 1, text: cut(line, wanted) }))
}

function cut(line: string, wanted: ReadonlySet<string>): string {
  const trimmed = line.trim()
  if (trimmed.length <= SNIPPET_CHARS_MAX) return trimmed
  const match = [...trimmed.matchAll(/[\p{L}\p{N}_]+/gu)].find(([word]) =>
    words(word).some((part) => wanted.has(part)),
  )
  const from = Math.max(0, Math.min((match?.index ?? 0) - 60, trimmed.length - SNIPPET_CHARS_MAX))
  const piece = trimmed.slice(from, from + SNIPPET_CHARS_MAX)
  return `${from > 0 ? '…' : ''}${piece}${from + SNIPPET_CHARS_MAX < trimmed.length ? '…' : ''}`
}
