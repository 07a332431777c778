import type { ReloadResult } from '../contracts/status.ts'

/** The answer when nothing was reloaded, and why. */
export function notReloaded(moduleId: string, generation: string | null, reason: string): ReloadResult {
  return {
    module_id: moduleId,
    reloaded: false,
    strategy: 'none',
    generation,
    previous_generation: generation,
    rolled_back: false,
    duration_ms: 0,
    downtime_ms: 0,
    reason,
  }
}
