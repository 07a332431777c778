import { NexusError } from '../contracts/failure.ts'
import { BATCH_MAX, IDEMPOTENCY_KEY_PATTERN, type MissionCreate } from '../contracts/mission.ts'
import { type Checker, sentenceOf } from '../kit/schema.ts'
import type { MissionOrder } from './port.ts'

/** How many missions a request of this kind changes, before anything is known of its shape. */
export function sizeOfBatch(body: unknown): number {
  const missions = (body as { readonly missions?: unknown } | null | undefined)?.missions
  return Array.isArray(missions) ? Math.min(BATCH_MAX, Math.max(1, missions.length)) : 1
}

/** One entry of a batch; pointers of what is wrong with it begin at the entry. */
export function readEntry(check: Checker<object>, entry: unknown): MissionOrder | NexusError {
  if (typeof entry !== 'object' || entry === null || !('idempotency_key' in entry)) {
    return orRefused(check, entry, {})
  }
  const { idempotency_key: key, ...body } = entry
  if (typeof key === 'string' && IDEMPOTENCY_KEY_PATTERN.test(key)) {
    return orRefused(check, body, { idempotencyKey: key })
  }
  const detail = 'must have 1 to 256 printable characters'
  return refusal([{ pointer: '/idempotency_key', detail }])
}

function orRefused(check: Checker<object>, body: unknown, more: object): MissionOrder | NexusError {
  const verdict = check(body)
  return verdict.ok ? { body: verdict.value as MissionCreate, ...more } : refusal(verdict.issues)
}

function refusal(issues: NexusError['issues']): NexusError {
  return new NexusError('BAD_REQUEST', { detail: sentenceOf(issues) }, { issues })
}
