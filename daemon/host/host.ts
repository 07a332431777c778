import { accessSync, constants, mkdirSync, realpathSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { NexusError } from '../contracts/failure.ts'
import type { Clock } from '../kit/clock.ts'
import { withDeadline } from '../kit/deadline.ts'
import { type HostLedger, HostProcess } from './host-process.ts'
import { ProcessInstance } from './instance.ts'
import { type Launch, type Machine, planLaunch, type WallProfile } from './isolation.ts'
import { killLeftovers, openLedger } from './leftovers.ts'
import type { HostPool, Instance, SpawnOrder, SpawnProfile } from './port.ts'
import { findRunner } from './runner-files.ts'
import { Spares } from './spares.ts'
import { PulseWatch } from './watch.ts'

export interface HostPoolOptions {
  readonly clock: Clock
  /** `data/run`: where the list of running hosts is kept. */
  readonly runDir: string
  /** `data/generations`: every host may read it. */
  readonly generationsDir: string
  /** Hosts of the default profile that are kept waiting. */
  readonly spares: number
  /** The daemon's own environment. */
  readonly env: Readonly<Record<string, string | undefined>>
  /** Told of processes that a former daemon left behind, and that were killed. */
  leftovers?(pids: readonly number[]): void
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
  const ledger = openLedger(runDir)
  const machine = await exploreMachine(options, ledger)
  return new ProcessPool(machine, clock, ledger, options.spares)
}

class ProcessPool implements HostPool {
  readonly isolation: HostPool['isolation']
  readonly #machine: Machine
  readonly #clock: Clock
  readonly #watch: PulseWatch
  readonly #spares: Spares

  constructor(machine: Machine, clock: Clock, ledger: HostLedger, spares: number) {
    this.#machine = machine
    this.#clock = clock
    this.#watch = new PulseWatch(clock)
    this.#spares = new Spares(clock, ledger, planLaunch(machine, DEFAULT_PROFILE), spares)
    this.isolation = machine.walled ? 'node-permission' : 'none'
  }

  async spawn(order: SpawnOrder): Promise<Instance> {
    const host = this.#spares.take(this.#plan(order))
    await this.#greet(host, order)
    return await ProcessInstance.settle(host, order, this.#clock, this.#watch)
  }

  prepare(profile: SpawnProfile): void {
    this.#spares.prepare(this.#plan(profile))
  }

  async close(): Promise<void> {
    await this.#spares.close()
  }

  #plan(profile: SpawnProfile): Launch {
    return planLaunch(this.#machine, profile)
  }

  async #greet(host: HostProcess, order: SpawnOrder): Promise<void> {
    const failure = (phase: string, reason: string): NexusError =>
      new NexusError('MODULE_START_FAILED', { module: order.moduleId, phase, reason })
    try {
      await withDeadline(this.#clock, BOOT_MS_MAX, host.hello, () => new Error('the host did not say hello'))
    } catch (error) {
      host.signal('SIGKILL')
      await host.ended
      throw failure('spawn', (error as Error).message)
    }
  }
}

/** What most modules need: nothing. Its hosts are the ones kept waiting. */
const DEFAULT_PROFILE: WallProfile = {
  permissions: {
    fs_read: [],
    fs_write: [],
    net: false,
    child_process: false,
    env: [],
    commands: [],
    secrets: [],
  },
  limits: { memory_mb: 256 },
  dataDir: '',
  roots: [],
  records: {
    missions: '',
    journal: '',
    segments: '',
    telemetry: '',
    runtime_metrics: '',
    generations: '',
    artifacts: '',
    quarantine: '',
  },
}

/** The wall is believed when a host has been seen behind it, not when a flag was accepted. */
async function exploreMachine(options: HostPoolOptions, ledger: HostLedger): Promise<Machine> {
  const { clock, generationsDir, env } = options
  mkdirSync(generationsDir, { recursive: true, mode: 0o700 })
  const machine: Machine = {
    node: process.execPath,
    setpriv: findProgram('setpriv', env['PATH'] ?? ''),
    walled: true,
    runner: findRunner(),
    generationsDir: realpathSync(generationsDir),
    env,
  }
  const probe = new HostProcess(planLaunch(machine, DEFAULT_PROFILE), clock, ledger)
  const walled = await withDeadline(clock, BOOT_MS_MAX, probe.hello, () => new Error('no hello')).then(
    (hello) => hello.walled === true,
    () => false,
  )
  probe.signal('SIGKILL')
  await probe.ended
  return { ...machine, walled }
}

function findProgram(name: string, path: string): string | undefined {
  return path
    .split(delimiter)
    .filter((folder) => folder.startsWith('/'))
    .map((folder) => join(folder, name))
    .find(isExecutable)
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** A boot takes 50 ms on an idle machine; one that swaps or starts fifty modules at once takes longer. */
const BOOT_MS_MAX = 20_000
