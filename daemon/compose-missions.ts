import type { Ground } from './ground.ts'
import { Insight } from './insight/insight.ts'
import { append, type Late, opened } from './late.ts'
import type { Memory } from './memory.ts'
import { Missions } from './missions/missions.ts'
import { resourceReadings } from './readings.ts'
import { nodeDisk } from './storage/node-disk.ts'
import type { Supervisor } from './supervisor/supervisor.ts'
import type { TelemetryRecorder } from './telemetry/recorder.ts'

/** Who judges; what it proposes is put on record here, for it writes nothing itself. */
export function makeInsight({ clock, settings, log }: Ground, late: Late): Insight {
  const { weights, prices } = settings.missions
  return new Insight({
    clock,
    weights,
    prices,
    onOmenChanged: (change) => {
      const { level, module_id: module, because } = change
      if (level === 'lock') log.error(`${module} is locked: ${because}`, { module })
      else log.info(`an omen is at ${level}: ${because}`, { module: module ?? undefined, held: change.held })
      const actor = { kind: 'daemon', name: 'insight' } as const
      append(late, { type: 'omen.changed', actor, d: { ...change } }).catch((error: unknown) =>
        log.error('an omen was not recorded', { err: error }),
      )
    },
    propose: (draft) => {
      // What is not recorded is proposed again.
      append(late, draft).catch((error: unknown) =>
        log.warn(`${draft.type} was not recorded`, { err: error }),
      )
    },
  })
}

/** Missions, with all they need of others. */
export function makeMissions(ground: Ground, late: Late, supervisor: Supervisor, insight: Insight): Missions {
  const { clock, chance, log, settings, paths } = ground
  const memory = (): Memory => opened(late.memory, 'the journal')
  return new Missions({
    recorder: {
      append: (draft) => append(late, draft),
      appendAll: (drafts) => memory().appendAll(drafts),
    },
    calls: {
      action: (moduleId, action) => supervisor.action(moduleId, action),
      module: (moduleId) => supervisor.outlook(moduleId),
      planners: (category) => supervisor.planners(category),
      call: async (order) => {
        const answer = await supervisor.call(order)
        late.meters?.called(order.moduleId, order.action, answer.durationMs)
        return answer
      },
    },
    judge: insight,
    runes: { best: (goal, category, input) => insight.bestRune({ goal, category, input }) },
    successEstimate: (moduleId, category) => insight.successEstimate(moduleId, category),
    blobs: {
      put: (bytes) => memory().artifacts.put(bytes),
      get: (sha256) => memory().artifacts.get(sha256),
    },
    records: {
      append: (line) => opened(late.records, 'the records of missions').append(line),
      read: (places) => opened(late.records, 'the records of missions').read(places),
      trouble: (error) => log.error('the record of a mission cannot be read', { err: error }),
    },
    clock,
    chance,
    log: (level, message, fields) => log.write(level, message, fields),
    settings: settings.missions,
    freeBytes: () => nodeDisk.freeBytes(paths.root),
  })
}

/** Rides on the sample that is taken anyway, so that nothing wakes up for it. */
export function watchResources(
  { settings, paths, log }: Ground,
  rooms: { supervisor: Supervisor; missions: Missions; insight: Insight; telemetry: TelemetryRecorder },
): void {
  const { supervisor, missions, insight, telemetry } = rooms
  const { queue_max: queueMax } = settings.missions
  const read = resourceReadings({ supervisor, missions, queueMax, dataDir: paths.root })
  telemetry.onSample(({ rss_bytes: rssBytes }) => {
    read(rssBytes).then(
      (readings) => insight.measured(readings),
      (error: unknown) => log.warn('resources could not be looked at', { err: error }),
    )
  })
}
