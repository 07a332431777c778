import type { Actor } from '../contracts/fact.ts'
import type { MissionId } from '../contracts/ids.ts'
import type { MissionProgress } from '../contracts/mission.ts'
import type { MissionFacts } from './facts.ts'

/** An attempt under way: the handle by which others can end it. */
export class Running {
  readonly missionId: MissionId
  readonly epoch: number
  readonly #controller = new AbortController()
  readonly #ended = Promise.withResolvers<void>()
  #halt: Halt | undefined
  readonly #tell: (progress: Said) => MissionProgress
  #progress: MissionProgress | undefined

  /** @param tell - Passes on what an action says, with the time. */
  constructor(missionId: MissionId, epoch: number, tell: (said: Said) => MissionProgress) {
    this.missionId = missionId
    this.epoch = epoch
    this.#tell = tell
  }

  /** What an action of it said last. */
  get progress(): MissionProgress | undefined {
    return this.#progress
  }

  heard(step: string, fraction: number, note: string | undefined): void {
    this.#progress = this.#tell({ step, fraction, note: note ?? null })
  }

  /** Asks the attempt to end; the first reason counts. */
  stop(halt: Halt): void {
    if (this.#halt !== undefined) return
    this.#halt = halt
    this.#controller.abort(new Error(SAY[halt.kind]))
  }

  get halt(): Halt | undefined {
    return this.#halt
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** Resolves when the attempt has written its last record, or can write none. */
  get ended(): Promise<void> {
    return this.#ended.promise
  }

  end(): void {
    this.#ended.resolve()
  }
}

type Said = Omit<MissionProgress, 'at'>

export type Halt =
  | { readonly kind: 'cancelled'; readonly actor: Actor; readonly body: MissionFacts['mission.cancelled'] }
  | { readonly kind: 'max_time' }
  | { readonly kind: 'drain' }
  /** It is no longer this attempt's mission, or nothing can be recorded any more. */
  | { readonly kind: 'lost' }

const SAY = {
  cancelled: 'the mission was cancelled',
  max_time: 'the mission used up its time',
  drain: 'the daemon is stopping',
  lost: 'the attempt lost its mission',
} as const
