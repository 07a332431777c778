import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import type { ActionContext } from 'aeon-nexus/module'
import { type Reach, reach } from './reach.ts'

export interface ReadRequest {
  readonly path: string
  readonly offset?: number
  readonly limit?: number
  readonly encoding?: 'utf8' | 'base64'
}

/** A part of a file. Text is cut between characters, so that parts join to the whole. */
export async function read(request: ReadRequest, bytesMax: number, where: Reach): Promise<object> {
  const { path: asked, offset = 0, limit = bytesMax, encoding = 'utf8' } = request
  const path = await reach(asked, where)
  return withFile(path, async (file, sizeBytes) => {
    const buffer = Buffer.alloc(Math.max(0, Math.min(limit, bytesMax, sizeBytes - offset)))
    const { bytesRead } = await file.read(buffer, 0, buffer.length, offset)
    const atEnd = offset + bytesRead >= sizeBytes
    const part = buffer.subarray(0, bytesRead)
    const whole = encoding === 'utf8' && !atEnd ? part.subarray(0, wholeCharacters(part)) : part
    const end = offset + whole.length
    return {
      path,
      bytes: sizeBytes,
      offset,
      length: whole.length,
      encoding,
      content: encoding === 'base64' ? whole.toString('base64') : textOf(whole, asked, offset),
      next_offset: end < sizeBytes ? end : null,
    }
  })
}

/** SHA-256 of a file, whatever its size, in one buffer. */
export async function hashFile(asked: string, where: Reach, ctx: ActionContext): Promise<object> {
  const path = await reach(asked, where)
  return withFile(path, async (file, sizeBytes) => {
    const sum = createHash('sha256')
    const buffer = Buffer.alloc(262_144)
    let bytes = 0
    for (;;) {
      ctx.signal.throwIfAborted()
      const { bytesRead } = await file.read(buffer, 0, buffer.length, bytes)
      if (bytesRead === 0) break
      sum.update(buffer.subarray(0, bytesRead))
      bytes += bytesRead
      ctx.progress(Math.min(1, bytes / Math.max(1, sizeBytes)))
    }
    return { path, sha256: sum.digest('hex'), bytes }
  })
}

/** Lends a file; a pipe or a device is refused before it could block. */
async function withFile<T>(
  path: string,
  use: (file: FileHandle, sizeBytes: number) => Promise<T>,
): Promise<T> {
  // The path is real: a link in its place now was put there since.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
  const file = await open(path, flags).catch((cause: NodeJS.ErrnoException) => {
    throw new Error(`${path} cannot be read: ${cause.code}`, { cause })
  })
  try {
    const about = await file.stat()
    if (about.isDirectory()) throw new Error(`${path} is a folder: list it, or name a file in it`)
    if (!about.isFile()) throw new Error(`${path} is no file but a pipe, socket or device`)
    return await use(file, about.size)
  } finally {
    await file.close()
  }
}

function textOf(bytes: Buffer, path: string, offset: number): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (cause) {
    throw new Error(`${path} is not UTF-8 text from byte ${offset} on: ask with encoding base64`, { cause })
  }
}

/** How many bytes end with a whole character: at most three belong to one that is cut. */
function wholeCharacters(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(4, bytes.length); back += 1) {
    const byte = bytes[bytes.length - back] ?? 0
    if (byte < 0x80) return bytes.length
    if (byte < 0xc0) continue
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2
    return length > back ? bytes.length - back : bytes.length
  }
  return bytes.length
}
