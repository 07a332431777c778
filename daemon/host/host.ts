import { mkdirSync, realpathSync } from 'node:fs'
import { NexusError } from '../contracts/failure.ts'
import type { Clock } from '../kit/clock.ts'
import { withDeadline } from '../kit/deadline.ts'
import type { HostProcess } from './host-process.ts'
import { ProcessInstance } from './instance.ts'
import { DEFAULT_PROFILE, type Launch, type Machine, planLaunch } from './isolation.ts'
import { killLeftovers, Ledger } from './leftovers.ts'
import { BOOT_MS_MAX, exploreMachine, type RefusedWay } from './machine.ts'
import type { HostPool, Instance, SpawnOrder, SpawnProfile } from './port.ts'
import { withoutFolder } from './readable.ts'
import { Spares } from './spares.ts'
import { startFailure } from './start-failure.ts'
import { PulseWatch } from './watch.ts'

export interface HostPoolOptions {
  readonly clock: Clock
  /** `data/run`: where the list of running hosts is kept. */
  readonly runDir: string
  /** `data/generations`: every host may read it. */
  readonly generationsDir: string
  /** The daemon's own folder: no root opens it, whatever lies around it. */
  readonly closedDir: string
  /** Hosts of the default profile that are kept waiting. */
  readonly spares: number
  /** The daemon's own environment. */
  readonly env: Readonly<Record<string, string | undefined>>
  /** Told of processes that a former daemon left behind, and that were killed. */
  leftovers?(pids: readonly number[]): void
  /** Told of each way in which hosts cannot be started here, before a lesser one is tried. */
  refused?(way: RefusedWay): void
}

/**
 * Opens the pool: kills what a former daemon left, boots the first spare, and learns from it which wall stands.
 *
 * Call it on the main thread: the kernel ends hosts when the thread that started them ends.
 */
export async function createHostPool(options: HostPoolOptions): Promise<HostPool> {
  const { clock, runDir } = options
  const killed = await killLeftovers(runDir, clock)
  if (killed.length > 0) options.leftovers?.(killed)
  mkdirSync(runDir, { recursive: true, mode: 0o700 })
  const ledger = new Ledger(runDir)
  mkdirSync(options.generationsDir, { recursive: true, mode: 0o700 })
  const { machine, first } = await exploreMachine({ ...options, ledger })
  const spares = new Spares(clock, ledger, planLaunch(machine, DEFAULT_PROFILE), options.spares, first)
  return new ProcessPool(machine, clock, spares, ledger, realpathSync(options.closedDir))
}

class ProcessPool implements HostPool {
  readonly isolation: HostPool['isolation']
  readonly #machine: Machine
  readonly #clock: Clock
  readonly #watch: PulseWatch
  readonly #spares: Spares
  readonly #ledger: Ledger
  readonly #closedDir: string

  constructor(machine: Machine, clock: Clock, spares: Spares, ledger: Ledger, closedDir: string) {
    this.#machine = machine
    this.#clock = clock
    this.#watch = new PulseWatch(clock)
    this.#spares = spares
    this.#ledger = ledger
    this.#closedDir = closedDir
    this.isolation = machine.walled ? 'node-permission' : 'none'
  }

  async spawn(order: SpawnOrder): Promise<Instance> {
    switch (order.runtime) {
      case 'process':
        return await this.#spawnProcess(order)
      case 'shared':
      case 'exec':
        throw new NexusError('NOT_AVAILABLE', { what: `the runtime ${order.runtime}` })
    }
  }

  async #spawnProcess(order: SpawnOrder): Promise<Instance> {
    const host = this.#spares.take(this.#plan(order))
    await this.#greet(host, order)
    return await ProcessInstance.settle(host, order, this.#clock, this.#watch)
  }

  prepare(profile: SpawnProfile): void {
    this.#spares.prepare(this.#plan(profile))
  }

  async close(): Promise<void> {
    await this.#spares.close()
    await this.#ledger.settled()
  }

  #plan(profile: SpawnProfile): Launch {
    const wanted = [...profile.permissions.fs_read, ...profile.permissions.fs_write]
    if (!wanted.includes('$ROOTS')) return planLaunch(this.#machine, profile)
    return planLaunch(this.#machine, { ...profile, roots: withoutFolder(profile.roots, this.#closedDir) })
  }

  async #greet(host: HostProcess, order: SpawnOrder): Promise<void> {
    try {
      await withDeadline(this.#clock, BOOT_MS_MAX, host.hello, () => new Error('the host did not say hello'))
    } catch (error) {
      host.signal('SIGKILL')
      await host.ended
      throw startFailure(order.moduleId, 'spawn', (error as Error).message)
    }
  }
}
