import { readdirSync, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'

/** A source file as the house checks read it. */
export interface Source {
  /** From the project's root. */
  readonly file: string
  readonly text: string
  /** The text with comments and the inside of strings, templates and expressions blanked: same length, same lines. */
  readonly code: string
}

export interface Import {
  readonly file: string
  readonly line: number
  /** A path from the root for our own files, else what stands there: `node:fs`, `pino`. */
  readonly target: string
  readonly isOwn: boolean
  readonly isType: boolean
}

/** Every TypeScript file below these folders. */
export function readSources(folders: readonly string[]): Source[] {
  return folders.flatMap((folder) =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts') && !path.includes('node_modules'))
      .sort()
      .map((path) => sourceOf(join(folder, path), readFileSync(join(folder, path), 'utf8'))),
  )
}

export function sourceOf(file: string, text: string): Source {
  return { file, text, code: blank(text) }
}

/** What a file imports: statements, re-exports, and `import()` of a plain string. */
export function importsOf({ file, text, code }: Source): Import[] {
  const found: Import[] = []
  for (const match of code.matchAll(IMPORT)) {
    const quoteAt = match.index + match[0].length - 1
    const quote = text[quoteAt] ?? "'"
    const specifier = text.slice(quoteAt + 1, text.indexOf(quote, quoteAt + 1))
    const isOwn = specifier.startsWith('.')
    found.push({
      file,
      line: lineAt(text, match.index),
      target: isOwn ? posix.join(posix.dirname(file), specifier) : specifier,
      isOwn,
      isType: /^(import|export)\s+type\b/.test(match[0]),
    })
  }
  return found
}

/** Up to the quote that opens the specifier. `import` as a word of its own stands nowhere else in code. */
const IMPORT = /(?:^import\s+|^(?:import|export)\s[^'"`;=]*?\sfrom\s+|\bimport\(\s*)['"]/gm

/** Where a pattern stands in the code of a file. */
export function linesWith({ file, text, code }: Source, pattern: RegExp): string[] {
  return [...code.matchAll(pattern)].map((match) => `${file}:${lineAt(text, match.index)} ${match[0]}`)
}

export interface Span {
  readonly file: string
  readonly line: number
  readonly lines: number
}

/** Every function with a body, by where it begins and how many lines it has. */
export function functionsOf({ file, code }: Source): Span[] {
  const spans: Span[] = []
  const open: { line: number; isFunction: boolean }[] = []
  let line = 1
  for (let at = 0; at < code.length; at += 1) {
    const sign = code[at]
    if (sign === '\n') line += 1
    if (sign === '{') open.push({ line, isFunction: opensFunction(code.slice(Math.max(0, at - 400), at)) })
    if (sign === '}') {
      const block = open.pop()
      if (block?.isFunction === true) spans.push({ file, line: block.line, lines: line - block.line + 1 })
    }
  }
  return spans
}

/** Whether what stands before a brace is the head of a function: `)`, maybe with a type behind it, or an arrow. */
function opensFunction(before: string): boolean {
  const head = before.trimEnd()
  if (head.endsWith('=>')) return true
  if (!/\)(:\s*[^;{}=]+)?$/.test(head)) return false
  // Back to the bracket that opens the parameters: the word before it tells.
  let depth = 0
  let at = head.lastIndexOf(')')
  for (; at >= 0; at -= 1) {
    if (head[at] === ')') depth += 1
    if (head[at] === '(') depth -= 1
    if (depth === 0) break
  }
  return !/\b(if|for|while|switch|catch|await)\s*$/.test(head.slice(0, Math.max(0, at)))
}

function lineAt(text: string, at: number): number {
  return text.slice(0, at).split('\n').length
}

/**
 * Blanks what is not code. Small, since it only has to read our own formatted files: a slash after a value divides,
 * anywhere else it opens an expression.
 */
function blank(text: string): string {
  const out = [...text]
  const wipe = (from: number, to: number): void => {
    for (let at = from; at < to; at += 1) if (out[at] !== '\n') out[at] = ' '
  }
  /** Depths of braces at which a template goes on. */
  const templates: number[] = []
  let depth = 0
  let at = 0
  const skipTemplate = (): void => {
    const from = at
    while (at < text.length && text[at] !== '`' && !text.startsWith('${', at)) at += text[at] === '\\' ? 2 : 1
    wipe(from, at)
    if (text[at] === '`') {
      at += 1
      return
    }
    templates.push(depth)
    depth += 1
    at += 2
  }
  // By units, as indices count.
  out.splice(0, out.length, ...text.split(''))
  while (at < text.length) {
    const sign = text[at] ?? ''
    const rest = text.slice(at, at + 2)
    if (rest === '//' || rest === '/*') {
      const end = rest === '//' ? text.indexOf('\n', at) : text.indexOf('*/', at) + 2
      wipe(at, end < at ? text.length : end)
      at = end < at ? text.length : end
    } else if (sign === "'" || sign === '"') {
      const from = at + 1
      at = from
      while (at < text.length && text[at] !== sign && text[at] !== '\n') at += text[at] === '\\' ? 2 : 1
      wipe(from, at)
      at += 1
    } else if (sign === '`') {
      at += 1
      skipTemplate()
    } else if (sign === '/' && opensExpression(out, at)) {
      const from = at + 1
      at = from
      for (let inClass = false; at < text.length && (inClass || text[at] !== '/'); at += 1) {
        if (text[at] === '\\') at += 1
        else if (text[at] === '[') inClass = true
        else if (text[at] === ']') inClass = false
      }
      wipe(from, at)
      at += 1
    } else {
      if (sign === '{') depth += 1
      if (sign === '}') {
        depth -= 1
        if (templates.at(-1) === depth) {
          templates.pop()
          at += 1
          skipTemplate()
          continue
        }
      }
      at += 1
    }
  }
  return out.join('')
}

function opensExpression(out: readonly string[], at: number): boolean {
  const before = out
    .slice(Math.max(0, at - 40), at)
    .join('')
    .trimEnd()
  if (before === '' || /\b(return|typeof|case|of|in|void|yield)$/.test(before)) return true
  return !/[\w$)\]}'"`]$/.test(before)
}
