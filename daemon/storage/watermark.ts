import { hash } from 'node:crypto'
import { codeOf, type Disk, type DiskFile } from './disk.ts'

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
  let file: DiskFile
  try {
    file = await disk.open(path, 'read')
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
  try {
    return parse((await file.read(0, SIZE_BYTES)).toString())
  } finally {
    await file.close()
  }
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
      return (await file.write(Buffer.from(line), 0)) === SIZE_BYTES
    } finally {
      await file.close()
    }
  } catch {
    return false
  }
}

function parse(line: string): Watermark | undefined {
  const [, text = '', sum] = /^(\{.*\}) ([0-9a-f]{32}) *\n$/.exec(line) ?? []
  return sum !== undefined && sum === sumOf(text) ? JSON.parse(text) : undefined
}

function sumOf(text: string): string {
  return hash('sha256', text).slice(0, 32)
}
