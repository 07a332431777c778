import type { Clock, Timer } from '../kit/clock.ts'

/** A folder that is written to for longer than this is waited for no more: its dependants are not to starve. */
const PATIENCE_MS = 3_000

export interface BurstOptions {
  readonly clock: Clock
  /** What a module requires, as far as is known. */
  requires(moduleId: string): readonly string[]
}

interface Change {
  readonly over: Promise<void>
  end(): void
  timer: Timer | undefined
}

/**
 * Changes on disk in the order of starts: a checkout that touches several modules reloads what is required before those
 * that require it.
 *
 * A change begins when nothing that its module requires, directly or through others, is being written or carried out.
 * It counts as carried out from the moment calls go to the new code: its dependants do not wait while it settles.
 */
export class Burst {
  readonly #options: BurstOptions
  readonly #changes = new Map<string, Change>()

  constructor(options: BurstOptions) {
    this.#options = options
  }

  /** The first sign of a change. */
  touched(moduleId: string): void {
    const change = this.#changes.get(moduleId) ?? this.#open(moduleId)
    change.timer?.cancel()
    change.timer = this.#options.clock.after(PATIENCE_MS, () => change.end())
  }

  /** The folder has come to rest: does the work when it is its turn. @param work - To say when it is carried out. */
  async settled(moduleId: string, work: (carriedOut: () => void) => Promise<void>): Promise<void> {
    const change = this.#changes.get(moduleId) ?? this.#open(moduleId)
    change.timer?.cancel()
    try {
      await this.#calm(moduleId)
      await work(() => change.end())
    } finally {
      change.end()
    }
  }

  #open(moduleId: string): Change {
    let resolve: () => void = () => {}
    const over = new Promise<void>((done) => {
      resolve = done
    })
    const change: Change = {
      over,
      timer: undefined,
      end: () => {
        change.timer?.cancel()
        if (this.#changes.get(moduleId) === change) this.#changes.delete(moduleId)
        resolve()
      },
    }
    this.#changes.set(moduleId, change)
    return change
  }

  /** Resolves when nothing changes of what the module requires. What comes later is another burst. */
  async #calm(moduleId: string): Promise<void> {
    for (;;) {
      const ahead = this.#closure(moduleId).flatMap((id) => this.#changes.get(id) ?? [])
      if (ahead.length === 0) return
      await Promise.all(ahead.map(({ over }) => over))
    }
  }

  #closure(moduleId: string): string[] {
    const seen = new Set(this.#options.requires(moduleId))
    for (const id of seen) for (const next of this.#options.requires(id)) seen.add(next)
    // A circle is invalid, and must not wait for itself.
    seen.delete(moduleId)
    return [...seen]
  }
}
