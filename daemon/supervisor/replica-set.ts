import assert from 'node:assert'
import type { Generation } from '../catalog/port.ts'
import { NexusError } from '../contracts/failure.ts'
import type { InstanceState } from '../contracts/status.ts'
import type { Departure, Instance, InstanceListener } from '../host/port.ts'
import type { Clock } from '../kit/clock.ts'

/** One instance and what the supervisor knows of it. */
export interface Replica {
  readonly id: string
  readonly set: ReplicaSet
  instance: Instance | undefined
  state: InstanceState
  /** Wall time of the last change of state. */
  sinceMs: number
  /** Monotonic time at which it became ready first; undefined before. */
  readyAtMs: number | undefined
  suspected: boolean
  /** Told once each, when its heartbeat stops. */
  readonly onSuspect: Set<() => void>
  /** Calls in flight by action. */
  readonly busy: Map<string, number>
  answered: number
  failed: number
}

export interface ReplicaSetEvents {
  /** It takes calls from now on. */
  ready(replica: Replica): void
  /** It lives but takes no calls. */
  notReady(replica: Replica, reason: string): void
  suspect(replica: Replica, missingMs: number): void
  /** A replica that had come up is gone without having been asked to go. */
  departed(replica: Replica, departure: Departure, readyMs: number): void
}

export interface BringOptions {
  readonly inherited?: unknown
  /** Judges the instance before it takes calls; throws to fail the start. */
  prove?(instance: Instance): Promise<void>
}

/** The instances of one generation with one configuration. They come up one by one and go together. */
export class ReplicaSet {
  readonly generation: Generation
  readonly replicas = new Set<Replica>()
  #config: Readonly<Record<string, unknown>>
  readonly #spawn: (replica: Replica, listener: InstanceListener, inherited: unknown) => Promise<Instance>
  readonly #events: ReplicaSetEvents
  readonly #clock: Clock
  /** Looks of drains that wait for the last call. */
  readonly #drains = new Set<() => void>()
  #closing = false

  constructor(
    generation: Generation,
    config: Readonly<Record<string, unknown>>,
    clock: Clock,
    events: ReplicaSetEvents,
    spawn: (replica: Replica, listener: InstanceListener, inherited: unknown) => Promise<Instance>,
  ) {
    this.generation = generation
    this.#config = config
    this.#clock = clock
    this.#events = events
    this.#spawn = spawn
  }

  /** What its instances run with. */
  get config(): Readonly<Record<string, unknown>> {
    return this.#config
  }

  /** Its instances have taken these settings while running. */
  reconfigured(config: Readonly<Record<string, unknown>>): void {
    this.#config = config
  }

  get ready(): readonly Replica[] {
    return [...this.replicas].filter(({ state }) => state === 'ready')
  }

