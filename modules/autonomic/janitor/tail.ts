import { open } from 'node:fs/promises'

/** The newest lines of a file as JSON objects, oldest first; what is no object is left out. No file, no lines. */
export async function tailOf(path: string, bytesMax: number): Promise<Readonly<Record<string, unknown>>[]> {
  const file = await open(path, 'r').catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== 'ENOENT') throw cause
  })
  if (file === undefined) return []
  try {
    const { size } = await file.stat()
    const buffer = Buffer.alloc(Math.min(size, bytesMax))
    const { bytesRead } = await file.read(buffer, 0, buffer.length, size - buffer.length)
    const lines = buffer.toString('utf8', 0, bytesRead).split('\n')
    if (size > bytesMax) lines.shift() // cut in the middle
    return lines.flatMap(parsed)
  } finally {
    await file.close()
  }
}

function parsed(line: string): Readonly<Record<string, unknown>>[] {
  try {
    const value = JSON.parse(line)
    return typeof value === 'object' && value !== null ? [value] : []
  } catch {
    return [] // Empty, or half written while we read.
  }
}
