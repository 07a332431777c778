import type { CallDesk } from './call-desk.ts'
import type { StartUp } from './start-up.ts'
import type { UnitCore } from './unit-core.ts'

export const SCALED_TO_NONE = 'it is scaled to none'

/** Brings as many instances of a module as are wanted, or lets go those that are not. */
export class Fitting {
  readonly #core: UnitCore
  readonly #startUp: StartUp
  readonly #desk: () => CallDesk
  /** The instances that come or go at last. */
  #last: Promise<void> = Promise.resolve()

  constructor(core: UnitCore, startUp: StartUp, desk: () => CallDesk) {
    this.#core = core
    this.#startUp = startUp
    this.#desk = desk
  }

  /** Resolves when they are there, or gone. Never rejects. */
  get done(): Promise<void> {
    return this.#last
  }

  /** What is missing comes up beside what is there. */
  bring(): void {
    this.#last = this.#startUp.begin(() => this.#core.self.replicasWanted)
  }

  /** The surplus drains and stops. @returns Whether there was none, but something missing. */
  trim(): 'fits' | 'missing' {
    const { works, retries, self } = this.#core
    const set = works.serving
    const surplus = (set?.staying.length ?? 0) - self.replicasWanted
    if (set === undefined || surplus < 0) return 'missing'
    retries.disarm()
    if (surplus > 0) this.#last = works.release(set, set.surplus(surplus))
    this.#desk().pump()
    return 'fits'
  }

  /** Nothing of it is to run, and nobody who knocks is kept waiting. The rest was discarded before. */
  empty(): void {
    const { works, ports, standing, self, env } = this.#core
    standing.because = SCALED_TO_NONE
    this.#desk().dismiss()
    const over = async (): Promise<void> => {
      await works.retired()
      if (self.replicasWanted === 0) await ports.release()
    }
    this.#last = over().catch(env.onBug)
  }

  /** Makes up for what happened while nobody could judge it: during a reload, or while what it requires was away. */
  fill(): void {
    const { retries, works, self, post } = this.#core
    const missing = self.replicasWanted - (works.serving?.staying.length ?? 0)
    const { isBusy, isShort } = this.#startUp
    if (isBusy || isShort || retries.atMs !== undefined) return
    if (missing > 0) post('due', 'some of it was lost meanwhile', { run: works.run })
    if (missing < 0) post('fit', 'fewer are wanted than there are', { run: works.run })
  }
}
