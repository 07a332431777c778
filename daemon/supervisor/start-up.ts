import type { NexusError } from '../contracts/failure.ts'
import { isFinal, toStartFailure, wasLetGo } from './start-failure.ts'
import type { UnitCore } from './unit-core.ts'

/** Brings up what is missing of a module, beside its mailbox, and posts how that ended. */
export class StartUp {
  readonly #core: UnitCore
  #failure: NexusError | undefined
  /** What comes up now, and whether it was asked for again meanwhile. */
  #work: { readonly run: number; again: boolean; done: Promise<void> } | undefined
  #isShort = false

  constructor(core: UnitCore) {
    this.#core = core
  }

  /** Why the last start failed, if it did. */
  get failure(): NexusError | undefined {
    return this.#failure
  }

  /**
   * Never rejects. Ends as `up`, `notready`, `lost`, `broken` or `fallback`; `thinned` besides when fewer came up than
   * are wanted. Asked again while it is at work, it goes on until nothing is missing, and ends once.
   */
  begin(wanted: () => number): Promise<void> {
    const { run } = this.#core.works
    if (this.#work?.run === run) {
      this.#work.again = true
      return this.#work.done
    }
    const work = { run, again: false, done: Promise.resolve() }
    this.#work = work
    work.done = this.#carryOut(work, wanted)
    return work.done
  }

  /** Whether something comes up now. */
  get isBusy(): boolean {
    return this.#work?.run === this.#core.works.run
  }

  /** Whether fewer came up than are wanted: the letter that says so decides when the others are tried again. */
  get isShort(): boolean {
    return this.#isShort
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

  async #carryOut(work: { readonly run: number; again: boolean }, wanted: () => number): Promise<void> {
    const { run } = work
    this.#isShort = false
    try {
      let failure: unknown
      do {
        work.again = false
        failure = await this.#comeUp(run, wanted())
      } while (work.again && failure === undefined)
      this.#cameUp(run, wanted(), failure)
    } catch (error) {
      this.#stayedDown(run, error)
    } finally {
      if (this.#work === work) this.#work = undefined
    }
  }

  /** @returns Why some did not, when others did. */
  async #comeUp(run: number, replicas: number): Promise<unknown> {
    const { works, assembly } = this.#core
    const generation = works.generation ?? (await assembly.choose())
    if (run !== works.run) return undefined
    works.generation = generation
    works.serving ??= assembly.form(generation)
    return assembly.complete(works.serving, replicas)
  }

  #cameUp(run: number, wanted: number, failure: unknown): void {
    const { id, works, standing, retries, post } = this.#core
    const set = works.serving
    if (run !== works.run || set === undefined) return
    if (works.isReady) {
      this.#failure = undefined
      post('up', 'it has started', { run })
    } else post('notready', standing.because, { run })
    if (failure !== undefined) {
      const { displaced, reason } = this.#tell(toStartFailure(id, failure))
      this.#isShort = true
      post('thinned', reason, { crash: retries.crash(0, { displaced }), run })
    } else if (standing.state === 'starting' && set.staying.length < wanted) {
      // While it starts nobody judges the loss of one of several.
      this.#isShort = true
      post('thinned', 'an instance was lost while others came up', { crash: retries.crash(0), run })
    }
  }

  #stayedDown(run: number, error: unknown): void {
    const { id, works, retries, post } = this.#core
    if (run !== works.run || wasLetGo(error)) return
    this.#failure = toStartFailure(id, error)
    const { displaced, phase, reason } = this.#tell(this.#failure)
    if (!displaced && this.fallBack(phase, reason)) return
    if (isFinal(this.#failure)) post('broken', `${phase}: ${reason}`, { run })
    else post('lost', `${phase}: ${reason}`, { crash: retries.crash(0, { displaced }), run })
  }

  /** The fact of a start that failed. */
  #tell({ facts }: NexusError): { displaced: boolean; phase: string; reason: string } {
    const { works, note } = this.#core
    const { stack, culprit } = facts
    const phase = String(facts['phase'])
    const reason = String(facts['reason'])
    const displaced = facts['displaced'] === 1
    const generation = works.generation?.id
    if (displaced) note('module.displaced', { how: 'displaced', reason, culprit, generation })
    else note('module.start_failed', { phase, reason, stack, generation })
    return { displaced, phase, reason }
  }
}
