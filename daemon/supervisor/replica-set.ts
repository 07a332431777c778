import type { Generation } from '../catalog/port.ts'
import { NexusError } from '../contracts/failure.ts'
import type { InstanceState } from '../contracts/status.ts'
import type { Departure, Instance, InstanceListener } from '../host/port.ts'
import type { Clock } from '../kit/clock.ts'
import { describeDeparture } from './departure.ts'

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
  /** All of them together. */
  inFlight: number
  /** Of its module's calls, the number of the last one it was given. */
  lastCall: number
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
  /** Others than before may take new work. Told before what caused it. */
  shifted(): void
}

/** What leads to an instance beside calls: the connections of its ports. */
export interface Doors {
  /** Resolves when no connection leads to it any more; what is open after `waitMs` is cut. */
  drain(instance: string, waitMs: number): Promise<void>
  forget(instance: string): void
  /** Nothing of the set runs any more. */
  leave(set: ReplicaSet): Promise<void>
}

export interface ReplicaSetParts {
  readonly generation: Generation
  readonly config: Readonly<Record<string, unknown>>
  readonly clock: Clock
  readonly events: ReplicaSetEvents
  readonly doors: Doors
  /** Resolves when a host may be started. */
  turn(): Promise<void>
  /** Gives a replica its host, with the settings its set has by then. */
  spawn(replica: Replica, listener: InstanceListener, inherited: unknown): Promise<Instance>
}

export interface BringOptions {
  readonly inherited?: unknown
  /** Judges the instance before it takes calls; throws to fail the start. */
  prove?(instance: Instance): Promise<void>
}

/** The instances of one generation with one configuration. They come up one by one. */
export class ReplicaSet {
  readonly generation: Generation
  readonly replicas = new Set<Replica>()
  /** Its code has to prove itself yet: what is lost with it is lost by no fault of the caller. */
  isOnTrial = false
  readonly #parts: ReplicaSetParts
  #config: Readonly<Record<string, unknown>>
  #ready: readonly Replica[] | undefined
  #closings = 0
  /** Looks of drains that wait for the last call. */
  readonly #drains = new Set<() => void>()

  constructor(parts: ReplicaSetParts) {
    this.#parts = parts
    this.generation = parts.generation
    this.#config = parts.config
  }

  /** What its instances run with. */
  get config(): Readonly<Record<string, unknown>> {
    return this.#config
  }

  /** Its instances have taken these settings while running; those to come start with them. */
  reconfigured(config: Readonly<Record<string, unknown>>): void {
    this.#config = config
  }

  /** Those that take calls. Asked at every call, so it is found anew only after a change. */
  get ready(): readonly Replica[] {
    this.#ready ??= [...this.replicas].filter(({ state }) => state === 'ready')
    return this.#ready
  }

  /** Those that are there to stay, be it that they still come up. */
  get staying(): readonly Replica[] {
    return [...this.replicas].filter(({ state }) => !LEAVING.has(state))
  }

  /** Who goes when so many are too many: first those that do not serve, then the least busy, of them the youngest. */
  surplus(count: number): readonly Replica[] {
    const rank = ({ state, suspected, inFlight }: Replica): number =>
      state !== 'ready' ? -2 : suspected ? -1 : inFlight
    return this.staying
      .toReversed()
      .sort((a, b) => rank(a) - rank(b))
      .slice(0, count)
  }

  /** How often it was retired: whoever wanted to bring up more has to look whether that is still wanted. */
  get closings(): number {
    return this.#closings
  }

  /** @throws NexusError `MODULE_START_FAILED` when it was retired since. */
  assertOpen(closings: number): void {
    if (this.#closings !== closings) throw startFailure(this.generation.moduleId, { how: 'halted' })
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
      sinceMs: this.#parts.clock.now(),
      readyAtMs: undefined,
      suspected: false,
      onSuspect: new Set(),
      busy: new Map(),
      inFlight: 0,
      lastCall: 0,
      answered: 0,
      failed: 0,
    }
    this.replicas.add(replica)
    try {
      await this.#parts.turn()
      this.#assertWanted(replica)
      const instance = await this.#parts.spawn(replica, this.#listen(replica, listener), options.inherited)
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
      const letGo = LEAVING.has(replica.state)
      replica.instance?.kill('its start failed')
      this.#drop(replica)
      if (letGo) throw startFailure(this.generation.moduleId, { how: 'halted' })
      throw error
    }
  }

  /** Takes no more calls; waits until those in flight have ended, `drainMs` at most, then stops every instance. */
  async retire(drainMs: number, stopMs: number): Promise<void> {
    this.#closings += 1
    await this.drain([...this.replicas], drainMs)
    await this.halt(stopMs)
    await this.#parts.doors.leave(this)
  }

  /** Drains and stops some of its replicas, each as soon as it is idle; the others go on. */
  async release(replicas: readonly Replica[], drainMs: number, stopMs: number): Promise<void> {
    // First all of them: none may be handed what another one gave up.
    this.#dismiss(replicas)
    const one = async (replica: Replica): Promise<void> => {
      await this.drain([replica], drainMs)
      await this.#haltOne(replica, stopMs)
    }
    await Promise.all(replicas.map(one))
  }

