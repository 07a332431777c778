import type { Clock, Timer } from '../kit/clock.ts'
import type { HostLedger } from './host-process.ts'
import { HostProcess } from './host-process.ts'
import type { Launch } from './isolation.ts'

/**
 * Hosts that wait for an instance: one is kept for the standard launch, others are booted ahead of need. When there
 * are too many the oldest of the others goes.
 */
export class Spares {
  readonly #clock: Clock
  readonly #ledger: HostLedger
  readonly #standard: Launch
  readonly #wanted: number
  #waiting: { launch: Launch; host: HostProcess }[] = []
  #refill: Timer | undefined
  #deaths = 0
  #closed = false

  /** `wanted` hosts of the standard launch are kept waiting; `first` is one that is up already. */
  constructor(clock: Clock, ledger: HostLedger, standard: Launch, wanted: number, first?: HostProcess) {
    this.#clock = clock
    this.#ledger = ledger
    this.#standard = standard
    this.#wanted = wanted
    if (first !== undefined) this.#keep(standard, first)
    if (wanted === 0) first?.signal('SIGKILL')
    this.#fill()
  }

  /** A host for this launch: one that waits, or a new one. It may not have said hello yet. */
  take(launch: Launch): HostProcess {
    const at = this.#waiting.findIndex(({ launch: { key }, host }) => key === launch.key && host.alive)
    const spare = at === -1 ? undefined : this.#waiting.splice(at, 1)[0]
    // The replacement would compete for the processor with the start that the spare was kept for.
    if (spare !== undefined && launch.key === this.#standard.key) this.#fillAfter(REFILL_MS)
    return spare?.host ?? new HostProcess(launch, this.#clock, this.#ledger)
  }

  /** Boots one ahead of need, unless one waits already. */
  prepare(launch: Launch): void {
    if (this.#closed || this.#waiting.some((spare) => spare.launch.key === launch.key)) return
    this.#boot(launch)
    const others = this.#waiting.filter((spare) => spare.launch.key !== this.#standard.key)
    if (this.#waiting.length > SPARES_MAX) others[0]?.host.signal('SIGKILL')
  }

  /** Ends all of them and waits until they are gone. */
  async close(): Promise<void> {
    this.#closed = true
    this.#refill?.cancel()
    const hosts = this.#waiting.map((spare) => spare.host)
    for (const host of hosts) host.signal('SIGKILL')
    await Promise.all(hosts.map((host) => host.ended))
  }

  #fill(): void {
    this.#refill = undefined
    const waiting = this.#waiting.filter((spare) => spare.launch.key === this.#standard.key).length
    for (let missing = this.#wanted - waiting; missing > 0; missing -= 1) this.#boot(this.#standard)
  }

  #fillAfter(waitMs: number): void {
    if (!this.#closed) this.#refill ??= this.#clock.after(waitMs, () => this.#fill())
  }

  #boot(launch: Launch): void {
    this.#keep(launch, new HostProcess(launch, this.#clock, this.#ledger))
  }

  #keep(launch: Launch, host: HostProcess): void {
    const spare = { launch, host }
    this.#waiting.push(spare)
    spare.host.hello.then(
      () => {
        this.#deaths = 0
      },
      // Heard by `ended` below.
      () => undefined,
    )
    void spare.host.ended.then(() => this.#bury(spare))
  }

  /** A spare died (or was ended) while it waited. Dying again and again is answered ever more slowly. */
  #bury(spare: { launch: Launch; host: HostProcess }): void {
    if (!this.#waiting.includes(spare)) return
    this.#waiting = this.#waiting.filter((other) => other !== spare)
    if (spare.launch.key !== this.#standard.key) return
    this.#fillAfter(Math.min(BACKOFF_MS_MAX, BACKOFF_MS * 2 ** Math.min(this.#deaths, 10)))
    this.#deaths += 1
  }
}

/** About 10 MB each: enough for the two modules somebody is editing and the next crash. */
const SPARES_MAX = 3
/** An instance's import takes a few milliseconds; its start may take some more. */
const REFILL_MS = 50
const BACKOFF_MS = 1_000
const BACKOFF_MS_MAX = 60_000
