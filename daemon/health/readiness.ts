import type { CriticalModules, HealthStatistics, ModuleBrief, Readiness } from '../contracts/status.ts'

export interface ReadinessQuestion {
  readonly modules: readonly ModuleBrief[]
  readonly startedUp: boolean
  /** No module is started but by hand. */
  readonly safe?: boolean
  readonly draining: boolean
  /** Why the journal takes no records, if it does not. */
  readonly journalTrouble: string | undefined
  readonly unhealthyRatioMax: number
  /** Seconds since 1970. */
  readonly timestamp: number
}

/**
 * Whether the daemon can take work, and every reason why not.
 *
 * Started up, not draining, the journal writable, every critical module with a ready instance, and not too many
 * unhealthy ones. No modules: ready, ratio 1.
 */
export function judgeReadiness(question: ReadinessQuestion): Readiness {
  const { modules, timestamp } = question
  const { total, healthy, unhealthy } = statisticsOf(modules)
  const reasons: string[] = []
  if (!question.startedUp) reasons.push('the daemon is still starting')
  if (question.safe === true) reasons.push('the daemon runs in safe mode: no module is started but by hand')
  if (question.draining) reasons.push('the daemon is stopping')
  if (question.journalTrouble !== undefined)
    reasons.push(`the journal is not writable: ${question.journalTrouble}`)
  for (const module of modules) {
    if (module.critical && module.replicas.ready === 0) {
      reasons.push(`the critical module ${module.module_id} is ${module.state}: ${module.because}`)
    }
  }
  const ratio = total === 0 ? 0 : unhealthy / total
  if (ratio > question.unhealthyRatioMax) {
    reasons.push(`${unhealthy} of ${total} modules are unhealthy: ${unhealthyOnes(modules)}`)
  }
  const details = {
    total_modules: total,
    healthy_modules: healthy,
    unhealthy_modules: unhealthy,
    health_ratio: total === 0 ? 1 : Math.round((healthy / total) * 100) / 100,
  }
  return { ready: reasons.length === 0, timestamp, details, reasons }
}

/** The first of them, with their states: who reads a reason wants to know where to begin. */
function unhealthyOnes(modules: readonly ModuleBrief[]): string {
  const sick = modules.filter(({ health }) => health.status === 'unhealthy')
  const named = sick.slice(0, NAMED_MAX).map(({ module_id, state }) => `${module_id} is ${state}`)
  return [...named, ...(sick.length > NAMED_MAX ? ['…'] : [])].join(', ')
}

/** A reason is a line, not a list. */
const NAMED_MAX = 3

/** True when every critical module has a ready, well instance, or there is none. */
export function judgeCritical(modules: readonly ModuleBrief[], timestamp: number): CriticalModules {
  const critical = modules
    .filter((module) => module.critical)
    .map(({ module_id, state, health, replicas }) => ({
      module_id,
      state,
      healthy: replicas.ready > 0 && health.status !== 'unhealthy',
    }))
  return { critical: critical.every(({ healthy }) => healthy), timestamp, modules: critical }
}

/** Total is the sum of the three. */
export function statisticsOf(modules: readonly ModuleBrief[]): HealthStatistics {
  const count = (status: string): number => modules.filter(({ health }) => health.status === status).length
  return {
    total: modules.length,
    healthy: count('healthy'),
    degraded: count('degraded'),
    unhealthy: count('unhealthy'),
  }
}
