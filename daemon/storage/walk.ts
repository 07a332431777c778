import type { DiskFile } from './disk.ts'
import { LINE_BYTES_MAX } from './line.ts'

/** A quarter of a mebibyte: reads are few, memory is small. */
export const CHUNK_BYTES = 262_144

/** Sees one line with its newline, at the byte it begins. False ends the walk. */
export type LineVisitor = (line: Buffer, at: number) => boolean

/**
 * Hands over every line of a file from one byte to another, holding one chunk and one line in memory.
 *
 * A line above the limit ends the walk after it was handed over cut off, and an end without a newline is handed
 * over as it is: neither can be a record. The bytes are borrowed; who keeps them copies them.
 */
export async function walkLines(file: DiskFile, from: number, to: number, visit: LineVisitor): Promise<void> {
  let rest: Buffer = Buffer.alloc(0)
  let restAt = from
  for (let at = from; at < to; ) {
    const chunk = await file.read(at, Math.min(CHUNK_BYTES, to - at))
    if (chunk.length === 0) break
    at += chunk.length
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    let start = 0
    for (;;) {
      const newline = bytes.indexOf(0x0a, start)
      const end = newline === -1 ? bytes.length : newline + 1
      if (end - start > LINE_BYTES_MAX) {
        visit(bytes.subarray(start, start + LINE_BYTES_MAX + 1), restAt + start)
        return
      }
      if (newline === -1) break
      if (!visit(bytes.subarray(start, end), restAt + start)) return
      start = end
    }
    rest = bytes.subarray(start)
    restAt += start
  }
  if (rest.length > 0) visit(rest, restAt)
}
