import { open } from 'node:fs/promises'
import { TextDecoder } from 'node:util'

/** One read: large enough to be quick, small enough that a heartbeat never waits for it. */
const CHUNK_BYTES = 65_536

export interface ReadWatch {
  readonly signal?: AbortSignal
  /** Called after each chunk with the bytes read so far. */
  readonly onBytes?: (bytes: number) => void
}

/**
 * A text file in chunks. UTF-8 by default, UTF-16 when its byte order mark says so; the mark itself is left out.
 *
 * @throws Error when the file is binary, or grows or shrinks while it is read.
 */
export async function* textOf(path: string, watch: ReadWatch = {}): AsyncGenerator<string> {
  const file = await open(path, 'r')
  try {
    const before = await file.stat()
    if (!before.isFile()) throw new Error(`${path} is not a file`)
    const buffer = Buffer.alloc(CHUNK_BYTES)
    let decoder: TextDecoder | undefined
    let bytes = 0
    for (;;) {
      watch.signal?.throwIfAborted()
      const { bytesRead } = await file.read(buffer, 0, CHUNK_BYTES, null)
      if (bytesRead === 0) break
      const chunk = buffer.subarray(0, bytesRead)
      decoder ??= decoderFor(chunk, path)
      bytes += bytesRead
      watch.onBytes?.(bytes)
      yield decoder.decode(chunk, { stream: true })
    }
    yield decoder?.decode() ?? ''
    const after = await file.stat()
    if (after.size !== before.size || after.mtimeMs !== before.mtimeMs) {
      throw new Error(`${path} changed while it was read: analyse a copy, or wait until its writer is done`)
    }
  } finally {
    await file.close()
  }
}

function decoderFor(head: Buffer, path: string): TextDecoder {
  if (head[0] === 0xff && head[1] === 0xfe) return new TextDecoder('utf-16le')
  if (head[0] === 0xfe && head[1] === 0xff) return new TextDecoder('utf-16be')
  if (head.includes(0))
    throw new Error(`${path} is binary, not text: the analyst reads CSV, JSON and JSON lines`)
  return new TextDecoder('utf-8')
}
