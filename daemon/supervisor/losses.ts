import assert from 'node:assert'
import type { Acceptance } from './acceptance.ts'
import { patientRules } from './omened.ts'
import type { Requirements } from './requirements.ts'
import type { Crash, RestartRules } from './restart-policy.ts'
import { EXIT_CONFIG } from './start-failure.ts'
import type { StartUp } from './start-up.ts'
import type { Letter, UnitCore } from './unit-core.ts'

export interface LossesParts {
  readonly core: UnitCore
  readonly startUp: StartUp
  readonly acceptance: Acceptance
  readonly requirements: Requirements
}

/** Says what the loss of an instance means, and posts it. */
export class Losses {
  readonly #parts: LossesParts

  constructor(parts: LossesParts) {
    this.#parts = parts
  }

  judge(letter: Letter, rules: { readonly settleMs: number; readonly restart: RestartRules }): void {
    const { core, startUp, acceptance } = this.#parts
    const { crash, because } = letter
    assert(crash !== undefined, 'a loss comes with its crash')
    if (letter.exitCode === EXIT_CONFIG) {
      core.post('broken', 'it exited with 78: its settings are wrong')
      return
    }
    if (this.#isExcused(letter, rules.restart)) return
    const young = acceptance.isYoung && crash.readyMs < rules.settleMs && !crash.displaced
    if (letter.event === 'exited' && young && startUp.fallBack('settle', because)) return
    this.#restart(crash, because, rules.restart)
  }

  /** What it requires is away: that it went is no crash, and it comes back when that is back. */
  #isExcused({ event, crash }: Letter, { policy }: RestartRules): boolean {
    const verdict = this.#parts.requirements.judge()
    const wouldReturn = policy === 'permanent' || (policy === 'transient' && crash?.clean !== true)
    if (verdict.met || !wouldReturn) return false
    if (event !== 'thinned') this.#parts.core.post('blocked', verdict.because)
    return true
  }

  #restart(crash: Crash, because: string, rules: RestartRules): void {
    const { retries, note, post } = this.#parts.core
    const omen = this.#parts.core.env.omenOver?.(this.#parts.core.id)
    const verdict = retries.judge(crash, omen === undefined ? rules : patientRules(rules, omen))
    switch (verdict.restart) {
      case 'never':
        post('done', `${because}; its restart policy is ${rules.policy}`)
        break
      case 'spent':
        note('module.crashloop', { crashes: verdict.crashes, reason: because })
        this.#tryAgain(verdict.waitMs, 'one try in five minutes')
        post('spent', `${verdict.crashes} crashes in ${rules.within_ms} ms: ${because}`)
        break
      case 'now':
        this.#tryAgain(0, 'it crashed and is started again')
        break
      case 'later':
        this.#tryAgain(verdict.waitMs, 'its backoff is over')
        break
      case 'again':
        this.#tryAgain(verdict.waitMs, 'it was displaced and is started again', 'freely')
        break
    }
  }

  #tryAgain(waitMs: number, because: string, how: 'in turn' | 'freely' = 'in turn'): void {
    const { retries, works, post } = this.#parts.core
    const { run } = works
    const ring = (): void => post('due', because, { run })
    if (how === 'freely') retries.armFreely(waitMs, ring)
    else retries.arm(waitMs, ring)
  }
}
