/** Deeper than any plan or input needs; below what the recursion of parsers and validators can take. */
const DEPTH_MAX = 32
/** Every key costs an object slot and a comparison in each validator. */
const KEYS_MAX = 10_000

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Bytes as text, or why they are none: invalid UTF-8 and a byte order mark are refused, not repaired. */
export function decodeUtf8(bytes: Uint8Array): { readonly text: string } | { readonly fault: string } {
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf)
    return { fault: 'the body begins with a byte order mark' }
  try {
    return { text: decoder.decode(bytes) }
  } catch {
    return { fault: 'the body is not valid UTF-8' }
  }
}

/**
 * Finds what `JSON.parse` would accept and quietly bend: nesting without end, a key given twice (the last would win),
 * numbers that do not survive (1e400, integers above 2⁵³). Text that is no JSON at all is for the parser to refuse.
 *
 * @returns A sentence about the first fault.
 */
export function findBentJson(text: string): string | undefined {
  const objects: (Set<string> | undefined)[] = []
  let keys = 0
  for (let at = 0; at < text.length; ) {
    const char = text[at]
    if (char === '"') {
      const end = endOfString(text, at)
      const seen = objects.at(-1)
      if (seen !== undefined && isKey(text, end)) {
        const key = text.slice(at, end)
        if (seen.has(key)) return `the key ${key.slice(0, 80)} is given twice`
        seen.add(key)
        keys += 1
        if (keys > KEYS_MAX) return `the body has more than ${KEYS_MAX} keys`
      }
      at = end
    } else if (char === '{' || char === '[') {
      objects.push(char === '{' ? new Set() : undefined)
      if (objects.length > DEPTH_MAX) return `the body is nested deeper than ${DEPTH_MAX} levels`
      at += 1
    } else if (char === '}' || char === ']') {
      objects.pop()
      at += 1
    } else if (char === '-' || (char !== undefined && char >= '0' && char <= '9')) {
      const end = endOfNumber(text, at)
      if (!survives(text.slice(at, end)))
        return `the number ${text.slice(at, Math.min(end, at + 40))} cannot be kept exactly`
      at = end
    } else {
      at += 1
    }
  }
  return undefined
}

/** Behind the closing quote, or at the end of a text that has none. */
function endOfString(text: string, start: number): number {
  let at = start + 1
  while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1
  return Math.min(at + 1, text.length)
}

function isKey(text: string, end: number): boolean {
  let at = end
  while (' \t\r\n'.includes(text[at] ?? 'x')) at += 1
  return text[at] === ':'
}

function endOfNumber(text: string, start: number): number {
  let at = start + 1
  while (at < text.length && '0123456789.eE+-'.includes(text[at] ?? '')) at += 1
  return at
}

function survives(literal: string): boolean {
  const value = Number(literal)
  return Number.isFinite(value) && (/[.eE]/.test(literal) || Number.isSafeInteger(value))
}
