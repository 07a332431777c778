import type { Readable } from 'node:stream'

/**
 * The lines of a stream of text, without their newline. Not `readline`, which also ends a line at U+2028, and that may
 * stand inside JSON.
 */
export async function* linesOf(stream: Readable): AsyncGenerator<string> {
  let parts: string[] = []
  for await (const chunk of stream.setEncoding('utf8')) {
    const [first = '', ...more] = String(chunk).split('\n')
    parts.push(first)
    for (const next of more) {
      yield parts.join('')
      parts = [next]
    }
  }
}
