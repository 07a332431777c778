import { createHash } from 'node:crypto'
import type { Constraints, PlanStep } from '../contracts/mission.ts'

/** SHA-256 (hex) of a JSON value; the order of fields does not matter. */
export function digestOf(value: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify(value, sorted) ?? '')
    .digest('hex')
}

/** What an approval is given for: when one of these changes, the approval is void. */
export function approvalDigest(subject: {
  readonly goal: string
  readonly constraints: Constraints
  readonly plan: readonly PlanStep[]
  readonly score: number
}): string {
  const { goal, constraints, plan, score } = subject
  return digestOf({ goal, constraints, plan, score })
}

function sorted(_: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
}
