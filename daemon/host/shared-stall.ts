import { readFileSync } from 'node:fs'
import type { LogParams } from '../contracts/wire.ts'
import type { Clock } from '../kit/clock.ts'
import { Autopsy } from './autopsy.ts'
import { culpritOf } from './autopsy-frames.ts'
import type { HostProcess } from './host-process.ts'
import type { Departure } from './port.ts'

/** One of those whom a blocked event loop may be due to. */
export interface Suspect {
  readonly seat: number
  /** Of its generation. */
  readonly dir: string
  /** What it was called for and has not answered. */
  readonly doing: string | undefined
  /** The log of the module. */
  log(line: LogParams): void
}

export interface SharedStallOrder<Who extends Suspect> {
  readonly host: Pick<HostProcess, 'inspector' | 'program' | 'ended'>
  readonly clock: Clock
  suspects(): readonly Who[]
}

/**
 * Finds out which of the modules in a shared host has its event loop: by the stack where one can be seen, else by the
 * title that the host's own program gives its process whenever the loop passes to another module.
 */
export class SharedStall<Who extends Suspect> {
  readonly #order: SharedStallOrder<Who>
  readonly #autopsy: Autopsy
  #who: Who | undefined

  constructor(order: SharedStallOrder<Who>) {
    const { host, clock } = order
    this.#order = order
    this.#autopsy = new Autopsy({
      pid: () => host.program,
      door: host.inspector,
      clock,
      doing: () => this.#who?.doing,
      read: (frames) => {
        const seen = culpritOf(frames, new Map(order.suspects().map((one) => [one, one.dir])))
        this.#who = seen?.culprit ?? this.#who
        return seen?.finding
      },
      found: ({ blockedAt, stack }) => {
        this.#say(
          `it blocks the event loop of its host in ${blockedAt}`,
          stack === undefined ? {} : { stack },
        )
      },
    })
    void host.ended.then(() => this.#autopsy.close())
  }

  /** No heartbeat for a while. */
  begin(): void {
    this.#who = this.#titled()
    this.#autopsy.begin()
  }

  /** It beats again. */
  forgive(): void {
    this.#autopsy.forgive()
    this.#who = undefined
  }

  /** It stayed silent for too long: whose fault that is, and what they depart with. */
  end(missingMs: number): { readonly who: Who | undefined; readonly departure: Departure } {
    const { blockedAt, stack } = this.#autopsy.finding ?? {}
    const details = { ...(blockedAt && { blockedAt }), ...(stack && { stack }) }
    return { who: this.#who ?? this.#titled(), departure: { how: 'hung', missingMs, ...details } }
  }

  #say(message: string, fields: object): void {
    this.#who?.log({ level: 'warn', message, fields })
  }

  #titled(): Who | undefined {
    const { host, suspects } = this.#order
    const seat = seatInTitle(titleOf(host.program))
    return seat === undefined ? undefined : suspects().find((one) => one.seat === seat)
  }
}

/** The number in `nexus 12 vitals/heart#3`, of which the kernel keeps the beginning. */
export function seatInTitle(title: string): number | undefined {
  const [, seat] = /^nexus (\d+)(?:\s|$)/.exec(title) ?? []
  return seat === undefined ? undefined : Number(seat)
}

function titleOf(pid: number | undefined): string {
  try {
    return pid === undefined ? '' : readFileSync(`/proc/${pid}/comm`, 'latin1')
  } catch {
    return '' // it has just ended, or there is no /proc: then nobody is named
  }
}
