import { hash } from 'node:crypto'
import { type Disk, readWhole, writeAll } from './disk.ts'

/**
 * Up to where the journal was known to be durable. It may lag and never leads, so damage below it is no torn tail.
 * `segment` is the first seq of the file that `bytes` counts in.
 */
export interface Watermark {
  readonly seq: number
  readonly segment: number
  readonly bytes: number
  readonly h: string
}

/** One fixed size, so that writing it in place never leaves a rest of the former one. */
const SIZE_BYTES = 256

/** The last watermark; undefined when there is none that can be believed. */
export async function readWatermark(disk: Disk, path: string): Promise<Watermark | undefined> {
  const line = await readWhole(disk, path, SIZE_BYTES)
  const [, text = '', sum] = /^(\{.*\}) ([0-9a-f]{32}) *\n$/.exec(line?.toString() ?? '') ?? []
  return sum !== undefined && sum === sumOf(text) ? JSON.parse(text) : undefined
}

/**
 * Writes the watermark in place, without a sync of its own: a lost or torn one is ignored by the reader.
 * Never throws, because nothing depends on it; says whether it was written.
 */
export async function writeWatermark(disk: Disk, path: string, mark: Watermark): Promise<boolean> {
  const { seq, segment, bytes, h } = mark
  const text = JSON.stringify({ seq, segment, bytes, h })
  const line = `${text} ${sumOf(text)}`.padEnd(SIZE_BYTES - 1).concat('\n')
  try {
    const file = await disk.open(path, 'overwrite')
    try {
      await writeAll(file, Buffer.from(line), 0)
    } finally {
      await file.close()
    }
    return true
  } catch {
    return false
  }
}

function sumOf(text: string): string {
  return hash('sha256', text).slice(0, 32)
}
