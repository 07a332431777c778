import type { ConfigChange, ConfigureAnswer, HealthAnswer } from '../contracts/module.ts'
import type { InitializeAnswer } from '../contracts/wire.ts'
import { Talk } from './talk.ts'

/** What is asked of a program while it runs. Of one that is silent nothing is asked: it is well, and has no state. */
export class ExecTalk extends Talk {
  /** How it introduced itself, once it has. */
  answer: InitializeAnswer | undefined

  override async health(timeoutMs: number): Promise<HealthAnswer> {
    if (this.answer?.has.health !== true) return { status: 'healthy' }
    return await super.health(timeoutMs)
  }

  override async configure(change: ConfigChange, timeoutMs: number): Promise<ConfigureAnswer> {
    if (this.answer?.has.configure !== true) return 'needs-reload'
    return await super.configure(change, timeoutMs)
  }

  override async snapshot(timeoutMs: number): Promise<unknown> {
    if (this.answer?.has.snapshot !== true) return undefined
    return await super.snapshot(timeoutMs)
  }
}
