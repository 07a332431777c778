import type { Actor } from './fact.ts'

/** What may be permitted: one name for each thing the gate lets through. */
export const PERMISSIONS = [
  'status.read',
  'metrics.read',
  'mission.read',
  'mission.create',
  'mission.run',
  'mission.decide',
  'mission.cancel',
  'module.reload',
  'module.start',
  'module.stop',
  'module.scale',
  'module.configure',
  'module.unlock',
  'module.call',
  'chaos.trigger',
  'healing.trigger',
  'maintenance.run',
  'audit.read',
] as const
export type Permission = (typeof PERMISSIONS)[number]

const VIEWER = ['status.read', 'metrics.read', 'mission.read'] as const satisfies readonly Permission[]
const SUBMITTER = [...VIEWER, 'mission.create', 'mission.run'] as const satisfies readonly Permission[]
const MODULES = [
  'module.reload',
  'module.start',
  'module.stop',
  'module.scale',
  'module.configure',
] as const satisfies readonly Permission[]

/** Roles and what they hold. Deny by default: what is not listed here is refused. */
export const ROLES = {
  viewer: VIEWER,
  submitter: SUBMITTER,
  operator: [
    ...SUBMITTER,
    ...MODULES,
    'module.call',
    'module.unlock',
    'mission.decide',
    'mission.cancel',
    'healing.trigger',
  ],
  aeon: [...MODULES, 'chaos.trigger', 'healing.trigger', 'status.read', 'metrics.read'],
  auditor: ['audit.read'],
  admin: PERMISSIONS,
} as const satisfies Readonly<Record<string, readonly Permission[]>>
export type Role = keyof typeof ROLES

/** Who is asking, and how it was proven. */
export interface Principal {
  readonly kind: Actor['kind']
  readonly name: string
  readonly roles: readonly Role[]
  /** Held beside those of the roles: what a module's manifest or an embedder grants. */
  readonly permissions: readonly Permission[]
  /** The key came from the documentation (`--dev`): every record it causes says so. */
  readonly published?: boolean
}
