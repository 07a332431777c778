import type { NexusError } from '../contracts/failure.ts'
import { isFinal, reasonOf, toStartFailure } from './start-failure.ts'
import type { UnitCore } from './unit-core.ts'

/** Brings up what is missing of a module, beside its mailbox, and posts how that ended. */
export class StartUp {
  readonly #core: UnitCore
  #failure: NexusError | undefined

  constructor(core: UnitCore) {
    this.#core = core
  }

  /** Why the last start failed, if it did. */
  get failure(): NexusError | undefined {
    return this.#failure
  }

  /** Never rejects. Ends as `up`, `notready`, `lost`, `broken` or `fallback`; `thinned` besides when one of several failed. */
  async begin(replicas: number): Promise<void> {
    const { run } = this.#core.works
    try {
      await this.#comeUp(run, replicas)
      this.#cameUp(run)
    } catch (error) {
      this.#stayedDown(run, error)
    }
  }

  /**
   * A generation that never was good gives way to the one that was.
   *
   * @returns False when there is nothing to go back to.
   */
  fallBack(phase: string, reason: string): boolean {
    const { id, env, works, memory, note, post } = this.#core
    const { lastGood } = memory()
    const failed = works.generation
    if (lastGood === undefined || failed === undefined || failed.id === lastGood) return false
    note('module.rolled_back', { generation: failed.id, to: lastGood, phase, reason })
    const { run } = works
    env.catalog.kept(id, lastGood).then(
      (generation) => {
        if (run !== works.run) return
        works.generation = generation
        post('fallback', `the newer code failed (${phase}: ${reason})`, { run })
      },
      () => post('broken', `${phase}: ${reason}`, { run }),
    )
    return true
  }

  async #comeUp(run: number, replicas: number): Promise<void> {
    const { works, assembly, retries, post } = this.#core
    const generation = works.generation ?? (await assembly.choose())
    if (run !== works.run) return
    works.generation = generation
    works.serving ??= assembly.form(generation)
    const failure = await assembly.complete(works.serving, replicas)
    if (failure === undefined || run !== works.run) return
    post('thinned', reasonOf(failure), { crash: retries.crash(0), run })
  }

  #cameUp(run: number): void {
    const { works, standing, post } = this.#core
    if (run !== works.run) return
    const set = works.serving
    if (set !== undefined && set.replicas.size > 0 && !works.isReady) {
      post('notready', standing.because, { run })
      return
    }
    this.#failure = undefined
    post('up', 'it has started', { run })
  }

  #stayedDown(run: number, error: unknown): void {
    const { id, works, retries, post, note } = this.#core
    if (run !== works.run) return
    this.#failure = toStartFailure(id, error)
    const { facts } = this.#failure
    const phase = String(facts['phase'])
    const reason = String(facts['reason'])
    note('module.start_failed', { phase, reason, stack: facts['stack'], generation: works.generation?.id })
    if (this.fallBack(phase, reason)) return
    if (isFinal(this.#failure)) post('broken', `${phase}: ${reason}`, { run })
    else post('lost', `${phase}: ${reason}`, { crash: retries.crash(0), run })
  }
}
