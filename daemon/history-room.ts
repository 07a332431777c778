import type { Settings } from './contracts/config.ts'
import type { Missions } from './missions/missions.ts'
import type { HistoryRoom } from './restore.ts'

/** The missions as the memory keeps them. */
export function historyRoom(
  missions: Missions,
  { keep_days, keep_max }: Pick<Settings['missions'], 'keep_days' | 'keep_max'>,
): HistoryRoom {
  const { history } = missions
  const retention = { keepMs: keep_days * DAY_MS, keepMax: keep_max }
  return {
    fold: (fact) => missions.fold(fact),
    freeze: () => history.freeze(),
    prepare: (section, chunks) => missions.prepare(section, chunks),
    settled: () => history.settled(),
    prune: (actor, nowMs, signal) => history.prune(retention, actor, nowMs, signal),
    tidy: (files, signal) => history.tidy(files, signal),
    digest: (signal) => history.digest(signal),
    check: (signal) => history.check(signal),
  }
}

export const DAY_MS = 86_400_000
