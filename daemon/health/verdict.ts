import type { Manifest } from '../contracts/manifest.ts'
import type { HealthAnswer } from '../contracts/module.ts'
import type { HealthStatus } from '../contracts/status.ts'

/** What is held of one module between two looks. */
export interface Standing {
  readonly status: HealthStatus
  readonly reason: string | null
  /** How often in a row the answer was other than the standing. */
  readonly against: number
}

export const WELL: Standing = { status: 'healthy', reason: null, against: 0 }

/**
 * Hysteresis: one bad answer is noise, `unhealthy_after` in a row are a fact; `healthy_after` good ones end it.
 *
 * `degraded` is the module's own word about itself and counts at once.
 */
export function judgeHealth(standing: Standing, answer: HealthAnswer, rules: Manifest['health']): Standing {
  const reason = answer.reason ?? null
  if (answer.status === standing.status) return { status: standing.status, reason, against: 0 }
  const against = standing.against + 1
  const needed =
    answer.status === 'unhealthy'
      ? rules.unhealthy_after
      : standing.status === 'unhealthy'
        ? rules.healthy_after
        : 1
  return against >= needed ? { status: answer.status, reason, against: 0 } : { ...standing, against }
}

/** The worst of several answers: a module is as well as its sickest replica. */
export function worst(answers: readonly HealthAnswer[]): HealthAnswer {
  const order: readonly HealthStatus[] = ['unhealthy', 'degraded', 'healthy']
  for (const status of order) {
    const found = answers.find((answer) => answer.status === status)
    if (found !== undefined) return found
  }
  return { status: 'healthy' }
}
