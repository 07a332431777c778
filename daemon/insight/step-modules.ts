import type { Fact } from '../contracts/fact.ts'
import type { MissionId, ModuleId } from '../contracts/ids.ts'
import { textOf } from './facts.ts'

/** Which action each step of the missions under way was given to: whom to blame when one fails. */
export class StepModules {
  readonly #steps = new Map<MissionId, Map<string, string>>()

  fold({ type, mid, d }: Fact): void {
    const [step, uses] = [textOf(d, 'step'), textOf(d, 'uses')]
    if (type !== 'mission.step_started' || mid === undefined || step === undefined || uses === undefined)
      return
    const steps = this.#steps.get(mid) ?? new Map<string, string>()
    this.#steps.set(mid, steps.set(step, uses))
    const oldest = this.#steps.keys().next().value
    if (this.#steps.size > MISSIONS_MAX && oldest !== undefined) this.#steps.delete(oldest)
  }

  moduleOf(mid: MissionId, step: string | undefined): ModuleId | undefined {
    const uses = this.usedBy(mid, step)
    return uses?.slice(0, Math.max(0, uses.lastIndexOf('/')))
  }

  /** `<module>/<action>`. */
  usedBy(mid: MissionId, step: string | undefined): string | undefined {
    return step === undefined ? undefined : this.#steps.get(mid)?.get(step)
  }

  /** A mission that is over needs no more blame. */
  forget({ type, mid }: Fact): void {
    if (mid !== undefined && (type === 'mission.ended' || type === 'mission.cancelled'))
      this.#steps.delete(mid)
  }

  save(): [MissionId, [string, string][]][] {
    return [...this.#steps].map(([mid, steps]) => [mid, [...steps]])
  }

  load(saved: readonly (readonly [MissionId, readonly (readonly [string, string])[]])[]): void {
    for (const [mid, steps] of saved) this.#steps.set(mid, new Map(steps))
  }
}

/** Far more than run at once. */
const MISSIONS_MAX = 2_000
