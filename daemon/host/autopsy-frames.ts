import { fileURLToPath } from 'node:url'
import { printable } from './output.ts'

/** One call on a stack, innermost first. */
export interface Frame {
  /** Empty when it has no name. */
  readonly name: string
  /** Absolute path of the file, or `node:…` inside Node. */
  readonly file: string
  /** From 1. */
  readonly line: number
  readonly column: number
}

/** What is known about where a process is blocked. */
export interface Finding {
  /** `spin (index.js:12:9)`, or words for what is outside JavaScript; reads well behind "blocked in". */
  readonly blockedAt: string
  /** A line for each call, innermost first, files relative to the generation. */
  readonly stack?: string
}

/** The call frames of `Debugger.paused`, as far as they have the shape of some; `urls` by the ids of their scripts. */
export function readFrames(params: unknown, urls: ReadonlyMap<string, string>): Frame[] {
  const { callFrames } = fields(params)
  if (!Array.isArray(callFrames)) return []
  return callFrames.slice(0, FRAMES_MAX).flatMap((frame: unknown) => {
    const { functionName, location } = fields(frame)
    const { scriptId, lineNumber, columnNumber } = fields(location)
    if (typeof scriptId !== 'string' || typeof lineNumber !== 'number') return []
    return [
      {
        name: plain(functionName),
        file: pathOf(plain(urls.get(scriptId))),
        line: lineNumber + 1,
        column: typeof columnNumber === 'number' ? columnNumber + 1 : 1,
      },
    ]
  })
}

/**
 * Where a module is blocked: its own innermost call, and the stack from what that call does down to where the module
 * was entered. Frames of the host's own program, and of what Node did before it came to the module, say nothing.
 *
 * @param dir - Of the module's generation: absolute and real.
 * @returns Undefined when no frame belongs to the module.
 */
export function findingOf(frames: readonly Frame[], dir: string): Finding | undefined {
  const isOwn = ({ file }: Frame): boolean => file.startsWith(`${dir}/`)
  const own = frames.find(isOwn)
  if (own === undefined) return undefined
  const shown = frames.slice(0, frames.findLastIndex(isOwn) + 1)
  const lines = shown.map((frame) => `at ${describeFrame(frame, dir)}`)
  return { blockedAt: describeFrame(own, dir), stack: lines.join('\n') }
}

/**
 * Which of the modules that share a process is at fault: the one whose code runs innermost.
 *
 * @param dirs - The folders of their generations, by whatever names them; absolute and real.
 */
export function culpritOf<Name>(
  frames: readonly Frame[],
  dirs: ReadonlyMap<Name, string>,
): { readonly culprit: Name; readonly finding: Finding } | undefined {
  for (const { file } of frames) {
    for (const [culprit, dir] of dirs) {
      const finding = file.startsWith(`${dir}/`) ? findingOf(frames, dir) : undefined
      if (finding !== undefined) return { culprit, finding }
    }
  }
  return undefined
}

function describeFrame({ name, file, line, column }: Frame, dir: string): string {
  const place = `${file.startsWith(`${dir}/`) ? file.slice(dir.length + 1) : file}:${line}:${column}`
  return name === '' ? place : `${name} (${place})`
}

function pathOf(url: string): string {
  try {
    return url.startsWith('file:') ? fileURLToPath(url) : url
  } catch {
    return url
  }
}

/** Names come from the module, and go to screens. */
function plain(text: unknown): string {
  if (typeof text !== 'string') return ''
  return printable(text.slice(0, TEXT_MAX)).replace(/[\t\n]/g, ' ')
}

function fields(value: unknown): Partial<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}

/** The innermost ones tell; a recursion without end has thousands. */
const FRAMES_MAX = 32
const TEXT_MAX = 300
