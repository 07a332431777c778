import type { Actor } from './contracts/fact.ts'
import { NexusError } from './contracts/failure.ts'
import type { Principal } from './contracts/roles.ts'
import type { DaemonStatus, Explanation, ModuleStatus } from './contracts/status.ts'
import type { CommandHandlers, MissionDesk } from './gate/port.ts'
import type { Maintenance } from './maintenance/maintenance.ts'
import type { Missions } from './missions/missions.ts'
import type { Supervisor } from './supervisor/supervisor.ts'
import { maintenanceHandlers } from './upkeep.ts'

export interface Questions {
  status(principal: Principal): DaemonStatus
  moduleStatus(moduleId: string): ModuleStatus
  metricsText(moduleId?: string): Promise<{ readonly contentType: string; readonly text: string }>
  called(moduleId: string, action: string, durationMs: number): void
}

/** Every command of the table, tied to what carries it out. */
export function commandHandlers(
  supervisor: Supervisor,
  missions: Missions,
  maintenance: Maintenance,
  questions: Questions,
): CommandHandlers {
  return {
    ...maintenanceHandlers(maintenance),
    reload_module: (params, principal) => supervisor.reloadModule(params, actorOf(principal)),
    rollback_module: (params, principal) => supervisor.rollbackModule(params, actorOf(principal)),
    start_module: ({ module_id }, principal) => supervisor.startModule(module_id, actorOf(principal)),
    stop_module: ({ module_id }, principal) => supervisor.stopModule(module_id, actorOf(principal)),
    unlock_module: (params, principal) => supervisor.unlockModule(params, actorOf(principal)),
    scale_module: (params, principal) => supervisor.scale(params, actorOf(principal)),
    configure: (params, principal) => supervisor.configure(params, actorOf(principal)),
    get_status: async ({ module_id }, principal) =>
      module_id === undefined ? questions.status(principal) : questions.moduleStatus(module_id),
    get_metrics: async ({ module_id }) => {
      if (module_id !== undefined) supervisor.unit(module_id)
      const { contentType, text } = await questions.metricsText(module_id)
      return { content_type: contentType, text }
    },
    explain: async (params): Promise<Explanation> =>
      'module_id' in params ? supervisor.explain(params.module_id) : missions.explain(params.mission_id),
    call_action: async ({ module_id, action, input, timeout_ms }) => {
      const answer = await supervisor.call({
        moduleId: module_id,
        action,
        input,
        ...(timeout_ms === undefined ? {} : { timeoutMs: timeout_ms }),
      })
      const { output, durationMs, instance, generation, artifacts } = answer
      questions.called(module_id, action, durationMs)
      return {
        output,
        duration_ms: durationMs,
        instance,
        generation,
        ...(artifacts.length > 0 ? { artifacts } : {}),
      }
    },
  }
}

/** The mission room in the words of the gate. */
export function missionDesk(missions: Missions): MissionDesk {
  return {
    create: async (body, authority, idempotencyKey) => {
      const { created, answer } = await missions.create(authority, body, idempotencyKey)
      return { replayed: !created, answer }
    },
    createAll: async (orders, authority) => {
      const wanted = orders.map(({ body, idempotencyKey }) =>
        idempotencyKey === undefined ? { body } : { body, key: idempotencyKey },
      )
      const ends = await missions.createAll(authority, wanted)
      return ends.map((end) =>
        end instanceof NexusError ? end : { replayed: !end.created, answer: end.answer },
      )
    },
    retry: async (body, authority, idempotencyKey) => {
      const { created, answer } = await missions.retry(authority, body, idempotencyKey)
      return { replayed: !created, answer: { ...answer, retry_of: body.mission_id } }
    },
    run: (body, authority) => missions.run(authority, body),
    approve: (body, authority) => missions.approve(authority, body),
    reject: (body, authority) => missions.reject(authority, body),
    cancel: (body, authority) => missions.cancel(authority, body),
  }
}

function actorOf({ kind, name }: Principal): Actor {
  return { kind, name }
}
