import { strict as assert } from 'node:assert'
import type { Fact, FactDraft } from '../contracts/fact.ts'
import { NexusError } from '../contracts/failure.ts'
import { type Clock, type Timer, timestamp } from '../kit/clock.ts'
import type { Outcome } from './active-segment.ts'
import { AppendQueue, type Group } from './append-queue.ts'
import { removeDrafts } from './atomic-file.ts'
import { ChainWriter, JOURNAL_ACTOR } from './chain-writer.ts'
import { type Cut, cutTail, unrecordedCuts } from './cut.ts'
import { type DataPaths, dataPaths } from './data-folder.ts'
import { type Disk, failureOf } from './disk.ts'
import { encodeDraft } from './line.ts'
import { readFacts } from './reader.ts'
import { examine, type Findings, type Position, START } from './recovery.ts'
import { forgetRepair, repairedDraft, repairWatch } from './repair-intent.ts'
import type { Anchor, Sealed } from './segments.ts'
import { WatermarkKeeper } from './watermark-keeper.ts'

export interface JournalOptions {
  readonly disk: Disk
  readonly clock: Clock
  readonly dataDir: string
  /** A segment is sealed after the batch that reaches this size. */
  readonly segmentBytesMax: number
  /** Records that may wait for the disk. */
  readonly queueMax?: number
  /** Where a snapshot ends; only later facts are replayed. */
  readonly from?: Position
  /** Where the journal may begin, as the snapshot knows. */
  readonly anchors?: readonly Anchor[]
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

export type FactListener = (facts: readonly Fact[]) => void

/** At the measured 12,000 records a second of 64 writers this is less than a second of waiting. */
const QUEUE_MAX = 8_192
/** How often an idle journal looks whether its file is still in its place. */
const INSPECT_MS = 2_000

/**
 * The one log that is the truth. What `append` resolved with is on stable storage and stays there; a failed sync is
 * never retried: the journal is broken then, everything later is refused, and the process has to end.
 */
export class Journal {
  readonly #options: JournalOptions
  readonly #paths: DataPaths
  readonly #writer: ChainWriter
  readonly #watermark: WatermarkKeeper
  readonly #queue: AppendQueue
  readonly #listeners = new Set<FactListener>()
  readonly #failureListeners = new Set<(error: NexusError) => void>()
  #inFlight: readonly Group[] = []
  #batches = 0
  #writing: Promise<void> | undefined
  #inspection: Timer | undefined
  /** Why nothing more is taken. Whether what waits is still written is the difference between the two. */
  #closed: NexusError | undefined
  #broken: NexusError | undefined

  /**
   * Reads what is there, cuts a torn tail, and is ready to append. The folder must be held (`holdFolder`).
   *
   * @throws NexusError `JOURNAL_DAMAGED`, `JOURNAL_NEWER`, `JOURNAL_FULL`, `JOURNAL_UNAVAILABLE`.
   */
  static async open(options: JournalOptions): Promise<{ journal: Journal; recovery: Recovery }> {
    try {
      return await openJournal(options, (...parts) => new Journal(options, ...parts))
    } catch (error) {
      throw failureOf(error)
    }
  }

  private constructor(options: JournalOptions, paths: DataPaths, writer: ChainWriter) {
    this.#options = options
    this.#paths = paths
    this.#writer = writer
    this.#queue = new AppendQueue(options.queueMax ?? QUEUE_MAX)
    this.#watermark = new WatermarkKeeper(options.disk, options.clock, paths.watermark, () => writer.position)
    this.#scheduleInspection()
  }

  /** The last durable record. */
  get head(): { readonly seq: number; readonly h: string } {
    const { seq, h } = this.#writer.position
    return { seq, h }
  }

  /** Where a snapshot of everything the listeners have seen would continue. */
  get position(): Position {
    return this.#writer.position
  }

