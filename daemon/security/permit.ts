import { NexusError } from '../contracts/failure.ts'
import { type Permission, type Principal, ROLES } from '../contracts/roles.ts'

/** @throws NexusError `PERMISSION_DENIED`: what no role and no grant lists is refused. */
export function permit(principal: Principal, permission: Permission): void {
  if (holds(principal, permission)) return
  throw new NexusError('PERMISSION_DENIED', { principal: principal.name, permission })
}

/** Whether this principal may. */
export function holds({ roles, permissions }: Principal, permission: Permission): boolean {
  if (permissions.includes(permission)) return true
  for (const role of roles) if (HELD.get(role)?.has(permission) === true) return true
  return false
}

const HELD = new Map(Object.entries(ROLES).map(([role, held]) => [role, new Set<Permission>(held)]))
