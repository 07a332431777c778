import type { PortKeeper } from '../listen/port.ts'
import type { LoopSubject } from '../telemetry/busy-loops.ts'
import type { Unit } from './unit.ts'

/** The processes in which instances live, with how busy their loops are; modules that share one stand together. */
export function loopSubjects(units: readonly Unit[], ports: Pick<PortKeeper, 'status'>): LoopSubject[] {
  const byPid = new Map<number, LoopSubject>()
  for (const unit of units) {
    for (const { id, state, instance } of unit.replicas) {
      // One that starts may take its time, and has its deadline.
      if (instance === undefined || (state !== 'ready' && state !== 'notready' && state !== 'draining'))
        continue
      const known = byPid.get(instance.pid)
      const { heartbeat, restless } = instance.stats
      const listens = ports.status(unit.id)
      byPid.set(instance.pid, {
        pid: instance.pid,
        owners: [...(known?.owners ?? []), { moduleId: unit.id, instance: id }],
        elu: heartbeat?.elu ?? 0,
        restless,
        connections: {
          open: listens.reduce((sum, { open }) => sum + open, known?.connections.open ?? 0),
          accepted: listens.reduce((sum, { accepted }) => sum + accepted, known?.connections.accepted ?? 0),
        },
      })
    }
  }
  return [...byPid.values()]
}
