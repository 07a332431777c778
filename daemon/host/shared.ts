import type { NexusError } from '../contracts/failure.ts'
import { type Clock, sleep } from '../kit/clock.ts'
import type { HostProcess } from './host-process.ts'
import type { Launch } from './isolation.ts'
import type { OutputLine } from './output.ts'
import type { Instance, SpawnOrder, SpawnProfile } from './port.ts'
import { type Fate, SharedHost } from './shared-host.ts'
import { groupOf, seatsIn, sharedProfile } from './shared-launch.ts'
import { choosePlace, DEATHS_WITHIN_MS, openingWaitMs, type PlaceWish } from './shared-place.ts'
import type { PulseWatch } from './watch.ts'

export interface SharedHostsParts {
  readonly clock: Clock
  readonly watch: PulseWatch
  plan(profile: SpawnProfile): Launch
  /** A host that waits, or a new one. */
  take(launch: Launch): HostProcess
  /** Boots one ahead of need. */
  prepare(launch: Launch): void
  /** Resolves when it is up and its wall was seen. @throws NexusError `MODULE_START_FAILED`; it is gone then. */
  greet(host: HostProcess, order: SpawnOrder): Promise<void>
  limit(host: HostProcess, memoryMb: number): void
  /** Starts an instance in a host of its own. */
  spawnAlone(order: SpawnOrder): Promise<Instance>
  /** A line of a shared host that none of its instances wrote, as far as is known. */
  overheard(group: string, line: OutputLine): void
}

/** The hosts that shared modules live in, by group and launch. */
export class SharedHosts {
  readonly #parts: SharedHostsParts
  readonly #hosts = new Set<SharedHost>()
  /** Modules that ended a host, and when. */
  readonly #troublemakers = new Map<string, number>()
  /** When hosts of a key died and nobody knew by whose fault. */
  readonly #deathsMs = new Map<string, readonly number[]>()
  readonly #closed = new AbortController()

  constructor(parts: SharedHostsParts) {
    this.#parts = parts
  }

  /**
   * Gives an instance a place, and imports its entry. One that is displaced meanwhile is given another place.
   *
   * @throws NexusError `MODULE_START_FAILED`; nothing of it is left running then.
   */
  async spawn(order: SpawnOrder): Promise<Instance> {
    for (let tries = 1; ; tries += 1) {
      const host = await this.#hostFor(order)
      const resident = host.seat(order)
      try {
        await this.#parts.greet(host.process, order)
        await host.settle(resident)
        return resident
      } catch (error) {
        const { facts } = error as NexusError
        if (facts?.['displaced'] === 1 && tries < TRIES_MAX) continue
        throw facts?.['unloadable'] === 1 ? await this.#examine(order, error) : error
      }
    }
  }

  /** Boots a host ahead of need, when a new generation of this module would need one. */
  prepare(profile: SpawnProfile): void {
    const { launch, wish } = this.#wishOf({ ...profile, dir: '' })
    if (choosePlace([...this.#hosts], wish) === undefined) this.#parts.prepare(launch)
  }

  /** Ends all of them and waits until they are gone. Their instances were halted before. */
  async close(): Promise<void> {
    this.#closed.abort(new Error('the daemon stops'))
    const ends = [...this.#hosts].map(({ process }) => {
      process.signal('SIGKILL')
      return process.ended
    })
    await Promise.all(ends)
  }

  async #hostFor(order: SpawnOrder): Promise<SharedHost> {
    for (;;) {
      const { launch, wish } = this.#wishOf(order)
      const place = choosePlace([...this.#hosts], wish)
      if (place !== undefined) return place
      const waitMs = openingWaitMs(this.#deathsMs.get(wish.key) ?? [], this.#parts.clock.elapsed())
      if (waitMs === 0) return this.#open(order, launch, wish)
      await sleep(this.#parts.clock, waitMs, this.#closed.signal)
    }
  }

  #wishOf(profile: SpawnProfile & Pick<SpawnOrder, 'dir'>): { launch: Launch; wish: PlaceWish } {
    const { moduleId, limits, dir } = profile
    const launch = this.#parts.plan(sharedProfile(profile))
    const patience = [limits.heartbeat_suspect_ms, limits.heartbeat_kill_ms]
    const key = JSON.stringify([groupOf(moduleId), launch.key, ...patience])
    const faultMs = this.#troublemakers.get(moduleId)
    const isTroublemaker = faultMs !== undefined && this.#parts.clock.elapsed() - faultMs < ALONE_MS
    return { launch, wish: { key, moduleId, dir, isTroublemaker } }
  }

  #open(order: SpawnOrder, launch: Launch, { key, isTroublemaker }: PlaceWish): SharedHost {
    const { clock, watch, take, limit, overheard } = this.#parts
    const group = groupOf(order.moduleId)
    const { memory_mb, heartbeat_suspect_ms, heartbeat_kill_ms } = sharedProfile(order).limits
    const process = take(launch)
    const host = new SharedHost({
      ...{ process, clock, watch, key },
      limits: { suspectMs: heartbeat_suspect_ms, killMs: heartbeat_kill_ms },
      seatsMax: seatsIn({ memory_mb }),
      memoryBytesMax: memory_mb * 1_048_576,
      isAlone: isTroublemaker,
      overheard: (line) => overheard(group, line),
    })
    this.#hosts.add(host)
    process.hello.then(
      () => limit(process, memory_mb),
      () => undefined, // heard by whoever greets it
    )
    void host.ended.then((fate) => this.#bury(host, fate))
    return host
  }

  #bury(host: SharedHost, fate: Fate): void {
    this.#hosts.delete(host)
    const nowMs = this.#parts.clock.elapsed()
    if (fate.how === 'culprit') this.#troublemakers.set(fate.module, nowMs)
    if (fate.how !== 'nobody') return
    const former = this.#deathsMs.get(host.key) ?? []
    this.#deathsMs.set(host.key, [...former.filter((atMs) => nowMs - atMs < DEATHS_WITHIN_MS), nowMs])
  }

  /**
   * Where exactly code does not parse Node tells only of a process that ends by it. Such code is loaded once more, in
   * one of its own.
   */
  async #examine(order: SpawnOrder, error: unknown): Promise<unknown> {
    try {
      const instance = await this.#parts.spawnAlone(order)
      instance.kill('it was only to be loaded')
      return error
    } catch (better) {
      return better
    }
  }
}

/** Somebody who ends a host at every import is alone at the next; two of them in a row are rare, three a coincidence. */
const TRIES_MAX = 4
/** What went wrong once goes wrong again soon, or it was an accident. */
const ALONE_MS = 600_000
