import type { FactDraft } from '../contracts/fact.ts'
import { cut } from './attempt.ts'
import type { Mission } from './mission.ts'

/**
 * The records that end what the last process left running: its attempts were cut, which is no failure.
 *
 * The next claim resumes at the first unfinished step; a step that may not be called twice leaves its mission
 * interrupted. Of the lost attempt's time only what its finished steps took is known, so only that is counted.
 */
export function closeCutAttempts(missions: Iterable<Mission>): readonly FactDraft[] {
  const drafts: FactDraft[] = []
  for (const mission of missions) {
    if (mission.status !== 'running') continue
    const record = cut(mission, mission.openMs, 'the daemon ended while it worked')
    drafts.push(record.fact(mission.id, mission.epoch))
  }
  return drafts
}
