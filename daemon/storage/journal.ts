import { strict as assert } from 'node:assert'
import type { Fact, FactDraft } from '../contracts/fact.ts'
import { NexusError } from '../contracts/failure.ts'
import { type Clock, type Timer, timestamp } from '../kit/clock.ts'
import { ActiveSegment, type Outcome } from './active-segment.ts'
import { removeDrafts } from './atomic-file.ts'
import { cutTail, unrecordedCuts } from './cut.ts'
import { type DataPaths, dataPaths } from './data-folder.ts'
import type { Disk } from './disk.ts'
import { type EncodedDraft, encodeDraft, type Link, sealLine } from './line.ts'
import { readFacts } from './reader.ts'
import { examine, type Position, START } from './recovery.ts'
import { type Sealed, sealedName } from './segments.ts'
import { writeWatermark } from './watermark.ts'

export interface JournalOptions {
  readonly disk: Disk
  readonly clock: Clock
  readonly dataDir: string
  /** A segment is sealed at the end of the batch that reaches this size. */
  readonly segmentBytesMax: number
  /** Records that may wait for the disk. */
  readonly queueMax?: number
  /** Where a snapshot ends; only later facts are replayed. */
  readonly from?: Position
  /** Sees every fact after `from` in order, also those that the opening itself appends. */
  readonly onReplay: (fact: Fact) => void
  /** A listener threw: a bug. The default lets it crash the process. */
  readonly onBug?: (error: unknown) => void
  /** Sees what each batch cost, for metrics. */
  readonly onBatch?: (batch: BatchMeasure) => void
}

export interface BatchMeasure {
  readonly records: number
  readonly sizeBytes: number
  /** Write and sync together. */
  readonly durationMs: number
}

/** What a start found. */
export interface Recovery {
  readonly replayed: number
  readonly cuts: readonly Cut[]
}

/** A torn tail that was moved out of the journal. */
export interface Cut {
  /** Name below `quarantine/`. */
  readonly quarantine: string
  readonly bytes: number
}

export type FactListener = (facts: readonly Fact[]) => void

/** At the measured 12,000 records a second of 64 writers this is less than a second of waiting. */
const QUEUE_MAX = 8_192
/** What the queue may hold in memory, whatever the size of its records. */
const QUEUE_BYTES_MAX = 32 * 1_048_576
/** A batch is written in a few milliseconds, so one that arrives late does not wait long. */
const BATCH_BYTES_MAX = 1_048_576
/** How old the watermark may be. */
const WATERMARK_MS = 1_000
/** How often an idle journal looks whether its file is still in its place. */
const INSPECT_MS = 2_000

interface Group {
  readonly drafts: readonly EncodedDraft[]
  readonly sizeBytes: number
  readonly sinceMs: number
  resolve(facts: readonly Fact[]): void
  reject(error: NexusError): void
}

/**
 * The one log that is the truth. What `append` resolved with is on stable storage and stays there; a failed sync is
 * never retried: the journal is poisoned then, everything later is refused, and the process has to end.
 */
export class Journal {
  readonly #options: JournalOptions
  readonly #disk: Disk
  readonly #clock: Clock
  readonly #paths: DataPaths
  readonly #active: ActiveSegment
  readonly #listeners = new Set<FactListener>()
  readonly #onFailed = new Set<(error: NexusError) => void>()
  #position: Position
  #link: Link
  #sealed: Sealed | undefined

  #queue: Group[] = []
  #queuedRecords = 0
  #queuedBytes = 0
  #inFlight: readonly Group[] = []
  #writing: Promise<void> | undefined
  #refusal: NexusError | undefined

  #watermarkAtMs = Number.NEGATIVE_INFINITY
  #watermarkSeq = 0
  #watermarkWriting: Promise<unknown> = Promise.resolve()
  #watermarkTimer: Timer | undefined
  #inspectTimer: Timer | undefined

