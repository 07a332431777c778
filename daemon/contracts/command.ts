import { type Static, type TSchema, Type } from 'typebox'
import { MISSION_ID_PATTERN } from './ids.ts'
import { CancelMaintenanceSchema, MaintainSchema, ScheduleMaintenanceSchema } from './maintenance.ts'
import type { Permission } from './roles.ts'

const closed = { additionalProperties: false }
const ModuleRef = Type.String({
  maxLength: 127,
  description: '<group>/<name>',
  examples: ['vitals/heartbeat-client'],
})
const Generation = Type.String({ pattern: '^[0-9a-f]{8,64}$', description: 'content hash, or its beginning' })
const Strategy = Type.Enum(['graceful', 'rolling', 'canary', 'immediate'])
const OperatorKey = Type.String({ minLength: 1, maxLength: 256 })

interface CommandEntry {
  readonly say: string
  readonly permission: Permission
  readonly params: TSchema
  /** Changes nothing: not audited unless refused. */
  readonly reads?: true
  /** Needs the operator key itself, whatever else proves who asks. */
  readonly key?: true
  /** Answers 501 in this version. */
  readonly later?: true
}

/**
 * Every command, in one table; every surface speaks it.
 *
 * The gate validates `params`, asks for `permission`, audits, then calls. Results stand in `status.ts` and with the
 * supervisor.
 */
export const COMMANDS = {
  reload_module: {
    say: 'loads the newest code of a module beside the old, switches, and reverts when it does not hold',
    permission: 'module.reload',
    params: Type.Object(
      {
        module_id: ModuleRef,
        strategy: Type.Optional(Strategy),
        generation: Type.Optional(Generation),
        dry_run: Type.Optional(Type.Boolean()),
      },
      closed,
    ),
  },
  start_module: {
    say: 'starts a module and keeps it running, also after a restart of the daemon',
    permission: 'module.start',
    params: Type.Object({ module_id: ModuleRef }, closed),
  },
  stop_module: {
    say: 'drains and stops a module and keeps it stopped',
    permission: 'module.stop',
    params: Type.Object({ module_id: ModuleRef }, closed),
  },
  unlock_module: {
    say: 'opens a module that an omen locked',
    permission: 'module.unlock',
    params: Type.Object(
      {
        module_id: ModuleRef,
        // It may come as a header instead.
        operator_key: Type.Optional(OperatorKey),
        reason: Type.String({ minLength: 1, maxLength: 500 }),
      },
      closed,
    ),
    key: true,
  },
  get_status: {
    say: 'the state of the daemon, or of one module',
    permission: 'status.read',
    params: Type.Object({ module_id: Type.Optional(ModuleRef) }, closed),
    reads: true,
  },
  get_metrics: {
    say: 'Prometheus text, of everything or of one module',
    permission: 'metrics.read',
    params: Type.Object({ module_id: Type.Optional(ModuleRef) }, closed),
    reads: true,
  },
  scale_module: {
    say: 'changes how many instances of a module run',
    permission: 'module.scale',
    params: Type.Object(
      { module_id: ModuleRef, replicas: Type.Integer({ minimum: 0, maximum: 64 }) },
      closed,
    ),
  },
  configure: {
    say: 'changes one setting of a module, live where the module can, else by a reload',
    permission: 'module.configure',
    params: Type.Object(
      {
        module_id: ModuleRef,
        key: Type.String({
          pattern: '^[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)*$',
          maxLength: 200,
          description: 'dotted',
        }),
        value: Type.Unknown(),
      },
      closed,
    ),
  },
  trigger_chaos: {
    say: 'spoils something on purpose and reports how it healed',
    permission: 'chaos.trigger',
    params: Type.Object(
      {
        experiment: Type.String({ maxLength: 100 }),
        module_id: Type.Optional(ModuleRef),
        duration_ms: Type.Optional(Type.Integer({ minimum: 1, maximum: 600_000 })),
      },
      { additionalProperties: true },
    ),
    later: true,
  },
  trigger_healing: {
    say: 'repairs what is unhealthy, within the healing budget',
    permission: 'healing.trigger',
    params: Type.Object(
      { module_id: Type.Optional(ModuleRef), dry_run: Type.Optional(Type.Boolean()) },
      closed,
    ),
    later: true,
  },
  explain: {
    say: 'why a module or a mission is in its state, since when, and what happens next',
    permission: 'status.read',
    params: Type.Union([
      Type.Object({ module_id: ModuleRef }, closed),
      Type.Object({ mission_id: Type.String({ pattern: MISSION_ID_PATTERN }) }, closed),
    ]),
    reads: true,
  },
  rollback_module: {
    say: 'goes back to an older generation',
    permission: 'module.reload',
    params: Type.Object({ module_id: ModuleRef, generation: Type.Optional(Generation) }, closed),
  },
  call_action: {
    say: 'calls one action of a module, for authors and probes; governed work is a mission',
    permission: 'module.call',
    params: Type.Object(
      {
        module_id: ModuleRef,
        action: Type.String({ maxLength: 63 }),
        input: Type.Optional(Type.Unknown()),
        timeout_ms: Type.Optional(Type.Integer({ minimum: 1, maximum: 3_600_000 })),
      },
      closed,
    ),
  },
  schedule_maintenance: {
    say: "upkeep of the daemon's own records as a mission: now, at a time, or by cron",
    permission: 'maintenance.run',
    params: ScheduleMaintenanceSchema,
    key: true,
  },
  cancel_maintenance: {
    say: 'removes a schedule of maintenance; a run that is under way goes on',
    permission: 'maintenance.run',
    params: CancelMaintenanceSchema,
    key: true,
  },
  maintain: {
    say: 'does the work of a run of maintenance that is under way, for the module that was given it',
    permission: 'maintenance.run',
    params: MaintainSchema,
  },
} as const satisfies Record<string, CommandEntry>

export type CommandName = keyof typeof COMMANDS
export type CommandParams<Name extends CommandName> = Static<(typeof COMMANDS)[Name]['params']>
