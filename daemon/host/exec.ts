import type { Clock } from '../kit/clock.ts'
import { ExecInstance } from './exec-instance.ts'
import { type ExecWall, planExec } from './exec-launch.ts'
import { locateProgram } from './exec-program.ts'
import { proveSandbox } from './greet.ts'
import { type HostLedger, HostProcess } from './host-process.ts'
import type { Machine } from './isolation.ts'
import type { MemoryWatch } from './memory-watch.ts'
import type { Instance, SpawnOrder } from './port.ts'
import { startFailure } from './start-failure.ts'
import type { PulseWatch } from './watch.ts'

/** What a program is started with, beside its order. */
export interface ExecParts {
  readonly machine: Machine
  readonly clock: Clock
  readonly watch: PulseWatch
  readonly memory: MemoryWatch
  readonly ledger: HostLedger
  readonly wall: ExecWall
  /** A file of the daemon's own that no sandbox shows. */
  readonly hidden: string
}

/**
 * Starts the program of an `exec` module. One whose manifest lists actions must introduce itself before this resolves;
 * the others only have to run.
 *
 * @throws NexusError `MODULE_START_FAILED`, phase `spawn`, `import` or `deadline`; nothing is left running then.
 */
export async function spawnExec(order: SpawnOrder, parts: ExecParts): Promise<Instance> {
  const { machine, clock, watch, memory, ledger, wall, hidden } = parts
  const program = await locateProgram(order, machine.env['PATH'] ?? '/usr/bin:/bin')
  const host = new HostProcess(planExec(machine, order, wall, program), clock, ledger)
  if (host.pid === undefined) {
    throw startFailure(order.moduleId, 'spawn', host.explain(await host.ended))
  }
  const instance = new ExecInstance(host, order, clock, watch)
  await proveSandbox(host, order, clock, hidden)
  host.limitMemory(memory, order.limits.memory_mb, false)
  if (order.actions.length > 0) await instance.meet()
  return instance
}
