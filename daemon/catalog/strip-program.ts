import { stripTypeScriptTypes } from 'node:module'
import { linesOf } from './text-lines.ts'

/*
 * The program that takes types out of TypeScript for the daemon, which would otherwise carry the stripper's memory
 * (17 MB) for good. Each line it reads is the text of a file as JSON, each line it writes the JavaScript of the next
 * one, or null where there is none. It ends with its input, and so with the daemon.
 */
for await (const line of linesOf(process.stdin)) {
  process.stdout.write(`${JSON.stringify(strip(JSON.parse(line)))}\n`)
}

/** Types give way to blanks, so that every line and column stays where it is. */
function strip(code: string): string | null {
  try {
    return stripTypeScriptTypes(code, { mode: 'strip' })
  } catch {
    // Whatever is wrong with the text is told by the host that imports it, with file and line.
    return null
  }
}
