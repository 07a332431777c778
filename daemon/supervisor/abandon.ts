import type { Actor } from '../contracts/fact.ts'
import type { ReloadResult } from '../contracts/status.ts'
import type { Reloads } from './reloads.ts'
import { ROLLED_BACK_BY_HAND } from './remembered.ts'
import type { UnitCore } from './unit-core.ts'

/**
 * Remembers what somebody left for a generation that is to stay: the content of the folder, and the one that was good
 * after it. Neither comes up again by itself, until the content changes or somebody names it.
 *
 * @param good - The generations that were good before the reload, oldest first.
 */
export async function abandon(
  { id: moduleId, env, record }: UnitCore,
  reloads: Reloads,
  { generation: stays, previous_generation: left }: ReloadResult,
  good: readonly string[],
  actor: Actor,
): Promise<void> {
  // A folder that cannot be read brings nothing up by itself.
  const held = await env.catalog.survey(moduleId).catch(() => undefined)
  const place = good.indexOf(stays ?? '')
  const wentBack = place !== -1 && place < good.indexOf(left ?? '')
  for (const id of new Set([held?.id, wentBack ? left : undefined])) {
    if (id === undefined || id === null || id === stays || reloads.refused(id) !== undefined) continue
    const reason = `${actor.name} went back to ${stays?.slice(0, 12)}`
    reloads.condemn(id, { phase: ROLLED_BACK_BY_HAND, reason })
    const d = { generation: id, phase: ROLLED_BACK_BY_HAND, reason, to: stays }
    await record('module.generation_refused', d, actor)
  }
}
