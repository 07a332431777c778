import { open } from 'node:fs/promises'

/** Some hundred samples. */
const END_BYTES = 65_536

/** The last whole lines of a file; empty when there is none. */
export async function readEnd(file: string): Promise<string[]> {
  let handle: Awaited<ReturnType<typeof open>>
  try {
    handle = await open(file, 'r')
  } catch {
    return [] // not written yet, or not ours to read: either way there is nothing to show
  }
  try {
    const { size } = await handle.stat()
    const from = Math.max(0, size - END_BYTES)
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(END_BYTES), 0, END_BYTES, from)
    const lines = buffer.toString('utf8', 0, bytesRead).split('\n')
    // What stands behind the last newline is being written; before the first one a line may be cut.
    return lines.slice(from === 0 ? 0 : 1, -1)
  } finally {
    await handle.close()
  }
}

/** The lines that are JSON objects. */
export function jsonLines(lines: readonly string[]): object[] {
  return lines.flatMap((line) => {
    try {
      const value: unknown = JSON.parse(line)
      return typeof value === 'object' && value !== null ? [value] : []
    } catch {
      return []
    }
  })
}
