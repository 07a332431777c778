import type { Fact } from '../../daemon/contracts/fact.ts'
import type { MissionDetail, MissionProgress, MissionStatus } from '../../daemon/contracts/mission.ts'
import { sleep } from '../../daemon/kit/clock.ts'
import type { Cli } from './cli.ts'
import { follow } from './events.ts'
import { CliError, EXIT } from './exit.ts'
import { factLine, progressText } from './mission-text.ts'

/** Statuses that a mission does not leave by itself. */
const ENDED: readonly MissionStatus[] = [
  'suggestion',
  'completed',
  'failed',
  'cancelled',
  'rejected',
  'expired',
  'interrupted',
]

/**
 * Follows a mission until it has ended, printing each of its facts, and returns it.
 *
 * @param stopAt - Further statuses that end the wait.
 * @throws CliError `timeout` when the caller's patience (`--timeout`) ends first.
 */
export async function waitForEnd(
  cli: Cli,
  missionId: string,
  stopAt: readonly MissionStatus[] = [],
): Promise<MissionDetail> {
  const ended = new AbortController()
  const found = Promise.withResolvers<MissionDetail>()
  let looking: Promise<void> = Promise.resolve()
  const look = (): void => {
    looking = looking.then(async () => {
      const mission = await cli.get<MissionDetail>(missionPath(missionId))
      if ([...ENDED, ...stopAt].includes(mission.status)) found.resolve(mission)
    }, found.reject)
    looking.catch(found.reject)
  }
  const onFact = (fact: Fact): void => {
    if (fact.mid !== missionId) return
    // With --json the outcome is the one document; a stream of facts is what /v1/events is for.
    if (!cli.json) cli.print(`${factLine(fact)}\n`)
    look()
  }
  const onProgress = (progress: MissionProgress & { readonly mission_id: string }): void => {
    if (progress.mission_id === missionId && !cli.json) {
      cli.print(`${progress.at}  progress  ${progressText(progress)}\n`)
    }
  }
  try {
    const types = ['mission.*', 'mission.progress']
    const following = follow(cli, { types, onOpen: look, onFact, onProgress, signal: ended.signal })
    return await Promise.race([
      found.promise,
      following.then(() => found.promise),
      ...(cli.timeoutMs === undefined ? [] : [expire(cli, missionId, cli.timeoutMs, ended.signal)]),
    ])
  } finally {
    ended.abort()
  }
}

/** What a script is told about how a mission ended. */
export function exitForMission(status: MissionStatus): number {
  if (status === 'completed') return EXIT.ok
  if (status === 'awaiting_approval') return EXIT.denied
  return EXIT.failed
}

export function missionPath(missionId: string): string {
  return `/v1/missions/${encodeURIComponent(missionId)}`
}

async function expire(cli: Cli, missionId: string, waitMs: number, signal: AbortSignal): Promise<never> {
  await sleep(cli.clock, waitMs, signal).catch(() => new Promise(() => {})) // the wait is over, nobody asks any more
  throw new CliError(
    'timeout',
    `the mission ${missionId} has not ended yet`,
    `it goes on: nexus missions show ${missionId}`,
  )
}
