import { join } from 'node:path'
import { probe } from '../../aeon-interface/live.ts'
import type { MissionDetail } from '../../daemon/contracts/mission.ts'
import type { DaemonStatus, ModuleStatus } from '../../daemon/contracts/status.ts'
import { sleep } from '../../daemon/kit/clock.ts'
import { type BusyLoop, type CheckFindings, checkText, findSuspects, judgeCheck } from './check-report.ts'
import type { Cli } from './cli.ts'
import { EXIT, tellJson } from './exit.ts'
import { operatorKey } from './key.ts'
import type { CreatedMission } from './mission-text.ts'
import { missionPath } from './mission-watch.ts'
import { startPrivateDaemon } from './private-daemon.ts'
import { jsonLines, readEnd } from './tail.ts'

/**
 * `nexus check`: creates and runs a real mission and reads back what it left. Exit 0 only when all is well.
 *
 * Asks the daemon that runs; where none does, one of its own, on free ports, that it ends again.
 */
export async function check(cli: Cli): Promise<number> {
  const startedMs = cli.clock.elapsed()
  const { daemon_running: running } = await probe('liveness', cli.socketPath)
  const checked = running ? cli : await startPrivateDaemon(cli)
  if (!running) cli.note(`no daemon runs at ${cli.socketPath}: checking one of its own in ${checked.dataDir}`)
  const findings = await inspect(checked)
  const report = judgeCheck({ ...findings, wallMs: cli.clock.elapsed() - startedMs })
  if (cli.json) cli.printJson(report)
  else cli.print(checkText(report))
  return report.status === 'ok' ? EXIT.ok : EXIT.failed
}

const GOAL = {
  goal: 'Check the runtime',
  category: 'sanctuary',
  constraints: { max_time_seconds: 60, max_steps: 3 },
}
/** The limit of the mission, and some for the queue. */
const MISSION_MS = 75_000
/** Samples are written right after the mission, without a sync: a moment is enough. */
const TRACES_MS = 3_000
/** The daemon needs twenty seconds and a round of its samples to tell a busy loop from work. */
const VERDICT_MS = 35_000
const LOOK_MS = 1_000
const POLL_MS = 50

async function inspect(cli: Cli): Promise<Omit<CheckFindings, 'wallMs'>> {
  // Files carry whole milliseconds, rounded either way.
  const sinceSeconds = cli.clock.now() / 1_000 - 0.002
  const mission = await runMission(cli)
  const metrics = await awaitLine(cli, 'runtime_metrics.jsonl', sinceSeconds)
  const telemetry = await awaitLine(cli, 'telemetry.jsonl', sinceSeconds, mission.missionEndedWell && hasRun)
  const { busyLoops, instances } = await findBusyLoops(cli)
  cli.note(`looked at the loops of the daemon and of ${instances} instances`)
  return {
    ...mission,
    lastRuntimeMetric: metrics,
    lastTelemetry: telemetry,
    busyLoops,
    notes: [`the traces were looked for in ${cli.dataDir}`, ...mission.notes],
  }
}

type MissionFindings = Pick<CheckFindings, 'created' | 'ran' | 'missionEndedWell' | 'notes'>

/** Whatever goes wrong is a finding. */
async function runMission(cli: Cli): Promise<MissionFindings> {
  let created: object | null = null
  try {
    const answer = await cli.post<CreatedMission>('/v1/missions/create', GOAL)
    const { mission_id, status, decision, score } = answer
    created = { mission_id, status, decision, score }
    const key = status === 'awaiting_approval' ? { operator_key: operatorKey(cli) } : {}
    const ran = await runToItsEnd(cli, { mission_id, ...key })
    return { created, ran, missionEndedWell: ran.status === 'ok', notes: [] }
  } catch (error) {
    const told = tellJson(error)
    const notes = told.remedy === '' ? [] : [told.remedy]
    return { created, ran: { status: 'failed', ...told }, missionEndedWell: false, notes }
  }
}

async function runToItsEnd(cli: Cli, body: { readonly mission_id: string }): Promise<{ status: string }> {
  const untilMs = cli.clock.elapsed() + MISSION_MS
  for (;;) {
    const answer = await cli.post<{ status: string }>(
      '/v1/missions/run',
      { ...body, wait_ms: 10_000 },
      { timeoutMs: 20_000 },
    )
    if (answer.status !== 'accepted' || cli.clock.elapsed() > untilMs) {
      const { mission_id, duration_ms, error } = await cli.get<MissionDetail>(missionPath(body.mission_id))
      return { status: answer.status, ...{ mission_id, duration_ms, ...(error && { error }) } }
    }
  }
}

/** In a flood of missions the line may be one of many that were only counted. */
function hasRun(line: object): boolean {
  return (line as { event?: unknown }).event === 'mission_ran'
}

/** The last line of a file, once it is newer than the mission; of those that are wanted, if such come in time. */
async function awaitLine(
  cli: Cli,
  name: string,
  sinceSeconds: number,
  isWanted: false | ((line: object) => boolean) = false,
): Promise<object | null> {
  const untilMs = cli.clock.elapsed() + TRACES_MS
  for (;;) {
    const all = jsonLines(await readEnd(join(cli.dataDir, name)))
    const fresh = all.filter((line) => Number((line as { ts?: unknown }).ts) >= sinceSeconds)
    const last = isWanted === false ? fresh.at(-1) : fresh.findLast(isWanted)
    if (last !== undefined) return last
    if (cli.clock.elapsed() > untilMs) return fresh.at(-1) ?? null
    await pause(cli)
  }
}

/** What the daemon tells of busy loops. When one may be about to be told of, it is waited for. */
async function findBusyLoops(cli: Cli): Promise<{ busyLoops: readonly BusyLoop[]; instances: number }> {
  const untilMs = cli.clock.elapsed() + VERDICT_MS
  for (let isNoted = false; ; isNoted = true) {
    const { busyLoops, modules } = await look(cli)
    const suspects = findSuspects(modules, busyLoops)
    const instances = modules.reduce((count, module) => count + module.instances.length, 0)
    if (suspects.length === 0 || cli.clock.elapsed() > untilMs) return { busyLoops, instances }
    if (!isNoted)
      cli.note(`${suspects.join(', ')} does not rest: looking for some seconds whether it is at work`)
    await sleep(cli.clock, LOOK_MS)
  }
}

/** Loops as they are now; a daemon that does not answer this has told so by the mission already. */
async function look(cli: Cli): Promise<{ busyLoops: readonly BusyLoop[]; modules: readonly ModuleStatus[] }> {
  try {
    const { modules } = await cli.get<{ modules: ModuleStatus[] }>('/v1/modules')
    const { busy_loops: busyLoops } = await cli.get<DaemonStatus>('/v1/status')
    return { busyLoops, modules }
  } catch {
    return { busyLoops: [], modules: [] }
  }
}

/** The clock's own timers let the process end; this one is waited for. */
async function pause(cli: Cli): Promise<void> {
  await sleep(cli.clock, POLL_MS)
}
