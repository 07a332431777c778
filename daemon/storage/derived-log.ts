import { strict as assert } from 'node:assert'
import { writeAtomically } from './atomic-file.ts'
import type { Disk } from './disk.ts'
import { LineFile } from './line-file.ts'

export interface DerivedLogOptions {
  readonly disk: Disk
  readonly path: string
  /** Called once when writing begins to fail; for the log. */
  readonly onTrouble?: (error: unknown) => void
}

export interface DerivedLine {
  /** The fact it comes from. One line for each fact at most, in rising order. */
  readonly seq: number
  readonly body: Readonly<Record<string, unknown>>
}

/** Lines wait here while the disk is full; beyond it the file is rewritten later, from the state. */
const QUEUE_BYTES_MAX = 8 * 1_048_576

/**
 * A file for people and tools that is derived from facts, such as `missions.jsonl`. The journal is the truth: no
 * answer waits for this file, no error of it fails a change, and it can be made again at any time.
 */
export class DerivedLog {
  readonly #options: DerivedLogOptions
  #file: LineFile | undefined
  #lastSeq = 0
  #queue: string[] = []
  #queuedBytes = 0
  #writing: Promise<void> | undefined
  #inTrouble = false
  #isBehind = false

  /**
   * Opens or makes the file. An end that a crash has torn is dropped: `lastSeq` says what is missing. Never rejects: a
   * file that cannot be opened is behind.
   */
  static async open(options: DerivedLogOptions): Promise<DerivedLog> {
    const log = new DerivedLog(options)
    await log.#attach()
    return log
  }

  private constructor(options: DerivedLogOptions) {
    this.#options = options
  }

  /** The last fact that has its line; 0 when the file is empty or unreadable: then `rewrite` it. */
  get lastSeq(): number {
    return this.#lastSeq
  }

  /** Lines were given up. Only `rewrite` brings them back. */
  get isBehind(): boolean {
    return this.#isBehind
  }

  /** Never throws, never waits. A line that the file has already is ignored, so a replay may push everything. */
  push({ seq, body }: DerivedLine): void {
    if (seq <= this.#lastSeq || this.#isBehind) return
    this.#lastSeq = seq
    const line = textOf({ seq, body })
    if (this.#queuedBytes + line.length > QUEUE_BYTES_MAX) {
      this.#isBehind = true
      this.#queue = []
      this.#queuedBytes = 0
      return
    }
    this.#queue.push(line)
    this.#queuedBytes += line.length
    this.#writing ??= this.#drain()
  }

  /**
   * Before a snapshot: after this, later starts need no fact up to here for this file.
   *
   * @returns False when the file lacks lines: then a start from that snapshot must `rewrite` it.
   */
  async sync(): Promise<boolean> {
    this.#writing ??= this.#drain()
    await this.#writing
    if (this.#file === undefined || this.#isBehind || this.#queue.length > 0) return false
    try {
      await this.#file.sync()
      return true
    } catch (error) {
      this.#trouble(error)
      return false
    }
  }

  /** Replaces the contents by these lines; every later push goes on from there. False when it could not. */
  async rewrite(lines: Iterable<DerivedLine>): Promise<boolean> {
    const { disk, path } = this.#options
    let lastSeq = 0
    let text = ''
    for (const line of lines) {
      assert(line.seq > lastSeq, 'derived lines rise')
      lastSeq = line.seq
      text += textOf(line)
    }
    this.#queue = []
    this.#queuedBytes = 0
    this.#isBehind = true
    await this.#writing
    try {
      await writeAtomically(disk, path, Buffer.from(text))
    } catch (error) {
      this.#trouble(error)
      return false
    }
    if (!(await this.#attach())) return false
    this.#lastSeq = lastSeq
    return true
  }

  async close(): Promise<void> {
    await this.#writing
    await this.#file?.close().catch(() => undefined) // Nothing depends on it.
    this.#file = undefined
  }

  /** Opens what stands at the path; false, and behind, when that cannot be. */
  async #attach(): Promise<boolean> {
    const { disk, path } = this.#options
    try {
      await this.#file?.close()
      this.#file = await LineFile.open(disk, path)
    } catch (error) {
      this.#isBehind = true
      this.#trouble(error)
      return false
    }
    this.#lastSeq = seqOf(this.#file.lastLine)
    this.#isBehind = false
    this.#inTrouble = false
    return true
  }

  /** Ends with an empty queue, or at the first failure: the next push tries again. */
  async #drain(): Promise<void> {
    await null // It must not end before its promise is kept.
    while (this.#file !== undefined && this.#queue.length > 0) {
      const lines = this.#queue
      const sizeBytes = this.#queuedBytes
      this.#queue = []
      try {
        await this.#file.append(lines.join(''))
        this.#queuedBytes -= sizeBytes
        this.#inTrouble = false
      } catch (error) {
        if (!this.#isBehind) this.#queue = [...lines, ...this.#queue]
        this.#trouble(error)
        break
      }
    }
    this.#writing = undefined
  }

  #trouble(error: unknown): void {
    if (!this.#inTrouble) this.#options.onTrouble?.(error)
    this.#inTrouble = true
  }
}

function textOf({ seq, body }: DerivedLine): string {
  return `${JSON.stringify({ ...body, seq })}\n`
}

function seqOf(line: string): number {
  try {
    const { seq } = JSON.parse(line)
    return Number.isSafeInteger(seq) ? seq : 0
  } catch {
    return 0
  }
}