  /**
   * Reads what is there, cuts a torn tail, and is ready to append. The folder must be held (`holdFolder`).
   *
   * @throws NexusError `JOURNAL_DAMAGED`, `JOURNAL_NEWER`, `JOURNAL_FULL`, `JOURNAL_UNAVAILABLE`.
   */
  static async open(options: JournalOptions): Promise<{ journal: Journal; recovery: Recovery }> {
    const { disk, dataDir, from = START, onReplay } = options
    const paths = dataPaths(dataDir)
    for (const dir of [paths.root, paths.segments, paths.quarantine, paths.run]) await disk.makeDir(dir)
    await disk.syncDir(paths.root)
    for (const dir of [paths.root, paths.run]) await removeDrafts(disk, dir)

    let replayed = 0
    const findings = await examine(disk, paths, from, (fact) => {
      replayed += 1
      onReplay(fact)
    })
    const { torn, end } = findings
    if (torn !== undefined) await cutTail(disk, paths, torn, end.seq + 1)

    const active = new ActiveSegment(disk, paths)
    if (findings.activeBytes === undefined) throwUnlessDone(await active.create())
    else await active.attach(findings.activeBytes)

    const journal = new Journal(options, paths, active, findings)
    const cuts = await unrecordedCuts(disk, paths, end.seq + 1)
    await journal.#record(cuts)
    journal.#scheduleInspection()
    return { journal, recovery: { replayed, cuts } }
  }

  private constructor(
    options: JournalOptions,
    paths: DataPaths,
    active: ActiveSegment,
    found: { end: Position; link: Link; sealed: Sealed | undefined },
  ) {
    this.#options = options
    this.#disk = options.disk
    this.#clock = options.clock
    this.#paths = paths
    this.#active = active
    this.#position = found.end
    this.#link = found.link
    this.#sealed = found.sealed
  }

  /** The last durable record. */
  get head(): { readonly seq: number; readonly h: string } {
    const { seq, h } = this.#position
    return { seq, h }
  }

  /** Where a snapshot of everything the listeners have seen would continue. */
  get position(): Position {
    return this.#position
  }

  /** How long the oldest waiting record has waited; zero when none does. Grows while the disk hangs. */
  get waitingMs(): number {
    const oldest = this.#inFlight[0] ?? this.#queue[0]
    return oldest === undefined ? 0 : this.#clock.elapsed() - oldest.sinceMs
  }

  /** Why nothing can be written any more. */
  get failure(): NexusError | undefined {
    return this.#refusal
  }

  /**
   * Resolves when the record is durable and every listener has seen it.
   *
   * @throws NexusError `RECORD_TOO_LARGE`, `JOURNAL_BUSY`; `JOURNAL_FULL`: it was not written;
   * `JOURNAL_UNAVAILABLE`: the next start will tell.
   */
  async append(draft: FactDraft): Promise<Fact> {
    const [fact] = await this.appendAll([draft])
    assert(fact !== undefined)
    return fact
  }

