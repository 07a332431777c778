import type { ModuleState, ReloadResult } from '../contracts/status.ts'
import { moveOf } from '../kit/state-table.ts'
import { LIFECYCLE, type ModuleAct, type ModuleEvent } from './lifecycle-table.ts'
import type { ReloadOrder } from './port.ts'
import { notReloaded } from './reload-result.ts'
import type { Reloads } from './reloads.ts'
import type { UnitCore } from './unit-core.ts'

/**
 * A reload of a module of which nothing serves: whatever comes up is given up for a fresh start of the new code.
 *
 * @param arrival - Resolves when the module has come up, rejects when it has not.
 * @throws NexusError when there is no such code.
 */
export async function renew(
  { id, env, standing, retries, works, post }: UnitCore,
  reloads: Reloads,
  order: ReloadOrder,
  arrival: () => Promise<void>,
): Promise<ReloadResult> {
  const startedMs = env.clock.elapsed()
  const previous = (works.serving?.generation ?? works.generation)?.id ?? null
  const unchanged = (reason: string): ReloadResult => notReloaded(id, previous, reason)
  const understands = (): boolean =>
    moveOf<ModuleState, ModuleEvent, ModuleAct>(LIFECYCLE, standing.state, 'renew') !== undefined
  if (!understands() || order.configured !== undefined) return unchanged(`it is ${standing.state}`)
  const next = await reloads.next(order)
  const known = order.generation === undefined && next.id !== previous ? reloads.refused(next.id) : undefined
  if (known !== undefined) {
    return unchanged(`its newest code was reverted before (${known.phase}: ${known.reason})`)
  }
  if (order.onlyIfChanged && next.id === previous && standing.state !== 'failed') {
    return unchanged('the content is the same')
  }
  if (!understands()) return unchanged(`it is ${standing.state}`)
  retries.forgive()
  post('renew', 'its code or its settings changed', { generation: next })
  await arrival().catch(() => {}) // the result says how it went
  // Scaled to none, it has the new code without running any.
  const isThere = standing.state === 'started' || (standing.state === 'waiting' && reloads.wanted(next) === 0)
  const reloaded = isThere && works.generation?.id === next.id
  const durationMs = Math.round(env.clock.elapsed() - startedMs)
  return {
    ...notReloaded(id, works.generation?.id ?? null, standing.because),
    reloaded,
    strategy: 'immediate',
    previous_generation: previous,
    rolled_back: !reloaded && standing.state === 'started',
    duration_ms: durationMs,
    downtime_ms: durationMs,
  }
}
