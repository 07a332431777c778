import type { Actor, Fact, FactDraft } from './contracts/fact.ts'
import type { Principal } from './contracts/roles.ts'
import type { Gate } from './gate/gate.ts'
import type { CommandHandlers } from './gate/port.ts'
import type { Ground } from './ground.ts'
import { Maintenance } from './maintenance/maintenance.ts'
import type { MissionClerk, Upkeep } from './maintenance/port.ts'
import type { Missions } from './missions/missions.ts'
import type { Authority } from './missions/port.ts'

/** What maintenance does by itself: nothing but ask for missions. */
const SCHEDULER: Principal = {
  kind: 'scheduler',
  name: 'scheduler',
  roles: [],
  permissions: ['mission.create', 'mission.read'],
}

export interface Beside {
  readonly missions: Missions
  gate(): Gate
  upkeep(): Upkeep
  append(draft: FactDraft): Promise<Fact>
}

/** Maintenance with what it stands on; begins nothing before its `recover`. */
export function makeMaintenance({ clock, chance, log, fatal }: Ground, beside: Beside): Maintenance {
  return new Maintenance({
    clock,
    chance,
    append: beside.append,
    missions: clerkOf(beside),
    get upkeep() {
      return beside.upkeep()
    },
    log: (level, message, fields) => log.write(level, message, fields),
    onBug: fatal,
  })
}

export function maintenanceHandlers(
  maintenance: Maintenance,
): Pick<CommandHandlers, 'schedule_maintenance' | 'cancel_maintenance' | 'maintain'> {
  return {
    schedule_maintenance: ({ operator_key: _, ...wish }, principal) =>
      maintenance.schedule(wish, actorOf(principal)),
    cancel_maintenance: ({ maintenance_id }, principal) =>
      maintenance.remove(maintenance_id, actorOf(principal)),
    maintain: ({ task, maintenance_id }) => maintenance.carryOut(task, maintenance_id),
  }
}

/** Missions are made through the gate. A clearance is no request of anybody's: the key it stands on came before. */
function clerkOf({ missions, gate }: Beside): MissionClerk {
  return {
    create: async (body, key) => {
      const { answer } = await gate().mission('create', SCHEDULER, body, key)
      return missions.get((answer as { readonly mission_id: string }).mission_id)
    },
    approve: async (mission_id, keyId, reason) => {
      const cleared: Authority = { principal: SCHEDULER, operatorKey: true, keyId }
      await missions.approve(cleared, { mission_id, reason })
    },
    cancel: async (mission_id, reason) => {
      await missions.cancel({ principal: SCHEDULER, operatorKey: false }, { mission_id, reason })
    },
    find: (missionId) => missions.get(missionId),
  }
}

function actorOf({ kind, name }: Principal): Actor {
  return { kind, name }
}