  /**
   * Appends several records in one batch, with consecutive numbers: all are acknowledged, or none. A crash before
   * the acknowledgement may leave the first ones.
   */
  async appendAll(drafts: readonly FactDraft[]): Promise<readonly Fact[]> {
    if (this.#refusal !== undefined) throw this.#refusal
    if (drafts.length === 0) return []
    const ts = timestamp(this.#clock)
    const encoded = drafts.map((draft) => encodeDraft(draft, ts))
    const sizeBytes = encoded.reduce((sum, draft) => sum + draft.sizeBytesMax, 0)
    const queueMax = this.#options.queueMax ?? QUEUE_MAX
    if (this.#queuedRecords + encoded.length > queueMax || this.#queuedBytes + sizeBytes > QUEUE_BYTES_MAX) {
      throw new NexusError('JOURNAL_BUSY', { limit: queueMax })
    }
    return new Promise((resolve, reject) => {
      this.#queue.push({ drafts: encoded, sizeBytes, sinceMs: this.#clock.elapsed(), resolve, reject })
      this.#queuedRecords += encoded.length
      this.#queuedBytes += sizeBytes
      this.#writing ??= this.#writeQueue()
    })
  }

  /**
   * Calls `listener` with each durable batch, in order, before its appends resolve: whoever awaits an append finds
   * the state folded. A listener must not throw.
   *
   * @returns What ends the subscription.
   */
  subscribe(listener: FactListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Calls `listener` once, when the journal cannot be written any more; at once when that is so already. */
  onFailed(listener: (error: NexusError) => void): void {
    if (this.#refusal !== undefined) listener(this.#refusal)
    else this.#onFailed.add(listener)
  }

  /** Durable facts after `afterSeq`, from the disk. May give fewer than `limit`, but none only at the end. */
  read(afterSeq: number, limit: number): Promise<Fact[]> {
    return readFacts(this.#disk, this.#paths, { afterSeq, lastSeq: this.#position.seq, limit })
  }

  /** Takes nothing more, writes what waits, and closes the file. */
  async close(): Promise<void> {
    this.#onFailed.clear()
    const draining = this.#writing
    const wasOpen = this.#refusal === undefined
    await draining
    this.#refusal ??= new NexusError('JOURNAL_UNAVAILABLE', { reason: 'it is closed' })
    await this.#writing
    this.#watermarkTimer?.cancel()
    this.#inspectTimer?.cancel()
    await this.#watermarkWriting
    if (wasOpen) await this.#markDurable()
    await this.#active.close()
  }

  /** One batch after the other until the queue is empty. */
  async #writeQueue(): Promise<void> {
    while (this.#queue.length > 0 && this.#refusal === undefined) {
      // Whoever was woken by the last batch, or arrives with this turn of the loop, goes into the same write.
      await new Promise((resolve) => setImmediate(resolve))
      const groups = this.#takeBatch()
      this.#inFlight = groups
      await this.#writeBatch(groups)
      this.#inFlight = []
    }
    this.#writing = undefined
  }

  /** At least one group, and no more than fit: a group is never split. */
  #takeBatch(): Group[] {
    let count = 0
    let sizeBytes = 0
    for (const group of this.#queue) {
      if (count > 0 && sizeBytes + group.sizeBytes > BATCH_BYTES_MAX) break
      sizeBytes += group.sizeBytes
      count += 1
    }
    const groups = this.#queue.splice(0, count)
    for (const group of groups) this.#queuedRecords -= group.drafts.length
    this.#queuedBytes -= sizeBytes
    return groups
  }

  async #writeBatch(groups: readonly Group[]): Promise<void> {
    const startedMs = this.#clock.elapsed()
    const ready = await this.#prepareSegment()
    if (ready.how !== 'done') return this.#refuse(groups, ready)

    const opening = this.#openingDraft()
    const drafts = groups.flatMap((group) => group.drafts)
    const batch = sealBatch(opening === undefined ? drafts : [opening, ...drafts], this.#link)
    const outcome = await this.#active.commit(batch.bytes)
    if (outcome.how !== 'done') return this.#refuse(groups, outcome)

    this.#link = batch.link
    const segment = opening === undefined ? this.#position.segment : batch.b
    const { seq, h } = batch.link
    this.#position = { seq, h, segment, offset: this.#active.sizeBytes }
    this.#publish(batch.facts)
    let at = opening === undefined ? 0 : 1
    for (const group of groups) {
      group.resolve(batch.facts.slice(at, at + group.drafts.length))
      at += group.drafts.length
    }

    const durationMs = this.#clock.elapsed() - startedMs
    this.#options.onBatch?.({ records: batch.facts.length, sizeBytes: batch.bytes.length, durationMs })
    this.#scheduleWatermark(opening !== undefined)
  }

  /** Seals a segment that has reached its size, and sees to it that there is one to write to. */
  async #prepareSegment(): Promise<Outcome> {
    const { segment, seq, h } = this.#position
    if (this.#active.isOpen && this.#active.sizeBytes >= this.#options.segmentBytesMax) {
      const sizeBytes = this.#active.sizeBytes
      const outcome = await this.#active.seal(segment)
      if (outcome.how === 'broken') return outcome
      // Without room for a new name the old file simply grows on.
      if (outcome.how === 'done') {
        this.#sealed = { name: sealedName(segment), sizeBytes, link: { seq, b: this.#link.b, h } }
      }
    }
    return this.#active.isOpen ? { how: 'done' } : this.#active.create()
  }

  /** The record that a new segment begins with, unless it is the very first. */
  #openingDraft(): EncodedDraft | undefined {
    if (this.#active.sizeBytes > 0 || this.#sealed === undefined) return undefined
    const { name, sizeBytes, link } = this.#sealed
    const d = { sealed: name, bytes: sizeBytes, last_seq: link.seq, last_h: link.h }
    return encodeDraft({ type: 'journal.segment_opened', actor: DAEMON, d }, timestamp(this.#clock))
  }

  #publish(facts: readonly Fact[]): void {
    for (const listener of this.#listeners) {
      try {
        listener(facts)
      } catch (error) {
        const onBug = this.#options.onBug ?? crash
        onBug(error)
      }
    }
  }

  #refuse(groups: readonly Group[], outcome: Exclude<Outcome, { how: 'done' }>): void {
    if (outcome.how === 'broken') this.#poison(outcome.reason, groups)
    else for (const group of groups) group.reject(new NexusError('JOURNAL_FULL', { reason: outcome.reason }))
  }

  #poison(reason: string, groups: readonly Group[] = []): void {
    if (this.#refusal !== undefined) return
    const error = new NexusError('JOURNAL_UNAVAILABLE', { reason })
    this.#refusal = error
    this.#watermarkTimer?.cancel()
    this.#inspectTimer?.cancel()
    const waiting = this.#queue.splice(0)
    for (const group of [...groups, ...waiting]) group.reject(error)
    for (const listener of this.#onFailed) listener(error)
    this.#onFailed.clear()
  }

  /** Tails that were cut are facts too. A full disk postpones that to the next start. */
  async #record(cuts: readonly Cut[]): Promise<void> {
    if (cuts.length === 0) return
    const end = this.subscribe((facts) => facts.forEach(this.#options.onReplay))
    try {
      await this.appendAll(
        cuts.map(({ quarantine, bytes }) => {
          const d = { bytes, file: 'audit.jsonl', quarantine }
          return { type: 'journal.tail_cut', actor: DAEMON, d }
        }),
      )
    } catch (error) {
      if (!(error instanceof NexusError && error.code === 'JOURNAL_FULL')) throw error
    } finally {
      end()
    }
  }

  #scheduleWatermark(atOnce: boolean): void {
    const waitMs = atOnce ? 0 : this.#watermarkAtMs + WATERMARK_MS - this.#clock.elapsed()
    if (waitMs <= 0) {
      void this.#markDurable() // Nothing waits for the watermark, and it never throws.
    } else {
      this.#watermarkTimer ??= this.#clock.after(waitMs, () => void this.#markDurable())
    }
  }

  #markDurable(): Promise<unknown> {
    this.#watermarkTimer?.cancel()
    this.#watermarkTimer = undefined
    this.#watermarkAtMs = this.#clock.elapsed()
    const write = async (): Promise<void> => {
      const { seq, h, segment, offset } = this.#position
      if (seq === this.#watermarkSeq) return
      const written = await writeWatermark(this.#disk, this.#paths.watermark, {
        seq,
        segment,
        bytes: offset,
        h,
      })
      if (written) this.#watermarkSeq = seq
    }
    this.#watermarkWriting = this.#watermarkWriting.then(write)
    return this.#watermarkWriting
  }

  #scheduleInspection(): void {
    this.#inspectTimer = this.#clock.after(INSPECT_MS, () => void this.#inspect())
  }

  async #inspect(): Promise<void> {
    // While batches are written, each of them looks for itself.
    if (this.#writing === undefined) {
      const outcome = await this.#active.inspect()
      if (outcome.how === 'broken' && this.#writing === undefined) this.#poison(outcome.reason)
    }
    if (this.#refusal === undefined) this.#scheduleInspection()
  }
}

const DAEMON = { kind: 'daemon', name: 'nexusd' } as const

function sealBatch(
  drafts: readonly EncodedDraft[],
  previous: Link,
): { bytes: Buffer; facts: Fact[]; link: Link; b: number } {
  const b = previous.seq + 1
  const facts: Fact[] = []
  let text = ''
  let link = previous
  for (const draft of drafts) {
    const { line, fact } = sealLine(draft, b, link)
    text += line
    facts.push(fact)
    link = { seq: fact.seq, b, h: fact.h }
  }
  return { bytes: Buffer.from(text), facts, link, b }
}

function throwUnlessDone(outcome: Outcome): void {
  if (outcome.how === 'full') throw new NexusError('JOURNAL_FULL', { reason: outcome.reason })
  if (outcome.how === 'broken') throw new NexusError('JOURNAL_UNAVAILABLE', { reason: outcome.reason })
}

function crash(error: unknown): void {
  queueMicrotask(() => {
    throw error
  })
}