  /**
   * Brings up one more replica and resolves once it has started: ready, or not ready by its own word.
   *
   * @throws NexusError `MODULE_START_FAILED`; nothing of it is left running then.
   */
  async bringUp(
    id: string,
    listener: Omit<InstanceListener, InnerEvents>,
    options: BringOptions,
  ): Promise<Replica> {
    const replica: Replica = {
      id,
      set: this,
      instance: undefined,
      state: 'spawning',
      sinceMs: this.#clock.now(),
      readyAtMs: undefined,
      suspected: false,
      onSuspect: new Set(),
      busy: new Map(),
      answered: 0,
      failed: 0,
    }
    this.replicas.add(replica)
    try {
      const instance = await this.#spawn(replica, this.#listen(replica, listener), options.inherited)
      replica.instance = instance
      this.#assertWanted(replica)
      this.#enter(replica, 'booting')
      const died = instance.gone.then((departure) => {
        throw startFailure(this.generation.moduleId, departure)
      })
      await Promise.race([this.#start(instance, options), died])
      this.#assertWanted(replica)
      this.#watch(replica, instance)
      // `notReady` may have been said during the start; then it stays so.
      if (replica.state === 'booting') this.#becomeReady(replica)
      return replica
    } catch (error) {
      replica.instance?.kill('its start failed')
      this.#drop(replica)
      throw error
    }
  }

  /** Takes no more calls; waits until those in flight have ended, `drainMs` at most, then stops every instance. */
  async retire(drainMs: number, stopMs: number): Promise<void> {
    await this.drain([...this.replicas], drainMs)
    await this.halt(stopMs)
  }

  /** Drains and stops some of its replicas; the others go on. */
  async release(replicas: readonly Replica[], drainMs: number, stopMs: number): Promise<void> {
    await this.drain(replicas, drainMs)
    await Promise.all(replicas.map((replica) => this.#haltOne(replica, stopMs)))
  }

  /** These take no more calls; resolves when those in flight on them have ended, after `drainMs` at most. */
  async drain(replicas: readonly Replica[], drainMs: number): Promise<void> {
    for (const replica of replicas) if (replica.state === 'ready') this.#enter(replica, 'draining')
    const isIdle = (): boolean => replicas.every((replica) => inFlightOf(replica) === 0)
    if (isIdle()) return
    await new Promise<void>((resolve) => {
      const end = (): void => {
        timer.cancel()
        this.#drains.delete(look)
        resolve()
      }
      const look = (): void => {
        if (isIdle()) end()
      }
      const timer = this.#clock.after(drainMs, end)
      this.#drains.add(look)
    })
  }

  /** Stops every instance, also those still coming up. */
  async halt(stopMs: number): Promise<void> {
    this.#closing = true
    await Promise.all([...this.replicas].map((replica) => this.#haltOne(replica, stopMs)))
  }

  /** Must be called when a call ended, so that a waiting drain can go on. */
  released(): void {
    for (const look of this.#drains) look()
  }

  async #haltOne(replica: Replica, stopMs: number): Promise<void> {
    if (replica.state === 'exited') return
    this.#enter(replica, 'exiting')
    await replica.instance?.halt(stopMs)
    if (replica.instance !== undefined) this.#drop(replica)
  }

  async #start(instance: Instance, options: BringOptions): Promise<void> {
    await instance.start()
    await options.prove?.(instance)
  }

  #watch(replica: Replica, instance: Instance): void {
    void instance.gone.then((departure) => {
      // Once it is draining or exiting, its end was wanted.
      if (replica.state === 'exited' || replica.state === 'exiting' || replica.state === 'draining') return
      const readyMs = replica.readyAtMs === undefined ? 0 : this.#clock.elapsed() - replica.readyAtMs
      this.#drop(replica)
      this.#events.departed(replica, departure, readyMs)
    })
  }

  #listen(replica: Replica, outer: Omit<InstanceListener, InnerEvents>): InstanceListener {
    return {
      ...outer,
      notReady: (reason, retryInMs) => {
        if (replica.state !== 'booting' && replica.state !== 'ready') return
        this.#enter(replica, 'notready')
        this.#events.notReady(replica, reason)
        if (retryInMs !== undefined) this.#clock.after(retryInMs, () => this.#tryAgain(replica))
      },
      ready: () => {
        if (replica.state === 'notready') this.#becomeReady(replica)
      },
      suspect: (missingMs) => {
        replica.suspected = true
        this.#events.suspect(replica, missingMs)
        for (const tell of replica.onSuspect) tell()
      },
      recovered: () => {
        replica.suspected = false
        if (replica.state === 'ready') this.#events.ready(replica)
      },
    }
  }

  /** The module asked to be started again: it could not work yet, which is no crash. */
  #tryAgain(replica: Replica): void {
    const { instance } = replica
    if (replica.state !== 'notready' || instance === undefined) return
    this.#enter(replica, 'booting')
    instance.start().then(
      () => {
        if (replica.state === 'booting') this.#becomeReady(replica)
      },
      () => instance.kill('it failed when it was started again'),
    )
  }

  #becomeReady(replica: Replica): void {
    replica.readyAtMs ??= this.#clock.elapsed()
    this.#enter(replica, 'ready')
    this.#events.ready(replica)
  }

  #enter(replica: Replica, state: InstanceState): void {
    replica.state = state
    replica.sinceMs = this.#clock.now()
  }

  #drop(replica: Replica): void {
    this.#enter(replica, 'exited')
    this.replicas.delete(replica)
    this.released()
  }

  #assertWanted({ state }: Replica): void {
    const isLetGo = state === 'draining' || state === 'exiting' || state === 'exited'
    if (this.#closing || isLetGo) throw startFailure(this.generation.moduleId, { how: 'halted' })
  }
}

function inFlightOf({ busy }: Replica): number {
  return [...busy.values()].reduce((sum, count) => sum + count, 0)
}

type InnerEvents = 'notReady' | 'ready' | 'suspect' | 'recovered'

function startFailure(module: string, departure: Departure): NexusError {
  assert(departure.how !== undefined)
  const reason = describeDeparture(departure)
  const code = departure.how === 'exited' ? (departure.exitCode ?? -1) : -1
  return new NexusError('MODULE_START_FAILED', { module, phase: 'start', reason, exit_code: code })
}

/** How an instance ended, in words. */
export function describeDeparture(departure: Departure): string {
  switch (departure.how) {
    case 'halted':
      return 'it was stopped'
    case 'exited':
      return departure.signal === null
        ? `it exited with code ${departure.exitCode}`
        : `it ended by ${departure.signal}`
    case 'hung':
      return hangSentence(departure)
    case 'displaced':
      return departure.culprit === undefined
        ? `its shared host ended (${departure.reason})`
        : `its shared host ended by the fault of ${departure.culprit} (${departure.reason})`
    case 'killed':
      return departure.because
  }
}

function hangSentence({ missingMs, blockedAt }: Extract<Departure, { how: 'hung' }>): string {
  const where = blockedAt === undefined ? '' : ` in ${blockedAt}`
  return `its event loop was blocked for ${Math.round(missingMs)} ms${where}`
}
