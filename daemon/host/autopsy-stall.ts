import type { LogParams } from '../contracts/wire.ts'
import type { Clock } from '../kit/clock.ts'
import { Autopsy } from './autopsy.ts'
import { type Finding, findingOf } from './autopsy-frames.ts'
import type { HostProcess } from './host-process.ts'
import type { Departure } from './port.ts'

export interface StallOrder {
  readonly host: Pick<HostProcess, 'inspector' | 'program' | 'ended'>
  readonly clock: Clock
  /** Of the generation: absolute and real. */
  readonly dir: string
  /** The actions it was called for and has not answered. */
  actions(): readonly string[]
  /** The log of the module. */
  log(line: LogParams): void
}

/** The silences of one instance: has each looked into, and says in its log where it was blocked. */
export class Stall {
  readonly #order: StallOrder
  readonly #autopsy: Autopsy
  #sinceMs = 0
  /** Of somebody who waits for a look. */
  #seen: ((finding: Finding) => void) | undefined

  constructor(order: StallOrder) {
    const { host, clock, dir } = order
    this.#order = order
    this.#autopsy = new Autopsy({
      pid: () => host.program,
      door: host.inspector,
      clock,
      doing: () => doingSentence(order.actions()),
      read: (frames) => findingOf(frames, dir),
      found: (finding) => (this.#seen ?? ((one) => this.#tell(one)))(finding),
    })
    void host.ended.then(() => this.#autopsy.close())
  }

  /** No heartbeat for `missingMs`. */
  begin(missingMs: number): void {
    this.#sinceMs = this.#order.clock.elapsed() - missingMs
    this.#autopsy.begin()
  }

  /** It beats again. */
  forgive(): void {
    const { finding } = this.#autopsy
    this.#autopsy.forgive()
    const where = finding === undefined ? '' : ` in ${finding.blockedAt}`
    this.#say(`its event loop goes on; it was blocked for ${this.#blockedMs()} ms${where}`)
  }

  /** Where it is blocked, as far as is known by now. */
  get finding(): Finding | undefined {
    return this.#autopsy.finding
  }

  /** Looks for a stack, once, for at most `waitMs`: at one that does not beat yet. Undefined when there is none. */
  async look(waitMs: number): Promise<Finding | undefined> {
    return await new Promise((resolve) => {
      const end = (finding: Finding | undefined): void => {
        timer.cancel()
        this.#seen = undefined
        this.#autopsy.forgive()
        resolve(finding)
      }
      const timer = this.#order.clock.after(waitMs, () => end(undefined))
      this.#seen = (finding) => end(finding.stack === undefined ? undefined : finding)
      this.#autopsy.begin()
    })
  }

  /** It stayed silent for too long: what it departs with. */
  end(missingMs: number): Departure {
    const { blockedAt, stack } = this.#autopsy.lastWord() ?? {}
    return {
      how: 'hung',
      missingMs,
      ...(blockedAt === undefined ? {} : { blockedAt }),
      ...(stack === undefined ? {} : { stack }),
    }
  }

  #tell({ blockedAt, stack }: Finding): void {
    const message = `its event loop has been blocked for ${this.#blockedMs()} ms in ${blockedAt}`
    this.#say(message, stack === undefined ? undefined : { stack })
  }

  #say(message: string, fields?: object): void {
    this.#order.log({ level: 'warn', message, ...(fields === undefined ? {} : { fields }) })
  }

  #blockedMs(): number {
    return Math.round(this.#order.clock.elapsed() - this.#sinceMs)
  }
}

function doingSentence(actions: readonly string[]): string | undefined {
  const [first, ...others] = new Set(actions)
  if (first === undefined) return undefined
  return others.length === 0 ? `the action ${first}` : `the action ${first} or ${others.length} others`
}