  /** How long the oldest waiting record has waited; zero when none does. Grows while the disk hangs. */
  get waitingMs(): number {
    const oldest = this.#inFlight[0] ?? this.#queue.oldest
    return oldest === undefined ? 0 : this.#options.clock.elapsed() - oldest.sinceMs
  }

  /** Why nothing can be written any more. */
  get failure(): NexusError | undefined {
    return this.#broken
  }

  /**
   * Resolves when the record is durable and every listener has seen it.
   *
   * @throws NexusError `RECORD_TOO_LARGE`, `JOURNAL_BUSY`; `JOURNAL_FULL`: it was not written;
   * `JOURNAL_UNAVAILABLE`: only the next start can tell.
   */
  async append(draft: FactDraft): Promise<Fact> {
    const [fact] = await this.appendAll([draft])
    assert(fact !== undefined, 'one draft makes one fact')
    return fact
  }

  /**
   * Appends several records in one batch, with consecutive numbers: all are acknowledged, or none. A crash before
   * the acknowledgement may leave the first ones.
   */
  async appendAll(drafts: readonly FactDraft[]): Promise<readonly Fact[]> {
    const refusal = this.#broken ?? this.#closed
    if (refusal !== undefined) throw refusal
    if (drafts.length === 0) return []
    const { clock } = this.#options
    const ts = timestamp(clock)
    const encoded = drafts.map((draft) => encodeDraft(draft, ts))
    const promise = this.#queue.push(encoded, clock.elapsed())
    this.#writing ??= this.#writeQueue()
    return promise
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
    if (this.#broken !== undefined) listener(this.#broken)
    else this.#failureListeners.add(listener)
  }

  /** Durable facts after `afterSeq`, from the disk. May give fewer than `limit`, but none only at the end. */
  read(afterSeq: number, limit: number): Promise<Fact[]> {
    return readFacts(this.#options.disk, this.#paths, { afterSeq, lastSeq: this.head.seq, limit })
  }

  /** Seals the active segment. Undefined when its name could not be changed for want of room: it grows on then. */
  async rotate(): Promise<Sealed | undefined> {
    const before = this.#writer.sealed
    this.#writer.sealNext()
    await this.append({ type: 'journal.rotated', actor: JOURNAL_ACTOR, d: {} })
    return this.#writer.sealed === before ? undefined : this.#writer.sealed
  }

  /** Takes nothing more, writes what waits, and closes the file. Never rejects; safe to call twice. */
  async close(): Promise<void> {
    this.#closed ??= new NexusError('JOURNAL_UNAVAILABLE', { reason: 'it is closed' })
    this.#inspection?.cancel()
    await this.#writing
    if (this.#broken === undefined) await this.#watermark.write()
    this.#watermark.stop()
    await this.#writer.close()
  }

  /** One batch after the other until the queue is empty. */
  async #writeQueue(): Promise<void> {
    while (!this.#queue.isEmpty) {
      // Whoever was woken by the last batch, or arrives with this turn of the loop, goes into the same write.
      await new Promise((resolve) => setImmediate(resolve))
      this.#inFlight = this.#queue.takeBatch()
      if (this.#inFlight.length > 0) await this.#writeBatch(this.#inFlight)
      this.#inFlight = []
    }
    this.#writing = undefined
  }

  async #writeBatch(groups: readonly Group[]): Promise<void> {
    const { clock, onBatch } = this.#options
    const startedMs = clock.elapsed()
    this.#batches += 1
    const drafts = groups.flatMap((group) => group.drafts)
    const written = await this.#writer.write(drafts, timestamp(clock))
    if (written.how === 'broken') return this.#break(written.reason)
    if (written.how === 'full') {
      for (const group of groups) group.reject(new NexusError('JOURNAL_FULL', { reason: written.reason }))
      return
    }

    const { facts, added, sizeBytes } = written
    this.#publish(facts)
    let at = added
    for (const group of groups) {
      group.resolve(facts.slice(at, at + group.drafts.length))
      at += group.drafts.length
    }
    onBatch?.({ records: facts.length, sizeBytes, durationMs: clock.elapsed() - startedMs })
    this.#watermark.advance(added > 0)
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

  #break(reason: string): void {
    if (this.#broken !== undefined) return
    const error = new NexusError('JOURNAL_UNAVAILABLE', { reason })
    this.#broken = error
    this.#watermark.stop()
    this.#inspection?.cancel()
    for (const group of [...this.#inFlight, ...this.#queue.takeAll()]) group.reject(error)
    for (const listener of this.#failureListeners) listener(error)
    this.#failureListeners.clear()
  }

  #scheduleInspection(): void {
    if (this.#closed !== undefined || this.#broken !== undefined) return
    this.#inspection = this.#options.clock.after(INSPECT_MS, () => {
      void this.#inspect() // Never rejects.
    })
  }

  /** While batches are written, each of them looks for itself. */
  async #inspect(): Promise<void> {
    if (this.#writing === undefined) {
      const batches = this.#batches
      const outcome = await this.#writer.inspect()
      const isStill = batches === this.#batches && this.#closed === undefined
      if (isStill && outcome.how === 'broken') this.#break(outcome.reason)
    }
    this.#scheduleInspection()
  }
}

async function openJournal(
  options: JournalOptions,
  make: (paths: DataPaths, writer: ChainWriter) => Journal,
): Promise<{ journal: Journal; recovery: Recovery }> {
  const { disk, dataDir, segmentBytesMax, from = START, onReplay } = options
  const paths = dataPaths(dataDir)
  for (const dir of [paths.segments, paths.quarantine, paths.run]) await disk.makeDir(dir)
  // A process that was killed while it sealed a segment has moved it, and not made sure that it stays there.
  await disk.syncDir(paths.segments)
  await disk.syncDir(paths.root)
  for (const dir of [paths.root, paths.run]) await removeDrafts(disk, dir)

  let replayed = 0
  const replay = (fact: Fact): void => {
    replayed += 1
    onReplay(fact)
  }
  const repair = await repairWatch(disk, paths, from.seq)
  const see = (fact: Fact): void => {
    repair?.see(fact)
    replay(fact)
  }
  const found: Findings = await examine(disk, paths, from, see, options.anchors)
  const nextSeq = found.end.seq + 1
  if (found.torn !== undefined) await cutTail(disk, paths, found.torn, nextSeq)

  const writer = new ChainWriter(disk, paths, segmentBytesMax, found)
  const outcome: Outcome = await writer.open(found.activeBytes)
  if (outcome.how === 'full') throw new NexusError('JOURNAL_FULL', { reason: outcome.reason })
  if (outcome.how === 'broken') throw new NexusError('JOURNAL_UNAVAILABLE', { reason: outcome.reason })

  const journal = make(paths, writer)
  const cuts = await unrecordedCuts(disk, paths, nextSeq)
  const untold = repair?.untold(found.end.seq)
  const told = await record(
    journal,
    [
      ...cuts.map(({ file, bytes, quarantine }) => {
        return { type: 'journal.tail_cut', actor: JOURNAL_ACTOR, d: { bytes, file, quarantine } } as const
      }),
      ...(untold === undefined ? [] : [repairedDraft(untold)]),
    ],
    replay,
  )
  if (repair !== undefined && told) await forgetRepair(disk, paths)
  return { journal, recovery: { replayed, cuts } }
}

/** Tails that were cut, and repairs, are facts too. A full disk postpones them to the next start: false then. */
async function record(
  journal: Journal,
  drafts: readonly FactDraft[],
  replay: (fact: Fact) => void,
): Promise<boolean> {
  const end = journal.subscribe((facts) => facts.forEach(replay))
  try {
    await journal.appendAll(drafts)
    return true
  } catch (error) {
    if (!(error instanceof NexusError && error.code === 'JOURNAL_FULL')) throw error
    return false
  } finally {
    end()
  }
}

function crash(error: unknown): void {
  queueMicrotask(() => {
    throw error
  })
}
