import { mkdirSync, realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Clock } from '../kit/clock.ts'
import { strippedDir } from './child/closed.ts'
import type { Site } from './confine.ts'
import { spawnExec } from './exec.ts'
import { greet, sandboxRefusal } from './greet.ts'
import type { HostProcess } from './host-process.ts'
import { ProcessInstance } from './instance.ts'
import { DEFAULT_PROFILE, type Launch, type Machine, planLaunch } from './isolation.ts'
import { HOSTS_FILE, killLeftovers, Ledger } from './leftovers.ts'
import { exploreMachine, type RefusedWay } from './machine.ts'
import { MemoryWatch } from './memory-watch.ts'
import type { OutputLine } from './output.ts'
import type { HostPool, Instance, SpawnOrder, SpawnProfile } from './port.ts'
import { outsideOf } from './readable.ts'
import { SharedHosts } from './shared.ts'
import { Spares } from './spares.ts'
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
  /** Told what a shared host wrote that none of its instances did, as far as is known. */
  overheard?(group: string, line: OutputLine): void
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
  const folders = { closed: realpathSync(options.closedDir), run: realpathSync(runDir) }
  return new ProcessPool(options, { machine, spares, ledger, folders })
}

class ProcessPool implements HostPool {
  readonly isolation: HostPool['isolation']
  readonly #machine: Machine
  readonly #clock: Clock
  readonly #watch: PulseWatch
  readonly #memory: MemoryWatch
  readonly #spares: Spares
  readonly #shared: SharedHosts
  readonly #ledger: Ledger
  readonly #folders: Folders

  constructor({ clock, overheard }: HostPoolOptions, { machine, spares, ledger, folders }: PoolParts) {
    this.#machine = machine
    this.#clock = clock
    this.#watch = new PulseWatch(clock)
    this.#memory = new MemoryWatch(clock)
    this.#spares = spares
    this.#ledger = ledger
    this.#folders = folders
    this.#shared = this.#makeShared(overheard)
    this.isolation = machine.walled ? 'node-permission' : 'none'
  }

  async spawn(order: SpawnOrder): Promise<Instance> {
    switch (order.runtime) {
      case 'process':
        return await this.#spawnProcess(order)
      case 'exec':
        return await this.#spawnExec(order)
      case 'shared':
        return await this.#shared.spawn(order)
    }
  }

  async #spawnProcess(order: SpawnOrder): Promise<Instance> {
    const host = this.#spares.take(order.sandbox ? await this.#planBoxed(order) : this.#plan(order))
    await this.#greet(host, order)
    host.limitMemory(this.#memory, order.limits.memory_mb, true)
    return await ProcessInstance.settle(host, order, this.#clock, this.#watch)
  }

  #makeShared(overheard: HostPoolOptions['overheard']): SharedHosts {
    return new SharedHosts({
      clock: this.#clock,
      watch: this.#watch,
      plan: (profile) => this.#plan(profile),
      take: (launch) => this.#spares.take(launch),
      prepare: (launch) => this.#spares.prepare(launch),
      greet: (host, order) => this.#greet(host, order),
      limit: (host, memoryMb) => host.limitMemory(this.#memory, memoryMb, true),
      spawnAlone: (order) => this.#spawnProcess(order),
      overheard: (group, line) => overheard?.(group, line),
    })
  }

  #greet(host: HostProcess, order: SpawnOrder): Promise<void> {
    return greet(host, order, this.#clock, join(this.#folders.run, HOSTS_FILE))
  }

  async #spawnExec(order: SpawnOrder): Promise<Instance> {
    if (order.sandbox) await this.#readySandbox(order)
    const parts = {
      ...{ machine: this.#machine, clock: this.#clock, watch: this.#watch, memory: this.#memory },
      ledger: this.#ledger,
    }
    const wall = { profile: outsideOf(this.#folders.closed, order), site: siteOf(order, true) }
    return await spawnExec(order, { ...parts, wall, hidden: join(this.#folders.run, HOSTS_FILE) })
  }

  prepare(profile: SpawnProfile): void {
    if (profile.runtime === 'shared') this.#shared.prepare(profile)
    // A foreign program has no spare. What a sandbox shows depends on the generation, which is not known yet.
    else if (profile.runtime !== 'exec' && !profile.sandbox) this.#spares.prepare(this.#plan(profile))
  }

  async close(): Promise<void> {
    await Promise.all([this.#shared.close(), this.#spares.close()])
    await this.#ledger.settled()
  }

  #plan(profile: SpawnProfile): Launch {
    return planLaunch(this.#machine, outsideOf(this.#folders.closed, profile))
  }

  async #planBoxed(order: SpawnOrder): Promise<Launch> {
    await this.#readySandbox(order)
    const site = siteOf(order, order.permissions.child_process)
    return planLaunch(this.#machine, outsideOf(this.#folders.closed, order), site)
  }

  /** @throws NexusError `MODULE_START_FAILED` where there is no bubblewrap. */
  async #readySandbox(order: SpawnOrder): Promise<void> {
    if (this.#machine.bwrap === undefined) throw sandboxRefusal(order.moduleId, 'there is no `bwrap` on PATH')
    // Its file is what shows later whether the sandbox hides the data folder.
    await this.#ledger.settled()
  }
}

interface PoolParts {
  readonly machine: Machine
  readonly spares: Spares
  readonly ledger: Ledger
  readonly folders: Folders
}

interface Folders {
  /** The daemon's own, of which modules see nothing that is not theirs. */
  readonly closed: string
  /** `data/run`. */
  readonly run: string
}

/** What a sandbox needs to know of a module beside its profile. */
function siteOf({ dir, listen }: SpawnOrder, programs: boolean): Site {
  const socketDirs = Object.values(listen).map((path) => dirname(path))
  return { dir, files: [strippedDir(dir)], socketDirs, programs }
}
