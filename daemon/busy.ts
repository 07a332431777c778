import type { FactDraft } from './contracts/fact.ts'
import type { DaemonStatus } from './contracts/status.ts'
import type { Ground } from './ground.ts'
import type { Supervisor } from './supervisor/supervisor.ts'
import { type BusyEpisode, BusyLoops } from './telemetry/busy-loops.ts'
import type { TelemetryRecorder } from './telemetry/recorder.ts'

export interface Watched {
  readonly supervisor: Supervisor
  readonly telemetry: TelemetryRecorder
  /** Facts and requests so far: what the daemon was busy with. */
  workDone(): number
  append(draft: FactDraft): Promise<unknown>
}

export type BusyWatch = Pick<BusyLoops, 'episodes'>

/** Looks for busy loops with each round of samples, and writes down when one begins and ends. */
export function watchBusyLoops({ clock, log }: Ground, watched: Watched): BusyWatch {
  const loops = new BusyLoops(clock)
  let workBefore = 0
  watched.telemetry.onSample(({ elu, interval_ms }) => {
    const work = watched.workDone()
    const own = { elu, intervalMs: interval_ms, workDone: work - workBefore }
    workBefore = work
    const { began, ended } = loops.look(watched.supervisor.loops(), own)
    const drafts = [
      ...began.flatMap((episode) => draftsOf(episode, 'began', clock.now())),
      ...ended.flatMap((episode) => draftsOf(episode, 'ended', clock.now())),
    ]
    for (const draft of drafts) {
      log.warn(`${draft.d['instance'] ?? 'the daemon'}: ${draft.d['reason']}`, { ...draft.d })
      // The status tells it all the same; a journal that takes nothing is told of elsewhere.
      watched
        .append(draft)
        .catch((error: unknown) => log.warn(`${draft.type} was not recorded`, { err: error }))
    }
  })
  return loops
}

/** For the status of the daemon: where, since when, and what was seen. */
export function busyStatus(episodes: readonly BusyEpisode[]): DaemonStatus['busy_loops'] {
  return episodes.map(({ subject, sinceMs, elu }) => ({
    where: subject === undefined ? 'the daemon' : subject.owners.map(({ instance }) => instance).join(' or '),
    since: new Date(sinceMs).toISOString(),
    seen: `event loop utilisation ${Math.round(elu * 1_000) / 1_000} with nothing to do`,
  }))
}

function draftsOf(
  { subject, sinceMs, elu }: BusyEpisode,
  state: 'began' | 'ended',
  nowMs: number,
): FactDraft[] {
  const actor = { kind: 'daemon', name: 'telemetry' } as const
  const figures = {
    state,
    since: new Date(sinceMs).toISOString(),
    for_ms: Math.round(nowMs - sinceMs),
    elu: Math.round(elu * 1_000) / 1_000,
  }
  const seconds = Math.round((nowMs - sinceMs) / 1_000)
  const say = (who: string): string =>
    state === 'began'
      ? `${who} has not rested for ${seconds} s, and nobody asked for anything`
      : `${who} rests again, or is gone, after ${seconds} s`
  if (subject === undefined) {
    return [
      { type: 'daemon.busy_loop', actor, d: { ...figures, reason: say("the daemon's own event loop") } },
    ]
  }
  const { owners } = subject
  return owners.map(({ moduleId, instance }) => {
    const others = owners.filter((owner) => owner.instance !== instance).map((owner) => owner.instance)
    const who =
      others.length === 0 ? 'its event loop' : `the event loop that it shares with ${others.join(', ')}`
    const shared = others.length > 0 && { shares_with: others }
    return {
      type: 'module.busy',
      actor,
      d: { module_id: moduleId, instance, ...figures, ...shared, reason: say(who) },
    }
  })
}