  /**
   * These take no more calls and connections; resolves when those in flight on them have ended, after `drainMs` at
   * most. Connections that are still open then are cut.
   */
  async drain(replicas: readonly Replica[], drainMs: number): Promise<void> {
    this.#dismiss(replicas)
    const doors = replicas.map(({ id }) => this.#parts.doors.drain(id, drainMs))
    await Promise.all([this.#idle(replicas, drainMs), ...doors])
  }

  #dismiss(replicas: readonly Replica[]): void {
    for (const replica of replicas) {
      if (replica.state === 'ready' || replica.state === 'notready') this.#enter(replica, 'draining')
    }
  }

  async #idle(replicas: readonly Replica[], waitMs: number): Promise<void> {
    const isIdle = (): boolean => replicas.every(({ inFlight }) => inFlight === 0)
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
      const timer = this.#parts.clock.after(waitMs, end)
      this.#drains.add(look)
    })
  }

  /** Stops every instance, also those still coming up. */
  async halt(stopMs: number): Promise<void> {
    this.#closings += 1
    await Promise.all([...this.replicas].map((replica) => this.#haltOne(replica, stopMs)))
  }

  /** Counts a call that is given to a replica. */
  took(replica: Replica, action: string): void {
    replica.inFlight += 1
    replica.busy.set(action, (replica.busy.get(action) ?? 0) + 1)
  }

  /** Counts the end of a call: a waiting drain may go on. */
  ended(replica: Replica, action: string): void {
    const left = (replica.busy.get(action) ?? 1) - 1
    replica.inFlight -= 1
    if (left > 0) replica.busy.set(action, left)
    else replica.busy.delete(action)
    if (replica.inFlight === 0) this.#look()
  }

  #look(): void {
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
      const readyMs = replica.readyAtMs === undefined ? 0 : this.#parts.clock.elapsed() - replica.readyAtMs
      this.#drop(replica)
      this.#parts.events.departed(replica, departure, readyMs)
    })
  }

  #listen(replica: Replica, outer: Omit<InstanceListener, InnerEvents>): InstanceListener {
    return {
      ...outer,
      notReady: (reason, retryInMs) => {
        if (replica.state !== 'booting' && replica.state !== 'ready') return
        this.#enter(replica, 'notready')
        this.#parts.events.notReady(replica, reason)
        if (retryInMs !== undefined) this.#parts.clock.after(retryInMs, () => this.#tryAgain(replica))
      },
      ready: () => {
        if (replica.state === 'notready') this.#becomeReady(replica)
      },
      suspect: (missingMs) => {
        replica.suspected = true
        this.#parts.events.shifted()
        this.#parts.events.suspect(replica, missingMs)
        for (const tell of replica.onSuspect) tell()
      },
      recovered: () => {
        replica.suspected = false
        this.#parts.events.shifted()
        if (replica.state === 'ready') this.#parts.events.ready(replica)
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
    replica.readyAtMs ??= this.#parts.clock.elapsed()
    this.#enter(replica, 'ready')
    this.#parts.events.ready(replica)
  }

  #enter(replica: Replica, state: InstanceState): void {
    const shifts = (replica.state === 'ready') !== (state === 'ready')
    replica.state = state
    replica.sinceMs = this.#parts.clock.now()
    if (!shifts) return
    this.#ready = undefined
    this.#parts.events.shifted()
  }

  #drop(replica: Replica): void {
    if (!this.replicas.delete(replica)) return
    this.#enter(replica, 'exited')
    this.#parts.doors.forget(replica.id)
    this.#look()
  }

  #assertWanted({ state }: Replica): void {
    if (LEAVING.has(state)) throw startFailure(this.generation.moduleId, { how: 'halted' })
  }
}

const LEAVING: ReadonlySet<InstanceState> = new Set(['draining', 'exiting', 'exited'])

type InnerEvents = 'notReady' | 'ready' | 'suspect' | 'recovered'

function startFailure(module: string, departure: Departure): NexusError {
  const facts = { module, phase: 'start', reason: describeDeparture(departure) }
  switch (departure.how) {
    case 'halted':
      return new NexusError('MODULE_START_FAILED', { ...facts, let_go: 1 })
    case 'exited': {
      const stack = departure.stack === undefined ? {} : { stack: departure.stack }
      return new NexusError('MODULE_START_FAILED', {
        ...facts,
        ...stack,
        exit_code: departure.exitCode ?? -1,
      })
    }
    case 'displaced': {
      const culprit = departure.culprit === undefined ? {} : { culprit: departure.culprit }
      return new NexusError('MODULE_START_FAILED', { ...facts, displaced: 1, ...culprit })
    }
    case 'hung':
    case 'killed':
      return new NexusError('MODULE_START_FAILED', facts)
  }
}
