import { createHash } from 'node:crypto'
import type { Constraints, PlanStep } from '../contracts/mission.ts'
import type { Mission } from './mission.ts'

/** SHA-256 (hex) of a JSON value; the order of fields does not matter. */
export function digestOf(value: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify(value, sorted) ?? '')
    .digest('hex')
}

/** What an approval covers: when one of these changes, it is void. */
export const APPROVAL_COVERS = ['goal', 'constraints', 'plan', 'score'] as const

/** Names what an approval is given for. */
function approvalDigest(subject: {
  readonly goal: string
  readonly constraints: Constraints
  readonly plan: readonly PlanStep[]
  readonly score: number
}): string {
  const { goal, constraints, plan, score } = subject
  return digestOf({ goal, constraints, plan, score })
}

/** What an approval of this mission is given for, as it stands. */
export function digestOfMission({ order, validation }: Pick<Mission, 'order' | 'validation'>): string {
  return approvalDigest({ ...order, score: validation.score })
}

function sorted(_: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
}
