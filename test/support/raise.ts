import { Supervisor } from '../../daemon/supervisor/supervisor.ts'
import type { FakeWorld } from './fake-modules.ts'

/** A supervisor over a world in memory, with everything started that starts by itself. */
export async function raise(world: FakeWorld): Promise<Supervisor> {
  const supervisor = new Supervisor(world.environment(), () => undefined)
  world.onFact((fact) => supervisor.fold(fact))
  await supervisor.discover()
  const started = supervisor.start()
  await world.clock.pass(0)
  await started
  return supervisor
}
